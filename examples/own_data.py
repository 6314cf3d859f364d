"""Your own ratings in one call, then users who answer like those in it.

    python examples/own_data.py                                          a bookshop invented on the spot
    python examples/own_data.py ratings.csv --user reader --item isbn    yours

Columns with usual names (userId, asin, stars, timestamp, ...) need not be named; what was guessed stands in `note`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from simenv.datasets import Dataset, load, synthetic
from simenv.errors import DataError
from simenv.evaluation.report import Report
from simenv.recommenders import by_name
from simenv.training.pipeline import TrainSettings, train
from simenv.training.world_model import SMALL
from simenv.vector import SlateVectorEnv


def bookshop(folder: Path, n_users: int, n_items: int) -> Path:
    """Write a table as shops have it, its columns named in their own way, and return its path."""
    world = synthetic.generate(seed=5, n_users=n_users, n_items=n_items)
    frame = world.log.to_frame().rename(columns={"user": "reader", "item": "isbn", "rating": "stars", "time": "bought"})
    titles = world.catalogue.to_frame().set_index("item")[["title", "genres"]]
    frame.join(titles, on="isbn").to_csv(folder / "shop.csv", index=False)
    return folder / "shop.csv"


def read(path: Path, user: str | None, item: str | None, time: str | None) -> Dataset:
    """Return the data; a table that is not right is refused with file, line, column and remedy."""
    try:
        load(path, user="client")
    except DataError as error:
        print(f"A wrong name is refused like this: {error}")
    return load(path, user=user, item=item, time=time, noun="book")


def main(
    path: str | None = None,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    *,
    size: tuple[int, int] = (200, 120),
    steps: int = 60,
    min_ratings: int = 30,
) -> Report:
    folder = Path(mkdtemp(prefix="simenv-"))
    if path is None:
        path, user, item, time = str(bookshop(folder, *size)), "reader", "isbn", "bought"
    data = read(Path(path), user, item, time)
    print(f"{data.name}: {len(data.log)} ratings. {data.note}")

    member = np.flatnonzero(data.log.count >= min_ratings)[:40]
    split = data.log.split("random" if data.log.time is None else "user_time", 0.6, users=member)
    judge, contestants = split.past.split_worlds(seed=0)
    usual = TrainSettings()
    how = replace(usual, size=SMALL, world=replace(usual.world, steps=steps), arm="none")
    users = train(judge, data.catalogue, member, folder / "users", how, cut=split.cut, training_log=contestants)

    # The plain loop: here nobody learns, the best of what is left is shown. examples/train_loop.py learns.
    env = SlateVectorEnv(users, num_envs=8, slate_size=5, name="most stars")
    mean = np.bincount(contestants.item, contestants.rating, minlength=contestants.n_items)
    observation, _ = env.reset(seed=0)
    for _ in range(10):
        score = np.where(observation["seen"] == 1, -np.inf, mean)
        observation, *_ = env.step(np.argsort(-score, axis=1)[:, :5])
    report = env.record.report(baselines=[env.play(other) for other in by_name(["random", "als"])])
    print(report.to_markdown())
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="a .csv, .tsv, .parquet or .jsonl file; default: an invented shop")
    for name in ("user", "item", "time"):
        parser.add_argument(f"--{name}", help=f"the {name} column, where its name is unusual")
    main(**vars(parser.parse_args()))
