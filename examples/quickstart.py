"""The whole loop in Python: a log, simulated users made from it, recommenders before them, a report.

    python examples/quickstart.py                     an invented world, two minutes
    python examples/quickstart.py --data ml-100k      MovieLens 100K: a folder, a zip or, with network, its name

`simenv train` and `simenv benchmark` do the same from the command line.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from simenv.datasets import load, synthetic
from simenv.evaluation.benchmark import Benchmark, Outcome
from simenv.recommenders import by_name
from simenv.training.finetune import LoraSettings
from simenv.training.pipeline import TrainSettings, train
from simenv.training.world_model import SMALL


def settings(steps: int) -> TrainSettings:
    """Return how the users are made: here a model of 0.3 million parameters, trained for few steps."""
    usual, lora = TrainSettings(), LoraSettings()
    short = replace(
        lora, single=replace(lora.single, steps=steps // 8), persona=replace(lora.persona, steps=steps // 20)
    )
    return replace(usual, size=SMALL, world=replace(usual.world, steps=steps), lora=short)


def main(
    data: str | None = None,
    folder: str | None = None,
    *,
    size: tuple[int, int] = (400, 250),
    members: int = 60,
    steps: int = 200,
    pages: int = 5,
) -> Outcome:
    source = load(data) if data else synthetic.generate(seed=0, n_users=size[0], n_items=size[1])
    log, catalogue = source.log, source.catalogue

    # Whom to simulate, and what is past: 60 % of each of their histories. All rows of other users are known.
    able = np.flatnonzero(log.count >= 40)
    member = np.sort(np.random.default_rng(0).choice(able, min(members, len(able)), replace=False))
    split = log.split("user_time", 0.6, users=member)

    # Judge and contestants learn from disjoint rows: otherwise the simulator grades its own cousins.
    judge, contestants = split.past.split_worlds(seed=0)

    place = Path(folder or mkdtemp(prefix="simenv-"))
    population = train(
        judge, catalogue, member, place / "users", settings(steps), cut=split.cut, training_log=contestants
    )
    user = population[population.users.ids[int(member[0])]]
    famous = int(np.argmax(np.bincount(contestants.item, minlength=log.n_items)))
    shares = ", ".join(f"{p:.0%}" for p in user.rate([catalogue.items.ids[famous]])[0])
    print(f"User {user.raw} would give {catalogue.title[famous]!r} these ratings, lowest first: {shares}.")

    contest = by_name(["random", "popular", "item-knn", "als", "content"])
    outcome = Benchmark(pages=pages, resamples=1000).run(
        contest, population, contestants, catalogue, future=split.future, folder=place / "benchmark"
    )
    print(outcome.report.verdict)
    print(f"The report: {outcome.report.save(place / 'report.html')}")
    return outcome


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="MovieLens, Coat or any ratings table; default: an invented world")
    parser.add_argument("--folder", help="where users and report go; default: a new temporary folder")
    given = parser.parse_args()
    main(given.data, given.folder)
