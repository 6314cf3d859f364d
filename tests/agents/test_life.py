"""Life beyond one visit: off means off, batches do not matter, memories are simulated, the past is not touched."""

import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.agents.boredom import Boredom
from simenv.agents.choice import Choice
from simenv.agents.grown_memory import GrownMemory, Recalling, RecallingLM, RecallingModel, remembered
from simenv.agents.life import Life, save_life
from simenv.agents.population import SimulatedPopulation
from simenv.agents.return_time import Loyalty, Newcomers, ReturnTime
from simenv.agents.store import MANIFEST, load
from simenv.agents.synthetic import true_population
from simenv.datasets.synthetic import generate
from simenv.errors import ConfigError
from simenv.protocols import Answer, Returning
from simenv.scale import RatingScale
from simenv.session import Response, Slate, UserState, put_rows, take_rows

WORLD = generate(3, n_users=30, n_items=60)
PLAIN = true_population(WORLD).with_(rho=0.3, catalogue=WORLD.catalogue)
SOON = ReturnTime(edge=(0.02, 400.0), log_rate=(0.0,), frailty=1.0)
"""Everybody is back within days, so that tests see many returns."""
ALL = Life(
    Boredom(repeat=0.8, kind=0.8),
    GrownMemory(capacity=6),
    SOON,
    Loyalty(np.arange(30.0), np.full(30, 15.0), np.arange(30.0)),
    Newcomers(0.5, 10.0),
)
COMMON = ("user", "key", "page", "utility", "best", "repeat", "fatigue", "frailty", "shown")
Ints = NDArray[np.int64]


def same(one: Any, two: Any, names: tuple[str, ...] = ()) -> None:
    for name in names or tuple(f.name for f in fields(one)):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def begun(population: SimulatedPopulation, user: Ints) -> UserState:
    return population.begin(user, user.astype(np.uint64) * np.uint64(977) + np.uint64(5))


def lived(population: SimulatedPopulation, state: UserState, visits: list[list[Ints]]) -> tuple[list[Any], UserState]:
    """Return responses and gaps of some visits, and the state at the end."""
    out: list[Any] = []
    for number, pages in enumerate(visits):
        if number:
            state, days = population.return_visit(state)
            out.append(days)
        for item in pages:
            response, state = population.respond(state, Slate.certain(item))
            out.append(response)
    return out, state


@pytest.mark.parametrize(
    "life",
    [
        Life(),
        Life(boredom=Boredom(repeat=0.0, kind=0.0)),
        Life(memory=GrownMemory()),
        Life(returning=ReturnTime(), newcomers=Newcomers(0.5)),
    ],
    ids=["nothing on", "boredom of 0", "memory nobody reads", "returning alone"],
)
def test_what_changes_nothing_changes_no_bit(life: Life) -> None:
    other = PLAIN.with_(life=life)
    user = np.arange(30)
    slates = [np.random.default_rng(n).integers(-1, 60, (30, 5)) for n in range(3)]
    one, one_state = lived(PLAIN, begun(PLAIN, user), [slates])
    two, two_state = lived(other, begun(other, user), [slates])
    for a, b in zip(one, two, strict=True):
        same(a, b)
    same(one_state, two_state, COMMON)


def test_without_a_life_the_state_holds_nothing_of_it() -> None:
    state = begun(PLAIN, np.arange(3))
    _, after = PLAIN.respond(state, Slate.certain(np.zeros((3, 2), np.int64)))
    for s in (state, after):
        assert all(getattr(s, f.name) is None for f in fields(UserState) if f.name not in COMMON)
    assert PLAIN.assumption == PLAIN.with_(life=Life()).assumption


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 10), st.data())
def test_lives_do_not_depend_on_order_or_split_of_the_batch(seed: int, size: int, data: st.DataObject) -> None:
    population, draw = PLAIN.with_(life=ALL), np.random.default_rng(seed)
    user, key = draw.integers(0, 30, size), draw.integers(0, 2**63, size).astype(np.uint64)
    visits = [[draw.integers(-1, 60, (size, 4)) for _ in range(2)] for _ in range(3)]
    whole, state = lived(population, population.begin(user, key), visits)
    rows = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=size)))
    part, part_state = lived(
        population, population.begin(user[rows], key[rows]), [[p[rows] for p in pages] for pages in visits]
    )
    for a, b in zip(whole, part, strict=True):
        if isinstance(a, Response):
            same(take_rows(a, rows), b)
        else:
            np.testing.assert_array_equal(a[rows], b)
    same(take_rows(state, rows), part_state)


