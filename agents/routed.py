"""RoutedRatingModel: the cheapest answer that is good enough: a table's, else a surrogate's, else the exact model's.

Stateless: a pair's route depends on the pair alone. What each route answered is counted on the side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.forgetting import forget
from simenv.agents.surrogate import SurrogateRatingModel
from simenv.agents.table import TableRatingModel
from simenv.errors import ConfigError
from simenv.protocols import Answer, RatingModel
from simenv.scale import RatingScale

ROUTE = ("table", "surrogate", "exact")


@final
@dataclass(frozen=True, eq=False)
class RoutedRatingModel:
    """Table where it holds the pair, else the surrogate unless its bound exceeds the limit, then the exact model."""

    surrogate: SurrogateRatingModel
    exact: RatingModel
    limit: float
    """Rating points: the largest bound on the gap of the expected rating that is accepted. 0: always the exact model,
    infinity: never."""
    table: TableRatingModel | None = None
    _count: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROUTE, 0))

    def __post_init__(self) -> None:
        others = [self.exact, *([self.table] if self.table else [])]
        if any(o.scale.values != self.surrogate.scale.values for o in others):
            raise ConfigError(f"table and models must share one rating scale; the surrogate's is {self.scale.values}.")
        if not self.limit >= 0:
            raise ConfigError(f"limit must be 0 or more rating points; got {self.limit}.")

    @property
    def scale(self) -> RatingScale:
        """That of all three."""
        return self.surrogate.scale

    @property
    def count(self) -> dict[str, int]:
        """Pairs answered so far by each of `ROUTE`."""
        return dict(self._count)

    def route(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return int64[N]: the position in `ROUTE` of who answers each pair; nothing is counted."""
        return self._answered(user, item)[0]

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return the answers [N].

        Raises:
            UnknownIdError: a pair is in no table and the user has no vector; or the exact model does not know the user.

        """
        user, item = np.asarray(user, np.int64), np.asarray(item, np.int64)
        route, (p, off, support) = self._answered(user, item)
        for place, model in ((0, self.table), (2, self.exact)):
            chosen = route == place
            if model is not None and chosen.any():
                said = model.rate(user[chosen], item[chosen])
                p[chosen], off[chosen], support[chosen] = said.p, said.off_scale, said.support
        for n, name in enumerate(ROUTE):
            self._count[name] += int((route == n).sum())
        return Answer(p, off, support)

    def forget(self) -> None:
        """Let the exact model let go of what it keeps of earlier questions."""
        forget(self.exact)

    def _answered(
        self, user: NDArray[np.int64], item: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
        """Return the routes and the parts of an answer, filled where the surrogate was asked."""
        n = len(user)
        held = self.table.holds(user, item) if self.table is not None else np.zeros(n, bool)
        route = np.where(held, 0, 1)
        p, off, support = np.empty((n, len(self.scale)), np.float32), np.zeros(n, np.float32), np.zeros(n, np.float32)
        open_ = np.flatnonzero(~held)
        said, bound = self.surrogate.told_apart(user[open_], item[open_])
        p[open_], support[open_] = said.p, said.support
        route[open_[bound.expected > self.limit]] = 2
        return np.asarray(route, np.int64), (p, off, support)
