"""Users who come back: episodes of several visits, worth discounted by the day, and what a return is worth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv.agents.boredom import Boredom
from simenv.agents.exit import ExitHazard
from simenv.agents.grown_memory import GrownMemory
from simenv.agents.life import Life
from simenv.agents.return_time import ReturnTime
from simenv.agents.synthetic import checkerboard
from simenv.environment import ItemEnv, SlateEnv
from simenv.errors import ConfigError
from simenv.index import Index
from simenv.play import play
from simenv.randomness import Purpose, counter_hash, uniform
from simenv.rewards import LongTerm, satisfaction
from simenv.session import Response, Session, Slate, UserState
from simenv.testing import EnvironmentContract
from simenv.testing.logs import log_of
from simenv.testing.population import ScriptedPopulation
from simenv.vector import SlateVectorEnv

NEVER = 103
"""Raw id of a user who never comes back."""


@final
@dataclass(frozen=True, eq=False)
class Regulars:
    """Scripted users of whom all but one come back after 1, 2, .. days, by luck of the visit."""

    inner: ScriptedPopulation = field(default_factory=lambda: ScriptedPopulation(p_leave=0.4))

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # asked for while a copy is being made
            raise AttributeError(name)
        return getattr(self.inner, name)

    def begin(self, user: NDArray[np.int64], key: NDArray[np.uint64]) -> UserState:
        n = len(user)
        return replace(self.inner.begin(user, key), visit=np.zeros(n, np.int64), day=np.zeros(n))

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        return self.inner.respond(state, slate)

    def return_visit(self, state: UserState) -> tuple[UserState, NDArray[np.float64]]:
        assert state.visit is not None
        assert state.day is not None
        days = np.ceil(3 * uniform(state.key, state.user, purpose=Purpose.RETURN))
        days = np.where(state.user == NEVER - 101, np.inf, days)
        fresh = self.begin(state.user, counter_hash(state.key, state.user, int(Purpose.VISIT)))
        return replace(fresh, visit=state.visit + 1, day=state.day + days), days

    def p_return(self, state: UserState, days: float) -> NDArray[np.float64]:
        return np.where(state.user == NEVER - 101, 0.0, 1 - 0.5**days)


REGULARS = Regulars()
MANY = Regulars(ScriptedPopulation(items=Index(tuple(range(99)), "item"), p_leave=0.4))
"""With so many items that nobody sees them all."""
LOG = log_of(REGULARS)


class TestLives(EnvironmentContract):
    population = REGULARS
    setting = {"slate_size": 3, "max_pages": 3, "visits": 3, "training_log": LOG, "day_discount": 0.9}  # noqa: RUF012


class TestLivesPlaceByPlace(EnvironmentContract):
    env_id, population = "simenv/Item-v0", REGULARS
    setting = {"slate_size": 2, "max_pages": 3, "visits": 4, "candidates": 5, "observation": "flat"}  # noqa: RUF012


class TestUsersWithALife(EnvironmentContract):
    """Memories, boredom and return times of simenv.agents, through the same door."""

    population = checkerboard(8, 20, exit=ExitHazard(page_logit=(0.0,))).with_(
        life=Life(boredom=Boredom(kind=0.0), memory=GrownMemory(recall=False), returning=ReturnTime())
    )
    setting = {"slate_size": 3, "max_pages": 3, "visits": 3, "reward": "long_term"}  # noqa: RUF012


class FirstFree:
    """Shows the available items of lowest number."""

    name = "first free"

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        free = session.available()
        order = np.argsort(~free, axis=1, kind="stable")[:, :k]
        return Slate.certain(np.where(np.take_along_axis(free, order, axis=1), order, -1))


def lived(env: Any, seed: int, **options: Any) -> tuple[list[float], dict[str, Any], list[tuple[int, float]]]:
    """Return rewards, the last info and (visit, day) after each page of an episode."""
    env.reset(seed=seed, options=options or None)
    rewards, when, over = [], [], False
    while not over:
        _, reward, terminated, truncated, info = env.step(FirstFree().recommend(env.session, 3, seed=0).item[0])
        rewards.append(reward)
        when.append((info["visit"], info["day"]))
        over = terminated or truncated
    assert truncated == (info["stop_reason"] == "visit_cap")
    return rewards, info, when


@pytest.mark.parametrize("days", [None, 3.0])
def test_the_environment_agrees_with_play(days: float | None) -> None:
    """The same users, luck and policy, visit after visit."""
    log = log_of(MANY)
    for seed in range(12):
        env = SlateEnv(MANY, slate_size=3, max_pages=3, visits=4, days=days, training_log=log)
        _, info = env.reset(seed=seed)
        user, key = np.array([info["user_index"]]), env._visits.state.key
        lived(env, seed)
        mine = env.record
        theirs = play(FirstFree(), MANY, log, user, slate_size=3, max_pages=3, key=key, visits=4, days=days)
        assert len(mine.pages) == len(theirs.pages)
        for a, b in zip(mine.pages, theirs.pages, strict=True):
            np.testing.assert_array_equal(a.slate.item, b.slate.item)
            np.testing.assert_array_equal(a.response.rating, b.response.rating)
            assert (a.visit.tolist(), a.page.tolist()) == (b.visit.tolist(), b.page.tolist())
            assert a.day is not None
            assert b.day is not None
            assert a.day.tolist() == b.day.tolist()


def test_who_never_comes_back_terminates_and_who_would_is_truncated() -> None:
    env = SlateEnv(REGULARS, slate_size=3, max_pages=2, visits=3)
    _, info, when = lived(env, 0, user_id=NEVER)
    assert info["stop_reason"] == "left", "also where the last page was our cap's"
    assert {visit for visit, _ in when} == {0}
    _, info, when = lived(env, 0, user_id=104)
    assert info["stop_reason"] == "visit_cap"
    assert [visit for visit, _ in when] == sorted(visit for visit, _ in when)
    assert when[-1][0] == 2, "after its last page a visit makes room for the next"


def test_no_visit_begins_after_the_last_day() -> None:
    env = SlateEnv(REGULARS, slate_size=3, max_pages=2, visits=99, days=4.0)
    ends = [lived(env, seed, user_id=104)[2][-1][1] for seed in range(20)]
    assert max(ends) <= 4.0
    assert max(ends) > 2.0


def test_what_was_rated_before_is_past_and_the_rest_may_come_again() -> None:
    env = SlateEnv(REGULARS, slate_size=3, max_pages=1, visits=2)
    env.reset(seed=1, options={"user_id": 104})
    observation, _, terminated, truncated, info = env.step([0, 1, 2])
    assert not terminated
    assert not truncated
    assert observation["page"] == 0
    assert observation["visit"] == 1
    assert observation["slate"].tolist() == [0, 1, 2], "the last page is still to be seen"
    np.testing.assert_array_equal(np.flatnonzero(observation["seen"]), np.flatnonzero(info["rated"]))


def test_a_day_discounts() -> None:
    plain, eager = (
        SlateEnv(REGULARS, slate_size=3, max_pages=2, visits=4, reward="retention", day_discount=rate)
        for rate in (1.0, 0.5)
    )
    for seed in range(5):
        _, _, when = lived(plain, seed, user_id=105)
        rewards, _, _ = lived(eager, seed, user_id=105)
        days = [0.0, *(day for _, day in when[:-1])]
        np.testing.assert_allclose(rewards, [0.5**day for day in days])


def test_retention_counts_pages_over_all_visits() -> None:
    env = SlateEnv(REGULARS, slate_size=3, max_pages=2, visits=3, reward="retention")
    rewards, _, when = lived(env, 3, user_id=105)
    assert sum(rewards) == len(when) == env.record.shown().pages.sum()
    assert env.record.shown().pages.tolist() == np.bincount([p.visit[0] for p in env.record.pages]).tolist()


def test_a_return_is_worth_what_it_is_likely() -> None:
    env = SlateEnv(REGULARS, slate_size=3, max_pages=1, reward=LongTerm(worth=8, within=2))
    page = SlateEnv(REGULARS, slate_size=3, max_pages=1, reward="satisfaction")
    for user, p in ((104, 0.75), (NEVER, 0.0)):
        for other in (env, page):
            other.reset(seed=0, options={"user_id": user})
        assert env.step([0, 1, 2])[1] == pytest.approx(page.step([0, 1, 2])[1] + 8 * p)


def test_the_end_pays_once() -> None:
    stays = Regulars(ScriptedPopulation(p_leave=0.0))
    env = SlateEnv(stays, slate_size=3, max_pages=3, reward="long_term")
    env.reset(seed=0, options={"user_id": 104})
    rewards = [env.step([3 * page, 3 * page + 1, 3 * page + 2])[1] for page in range(3)]
    response = [p.response for p in env.record.pages]
    slates = [p.slate for p in env.record.pages]
    plain = [float(satisfaction(r, s, stays.scale)[0]) for r, s in zip(response, slates, strict=True)]
    extra = np.array(rewards) - plain
    np.testing.assert_allclose(extra, [0, 0, 5 * (1 - 0.5**7)])


def test_lives_that_are_lived_are_not_paid_twice() -> None:
    for seed in range(4):
        env = SlateEnv(REGULARS, slate_size=3, max_pages=2, visits=3, reward="long_term")
        plain = SlateEnv(REGULARS, slate_size=3, max_pages=2, visits=3, reward="satisfaction")
        assert lived(env, seed)[0] == lived(plain, seed)[0]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"visits": 2}, "visits=2 needs users who come back: give the population a life with return times"),
    ({"visits": 0}, "visits must be at least 1"),
    ({"reward": "long_term"}, 'reward "long_term" needs a population with p_return'),
    ({"day_discount": 0.0}, r"day_discount must lie in \(0, 1\] and days above 0; got 0.0"),
    ({"days": -1.0}, "days above 0; got 1.0 and -1.0"),
]


@pytest.mark.parametrize(("setting", "words"), BAD)
def test_what_these_users_cannot_do_says_so(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SlateEnv(ScriptedPopulation(), **setting)


def test_lives_are_not_played_again_page_by_page() -> None:
    env = ItemEnv(REGULARS, visits=2)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ConfigError, match=r"played again by simenv\.play"):
        env.play(FirstFree())


def test_a_snapshot_goes_on_into_the_next_visit() -> None:
    env = SlateVectorEnv(REGULARS, 4, slate_size=3, max_pages=2, visits=3)
    env.reset(seed=0)
    draw = np.random.default_rng(0)
    env.step(draw.integers(30, size=(4, 3)))
    shot, actions = env.snapshot(), draw.integers(30, size=(8, 4, 3))
    ahead = [env.step(a) for a in actions]
    env.restore(shot)
    for action, want in zip(actions, ahead, strict=True):
        got = env.step(action)
        np.testing.assert_array_equal(got[1], want[1])
        np.testing.assert_array_equal(got[4]["day"], want[4]["day"])
