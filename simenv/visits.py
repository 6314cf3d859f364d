"""Visits: B users side by side in the environment; what an action shows, what comes back, when it ends.

All rules of the environment live here once; the environments of simenv.environment (B = 1) and simenv.vector are skins
over it. Knows neither Gymnasium nor who the users and the recommenders are. K: places of a slate; C: candidates; I:
items; T: places shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.diary import Diary
from simenv.errors import ConfigError
from simenv.lives import after_visit, check_lives
from simenv.log import InteractionLog
from simenv.offers import offered
from simenv.options import Arrival, begun
from simenv.protocols import Population
from simenv.record import Page
from simenv.rewards import by_name, end_worth
from simenv.rules import Rules
from simenv.session import Batch, Response, Session, Slate, UserState, changed, put_rows, take_rows
from simenv.slates import DROPS, Known, Ragged, clean, trimmed

Rows = NDArray[np.int64]


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
        self.session: Session = self.offer(Session.begin(user, self.log), key)
        self.state: UserState = population.begin(user, key)
        check_lives(population, rules, self.state)
        self._reward = by_name(rules.reward)
        self._worth_of_end = end_worth(rules.reward, population, self.state, rules.visits)
        self.known = Known(n, len(population.items), rules.repeats == "drop" or rules.candidates is not None)
        self.known.begin(np.arange(n), self.session.past_item)
        self.slate, self.response = _blank(n, rules.slate_size, len(population.scale))
        self.dropped = {name: np.zeros(n, np.int64) for name in DROPS}
        self.reward = np.zeros(n)
        self.stop = np.full(n, 3, np.int8)
        """int8[B]: codes of `simenv.rules.STOPS`."""
        self.answered = np.ones(n, bool)
        """bool[B]: the last action showed a page (False: it only filled a place of one)."""
        self.given = np.zeros(n, bool)
        """bool[B]: the past known to the recommender was given at the reset."""
        self.born = np.zeros(n)
        """float64[B]: the day on which the episode began, where visits have dates."""
        self.draft = np.full((n, rules.slate_size), -1)
        """int64[B, K]: the choices of the page that is being filled place by place."""
        self.place = np.zeros(n, np.int64)
        """int64[B]: places of it that are filled."""
        self.visit = np.full(n, -1, np.int64)
        """int64[B]: numbers in the diary; -1: no page yet."""
        self.diary = Diary()

    def offer(self, session: Session, key: NDArray[np.uint64]) -> Session:
        """Return the session with the candidates of its next page, if there are such."""
        return offered(session, key, self.rules.candidates)

    def start(self, row: Rows, user: Rows, key: NDArray[np.uint64], arrival: Sequence[Arrival]) -> None:
        """Begin new visits of users [b] at rows [b], ascending."""
        session, state = begun(user, self.log, arrival), self.population.begin(user, key)
        self.known.begin(row, session.past_item)
        session = self.offer(session, key)
        self.put(row, session, state, *_blank(len(row), self.rules.slate_size, len(self.population.scale)))
        for count in self.dropped.values():
            count[row] = 0
        self.reward[row], self.stop[row], self.visit[row], self.answered[row] = 0.0, 0, -1, True
        self.born[row] = 0.0 if state.day is None else state.day
        self.draft[row], self.place[row], self.given[row] = -1, 0, [a.history is not None for a in arrival]

    def step(self, row: Rows, action: NDArray[np.int64]) -> None:
        """Show actions [b, K] to the users at rows [b], ascending, with one call of the population.

        action: item numbers, or positions among the candidates; -1: leave the place empty. See `checked_action`.
        """
        user, page, state = self.session.user[row], self.session.page[row], self._taken(self.state, row)
        candidate = None if self.session.candidate is None else self.session.candidate[row]
        slate, dropped = clean(action, candidate, row, self.known, self.rules.repeats)
        response, state = self.population.respond(state, slate)
        self.known.show(row, slate.item)
        at = slice(None) if len(row) == len(self.stop) else row  # all of them: a slice is written to sooner
        self.stop[at] = stop = self._stops(row, page + 1, response)
        self.reward[at], self.answered[at] = self._worth(row, response, slate, state), True
        if self.rules.keep_record:
            visit = self.visit[at] = self.diary.number(self.visit[row], user, state.key)
            self.diary.write(Page(user, visit, page, slate, response, candidate, state.day), stop > 0)
        self._turn(row, slate, response, state)
        for name, count in dropped.items():
            self.dropped[name][at] = count
        if self.rules.visits > 1 and (stop > 0).any():
            self._come_back(row[stop > 0])

    def _turn(self, row: Rows, slate: Slate, response: Response, state: UserState) -> None:
        """Move on to the next page at rows [b]; the others stay where they are."""
        session = self.session
        if len(row) < len(self.stop):
            page = session.page.copy()
            page[row] += 1
            no_slate, nothing = _blank(len(self.stop), self.rules.slate_size, len(self.population.scale))
            session = session.after(put_rows(no_slate, row, slate), put_rows(nothing, row, response))
            session, state = changed(session, page=page), put_rows(self.state, row, state)
            slate, response = put_rows(self.slate, row, slate), put_rows(self.response, row, response)
        else:
            session = session.after(slate, response)
        self.session, self.state = self._fitted(self.offer(session, state.key)), self._fitted(state)
        self.slate, self.response = slate, response

    def _come_back(self, row: Rows) -> None:
        """Go on with the next visits of the users at rows [b], whose visits have ended, where there are such."""
        ended = take_rows(self.session, row), take_rows(self.state, row)
        after = after_visit(self.population, self.rules, *ended, self.stop[row])
        self.stop[row] = after.stop
        back = np.flatnonzero(after.stop == 0)
        if not len(back):
            return
        row, session, state = row[back], take_rows(after.session, back), take_rows(after.state, back)
        self.known.begin(row, session.past_item)
        self.visit[row] = -1
        last = take_rows(self.slate, row), take_rows(self.response, row)
        self.put(row, self.offer(session, state.key), state, *last)

    def fill(self, row: Rows, choice: NDArray[np.int64]) -> None:
        """Put choices [b] on the next places of the pages at rows [b]; pages that are full then are shown.

        A page is full at K places, or when nothing is left that could fill one more.
        """
        self.draft[row, self.place[row]] = choice
        self.place[row] += 1
        full = self.place[row] == self.rules.slate_size
        if (self.known.left[row] < self.rules.slate_size).any():
            full |= ~self.choice_mask()[row].any(axis=1)
        wait, show = row[~full], row[full]
        self.reward[wait], self.answered[wait] = 0.0, False
        for count in self.dropped.values():
            count[wait] = 0
        if len(show):
            self.step(show, self.draft[show])
            self.draft[show], self.place[show] = -1, 0

    def choice_mask(self) -> NDArray[np.bool_]:
        """Return bool[B, n]: which choices fill the next place; those that stand in the draft do not.

        n: I items, or C candidates.
        """
        candidate = self.session.candidate
        free = self.known.showable() if candidate is None else candidate >= 0
        if self.place.any():
            row, place = np.nonzero(self.draft >= 0)
            free[row, self.draft[row, place]] = False
        return free

    def drafted(self) -> NDArray[np.int64]:
        """Return int64[B, K]: the items of the page that is being filled; -1: none yet, or an empty place."""
        candidate = self.session.candidate
        if candidate is None:
            return self.draft.copy()
        item = np.take_along_axis(candidate, np.maximum(self.draft, 0), axis=1)
        return np.where(self.draft >= 0, item, -1)

    def _worth(self, row: Rows, response: Response, slate: Slate, state: UserState) -> NDArray[np.float64]:
        worth = self._worth_of_page(response, slate)
        if self._worth_of_end is not None:
            worth = worth + np.where(self.stop[row] > 0, self._worth_of_end(self.population, state), 0.0)
        if self.rules.day_discount < 1 and state.day is not None:
            worth = worth * self.rules.day_discount ** (state.day - self.born[row])
        return worth

    def _worth_of_page(self, response: Response, slate: Slate) -> NDArray[np.float64]:
        worth = np.asarray(self._reward(response, slate, self.population.scale), dtype=np.float64)
        if worth.shape != (len(slate.item),) or not np.isfinite(np.add.reduce(worth)):
            raise ConfigError(
                f"the reward must return {len(slate.item)} finite numbers, one per user; "
                f"got shape {worth.shape}: {worth}."
            )
        return worth

    def _stops(self, row: Rows, page: NDArray[np.int64], response: Response) -> NDArray[np.int64]:
        """Return the codes [b] of `STOPS` at rows [b] after `page` pages; where several hold, the first of them."""
        capped = np.where(page >= self.rules.max_pages, 3, 0)
        return np.where(response.exit, 1, np.where(self.known.left[row] == 0, 2, capped))

    def _fitted(self, batch: Ragged) -> Ragged:
        """Return the batch, trimmed where it has grown wider than the longest visit."""
        return trimmed(batch) if batch.shown.shape[1] > self.rules.max_pages * self.rules.slate_size else batch

    def _taken(self, batch: Batch, row: Rows) -> Batch:
        return batch if len(row) == len(self.stop) else take_rows(batch, row)

    def put(self, row: Rows, session: Session, state: UserState, slate: Slate, response: Response) -> None:
        """Let the users at rows [b] stand so from now on."""
        if len(row) < len(self.stop):
            session, state = put_rows(self.session, row, session), put_rows(self.state, row, state)
            slate, response = put_rows(self.slate, row, slate), put_rows(self.response, row, response)
        self.session, self.state = self._fitted(session), self._fitted(state)
        self.slate, self.response = slate, response


@lru_cache(maxsize=8)
def _blank(n: int, size: int, n_values: int) -> tuple[Slate, Response]:
    """Return the page before the first: nothing shown. One for all, since messages are never written to."""
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
