import time
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kstest

from simenv.agents.choice import Choice
from simenv.agents.exit import ExitHazard
from simenv.agents.luck import page_luck
from simenv.agents.population import SimulatedPopulation
from simenv.agents.synthetic import checkerboard, true_population
from simenv.datasets.synthetic import World, generate
from simenv.errors import ActionError, ConfigError, UnknownIdError
from simenv.protocols import Answer, Population, RatingModel
from simenv.scale import RatingScale
from simenv.session import Response, Slate, UserState, take_rows

WORLD = generate(3, n_users=30, n_items=60)
ALL = Choice(position_decay=1.0, intercept=50.0, slope=0.0)


@pytest.fixture(scope="module")
def world() -> World:
    return WORLD


@pytest.fixture(scope="module")
def population(world: World) -> SimulatedPopulation:
    return true_population(world).with_(rho=0.3)


def begin(population: SimulatedPopulation, user: NDArray[np.int64], seed: int = 0) -> UserState:
    return population.begin(user, user.astype(np.uint64) + np.uint64(1000 * seed))


def same(one: Response | UserState, two: Response | UserState) -> None:
    for f in fields(one):
        np.testing.assert_array_equal(getattr(one, f.name), getattr(two, f.name), err_msg=f.name)


def pages(
    population: SimulatedPopulation, state: UserState, slates: list[NDArray[np.int64]]
) -> tuple[list[Response], UserState]:
    out = []
    for item in slates:
        response, state = population.respond(state, Slate.certain(item))
        out.append(response)
    return out, state


@dataclass(frozen=True)
class Even:
    """All values equally likely for everyone."""

    scale: RatingScale = RatingScale()  # noqa: RUF009

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        n = len(user)
        return Answer(np.full((n, 5), 0.2, np.float32), np.full(n, 0.1, np.float32), np.full(n, 7, np.float32))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.data())
def test_answers_do_not_depend_on_order_or_split_of_the_batch(seed: int, size: int, data: st.DataObject) -> None:
    population = true_population(WORLD).with_(rho=0.3)
    draw = np.random.default_rng(seed)
    user = draw.integers(0, 30, size)
    key = draw.integers(0, 2**63, size).astype(np.uint64)
    slates = [draw.integers(-1, 60, (size, 5)) for _ in range(2)]
    whole, state = pages(population, population.begin(user, key), slates)
    rows = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=size)))
    part, part_state = pages(population, population.begin(user[rows], key[rows]), [s[rows] for s in slates])
    for one, two in zip(whole, part, strict=True):
        same(take_rows(one, rows), two)
    same(take_rows(state, rows), part_state)


def test_it_is_a_population_and_pure(population: SimulatedPopulation) -> None:
    assert isinstance(population, Population)
    assert isinstance(population.rating_model, RatingModel)
    state = begin(population, np.arange(10))
    before = {name: value.copy() for name, value in vars(state).items() if value is not None}
    slate = Slate.certain(np.arange(50).reshape(10, 5))
    first, after = population.respond(state, slate)
    second, again = population.respond(state, slate)
    same(first, second)
    same(after, again)
    for name, old in before.items():
        np.testing.assert_array_equal(getattr(state, name), old)


def test_shapes_types_and_a_page_of_bookkeeping(population: SimulatedPopulation) -> None:
    state = begin(population, np.array([4, 2]))
    assert state.shown.shape == (2, 0)
    assert (state.page == 0).all()
    response, after = population.respond(state, Slate.certain(np.array([[0, 1, -1], [5, 6, 7]])))
    kinds = {f.name: f"{getattr(response, f.name).dtype}" for f in fields(response)}
    assert kinds.pop("consumed") == kinds.pop("exit") == "bool"
    assert kinds.pop("p_exit") == "float64"
    assert set(kinds.values()) == {"float32"}
    assert response.p_rating.shape == (2, 3, 5)
    assert response.exit.shape == response.p_exit.shape == (2,)
    assert after.fatigue.tolist() == [2, 3]
    assert after.page.tolist() == [1, 1]
    assert after.shown.tolist() == [[0, 1, -1], [5, 6, 7]]


def test_one_call_of_the_model_a_page_and_none_for_empty_places(population: SimulatedPopulation) -> None:
    asked = []

    @dataclass(frozen=True)
    class Counting:
        scale: RatingScale = RatingScale()  # noqa: RUF009

        def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
            asked.append((user.tolist(), item.tolist()))
            return Even().rate(user, item)

    counting = population.with_(rating_model=Counting())
    counting.respond(begin(counting, np.array([0, 1])), Slate.certain(np.array([[3, -1], [4, 3]])))
    assert asked == [([0, 1, 1], [3, 4, 3])]


