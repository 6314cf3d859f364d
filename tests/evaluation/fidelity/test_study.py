"""Cards of users whose distance from the truth is known: the truth is green, whoever is worse gets a worse card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simenv.agents.synthetic import true_population
from simenv.datasets.synthetic import World, generate
from simenv.errors import ConfigError, DataError
from simenv.evaluation.fidelity import section_signal
from simenv.evaluation.fidelity.card import Card
from simenv.evaluation.fidelity.study import Fidelity
from simenv.evaluation.rating import Prediction
from simenv.evaluation.yardstick import BayesianMF, BiasedMF, UserItemBias, Yardstick, standard
from simenv.log import InteractionLog, Split
from simenv.protocols import Population
from simenv.recommenders import BestRated, Popular, Random
from simenv.study.ladder import Blurred, ladder
from simenv.testing.logs import tiny_log

CHEAP: dict[str, Yardstick] = {
    "user+item bias": UserItemBias(),
    "biased MF": BiasedMF(),
    "Bayesian MF": BayesianMF(burn_in=4, draws=8),
}
SMALL = Fidelity(yardsticks=standard() | CHEAP, draws=2, resamples=200)
MEMBER = np.arange(110)
LEFT_OUT = ("25% uniform mixed in", "persona-free")


@pytest.fixture(scope="module", autouse=True)
def _one_draw_is_told_apart() -> Iterator[None]:
    """Two-sample tests take most of a card's time; one draw is enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(section_signal, "DRAWS", 1)
        yield


@pytest.fixture(scope="module")
def world() -> World:
    return generate(5, n_users=140, n_items=120)


