import numpy as np
import pytest

from simenv.errors import ConfigError, DataError
from simenv.evaluation.statistics import bootstrap_mean
from simenv.evaluation.user_total import Statistic, UserTotals, average, bootstrap, deal, ratio


def test_sums_are_by_user_whatever_the_order() -> None:
    users = UserTotals(np.array([7, 3, 7, 3, 3]))
    assert users.ids.tolist() == [3, 7]
    assert users.count.tolist() == [3, 2]
    assert users.sum(np.array([1, 10, 2, 20, 30])).tolist() == [60, 3]
    mean, variance = users.mean_and_variance(np.array([1.0, 10.0, 3.0, 20.0, 30.0]))
    assert mean.tolist() == [20, 2]
    assert variance.tolist() == [100, 2]


def test_the_bootstrap_of_one_rating_per_user_is_that_of_a_mean() -> None:
    value = np.random.default_rng(0).normal(size=40)
    found, expected = bootstrap(average(UserTotals(np.arange(40)), value), seed=3), bootstrap_mean(value, seed=3)
    assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high))


def test_resamples_without_any_user_of_a_group_are_left_out() -> None:
    total = np.zeros((10, 2))
    total[:2] = [[1, 2], [3, 4]]  # only two of ten users belong to the group
    found = bootstrap(Statistic(total, ratio), resamples=500)
    assert found.mean == pytest.approx(4 / 6)
    assert (found.low, found.high) == pytest.approx((0.5, 0.75))
    nobody = bootstrap(Statistic(np.zeros((10, 2)), ratio), resamples=50)
    assert np.isnan([nobody.mean, nobody.low, nobody.high]).all()


def test_bad_levels_and_single_users_are_refused() -> None:
    with pytest.raises(ConfigError, match="level must lie between"):
        bootstrap(Statistic(np.ones((3, 2)), ratio), level=95)
    with pytest.raises(DataError, match="at least 2 users"):
        bootstrap(Statistic(np.ones((1, 2)), ratio))


def test_all_pairs_of_a_user_are_dealt_to_one_fold_and_folds_are_even() -> None:
    user = np.random.default_rng(0).integers(23, size=500) * 5
    fold = deal(user, 5, seed=1)
    by_user = {u: set(fold[user == u].tolist()) for u in np.unique(user).tolist()}
    assert all(len(found) == 1 for found in by_user.values())
    sizes = np.bincount([found.pop() for found in by_user.values()])
    assert sorted(sizes.tolist()) == [4, 4, 5, 5, 5]
    assert (deal(user, 5, seed=1) == fold).all()
    assert (deal(user, 5, seed=2) != fold).any()
    assert np.unique(deal(np.array([1, 2, 2]), 10, seed=0)).size == 2
    with pytest.raises(ConfigError, match="folds must be 2 or more; got 1"):
        deal(user, 1, seed=0)
    with pytest.raises(DataError, match="needs at least 2 users; got 1"):
        deal(np.array([4, 4]), 5, seed=0)
