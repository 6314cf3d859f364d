"""Agent4Rec's and Lusifer's published ratings, recorded beside the yardsticks and our users on the same pairs.

python benchmarks/audit.py --ml-1m FILE --ml-100k FILE --agent4rec LOG --lusifer FOLDER

FILE: folder or zip of MovieLens. LOG: Agent4Rec's run as JSON lines. FOLDER: Lusifer's two tables of results,
ml100k_test_with_simulated_ratings.csv(.gz) and ml1m_test_with_simulated_ratings.csv(.gz). An interrupted run goes on in
--out. Of Lusifer's 6,039 users of MovieLens-1M a thousand are drawn, so that the others can be learned from.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from recording import RESULTS, record

from simenv.datasets import Dataset, load
from simenv.errors import DataError
from simenv.study.audit import ALL, Audit, AuditSettings, audit
from simenv.study.builder import builder
from simenv.study.published import Published, agent4rec, table
from simenv.training.pipeline import TrainSettings

USERS = 1000
"""Users drawn for Lusifer's MovieLens-1M table."""


def audited(published: Published, data: Dataset, how: AuditSettings, recipe: TrainSettings, folder: Path) -> Audit:
    """Return one audit; users and answers stay in the folder."""
    print(f"{published.name}: {published.note}", flush=True)
    build = builder(data.catalogue, folder / "users", recipe, show=_quiet)
    found = audit(published, build, how, folder=folder, progress=lambda words: print(f"  {words}", flush=True))
    for name, row in found.table[ALL].value.items():
        print("  " + ", ".join([name, *[f"{m} {v.mean:.3f}" for m, v in row.items()]]), flush=True)
    return found


def _quiet(name: str) -> Any:
    print(f"  training: {name}", flush=True)
    return lambda step, steps, loss: None


def _lusifer(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"{name}_test_with_simulated_ratings.csv*"))
    if not found:
        raise DataError(f"{folder}: no {name}_test_with_simulated_ratings.csv; give the folder of Lusifer's results.")
    return found[0]


def main(
    ml_1m: Annotated[Path, typer.Option(help="MovieLens-1M: folder or zip")],
    ml_100k: Annotated[Path, typer.Option(help="MovieLens-100K: folder or zip")],
    agents: Annotated[Path, typer.Option("--agent4rec", help="Agent4Rec's run, JSON lines")],
    lusifer: Annotated[Path, typer.Option(help="folder of Lusifer's result tables")],
    out: Annotated[Path, typer.Option(help="where users and answers are kept")] = Path("runs/audit"),
    results: Annotated[Path, typer.Option(help="where the result goes")] = RESULTS,
    users: Annotated[int | None, typer.Option(help="pilots: so many users of each")] = None,
    steps: Annotated[int | None, typer.Option(help="pilots: so many training steps")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="pilots: yardsticks tuned over fewer settings")] = False,
) -> None:
    started, recipe = time.time(), TrainSettings()
    if steps is not None:
        recipe = replace(recipe, world=replace(recipe.world, steps=steps, warmup=min(recipe.world.warmup, steps // 3)))
    large, small = load(ml_1m), load(ml_100k)
    every = AuditSettings(users=users, quick=quick)
    jobs = {
        "lusifer-ml-100k": (table(_lusifer(lusifer, "ml100k"), small.log, name="Lusifer, ml-100k"), small, every),
        "agent4rec": (agent4rec(agents, large.log), large, every),
        "lusifer-ml-1m": (
            table(_lusifer(lusifer, "ml1m"), large.log, name="Lusifer, ml-1m"), large,
            replace(every, users=users or USERS),
        ),
    }  # fmt: skip
    values = {n: audited(p, data, how, recipe, out / n).to_json() for n, (p, data, how) in jobs.items()}
    command = "python benchmarks/audit.py --ml-1m FILE --ml-100k FILE --agent4rec LOG --lusifer FOLDER"
    flags: dict[str, object] = {f"--users {users}": users, f"--steps {steps}": steps, "--quick": quick}
    command += "".join(f" {flag}" for flag, on in flags.items() if on)
    data = {d.name: d.log.fingerprint for d in (large, small)}
    print(record("audit", values, command=command, seed=0, data=data, started=started, folder=results))


if __name__ == "__main__":
    typer.run(main)
