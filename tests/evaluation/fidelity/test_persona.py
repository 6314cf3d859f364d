"""Personas: each row is what a subset says by itself; the yardstick is chosen once; a better control is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.persona import MEASURE, between, per_persona
from simenv.evaluation.rating import Prediction, Truth, measures
from simenv.evaluation.rating_table import measure_all
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale

SCALE = RatingScale()
USERS, EACH = 30, 12
Float = NDArray[np.float64]


def of(p: Float) -> Prediction:
    return Prediction.of(p, SCALE, draws=2)


def blurred(p: Float, share: float) -> Prediction:
    return of((1 - share) * p + share / 5)


@pytest.fixture(scope="module")
def p() -> Float:
    return np.random.default_rng(0).dirichlet(np.full(5, 0.6), size=USERS * EACH)


@pytest.fixture(scope="module")
def case(p: Float) -> Case:
    """Users 0..9 are dreamers, whom the simulator knows well; 10..28 doers, whom it does not; 29 is alone."""
    user = np.repeat(np.arange(USERS), EACH)
    truth = Truth(user, SCALE.sample(p, np.random.default_rng(1).random(len(p))), SCALE)
    dreamer = (user < 10)[:, None]
    own = np.where(dreamer, p, 0.3 * p + 0.7 / 5)
    log = InteractionLog.of(Index(tuple(range(USERS)), "user"), Index((0,), "item"), [0], [0], [3.0], None, SCALE)
    name = np.where(user < 10, "dreamer", np.where(user < 29, "doer", "hermit"))
    other = Prediction(of(p).point * 0.2 + 2)
    return Case(
        truth, np.zeros(len(p), np.int64), log, {"simulator": of(own), "arm": of(p)},
        {"middling": blurred(p, 0.4), "poor": blurred(p, 0.9), "point only": other}, {},
        np.zeros(len(p), np.float32), persona=tuple(name.tolist()),
    )  # fmt: skip


def test_a_row_is_what_its_users_alone_would_give(case: Case) -> None:
    rows = per_persona(case, resamples=500)
    assert [(r.name, r.users, r.pairs) for r in rows] == [
        ("doer", 19, 19 * EACH),
        ("dreamer", 10, 10 * EACH),
        ("hermit", 1, EACH),
    ]
    for row in rows[:2]:
        at = np.flatnonzero(np.array(case.persona) == row.name)
        truth = Truth(case.truth.user[at], np.asarray(case.truth.rating)[at], SCALE)
        cut = {
            n: Prediction(np.asarray(x.point)[at], np.asarray(x.p)[at])
            for n, x in {"own": case.answer, "middling": case.yardstick["middling"]}.items()
        }
        table = measure_all(truth, cut, baseline="middling", resamples=500)
        for m in MEASURE:
            assert row.value[m] == table.value["own"][m]
            assert row.difference[m] == table.difference["own"][m]


def test_who_is_known_and_who_is_not(case: Case) -> None:
    doer, dreamer, _ = per_persona(case)
    assert doer.difference["nll"].low > 0
    assert dreamer.difference["nll"].high < 0
    assert doer.value["nll"].low > dreamer.value["nll"].high


def test_the_best_yardstick_is_chosen_over_the_whole_case(case: Case, p: Float) -> None:
    """By measure; one that is best for one persona only, or has no distribution, does not win elsewhere."""
    assert per_persona(case, resamples=100)[0].against == dict.fromkeys(MEASURE, "middling")
    dreamer = (case.truth.user < 10)[:, None]
    lucky = of(np.where(dreamer, p, 0.1 * p + 0.9 / 5))
    assert measures(case.truth, lucky)["nll"] > measures(case.truth, case.yardstick["middling"])["nll"]
    more = replace(case, yardstick={**case.yardstick, "lucky": lucky, "point": Prediction(of(p).point)})
    row = per_persona(more, resamples=100)[1]
    assert row.against == {"rmse": "point", "mae_median": "middling", "nll": "middling"}
    assert row.difference["rmse"].mean == pytest.approx(0.0)


def test_one_user_has_no_interval(case: Case) -> None:
    hermit = per_persona(case, resamples=100)[2]
    at = np.flatnonzero(np.array(case.persona) == "hermit")
    truth = Truth(case.truth.user[at], np.asarray(case.truth.rating)[at], SCALE)
    wanted = measures(truth, Prediction(np.asarray(case.answer.point)[at], np.asarray(case.answer.p)[at]))
    for m in MEASURE:
        assert hermit.value[m].mean == pytest.approx(wanted[m])
        assert np.isnan([hermit.value[m].low, hermit.value[m].high, hermit.difference[m].low]).all()
        assert not hermit.difference[m].clear


def test_without_yardsticks_or_personas(case: Case) -> None:
    assert per_persona(replace(case, persona=())) == ()
    alone = per_persona(replace(case, yardstick={}), resamples=100)
    assert [r.difference for r in alone] == [{}, {}, {}]
    assert [r.value for r in alone][:2] == [r.value for r in per_persona(case, resamples=100)][:2]
    with pytest.raises(DataError, match="360 pairs need a persona each; got 2"):
        per_persona(replace(case, persona=("a", "b")))


def test_the_order_of_pairs_is_nothing(case: Case) -> None:
    order = np.random.default_rng(3).permutation(len(case.persona))

    def moved(x: Prediction) -> Prediction:
        return Prediction(np.asarray(x.point)[order], None if x.p is None else np.asarray(x.p)[order])

    other = replace(
        case,
        truth=Truth(case.truth.user[order], np.asarray(case.truth.rating)[order], SCALE),
        simulator={n: moved(x) for n, x in case.simulator.items()},
        yardstick={n: moved(x) for n, x in case.yardstick.items()},
        persona=tuple(np.array(case.persona)[order].tolist()),
    )
    for one, two in zip(per_persona(case, resamples=200), per_persona(other, resamples=200), strict=True):
        assert (one.name, one.users, one.pairs) == (two.name, two.users, two.pairs)
        for m in MEASURE:
            assert one.difference[m].mean == pytest.approx(two.difference[m].mean)
            assert one.value[m].low == pytest.approx(two.value[m].low, nan_ok=True)


def test_a_control_that_is_worse_as_good_or_better(case: Case, p: Float) -> None:
    dealt = {"worse": blurred(p, 0.9), "the same": case.answer, "better": of(p)}
    worse, same, better = between(case, dealt)
    assert worse.difference["nll"].difference.low > 0
    assert same.difference["nll"].difference.mean == 0
    assert same.difference["nll"].p_holm == 1
    assert better.difference["nll"].difference.high < 0
    for row, other in zip((worse, same, better), dealt.values(), strict=True):
        assert set(row.difference) == set(MEASURE)
        assert (row.users, row.pairs) == (USERS, USERS * EACH)
        for m in MEASURE:
            wanted = measures(case.truth, other)[m] - measures(case.truth, case.answer)[m]
            assert row.difference[m].difference.mean == pytest.approx(wanted)
