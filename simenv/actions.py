"""Forms of action over one core: a page (slate), one item after another (item), points among item features (proto).

Each says what its space is, which actions are refused, what it shows, and which choices fill a place. The rules of
visits are those of simenv.visits. b rows that act; B rows; K places; n choices (I items, or C candidates); F features;
P proto-actions of a page.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, final

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from simenv.errors import ActionError, ConfigError
from simenv.features import Features, on_grid
from simenv.slates import checked_action
from simenv.visits import Visits

ActionKind = Literal["slate", "item", "proto"]
Rows = NDArray[np.int64]


class ActionForm(Protocol):
    """How an agent says what to show."""

    space: spaces.Space[Any]
    """Of one user's action."""

    def checked(self, action: ArrayLike, over: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """Return the action of one user (over None), or of B users, as an array [B, ...]; rows `over` are not read.

        Raises:
            ActionError: wrong type, shape or range.

        """
        ...

    def act(self, visits: Visits, row: Rows, action: NDArray[Any]) -> None:
        """Let checked actions [b, ...] happen at rows [b]."""
        ...

    def masks(self, visits: Visits) -> NDArray[np.bool_]:
        """Return bool[B, m]: which choices fill a place, flat as MaskablePPO wants them.

        Raises:
            ConfigError: the form has no choices to mask.

        """
        ...


@final
class SlateAction:
    """MultiDiscrete([n] * K): a whole page, best place first."""

    def __init__(self, visits: Visits) -> None:
        self.n, self.what = _choices(visits)
        self.size = visits.rules.slate_size
        self.space: spaces.Space[Any] = spaces.MultiDiscrete([self.n] * self.size)

    def checked(self, action: ArrayLike, over: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Return pages int64[B, K], entries -1..n-1."""
        if over is None:
            return checked_action(action, (self.size,), self.n, self.what)[None]
        return checked_action(_blanked(action, over, 2), (len(over), self.size), self.n, self.what)

    def act(self, visits: Visits, row: Rows, action: NDArray[Any]) -> None:
        """Show the pages."""
        visits.step(row, action)

    def masks(self, visits: Visits) -> NDArray[np.bool_]:
        """Return bool[B, K * n], the same for each place: a mask cannot say that no item may stand twice."""
        return np.tile(visits.choice_mask(), (1, self.size))


@final
class ItemAction:
    """Discrete(n): the next place of a page; the page is shown when its K places are filled."""

    def __init__(self, visits: Visits) -> None:
        self.n, self.what = _choices(visits)
        self.space: spaces.Space[Any] = spaces.Discrete(self.n)

    def checked(self, action: ArrayLike, over: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Return choices int64[B, 1], entries -1..n-1."""
        if over is None:
            return checked_action(action, (), self.n, self.what, single=True)[None, None]
        return checked_action(_blanked(action, over, 1), (len(over),), self.n, self.what, single=True)[:, None]

    def act(self, visits: Visits, row: Rows, action: NDArray[Any]) -> None:
        """Show a page of one place, or fill the next place."""
        if visits.rules.slate_size == 1:
            visits.step(row, action)
        else:
            visits.fill(row, action[:, 0])

    def masks(self, visits: Visits) -> NDArray[np.bool_]:
        """Return bool[B, n]: exact, since what stands on the page already is excluded."""
        return visits.choice_mask()


@final
class ProtoAction:
    """Box(-1, 1, [P * F]): P points in the space of item features; each fills K / P places with the nearest items."""

    def __init__(self, visits: Visits, features: Features, protos: int) -> None:
        """Take P = protos.

        Raises:
            ConfigError: P does not divide K.

        """
        self.size = visits.rules.slate_size
        if protos < 1 or self.size % protos:
            raise ConfigError(f"protos must divide the {self.size} places of a page evenly; got {protos}.")
        self.protos, self.features = protos, features
        self.width = protos * features.item_width
        self.space: spaces.Space[Any] = spaces.Box(-1, 1, (self.width,), np.float32)

    def checked(self, action: ArrayLike, over: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """Return points float64[B, P * F] on the grid of the features."""
        shape = (self.width,) if over is None else (len(over), self.width)
        point = np.asarray(action if over is None else _blanked(action, over, 2, 0.0))
        if point.dtype.kind != "f" or point.shape != shape:
            raise ActionError(
                f"expected float features of shape {shape}, {self.protos} points of {self.features.item_width} numbers "
                f"per user; got dtype {point.dtype}, shape {point.shape}."
            )
        if not (np.abs(point) <= 1).all():
            raise ActionError("a proto-action lies outside -1..1 or is NaN; clip it first, for instance with np.clip.")
        return on_grid(point.reshape(-1, self.width))

    def act(self, visits: Visits, row: Rows, action: NDArray[Any]) -> None:
        """Show the nearest items."""
        point = action.reshape(len(row), self.protos, -1)
        visits.step(row, nearest(point, *self._offer(visits, row), self.size))

    def _offer(self, visits: Visits, row: Rows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return features float64[b or 1, n, F] of the choices and bool[b, n], which of them fill a place."""
        candidate = visits.session.candidate
        table = self.features.item_or_none
        feature = table[None, :-1] if candidate is None else table[candidate[row]]
        return feature.astype(np.float64), visits.choice_mask()[row]

    def masks(self, visits: Visits) -> NDArray[np.bool_]:
        """Raise: nothing is refused; the nearest items that fill a place are shown."""
        raise ConfigError("Proto-v0 has no action masks: the nearest items that fill a place are shown.")


def nearest(
    point: NDArray[np.float64], feature: NDArray[np.float64], free: NDArray[np.bool_], size: int
) -> NDArray[np.int64]:
    """Return int64[b, K]: for each point in turn its share of the K places, nearest first, none twice, -1 if none left.

    point: float64[b, P, F]. feature: float64[b or 1, n, F]. free: bool[b, n], which choices fill a place. Distances
    are Euclidean; of equally near ones the lowest number is taken.
    """
    distance = (feature**2).sum(axis=2)[:, None, :] - 2 * point @ feature.transpose(0, 2, 1)
    distance = np.where(free[:, None, :], distance, np.inf)
    page, row = np.full((len(point), size), -1), np.arange(len(point))
    for place in range(size):
        now = distance[:, place * point.shape[1] // size]
        best = now.argmin(axis=1)
        page[:, place] = np.where(np.isinf(now[row, best]), -1, best)
        distance[row, :, best] = np.inf
    return page


def action_form(kind: ActionKind, visits: Visits, features: Features, protos: int) -> ActionForm:
    """Return the form of that name."""
    if kind == "proto":
        return ProtoAction(visits, features, protos)
    return SlateAction(visits) if kind == "slate" else ItemAction(visits)


def _choices(visits: Visits) -> tuple[int, str]:
    """Return how many choices there are, and what one is called."""
    size = visits.rules.candidates
    return (len(visits.population.items), "item") if size is None else (size, "candidate")


def _blanked(action: ArrayLike, over: NDArray[np.bool_], ndim: int, blank: float = -1) -> ArrayLike:
    """Return the actions with the rows that are not looked at blanked, so that they cannot be wrong."""
    a = np.asarray(action)
    if not over.any() or a.ndim != ndim or len(a) != len(over) or a.dtype.kind not in ("f" if blank == 0.0 else "i"):
        return a
    return np.where(over.reshape(-1, *[1] * (ndim - 1)), a.dtype.type(blank), a)
