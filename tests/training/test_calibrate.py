"""Calibration: luck that persists is found again where it was planted; base model and prior are asked as in serving."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from simenv.agents.language_model import ScriptedModel, UniformModel
from simenv.agents.prompt import PRESET, PromptWriter
from simenv.datasets.synthetic import World
from simenv.training.calibrate import Asked, ask, calibrate, persistence
from simenv.training.examples import LessonWriter, evidence
from simenv.training.ground import Ground, prepare
from simenv.training.pipeline import _lessons


def planted(rho: float, n_users: int = 500, each: int = 30, size: int = 5, seed: int = 0) -> Asked:
    """True answers drawn from known distributions with a Gaussian copula within each user (as in population.py)."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(n_users), each)
    p = rng.dirichlet(np.full(size, 2.0), len(user))
    z = np.sqrt(rho) * rng.normal(size=n_users)[user] + np.sqrt(1 - rho) * rng.normal(size=len(user))
    place = (ndtr(z)[:, None] > np.cumsum(p, axis=1)).sum(axis=1).clip(0, size - 1)
    return Asked(user, np.log(p).astype(np.float32), p.astype(np.float32), place)


@pytest.mark.parametrize("rho", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("size", [2, 5, 10])
def test_planted_luck_is_found(rho: float, size: int) -> None:
    """However coarse the scale is."""
    found = [persistence(a.prior, a.place, a.user) for a in (planted(rho, size=size, seed=s) for s in range(3))]
    assert np.mean(found) == pytest.approx(rho, abs=0.005 + 0.1 * rho)


def test_the_order_of_users_does_not_matter() -> None:
    a = planted(0.2)
    names = np.random.default_rng(0).permutation(500) + 1000
    turned = np.random.default_rng(1).permutation(len(a.user))
    found = persistence(a.prior[turned], a.place[turned], names[a.user][turned])
    assert found == pytest.approx(persistence(a.prior, a.place, a.user))


def test_limits() -> None:
    a = planted(0.9)
    assert persistence(a.prior, a.place, a.user) == 0.5
    alone = np.arange(len(a.user))
    assert persistence(a.prior, a.place, alone) == 0.0  # nobody answers twice


def test_the_pool_of_the_truth_is_the_truth() -> None:
    readout, rho = calibrate(planted(0.2))
    assert readout.lm + readout.prior == pytest.approx(1.0, abs=0.1)
    assert rho == pytest.approx(0.2, abs=0.04)


@pytest.fixture(scope="module")
def lessons(tiny_world: World, tiny_settings: Any) -> tuple[LessonWriter, Ground]:
    ground, profiles, _ = prepare(tiny_world.log, tiny_world.catalogue, np.arange(12), tiny_settings)
    return _lessons(ground, profiles.cuts), ground


def test_asking(lessons: tuple[LessonWriter, Ground], tiny_world: World) -> None:
    """Each target once, by the bare base, with all cues shown, beside what the prior says of it."""
    writer, ground = lessons
    drawn = evidence(ground.log, ground.folds, ground.judges, 5, fraction=0.6)
    heard: list[tuple[str, str | None]] = []

    def says(text: str, option: str, adapter: str | None) -> float:
        heard.append((text, adapter))
        return {"1": 0.1, "2": 0.1, "3": 0.1, "4": 0.2, "5": 0.3}[option]

    asked = ask(writer, ScriptedModel(says), drawn)
    answer: NDArray[np.float32] = np.concatenate([e.contexts.answer for e in drawn])
    np.testing.assert_array_equal(asked.place, answer - 1)
    np.testing.assert_array_equal(asked.user, np.concatenate([e.contexts.user[e.contexts.row] for e in drawn]))
    np.testing.assert_allclose(asked.prior.sum(axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(np.exp(asked.logp).sum(axis=1), 0.8, atol=1e-5)
    assert {a for _, a in heard} == {None}
    assert all(" Crowd " in t and " Match " in t for t, _ in heard)
    assert set(asked.user.tolist()) <= set(ground.judges.tolist())


def test_a_model_that_knows_nothing_does_little_harm(lessons: tuple[LessonWriter, Ground]) -> None:
    writer, ground = lessons
    drawn = evidence(ground.log, ground.folds, ground.judges, 5, fraction=0.6)
    asked = ask(writer, UniformModel(100), drawn)
    readout, rho = calibrate(asked)
    p, off_scale = readout.read(asked.logp, asked.prior)
    np.testing.assert_allclose(off_scale, 0.95, atol=1e-5)
    surprise = -np.log(p[np.arange(len(p)), asked.place]).mean()
    assert surprise <= -np.log(asked.prior[np.arange(len(p)), asked.place]).mean() + 0.05
    assert surprise < np.log(5)
    assert 0 <= rho <= 0.5


def test_judges_teach_nobody(lessons: tuple[LessonWriter, Ground]) -> None:
    _, ground = lessons
    assert not set(ground.judges.tolist()) & set(ground.pupils.tolist())
    assert len(ground.judges) >= 2
    assert PromptWriter(ground.catalogue, ground.log.scale, PRESET["compact"]) == ground.writer