def test_a_life_is_pure_and_a_snapshot_is_its_arrays() -> None:
    population = PLAIN.with_(life=ALL)
    first = [np.random.default_rng(1).integers(0, 60, (8, 4))]
    _, state = lived(population, begun(population, np.arange(8)), [first, first])
    kept = {name: value.copy() for name, value in vars(state).items()}
    assert all(isinstance(value, np.ndarray) and len(value) == 8 for value in kept.values())
    slate = Slate.certain(np.tile(np.arange(4), (8, 1)))
    one, after = population.respond(state, slate)
    population.return_visit(after)
    two, _ = population.respond(UserState(**kept), slate)
    same(one, two)
    for name, value in kept.items():
        np.testing.assert_array_equal(getattr(state, name), value)
    fresh = begun(population, np.array([9, 10]))
    mixed = put_rows(state, np.array([2, 5]), fresh)
    same(take_rows(mixed, np.array([2, 5])), fresh, tuple(n for n in vars(fresh) if n != "shown"))


def test_the_next_visit_begins_anew_with_what_is_carried() -> None:
    population = PLAIN.with_(life=replace(ALL, returning=replace(SOON, carry=0.5, half_life=1.0)))
    _, state = lived(population, begun(population, np.arange(30)), [[np.tile(np.arange(5), (30, 1))]])
    after, days = population.return_visit(state)
    back = np.isfinite(days)
    assert back.sum() > 20
    assert (days[back] > 0.02).all()
    for name in ("page", "best", "repeat", "fatigue"):
        assert (getattr(after, name) == 0).all()
    assert after.shown.shape == (30, 0)
    assert np.all(after.visit == 1)
    assert state.day is not None
    assert after.day is not None
    np.testing.assert_allclose(after.day, state.day + days)
    np.testing.assert_allclose(after.utility[back], 0.5 * 0.5 ** days[back] * state.utility[back])
    assert not np.isin(after.key, state.key).any()
    assert len(np.unique(after.frailty)) == 30
    np.testing.assert_array_equal(after.loyalty, state.loyalty)


def test_luck_of_the_next_visit_is_the_same_whatever_was_shown_and_satisfaction_brings_users_back_sooner() -> None:
    population = PLAIN.with_(life=Life(returning=replace(SOON, slope_satisfaction=2.0)))
    user = np.arange(30)
    order = np.argsort(WORLD.truth.expected[:30], axis=1)
    ends = [lived(population, begun(population, user), [[items]])[1] for items in (order[:, :5], order[:, -5:])]
    (bad, later), (good, sooner) = (population.return_visit(s) for s in ends)
    np.testing.assert_array_equal(bad.key, good.key)
    np.testing.assert_array_equal(bad.frailty, good.frailty)
    assert (sooner < later).all()
    assert (population.p_return(ends[1], 1.0) > population.p_return(ends[0], 1.0)).all()


def test_draws_have_the_probability_that_is_said() -> None:
    population = PLAIN.with_(life=Life(returning=ReturnTime(), loyalty=ALL.loyalty))
    state = population.begin(np.full(20_000, 7), np.arange(20_000).astype(np.uint64))
    _, days = population.return_visit(state)
    for within in (1.0, 30.0):
        assert (days <= within).mean() == pytest.approx(population.p_return(state, within).mean(), abs=0.01)
    late = PLAIN.with_(life=ALL).begin(np.full(4000, 7), np.arange(4000).astype(np.uint64))
    assert late.day is not None
    assert (late.day > 0).mean() == pytest.approx(0.5, abs=0.03)


def test_the_loyal_come_back_sooner() -> None:
    population = PLAIN.with_(life=Life(returning=SOON, loyalty=ALL.loyalty))
    key = np.arange(2000).astype(np.uint64)
    rare, often = (population.begin(np.full(2000, u), key).loyalty for u in (1, 29))
    assert rare is not None
    assert often is not None
    assert (often > rare).all()


