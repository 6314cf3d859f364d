"""Learned policies on MovieLens-100K, recorded: PPO on held-out users and replicas; judged real only by the gate.

python benchmarks/rl_ml100k.py DATA [--users 100] [--seeds 3] [--folder runs/rl-ml100k]

DATA: the zip or folder of MovieLens-100K. The gate is the recorded one of `benchmarks/rl_synthetic.py`, of the same
learner. Items with few ratings in the past are left out. Finished parts stay in the folder, so that a stopped run
goes on.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from recording import RESULTS, record

from simenv.cli.console import quiet_libraries, say
from simenv.cli.trial import Cut, Trial
from simenv.datasets import Dataset, load
from simenv.evaluation.report import stable_json
from simenv.evaluation.unit import digest
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.rl.gate import Gate
from simenv.rl.replicas import Proving
from simenv.study.rl_report import report, to_dict
from simenv.study.rl_study import RLStudy
from simenv.study.rl_world import halves


def main(
    data: Annotated[str, typer.Argument(help="zip or folder of MovieLens-100K")],
    users: Annotated[int, typer.Option(help="users who visit; every other one is held out")] = 100,
    least: Annotated[int, typer.Option(help="past ratings an item must have, to be recommended at all")] = 20,
    seeds: Annotated[int, typer.Option(help="seeds of the learner")] = 3,
    folder: Annotated[Path, typer.Option(help="where finished parts go")] = Path("runs/rl-ml100k"),
) -> None:
    started = time.time()
    quiet_libraries()
    made = _often_rated(load(data), least)
    study = RLStudy(seeds=tuple(range(seeds)))
    trial = Trial.of(made.log, Cut(users=users))

    def proving() -> Proving:
        built = study.world.replicas.build(
            trial.judge, made.catalogue, trial.member, trial.cut, folder, seed=0, say=say
        )
        return Proving(*built, *halves(trial.member), trial.contestants, made.catalogue, future=trial.future)

    own = study.units(proving, digest(made.log.fingerprint, repr(trial.note), repr(study.world.replicas)), folder, say)
    gate = _gate()
    page = report(study, (), gate, own, {"data": made.name, "cut": trial.note})
    for name in ("report.md", "report.html"):
        page.save(folder / name)
    print(page.verdict)
    values: dict[str, Any] = json.loads(stable_json(to_dict(study, (), gate, own)))
    values["items"] = made.log.n_items
    command = f"python benchmarks/rl_ml100k.py {Path(data).name} --users {users} --least {least} --seeds {seeds}"
    print(record("rl-ml100k", values, command=command, seed=0, data={"ml-100k": made.log.fingerprint}, started=started))


def _often_rated(made: Dataset, least: int) -> Dataset:
    """Return the data with the items that have so many ratings in the past of all users, by the usual cut."""
    past = Trial.of(made.log, Cut()).past
    kept = np.flatnonzero(np.bincount(past.item, minlength=past.n_items) >= least)
    items = Index(tuple(made.log.items.decode(kept)), "item")
    frame = made.log.take(np.isin(made.log.item, kept)).to_frame()
    log = InteractionLog.from_frame(
        frame, users=made.log.users, items=items, scale=made.log.scale, time_note=made.log.time_note
    )
    text = ("title", "year", "genres", "cast", "director", "summary")
    few: dict[str, Any] = {name: tuple(getattr(made.catalogue, name)[i] for i in kept) for name in text}
    extra = {name: tuple(column[i] for i in kept) for name, column in made.catalogue.extra.items()}
    return replace(made, log=log, catalogue=replace(made.catalogue, items=items, extra=extra, **few))


def _gate() -> Gate | None:
    """Return the recorded gate; None where there is none."""
    path = RESULTS / "rl-synthetic.json"
    if not path.exists():
        return None
    return Gate.from_dict(json.loads(path.read_text(encoding="utf-8"))["values"]["gate"])


if __name__ == "__main__":
    typer.run(main)
