"""The audit: answers of known quality must come out as such, on the right pairs, learned from the right rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv.agents.population import SimulatedPopulation
from simenv.agents.synthetic import true_population
from simenv.datasets.synthetic import World, generate
from simenv.errors import ConfigError, DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.yardstick import BayesianMF, BiasedMF, Constant, ItemMean, UserItemBias, UserMean, Yardstick
from simenv.log import InteractionLog, Split
from simenv.study.audit import ALL, BIAS, Audit, AuditSettings, audit
from simenv.study.published import Published

YARDSTICKS: dict[str, Yardstick] = {
    "global mean": Constant("mean"),
    "constant": Constant("mode"),
    "user mean": UserMean(),
    "item mean": ItemMean(),
    BIAS: UserItemBias(),
    "biased MF": BiasedMF(2, sweeps=2),
    "Bayesian MF": BayesianMF(2, 2, 4),
}
SETTINGS = AuditSettings(draws=1, yardsticks=YARDSTICKS, resamples=50)


@pytest.fixture
def no_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two-sample test costs seconds; where it is not the question it is left undone."""
    monkeypatch.setattr("simenv.study.audit_table.c2st", lambda *a, **k: Interval(0.5, 0.4, 0.6))


@pytest.fixture(scope="module")
def world() -> World:
    return generate(3, n_users=120, n_items=60, median_history=30)


@pytest.fixture(scope="module")
def published(world: World) -> Published:
    log = world.log
    row = np.arange(0, len(log), 4)
    real = log.rating[row].astype(np.float64)
    shuffled = np.random.default_rng(5).permutation(real)
    answer = {"the truth": real, "four": np.full(len(row), 4.0), "shuffled": shuffled, "a number": real * 0 + 3.3}
    part = {"half": np.arange(len(row)) % 2 == 0}
    return Published("Test", "test.csv", log, row, answer, part, "Made up.")


class Builder:
    """Builds the users who know the truth, and remembers what it was handed."""

    def __init__(self, world: World, member: NDArray[np.int64] | None = None) -> None:
        self.world, self.member = world, member
        self.asked: list[tuple[InteractionLog, Split, int]] = []

    def __call__(self, log: InteractionLog, split: Split, seed: int) -> SimulatedPopulation:
        self.asked.append((log, split, seed))
        member = np.unique(split.future.user) if self.member is None else self.member
        return true_population(self.world, member)


@pytest.fixture(scope="module")
def found(world: World, published: Published) -> Audit:
    return audit(published, Builder(world), SETTINGS)


def test_the_best_possible_answers_come_out_as_such(found: Audit) -> None:
    row = found.table[ALL].value["the truth"]
    exact = {"rmse": 0, "mae": 0, "w1": 0, "r": 1, "within_variance_ratio": 1, "between_sd_ratio": 1}
    assert {m: row[m].mean for m in exact} == pytest.approx(exact, abs=1e-9)
    assert row["c2st"].mean == pytest.approx(0.5, abs=1e-9)  # the same rows on both sides
    assert row["incremental_r2"].mean > 0.3
    own = found.table[ALL].value["simenv"]["rmse"].mean
    assert row["rmse_gap"].mean == pytest.approx(-own)


def test_answers_that_know_nothing_come_out_as_such(found: Audit) -> None:
    value = found.table[ALL].value
    four = value["four"]
    assert four["within_variance_ratio"].mean == 0
    assert four["between_sd_ratio"].mean == 0
    assert np.isnan(four["r"].mean)
    assert four["c2st"].mean > 0.6
    assert abs(four["incremental_r2"].mean) < 1e-9
    assert value["shuffled"]["w1"].mean == pytest.approx(0, abs=1e-9)
    assert value["shuffled"]["incremental_r2"].mean < 0.01
    assert value["shuffled"]["rmse_gap"].low > 0


def test_a_number_off_the_scale_has_no_measures_of_answers(found: Audit) -> None:
    row = found.table[ALL].value["a number"]
    assert "rmse" in row
    assert not {"w1", "c2st", "within_variance_ratio"} & set(row)
    assert "a number" not in found.table[ALL].share


def test_those_who_know_the_truth_pass(found: Audit) -> None:
    own = found.table[ALL].value["simenv"]
    assert own["c2st"].low < 0.5 < own["c2st"].high + 0.05
    assert 0.8 < own["within_variance_ratio"].mean < 1.2
    assert own["w1"].mean < 0.15
    assert own["rmse"].mean < found.table[ALL].value[BIAS]["rmse"].mean


