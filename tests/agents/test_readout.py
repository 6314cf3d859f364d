"""Readout: off-scale mass is a fact, arms read one source, and the fitted pool is no worse than its parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax

from simenv.agents.readout import Readout, fit_readout

Float = NDArray[np.float64]


def said(seed: int, n: int = 200, size: int = 5) -> tuple[Float, Float, NDArray[np.int64]]:
    """A truth, a language model that sees half of it (and other tokens too), a prior that sees the other half."""
    rng = np.random.default_rng(seed)
    half, other = rng.normal(size=(2, n, size))
    truth = np.exp(log_softmax(half + other, axis=1))
    place = (rng.random(n)[:, None] > np.cumsum(truth, axis=1)).sum(axis=1).clip(0, size - 1)
    logp = log_softmax(half, axis=1) + np.log(rng.uniform(0.2, 1.0, (n, 1)))
    return logp, np.exp(log_softmax(other, axis=1)), place


def loss(p: NDArray[np.floating], place: NDArray[np.int64]) -> float:
    return float(-np.log(p[np.arange(len(place)), place].astype(np.float64)).mean())


@given(seed=st.integers(0, 999), size=st.integers(2, 10))
@settings(max_examples=30, deadline=None)
def test_the_pool_is_no_worse_than_either_alone(seed: int, size: int) -> None:
    logp, prior, place = said(seed, 60, size)
    pooled = loss(fit_readout(logp, prior, place, damping=0).read(logp, prior)[0], place)
    assert pooled <= loss(Readout(arm="lm").read(logp, prior)[0], place) + 1e-5
    assert pooled <= loss(Readout(arm="prior").read(logp, prior)[0], place) + 1e-5


def test_two_halves_of_the_truth_are_both_used() -> None:
    logp, prior, place = said(0, 4000)
    fitted = fit_readout(logp, prior, place, damping=0)
    assert fitted.lm == pytest.approx(1.0, abs=0.12)
    assert fitted.prior == pytest.approx(1.0, abs=0.12)


def test_damping_draws_to_one_half_each() -> None:
    logp, prior, place = said(0, 4000)
    free, drawn, held = (fit_readout(logp, prior, place, d) for d in (0.0, 0.1, 1e4))
    assert held.lm == pytest.approx(0.5, abs=1e-3)
    assert held.prior == pytest.approx(0.5, abs=1e-3)
    assert held.lm < drawn.lm < free.lm
    assert held.prior < drawn.prior < free.prior


@pytest.mark.parametrize("damping", [1e-3, 0.1, 100.0])
def test_no_other_pool_is_better(damping: float) -> None:
    """The objective, log-loss plus distance from one half each, rises in every direction from the fitted pool."""
    logp, prior, place = said(5, 400)
    lm, log_prior = log_softmax(logp, axis=1), np.log(prior)
    fitted = fit_readout(logp, prior, place, damping)
    best = np.array([fitted.lm, fitted.prior])

    def objective(theta: Float) -> float:
        q = log_softmax(theta[0] * lm + theta[1] * log_prior, axis=1)
        return float(-q[np.arange(len(place)), place].mean() + damping * ((theta - 0.5) ** 2).sum())

    rng = np.random.default_rng(0)
    steps = [*np.eye(2), *-np.eye(2), *rng.normal(size=(20, 2))]
    assert all(objective(best + 0.05 * step) > objective(best) for step in steps)


def test_noise_gets_no_weight() -> None:
    _, prior, place = said(1, 4000)
    noise = log_softmax(np.random.default_rng(2).normal(size=prior.shape), axis=1)
    assert fit_readout(noise, prior, place, damping=0).lm < 0.1


@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_what_is_read(seed: int) -> None:
    logp, prior, place = said(seed, 20)
    for readout in (Readout(), fit_readout(logp, prior, place), Readout(arm="lm"), Readout(arm="prior")):
        p, off_scale = readout.read(logp, prior)
        assert p.dtype == off_scale.dtype == np.float32
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
        wanted = 0 if readout.arm == "prior" else 1 - np.exp(logp).sum(axis=1)
        np.testing.assert_allclose(off_scale, wanted, atol=1e-6)


def test_arms_read_one_source() -> None:
    logp, prior, _ = said(3)
    reading: dict[str, Any] = {"lm": 0.3, "prior": 0.9}
    alone = np.exp(logp) / np.exp(logp).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(Readout(**reading, arm="lm").read(logp, prior)[0], alone, atol=1e-6)
    np.testing.assert_allclose(Readout(**reading, arm="prior").read(logp, prior)[0], prior, atol=1e-6)
    np.testing.assert_allclose(Readout().read(logp, prior)[0], alone, atol=1e-6)
    pooled = alone**0.3 * prior**0.9
    pooled /= pooled.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(Readout(**reading).read(logp, prior)[0], pooled, atol=1e-6)


def test_rounding_cannot_make_off_scale_negative() -> None:
    logp = np.full((1, 2), np.log(0.5) + 1e-7, np.float32)
    assert Readout().read(logp, np.full((1, 2), 0.5))[1][0] == 0
