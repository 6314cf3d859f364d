"""Cards held against the truth: in the synthetic world a simulator that is further from it must get a worse card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from card_run import Run, value_of
from protocols import cut_for

from simenv.datasets.synthetic import World
from simenv.evaluation.fidelity.card import Card
from simenv.evaluation.statistics import kendall_tau
from simenv.randomness import generator
from simenv.study.ladder import distance, ladder

TRAINED = "trained users"
LEAST = 60
"""Ratings a simulated user has at least."""
MEASURES = ("rmse", "nll", "rps", "ece_top", "sampled_w1", "sampled_within_variance_ratio")
HELD = {"nll": 1, "rps": 1, "rmse": 1, "c2st": 1, "requirements met": -1, "colour": 1}
"""What is held against the distance: 1 if it should grow with it, -1 if it should fall."""
_COLOURS = ("green", "amber", "red")


def climbed(run: Run, world: World, users: int) -> dict[str, Any]:
    """Return the card of trained users, those of the truth and of worse users, and whether cards follow the truth."""
    able = np.flatnonzero(world.log.count >= LEAST)
    member = np.sort(generator(0, "members").permutation(able)[:users])
    protocol = cut_for(world.log, member, member, f"{len(member)} of {len(able)} users with {LEAST} ratings or more")
    future = protocol.split.future
    trained = run.card("world", protocol)
    population = run.build("world")(run.log, protocol.split, run.settings.seeds[0])
    rungs = ladder(world, member, protocol.split.past, seed=run.settings.seed)
    once = replace(run, settings=replace(run.settings, seeds=run.settings.seeds[:1]))
    alone: dict[str, Any] = {"control": None, "arms": None, "disturb": None, "folder": run.folder / "cards" / "world"}
    cards = {n: once.card(f"ladder/{n}", protocol, build=p, **alone) for n, p in rungs.items()}
    far = {n: distance(p, world, future.user, future.item) for n, p in {**rungs, TRAINED: population}.items()}
    rows = {
        n: {"distance": far[n], **told(trained if n == TRAINED else cards[n])} for n in sorted(far, key=far.__getitem__)
    }
    about = {"protocol": protocol.note, "users": len(member), "pairs": len(future)}
    return {**about, "card": value_of(trained), "ladder": rows, "agreement": agreement(rows)}


def told(card: Card) -> dict[str, Any]:
    """Return what a card says that can be held against the truth; disturbances aside, which only some cards have."""
    simulator = next(iter(card.value["chapters"]["measures"].values()))
    shared = [c.name for c in card.light.criterion if c.must and not c.key.startswith("disturbed")]
    standing = {name: card.light.standing[name] for name in shared}
    states = [s for s in standing.values() if s != "not measured"]
    colour = "red" if "missed" in states else "green" if set(states) == {"met"} else "amber"
    c2st = card.light.value.get("c2st")
    return {
        "colour": colour,
        "requirements met": states.count("met"),
        "requirements measured": len(states),
        "missed": [name for name, state in standing.items() if state not in ("met", "not measured")],
        "c2st": None if c2st is None else c2st.mean,
        **{m: simulator[m].mean for m in MEASURES if m in simulator},
    }


def agreement(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return, per number of the card, its rank agreement (Kendall's tau) with the distance and the pairs it inverts."""
    found: dict[str, Any] = {}
    for key, sign in HELD.items():
        number = {n: sign * _number(row[key]) for n, row in rows.items() if row.get(key) is not None}
        far = {n: float(rows[n]["distance"]) for n in number}
        wrong = [
            f"{worse} looks better than {better}"
            for better, worse in combinations(sorted(number, key=far.__getitem__), 2)
            if far[better] < far[worse] and number[worse] < number[better]
        ]
        constant = len(set(number.values())) < 2
        tau = None if constant else kendall_tau(list(far.values()), list(number.values()))
        found[key] = {"tau": tau, "inverted": wrong}
    return found


def _number(value: str | float) -> float:
    return float(_COLOURS.index(value)) if isinstance(value, str) else float(value)
