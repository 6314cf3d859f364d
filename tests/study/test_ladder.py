"""The ladder: worse users are worse by as much as arithmetic says."""

from typing import Any

import numpy as np
import pytest

from simenv.agents.population import SimulatedPopulation
from simenv.agents.synthetic import true_population
from simenv.datasets.synthetic import World, generate
from simenv.evaluation.fidelity.replay import replay
from simenv.study.ladder import TRUTH, distance, ladder

MEMBER = np.arange(5, 45)


@pytest.fixture(scope="module")
def world() -> World:
    return generate(1, n_users=60, n_items=50, median_history=25)


@pytest.fixture(scope="module")
def rungs(world: World) -> dict[str, SimulatedPopulation]:
    return ladder(world, MEMBER, world.log)


@pytest.fixture(scope="module")
def pairs(world: World) -> Any:
    rows = world.log.of_users(MEMBER)
    return rows.user, rows.item


def test_only_the_truth_has_no_distance_and_worse_is_further(
    world: World, rungs: dict[str, SimulatedPopulation], pairs: Any
) -> None:
    far = {name: distance(p, world, *pairs) for name, p in rungs.items()}
    assert far[TRUTH] == pytest.approx(0, abs=1e-6)
    assert min(v for n, v in far.items() if n != TRUTH) > 0.01
    assert far["25% uniform mixed in"] < far["50% uniform mixed in"] < far["constant"] < far["users swapped"]
    assert far["persona-free"] < far["constant"]


def test_uniform_is_mixed_in_by_its_weight(rungs: dict[str, SimulatedPopulation], pairs: Any) -> None:
    true, half = (replay(rungs[n], *pairs).p for n in (TRUTH, "50% uniform mixed in"))
    np.testing.assert_allclose(half, true / 2 + 0.1, atol=1e-6)


def test_swapped_users_answer_as_another_member_each(rungs: dict[str, SimulatedPopulation], world: World) -> None:
    item = np.arange(20)
    told = {u: replay(rungs["users swapped"], np.full(20, u), item).p for u in MEMBER}
    true = {u: world.truth.p(np.full(20, u), item) for u in MEMBER}
    whose = {u: next(o for o in MEMBER if np.allclose(told[u], true[o], atol=1e-5)) for u in MEMBER}
    assert sorted(whose.values()) == MEMBER.tolist()
    assert all(u != o for u, o in whose.items())


def test_persona_free_users_say_the_members_mean(rungs: dict[str, SimulatedPopulation], world: World) -> None:
    said = replay(rungs["persona-free"], np.array([5, 9]), np.array([3, 3])).p
    mean = world.truth.p(MEMBER, np.full(len(MEMBER), 3)).mean(axis=0)
    np.testing.assert_allclose(said, np.stack([mean, mean]), atol=1e-6)


def test_the_constant_says_the_shares_of_the_known_ratings(
    rungs: dict[str, SimulatedPopulation], world: World, pairs: Any
) -> None:
    said = replay(rungs["constant"], *pairs).p
    share = [(world.log.rating == v).mean() for v in (1, 2, 3, 4, 5)]
    np.testing.assert_allclose(said, np.tile(share, (len(said), 1)), atol=1e-6)


def test_distance_is_the_loss_in_log_likelihood_that_the_truth_would_expect(world: World, pairs: Any) -> None:
    """Known answer: KL(p || q) = sum p log p - sum p log q, here from frequencies of many draws."""
    blurred = ladder(world, MEMBER, world.log)["25% uniform mixed in"]
    user, item = (np.repeat(x[:30], 4000) for x in pairs)
    true, said = world.truth.p(user, item), replay(blurred, *(x[:30] for x in pairs)).p.repeat(4000, axis=0)
    place = world.truth.scale.encode(world.truth.scale.sample(true, np.random.default_rng(0).random(len(user))))
    row = np.arange(len(user))
    drawn = np.log(true[row, place]).mean() - np.log(said[row, place]).mean()
    assert distance(blurred, world, pairs[0][:30], pairs[1][:30]) == pytest.approx(drawn, abs=0.005)


def test_choice_and_exit_stay_true(rungs: dict[str, SimulatedPopulation], world: World) -> None:
    true = true_population(world, MEMBER)
    assert all((p.choice, p.exit, p.decay) == (true.choice, true.exit, true.decay) for p in rungs.values())
