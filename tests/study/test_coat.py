"""The Coat study on a small made-up Coat: nothing random-exposed leaks, arithmetic by hand, resumption, words."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv import datasets
from simenv.datasets.dataset import Dataset
from simenv.errors import ConfigError, DataError, StoreError
from simenv.evaluation.report import stable_json
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.protocols import Recommender
from simenv.randomness import generator
from simenv.recommenders import Oracle, Popular
from simenv.scale import RatingScale
from simenv.study import coat as study
from simenv.study import coat_judges
from simenv.study.coat import CoatStudy, coat, figure, table, verdict
from simenv.study.coat_content import ContentRidge, Features, UserContent
from simenv.study.coat_field import Field
from simenv.study.coat_report import summary
from simenv.study.coat_split import Arms, compute, contestants
from simenv.study.coat_stand_in import stand_in
from simenv.study.coat_users import OURS, recipe, reweighted
from simenv.testing.recommender import RecommenderContract

SMALL, TRUTH = stand_in(0, n_users=30, n_items=80, chosen=20, drawn=14)
FEATURES = Features.of(SMALL)
RIVALS: list[Recommender] = [Oracle(TRUTH.expected), Popular(), Oracle(-TRUTH.expected, name="anti")]
FIELD = Field.of(SMALL, RIVALS, FEATURES, seed=0, places=4)


def pairs(log: InteractionLog) -> set[tuple[int, int]]:
    return set(zip(log.user.tolist(), log.item.tolist(), strict=True))


def shuffled(dataset: Dataset) -> Dataset:
    """The same candidates with other ratings."""
    drawn = dataset.random_exposure
    assert drawn is not None
    rating = generator(9, "shuffle").permutation(drawn.rating)
    return replace(dataset, random_exposure=replace(drawn, rating=rating))


# The made-up Coat ----------------------------------------------------------------------------------------------------


def test_the_stand_in_has_the_shape_of_coat() -> None:
    made, truth = stand_in(3)
    drawn = made.random_exposure
    assert drawn is not None
    assert (made.log.n_users, made.log.n_items, len(made.log)) == (290, 300, 6960)
    assert (made.log.count == 24).all()
    assert not pairs(made.log) & pairs(drawn)
    assert 14.2 < drawn.count.mean() < 15.9, "16 less those that were chosen as well"
    assert made.log.time is None
    assert made.demographics is not None
    assert made.log.rating.mean() > drawn.rating.mean() + 0.3, "users choose what they like"
    assert drawn.rating.mean() == pytest.approx(truth.expected.mean(), abs=0.1), "the random part does not"
    assert "".join([*made.catalogue.summary, *made.catalogue.director]) == ""


# One split -----------------------------------------------------------------------------------------------------------


def test_judge_contestants_and_candidates_are_disjoint() -> None:
    judge, known, drawn = (pairs(x) for x in (FIELD.judge, FIELD.known, FIELD.drawn))
    assert not judge & known
    assert not (judge | known) & drawn
    assert judge | known == pairs(SMALL.log)
    assert (FIELD.judge.count == 10).all()
    shared = Field.of(SMALL, RIVALS, FEATURES, seed=0, places=4, shared=True)
    assert pairs(shared.known) == pairs(shared.judge) == judge


def test_true_values_are_mean_ratings_of_the_candidates_ranked_first() -> None:
    rating = {(u, i): r for u, i, r in zip(FIELD.drawn.user, FIELD.drawn.item, FIELD.drawn.rating, strict=True)}
    for row, user in enumerate(FIELD.user):
        own = [i for u, i in rating if u == user]
        best = sorted(own, key=lambda i: -TRUTH.expected[user, i])[:4]
        assert FIELD.true[row, 0] == pytest.approx(np.mean([rating[user, i] for i in best]))
    assert FIELD.true[:, 0].mean() > FIELD.true[:, 1].mean() > FIELD.true[:, 2].mean()


def test_worth_is_the_mean_expectation_of_what_is_shown() -> None:
    got = FIELD.worth(TRUTH.expected.astype(np.float64)).value()
    want = [np.mean([TRUTH.expected[u, s].mean() for u, s in zip(FIELD.user, a, strict=True)]) for a in FIELD.shown]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_ranks_are_places_in_the_whole_catalogue() -> None:
    known = pairs(FIELD.known)
    for n in (0, 17, 100):
        user, item = int(FIELD.judge.user[n]), int(FIELD.judge.item[n])
        rest = [i for i in range(80) if (user, i) not in known]
        order = sorted(rest, key=lambda i: -TRUTH.expected[user, i])
        assert FIELD.rank[0, n] == order.index(item)
        assert FIELD.rank[2, n] == len(order) - 1 - order.index(item)


def test_inclusion_is_the_chance_among_random_candidates() -> None:
    rng, n = np.random.default_rng(0), 5
    user = FIELD.judge.user[n]
    others, size = 80 - FIELD.known.count[user] - 1, FIELD.drawn.count[user]
    drawn = np.argsort(rng.random((20_000, others)), axis=1)[:, : size - 1]
    for a in range(3):
        hit = (drawn < FIELD.rank[a, n]).sum(axis=1) < 4
        assert FIELD.inclusion[a, n] == pytest.approx(hit.mean(), abs=0.02)
    assert (FIELD.inclusion[FIELD.rank < 4] == 1).all()


def test_snips_is_a_weighted_mean_rating() -> None:
    weight = np.arange(1.0, len(FIELD.judge) + 1)
    found = coat_judges.held_out(FIELD, weight)["SNIPS, matched"].value()
    for a in range(3):
        assert found[a] == pytest.approx(np.average(FIELD.judge.rating, weights=weight * FIELD.inclusion[a]))


def test_held_out_evaluators_see_the_difference() -> None:
    for name, value in coat_judges.held_out(FIELD, np.ones(len(FIELD.judge))).items():
        assert value.value()[0] > value.value()[2], name


def test_doubly_robust_by_hand() -> None:
    """Predictions without error need no correction; all a point too low are put right; rows unknown correct nothing."""
    table, weight = TRUTH.expected.astype(np.float64), np.linspace(1, 2, len(FIELD.judge))
    plain, rating = FIELD.worth(table).value(), FIELD.judge.rating.astype(np.float64)
    same = coat_judges.doubly_robust(FIELD, table, rating, weight).value()
    np.testing.assert_allclose(same, plain)
    low = coat_judges.doubly_robust(FIELD, table - 1, rating - 1, weight).value()
    np.testing.assert_allclose(low, plain)
    some = np.where(np.arange(len(rating)) % 3 == 0, rating - 0.5, np.nan)
    np.testing.assert_allclose(coat_judges.doubly_robust(FIELD, table, some, weight).value(), plain + 0.5)


def test_folds_take_equally_many_rows_of_every_user() -> None:
    fold = coat_judges.folds(FIELD, 5)
    count = np.zeros((30, 5), int)
    np.add.at(count, (FIELD.judge.user, fold), 1)
    assert (count == 2).all()


def test_content_crossed_is_blind_to_the_row_it_speaks_of() -> None:
    table, unseen = coat_judges.content_crossed(FIELD, 2)
    fold = coat_judges.folds(FIELD, 2)
    rating = FIELD.judge.rating.copy()
    rating[fold == 0] = 6 - rating[fold == 0]
    other = replace(FIELD, judge=replace(FIELD.judge, rating=rating))
    changed_table, changed = coat_judges.content_crossed(other, 2)
    np.testing.assert_array_equal(changed[fold == 0], unseen[fold == 0])
    assert np.abs(changed[fold == 1] - unseen[fold == 1]).max() > 0.1
    assert np.abs(changed_table - table).max() > 0.1


# Content -------------------------------------------------------------------------------------------------------------


class TestUserContent(RecommenderContract):
    def recommender(self) -> Recommender:
        rng = np.random.default_rng(0)
        log = self.log()
        return UserContent(Features(np.eye(3)[rng.integers(3, size=log.n_users)], rng.random((log.n_items, 4))))


def linear() -> tuple[InteractionLog, Features, NDArray[np.float64]]:
    """Users of two kinds; the first likes items with a tag, the second those without, nothing else matters."""
    rng = np.random.default_rng(1)
    kind, tag = rng.integers(2, size=60), rng.integers(2, size=50)
    value = np.where(kind[:, None] == tag, 4.0, 2.0)
    user, item = np.nonzero(rng.random(value.shape) < 0.3)
    ids = Index(tuple(range(60)), "user"), Index(tuple(range(50)), "item")
    log = InteractionLog.of(*ids, user, item, value[user, item], None, RatingScale())
    return log, Features(np.eye(2)[kind], np.eye(2)[tag]), value


def test_the_ridge_finds_what_tags_mean_to_whom() -> None:
    log, features, value = linear()
    found = ContentRidge(features).fit(log, seed=0)
    assert np.abs(found - value).mean() < 0.15
    alone = ContentRidge(Features(np.zeros((60, 0)), features.item)).fit(log, seed=0)
    assert np.abs(alone - value).mean() > 0.5


def test_weights_of_rows_count_as_rows() -> None:
    log, features, _ = linear()
    twice = log.take(np.sort(np.concatenate([np.arange(len(log)), np.arange(0, len(log), 5)])))
    weight = np.ones(len(log))
    weight[::5] = 2
    ridge = ContentRidge(features, penalty=(5.0,), ids=(1.0,))
    np.testing.assert_allclose(ridge.fit(log, seed=0, weight=weight), ridge.fit(twice, seed=0), atol=1e-6)


# The whole -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tiny_settings: Any) -> CoatStudy:
    bare = replace(tiny_settings, arm="none")
    return CoatStudy(places=4, resamples=200, recipe=bare, folds=2, reduced=1, crossed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coat")


@pytest.fixture(scope="module")
def result(tiny: CoatStudy, folder: Path) -> dict[str, Any]:
    return coat(SMALL, tiny, folder=folder, seeds=(0, 1))


def test_every_evaluator_is_there(result: dict[str, Any]) -> None:
    found = {n: (e["kind"], e["splits"]) for n, e in result["evaluator"].items()}
    assert {n for n, (kind, _) in found.items() if kind == "held-out ratings"} == {
        "NDCG@10", "SNIPS", "SNIPS, matched", "top held-out ratings"
    }  # fmt: skip
    assert {n: splits for n, (kind, splits) in found.items() if kind == "simulator"} == {
        OURS: 2, "simenv, prior alone": 2, "simenv, language model alone": 2, "simenv, propensity-weighted prior": 2,
        "simenv, content only": 1, "simenv, cues only": 1, "simenv, doubly robust": 1,
    }  # fmt: skip
    assert len(found) == 17
    assert len(result["contestants"]) == len(contestants(FEATURES)) == 15
    for name, one in result["evaluator"].items():
        assert 0 <= one["share"]["mean"] <= 1, name
        assert len(one["value"]) == 15


def test_values_stand_by_the_right_names(result: dict[str, Any]) -> None:
    """A finished split is read back with its names in another order."""
    field = [Field.of(SMALL, contestants(FEATURES), FEATURES, seed=seed, places=4) for seed in (0, 1)]
    for column, name in enumerate(field[0].policy):
        want = np.mean([coat_judges.held_out(f, np.ones(len(f.judge)))["SNIPS"].value()[column] for f in field])
        assert result["evaluator"]["SNIPS"]["value"][name] == pytest.approx(want), name
        assert result["true"][name] == pytest.approx(np.mean([f.true[:, column].mean() for f in field]))


def test_finished_splits_are_not_computed_again(
    result: dict[str, Any], tiny: CoatStudy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(study, "compute", never)
    assert coat(SMALL, tiny, folder=folder, seeds=(0, 1)) == result
    with pytest.raises(AssertionError, match="computed again"):
        coat(SMALL, tiny, folder=folder, seeds=(0, 2))
    with pytest.raises(AssertionError, match="computed again"):
        coat(shuffled(SMALL), tiny, folder=folder, seeds=(0, 1))
    assert not (folder / "users").exists(), "populations are not left behind"


def test_a_damaged_split_is_named(result: dict[str, Any], tiny: CoatStudy, folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("split-*.json"):
        (tmp_path / path.name).write_text(path.read_text()[:100])
    with pytest.raises(StoreError, match=r"split-0-\w+\.json is damaged .*remove it"):
        coat(SMALL, tiny, folder=tmp_path, seeds=(0, 1))


def test_ratings_of_the_random_part_reach_the_true_values_alone(
    result: dict[str, Any], tiny: CoatStudy, folder: Path, tmp_path: Path
) -> None:
    """The canary: with these ratings shuffled every evaluator says, to the last digit kept, what it said before."""
    before = json.loads(next(folder.glob("split-1-*.json")).read_text())
    made = compute(shuffled(SMALL), tiny, 1, Arms(reduced=False, crossed=False), tmp_path / "users")
    after = json.loads(stable_json(made))
    assert before["true"] != after["true"]
    assert {n: j["value"] for n, j in before["judge"].items()} == {n: j["value"] for n, j in after["judge"].items()}


def test_table_and_figure_show_all(result: dict[str, Any]) -> None:
    section = table(result)
    assert len(section.rows) == 17
    shares = [row["pairs right"] for row in section.rows]
    assert [s.mean for s in shares] == sorted((s.mean for s in shares), reverse=True)  # type: ignore[union-attr]
    assert section.text.startswith(verdict(result))
    svg = figure(result).svg
    assert all(name in svg for name in result["evaluator"])


def test_the_weighted_prior_leans_to_what_weighs(tiny: CoatStudy, tmp_path: Path) -> None:
    from simenv.study.coat_users import _trained

    population = _trained(FIELD, FIELD.judge, tiny.recipe, tmp_path / "users")
    low = np.where(FIELD.judge.rating <= 2, 1.0, 1e-6)
    user, item = FIELD.drawn.user, FIELD.drawn.item
    plain, even, harsh = (
        population.scale.expectation(p.rating_model.rate(user, item).p).mean()
        for p in (
            population,
            reweighted(FIELD, population, tiny.recipe, np.ones(len(FIELD.judge))),
            reweighted(FIELD, population, tiny.recipe, low),
        )
    )
    assert even == pytest.approx(plain, abs=0.15)
    assert harsh < plain - 0.2


# The summary ---------------------------------------------------------------------------------------------------------


def invented(share: dict[str, list[float]], noise: float = 0.01) -> list[dict[str, Any]]:
    """Splits in which evaluators reach the given shares; resamples scatter by `noise`."""
    rng, splits = np.random.default_rng(0), []
    blank = {"mean": 0.0, "low": 0.0, "high": 0.0}
    numbers = {n: blank for n in ("regret", "error_mean", "error_max", "spread", "tau", "tau_of_ceiling")}
    for n in range(len(next(iter(share.values())))):
        judge = {
            name: {"kind": "simulator" if name.startswith(OURS) else "predictor", "value": {"a": 1.0, "b": 2.0}}
            | numbers | {"pairs_right": {"mean": value[n]}, "drawn": (value[n] + rng.normal(0, noise, 400)).tolist()}
            for name, value in share.items()
        }  # fmt: skip
        head = {"users": 9, "candidates": 99, "true": {"a": 1.0, "b": 2.0}, "pairs": 1, "shared_pairs": 1}
        splits.append(head | {"ceiling": 0.9, "effective_rows": 5.0, "judge": judge, "shared": {OURS: 0.9}})
    return splits


def test_the_primary_endpoint_by_hand() -> None:
    found = summary(invented({OURS: [0.9, 0.8, 1.0], "x": [0.7, 0.8, 0.6], "y": [0.75, 0.75, 0.7]}), "made up")
    assert found["best_without_simulator"] == "y"
    primary = found["primary"]
    each = np.array([0.15, 0.05, 0.3])
    np.testing.assert_allclose(primary["each"], each)
    half = 4.302653 * each.std(ddof=1) / np.sqrt(3)
    assert primary["splits"]["low"] == pytest.approx(each.mean() - half)
    assert primary["splits"]["high"] == pytest.approx(each.mean() + half)
    assert primary["users"]["high"] - primary["users"]["low"] == pytest.approx(
        2 * 1.96 * 0.01 * np.sqrt(2 / 3), rel=0.2
    )
    assert found["evaluator"][OURS]["shared_minus_apart"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("ours", "noise", "words"),
    [
        ([0.90, 0.91, 0.92], 0.01, "they are ahead of the best evaluator without a simulator (x, 80.0%)"),
        ([0.70, 0.71, 0.72], 0.01, "they are behind the best"),
        ([0.70, 0.91, 0.92], 0.01, "they are not shown to differ from the best"),
        ([0.90, 0.91, 0.92], 0.30, "they are not shown to differ from the best"),
    ],
)
def test_words(ours: list[float], noise: float, words: str) -> None:
    """Ahead is said only if both intervals say so."""
    assert words in verdict(summary(invented({OURS: ours, "x": [0.8, 0.8, 0.8]}, noise), "made up"))


def test_an_evaluator_on_fewer_splits_is_compared_on_these() -> None:
    splits = invented({OURS: [0.9, 0.5, 0.9], "x": [0.8, 0.8, 0.8], "simenv, part": [0.7, 0.7, 0.7]})
    del splits[1]["judge"]["simenv, part"]
    found = summary(splits, "made up")
    assert found["evaluator"]["simenv, part"]["splits"] == 2
    assert found["difference"]["simenv, part"]["mean"] == pytest.approx(0.2)


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [(0,), (1, 1), ()])
def test_splits_must_be_several(seeds: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least two different seeds are needed"):
        coat(SMALL, folder=tmp_path, seeds=seeds)


def test_data_without_a_random_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no ratings of items drawn at random"):
        coat(replace(SMALL, random_exposure=None), folder=tmp_path, seeds=(0, 1))


def test_a_random_part_that_was_chosen_as_well_is_refused() -> None:
    with pytest.raises(DataError, match="600 pairs of the random part stand in the chosen part too"):
        Field.of(replace(SMALL, random_exposure=SMALL.log), RIVALS, FEATURES, seed=0)


def test_the_usual_recipe_takes_the_stated_steps() -> None:
    usual = recipe()
    assert (usual.world.steps, usual.lora.single.steps, usual.lora.persona.steps) == (400, 60, 20)
    assert usual.prompt == CoatStudy().recipe.prompt


@pytest.mark.data
def test_the_real_random_part_is_disjoint_from_the_chosen_one() -> None:
    """Pairs only; no rating is looked at."""
    folder = Path(os.environ.get("SIMENV_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data") / "coat"
    if not folder.exists():
        pytest.skip("no coat in the data folder")
    real = datasets.load(folder)
    assert real.random_exposure is not None
    assert not pairs(real.log) & pairs(real.random_exposure)
    assert len(real.random_exposure) == 4640 - 366
    assert (real.random_exposure.count > CoatStudy().places).all(), "every user has more candidates than places"
    assert Features.of(real).user.shape == (290, 14)
    assert Features.of(real).item.sum(axis=1).min() >= 1
