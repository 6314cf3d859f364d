from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from simenv.errors import ConfigError, DataError
from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.residual import by_popularity, by_support, cold, figure
from simenv.evaluation.rating import Prediction, Truth, measures
from simenv.evaluation.statistics import holm
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale

Float = NDArray[np.float64]
SCALE = RatingScale()


def case(seed: int = 0, users: int = 60, items: int = 100, per: int = 30) -> Case:
    """Items of popularity 0..99 among the known rows; real ratings are drawn from the simulator's own answers."""
    rng = np.random.default_rng(seed)
    count = np.arange(items)
    item = np.repeat(np.arange(items), count)
    user = rng.integers(users, size=len(item))
    index = Index.of(range(users), "user"), Index.of(range(items), "item")
    own = rng.choice([2.0, 3.0, 4.0], size=users)
    known = InteractionLog.of(*index, user, item, own[user], None, SCALE)
    held = np.repeat(np.arange(users), per)
    about = rng.integers(items, size=len(held))
    p = rng.dirichlet(np.ones(5), size=len(held))
    truth = Truth(held, SCALE.sample(p, rng.random(len(held))), SCALE)
    arms = {"simulator": Prediction.of(p, SCALE)}
    constant = {"constant": Prediction(np.full(len(held), 3.0))}
    return Case(truth, about, known, arms, constant, {}, known_counts(known, about))


def known_counts(known: InteractionLog, item: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.bincount(known.item, minlength=known.n_items)[item].astype(np.float32)


def off(c: Case, by: Float) -> Case:
    """The case with a simulator that is off by so much, per pair."""
    return replace(c, simulator={"simulator": Prediction(np.asarray(c.answer.point) + by)})


def test_a_simulator_that_is_right_has_no_clear_residual_and_groups_are_even() -> None:
    c = case()
    found = by_popularity(c)
    assert [g.label.split()[0] for g in found] == ["items"] * 10 + ["users"] * 3
    assert sum(g.pairs for g in found[:10]) == sum(g.pairs for g in found[10:]) == 1800
    assert all(150 < g.pairs < 210 for g in found[:10])
    assert min(g.p_holm for g in found) > 0.01
    assert [g.p_holm for g in found] == pytest.approx(holm([g.p for g in found]).tolist())
    ends = [float(e) for g in found[:10] for e in g.label.split()[2].split("..")]
    assert ends == sorted(ends)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    inside = [g.residual.low < 0 < g.residual.high for s in range(12) for g in by_popularity(case(s))]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.04)


def test_a_tilt_towards_the_popular_is_found_where_it_is() -> None:
    c = case()
    popular = np.bincount(c.known.item, minlength=100)[c.item]
    found = by_popularity(off(c, np.where(popular > 80, 0.8, 0.0)))
    assert [g.p_holm < 0.01 for g in found[:10]] == [False] * 8 + [True] * 2
    assert found[9].residual.mean == pytest.approx(0.8, abs=0.2)
    assert found[9].z > 4


def test_a_tilt_towards_one_middle_is_found_among_users() -> None:
    c = case()
    own = np.bincount(c.known.user, c.known.rating, 60) / c.known.count
    found = by_popularity(off(c, 0.6 * (3 - own[c.truth.user])))[10:]
    assert found[0].residual.low > 0.3
    assert found[2].residual.high < -0.3
    assert [g.label for g in found] == ["users of mean 2.00", "users of mean 3.00", "users of mean 4.00"]