@dataclass(frozen=True)
class Fixed:
    """Everyone likes all items alike."""

    scale: RatingScale = RatingScale()  # noqa: RUF009

    def rate(self, user: Ints, item: Ints) -> Answer:
        p = np.tile(np.array([0, 0, 0, 1, 0], np.float32), (len(user), 1))
        return Answer(p, np.zeros(len(user), np.float32), np.zeros(len(user), np.float32))


def test_repeats_and_repeated_kinds_are_taken_less_and_rated_alike() -> None:
    many = PLAIN.with_(rating_model=Fixed(), choice=Choice(position_decay=1.0, slope=2.0), user_mean=np.full(30, 4.0))
    bored = many.with_(life=Life(Boredom(repeat=1.5, kind=1.5)))
    n = 6000
    state = bored.begin(np.arange(n) % 30, np.arange(n).astype(np.uint64))
    page = np.tile([3, 4], (n, 1))
    one, state = bored.respond(state, Slate.certain(page))
    two, again = bored.respond(state, Slate.certain(page))
    assert one.consumed[:, 0].mean() == pytest.approx(0.5, abs=0.02)
    assert two.consumed.mean() < one.consumed.mean() - 0.2
    np.testing.assert_array_equal(one.p_rating, two.p_rating)
    assert (again.utility < 0).all()
    likeness = bored._kinds @ bored._kinds[3]
    unlike, alike = int(np.argmin(likeness)), int(np.argsort(likeness)[-2])
    assert likeness[alike] - likeness[unlike] > 0.4
    first = bored.begin(np.arange(n) % 30, np.arange(n).astype(np.uint64))
    shares = [
        bored.respond(first, Slate.certain(np.tile([3, 3, 3, x], (n, 1))))[0].consumed[:, 3].mean()
        for x in (unlike, alike)
    ]
    assert shares[0] > shares[1] + 0.05
    half = bored.with_(life=Life(Boredom(repeat=1.5, kind=1.5).scaled(0.5)))
    assert half.respond(state, Slate.certain(page))[0].consumed.mean() > two.consumed.mean() + 0.05


def test_a_film_of_an_earlier_visit_is_a_repeat_that_fades() -> None:
    life = Life(Boredom(repeat=1.0, kind=0.0, half_life=5.0), returning=SOON)
    population = PLAIN.with_(life=life)
    _, state = lived(population, begun(population, np.arange(10)), [[np.tile([3, 4], (10, 1))]])
    after, days = population.return_visit(state)
    lost, _ = life.bored(after, np.tile([4, 9], (10, 1)), population._kinds)
    assert lost is not None
    back = np.isfinite(days)
    np.testing.assert_allclose(lost[back, 0], 0.5 ** (days[back] / 5))
    assert (lost[:, 1] == 0).all()


def test_memories_are_what_was_rated_the_oldest_go_first() -> None:
    eager = PLAIN.with_(choice=Choice(1.0, 50.0, 0.0), life=Life(memory=GrownMemory(capacity=3)))
    state = begun(eager, np.array([4, 5]))
    one, state = eager.respond(state, Slate.certain(np.array([[7, -1], [-1, -1]])))
    assert state.memory_item is not None
    assert state.memory_item.tolist() == [[-1, -1, 7], [-1, -1, -1]]
    two, state = eager.respond(state, Slate.certain(np.array([[8, 9, 10], [11, -1, 12]])))
    assert state.memory_item is not None
    assert state.memory_rating is not None
    assert state.memory_item.tolist() == [[8, 9, 10], [-1, 11, 12]]
    np.testing.assert_array_equal(state.memory_rating[0], two.rating[0])
    assert np.isfinite(one.rating[0, 0])
    told = remembered(state)
    assert told["source"].tolist() == ["simulated"] * 5
    assert told["user"].tolist() == [4, 4, 4, 5, 5]


