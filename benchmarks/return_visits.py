"""Do users come back as foretold, and do ratings fall among items of one kind? What it all means: benchmarks/README.md.

python benchmarks/return_visits.py --ml-100k DATA --ml-1m DATA
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from protocols import drawn, untouched_half
from recording import record

from simenv.datasets import Dataset, load
from simenv.datasets.synthetic import generate
from simenv.study.return_visits import ReturnStudy
from simenv.study.satiation import SatiationStudy
from simenv.training.return_model import gaps

LEAST = 20
"""Ratings of a MovieLens user at least: who stayed away before is not in the data."""
KNOWN_UNTIL = 975_715_200
"""2 December 2000: until then the rebuilt times of MovieLens 1M are right to a quarter of an hour."""


def main(
    ml_100k: Annotated[Path, typer.Option(help="MovieLens 100K: folder or zip")],
    ml_1m: Annotated[Path, typer.Option(help="MovieLens 1M: folder or zip")],
    refits: Annotated[int, typer.Option(help="fits on halves of the users")] = 10,
    shuffles: Annotated[int, typer.Option(help="shuffled orders of each visit")] = 100,
) -> None:
    started = time.time()
    study = ReturnStudy(refits=refits)
    world = generate(0, n_users=1500, n_items=200)
    values: dict[str, Any] = {
        "synthetic": {"returns": study.truth(world), "satiation": SatiationStudy(shuffles=shuffles).truth(world)}
    }
    print(f"{time.time() - started:6.0f} s  synthetic", flush=True)
    prints = {world.name: world.log.fingerprint}
    for name, source, keep, dealt in (
        ("ml-100k", ml_100k, (0.7, 0.9, 0.97), shuffles),
        ("ml-1m", ml_1m, (0.9,), min(shuffles, 40)),
    ):
        dataset = load(str(source))
        prints[dataset.name] = dataset.log.fingerprint
        values[name] = measured(dataset, name, study, SatiationStudy(keep=keep, shuffles=dealt))
        print(f"{time.time() - started:6.0f} s  {name}", flush=True)
    command = "python benchmarks/return_visits.py --ml-100k DATA --ml-1m DATA"
    print(record("return-visits", values, command=command, seed=study.seed, data=prints, started=started))


def measured(dataset: Dataset, name: str, study: ReturnStudy, satiety: SatiationStudy) -> dict[str, Any]:
    """Return both results for the users whose held-out ratings no card is made from."""
    log = dataset.log
    asked = (untouched_half(log) if name == "ml-100k" else drawn(log, 200)).member
    log = log.of_users(np.setdiff1d(np.arange(log.n_users), asked))
    if log.time_note == "approximate":
        assert log.time is not None
        log = log.take(log.time < KNOWN_UNTIL)
    known = gaps(log, least=LEAST, carried=study.assumed)
    return {
        "protocol": f"{int((log.count > 0).sum())} users, without the {len(asked)} that the card is made from",
        "time": log.time_note,
        "fitted": study.fitted(known),
        "held_out_users": study.held_out(known),
        "held_out_time": study.one_moment(log, LEAST),
        "satiation": satiety.real(log, dataset.catalogue),
    }


if __name__ == "__main__":
    typer.run(main)
