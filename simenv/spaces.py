"""What the environment's observations and infos look like, as Gymnasium spaces and as arrays.

Observations hold only what a recommender may know; infos may hold more, on request. B users; K places; H history; D
numbers of a user, F of an item; I items; C candidates; R scale values; U users.
"""

from __future__ import annotations

from typing import Any, Literal, final, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from simenv import rendering
from simenv.errors import ConfigError
from simenv.features import Features, unit_rating
from simenv.rules import STOPS
from simenv.slates import recent
from simenv.visits import Visits

ObservationKind = Literal["numeric", "flat", "history", "text"]
_REASON = np.array(["" if stop is None else stop.value for stop in STOPS], object)
_ITEMS = ("recent_item", "slate", "draft", "candidate")
"""Keys that hold item numbers, -1: none."""
_HISTORY = ("user_index", "recent_item", "recent_rating", "draft", "candidate", "candidate_feature")
"""Keys of the observation "history"."""


@final
class Form:
    """The shape of observations and infos of some Visits."""

    def __init__(
        self,
        visits: Visits,
        features: Features,
        kind: ObservationKind = "numeric",
        history: int = 20,
        show_user: bool = False,
        drafts: bool = False,
        diagnostics: bool = False,
    ) -> None:
        """Fix the spaces.

        kind: "numeric"; "history": its keys about ratings alone; "text": one more key with the same facts in words;
            "flat": all of it in one Box. history: H, ratings remembered. show_user: one more key, who the user is.
        drafts: pages are filled place by place, one more key shows how far. diagnostics: add what only the simulator
            knows to the infos.

        Raises:
            ConfigError: an unknown kind or no history.

        """
        if kind not in get_args(ObservationKind):
            names = ", ".join(f'"{k}"' for k in get_args(ObservationKind))
            raise ConfigError(f"observation must be one of {names}; got {kind!r}.")
        if history < 1:
            raise ConfigError(f"history must be at least 1; got {history}.")
        self.kind, self.history, self.diagnostics, self.features = kind, history, diagnostics, features
        users = visits.population.users
        self._id = np.array(users.ids, np.int64 if users.kind == "int" else object)
        self._persona = np.array(getattr(visits.population, "persona", ()) or ("",) * len(users), object)
        every = self._spaces(visits, show_user, drafts)
        self._keys = [name for name in every if kind != "history" or name in _HISTORY]
        self.layout = _layout({name: self._flat_width(name, space) for name, space in every.items()})
        """Where each key of the numeric observation stands in the flat one."""
        width = max(part.stop for part in self.layout.values())
        self.space: spaces.Space[Any] = (
            spaces.Box(-1, 1, (width,), np.float32)
            if kind == "flat"
            else spaces.Dict({name: every[name] for name in self._keys})
        )

    def _spaces(self, visits: Visits, show_user: bool, drafts: bool) -> dict[str, spaces.Space[Any]]:
        n_items, rules, height = len(visits.population.items), visits.rules, self.history
        form: dict[str, spaces.Space[Any]] = {
            "user": spaces.Box(-1, 1, (self.features.user_width,), np.float32),
            "recent_item": spaces.Box(-1, n_items - 1, (height,), np.int64),
            "recent_rating": spaces.Box(-1, 1, (height,), np.float32),
            "page": spaces.Box(0, rules.max_pages, (1,), np.int64),
            "slate": spaces.Box(-1, n_items - 1, (rules.slate_size,), np.int64),
            "consumed": spaces.MultiBinary(rules.slate_size),
            "rating": spaces.Box(-1, 1, (rules.slate_size,), np.float32),
        }
        if rules.visits > 1:
            form["visit"] = spaces.Box(0, rules.visits - 1, (1,), np.int64)
        if show_user:
            form["user_index"] = spaces.Discrete(len(visits.population.users))
        if drafts:
            form["draft"] = spaces.Box(-1, n_items - 1, (rules.slate_size,), np.int64)
        if rules.candidates is None:
            form["seen"] = spaces.MultiBinary(n_items)
        else:
            width = rules.candidates * self.features.item_width
            form["candidate"] = spaces.Box(-1, n_items - 1, (rules.candidates,), np.int64)
            form["candidate_feature"] = spaces.Box(-1, 1, (width,), np.float32)
        if self.kind == "text":
            length = rendering.longest(rules.slate_size, height)
            form["text"] = spaces.Text(length, min_length=0, charset=rendering.alphabet(visits.catalogue))
        return form

    def _flat_width(self, name: str, space: spaces.Space[Any]) -> int:
        if name in ("candidate", "text"):
            return 0  # its features stand in the key "candidate_feature"
        width = int(space.n) if isinstance(space, spaces.Discrete) else int(np.prod(space.shape or ()))
        return width * self.features.item_width if name in _ITEMS else width

    def observe(self, visits: Visits) -> Any:
        """Return the observation of all B rows: new arrays with leading axis B, and a tuple of B texts."""
        seen = self._numeric(visits)
        if self.kind == "flat":
            return self._flat(seen, {"page": visits.rules.max_pages, "visit": visits.rules.visits})
        return seen if len(seen) == len(self._keys) else {name: seen[name] for name in self._keys}

    def _numeric(self, visits: Visits) -> dict[str, Any]:
        session, scale = visits.session, visits.population.scale
        item, rating = recent(session, self.history)
        seen: dict[str, Any] = {
            "user": self._user(visits),
            "recent_item": item,
            "recent_rating": unit_rating(rating, scale),
            "page": session.page[:, None].copy(),
            "slate": visits.slate.item.copy(),
            "consumed": visits.response.consumed.astype(np.int8),
            "rating": unit_rating(visits.response.rating, scale),
        }
        if "draft" in self.layout:
            seen["draft"] = visits.drafted()
        if "user_index" in self.layout:
            seen["user_index"] = session.user.copy()
        if "visit" in self.layout and visits.state.visit is not None:
            seen["visit"] = np.minimum(visits.state.visit, visits.rules.visits - 1)[:, None]
        if session.candidate is None:
            seen["seen"] = visits.known.seen().view(np.int8)
        else:
            seen["candidate"] = session.candidate.copy()
            seen["candidate_feature"] = self._feature(session.candidate)
        if self.kind == "text":
            seen["text"] = tuple(rendering.public_text(visits, row, self.history) for row in range(len(session)))
        return seen

    def _user(self, visits: Visits) -> NDArray[np.float32]:
        user = self.features.user.take(visits.session.user, axis=0)
        if visits.given.any():
            row = np.flatnonzero(visits.given)
            user[row] = self.features.of_history(visits.session.past_item[row], visits.session.past_rating[row])
        return user

    def _feature(self, item: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32[B, n * F] of items [B, n]; zeros where there is none."""
        return self.features.item_or_none.take(item, axis=0).reshape(len(item), -1)

    def _flat(self, seen: dict[str, Any], highest: dict[str, int]) -> NDArray[np.float32]:
        out = np.zeros((len(seen["page"]), max(part.stop for part in self.layout.values())), np.float32)
        for name, part in self.layout.items():
            if name == "user_index":
                out[np.arange(len(out)), part.start + seen[name]] = 1
            elif name in highest:
                out[:, part] = seen[name] / highest[name]
            else:
                out[:, part] = self._feature(seen[name]) if name in _ITEMS else seen[name]
        return out

    def info(self, visits: Visits) -> dict[str, NDArray[Any]]:
        """Return the infos of all B rows as new arrays with leading axis B; the keys never change.

        Where the last action showed no page (it filled a place of one), there are no answers.
        """
        response, now = visits.response, visits.answered[:, None]
        shown, rated = now & (visits.slate.item >= 0), now & ~np.isnan(response.rating)
        user = visits.session.user
        info: dict[str, NDArray[Any]] = {
            "user_id": self._id.take(user),
            "user_index": user.copy(),
            "ratings": np.where(rated, response.rating, np.float32(0)),
            "rated": rated,
            "consumed": now & response.consumed,
            "stop_reason": _REASON.take(visits.stop),
            **{name: count.copy() for name, count in visits.dropped.items()},
        }
        if visits.rules.visits > 1:
            assert visits.state.visit is not None
            assert visits.state.day is not None
            info["visit"], info["day"] = visits.state.visit.copy(), visits.state.day.copy()
        if self.diagnostics:
            info["persona"] = self._persona[user]
            info["rating_probs"] = np.where(shown[:, :, None], response.p_rating, np.float32(0))
            info["exit_prob"] = np.where(visits.answered, response.p_exit, 0.0)
            info["support"] = np.where(shown, response.support, np.float32(0))
        return info


def _layout(width: dict[str, int]) -> dict[str, slice]:
    """Return where parts of these widths stand one after another; parts without width are left out."""
    end = np.cumsum([0, *width.values()])
    return {name: slice(int(a), int(b)) for name, a, b in zip(width, end, end[1:], strict=False) if b > a}
