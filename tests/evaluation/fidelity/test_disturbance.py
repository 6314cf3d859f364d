"""What a disturbance costs: known costs are found, none where there is none, and the order of anything is nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv.errors import ConfigError, DataError
from simenv.evaluation.fidelity.disturbance import (
    conformity_effect,
    disturbances,
    paired,
    section,
)
from simenv.evaluation.rating import Prediction, Truth, measures
from simenv.scale import RatingScale

Float = NDArray[np.float64]
SCALE = RatingScale()


def world(seed: int = 0, users: int = 40, each: int = 20) -> tuple[Truth, Float]:
    """Ratings drawn from known distributions."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(5, 0.6), size=users * each)
    return Truth(np.repeat(np.arange(users), each), SCALE.sample(p, rng.random(len(p))), SCALE), p


def of(p: Float) -> Prediction:
    return Prediction.of(p, SCALE)


def blurred(p: Float, share: float) -> Prediction:
    return of((1 - share) * p + share / 5)


def test_a_known_cost_is_found() -> None:
    truth, p = world()
    rows = disturbances(truth, of(p), {"another's": of(np.roll(p, 20, axis=0)), "blurred": blurred(p, 0.5)})
    for row, other in zip(rows, (of(np.roll(p, 20, axis=0)), blurred(p, 0.5)), strict=True):
        for name, found in (("nll", row.nll), ("rmse", row.rmse)):
            wanted = measures(truth, other)[name] - measures(truth, of(p))[name]
            assert found.difference.mean == pytest.approx(wanted)
            assert found.difference.low < wanted < found.difference.high
        assert row.raises
        assert (row.users, row.pairs) == (40, 800)


def test_the_interval_is_that_of_the_mean_over_users() -> None:
    """With as many pairs each, the difference of NLL is a plain mean over users: normal theory applies."""
    truth, p = world(3)
    row = disturbances(truth, of(p), {"blurred": blurred(p, 0.3)}, resamples=4000)[0]
    at = np.arange(len(p)), SCALE.encode(truth.rating)
    gap = np.log(p[at]) - np.log(np.asarray(blurred(p, 0.3).p)[at])
    by_user = gap.reshape(40, 20).mean(axis=1)
    half = 1.96 * by_user.std() / np.sqrt(40)
    assert row.nll.difference.low == pytest.approx(by_user.mean() - half, abs=0.1 * half)
    assert row.nll.difference.high == pytest.approx(by_user.mean() + half, abs=0.1 * half)


def test_nothing_is_found_where_nothing_is() -> None:
    """The same answers, and answers whose noise is as good: no rise; better ones: a fall, no rise."""
    truth, p = world(1)
    rng = np.random.default_rng(0)
    q = 0.5 * p + 0.1
    noisy = [of(q * rng.dirichlet(np.full(5, 400), size=len(q)) * 5) for _ in range(2)]
    noisy = [of(np.asarray(n.p) / np.asarray(n.p).sum(axis=1, keepdims=True)) for n in noisy]
    same, other = disturbances(truth, noisy[0], {"same": noisy[0], "as good": noisy[1]})
    assert same.nll.difference == replace(same.nll.difference, mean=0.0, low=0.0, high=0.0)
    assert (same.nll.p, same.raises, other.raises) == (1.0, False, False)
    better = disturbances(truth, blurred(p, 0.5), {"better": of(p)})[0]
    assert better.nll.difference.high < 0
    assert better.nll.p_holm < 0.05
    assert not better.raises


def test_holm_counts_the_disturbances() -> None:
    truth, p = world(2)
    others = {f"{n}": blurred(p, 0.2) for n in range(4)}
    alone, together = paired(truth, of(p), {"0": others["0"]}, ("nll",)), paired(truth, of(p), others, ("nll",))
    assert together["0"]["nll"].p == alone["0"]["nll"].p == alone["0"]["nll"].p_holm
    assert together["0"]["nll"].p_holm == pytest.approx(4 * alone["0"]["nll"].p)
    many = paired(truth, of(p), {f"{n}": blurred(p, 0.9) for n in range(60)}, ("nll",))
    assert many["0"]["nll"].p_holm < 0.05


