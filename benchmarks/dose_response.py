"""Dose-response, recorded: who orders recommenders right as users choose ever more what they rate.

python benchmarks/dose_response.py [--doses 0,0.5,1,1.5,2,3] [--worlds 3] [--folder runs/decision]

Invented worlds; see simenv/study/dose_response.py. Finished worlds stay in the folder, so that a stopped run goes on.
The picture goes to docs/decision.svg, words and tables to docs/decision.md; Coat stands beside the worlds where its
result is recorded.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from recording import RESULTS, record

from simenv.cli.console import quiet_libraries
from simenv.evaluation.figure import standalone
from simenv.evaluation.report import stable_json
from simenv.evaluation.terminal import progress_bar
from simenv.study.decision_report import figure, page, read_coat
from simenv.study.dose_report import sentence, to_dict
from simenv.study.dose_response import DoseResponse

DOCS = Path(__file__).parents[1] / "docs"


def main(
    doses: Annotated[str, typer.Option(help="strengths of selection, ascending from 0")] = "0,0.5,1,1.5,2,3",
    worlds: Annotated[int, typer.Option(help="worlds per dose")] = 3,
    folder: Annotated[Path, typer.Option(help="where finished worlds go")] = Path("runs/decision"),
) -> None:
    started = time.time()
    study = DoseResponse(tuple(float(d) for d in doses.split(",")), tuple(range(worlds)))
    ready = len(list(folder.glob("*.json")))
    quiet_libraries()
    with progress_bar() as progress:
        units = study.run(folder, progress)
    coat = RESULTS / "coat.json"
    beside = read_coat(coat) if coat.exists() else None
    numbers = "../benchmarks/results/dose-response.json"
    (DOCS / "decision.svg").write_text(standalone(figure(study, units, beside)), encoding="utf-8")
    (DOCS / "decision.md").write_text(page(study, units, beside, "decision.svg", numbers), encoding="utf-8")
    print(sentence(study, units))
    # Wall time means little where worlds were read: then this says so.
    found = to_dict(study, units) | {"units_found_in_folder": ready, "units_used": len(units)}
    values = json.loads(stable_json(found))
    data = {f"{u['kind']} {u['dose']:g}, world {u['seed']}": u["log"] for u in units}
    command = f"python benchmarks/dose_response.py --doses {doses} --worlds {worlds}"
    print(record("dose-response", values, command=command, seed=0, data=data, started=started))


if __name__ == "__main__":
    typer.run(main)
