"""Learned policies, recorded: PPO in populations built from biased logs of invented worlds, then before the true users.

python benchmarks/rl_synthetic.py [--worlds 3] [--seeds 3] [--folder runs/rl]

The gate of `simenv rl-report`, and retention against myopic training in the first world, with
the exit's assumed slopes swept. Finished parts stay in the folder, so that a stopped run goes on.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from recording import record

from simenv.cli.console import quiet_libraries, say
from simenv.evaluation.report import Report, stable_json
from simenv.study import rl_retention
from simenv.study.rl_report import report, to_dict
from simenv.study.rl_study import RLStudy


def main(
    worlds: Annotated[int, typer.Option(help="invented worlds")] = 3,
    seeds: Annotated[int, typer.Option(help="seeds of each learner")] = 3,
    folder: Annotated[Path, typer.Option(help="where finished parts go")] = Path("runs/rl"),
) -> None:
    started = time.time()
    quiet_libraries()
    study = RLStudy(worlds=tuple(range(worlds)), seeds=tuple(range(seeds)))
    gate, units = study.gate(folder, say)
    numbers: dict[str, Any] = to_dict(study, units, gate)
    retained = _retention(study, folder)
    numbers["retention"] = rl_retention.summary(retained)
    page = report(study, units, gate)
    page = Report(page.title, page.verdict, (*page.sections, *rl_retention.sections(retained)), page.provenance)
    for name in ("report.md", "report.html"):
        page.save(folder / name)
    print(page.verdict)
    print(rl_retention.sentence(retained))
    data = {f"world {s}": study.world.world(s)[0].log.fingerprint for s in study.worlds}
    command = f"python benchmarks/rl_synthetic.py --worlds {worlds} --seeds {seeds}"
    values = json.loads(stable_json(numbers))
    print(record("rl-synthetic", values, command=command, seed=0, data=data, started=started))


def _retention(study: RLStudy, folder: Path) -> dict[str, Any]:
    path = folder / "retention.json"
    if not path.exists():
        proving = study.world.proving(study.worlds[0], folder / f"world-{study.worlds[0]}", say)
        say("retention against myopia")
        found = rl_retention.Retention(seeds=study.seeds).run(proving)
        path.write_text(stable_json(found), encoding="utf-8")
    return dict(json.loads(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    typer.run(main)
