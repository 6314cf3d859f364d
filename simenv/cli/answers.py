"""Where the answers of a benchmark come from: weights here or on a server, a cache before them, a replay, a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from simenv.cli.console import quiet_libraries, say
from simenv.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from simenv.agents.cache import CachedModel
    from simenv.agents.population import SimulatedPopulation
    from simenv.agents.remote_model import RemoteModel

Cache = Annotated[
    Path | None, typer.Option("--cache", help="File that keeps every answer of the language model; made, or added to.")
]
Replay = Annotated[
    Path | None, typer.Option("--replay", help="Such a file instead of weights; what is not in it is an error.")
]
Table = Annotated[bool, typer.Option("--table", help="Ratings from the table made by `simenv compile`.")]
Remote = Annotated[
    str | None,
    typer.Option("--remote", help="Address of a server that has the weights, such as http://localhost:8000/v1."),
]
"""Options of all commands that ask users."""

KEPT, REPLAYED = "benchmark", "replay"
"""Folders inside a population's folder: finished parts and reports of benchmarks, and of replays."""


@final
@dataclass(frozen=True)
class Answers:
    """What was asked for on the command line."""

    folder: Path
    """The population's."""
    cache: Path | None = None
    replay: Path | None = None
    table: bool = False
    remote: str | None = None
    """Address of a server that has the weights."""
    away: bool = False
    """Other processes ask: what they found and computed is not counted here."""
    _model: list[CachedModel | RemoteModel] = field(default_factory=list)

    def load(self, folder: Path) -> SimulatedPopulation:
        """Return the population of a folder. The libraries of weights stay away where none are needed."""
        from simenv.agents.store import load

        if self.replay is None and not self.table:
            quiet_libraries()
        population = load(folder, cache=self.cache, replay=self.replay, table=self.table, remote=self.remote)
        self._model.extend(asked(population))
        return population

    def refit(self, number: int) -> SimulatedPopulation:
        """Return a refitted population for a replay: found where it was published, for nothing is learned anew.

        Raises:
            StoreError: it is not there.

        """
        found = self.folder / KEPT / "refits" / str(number)
        if not found.is_dir():
            raise StoreError(f"{found} is missing: a replay learns nothing anew. Publish {found.parent} too.")
        return self.load(found)

    def kept(self, wanted: Path | None) -> Path:
        """Return the folder of finished parts, and warn of those that will not be asked again."""
        kept = wanted or self.folder / (REPLAYED if self.replay else KEPT)
        if (self.cache or self.replay) and any((kept / "units").glob("*")):
            say(
                f"Parts finished before lie in {kept} and are not asked again"
                + (f"; what they asked is in {self.cache} only if it was kept then" if self.cache else "")
                + ". For a whole run give a new folder: --out."
            )
        return kept

    def check(self, refits: int) -> None:
        """Raise ConfigError for what cannot go together."""
        if self.table and refits > 1:
            raise ConfigError("--table holds the answers of one population; leave out --refits, or the table.")
        if self.remote and refits > 1:
            raise ConfigError("--remote asks a server that has the weights of one population; leave out --refits.")

    def settle(self, kept: Path | None = None) -> None:
        """Leave the files in order, say what was found in them, and whether a replay gave the published result.

        kept: folder of a benchmark's result; None: something else was asked.
        """
        for model in self._model:
            if self.away:
                say(_settle_file(model))
            else:
                say(str(model.tally) if hasattr(model, "tally") else model.settle())
        published = self.folder / KEPT / "result.json"
        if kept is not None and self.replay and published.is_file() and published.parent != kept:
            same = published.read_bytes() == (kept / "result.json").read_bytes()
            words = "is, byte for byte, that" if same else "differs from that (other settings or versions?)"
            say(f"The result in {kept} {words} in {published.parent}.")


def _settle_file(model: CachedModel | RemoteModel) -> str:
    """Leave a file that other processes wrote in order, and return in words what became of it."""
    file = getattr(model, "file", None)
    if file is None:
        return "What the server was asked is counted by the processes that asked."
    words = f"{len(file):,} answers stand in {file.path}"
    (file.settle if file.writable else file.close)()
    return f"{words}, {file.path.stat().st_size / 1e6:,.2f} MB."


def asked(population: SimulatedPopulation) -> list[CachedModel | RemoteModel]:
    """Return the cache and the server that ratings and exit answers of a population go through, where there are any."""
    from simenv.agents.cache import CachedModel
    from simenv.agents.remote_model import RemoteModel

    rating: Any = getattr(population.rating_model, "inner", None)
    leaving: Any = getattr(population.exit, "base", None)
    found = next((m for m in (getattr(part, "model", None) for part in (rating, leaving)) if m is not None), None)
    return [m for m in (found, getattr(found, "inner", None)) if isinstance(m, CachedModel | RemoteModel)]
