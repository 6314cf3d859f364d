import numpy as np
import pytest

from simenv.agents.boredom import kinds_of
from simenv.agents.return_time import DAY, Loyalty, ReturnTime
from simenv.datasets.synthetic import World, generate
from simenv.evaluation.yardstick import UserItemBias
from simenv.study.return_foreteller import ARMS, PLAIN, Own, Plain, foretellers
from simenv.study.return_visits import BASELINE, SHIPPED, ReturnStudy, _given, _lived, _resampled
from simenv.study.satiation import SatiationStudy, out_of_fold
from simenv.training.return_model import Gaps

FLAT = ReturnTime(edge=(0.0, 1000.0), log_rate=(float(np.log(0.2)),), slope_satisfaction=0.0, frailty=0.0)
SMALL = ReturnStudy(refits=2, resamples=3, at=0.2)


def made(user: list[int], days: list[float], returned: list[bool]) -> Gaps:
    n, zero = len(user), np.zeros(len(user))
    own = np.array(user)
    visit = np.arange(n) - np.searchsorted(own, own)
    return Gaps(own, visit, np.array(days), np.array(returned), zero, zero, np.arange(n) * DAY)


def loyal_and_not(n_users: int = 120) -> Gaps:
    """Return gaps of users half of whom come back every day, the others every twenty days, for sixty days."""
    rng, rows = np.random.default_rng(0), []
    for u in range(n_users):
        left, mean = 60.0, 1.0 if u % 2 else 20.0
        while left > 0:
            away = 0.03 + rng.exponential(mean)
            rows.append((u, min(away, left), away <= left))
            left -= away
    user, days, returned = (list(c) for c in zip(*rows, strict=True))
    return made(user, days, returned)


@pytest.fixture(scope="module")
def world() -> World:
    return generate(2, n_users=150, n_items=120)


def test_who_knows_a_users_past_foretells_the_next_visit_best() -> None:
    found = SMALL.held_out(loyal_and_not(60))
    rows = found["foretellers"]
    assert set(rows) == {*PLAIN, *ARMS}
    assert rows[SHIPPED]["c_index"][1] > 0.5
    assert rows[BASELINE]["c_index"] == [0.5, 0.5, 0.5]
    assert rows[SHIPPED]["less_than_constant"][2] < 0
    assert rows[BASELINE]["less_than_constant"] == [0, 0, 0]
    assert found["users"] + found["users_fitted_to"] == 60
    assert found["users_and_refits"]["less_than_constant, mean over users"][0] < 0


def test_the_posterior_holds_earlier_gaps_alone() -> None:
    known = made([0, 0, 0, 1], [2.0, 3.0, 9.0, 4.0], [True, True, False, False])
    own = Own(ReturnTime(edge=(0.0, 100.0), log_rate=(0.0,), slope_satisfaction=0.0, frailty=0.5))
    shape, rate = own.posterior(known)
    assert shape.tolist() == [2, 3, 4, 2]
    assert rate.tolist() == [2, 4, 7, 2]
    np.testing.assert_allclose(own.p_back(known, np.array([1.0]))[:, 0], 1 - (rate / (rate + 1)) ** shape)
    np.testing.assert_allclose(own.risk(known), shape / rate)


def test_a_constant_rate_forgets_how_long_somebody_is_away() -> None:
    known = made([0, 0, 1], [5.0, 7.0, 30.0], [True, False, False])
    last = np.array([1, 2])
    for who in (Own(FLAT), Plain.fit("expon", known, 0.0)):
        near = _given(who, known, last, 3.0)
        assert near[0] == pytest.approx(near[1])
    assert _given(Own(FLAT), known, last, 3.0)[0] == pytest.approx(1 - np.exp(-0.6))


def test_simulated_lives_at_a_constant_rate_are_a_poisson_process() -> None:
    n = 4000
    known = made(list(range(n)), [3.0] * n, [False] * n)
    count = _lived(FLAT, Loyalty.unknown(n), known, 10.0, 0)
    assert count.mean() == pytest.approx(2.0, abs=0.1)
    assert count.var() == pytest.approx(2.0, abs=0.2)


def test_resampled_users_keep_their_gaps_together() -> None:
    known = made([3, 3, 5, 8, 8, 8], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [True] * 6)
    again = _resampled(known, 1)
    assert len(np.unique(again.user)) == 3
    own = {3: [1.0, 2.0], 5: [3.0], 8: [4.0, 5.0, 6.0]}
    for u in np.unique(again.user):
        assert again.days[again.user == u].tolist() in own.values()


def test_one_moment_and_fitted_numbers(world: World) -> None:
    found = SMALL.one_moment(world.log, 20)
    assert found["users"] > 30
    assert found["back_within"]["7 d"]["own past"]["foretold_minus_seen"][0] == pytest.approx(0, abs=0.3)
    truth = SMALL.truth(world)
    gap = truth["largest_gap_to_the_truth"]
    assert gap["truth"] < 1e-9
    assert gap["own"] < gap[BASELINE]
    names = foretellers(loyal_and_not(20), ReturnTime(), (BASELINE, SHIPPED))
    assert list(names) == [BASELINE, SHIPPED]
    assert isinstance(names[BASELINE], Plain)
    fitted = SMALL.fitted(loyal_and_not(40))
    assert fitted["with_the_satisfaction_slope_fitted"]["slope_satisfaction"] == [0, 0, 0]
    assert 0 <= fitted["churn_per_gap_of_a_user_drawn_at_random"] <= 1


def test_satiation_is_found_where_it_was_planted(world: World) -> None:
    study = SatiationStudy(keep=(0.9,), shuffles=10, planted=-2.0)
    found = study.truth(world)
    assert found["planted -2"]["effect"][2] < 0
    assert found["planted -2"]["effect"][0] < found["none"]["effect"][0] - 1
    residual = out_of_fold(world.log, UserItemBias(), 5, 0)
    assert residual.std() < world.log.rating.std()
    assert kinds_of(world.catalogue).shape[0] == 120
    assert study.real(world.log, world.catalogue).keys() == {"user and item bias", "matrix factorisation"}
