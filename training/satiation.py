"""Satiation: do ratings fall where others of the same kind were rated just before in the visit? Measured in a log.

Users choose kinds they like, so same-kind neighbours go with high ratings whatever boredom does. Order is what tells:
a rating is held against how much more of its kind stood before it than would in the same visit in shuffled order.
Lists that were sorted best first look the same as boredom, and no log tells the two apart. Knows logs, the kinds of
items and residuals; no populations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.boredom import Boredom
from simenv.errors import ConfigError, DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.user_total import Statistic, UserTotals, bootstrap
from simenv.log import InteractionLog
from simenv.pages import GAP, visits
from simenv.randomness import generator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@final
@dataclass(frozen=True)
class Satiation:
    """What a log shows. Effects in rating points, for an item all of whose predecessors were of its very kind."""

    effect: Interval
    """Slope of the residual on the exposure that order alone made; negative: boredom, or lists sorted best first. The
    interval resamples users."""
    p: float
    """Two-sided: share of shuffled orders whose slope is as far from their mean as the real one's."""
    plain: Interval
    """Slope on the exposure as it stands: mostly that users choose kinds they like."""
    events: int
    """Ratings with something before them in their visit."""
    users: int
    shuffles: int


def satiation(
    log: InteractionLog,
    kinds: Floats,
    residual: Floats,
    *,
    keep: float = Boredom.keep,
    gap: int = GAP,
    shuffles: int = 100,
    seed: int = 0,
) -> Satiation:
    """Return how the residual of a rating moves with its exposure: the share of its kind among those just before.

    kinds: float64[I, G], see `simenv.agents.boredom.kinds_of`. residual: float64[E], rating minus what is expected of
    user and item. keep: see `Boredom.keep`. Ratings of one second are not before each other; they stay together when
    visits are shuffled. Held fixed: the user's mean, the position within the visit (linear and logarithmic), and the
    residuals just before, a mood or a streak.

    Raises:
        ConfigError: the log has no times, or too few shuffles.
        DataError: the log is simulated, or no rating follows another.

    """
    if log.simulated:
        raise DataError("these answers came from a simulator; what people feel is measured on real visits alone.")
    if log.time is None:
        raise ConfigError("satiation needs times and this log has none.")
    if shuffles < 2:
        raise ConfigError(f"an order is held against at least 2 shuffled ones; got {shuffles}.")
    sight = _Sight(log, kinds, np.asarray(residual, np.float64), visits(log, gap), _blocks(log), keep)
    orders = [np.arange(len(log)), *(sight.shuffled(seed, n) for n in range(shuffles))]
    exposed = np.stack([sight.exposed(order) for order in orders])
    usual = exposed[1:].mean(axis=0)
    totals = [sight.totals(order, own - usual) for order, own in zip(orders, exposed, strict=True)]
    slope = np.array([_ratio(total.sum(axis=0)) for total in totals])
    far = int((np.abs(slope[1:] - slope[1:].mean()) >= abs(slope[0] - slope[1:].mean())).sum())
    some = totals[0][:, 2] > 0
    plain = sight.totals(orders[0], exposed[0])[some]
    return Satiation(
        effect=bootstrap(Statistic(totals[0][some], _ratio), seed=seed),
        p=(far + 1) / (shuffles + 1),
        plain=bootstrap(Statistic(plain, _ratio), seed=seed),
        events=int(totals[0][:, 2].sum()),
        users=int(some.sum()),
        shuffles=shuffles,
    )


def exposures(item: Ints, visit: Ints, block: Ints, kinds: Floats, keep: float) -> Floats:
    """Return float64[E]: share of each item's kind among what stood just before it; 0 where nothing did.

    Events [E] in order, numbered by visit; those of one block are not before each other. The same moving average as
    `Boredom.loss` takes: (1 - keep) times 1, keep, keep^2, .. backwards.
    """
    return np.asarray((kinds[item] * _before(kinds[item], visit, block, keep)).sum(axis=1), np.float64)


def _before(value: Floats, visit: Ints, block: Ints, keep: float) -> Floats:
    """Return float64[E, C]: the moving average of value [E, C] over the visit's events before each one's block."""
    out = np.zeros_like(value)
    place = np.arange(len(visit)) - np.searchsorted(visit, visit)
    new = np.diff(block, prepend=-1) != 0
    level, frozen = (np.zeros((int(visit.max(initial=-1)) + 1, value.shape[1])) for _ in range(2))
    order = np.argsort(place, kind="stable")
    for event in np.split(order, np.cumsum(np.bincount(place))[:-1] if len(place) else []):
        v, fresh = visit[event], event[new[event]]
        frozen[visit[fresh]] = level[visit[fresh]]
        out[event] = frozen[v]
        level[v] = keep * level[v] + (1 - keep) * value[event]
    return out


def _blocks(log: InteractionLog) -> Ints:
    """Return int64[E]: events of one user at the same second share a number."""
    assert log.time is not None
    return np.cumsum((np.diff(log.user, prepend=-1) != 0) | (np.diff(log.time, prepend=-1) != 0)) - 1


@final
@dataclass(frozen=True, eq=False)
class _Sight:
    """A log's visits, looked at in the real order or in another one."""

    log: InteractionLog
    kinds: Floats
    residual: Floats
    visit: Ints
    block: Ints
    keep: float

    def shuffled(self, seed: int, number: int) -> Ints:
        """Return an order [E] in which the blocks of each visit are dealt anew; blocks stay whole."""
        luck = generator(seed, "satiation", number).random(int(self.block.max(initial=-1)) + 1)
        return np.lexsort((np.arange(len(self.block)), luck[self.block], self.visit))

    def exposed(self, order: Ints) -> Floats:
        """Return float64[E]: the exposure that each event of the log, in its own place, has in an order."""
        out = np.empty(len(order))
        out[order] = exposures(self.log.item[order], self.visit, self.block[order], self.kinds, self.keep)
        return out

    def totals(self, order: Ints, x: Floats) -> Floats:
        """Return float64[U, 3]: sums of x y, x^2 and 1 per user; x [E] without what is held fixed, y the residual."""
        block, y = self.block[order], self.residual[order]
        begins = np.flatnonzero(np.diff(block, prepend=-1) != 0)
        before = begins - np.searchsorted(self.visit, self.visit[begins])
        before = np.repeat(before, np.diff(np.append(begins, len(block))))  # events of the visit before the block
        row = np.flatnonzero((before > 0) & self.kinds[self.log.item[order]].any(axis=1))
        if not len(row):
            raise DataError("no rating of this log follows another one in its visit.")
        mood = _before(y[:, None], self.visit, block, self.keep)[row, 0]
        user = self.log.user[order][row]
        own = _alone(np.column_stack([x[order][row], before[row], np.log(before[row]), mood]), user)
        columns = own * y[row], own * own, np.ones(len(row))
        return np.stack([np.bincount(user, c, minlength=self.log.n_users) for c in columns], axis=1)


def _alone(column: Floats, user: Ints) -> Floats:
    """Return the first column [N, C] without what user means and a least-squares fit on the others explain."""
    users = UserTotals(user)
    mean = users.sum(column) / users.count[:, None]
    centred = column - mean[np.searchsorted(users.ids, user)]
    beta = np.linalg.lstsq(centred[:, 1:], centred[:, 0], rcond=None)[0]
    return np.asarray(centred[:, 0] - centred[:, 1:] @ beta, np.float64)


def _ratio(total: Floats) -> Floats:
    return np.asarray(total[..., 0] / total[..., 1], np.float64)
