"""How long a whole benchmark takes: 500 users x 7 recommenders x 10 pages, all arms, from fits to the report.

python benchmarks/speed_benchmark.py DATA [--users 500] [--shards 2] [--out FOLDER]

DATA: a ratings log such as ml-1m. The population has the usual shape and prompt and is trained for a few steps: speed
does not depend on what weights have learned. One process first, with all cores; then, with --shards, so many processes
on one core each; both must give the same bytes.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from recording import RESULTS, record

from simenv.agents.rating_model import LMRatingModel
from simenv.agents.store import load
from simenv.agents.stored import Stored
from simenv.cli.benchmark import USUAL
from simenv.cli.trial import Cut, Trial
from simenv.datasets import load as load_data
from simenv.evaluation.benchmark import Benchmark, Outcome
from simenv.evaluation.executor import Executor, Processes, Ray
from simenv.recommenders import by_name
from simenv.training.finetune import LoraSettings
from simenv.training.learn import LearnSettings
from simenv.training.pipeline import TrainSettings, train


def quick(steps: int) -> LearnSettings:
    return LearnSettings(steps=steps, warmup=1)


def populate(data: Any, users: int, folder: Path) -> Trial:
    """Train a population of the usual shape that has hardly learned anything; return its trial."""
    trial = Trial.of(data.log, Cut(users=users))
    settings = TrainSettings(world=quick(3), lora=LoraSettings(single=quick(2), persona=quick(1)))
    made = trial.judge, data.catalogue, trial.member, folder, settings
    train(*made, cut=trial.cut, training_log=trial.contestants)
    return trial


def timed(run: Callable[[Executor | None], Outcome], executor: Executor | None) -> tuple[Outcome, dict[str, Any]]:
    """Return a benchmark's outcome, its wall time and where it went."""
    began = time.perf_counter()
    outcome = run(executor)
    wall = time.perf_counter() - began
    arms = {arm: round(seconds, 1) for arm, seconds in outcome.report.timings.items()}
    return outcome, {"wall seconds": round(wall, 1), "seconds of arms, added up over workers": arms}


class Counted:
    """Counts the pairs that the language model is asked in this process, and the seconds it takes."""

    def __init__(self) -> None:
        """Nothing counted yet."""
        self.pairs, self.seconds, self._rate = 0, 0.0, LMRatingModel.rate

    def __enter__(self) -> Counted:
        """Begin."""
        plain = self._rate

        def rate(model: LMRatingModel, user: Any, item: Any) -> Any:
            began = time.perf_counter()
            said = plain(model, user, item)
            self.pairs, self.seconds = self.pairs + len(user), self.seconds + time.perf_counter() - began
            return said

        LMRatingModel.rate = rate  # type: ignore[method-assign, assignment]
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        LMRatingModel.rate = self._rate  # type: ignore[method-assign]


def measure(folder: Path, trial: Trial, users: int, pages: int, executors: dict[str, Executor]) -> dict[str, Any]:
    """Return wall times by who computes, of a population in a folder; all must find the same, to the byte."""
    population = load(folder)
    assert population.catalogue is not None
    catalogue, rankers = population.catalogue, by_name(USUAL.split(","))
    settings = Benchmark(users=min(users, len(population)), pages=pages)

    def run(executor: Executor | None) -> Outcome:
        who: Any = population if executor is None else Stored(folder)
        rows = trial.contestants, catalogue
        return settings.run(rankers, who, *rows, future=trial.future, shared=trial.past, executor=executor)

    found: dict[str, Any] = {}
    with Counted() as lm:
        outcome, found["one process"] = timed(run, None)
    for name, executor in executors.items():
        other, found[name] = timed(run, executor)
        assert other.to_json() == outcome.to_json(), "who computes must not matter"
    return {
        "users": settings.users, "recommenders": len(rankers), "pages": pages, "slate": settings.slate_size,
        "arms": len(outcome.report.timings), "threads of one process": torch.get_num_threads(),
        "pairs asked of the language model": lm.pairs, "seconds in it, one process": round(lm.seconds, 1),
        "pairs per second": round(lm.pairs / lm.seconds), "same bytes": True, "who computes": found,
    }  # fmt: skip


def main(
    data: Annotated[str, typer.Argument(help="A ratings log, such as ml-1m.")],
    users: Annotated[int, typer.Option()] = 500,
    pages: Annotated[int, typer.Option()] = 10,
    shards: Annotated[int, typer.Option(help="Processes to compare with; 0: none.")] = 2,
    ray: Annotated[bool, typer.Option("--ray", help="Compare with a local Ray cluster, too.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the record.")] = RESULTS,
) -> None:
    """Measure and record the wall time of a benchmark."""
    started, loaded = time.time(), load_data(data)
    executors: dict[str, Executor] = {f"{shards} processes": Processes(shards)} if shards else {}
    executors |= {f"Ray, {shards} workers": Ray(workers=shards)} if ray and shards else {}
    with tempfile.TemporaryDirectory() as place:
        trial = populate(loaded, users, Path(place) / "users")
        values = measure(Path(place) / "users", trial, users, pages, executors)
    command = f"python benchmarks/speed_benchmark.py {Path(data).name} --users {users} --shards {shards}"
    path = record("speed-benchmark", values, command=command, seed=0, data={loaded.name: loaded.log.fingerprint},
                  started=started, folder=out)  # fmt: skip
    print(json.dumps(values, indent=1), path)


if __name__ == "__main__":
    typer.run(main)
