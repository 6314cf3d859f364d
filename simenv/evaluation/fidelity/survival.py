"""Survival of visits as sums per user: Kaplan-Meier curves, their distance, Brier scores. So all can be resampled.

Knows visits and probabilities; nothing of who said them. V visits, M users, T pages.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation.fidelity.visit import HeldVisits
from simenv.evaluation.user_total import Statistic

Float = NDArray[np.float64]
_LEFT, _AT_RISK, _EXPECTED_LEFT, _EXPECTED_AT_RISK, _BRIER, _BRIER_OTHER, _ENTERED = range(7)


def since_entry(stay: Float, entry: NDArray[np.int64]) -> Float:
    """Return survival float64[V, T+1] given that the visit was going on at entry: 1 until then.

    0 from then on where the model was sure that the user would be gone. stay: float64[V, T+1], from page 0.
    """
    there = stay[np.arange(len(stay)), np.minimum(entry, stay.shape[1] - 1)][:, None]
    given = np.divide(stay, there, out=np.zeros_like(stay), where=there > 0)
    return np.asarray(np.where(np.arange(stay.shape[1]) <= entry[:, None], 1.0, given))


def totals(seen: HeldVisits, stay: Float, other: Float) -> Float:
    """Return float64[M, 7, T]: sums over each user's visits, per page, of all that the measures below are made of.

    stay, other: float64[V, T+1], what two models say of each visit's survival since its entry. The curves compare the
    first with the real visits; Brier scores are of both.
    """
    pages = stay.shape[1] - 1
    page = np.arange(1, pages + 1)
    entered = seen.entry[:, None] < page
    there = page <= (seen.length - seen.left)[:, None]
    weight = entered * _weight(seen, there, pages)
    looked_at = entered & (page <= seen.shown[:, None])
    rows: list[NDArray[np.generic]] = [
        seen.ended(pages),
        seen.at_risk(pages),
        looked_at * (stay[:, :-1] - stay[:, 1:]),
        looked_at * stay[:, :-1],
        weight * (there - stay[:, 1:]) ** 2,
        weight * (there - other[:, 1:]) ** 2,
        entered,
    ]
    own = np.unique(seen.user, return_inverse=True)[1].ravel()
    total = np.zeros((int(own.max(initial=-1)) + 1, len(rows), pages))
    np.add.at(total, own, np.stack([np.asarray(r, np.float64) for r in rows], axis=1))
    return total


def _weight(seen: HeldVisits, there: NDArray[np.bool_], pages: int) -> Float:
    """Return float64[V, T]: one over the probability that what became of the visit was seen; 0 where it was not.

    That probability is Kaplan-Meier's of not being cut off, from the visit's entry on (Graf et al. 1999).
    """
    page = np.arange(1, pages + 1)
    unseen = ~seen.left[:, None] & (page == seen.length[:, None] + 1) & (seen.entry <= seen.length)[:, None]
    present = seen.at_risk(pages).sum(axis=0) + unseen.sum(axis=0)
    kept = np.concatenate([[1.0], np.cumprod(1 - unseen.sum(axis=0) / np.maximum(present, 1))])
    gone = seen.left[:, None] & (page >= seen.length[:, None])
    until = np.minimum(np.where(gone, seen.length[:, None], page), pages)
    chance = kept[until] / np.maximum(kept[np.minimum(seen.entry, pages)], 1e-9)[:, None]
    return np.asarray((there | gone) / np.maximum(chance, 1e-9))


def statistic(total: Float, value: Callable[[Float], Float]) -> Statistic:
    """Return a measure of `totals` [M, 7, T] for the bootstrap over users; value: [..., 7, T] -> [...]."""
    shape = total.shape[1:]
    return Statistic(total.reshape(len(total), -1), lambda flat: value(flat.reshape(*flat.shape[:-1], *shape)))


def real_curve(sums: Float) -> Float:
    """Return Kaplan-Meier's estimate [..., T+1] of the share still there, late entries counted from their entry."""
    return _curve(sums[..., _LEFT, :], sums[..., _AT_RISK, :])


def simulated_curve(sums: Float) -> Float:
    """Return the same estimate [..., T+1] from expected numbers, cut off where the user's items run out."""
    return _curve(sums[..., _EXPECTED_LEFT, :], sums[..., _EXPECTED_AT_RISK, :])


def distance(sums: Float) -> Float:
    """Return the largest gap [...] between the two curves."""
    return np.asarray(np.abs(real_curve(sums) - simulated_curve(sums)).max(axis=-1))


def brier(sums: Float) -> Float:
    """Return the first model's integrated Brier score [...]: mean over visits under way, then over pages."""
    return _score(sums, _BRIER)


def brier_other(sums: Float) -> Float:
    """Return the second model's."""
    return _score(sums, _BRIER_OTHER)


def brier_difference(sums: Float) -> Float:
    """Return first minus second."""
    return brier(sums) - brier_other(sums)


def _curve(left: Float, at_risk: Float) -> Float:
    hazard = np.divide(left, at_risk, out=np.zeros_like(left), where=at_risk > 0)
    curve = np.cumprod(1 - hazard, axis=-1)
    return np.concatenate([np.ones_like(curve[..., :1]), curve], axis=-1)


def _score(sums: Float, row: int) -> Float:
    n = sums[..., _ENTERED, :]
    return np.asarray(np.divide(sums[..., row, :], n, out=np.zeros_like(n), where=n > 0).mean(axis=-1))
