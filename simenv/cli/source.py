"""The DATA argument of the command line: a name, a path, or the synthetic world. Knows loaders, nothing of training."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from simenv.errors import ConfigError

if TYPE_CHECKING:
    from simenv.datasets import Dataset
    from simenv.datasets.synthetic import World

_SYNTHETIC = re.compile(r"synthetic(?::(\d+)x(\d+))?")
_USUAL = (600, 400)


@final
@dataclass(frozen=True)
class Synthetic:
    """The synthetic world by the numbers it is made from."""

    seed: int
    n_users: int = _USUAL[0]
    n_items: int = _USUAL[1]

    def world(self) -> World:
        """Return the world, made anew."""
        from simenv.datasets.synthetic import generate

        return generate(self.seed, n_users=self.n_users, n_items=self.n_items)


def synthetic(text: str, seed: int) -> Synthetic | None:
    """Return the synthetic world that "synthetic" or "synthetic:USERSxITEMS" stands for; None: it is something else."""
    found = _SYNTHETIC.fullmatch(text)
    if found is None:
        return None
    users, items = found.groups()
    return Synthetic(seed, int(users), int(items)) if users else Synthetic(seed)


def dataset(text: str, seed: int, options: dict[str, Any]) -> Dataset:
    """Return the data behind DATA. options: those given on the command line, by the loader's names.

    Raises:
        ConfigError: an option that this kind of data does not take.
        DataError: nothing there, or something wrong in it.

    """
    from simenv.datasets import Dataset, load

    world = synthetic(text, seed)
    if world is not None:
        if options:
            raise ConfigError(f"the synthetic world has no columns to name; leave out {_flags(options)}.")
        made = world.world()
        return Dataset(made.log, made.catalogue, made.name, note="Synthetic: invented users with known tastes.")
    try:
        return load(text, **options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ConfigError(f"data of this kind has a layout of its own and takes none of {_flags(options)}.") from error


def _flags(options: dict[str, Any]) -> str:
    named = {"user": "--user-column", "item": "--item-column", "rating": "--rating-column", "time": "--time-column"}
    return ", ".join(named.get(name, f"--{name.replace('_', '-')}") for name in options)
