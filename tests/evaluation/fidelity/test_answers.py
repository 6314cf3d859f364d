"""Answers: draws that keep a user's luck, yardsticks told apart by their settings, and what is remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simenv.agents.synthetic import LatentTaste, true_population
from simenv.datasets.synthetic import generate
from simenv.errors import ConfigError
from simenv.evaluation.fidelity.answers import Answers, drawn, remembered, told, yardsticks
from simenv.evaluation.fidelity.held import Held, before
from simenv.evaluation.interval import Interval
from simenv.evaluation.unit import UnitStore
from simenv.evaluation.yardstick import BayesianMF, BiasedMF, ItemMean, Yardstick, standard, tuned_mf
from simenv.log import InteractionLog
from simenv.scale import RatingScale
from simenv.study.ladder import Blurred
from simenv.testing.logs import tiny_log

SCALE = RatingScale()


@pytest.fixture(scope="module")
def held() -> Held:
    world = generate(2, n_users=40, n_items=50, median_history=30)
    return Held.of(world.log.split("user_time", 0.6), true_population(world))


@pytest.mark.parametrize("rho", [0.0, 0.4, 1.0])
def test_each_draw_keeps_its_distribution_and_users_keep_their_luck(rho: float) -> None:
    p = np.tile([0.1, 0.2, 0.3, 0.3, 0.1], (4, 1))
    found = drawn(p, SCALE, np.array([0, 0, 1, 1]), rho, draws=20_000, seed=0)
    shares = [(found == v).mean(axis=0) for v in SCALE.values]
    assert np.allclose(shares, p.T, atol=0.02)
    r = np.asarray(np.corrcoef(found.T))
    assert r[0, 1] == pytest.approx(rho, abs=0.05)  # a Gaussian copula's correlation, nearly that of the ratings
    assert r[0, 2] == pytest.approx(0, abs=0.03)


class TestYardsticks:
    def test_the_usual_seven(self) -> None:
        assert yardsticks(None, False).keys() == standard().keys()
        assert len(yardsticks(None, True)) == 7

    def test_quick_changes_only_the_slow_ones(self) -> None:
        usual, quick = standard(), yardsticks(None, True)
        cheap = [n for n in usual if n not in ("user+item bias", "biased MF", "Bayesian MF")]
        assert [quick[n] for n in cheap] == [usual[n] for n in cheap]
        assert quick["Bayesian MF"] == BayesianMF(burn_in=10, draws=30)

    def test_own_ones_stand_beside_the_seven_never_instead(self) -> None:
        own = {"mine": ItemMean(3.0)}
        assert list(yardsticks(standard() | own, False))[-1] == "mine"
        with pytest.raises(ConfigError, match="global mean, constant"):
            yardsticks(own, False)


class TestRemembering:
    def test_a_yardstick_of_other_settings_is_fitted_anew(self, held: Held, tmp_path: Path) -> None:
        answers = Answers(held, UnitStore(tmp_path), 2, 0)
        kinds: list[Yardstick] = [
            BiasedMF(2, sweeps=2),
            BiasedMF(3, sweeps=2),
            tuned_mf((2,), (8,), 1),
            tuned_mf((2,), (8,), 2),
        ]
        for number, kind in enumerate(kinds * 2):
            answers.yardstick("MF", kind)
            assert len(list((tmp_path / "units").iterdir())) == min(number + 1, 4)
        assert "starts=2" in answers.described["MF"]

    def test_remembered_answers_are_the_same(self, held: Held, tmp_path: Path) -> None:
        answers = Answers(held, UnitStore(tmp_path), 3, 0)
        first, again = (answers.yardstick("item mean", ItemMean()) for _ in range(2))
        for name in ("point", "p", "draws"):
            assert np.array_equal(getattr(first, name), getattr(again, name))

    def test_short_histories_lower_what_tuning_asks_for(self) -> None:
        log = tiny_log(n_users=14, n_items=30)
        assert log.count.max() < 40
        cut = log.split("user_time", 0.4)
        future = cut.future
        answers = Answers(Held(cut.past, future, 4.0), UnitStore(None), 2, 0)
        assert int(cut.past.count.max()) < 20
        assert np.isfinite(answers.yardstick("MF", tuned_mf((2,), (8,), 1)).point).all()

    def test_users_made_in_memory_are_told_apart_by_what_they_say(self, tmp_path: Path) -> None:
        world = generate(2, n_users=40, n_items=50, median_history=30)
        true = true_population(world)
        answers = Answers(Held.of(world.log.split("user_time", 0.6), true), UnitStore(tmp_path), 2, 0)
        one, support = answers.population("simulator", true)
        other, _ = answers.population("simulator", true.with_(rating_model=Blurred(true.rating_model, 0.5)))
        assert np.abs(np.asarray(one.p) - np.asarray(other.p)).max() > 0.1
        assert (support == 40).all()

    def test_a_slow_number_is_computed_once_for_the_same_arrays(self, tmp_path: Path) -> None:
        store, asked = UnitStore(tmp_path), []

        def compute() -> Interval:
            asked.append(1)
            return Interval(0.1, 0.0, 0.2, 0.9)

        a = np.arange(3)
        values = [remembered(store, "auc", [n, told(x)], compute, [Interval]) for x in (a, a, a + 1) for n in (0, 1)]
        assert values == [Interval(0.1, 0.0, 0.2, 0.9)] * 6
        assert len(asked) == 4


class TestHeld:
    def test_rows_of_users_who_are_not_simulated_are_left_out(self) -> None:
        world = generate(2, n_users=40, n_items=50, median_history=30)
        split = world.log.split("user_time", 0.6)
        held = Held.of(split, true_population(world, np.arange(5)))
        assert set(held.user.tolist()) == set(range(5))
        assert len(held.item) == int((split.future.user < 5).sum())
        assert held.known is split.past

    @pytest.mark.parametrize(("values", "like"), [((1, 2, 3, 4, 5), 4.0), ((0, 1), 1.0), ((0.5, 1.0, 5.0), 5.0)])
    def test_a_like_is_three_quarters_up_the_scale(self, values: tuple[float, ...], like: float) -> None:
        world = generate(2, n_users=40, n_items=50, median_history=30)
        split = world.log.split("user_time", 0.6)
        scale = RatingScale(tuple(float(v) for v in values))
        past, future = (replace(x, scale=scale) for x in (split.past, split.future))
        population = true_population(world).with_(rating_model=LatentTaste(replace(world.truth, scale=scale)))
        assert Held.of(replace(split, past=past, future=future), population).like_from == like

    @pytest.mark.parametrize("times", [True, False])
    def test_what_is_not_held_out_lies_before(self, times: bool) -> None:
        log = tiny_log(10, 30)
        log = log if times else InteractionLog.of(log.users, log.items, log.user, log.item, log.rating, None, log.scale)
        cut = log.split("random", 0.6, seed=1)
        assert before(log, cut.future).fingerprint == cut.past.fingerprint
