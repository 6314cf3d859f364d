"""Tells Gymnasium about `simenv/Slate-v0`, `Item-v0` and `Proto-v0`, and finds a population by name or path.

Gymnasium from 1.0 on reads no entry points. The ids are there after `import gymnasium, simenv` in this order, after
importing simenv.environment in any order, and without any import as `"simenv.environment:simenv/Slate-v0"`.
Knows no users: populations are found through the entry points `simenv.populations`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from simenv.errors import ConfigError
from simenv.protocols import Population

SLATE_ID, ITEM_ID, PROTO_ID = "simenv/Slate-v0", "simenv/Item-v0", "simenv/Proto-v0"
_CLASSES = {SLATE_ID: "Slate", ITEM_ID: "Item", PROTO_ID: "Proto"}
GROUP = "simenv.populations"


def register() -> None:
    """Register the environments of simenv with Gymnasium; calling it again changes nothing.

    The page cap is the argument `max_pages` of the environment, so the spec carries no `max_episode_steps`.
    """
    from gymnasium.envs import registration  # here, because resolving a population needs no Gymnasium

    for name, kind in _CLASSES.items():
        if name not in registration.registry:
            registration.register(
                id=name,
                entry_point=f"simenv.environment:{kind}Env",
                vector_entry_point=f"simenv.vector:{kind}VectorEnv",
            )


def resolve(population: Population | str) -> Population:
    """Return the population itself, or the one that a name or path stands for.

    A string is, in this order: the path of a folder that exists (read by the entry point "folder"), the name of an
    entry point of the group `simenv.populations` (called without argument), or "name:argument".

    Raises:
        ConfigError: no such folder and no such name, or what was found is not a Population.

    """
    found = _load(population) if isinstance(population, str) else population
    if not isinstance(found, Population):
        raise ConfigError(
            "a population has users, items, member, scale, assumption, begin and respond "
            f"(simenv.protocols.Population); got {type(found).__name__}."
        )
    return found


def _load(text: str) -> object:
    known = {point.name: point for point in entry_points(group=GROUP)}
    if Path(text).exists() and "folder" in known:
        return _call(known["folder"], text)
    name, colon, argument = text.partition(":")
    if name in known:
        return _call(known[name], argument) if colon else _call(known[name])
    raise ConfigError(
        f"population {text!r} is neither a folder that exists nor a known name; names are {', '.join(sorted(known))}. "
        "Give the folder that a population was saved to, or the Population itself."
    )


def _call(point: EntryPoint, *argument: str) -> object:
    return point.load()(*argument)
