"""The whole loop on MovieLens-1M: train a population of 500 users, then hold seven recommenders before it.

python benchmarks/loop_ml1m.py DATA --metadata FILE [--out FOLDER]

Times of the copy used may be rebuilt ("approximate time" in the split's note). Goal: within 60 minutes on 2 cores.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Annotated

import typer
from recording import record

from simenv.cli.trial import Cut, Trial
from simenv.datasets import load
from simenv.evaluation.benchmark import Benchmark
from simenv.recommenders import by_name
from simenv.training.pipeline import TrainSettings, train

NAMES = ["random", "popular", "best-rated", "item-knn", "als", "bpr", "content"]


def main(
    data: Annotated[Path, typer.Argument(help="MovieLens-1M: folder or zip")],
    metadata: Annotated[Path | None, typer.Option(help="csv with summary, cast and director by movie id")] = None,
    users: Annotated[int, typer.Option(help="users to simulate")] = 500,
    out: Annotated[Path, typer.Option(help="where the population is built")] = Path("runs/loop-ml1m"),
) -> None:
    started = time.time()
    shutil.rmtree(out, ignore_errors=True)
    dataset = load(data, metadata=metadata)
    trial = Trial.of(dataset.log, Cut(users=users))
    loaded = time.time()
    population = train(
        trial.judge,
        dataset.catalogue,
        trial.member,
        out / "population",
        TrainSettings(page_size=5),
        cut=trial.cut,
        training_log=trial.contestants,
        show=lambda stage: lambda step, steps, loss: print(stage, step, steps) if step in (1, steps) else None,
    )
    trained = time.time()
    outcome = Benchmark(pages=10, slate_size=10, session_pages=10).run(
        by_name(NAMES),
        population,
        trial.contestants,
        dataset.catalogue,
        future=trial.future,
        shared=trial.past,
        folder=out / "benchmark",
        progress=lambda done, total, words: print(f"{done}/{total} {words}", flush=True),
    )
    (out / "report.html").write_text(outcome.report.to_html(), encoding="utf-8")
    print(outcome.report.to_markdown())
    minutes = {"load": loaded - started, "train": trained - loaded, "benchmark": time.time() - trained}
    values = {
        "users": len(trial.member),
        "split": trial.note,
        "judge_rows": len(trial.judge),
        "contestant_rows": len(trial.contestants),
        "minutes": {k: round(v / 60, 2) for k, v in minutes.items()},
        "result": json.loads(outcome.to_json()),
    }
    files = {dataset.name: dataset.log.fingerprint}
    print(
        record(
            "loop-ml1m",
            values,
            command="python benchmarks/loop_ml1m.py DATA --metadata FILE",
            seed=0,
            data=files,
            started=started,
        )
    )


if __name__ == "__main__":
    typer.run(main)