def test_empty_places_are_not_answered(population: SimulatedPopulation) -> None:
    eager = population.with_(choice=ALL, rating_model=Even())
    state = begin(eager, np.array([0, 1]))
    response, after = eager.respond(state, Slate.certain(np.array([[3, -1], [-1, -1]])))
    assert response.consumed.tolist() == [[True, False], [False, False]]
    assert np.isnan(response.rating).tolist() == [[False, True], [True, True]]
    assert np.isnan(response.p_rating).all(axis=2).tolist() == [[False, True], [True, True]]
    assert response.support.tolist() == [[7, 0], [0, 0]]
    assert np.isfinite(response.p_exit).all()
    assert (after.utility[1], after.best[1], after.repeat[1], after.fatigue[1]) == (0, 0, 0, 0)


def test_utility_is_a_moving_average_of_the_gap_to_the_own_mean() -> None:
    board = checkerboard(4, 20)
    liked, disliked = np.array([[0, 2, 4, 6]]), np.array([[1, 3, 5, -1]])
    gap = 5 * 0.999 + (1 + 2 + 3 + 4) * 0.00025 - 3
    _, state = pages(board, begin(board, np.array([0])), [liked, disliked])
    assert state.utility[0] == pytest.approx(0.7 * 0.3 * gap - 0.3 * gap, abs=1e-5)
    assert state.best[0] == pytest.approx(-gap, abs=1e-5)


def test_the_checkerboard_stays_for_good_pages_and_leaves_bad_ones() -> None:
    board = checkerboard(6, 20)
    user = np.array([0, 1, 2, 3])
    (good,), _ = pages(board, begin(board, user), [np.array([[0, 2], [1, 3], [4, 8], [5, 7]])])
    (bad,), _ = pages(board, begin(board, user), [np.array([[1, 3], [0, 2], [5, 7], [4, 8]])])
    assert good.consumed.all()
    assert (good.rating == 5).all()
    assert (bad.rating == 1).all()
    assert not good.exit.any()
    assert bad.exit.all()


def test_a_repeat_gets_the_same_answer_and_is_counted(population: SimulatedPopulation) -> None:
    eager = population.with_(choice=ALL, rating_model=Even())
    item = np.array([[5, 6, 7, 8]] * 20)
    (first, second), state = pages(eager, begin(eager, np.arange(20)), [item, item[:, ::-1]])
    np.testing.assert_array_equal(first.rating, second.rating[:, ::-1])
    assert (state.repeat == 1).all()
    _, state = pages(eager, begin(eager, np.arange(20)), [np.array([[5, 6, 5, -1]] * 20)])
    np.testing.assert_allclose(state.repeat, 1 / 3)
    punished = eager.with_(exit=ExitHazard((0.0,), 0.0, 0.0, 0.0, slope_repeat=5.0))
    responses, _ = pages(punished, begin(punished, np.arange(20)), [item, item])
    assert (responses[0].p_exit == 0.5).all()
    assert (responses[1].p_exit > 0.99).all()


def test_the_same_key_meets_the_same_luck_whatever_was_shown_before(population: SimulatedPopulation) -> None:
    eager = population.with_(choice=ALL)
    wanted = np.array([[9, 10]] * 8)
    one, _ = pages(eager, begin(eager, np.arange(8)), [np.array([[1, 2]] * 8), wanted])
    two, _ = pages(eager, begin(eager, np.arange(8)), [np.array([[3, -1]] * 8), wanted[:, ::-1]])
    np.testing.assert_array_equal(one[1].rating, two[1].rating[:, ::-1])


def test_willingness_belongs_to_the_item_and_attention_to_the_place_of_a_page(population: SimulatedPopulation) -> None:
    keys = np.arange(3000).astype(np.uint64)
    user, item = np.zeros(3000, np.int64), np.tile([3, 4], (3000, 1))
    willing = population.with_(rating_model=Even(), choice=Choice(position_decay=1.0, intercept=0.0, slope=0.0))
    (one, two), _ = pages(willing, willing.begin(user, keys), [item, item[:, ::-1]])
    np.testing.assert_array_equal(one.consumed, two.consumed[:, ::-1])
    assert abs((one.consumed[:, 0] == one.consumed[:, 1]).mean() - 0.5) < 0.05
    looking = population.with_(rating_model=Even(), choice=Choice(position_decay=0.5, intercept=50.0))
    (one, two), _ = pages(looking, looking.begin(user, keys), [item, item])
    assert one.consumed[:, 0].all()
    assert abs((one.consumed[:, 1] == two.consumed[:, 1]).mean() - 0.5) < 0.05


