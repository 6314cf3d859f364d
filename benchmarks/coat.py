"""Coat: who orders recommenders as ratings of randomly drawn coats do? The protocol stands in simenv/study/coat.py.

python benchmarks/coat.py DATA [--splits 20] [--reduced 20] [--crossed 10] [--out FOLDER]
python benchmarks/coat.py stand-in            the made-up Coat on which all of it was developed; records nothing
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from recording import record

from simenv.datasets import load
from simenv.evaluation.report import Report
from simenv.study.coat import CoatStudy, coat, table, verdict
from simenv.study.coat_stand_in import stand_in

PROTOCOL = (
    "The registered run, its recipe frozen before the random ratings were opened, is coat-registered.json. This one "
    "has the recipe of today, which was changed after they had been opened: the prior also knows which tags a user "
    "chooses and avoids, and what users with the same features make of tags."
)


def main(
    data: Annotated[str, typer.Argument(help='Coat: folder or zip; or "stand-in"')],
    splits: Annotated[int, typer.Option(help="splits of the chosen ratings")] = 20,
    reduced: Annotated[int, typer.Option(help="of these, with users whose prompts hold less")] = 20,
    crossed: Annotated[int, typer.Option(help="of these, with doubly robust sums around simulated users")] = 10,
    out: Annotated[Path, typer.Option(help="where finished splits are kept")] = Path("runs/coat"),
) -> None:
    started = time.time()
    dataset = stand_in(0)[0] if data == "stand-in" else load(data)
    study = CoatStudy(reduced=reduced, crossed=crossed)

    def progress(done: int, size: int, what: str) -> None:
        print(f"{time.time() - started:6.0f} s  {done}/{size}  {what}", flush=True)

    result = coat(dataset, study, folder=out, seeds=range(splits), progress=progress)
    print(Report("Coat", verdict(result), (table(result),)).to_markdown())
    if data == "stand-in":
        return
    command = f"python benchmarks/coat.py DATA --splits {splits} --reduced {reduced} --crossed {crossed}"
    drawn = dataset.random_exposure
    assert drawn is not None
    prints = {dataset.name: dataset.log.fingerprint, f"{dataset.name}, drawn at random": drawn.fingerprint}
    values = {
        "protocol": PROTOCOL,
        "settings": {"recipe": repr(study.recipe), "folds": study.folds, "places": study.places},
        **result,
    }
    print(record("coat", values, command=command, seed=0, data=prints, started=started))


if __name__ == "__main__":
    typer.run(main)
