"""Visits: B users side by side in the environment; what an action shows, what comes back, when it ends.

All rules of the environment live here once; SlateEnv (B = 1) and SlateVectorEnv are skins over it. Knows neither
Gymnasium nor who the users and the recommenders are. K: places of a slate; C: candidates; I: items; T: places shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.diary import Diary
from simenv.errors import ConfigError, UnknownIdError
from simenv.index import RawId
from simenv.log import InteractionLog
from simenv.play import play
from simenv.protocols import Policy, Population, Recommender
from simenv.randomness import Purpose, uniform
from simenv.record import Page, Record
from simenv.rewards import Reward, by_name
from simenv.session import Batch, Response, Session, Slate, StopReason, UserState, put_rows, take_rows
from simenv.slates import DROPS, Known, Ragged, Repeats, clean, trimmed

STOPS = (None, StopReason.LEFT, StopReason.EXHAUSTED, StopReason.PAGE_CAP)
"""What the codes of `Visits.stop` mean; None: the visit goes on."""


@final
@dataclass(frozen=True)
class Rules:
    """How the environment treats what a recommender shows."""

    slate_size: int = 10
    """K, places of a page."""
    max_pages: int = 10
    """Pages after which we end a visit (truncation)."""
    reward: str | Reward = "rating"
    """Name in `simenv.rewards.REWARDS`, or a function (response, slate, scale) -> float64[B]."""
    repeats: Repeats = "drop"
    """What happens to an item shown before in the visit: its place is emptied, or the user answers it again."""
    candidates: int | None = None
    """C, items on offer on each page, drawn evenly among those not seen yet; None: the whole catalogue."""
    name: str = "policy"
    """How the record calls whoever acts."""
    keep_record: bool = True
    """False: pages are forgotten, for training runs of millions of steps (a page keeps about 1 kB per user)."""

    def __post_init__(self) -> None:
        for name in ("slate_size", "max_pages"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.repeats not in ("drop", "answer"):
            raise ConfigError(f'repeats must be "drop" or "answer"; got {self.repeats!r}.')
        if self.candidates is not None and self.candidates < self.slate_size:
            raise ConfigError(f"{self.candidates} candidates cannot fill {self.slate_size} places; offer more.")
        by_name(self.reward)


@final
class Visits:
    """B visits in progress. Mutable: the one place where the environment keeps what happened so far."""

    def __init__(
        self,
        population: Population,
        rules: Rules,
        n: int,
        log: InteractionLog | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        """Set B = n visits up, none of them begun (`stop` is set on all).

        log: what contestants may know; None: `population.training_log` if there is one, else nothing.
        catalogue: titles; None: `population.catalogue` if there is one, else the ids.

        Raises:
            ConfigError: nobody to simulate, or log or catalogue speak of other users or items than the population.

        """
        self.population, self.rules = population, rules
        self.log = _log_of(population, log)
        self.catalogue = catalogue or getattr(population, "catalogue", None) or Catalogue.bare(population.items)
        if self.catalogue.items.fingerprint != population.items.fingerprint:
            raise ConfigError("catalogue and population number different items; build both from one Index.")
        if not len(population.member):
            raise ConfigError("the population simulates nobody (member is empty).")
        user, key = np.repeat(population.member[:1], n), np.zeros(n, np.uint64)
        self.session, self.state = self.offer(Session.begin(user, self.log), key), population.begin(user, key)
        self.known = Known(n, len(population.items), rules.repeats == "drop" or rules.candidates is not None)
        self.known.begin(np.arange(n), self.session.past_item)
        self.slate, self.response = _blank(n, rules.slate_size, len(population.scale))
        self.dropped = {name: np.zeros(n, np.int64) for name in DROPS}
        self.reward = np.zeros(n)
        self.stop = np.full(n, len(STOPS) - 1, np.int8)
        self.seed = -1
        self._visit = np.full(n, -1, np.int64)
        self.diary = Diary()

    def seeded(self, seed: int | None) -> None:
        """Note the seed of a reset; the first one given is the record's."""
        if seed is not None and self.seed < 0:
            self.seed = int(seed)

    def draw(self, rng: np.random.Generator, raw: RawId | None = None) -> tuple[int, np.uint64]:
        """Return (user number, episode key) of a new visit: the key first, then the user unless given by raw id.

        Raises:
            UnknownIdError: no such user, or one who is not simulated.

        """
        key = rng.integers(2**64, dtype=np.uint64)
        member = self.population.member
        if raw is None:
            return int(member[rng.integers(len(member))]), key
        user = int(self.population.users.encode([raw])[0])
        if user not in member:
            some = ", ".join(repr(i) for i in self.population.users.decode(member[:3]))
            raise UnknownIdError(f"user {raw!r} is known but not simulated here; {len(member)} are, such as {some}.")
        return user, key

    def start(self, row: NDArray[np.int64], user: NDArray[np.int64], key: NDArray[np.uint64]) -> None:
        """Begin new visits of users [b] at rows [b], ascending."""
        session, state = Session.begin(user, self.log), self.population.begin(user, key)
        self.known.begin(row, session.past_item)
        session = self.offer(session, key)
        self._put(row, session, state, *_blank(len(row), self.rules.slate_size, len(self.population.scale)))
        for count in self.dropped.values():
            count[row] = 0
        self.reward[row], self.stop[row], self._visit[row] = 0.0, 0, -1

    def step(self, row: NDArray[np.int64], action: NDArray[np.int64]) -> None:
        """Show actions [b, K] to the users at rows [b], ascending, with one call of the population.

        action: item numbers, or positions among the candidates; -1: leave the place empty. See `checked_action`.
        """
        user, page, state = self.session.user[row], self.session.page[row], self._taken(self.state, row)
        candidate = None if self.session.candidate is None else self.session.candidate[row]
        slate, dropped = clean(action, candidate, row, self.known, self.rules.repeats)
        response, state = self.population.respond(state, slate)
        self.known.show(row, slate.item)
        self.reward[row] = self._worth(response, slate)
        self.stop[row] = stop = self._stops(row, page + 1, response)
        if self.rules.keep_record:
            visit = self._visit[row] = self.diary.number(self._visit[row], user, state.key)
            self.diary.write(Page(user, visit, page, slate, response, candidate), stop > 0)
        self._turn(row, slate, response, state)
        for name, count in dropped.items():
            self.dropped[name][row] = count

    def _turn(self, row: NDArray[np.int64], slate: Slate, response: Response, state: UserState) -> None:
        """Move on to the next page at rows [b]; the other rows, whose visits are over, see an empty one."""
        if len(row) < len(self.stop):
            no_slate, nothing = _blank(len(self.stop), self.rules.slate_size, len(self.population.scale))
            slate, response = put_rows(no_slate, row, slate), put_rows(nothing, row, response)
            state = put_rows(self.state, row, state)
        session = self.offer(self.session.after(slate, response), state.key)
        self.session, self.state = self._fitted(session), self._fitted(state)
        self.slate, self.response = slate, response

    def offer(self, session: Session, key: NDArray[np.uint64]) -> Session:
        """Return the session with the candidates of its next page: C unseen items, the same for the same key and page.

        Where fewer than C are left, -1 fills up.
        """
        size = self.rules.candidates
        if size is None:
            return session
        item = np.arange(session.n_items)
        luck = uniform(key[:, None], session.page[:, None], item, purpose=Purpose.CANDIDATE)
        luck[session.seen()] = 2.0
        chosen = _lowest(luck, size)
        chosen = np.where(np.take_along_axis(luck, chosen, axis=1) < 2.0, chosen, -1)
        blank = np.full((len(session), size - chosen.shape[1]), -1)
        return replace(session, candidate=np.concatenate([chosen, blank], axis=1))

    def action_mask(self) -> NDArray[np.bool_]:
        """Return bool[B, K * n]: which choices fill a place (n = I items, or C candidates), the same for each place."""
        candidate = self.session.candidate
        free = self.known.showable() if candidate is None else candidate >= 0
        return np.tile(free, (1, self.rules.slate_size))

    @property
    def record(self) -> Record:
        """All pages played so far; visits are numbered from 0 in the order of their first page.

        Raises:
            ConfigError: the environment was told to keep no record.

        """
        if not self.rules.keep_record:
            raise ConfigError("keep_record=False: nothing was recorded. Make the environment with keep_record=True.")
        p = self.population
        return Record(
            p.users, p.items, p.scale, self.rules.name, self.seed, tuple(self.diary.pages), dict(p.assumption)
        )

    def play(self, contestant: Recommender | Policy, *, seed: int = 0) -> Record:
        """Return what `contestant` does with the very visits of `record`: the same users and the same luck.

        A Recommender is fitted on the training log first (with `seed`). Visits that `record` holds only in part are cut
        after as many pages.

        Raises:
            ConfigError: nothing has been played yet.

        """
        if not len(self.diary):
            raise ConfigError("no visit to play again: step the environment first (and keep_record=True).")
        policy = self._policy(contestant, seed)
        user, key = self.diary.visits()
        record = play(
            policy,
            self.population,
            self.log,
            user,
            name=str(getattr(contestant, "name", type(contestant).__name__)),
            slate_size=self.rules.slate_size,
            max_pages=self.rules.max_pages,
            seed=seed,
            key=key,
            offer=self.offer,
        )
        return self.diary.aligned(replace(record, meta=dict(self.population.assumption)))

    def _policy(self, contestant: Recommender | Policy, seed: int) -> Policy:
        if isinstance(contestant, Recommender):
            return contestant.fit(self.log, self.catalogue, seed=seed)
        return contestant

    def _worth(self, response: Response, slate: Slate) -> NDArray[np.float64]:
        worth = np.asarray(by_name(self.rules.reward)(response, slate, self.population.scale), dtype=np.float64)
        if worth.shape != (len(slate.item),) or not np.isfinite(worth).all():
            raise ConfigError(
                f"the reward must return {len(slate.item)} finite numbers, one per user; "
                f"got shape {worth.shape}: {worth}."
            )
        return worth

    def _stops(self, row: NDArray[np.int64], page: NDArray[np.int64], response: Response) -> NDArray[np.int64]:
        """Return the codes [b] of `STOPS` at rows [b] after `page` pages; where several hold, the first of them."""
        capped = np.where(page >= self.rules.max_pages, 3, 0)
        return np.where(response.exit, 1, np.where(self.known.left[row] == 0, 2, capped))

    def _fitted(self, batch: Ragged) -> Ragged:
        """Return the batch, trimmed where it has grown wider than the longest visit."""
        return trimmed(batch) if batch.shown.shape[1] > self.rules.max_pages * self.rules.slate_size else batch

    def _taken(self, batch: Batch, row: NDArray[np.int64]) -> Batch:
        return batch if len(row) == len(self.stop) else take_rows(batch, row)

    def _put(
        self, row: NDArray[np.int64], session: Session, state: UserState, slate: Slate, response: Response
    ) -> None:
        if len(row) < len(self.stop):
            session, state = put_rows(self.session, row, session), put_rows(self.state, row, state)
            slate, response = put_rows(self.slate, row, slate), put_rows(self.response, row, response)
        self.session, self.state = self._fitted(session), self._fitted(state)
        self.slate, self.response = slate, response


