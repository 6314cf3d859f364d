from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from simenv.errors import ConfigError, DataError
from simenv.evaluation.fidelity.coverage import user_mean_coverage
from simenv.evaluation.rating import Truth
from simenv.randomness import shared_luck
from simenv.scale import RatingScale

Float = NDArray[np.float64]
SCALE = RatingScale()


def world(rho: float, seed: int = 0, users: int = 1500, most: int = 8) -> tuple[Truth, Float]:
    """Users of 1 to `most` ratings, drawn from known distributions with a known share of common luck."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(1, most + 1, size=users))
    p = rng.dirichlet(np.full(5, 0.7), size=len(user))
    luck = shared_luck(rng.random(len(user)), rng.random(users)[user], rho)
    return Truth(user, SCALE.sample(p, luck), SCALE), p


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("level", [0.9, 0.5])
@pytest.mark.parametrize("draws", [9, 150])
def test_a_simulator_that_is_right_covers_what_it_says(rho: float, level: float, draws: int) -> None:
    """Short histories: means are few-valued, where a naive quantile interval would cover too much."""
    shares = [user_mean_coverage(*world(rho, s), rho, level=level, draws=draws).mean for s in range(2)]
    assert np.mean(shares) == pytest.approx(level, abs=0.02)


def test_it_is_right_even_where_every_rating_is_certain() -> None:
    user = np.repeat(np.arange(50), 3)
    p = np.eye(5)[np.arange(150) % 5]
    found = user_mean_coverage(Truth(user, SCALE.array[np.arange(150) % 5], SCALE), p, 0.2, level=0.8, draws=20)
    assert found.mean == pytest.approx(0.8)
    off = user_mean_coverage(Truth(user, SCALE.array[(np.arange(150) + 1) % 5], SCALE), p, 0.2, draws=99)
    assert off.mean < 0.2


def test_luck_that_is_shared_but_not_admitted_costs_coverage_and_too_much_luck_gains_it() -> None:
    truth, p = world(0.3, users=300, most=60)
    assert user_mean_coverage(truth, p, 0.0, draws=100).high < 0.7
    assert user_mean_coverage(truth, p, 0.9, draws=100).low > 0.95


def test_a_shift_costs_coverage() -> None:
    truth, p = world(0.0, users=300, most=60)
    shifted = 0.6 * p
    shifted[:, 1:] += 0.4 * p[:, :-1]
    shifted[:, -1] += 0.4 * p[:, -1]
    assert user_mean_coverage(truth, shifted, 0.0, draws=100).high < 0.8


def test_the_interval_is_wilsons_over_users() -> None:
    """Forty users certain to be met and ten certain to be missed; draws are many, so parts of users are slight."""
    user, said = np.repeat(np.arange(50), 30), np.full(1500, 3.0)
    p = np.tile([0.0, 0.0, 1.0, 0.0, 0.0], (1500, 1))
    said[user >= 40] = 5.0
    found = user_mean_coverage(Truth(user, said, SCALE), p, 0.0, level=0.98, draws=400, confidence=0.9)
    expected = binomtest(40, 50).proportion_ci(0.9, method="wilson")
    assert found.level == 0.9
    assert found.mean == pytest.approx(0.98 * 0.8, abs=0.003)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_results_repeat_and_order_and_names_of_users_do_not_matter() -> None:
    truth, p = world(0.2, users=200, most=20)
    order = np.random.default_rng(0).permutation(len(p))
    first = user_mean_coverage(truth, p, 0.2, draws=200)
    assert first == user_mean_coverage(truth, p, 0.2, draws=200)
    again = Truth(9000 - truth.user[order], truth.rating[order], SCALE)
    assert user_mean_coverage(again, p[order], 0.2, draws=200).mean == pytest.approx(first.mean, abs=0.02)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"rho": 1.2}, ConfigError, "rho must lie in"),
        ({"draws": 0}, ConfigError, "draws be 1 or more; got 0.1 and 0"),
        ({"level": 90}, ConfigError, "level must lie between"),
        ({"confidence": 1.0}, ConfigError, "level must lie between"),
        ({"p": np.ones((3, 5)) / 5}, DataError, "p must have shape"),
        ({"p": np.full((6, 5), 0.3)}, DataError, "each row of p must be a distribution"),
        ({"p": np.full((6, 5), np.nan)}, DataError, "each row of p must be a distribution"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], error: type[Exception], words: str) -> None:
    truth = Truth(np.repeat([0, 1], 3), np.full(6, 3.0), SCALE)
    good: dict[str, Any] = {"truth": truth, "p": np.full((6, 5), 0.2), "rho": 0.1}
    with pytest.raises(error, match=words):
        user_mean_coverage(**(good | change))