@pytest.mark.parametrize(
    ("life", "words"),
    [
        (Life(loyalty=ALL.loyalty), "mean nothing unless users come back"),
        (Life(newcomers=Newcomers(0.1)), "mean nothing unless users come back"),
        (Life(returning=SOON, loyalty=Loyalty.unknown(4)), "loyalty speaks of 4 users, the population of 30"),
        (Life(memory=GrownMemory(recall=True)), "LatentTaste gives the same answer"),
    ],
)
def test_parts_that_do_not_fit_are_named(life: Life, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PLAIN.with_(life=life)


def test_more_that_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="needs the items' genres"):
        PLAIN.with_(catalogue=None, life=Life(Boredom()))
    assert PLAIN.with_(catalogue=None, life=Life(Boredom(kind=0.0))).life is not None
    with pytest.raises(ConfigError, match="capacity must be at least 1"):
        GrownMemory(capacity=0)
    for ask in (PLAIN.return_visit, lambda s: PLAIN.p_return(s, 1.0)):
        with pytest.raises(ConfigError, match="not told when to come back"):
            ask(begun(PLAIN, np.array([1])))
    assert isinstance(PLAIN, Returning)


def test_every_number_of_a_life_is_told_and_counts() -> None:
    population = PLAIN.with_(life=ALL, provenance={"population": "x"})
    said = population.assumption
    assert {k.split(".")[0] for k in said} == {
        "choice", "exit", "population", "boredom", "memory", "return", "newcomers",
    }  # fmt: skip
    assert all(v.split()[0] in ("fitted", "assumed") for v in said.values())
    other = population.with_(life=replace(ALL, loyalty=Loyalty.unknown(30)))
    prints = {p.fingerprint for p in (population, other, population.with_(life=None))}
    assert len(prints) == 3