def test_a_group_is_what_a_t_test_of_user_means_says_when_users_rate_alike() -> None:
    c = case(per=1)
    c = replace(c, item=np.full(60, 50), support=np.full(60, 50, np.float32))
    group, gap = by_popularity(c)[0], np.asarray(c.answer.point) - c.truth.rating
    expected = ttest_1samp(gap, 0)
    ends = expected.confidence_interval(0.95)
    assert (group.pairs, group.users, group.label) == (60, 60, "items rated 50 times")
    assert (group.z, group.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (group.residual.low, group.residual.high) == pytest.approx((ends.low, ends.high))


def test_errors_count_users_not_pairs() -> None:
    c = case()
    rng = np.random.default_rng(1)
    own = rng.normal(size=60)[c.truth.user]
    (group,) = by_support(replace(off(c, own), support=np.ones(1800, np.float32)))
    iid = (np.asarray(c.answer.point) + own - c.truth.rating).std() / np.sqrt(1800)
    assert (group.residual.high - group.residual.low) / 4 > 2.5 * iid


def test_users_and_items_nobody_knows_are_groups_of_their_own() -> None:
    c = case()
    fewer = c.known.of_users(np.arange(50))
    c = replace(c, known=fewer, support=np.where(c.item < 30, 0, c.support).astype(np.float32))
    strangers = by_popularity(c)[10]
    assert (strangers.label, strangers.pairs, strangers.users) == ("users without known ratings", 300, 10)
    found = by_support(c)
    assert found[0].label == "no support"
    assert found[0].pairs == int((c.item < 30).sum())
    assert [g.label.split()[0] for g in found[1:]] == ["support"] * 5
    assert found[1].label.startswith("support 30..")


def test_one_user_has_a_mean_and_no_interval() -> None:
    c = case()
    support = np.where(c.truth.user == 7, 9, 0).astype(np.float32)
    none, one = by_support(replace(c, support=support))
    assert (one.users, one.pairs) == (1, 30)
    assert np.isfinite(one.residual.mean)
    assert np.isnan([one.residual.low, one.residual.high, one.z, one.p, one.p_holm]).all()
    assert none.p_holm == none.p


def test_cold_slices_hold_the_pairs_they_say_and_every_predictor() -> None:
    c = case()
    some = np.isin(c.known.user, [0, 1, 2])
    c = replace(c, known=c.known.take(~some | (np.cumsum(some) <= 15)))
    items = np.bincount(c.known.item, minlength=100)[c.item] < 5
    users = c.known.count[c.truth.user] < 20
    assert users.sum() == 90
    found = cold(c, resamples=200)
    for piece, inside in zip(found, (items, users, ~items & ~users), strict=True):
        truth = Truth(c.truth.user[inside], c.truth.rating[inside], SCALE)
        p = c.answer.p
        assert p is not None
        expected = measures(truth, Prediction.of(p[inside], SCALE))
        rmse, nll = piece.rmse["simulator"], piece.nll["simulator"]
        assert rmse is not None
        assert nll is not None
        assert (piece.pairs, piece.users) == (inside.sum(), len(np.unique(truth.user)))
        assert (rmse.mean, nll.mean) == pytest.approx((expected["rmse"], expected["nll"]))
        assert rmse.low < rmse.mean < rmse.high
        assert piece.rmse["constant"] is not None
        assert piece.nll["constant"] is None
    assert "fewer than 5" in found[0].label
    assert "fewer than 20" in found[1].label


def test_an_empty_slice_has_no_numbers() -> None:
    c = case()
    warm = replace(c, item=np.full(len(c.item), 99))
    items, users, others = cold(warm, resamples=50)
    for empty in (items, users):
        assert (empty.pairs, empty.users) == (0, 0)
        assert empty.rmse == empty.nll == {"simulator": None, "constant": None}
    assert others.pairs == 1800


def test_a_slice_of_one_user_has_no_interval() -> None:
    c = case()
    known = c.known.take((c.known.user != 4) | (np.cumsum(c.known.user == 4) <= 3))
    users = cold(replace(c, known=known), resamples=50)[1]
    rmse = users.rmse["simulator"]
    assert (users.users, users.pairs) == (1, 30)
    assert rmse is not None
    assert np.isfinite(rmse.mean)
    assert np.isnan([rmse.low, rmse.high]).all()


def test_held_out_ratings_do_not_move_the_groups() -> None:
    c = case()
    other = replace(c, truth=Truth(c.truth.user, np.roll(c.truth.rating, 1), SCALE))
    for measure in (by_popularity, by_support):
        assert [(g.label, g.pairs) for g in measure(c)] == [(g.label, g.pairs) for g in measure(other)]


def test_groups_are_drawn() -> None:
    groups = by_support(case())
    found = figure("residual by support", groups)
    assert all(g.label in found.svg for g in groups)
    assert "rating points" in found.svg
    assert found.svg != figure("residual by support", groups[1:]).svg


def test_bad_input_is_refused() -> None:
    c = case()
    for measure in (by_popularity, by_support, cold):
        with pytest.raises(ConfigError, match="level must lie between"):
            measure(c, level=95)
    with pytest.raises(DataError, match="must be a distribution"):
        cold(replace(c, simulator={"simulator": Prediction(np.full(1800, 3.0), np.full((1800, 5), 0.3))}))