def test_another_key_another_luck(population: SimulatedPopulation) -> None:
    eager = population.with_(choice=ALL, rating_model=Even())
    item = np.tile(np.arange(20), (10, 1))
    (one,), _ = pages(eager, begin(eager, np.arange(10), seed=1), [item])
    (two,), _ = pages(eager, begin(eager, np.arange(10), seed=2), [item])
    assert 0.05 < (one.rating == two.rating).mean() < 0.5


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
def test_luck_keeps_its_distribution_and_shares_rho_within_a_visit(population: SimulatedPopulation, rho: float) -> None:
    even = population.with_(choice=ALL, rating_model=Even(), rho=rho)
    state = even.begin(np.zeros(4000, np.int64), np.arange(4000).astype(np.uint64))
    (response,), _ = pages(even, state, [np.tile([3, 4], (4000, 1))])
    share = np.bincount(response.rating[:, 0].astype(int), minlength=6)[1:] / 4000
    np.testing.assert_allclose(share, 0.2, atol=0.03)
    luck = even._shared(page_luck(state, np.tile([3, 4], (4000, 1))))
    assert kstest(luck[:, 0], "uniform").pvalue > 1e-4
    assert np.asarray(np.corrcoef(luck.T))[0, 1] == pytest.approx(6 / np.pi * np.arcsin(rho / 2), abs=0.05)


def test_exit_happens_with_the_probability_it_states(population: SimulatedPopulation) -> None:
    state = population.begin(np.zeros(8000, np.int64), np.arange(8000).astype(np.uint64))
    (response,), _ = pages(population, state, [np.tile([3, 4], (8000, 1))])
    assert response.exit.mean() == pytest.approx(response.p_exit.mean(), abs=0.02)
    assert state.frailty.std() == pytest.approx(population.exit.frailty_sd, rel=0.05)


def test_view_of_one_user(population: SimulatedPopulation, world: World) -> None:
    agent = population[7]
    assert (agent.number, agent.raw) == (6, 7)
    assert agent.mean == world.truth.mean[6]
    assert agent.activity == world.truth.activity[6]
    p = agent.rate([1, 2])
    np.testing.assert_allclose(p, world.truth.p(np.array([6, 6]), np.array([0, 1])), atol=1e-6)
    np.testing.assert_allclose(agent.expected([1, 2]), world.truth.expected[6, :2], atol=1e-4)
    assert len(population) == 30
    with pytest.raises(UnknownIdError, match="unknown user 99"):
        population[99]
    with pytest.raises(UnknownIdError, match="unknown item"):
        agent.rate([1000])


def test_assumptions_name_choice_exit_and_the_rest(population: SimulatedPopulation) -> None:
    said = population.assumption
    assert said["population.rho"] == "assumed 0.3"
    assert {key.split(".")[0] for key in said} == {"choice", "exit", "population"}
    assert all(value.split()[0] in ("fitted", "assumed") for value in said.values())
    assert population.with_(exit=ExitHazard((0.25,))).assumption["exit.page_logit"] == "assumed 0.25"


def test_strangers_are_refused(population: SimulatedPopulation) -> None:
    few = population.with_(member=np.array([2, 3]))
    with pytest.raises(UnknownIdError, match=r"user \S+ is not simulated here .*such as .*see population.member"):
        begin(few, np.array([2, 4]))
    with pytest.raises(UnknownIdError, match="user number 30"):
        begin(few, np.array([30]))
    with pytest.raises(UnknownIdError, match="not simulated"):
        few[1]
    with pytest.raises(ActionError, match="item number 60"):
        few.respond(begin(few, np.array([2])), Slate.certain(np.array([[60]])))
    with pytest.raises(ConfigError, match="one episode key per user"):
        few.begin(np.array([2, 3]), np.zeros(1, np.uint64))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"user_mean": np.zeros(3)}, "one number for each of 30 users"),
        ({"member": np.array([30])}, r"user numbers 0\.\.29"),
        ({"rho": 1.5}, "rho must lie"),
        ({"decay": 1.0}, "decay in"),
        ({"activity": np.full(30, np.nan)}, "no user_mean or activity"),
    ],
)
def test_bad_parts_are_named(population: SimulatedPopulation, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(population, **changes)


def test_a_page_is_cheap(population: SimulatedPopulation) -> None:
    even = population.with_(rating_model=Even())
    state = even.begin(np.arange(64) % 30, np.arange(64).astype(np.uint64))
    slate = Slate.certain(np.arange(640).reshape(64, 10) % 60)
    best = min(_seconds(even, state, slate) for _ in range(20))
    assert best < 0.004  # The aim is 2 ms; twice that leaves room for a busy machine.


def _seconds(population: SimulatedPopulation, state: UserState, slate: Slate) -> float:
    start = time.perf_counter()
    population.respond(state, slate)
    return time.perf_counter() - start
