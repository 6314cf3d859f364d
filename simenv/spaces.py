"""What the environment's observations, actions and infos look like, as Gymnasium spaces and as arrays.

Observations hold only what a recommender may know; infos may hold more, on request. B users; K places; H history; D
embedding; I items; C candidates; R scale values.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv import rendering
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.scale import RatingScale
from simenv.slates import recent
from simenv.visits import STOPS, Visits

ObservationKind = Literal["numeric", "text"]
_REASON = np.array(["" if stop is None else stop.value for stop in STOPS], object)
MAX_GENRES = 32
"""Genres in the user embedding: the most common of the catalogue."""


@final
class Form:
    """The shape of observations, actions and infos of some Visits."""

    def __init__(
        self, visits: Visits, kind: ObservationKind = "numeric", history: int = 20, diagnostics: bool = False
    ) -> None:
        """Fix the spaces.

        kind: "numeric", or "text" for one more key with the same facts in words. history: H, ratings remembered.
        diagnostics: add what only the simulator knows to the infos.

        Raises:
            ConfigError: an unknown kind or no history.

        """
        if kind not in ("numeric", "text"):
            raise ConfigError(f'observation must be "numeric" or "text"; got {kind!r}.')
        if history < 1:
            raise ConfigError(f"history must be at least 1; got {history}.")
        self.kind, self.history, self.diagnostics = kind, history, diagnostics
        self.embedding = user_embedding(visits.log, visits.catalogue)
        users = visits.population.users
        self._id = np.array(users.ids, np.int64 if users.kind == "int" else object)
        self._persona = np.array(getattr(visits.population, "persona", ()) or ("",) * len(users), object)
        rules, n_items = visits.rules, len(visits.population.items)
        self.n_choices = rules.candidates or n_items
        self.action_space = spaces.MultiDiscrete([self.n_choices] * rules.slate_size)
        self.observation_space = spaces.Dict(self._spaces(visits, n_items))

    def _spaces(self, visits: Visits, n_items: int) -> dict[str, spaces.Space[Any]]:
        size, height = visits.rules.slate_size, self.history
        form: dict[str, spaces.Space[Any]] = {
            "user": spaces.Box(-1, 1, (self.embedding.shape[1],), np.float32),
            "recent_item": spaces.Box(-1, n_items - 1, (height,), np.int64),
            "recent_rating": spaces.Box(-1, 1, (height,), np.float32),
            "page": spaces.Box(0, visits.rules.max_pages, (1,), np.int64),
            "slate": spaces.Box(-1, n_items - 1, (size,), np.int64),
            "consumed": spaces.MultiBinary(size),
            "rating": spaces.Box(-1, 1, (size,), np.float32),
        }
        if visits.rules.candidates is None:
            form["seen"] = spaces.MultiBinary(n_items)
        else:
            form["candidate"] = spaces.Box(-1, n_items - 1, (visits.rules.candidates,), np.int64)
        if self.kind == "text":
            length = rendering.longest(size, height)
            form["text"] = spaces.Text(length, min_length=0, charset=rendering.alphabet(visits.catalogue))
        return form

    def observe(self, visits: Visits) -> dict[str, Any]:
        """Return the observation of all B rows: new arrays with leading axis B, and a tuple of B texts."""
        session, scale = visits.session, visits.population.scale
        item, rating = recent(session, self.history)
        seen: dict[str, Any] = {
            "user": self.embedding[session.user],
            "recent_item": item,
            "recent_rating": _unit(rating, scale),
            "page": session.page[:, None].copy(),
            "slate": visits.slate.item.copy(),
            "consumed": visits.response.consumed.astype(np.int8),
            "rating": _unit(visits.response.rating, scale),
        }
        if session.candidate is None:
            seen["seen"] = visits.known.seen().view(np.int8)
        else:
            seen["candidate"] = session.candidate.copy()
        if self.kind == "text":
            seen["text"] = tuple(rendering.public_text(visits, row, self.history) for row in range(len(session)))
        return seen

    def info(self, visits: Visits) -> dict[str, NDArray[Any]]:
        """Return the infos of all B rows as new arrays with leading axis B; the keys never change."""
        response, shown = visits.response, visits.slate.item >= 0
        rated = ~np.isnan(response.rating)
        user = visits.session.user
        info: dict[str, NDArray[Any]] = {
            "user_id": self._id[user],
            "user_index": user.copy(),
            "ratings": np.where(rated, response.rating, np.float32(0)),
            "rated": rated,
            "consumed": response.consumed.copy(),
            "stop_reason": _REASON[visits.stop],
            **{name: count.copy() for name, count in visits.dropped.items()},
        }
        if self.diagnostics:
            info["persona"] = self._persona[user]
            info["rating_probs"] = np.where(shown[:, :, None], response.p_rating, np.float32(0))
            info["exit_prob"] = np.asarray(response.p_exit, np.float64).copy()
            info["support"] = np.where(shown, response.support, np.float32(0))
        return info


def user_embedding(log: InteractionLog, catalogue: Catalogue) -> NDArray[np.float32]:
    """Return float32[U, D] in -1..1 from the log alone: habits of rating, then tastes in genres.

    Columns: log(1 + number of ratings) / 10; mean and standard deviation of the ratings on 0..1; the share of each of
    the R values; then per genre (the MAX_GENRES most common) its share of the user's ratings and how far their mean
    lies from the user's mean. Zeros where there is no rating.
    """
    unit = _unit(log.rating, log.scale)
    count = np.maximum(log.count, 1)
    mean = np.bincount(log.user, unit, log.n_users) / count
    spread = np.sqrt(np.bincount(log.user, (unit - mean[log.user]) ** 2, log.n_users) / count)
    value = csr_matrix((np.ones(len(log)), (log.user, log.scale.encode(log.rating))), (log.n_users, len(log.scale)))
    habits = np.column_stack([np.log1p(log.count) / 10, mean, spread, value.toarray() / count[:, None]])
    genre = _genres(catalogue)
    where = (log.user, log.item)
    number = np.asarray(csr_matrix((np.ones(len(log)), where), (log.n_users, log.n_items)) @ genre)
    above = np.asarray(csr_matrix((unit - mean[log.user], where), (log.n_users, log.n_items)) @ genre)
    tastes = [number / count[:, None], above / np.maximum(number, 1)]
    return np.asarray(np.clip(np.column_stack([habits, *tastes]), -1, 1), dtype=np.float32)


def _genres(catalogue: Catalogue) -> NDArray[np.float64]:
    """Return float64[I, G]: 1 where an item is of the genre."""
    count = Counter(g for row in catalogue.genres for g in set(row))
    names = sorted(count, key=lambda g: (-count[g], g))[:MAX_GENRES]
    table = np.zeros((len(catalogue), len(names)))
    for item, row in enumerate(catalogue.genres):
        table[item, [names.index(g) for g in row if g in names]] = 1.0
    return table


def _unit(rating: NDArray[np.float32], scale: RatingScale) -> NDArray[np.float32]:
    """Return ratings moved to 0..1 (worst to best), as a new array; -1 where there is none."""
    low, high = scale.values[0], scale.values[-1]
    unit = (rating - low) / (high - low)
    unit[np.isnan(unit)] = -1
    return unit.astype(np.float32, copy=False)