@pytest.fixture(scope="module")
def split(world: World) -> Split:
    return world.log.split("user_time", 0.6, users=MEMBER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all cards: the yardsticks are the same."""
    return tmp_path_factory.mktemp("cards")


@pytest.fixture(scope="module")
def cards(world: World, split: Split, folder: Path) -> dict[str, Card]:
    rungs = ladder(world, MEMBER, split.past)
    return {n: SMALL.run(p, world.log, split, folder=folder) for n, p in rungs.items() if n not in LEFT_OUT}


def missed(card: Card) -> set[str]:
    return {name for name, s in card.light.standing.items() if s in ("missed", "missed narrowly", "not sure")}


class TestLadder:
    def test_the_truth_is_green_on_all_that_is_measured(self, cards: dict[str, Card]) -> None:
        card = cards["the truth"]
        assert card.light.colour == "green", card.light.sentence
        assert [n for n, s in card.light.standing.items() if s == "not measured"] == [
            "orders at least 0.85 of the recommenders' pairs right"
        ]

    @pytest.mark.parametrize(
        ("worse", "by"),
        [
            ("50% uniform mixed in", {"rating shares within 0.15 (W1)", "calibration error (ECE) at most 0.03"}),
            ("users swapped", {"RMSE below tuned MF", "adds to the bias score (R2 gained above 0)"}),
            ("constant", {"RMSE below tuned MF", "adds to the bias score (R2 gained above 0)"}),
        ],
    )
    def test_whoever_is_worse_gets_a_worse_card(self, cards: dict[str, Card], worse: str, by: set[str]) -> None:
        assert cards[worse].light.colour == "red", cards[worse].light.sentence
        assert by <= missed(cards[worse])

    def test_the_seven_yardsticks_stand_beside_everybody(self, cards: dict[str, Card]) -> None:
        for card in cards.values():
            assert set(standard()) <= set(card.value["chapters"]["measures"])

    def test_a_constant_adds_nothing_and_is_told_apart_from_better_yardsticks(self, cards: dict[str, Card]) -> None:
        found = cards["constant"].value["chapters"]
        assert found["incremental_r2"]["user+item bias"]["simulator"]["total"].mean == pytest.approx(0, abs=1e-3)
        against = {(r["other"], r["measure"]): r["simulator is"] for r in found["comparisons"]["rows"]}
        assert against["biased MF", "nll"] == "worse"
        assert against["global mean", "rmse"] == "as good"


class TestResuming:
    def test_an_interrupted_card_goes_on_and_ends_with_the_same_bytes(
        self, world: World, split: Split, cards: dict[str, Card], folder: Path, tmp_path: Path
    ) -> None:
        def stop(done: int, total: int, words: str) -> None:
            if words == "signal":
                raise KeyboardInterrupt

        population = true_population(world, MEMBER)
        with pytest.raises(KeyboardInterrupt):
            SMALL.run(population, world.log, split, folder=tmp_path, progress=stop)
        kept = {p: p.read_bytes() for p in (tmp_path / "units").iterdir()}
        assert len(kept) == 8
        for slow in (folder / "units").glob("*c2st*"):
            shutil.copy(slow, tmp_path / "units")
        again = SMALL.run(population, world.log, split, folder=tmp_path)
        assert {p: p.read_bytes() for p in kept} == kept
        assert again.to_json() == cards["the truth"].to_json()


class TestRefits:
    def test_headlines_are_averaged_and_refits_told_apart(self, world: World, split: Split, folder: Path) -> None:
        true = true_population(world, MEMBER)
        shares = {7: 0.1, 8: 0.5}
        asked = []

        def build(log: InteractionLog, cut: Split, seed: int) -> Population:
            asked.append((log is world.log, cut is split, seed))
            return true.with_(rating_model=Blurred(true.rating_model, shares[seed]))

        both = replace(SMALL, seeds=(7, 8)).run(build, world.log, split, folder=folder)
        alone = [replace(SMALL, seeds=(s,)).run(build, world.log, split, folder=folder) for s in shares]
        assert asked[:2] == [(True, True, 7), (True, True, 8)]
        nll = [c.value["chapters"]["measures"]["simulator"]["nll"].mean for c in (both, *alone)]
        assert nll[0] == pytest.approx((nll[1] + nll[2]) / 2)
        parts = both.value["chapters"]["uncertainty"]["NLL"]
        assert parts["refits"] == pytest.approx(abs(nll[1] - nll[2]) / 2, rel=0.05)
        assert parts["draws"] is None
        assert alone[0].value["chapters"]["uncertainty"]["NLL"]["refits"] is None
        assert both.value["chapters"]["uncertainty"]["W1"]["draws"] > 0

    def test_a_ready_population_has_one_seed(self, world: World, split: Split) -> None:
        with pytest.raises(ConfigError, match="several seeds need a function build"):
            replace(SMALL, seeds=(0, 1)).run(true_population(world, MEMBER), world.log, split)


class TestArms:
    def test_arms_control_external_and_disturbances(self, world: World, split: Split, folder: Path) -> None:
        rungs = ladder(world, MEMBER, split.past)
        future = split.future.of_users(MEMBER)
        printed = Prediction(np.full(len(future), 4.0))
        card = SMALL.run(
            rungs["the truth"],
            world.log,
            split,
            arms=lambda population: {"prior alone": rungs["25% uniform mixed in"]},
            disturb=lambda population, seed: {"user swapped": rungs["users swapped"]},
            control=lambda log, cut, seed: rungs["persona-free"],
            external={"always 4": printed},
            recommenders=[Random(), Popular(), BestRated()],
            catalogue=world.catalogue,
            contestants=split.past,
            folder=folder,
        )
        assert list(card.value["chapters"]["measures"])[:3] == ["simulator", "prior alone", "random clusters"]
        assert list(card.value["chapters"]["measures"])[-1] == "always 4"
        assert "nll" not in card.value["chapters"]["measures"]["always 4"]
        assert card.light.standing["loss rises: user swapped"] == "met"
        assert card.value["chapters"]["decision"]["judges"]["simulator"]["pairs_right"].mean >= 0.5
        assert "learned from the simulator's own rows" in card.report.to_markdown()
        assert card.light.colour == "green", card.light.sentence

    def test_what_matters_not_is_missed(self, world: World, split: Split, folder: Path) -> None:
        same = true_population(world, MEMBER)
        card = SMALL.run(same, world.log, split, disturb=lambda p, s: {"user swapped": p}, folder=folder)
        assert card.light.standing["loss rises: user swapped"] == "missed narrowly"


def test_the_door(world: World) -> None:
    import simenv.evaluation.fidelity as door

    assert (door.Fidelity, door.Card) == (Fidelity, Card)
    assert all(hasattr(door, name) for name in door.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fidelity'"):
        door.fidelity


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recommenders": [Random()]}, "at least two recommenders"),
        ({"recommenders": [Random(), Popular()]}, "give catalogue="),
    ],
)
def test_contests_that_cannot_be_held(world: World, split: Split, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SMALL.run(true_population(world, MEMBER), world.log, split, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": ()}, "one or more different numbers"),
        ({"seeds": (1, 1)}, "one or more different numbers"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"resamples": 0}, "resamples must be at least 1"),
        ({"level": 1.0}, "level must lie between"),
    ],
)
def test_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Fidelity(**changes)


def test_a_population_of_another_log(world: World) -> None:
    other = tiny_log(20, 30)
    with pytest.raises(ConfigError, match="other users than the log"):
        SMALL.run(true_population(world), other, other.split("user_time", 0.6))


def test_nobody_was_held_out(world: World, split: Split) -> None:
    empty = replace(split, future=split.future.of_users([3]))
    with pytest.raises(DataError, match="at least two simulated users; 1 of 110"):
        SMALL.run(true_population(world, MEMBER), world.log, empty)


def test_a_missing_yardstick_is_named(world: World, split: Split) -> None:
    few = {n: y for n, y in standard().items() if n != "item mean"}
    with pytest.raises(ConfigError, match="item mean is missing"):
        replace(SMALL, yardsticks=few).run(true_population(world, MEMBER), world.log, split)


def test_settings_are_plain_for_json() -> None:
    assert json.loads(json.dumps(SMALL.to_dict()))["yardsticks"]["item mean"] == "ItemMean(damping=5.0)"
