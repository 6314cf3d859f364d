"""The source paper's table of ratings on MovieLens-100K: both arms, every printed row, beside the yardsticks.

python benchmarks/table1.py DATA [--base NAME ...] [--users N] [--out FOLDER]

Users with 100-200 ratings (all 216), each cut in time at 60 %. Stopped, it goes on where it was. The recorded result is
of the embedded model; a base by name is recorded under a name of its own.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from recording import record

from simenv.cli.console import quiet_libraries
from simenv.datasets import load
from simenv.study.table1 import Table1Settings, table1
from simenv.study.table1_report import report
from simenv.study.table1_settings import Arm


def main(
    data: Annotated[Path, typer.Argument(help="MovieLens-100K: folder or zip")],
    base: Annotated[
        list[str] | None, typer.Option(help="Hugging Face name or folder; default: the embedded one")
    ] = None,
    users: Annotated[int | None, typer.Option(help="users; default: all 216 (fewer are not recorded)")] = None,
    out: Annotated[Path, typer.Option(help="bases, adapters and finished rows")] = Path("runs/table1-ml100k"),
) -> None:
    started = time.time()
    quiet_libraries()
    dataset, settings = load(data), Table1Settings(users=users)
    tables = []
    arms: tuple[Arm, ...] = ("own", "world")
    for arm in arms:
        last = ""

        def told(done: int, total: int, words: str) -> None:
            nonlocal last
            line = words.split(":")[0]
            if line != last:
                print(f"{time.time() - started:7.0f} s  {done}/{total}  {line}", flush=True)
            last = line

        tables.append(table1(dataset, base or [None], settings, arm=arm, folder=out, progress=told))
    print(report(tables).to_markdown())
    if users is not None:
        return
    about = {"settings": repr(settings), "measured_on": sorted({x.base for t in tables for x in t.lines})}
    values = about | {t.arm: t.to_json() for t in tables}
    name = "table1-ml100k" + "".join(f"-{Path(b).name}" for b in base or [])
    command = " ".join(["python benchmarks/table1.py DATA", *(f"--base {b}" for b in base or [])])
    data_of = {dataset.name: dataset.log.fingerprint}
    print(record(name, values, command=command, seed=0, data=data_of, started=started))


if __name__ == "__main__":
    typer.run(main)
