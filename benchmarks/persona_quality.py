"""What profiles say of users against what their held-out ratings show, recorded: counted, Agent4Rec's, Lusifer's.

python benchmarks/persona_quality.py --ml-1m FILE --ml-100k FILE --agent4rec FOLDER --lusifer FOLDER [--told FOLDER]

FILE: folder or zip of MovieLens. Agent4Rec's FOLDER: personas.jsonl(.gz) and simulation_log.jsonl(.gz); Lusifer's:
ml100k_user_profiles.csv(.gz) and ml100k_test_with_simulated_ratings.csv(.gz). --told: made by `simenv distil ml-100k`;
without it no language model of ours has a row, and the record says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from recording import RESULTS, record

from simenv.cli.reproduce_personas import own_arena
from simenv.datasets import load
from simenv.errors import DataError
from simenv.evaluation.interval import Interval
from simenv.study.persona_quality_report import NO_MODEL, report, values
from simenv.study.persona_quality_source import agent4rec as read_agents
from simenv.study.persona_quality_source import lusifer as read_lusifer


def main(
    ml_1m: Annotated[Path, typer.Option(help="MovieLens-1M: folder or zip.")],
    ml_100k: Annotated[Path, typer.Option(help="MovieLens-100K: folder or zip.")],
    agent4rec: Annotated[Path, typer.Option(help="Folder of Agent4Rec's published personas and run.")],
    lusifer: Annotated[Path, typer.Option(help="Folder of Lusifer's published profiles and results.")],
    told: Annotated[Path | None, typer.Option(help="Folder made by `simenv distil ml-100k`.")] = None,
    seed: Annotated[int, typer.Option(help="Of the cut and the bootstrap.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the record goes.")] = RESULTS,
) -> None:
    """Measure and record."""
    started = time.time()
    large, small = load(str(ml_1m)), load(str(ml_100k))
    arenas = [
        own_arena(small, told, 100, 200, seed),
        read_lusifer(
            _file(lusifer, "ml100k_user_profiles.csv"), _file(lusifer, "ml100k_test_with_simulated_ratings.csv"),
            small.log, small.catalogue,
        ),
        read_agents(
            _file(agent4rec, "personas.jsonl"), _file(agent4rec, "simulation_log.jsonl"), large.log, large.catalogue
        ),
    ]  # fmt: skip
    found = values(arenas, seed)
    data = {d.name: d.log.fingerprint for d in (small, large)}
    page = report(found, {"data": ", ".join(f"{n} {f}" for n, f in data.items()), "seed": str(seed)})
    page.print()
    missing = {} if told else {"missing": NO_MODEL}
    command = "python benchmarks/persona_quality.py --ml-1m FILE --ml-100k FILE --agent4rec FOLDER --lusifer FOLDER"
    record(
        "persona-quality", {"verdict": page.verdict, **missing, "arenas": _plain(found)},
        command=command, seed=seed, data=data, started=started, folder=out,
    )  # fmt: skip


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder} holds no {name} (or {name}.gz).")


def _plain(value: Any) -> Any:
    """Return values with intervals as mappings, rounded to four digits."""
    if isinstance(value, Interval):
        return {k: round(v, 4) for k, v in asdict(value).items() if k != "level"}
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


if __name__ == "__main__":
    typer.run(main)