def test_pairs_in_any_order_and_users_by_any_name() -> None:
    truth, p = world(4)
    order = np.random.default_rng(0).permutation(len(p))
    other = np.roll(p, 3, axis=0)
    one = disturbances(truth, of(p), {"x": of(other)})
    moved = Truth(truth.user[order] * 7 + 3, np.asarray(truth.rating)[order], SCALE)
    two = disturbances(moved, of(p[order]), {"x": of(other[order])})
    for a, b in ((one[0].nll, two[0].nll), (one[0].rmse, two[0].rmse)):
        for end in ("mean", "low", "high"):
            assert getattr(a.difference, end) == pytest.approx(getattr(b.difference, end))


def test_what_cannot_be_compared_is_refused() -> None:
    truth, p = world()
    with pytest.raises(DataError, match="'point only' has no nll; give a prediction with distributions"):
        disturbances(truth, of(p), {"point only": Prediction(of(p).point)})
    with pytest.raises(DataError, match=r"point must have shape \(800,\)"):
        disturbances(truth, of(p), {"short": of(p[:9])})
    with pytest.raises(ConfigError, match="level must lie between 0 and 1"):
        disturbances(truth, of(p), {}, level=95)


def leaning(shown: Float, pull: float, rng: np.random.Generator) -> Prediction:
    """Answers that follow what is shown, to some part, and something of their own."""
    return Prediction(
        pull * shown + np.random.default_rng(7).normal(size=len(shown)) + 0.05 * rng.normal(size=len(shown))
    )


@pytest.mark.parametrize("pull", [0.0, 0.4, 1.0, -0.2])
def test_a_known_pull_is_found(pull: float) -> None:
    """Moves up, down and nowhere (the end of the scale) in one call."""
    rng = np.random.default_rng(0)
    user, shown = np.repeat(np.arange(30), 10), rng.uniform(2, 5, 300).round(1)
    moved = np.clip(shown + rng.choice([-0.5, 0.5], 300), 1, 5)
    found = conformity_effect(user, shown, moved, leaning(shown, pull, rng), leaning(moved, pull, rng))
    assert found.low < pull < found.high
    assert found.high - found.low < 0.1


def test_a_pull_by_hand() -> None:
    """Steps .5 and 1 answered by .1 and .4: (.5 * .1 + 1 * .4) / (.25 + 1); a pair that stood still says nothing."""
    user, shown = np.array([0, 1, 1]), np.array([3.0, 3.0, 5.0])
    before, after = Prediction(np.array([3.0, 3.0, 4.0])), Prediction(np.array([3.1, 3.4, 2.0]))
    found = conformity_effect(user, shown, np.array([3.5, 4.0, 5.0]), before, after)
    assert found.mean == pytest.approx(0.45 / 1.25)


def test_pulls_that_cannot_be_told_are_refused() -> None:
    three, said = np.full(3, 3.0), Prediction(np.full(3, 3.0))
    with pytest.raises(DataError, match="moved nowhere"):
        conformity_effect(np.arange(3), three, three, said, said)
    with pytest.raises(DataError, match="differ in length: 3, 2, 3"):
        conformity_effect(np.arange(3), three[:2], three[:2] + 1, said, said)


def test_the_section_says_who_pays() -> None:
    truth, p = world()
    rows = disturbances(truth, of(p), {"another's": of(np.roll(p, 20, axis=0)), "same": of(p)})
    two, before, after = np.arange(2), Prediction(np.full(2, 3.0)), Prediction(np.full(2, 3.25))
    effect = conformity_effect(two, np.full(2, 3.0), np.full(2, 4.0), before, after)
    made = section(rows, {"the fused users": effect})
    assert [c[0] for c in made.cells()] == ["another's", "same"]
    assert [c[-1] for c in made.cells()] == ["yes", "no"]
    assert "800 pairs of 40 users" in made.text
    assert "the fused users rate +0.25 (+0.25..+0.25) points higher" in made.text