def test_a_life_is_saved_beside_the_users_and_taken_away_without_trace(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    before = {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert not {"life.json", "loyalty.npz"} & {f.name for f in before}
    assert load(folder).life is None
    life = replace(ALL, loyalty=Loyalty(np.arange(60.0), np.ones(60), np.zeros(60)))
    save_life(life, folder)
    again = load(folder).life
    assert again is not None
    for name in ("boredom", "memory", "returning", "newcomers"):
        assert getattr(again, name) == getattr(life, name)
    assert again.loyalty is not None
    np.testing.assert_array_equal(again.loyalty.returns, np.arange(60.0))
    save_life(replace(life, loyalty=None), folder)
    assert not (folder / "loyalty.npz").exists()
    save_life(None, folder)
    assert {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()} == before
    assert (folder / MANIFEST).read_bytes() == before[Path(MANIFEST)]


@pytest.fixture
def reading(tiny_population: Any) -> SimulatedPopulation:
    population: SimulatedPopulation = tiny_population
    return population.with_(choice=Choice(1.0, 50.0, 0.0), life=Life(memory=GrownMemory(capacity=9, recall=True)))


class TestRecall:
    """The language model reads simulated memories beside real ones."""

    def test_nothing_grown_means_the_answers_of_before(self, reading: SimulatedPopulation) -> None:
        plain = reading.with_(life=None)
        slate = Slate.certain(np.array([[0, 5, 9], [1, 2, 3], [7, 8, -1]]))
        one, _ = plain.respond(begun(plain, np.array([0, 4, 7])), slate)
        two, _ = reading.respond(begun(reading, np.array([0, 4, 7])), slate)
        same(one, two)

    def test_answers_change_with_what_was_rated_and_rows_keep_their_own(self, reading: SimulatedPopulation) -> None:
        user = np.array([4, 4, 7])
        shape = (3, 9)
        item, rating = np.full(shape, -1), np.full(shape, np.nan, np.float32)
        item[0, 4:], rating[0, 4:] = [10, 11, 12, 13, 14], 5.0
        item[1, 4:], rating[1, 4:] = [10, 11, 12, 13, 14], 1.0
        state = replace(begun(reading, user), memory_item=item, memory_rating=rating)
        slate = Slate.certain(np.tile(np.arange(30, 40), (3, 1)))
        said, _ = reading.respond(state, slate)
        assert not np.array_equal(said.p_rating[0], said.p_rating[1])
        plain, _ = reading.with_(life=None).respond(state, slate)
        np.testing.assert_array_equal(said.p_rating[2], plain.p_rating[2])
        for row in range(3):
            alone, _ = reading.respond(take_rows(state, np.array([row])), Slate.certain(slate.item[[row]]))
            np.testing.assert_allclose(alone.p_rating[0], said.p_rating[row], atol=1e-5)

    def test_a_prompt_holds_a_simulated_memory(self, reading: SimulatedPopulation) -> None:
        model = Recalling.of(reading.rating_model).model
        assert isinstance(model, RecallingLM)
        mind = model.lm.mind
        real = set(mind.memory.item[mind.memory.user == 4].tolist())
        # Whatever is nearest to item q among all items the user has not rated is recalled first once it is remembered.
        q = next(i for i in range(60) if i not in real)
        near = mind.memory.space.affinity(np.array([q]), np.arange(60)[None])[0]
        near[[q, *real]] = -np.inf
        best = int(near.argmax())
        grown = model._of_rows(np.array([7, 4]), np.array([[-1], [best]]), np.array([[np.nan], [2.0]], np.float32))
        entry = grown.mind.recalled(np.array([0, 1]), np.array([q, q]))
        assert best in grown.mind.memory.item[entry[1][entry[1] >= 0]]
        assert grown.mind.memory.simulated.sum() == 1
        text = "".join(grown.prompts(np.array([1]), np.array([q]))[0].suffix)
        assert f"{mind.writer.catalogue.title[best]} 2" in text
        told = remembered(replace(begun(reading, np.array([7, 4])), memory_item=np.array([[-1], [best]]),
                                  memory_rating=np.array([[np.nan], [2.0]], np.float32)), mind.memory)  # fmt: skip
        assert told[told["row"] == 1]["source"].tolist() == ["real"] * len(real) + ["simulated"]
        assert (told[told["row"] == 0]["source"] == "real").all()

    def test_the_population_learns_nothing(self, reading: SimulatedPopulation) -> None:
        model = Recalling.of(reading.rating_model).model
        assert isinstance(model, RecallingLM)
        before = {n: v.copy() for n, v in vars(model.lm.mind.memory).items() if isinstance(v, np.ndarray)}
        page = np.tile(np.arange(5), (4, 1))
        _, state = lived(reading, begun(reading, np.arange(4)), [[page, page + 5, page + 10]])
        assert state.memory_item is not None
        assert (state.memory_item >= 0).all()
        for name, value in before.items():
            np.testing.assert_array_equal(getattr(model.lm.mind.memory, name), value)
        assert not model.lm.mind.memory.simulated.any()

    def test_a_table_cannot_remember(self, reading: SimulatedPopulation, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="which a table holds once"):
            reading.compile(tmp_path)
        table = reading.with_(life=None).compile(tmp_path)
        with pytest.raises(ConfigError, match="TableRatingModel gives the same answer"):
            table.with_(life=reading.life)

    def test_a_model_of_your_own(self) -> None:
        @dataclass(frozen=True)
        class Sated:
            scale: RatingScale = RatingScale()  # noqa: RUF009

            def rate(self, user: Ints, item: Ints) -> Answer:
                raise AssertionError("never asked")

            def rate_recalling(
                self, user: Ints, item: Ints, row: Ints, memory_item: Ints, memory_rating: NDArray[np.float32]
            ) -> Answer:
                top = (memory_item >= 0).sum(axis=1)[row] == 0
                p = np.zeros((len(user), 5), np.float32)
                p[np.arange(len(user)), np.where(top, 4, 0)] = 1
                return Answer(p, np.zeros(len(user), np.float32), np.zeros(len(user), np.float32))

        assert isinstance(Sated(), RecallingModel)
        population = PLAIN.with_(
            rating_model=Sated(), choice=Choice(1.0, 50.0, 0.0), life=Life(memory=GrownMemory(recall=True))
        )
        responses, _ = lived(population, begun(population, np.arange(3)), [[np.zeros((3, 1), np.int64)] * 2])
        assert responses[0].rating.tolist() == [[5], [5], [5]]
        assert responses[1].rating.tolist() == [[1], [1], [1]]
