"""Stored: users in a folder, as a function that loads them. Sent to workers in place of the users, who are heavy.

Weights and stores are read by each worker where they lie, so the folder must be found under the same path everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from simenv.agents.store import load
from simenv.errors import StoreError

if TYPE_CHECKING:
    from simenv.agents.population import SimulatedPopulation


@final
@dataclass(frozen=True)
class Stored:
    """build(n) of a population's folder, for `Benchmark.run`. The other fields are those of `simenv.agents.store.load`.

    >>> Benchmark().run(recommenders, Stored("my-users"), log, catalogue, executor=Processes(4))  # doctest: +SKIP
    """

    folder: str | Path
    cache: Path | None = None
    replay: Path | None = None
    table: bool = False
    remote: str | None = None
    refits: str | Path | None = None
    """Folder that holds the populations 1, 2, ... under their numbers; None: there is only population 0."""

    def __post_init__(self) -> None:
        for name in ("folder", "cache", "replay", "refits"):  # workers may be at home in another folder
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)).absolute())

    def __call__(self, number: int = 0) -> SimulatedPopulation:
        """Return the population, or one of its refits.

        Raises:
            StoreError: it is not there.

        """
        folder = Path(self.folder)
        if number:
            if self.refits is None:
                raise StoreError(f"{folder} has no refits: say where they are, or give a function that makes them.")
            folder = Path(self.refits) / str(number)
        if self.remote is None:
            return load(folder, cache=self.cache, replay=self.replay, table=self.table)
        return load(folder, cache=self.cache, replay=self.replay, table=self.table, remote=self.remote)
