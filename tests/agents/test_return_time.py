from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gamma

from simenv.agents.return_time import Loyalty, Newcomers, ReturnTime
from simenv.errors import ConfigError

STEADY = ReturnTime(edge=(0.0, 100.0), log_rate=(float(np.log(0.1)),), frailty=0.0)
"""One return in ten days, whatever the days away."""
ones = np.ones


def test_a_constant_rate_is_an_exponential_law() -> None:
    days = np.array([0.0, 1.0, 10.0, 50.0])
    np.testing.assert_allclose(STEADY.p_return(days, ones(4)), 1 - np.exp(-days / 10))
    np.testing.assert_allclose(STEADY.p_return(days, np.full(4, 2.0)), 1 - np.exp(-days / 5))


def test_after_the_last_edge_nobody_comes_back() -> None:
    u = (np.arange(200_000) + 0.5) / 200_000
    days = STEADY.draw(u, ones(len(u)))
    assert np.isinf(days).mean() == pytest.approx(np.exp(-10), abs=1e-5)
    assert np.median(days) == pytest.approx(10 * np.log(2), rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-6, 1 - 1e-6), st.floats(0.01, 50), st.floats(1.001, 5))
def test_draws_invert_the_law_and_a_higher_rate_never_delays(u: float, ratio: float, more: float) -> None:
    model = ReturnTime()
    here = np.array([ratio])
    days = model.draw(np.array([u]), here)
    if np.isfinite(days[0]):
        assert model.p_return(days, here)[0] == pytest.approx(u, abs=1e-9)
        assert model.edge[0] <= days[0] <= model.horizon
    else:
        assert u > model.p_return(np.array([model.horizon]), here)[0] - 1e-12
    assert model.draw(np.array([u]), here * more)[0] <= days[0]


def test_satisfaction_and_activity_enter_in_logs() -> None:
    model = ReturnTime(slope_satisfaction=0.5, slope_activity=-0.2, slope_visits=-0.5)
    np.testing.assert_allclose(
        model.ratio(np.array([1.0, 0.0]), np.array([0.0, 2.0]), np.array([0.0, 3.0])), [np.exp(0.5), np.exp(-0.4) / 2]
    )
    twice = model.scaled(2)
    assert replace(twice, slope_satisfaction=0.5) == model
    assert twice.slope_satisfaction == 1.0


def test_what_is_felt_halves_in_a_half_life() -> None:
    np.testing.assert_allclose(ReturnTime(half_life=3.0).fade(np.array([0.0, 3.0, 6.0, np.inf])), [1, 0.5, 0.25, 0])


def test_a_longer_silence_begins_later_with_the_same_rates() -> None:
    model = ReturnTime().beginning(0.1)
    assert model.edge[:2] == (0.1, 1 / 8)
    days = np.array([0.2, 3.0, 90.0])
    plain = ReturnTime()
    at_start = plain.cumulative(np.array([0.1]))
    np.testing.assert_allclose(model.cumulative(days), plain.cumulative(days) - at_start)
    assert ReturnTime().beginning(ReturnTime().edge[0]) == ReturnTime()
    with pytest.raises(ConfigError, match="nobody returns after 180"):
        ReturnTime().beginning(200.0)


def test_loyalty_is_the_gamma_posterior_of_what_was_seen() -> None:
    known = Loyalty(np.array([0.0, 6.0, 0.0]), np.array([0.0, 2.0, 4.0]), np.zeros(3))
    u = (np.arange(20_000) + 0.5) / 20_000
    for user, (shape, rate) in enumerate([(0.5, 0.5), (6.5, 2.5), (0.5, 4.5)]):
        drawn = known.draw(np.full(len(u), user), u, 2.0)
        assert drawn.mean() == pytest.approx(shape / rate, rel=0.01)
        np.testing.assert_allclose(drawn[::4000], gamma(shape, scale=1 / rate).ppf(u[::4000]))
    assert (known.draw(np.arange(3), np.array([0.1, 0.5, 0.9]), 0.0) == 1).all()
    assert (Loyalty.unknown(3).expected == 0).all()
    assert known.fingerprint != Loyalty.unknown(3).fingerprint


def test_newcomers_spread_over_their_days() -> None:
    u = (np.arange(10_000) + 0.5) / 10_000
    day = Newcomers(share=0.3, days=20.0).day(u)
    assert (day == 0).mean() == pytest.approx(0.7)
    late = day[day > 0]
    assert (late.min() < 0.01, late.max() > 19.9) == (True, True)
    assert late.mean() == pytest.approx(10, abs=0.1)
    assert (Newcomers().day(u) == 0).all()


def test_every_number_says_where_it_comes_from() -> None:
    said = ReturnTime(tag={"log_rate": "fitted", "frailty": "fitted"}).assumption
    assert said["return.frailty"] == "fitted 1"
    assert said["return.slope_satisfaction"] == "assumed 0.5"
    assert said["return.log_rate"].startswith("fitted -0.40")
    assert Newcomers(0.1).assumption["newcomers.share"] == "assumed 0.1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"edge": (0.0, 1.0)}, "one more than there are rates"),
        ({"edge": (1.0, 0.5), "log_rate": (0.0,)}, "ascending days"),
        ({"edge": (-1.0, 0.5), "log_rate": (0.0,)}, "ascending days"),
        ({"slope_satisfaction": np.nan}, "must be finite"),
        ({"frailty": -1.0}, "frailty >= 0"),
        ({"carry": 1.5}, r"carry in \[0, 1\]"),
        ({"half_life": 0.0}, "half_life > 0"),
    ],
)
def test_bad_numbers_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ReturnTime(**changes)


def test_bad_loyalties_and_newcomers_are_named() -> None:
    with pytest.raises(ConfigError, match="one shape"):
        Loyalty(np.zeros(2), np.zeros(3), np.zeros(2))
    with pytest.raises(ConfigError, match="negative"):
        Loyalty(np.array([-1.0]), np.zeros(1), np.zeros(1))
    with pytest.raises(ConfigError, match="share in"):
        Newcomers(share=1.5)
