from dataclasses import replace

import numpy as np
import pytest

from simenv.agents.boredom import Boredom, kinds_of
from simenv.datasets.synthetic import World, generate
from simenv.errors import ConfigError, DataError
from simenv.pages import visits
from simenv.training.satiation import exposures, satiation


@pytest.fixture(scope="module")
def world() -> World:
    return generate(5, n_users=300, n_items=150)


@pytest.fixture(scope="module")
def residual(world: World) -> np.ndarray:
    log = world.log
    return np.asarray(log.rating - world.truth.expected[log.user, log.item], np.float64)


def test_exposure_is_what_simulated_users_feel(world: World) -> None:
    kinds, item = kinds_of(world.catalogue), world.log.item[:30]
    boredom = Boredom(repeat=0.0, kind=1.0, keep=0.8)
    lost, _ = boredom.loss(item[None], kinds, np.zeros((1, kinds.shape[1])), np.zeros((1, 30)))
    one = exposures(item, np.zeros(30, np.int64), np.arange(30), kinds, 0.8)
    np.testing.assert_allclose(one, lost[0])


def test_visits_begin_unexposed_and_one_second_is_one_moment() -> None:
    kinds = np.ones((1, 1))
    item, visit = np.zeros(6, np.int64), np.array([0, 0, 0, 1, 1, 1])
    found = exposures(item, visit, np.array([0, 0, 1, 2, 3, 3]), kinds, 0.5)
    np.testing.assert_allclose(found, [0, 0, 0.75, 0, 0.5, 0.5])


def test_a_planted_effect_is_found_and_none_where_there_is_none(world: World, residual: np.ndarray) -> None:
    log, kinds = world.log, kinds_of(world.catalogue)
    exposed = exposures(log.item, visits(log), np.arange(len(log)), kinds, 0.9)
    none = satiation(log, kinds, residual, shuffles=30)
    planted = satiation(log, kinds, residual - 0.8 * exposed, shuffles=30)
    assert planted.effect.mean - none.effect.mean == pytest.approx(-0.8, abs=0.15)
    assert planted.effect.high < 0
    assert abs(none.effect.mean) < 3 * (none.effect.high - none.effect.low) / 4
    assert planted.p == pytest.approx(1 / 31)
    assert (planted.users, planted.shuffles) == (300, 30)


def test_liking_a_kind_is_no_satiation(world: World) -> None:
    """Users rate what they like highly: the plain slope says so, the order does not."""
    log, kinds = world.log, kinds_of(world.catalogue)
    taste = np.random.default_rng(0).normal(size=(log.n_users, kinds.shape[1]))
    liking = (taste[log.user] * kinds[log.item]).sum(axis=1)
    chosen = log.take(liking > 0.3)
    found = satiation(chosen, kinds, liking[liking > 0.3], shuffles=9)
    assert found.plain.clear
    assert abs(found.effect.mean) < abs(found.plain.mean) / 3


def test_what_cannot_be_measured_is_refused(world: World, residual: np.ndarray) -> None:
    log, kinds = world.log, kinds_of(world.catalogue)
    with pytest.raises(DataError, match="came from a simulator"):
        satiation(replace(log, simulated=True), kinds, residual)
    with pytest.raises(ConfigError, match="satiation needs times"):
        satiation(replace(log, time=None, time_note="none"), kinds, residual)
    with pytest.raises(ConfigError, match="at least 2 shuffled"):
        satiation(log, kinds, residual, shuffles=1)
    one = log.take(np.diff(log.user, prepend=-1) != 0)
    with pytest.raises(DataError, match="no rating of this log follows"):
        satiation(one, kinds, residual[: len(one)], shuffles=2)
