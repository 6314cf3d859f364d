"""Findings: gains with intervals, the gap between replicas, and alarms, from the numbers of a proof.

Knows the numbers of `proof.prove`; nothing of how policies came about. F replicas; S seeds; M users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation.interval import Interval
from simenv.evaluation.statistics import decompose

Floats = NDArray[np.float64]
Unit = Mapping[str, Any]
GAP: Final = 0.25
"""Alarm: this share of the gain on the training replicas is clearly lost on others. Assumed, as the next three."""
NARROW: Final = 0.5
"""Alarm: effective items are fewer than this share of the rivals' median."""
FAR: Final = 0.25
"""Alarm: so much more of the pages or states lies outside the log's than of any rival's."""
DISPUTED: Final = 1.25
"""Alarm: places shown are so many times as disputed among replicas as the most disputed rival's."""


def cube(units: Sequence[Unit], name: str, place: str) -> Floats:
    """Return float64[F, S, M]: the value of a policy in a place, from units that differ in their seed alone."""
    return np.asarray([u["value"][name][place] for u in units], np.float64).transpose(1, 0, 2)


def gain(units: Sequence[Unit], name: str, rival: str, place: str) -> Interval:
    """Return how much more a policy is worth than a rival, paired by replica, seed and user.

    The interval counts replicas (where there are several), seeds and users; see `statistics.decompose`.
    """
    return decompose(cube(units, name, place) - cube(units, rival, place)).total


def rated(units: Sequence[Unit], name: str, rival: str | None = None) -> Interval:
    """Return the mean true rating of held-out items ranked first, or how much it is above a rival's.

    The interval counts seeds and users; users with too few held-out items are left out.
    """
    value = np.asarray([[np.nan if v is None else v for v in u["rated"][name]] for u in units], np.float64)
    if rival is not None:
        value = value - np.asarray([[np.nan if v is None else v for v in u["rated"][rival]] for u in units], np.float64)
    return decompose(value[None][:, :, ~np.isnan(value).any(axis=0)]).total


def gap(units: Sequence[Unit], name: str, rival: str) -> Interval:
    """Return the gain where it was trained minus the gain on held-out replicas and users.

    The replicas it was trained on are those and no others, so their mean counts; the others stand for all there could
    be. Different users on both sides: the half-widths add as squares.
    """
    learned = cube(units, name, "trained on") - cube(units, rival, "trained on")
    here = decompose(learned.mean(axis=0, keepdims=True)).total
    there = gain(units, name, rival, "held out")
    half = float(np.hypot(here.high - here.mean, there.high - there.mean))
    mean = here.mean - there.mean
    return Interval(mean, mean - half, mean + half, here.level)


def sign(units: Sequence[Unit], name: str, what: str) -> float:
    """Return one of the signs of exploitation, mean over seeds; NaN: it was not asked for."""
    found = [u["signs"][name][what] for u in units]
    return float("nan") if None in found else float(np.mean(found))


def reference(units: Sequence[Unit], among: Sequence[str] | None = None) -> str:
    """Return the rival that is worth most to held-out users of held-out replicas: the one to beat."""
    rivals = [str(r) for r in among or units[0]["rivals"]]
    return max(map(str, rivals), key=lambda r: float(cube(units, r, "held out").mean()))


def alarms(units: Sequence[Unit], name: str) -> tuple[str, ...]:
    """Return what speaks for exploitation, in words; () : nothing found, which is no proof of the contrary."""
    best, rivals = reference(units), list(units[0]["rivals"])
    lost, here = gap(units, name, best), gain(units, name, best, "trained on")
    said = []
    if lost.low > 0 and lost.mean > GAP * max(here.mean, 0.0):
        said.append(
            f"gains {here.mean:+.3f} over {best} where it was trained and {here.mean - lost.mean:+.3f} elsewhere"
        )
    varied = float(np.median([sign(units, r, "effective_items") for r in rivals]))
    if sign(units, name, "effective_items") < NARROW * varied:
        own = sign(units, name, "effective_items")
        said.append(f"shows as few as {own:.0f} effective items, rivals {varied:.0f} (median)")
    for what, words in (("slates_outside", "pages"), ("states_outside", "states")):
        own, most = sign(units, name, what), max(sign(units, r, what) for r in rivals)
        if own > most + FAR:
            said.append(f"{own:.0%} of its {words} are unlike the log's, of rivals' at most {most:.0%}")
    own, most = sign(units, name, "disagreement"), max(sign(units, r, "disagreement") for r in rivals)
    if own > DISPUTED * most:
        said.append(f"replicas disagree {own:.2f} times as much over what it shows, over rivals' at most {most:.2f}")
    return tuple(said)
