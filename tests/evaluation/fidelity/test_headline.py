"""The headline: averages over refits, Holm over all comparisons, and where the uncertainty comes from."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv.evaluation.fidelity.answers import drawn
from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.headline import COMPARED, found, headline
from simenv.evaluation.fidelity.section import pooled
from simenv.evaluation.fidelity.uncertainty import difference, of_differences, of_measures
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Prediction, Truth, measures, statistics
from simenv.evaluation.rating_table import measure_all
from simenv.evaluation.statistics import holm
from simenv.randomness import generator
from simenv.scale import RatingScale
from simenv.testing.logs import tiny_log

SCALE = RatingScale()
LOG = tiny_log(20, 30)


def p_of(n: int, seed: int, sharp: float = 1.0) -> NDArray[np.float64]:
    raw = generator(seed, "p").random((n, 5)) ** sharp
    return np.asarray(raw / raw.sum(axis=1, keepdims=True))


def prediction(truth: Truth, seed: int, draws: int = 3, sharp: float = 1.0) -> Prediction:
    p = p_of(len(truth.user), seed, sharp)
    return Prediction(SCALE.expectation(p), p, drawn(p, SCALE, truth.user, 0.0, draws=draws, seed=seed))


@pytest.fixture(scope="module")
def truth() -> Truth:
    user = np.repeat(np.arange(30), 12)
    return Truth(user, generator(0, "rating").choice(SCALE.array, len(user)), SCALE)


def case(truth: Truth, seed: int, **yardstick: Prediction) -> Case:
    item = np.tile(np.arange(12), 30)
    own = {"simulator": prediction(truth, seed)}
    return Case(truth, item, LOG, own, yardstick, {}, np.zeros(len(item), np.float32))


def test_one_refit_is_what_the_table_of_measures_says(truth: Truth) -> None:
    one = case(truth, 1, MF=prediction(truth, 2))
    table = measure_all(truth, one.prediction, baseline="MF", resamples=500, seed=3)
    top = headline(found([one]), resamples=500, seed=3, level=0.95)
    assert top.value["simulator"] == table.value["simulator"]
    gap = {c.measure: c.difference for c in top.comparison}
    assert gap == {m: table.difference["simulator"][m] for m in COMPARED}


def test_refits_are_averaged_before_they_are_compared(truth: Truth) -> None:
    mf = prediction(truth, 2)
    cases = [case(truth, 1, MF=mf), case(truth, 5, MF=mf)]
    top = headline(found(cases), resamples=200, seed=0, level=0.9)
    alone = [measures(truth, c.answer)["rps"] for c in cases]
    assert top.value["simulator"]["rps"].mean == pytest.approx(np.mean(alone))
    gap = next(c.difference.mean for c in top.comparison if c.measure == "rps")
    assert gap == pytest.approx(np.mean(alone) - measures(truth, mf)["rps"])


def test_holm_counts_all_comparisons_of_the_card(truth: Truth) -> None:
    others = {"close": prediction(truth, 2), "far": prediction(truth, 3, sharp=8.0), "same": prediction(truth, 1)}
    top = headline(found([case(truth, 1, **others)]), resamples=500, seed=0, level=0.95)
    assert len(top.comparison) == 3 * len(COMPARED)
    assert [c.p_holm for c in top.comparison] == pytest.approx(holm([c.p for c in top.comparison]))
    by = {(c.other, c.measure): c for c in top.comparison}
    assert by["same", "nll"].p == by["same", "nll"].p_holm == 1.0
    assert by["far", "nll"].p_holm < 0.05
    assert by["far", "nll"].difference.high < 0


def test_what_has_no_distribution_is_compared_by_its_number_alone(truth: Truth) -> None:
    top = headline(found([case(truth, 1, four=Prediction(np.full(360, 4.0)))]), resamples=100, seed=0, level=0.95)
    assert "nll" not in top.value["four"]
    assert [c.measure for c in top.comparison] == ["rmse"]
    assert headline(found([case(truth, 1)]), resamples=100, seed=0, level=0.95).comparison == ()


class TestUncertainty:
    def test_a_difference_is_a_measure_over_the_same_users(self, truth: Truth) -> None:
        a, b = (statistics(truth, prediction(truth, s))["rmse"] for s in (1, 2))
        gap = difference(a, b)
        for some in (slice(None), slice(7)):
            parts = [s.value(s.total[some].sum(axis=0)) for s in (gap, a, b)]
            assert parts[0] == pytest.approx(parts[1] - parts[2])

    def test_parts_that_are_there_and_parts_that_are_not(self, truth: Truth) -> None:
        cases = [case(truth, 1), case(truth, 5)]
        rows = found(cases)["simulator"]
        several, alone = of_measures(cases, rows, 0.95), of_measures(cases[:1], rows[:1], 0.95)
        assert several["nll"].draws is None
        assert alone["nll"].refits is None
        assert several["nll"].refits is not None
        assert several["sampled_w1"].draws is not None
        assert several["sampled_w1"].draws > 0
        assert several["nll"].total.mean == pytest.approx(np.mean([measures(truth, c.answer)["nll"] for c in cases]))

    def test_equal_refits_add_nothing(self, truth: Truth) -> None:
        cases = [case(truth, 1), case(truth, 1)]
        assert of_measures(cases, found(cases)["simulator"], 0.95)["rmse"].refits == pytest.approx(0, abs=1e-9)

    def test_against_itself_nothing_is_uncertain(self, truth: Truth) -> None:
        one = case(truth, 1, twin=prediction(truth, 1), other=prediction(truth, 2))
        table = found([one])
        gap = of_differences(table["simulator"], table, [("nll", "twin"), ("nll", "other")], 0.95)
        assert gap["nll", "twin"].total == Interval(0.0, 0.0, 0.0, 0.95)
        assert gap["nll", "other"].users > 0
        assert gap["nll", "other"].total.mean == pytest.approx(
            measures(truth, one.answer)["nll"] - measures(truth, one.yardstick["other"])["nll"]
        )


class TestPooled:
    def test_a_single_cell_keeps_its_interval(self) -> None:
        one = Interval(0.6, 0.5, 0.65)
        made = pooled([[one]], 50)
        assert made.total == one
        assert (made.refits, made.draws) == (None, None)
        assert made.users == pytest.approx(0.15 / (2 * 1.959964))

    def test_refits_that_differ_and_users_that_do_not(self) -> None:
        made = pooled([[Interval(1.0, 1.0, 1.0)], [Interval(3.0, 3.0, 3.0)]], 50)
        assert made.refits == pytest.approx(1.0)
        assert made.users == 0
        assert made.total.mean == 2.0
        assert made.total.high - made.total.mean == pytest.approx(12.7062, rel=1e-4)  # Student, one degree of freedom

    def test_draws_that_differ_alike_in_all_refits(self) -> None:
        cell = [Interval(v, v - 0.1, v + 0.1) for v in (1.0, 2.0, 3.0)]
        made = pooled([cell, cell], 40)
        assert made.refits == 0
        assert made.draws == pytest.approx(np.sqrt(1.0 / 6))
        assert made.total.mean == 2.0
        assert made.total.low < 2.0 - 2 * np.sqrt(1.0 / 6)

    def test_nothing_differs_at_all(self) -> None:
        same = Interval(0.5, 0.5, 0.5)
        assert pooled([[same, same], [same, same]], 9).total == same
