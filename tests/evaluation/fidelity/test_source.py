import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.fidelity.source import pseudo_values, sources
from simenv.evaluation.rating import Prediction, Statistic, Truth, statistics
from simenv.evaluation.statistics import decompose, resampled_means
from simenv.evaluation.user_total import UserTotals, average, ratio
from simenv.scale import RatingScale

Float = NDArray[np.float64]
SCALE = RatingScale()


def world(seed: int = 0, users: int = 120, per: int = 15, error: float = 1.0) -> dict[str, Statistic]:
    """Measures of a predictor whose error differs between users."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(2, per, size=users))
    p = rng.dirichlet(np.full(5, 0.8), size=len(user))
    y = SCALE.sample(p, rng.random(len(user)))
    point = y + error * (rng.normal(size=users)[user] + rng.normal(size=len(user)))
    return statistics(Truth(user, y, SCALE), Prediction(point, p))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30))
def test_pseudo_values_of_a_mean_are_its_values(value: list[float]) -> None:
    found = pseudo_values(average(UserTotals(np.arange(len(value))), np.array(value)))
    assert found == pytest.approx(np.array(value), abs=1e-9)


def test_pseudo_values_are_those_of_leaving_users_out_one_by_one() -> None:
    for name in ("rmse", "user_mean_correlation", "macro_f1", "between_sd_ratio"):
        statistic, expected = world()[name], []
        for m in range(len(statistic.total)):
            rest = np.delete(statistic.total, m, axis=0).sum(axis=0)
            whole = float(statistic.value(statistic.total.sum(axis=0)))
            expected.append(120 * whole - 119 * float(statistic.value(rest)))
        assert pseudo_values(statistic) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("name", ["rmse", "nll", "point_within_variance_ratio", "user_mean_correlation", "macro_f1"])
def test_the_standard_error_is_that_of_the_bootstrap(name: str) -> None:
    statistic = world(1, users=300)[name]
    value = pseudo_values(statistic)
    drawn = statistic.value(resampled_means(statistic.total, resamples=2000))
    assert value.std(ddof=1) / np.sqrt(300) == pytest.approx(drawn.std(), rel=0.12)


def test_one_cell_is_told_as_the_table_tells_it_and_has_users_only() -> None:
    statistic = world(2)["rmse"]
    found = sources([[statistic]])
    assert found.total.mean == pytest.approx(float(statistic.value(statistic.total.sum(axis=0))))
    assert found.users == pytest.approx(pseudo_values(statistic).std(ddof=1) / np.sqrt(120))
    assert (found.refits, found.draws) == (None, None)


def test_sources_of_a_mean_are_those_of_its_values() -> None:
    rng = np.random.default_rng(3)
    value = rng.normal(size=(4, 3, 50)) + rng.normal(size=(4, 1, 1)) + rng.normal(size=50)
    one = np.ones(50)
    found = sources([[Statistic(np.column_stack([cell, one]), ratio) for cell in row] for row in value])
    expected = decompose(value)
    assert found.total.mean == pytest.approx(expected.total.mean)
    assert (found.users, found.refits, found.draws) == pytest.approx((expected.users, expected.refits, expected.draws))


def test_refits_that_differ_are_seen_as_refits() -> None:
    """Refits miss by 1.0, 1.3 and 1.6; draws repeat the refit, so they add nothing."""
    same = [[world(4, error=e)["rmse"]] * 2 for e in (1.0, 1.3, 1.6)]
    found = sources(same)
    values = [float(row[0].value(row[0].total.sum(axis=0))) for row in same]
    assert found.total.mean == pytest.approx(np.mean(values))
    assert found.refits is not None
    assert found.refits == pytest.approx(np.std(values, ddof=1) / np.sqrt(3), rel=0.05)
    assert found.draws == pytest.approx(0, abs=1e-9)
    assert 0 < found.users < found.refits


def test_bad_input_is_refused() -> None:
    one, small = world(5)["rmse"], world(5, users=9)["rmse"]
    with pytest.raises(DataError, match="every refit needs as many draws"):
        sources([[one, one], [one]])
    with pytest.raises(DataError, match=r"every cell the same users; got draws \[1\], users \[9, 120\]"):
        sources([[one], [small]])
    with pytest.raises(DataError, match="as many draws"):
        sources([])
    with pytest.raises(DataError, match="not defined for all users"):
        sources([[Statistic(np.eye(2), ratio)]])  # without the second user nothing is counted
    with pytest.raises(DataError, match="at least 2 users; got 1"):
        pseudo_values(Statistic(np.ones((1, 2)), ratio))
