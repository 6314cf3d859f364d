"""The arms of "Personalized Large Language Models" on labels by person: what each way of knowing the person adds.

python benchmarks/arms.py DATA --name NAME [--task TASK] [--out FOLDER]

NAME is studemo, md-agreement or ml100k: each has its own length of texts and rounds of tuning below, chosen on
validation rows. Stopped, it goes on where it was. The base is our own small decoder, made from the training texts, so
the Q arms are a floor; --prompted asks a pre-trained folder or name by the Q arms as well, on the same parts.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from recording import record

from simenv.cli.console import quiet_libraries
from simenv.cli.reproduce_arms import judgements
from simenv.evaluation.report import stable_json
from simenv.training.personal.base import EmbeddedSettings
from simenv.training.personal.experiment import Experiment, ExperimentSettings
from simenv.training.personal.findings import Findings
from simenv.training.personal.report import report, to_dict
from simenv.training.personal.tune import TuneSettings

SETTINGS = {
    "studemo": ExperimentSettings(text_tokens=128, example_tokens=48, tune=TuneSettings(epochs=8, patience=3)),
    "md-agreement": ExperimentSettings(
        text_tokens=64,
        example_tokens=48,
        tune=TuneSettings(epochs=3, patience=1, rate=7e-4),
        embedded=EmbeddedSettings(steps=200),
    ),
    "ml100k": ExperimentSettings(
        text_tokens=32,
        example_tokens=32,
        tune=TuneSettings(epochs=4, patience=1),
        embedded=EmbeddedSettings(steps=100),
    ),
}
BUSY = {"studemo": (1, None), "md-agreement": (20, None), "ml100k": (20, 400)}
"""Fewest judgements of a user, and how many such users at most: what a core does in a quarter of an hour."""
_PROMPTED = ("Q-0S", "Q-nS")


def main(
    data: Annotated[str, typer.Argument(help="folder or zip of the data")],
    name: Annotated[str, typer.Option(help="studemo, md-agreement or ml100k")],
    task: Annotated[str | None, typer.Option(help="which data set of a folder with several")] = None,
    prompted: Annotated[str | None, typer.Option(help="pre-trained base that the Q arms ask as well")] = None,
    out: Annotated[Path, typer.Option(help="finished arms")] = Path("runs/arms"),
    arms: Annotated[str | None, typer.Option(help="only these arms, with commas; not recorded")] = None,
) -> None:
    started = time.time()
    quiet_libraries()
    least, most = BUSY[name]
    known = judgements(data, task, 0).of_busy_users(least, most)
    how = SETTINGS[name] if arms is None else replace(SETTINGS[name], arms=tuple(arms.split(",")))
    found = measured(Experiment(known, how, out / name), started)
    print(report(found).to_markdown())
    if arms is not None:
        return
    values: dict[str, Any] = {"measured_on": found.experiment.base_name, "users kept": rule(least, most)}
    values |= shown(found)
    if prompted is not None:
        asked = Experiment(known, replace(how, arms=_PROMPTED), out / name, prompted)
        values[f"Q arms of {asked.base_name}"] = shown(measured(asked, started))
    command = f"python benchmarks/arms.py DATA --name {name}" + (f" --task {task}" if task else "")
    command += f" --prompted {Path(prompted).name}" if prompted else ""
    print(
        record(f"arms-{name}", values, command=command, seed=0, data={known.name: known.fingerprint}, started=started)
    )


def rule(least: int, most: int | None) -> str:
    return f"with at least {least} judgements" + (f", the first {most} of them" if most else "")


def measured(experiment: Experiment, started: float) -> Findings:
    last = ""

    def told(done: int, total: int, words: str) -> None:
        nonlocal last
        if words != last:
            print(f"{time.time() - started:7.0f} s  {done}/{total}  {words}", flush=True)
        last = words

    return Findings(experiment, experiment.run(told))


def shown(found: Findings) -> dict[str, Any]:
    """Return the numbers as JSON holds them: intervals as mean, low and high."""
    kept: dict[str, Any] = json.loads(stable_json(to_dict(found)))
    return kept


if __name__ == "__main__":
    typer.run(main)
