"""The forms of simenv's environments for trained agents: what they saw and did there, from a Session alone.

The environment's own observation and action forms are asked, over users who never answer, so that an agent meets in a
benchmark what it met in training. Knows no population.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.randomness import counter_hash, derive
from simenv.recommenders.learned import Agent
from simenv.scale import RatingScale
from simenv.session import Response, Session, Slate, UserState

Kind = Literal["Slate", "Item", "Proto"]
_SEEN = (
    "slate_size", "max_pages", "observation", "candidates", "repeats", "history", "show_user", "item_feature", "protos",
)  # fmt: skip
"""Arguments of an environment that an agent notices."""


@final
@dataclass(frozen=True)
class EnvironmentForm:
    """For agents trained in simenv/Slate-v0, Item-v0 or Proto-v0."""

    kind: Kind = "Slate"
    """Which of the three."""
    setting: Mapping[str, Any] = field(default_factory=dict)
    """The arguments the environment was made with (`slate_size`, `max_pages`, `candidates`, `observation`, ...), all
    but population, log and catalogue."""

    def __post_init__(self) -> None:
        if self.kind not in ("Slate", "Item", "Proto"):
            raise ConfigError(f'kind is "Slate", "Item" or "Proto"; got {self.kind!r}.')
        if self.setting.get("visits", 1) != 1:
            raise ConfigError("a benchmark plays one visit of a user; an agent of several visits has no place in it.")

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> EnvironmentAct:
        """Take the log that features of users and items rest on."""
        return EnvironmentAct(self.kind, dict(self.setting), log, catalogue, seed)


@final
@dataclass(frozen=True, eq=False)
class EnvironmentAct:
    """See EnvironmentForm."""

    kind: Kind
    setting: dict[str, Any]
    log: InteractionLog
    catalogue: Catalogue
    seed: int
    """Seed of the fit; candidates depend on it and on the seed given to `show`."""

    def show(self, agent: Agent, session: Session, k: int, *, seed: int) -> Slate:
        """Return the page the agent fills, in as many actions as its environment takes for one.

        Candidates are those of the session, or drawn evenly as the environment does.

        Raises:
            ConfigError: k is not the environment's `slate_size`, or the session has other candidates than its number.
            ActionError: an action the environment would refuse.

        """
        env = self._made(session, k)
        visits, form = env._visits, env._form
        self._set(visits, session, k, derive(self.seed, seed))
        everyone = np.arange(len(session))
        for _ in range(k):
            action, _ = agent.predict(form.observe(visits), deterministic=True)
            waiting = visits.session.page == session.page
            checked = env._action.checked(action, ~waiting)
            env._action.act(visits, everyone[waiting], checked[waiting])
            if (visits.session.page > session.page).all():
                break
        return Slate.certain(visits.slate.item.copy())

    def _made(self, session: Session, k: int) -> Any:
        from simenv.vector import ItemVectorEnv, ProtoVectorEnv, SlateVectorEnv

        kinds: dict[Kind, Any] = {"Slate": SlateVectorEnv, "Item": ItemVectorEnv, "Proto": ProtoVectorEnv}
        seen = {name: value for name, value in self.setting.items() if name in _SEEN}
        # Nobody answers, so only a reward that needs no answer can be paid.
        made = kinds[self.kind](
            Silent(self.log), len(session), training_log=self.log, catalogue=self.catalogue,
            keep_record=False, reward="consumed", **seen,
        )  # fmt: skip
        size = made._visits.rules.slate_size
        if size != k:
            raise ConfigError(f"the agent fills {size} places, and {k} are asked for; play it with slate_size={size}.")
        return made

    def _set(self, visits: Any, session: Session, k: int, seed: int) -> None:
        """Let the visits stand as the session says."""
        row, wanted = np.arange(len(session)), visits.rules.candidates
        key = counter_hash(np.uint64(seed), session.user)
        if session.candidate is None or wanted is None:
            session = visits.offer(session, key)
        elif session.candidate.shape[1] != wanted:
            raise ConfigError(
                f"the agent was trained with {wanted} candidates and the session has {session.candidate.shape[1]}."
            )
        last = _last(session, k, len(visits.population.scale))
        visits.known.begin(row, session.past_item)
        visits.known.show(row, session.shown)
        visits.put(row, session, visits.population.begin(session.user, key), *last)
        visits.stop[:], visits.answered[:], visits.given[:] = 0, True, True


def _last(session: Session, k: int, n_values: int) -> tuple[Slate, Response]:
    """Return the last page and what is publicly known of the answers to it."""
    n = len(session)
    item, rating = np.full((n, k), -1), np.full((n, k), np.nan, np.float32)
    taken, width = np.zeros((n, k), bool), min(k, session.shown.shape[1])
    if width:
        item[:, -width:], taken[:, -width:] = session.shown[:, -width:], session.consumed[:, -width:]
        rating[:, -width:] = session.rating[:, -width:]
    nothing = np.zeros((n, k), np.float32)
    p = np.full((n, k, n_values), np.nan, np.float32)
    return Slate.certain(item), Response(taken, rating, np.zeros(n, bool), p, nothing, np.zeros(n), nothing.copy())


@final
@dataclass(frozen=True, eq=False)
class Silent:
    """Users who never answer and never leave; they stand where an environment wants a population."""

    log: InteractionLog

    @property
    def users(self) -> Index:
        """Those of the log."""
        return self.log.users

    @property
    def items(self) -> Index:
        """Those of the log."""
        return self.log.items

    @property
    def member(self) -> NDArray[np.int64]:
        """int64[U]: everybody."""
        return np.arange(self.log.n_users)

    @property
    def scale(self) -> RatingScale:
        """That of the log."""
        return self.log.scale

    @property
    def assumption(self) -> dict[str, str]:
        """Nothing is assumed of them."""
        return {}

    def begin(self, user: NDArray[np.int64], key: NDArray[np.uint64]) -> UserState:
        """Return users [B] who know nothing."""
        zero, count = np.zeros(len(user)), np.zeros(len(user), np.int64)
        none = np.empty((len(user), 0), np.int64)
        return UserState(user, key, count, zero, zero.copy(), zero.copy(), count.copy(), zero.copy(), none)

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        """Return no answer; the users stay as they are."""
        n, k = slate.item.shape
        nothing = np.zeros((n, k), np.float32)
        p = np.full((n, k, len(self.scale)), np.nan, np.float32)
        rating = np.full((n, k), np.nan, np.float32)
        gone = np.zeros(n, bool)
        return Response(nothing > 0, rating, gone, p, nothing, np.zeros(n), nothing.copy()), state