def _lowest(value: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Return int64[B, min(n, I)]: where the lowest values [B, I] stand, in ascending order."""
    if n >= value.shape[1]:
        return np.argsort(value, axis=1)
    place = np.argpartition(value, n, axis=1)[:, :n]
    order = np.argsort(np.take_along_axis(value, place, axis=1), axis=1)
    return np.take_along_axis(place, order, axis=1)


def _blank(n: int, size: int, n_values: int) -> tuple[Slate, Response]:
    """Return the page before the first: nothing shown."""
    nothing = np.zeros((n, size), np.float32)
    p = np.full((n, size, n_values), np.nan, np.float32)
    no = np.zeros(n, bool)
    response = Response(nothing > 0, nothing + np.float32(np.nan), no, p, nothing, np.zeros(n), nothing.copy())
    return Slate.certain(np.full((n, size), -1)), response


def _log_of(population: Population, log: InteractionLog | None) -> InteractionLog:
    log = log if log is not None else getattr(population, "training_log", None)
    if log is None:
        return InteractionLog.of(population.users, population.items, [], [], [], None, population.scale)
    for name in ("users", "items"):
        if getattr(log, name).fingerprint != getattr(population, name).fingerprint:
            raise ConfigError(f"training_log and population number different {name}; build both from one Index.")
    return log