def test_measures_of_a_part_are_those_of_its_pairs(found: Audit, published: Published) -> None:
    half = published.part["half"]
    real = published.pairs.rating[half]
    row = found.table["half"].value["shuffled"]
    error = published.answer["shuffled"][half] - real
    assert found.table["half"].pairs == half.sum()
    assert row["rmse"].mean == pytest.approx(np.sqrt(np.mean(error**2)))
    assert row["mae"].mean == pytest.approx(np.abs(error).mean())
    assert row["r"].mean == pytest.approx(np.corrcoef(published.answer["shuffled"][half], real)[0, 1])


@pytest.mark.usefixtures("no_trees")
def test_nothing_of_the_pairs_reaches_those_who_learn(world: World, published: Published, found: Audit) -> None:
    """The real ratings are turned round; whatever does not look at them must say the same as before."""
    log = world.log
    turned = log.rating.copy()
    turned[published.row] = 6 - turned[published.row]
    build = Builder(world)
    other = audit(replace(published, log=replace(log, rating=turned)), build, SETTINGS)
    learned = {n: s for n, s in found.table[ALL].share.items() if n != "real"}
    for name, share in learned.items():
        np.testing.assert_array_equal(other.table[ALL].share[name], share, err_msg=name)
    assert not np.array_equal(other.table[ALL].share["real"], found.table[ALL].share["real"])
    handed, split, _ = build.asked[0]
    pairs = set(zip(published.pairs.user.tolist(), published.pairs.item.tolist(), strict=True))
    for rows in (handed, split.past):
        assert not pairs & set(zip(rows.user.tolist(), rows.item.tolist(), strict=True))


@pytest.mark.usefixtures("no_trees")
def test_drawn_users_are_measured_and_all_pairs_stay_unknown(world: World, published: Published) -> None:
    build = Builder(world)
    found = audit(published, build, replace(SETTINGS, users=40))
    assert found.table[ALL].users == 40
    _, split, _ = build.asked[0]
    assert len(split.past) == len(published.known)
    asked = np.unique(split.future.user)
    assert len(split.future) == published.of_users(asked).sum() == found.table[ALL].pairs


@pytest.mark.usefixtures("no_trees")
def test_an_interrupted_audit_goes_on(world: World, published: Published, tmp_path: Path) -> None:
    first = audit(published, Builder(world), SETTINGS, folder=tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")}
    again = audit(published, Builder(world), SETTINGS, folder=tmp_path)
    assert again.to_json() == first.to_json()
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")} == stamps
    assert len(stamps) == 8


def test_sections_name_everybody_with_the_seven_yardsticks(found: Audit) -> None:
    whole, part, mix = found.sections()
    assert [r["predictor"] for r in whole.rows] == [*found.published.answer, "simenv", *YARDSTICKS]
    assert {r["kind"] for r in whole.rows} == {"published", "simenv", "yardstick"}
    assert part.title == "Test: half"
    assert mix.rows[0]["who"] == "real"
    assert sum(float(str(mix.rows[0][k])) for k in "12345") == pytest.approx(1)
    assert all(c.tag == "measured" for c in whole.columns[2:])


def test_numbers_that_are_not_defined_are_none(found: Audit) -> None:
    told = found.to_json()
    assert told["table"][ALL]["value"]["four"]["r"] == {"mean": None, "low": None, "high": None}
    assert told["table"][ALL]["pairs"] == len(found.published.row)


@pytest.mark.parametrize("users", [1, 10_000])
@pytest.mark.usefixtures("no_trees")
def test_a_number_of_users_that_cannot_be_is_refused(world: World, published: Published, users: int) -> None:
    with pytest.raises(ConfigError, match="users must be 2 to"):
        audit(published, Builder(world), replace(SETTINGS, users=users))


@pytest.mark.usefixtures("no_trees")
def test_a_population_without_a_user_of_the_pairs_is_refused(world: World, published: Published) -> None:
    with pytest.raises(ConfigError, match="must simulate every user"):
        audit(published, Builder(world, np.arange(50)), SETTINGS)


@pytest.mark.usefixtures("no_trees")
def test_a_model_under_the_name_of_a_yardstick_is_refused(world: World, published: Published) -> None:
    twin = replace(published, answer={"item mean": published.answer["four"]})
    with pytest.raises(ConfigError, match="called as one of ours: item mean"):
        audit(twin, Builder(world), SETTINGS)


@pytest.mark.usefixtures("no_trees")
def test_a_part_of_one_user_is_refused(world: World, published: Published) -> None:
    one = replace(published, part={"one": published.of_users(published.pairs.user[:1])})
    with pytest.raises(DataError, match="at least two users"):
        audit(one, Builder(world), SETTINGS)
