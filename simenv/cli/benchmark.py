"""`simenv benchmark`: recommenders before a population, from fits to the finished report and an exit code."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from simenv.cli.answers import KEPT, Answers, Cache, Remote, Replay, Table
from simenv.cli.console import out, say, write_json
from simenv.cli.source import Synthetic
from simenv.cli.train import TRIAL, Make, run
from simenv.cli.workers import OnRay, RayAddress, Shards, executor
from simenv.errors import ConfigError

if TYPE_CHECKING:
    from simenv.agents.population import SimulatedPopulation
    from simenv.cli.trial import Trial
    from simenv.evaluation.benchmark import Build, Outcome
    from simenv.evaluation.executor import Executor
    from simenv.protocols import Recommender

USUAL = "random,popular,best-rated,item-knn,als,bpr,content"


def command(
    folder: Annotated[Path, typer.Argument(help="A population made by `simenv train`.")],
    recommenders: Annotated[
        str, typer.Option(help="Names, module:Class of your own, or .parquet/.csv files of user, item, score.")
    ] = USUAL,
    users: Annotated[int | None, typer.Option(help="Users drawn from the population. Default: all.")] = None,
    pages: Annotated[int, typer.Option(help="Pages everyone sees.")] = 10,
    slate: Annotated[int, typer.Option(help="Places of a page.")] = 10,
    seeds: Annotated[int, typer.Option(help="Repeats, each with its own fits and luck.")] = 1,
    refits: Annotated[
        int, typer.Option(help="Populations; those after the first learn anew, without half of the other users.")
    ] = 1,
    shared: Annotated[bool, typer.Option(help="Also show what recommenders gain from the judge's own rows.")] = True,
    records: Annotated[bool, typer.Option("--records", help="Keep every shown place as parquet.")] = False,
    fail_if: Annotated[
        list[str] | None, typer.Option(help='Exit with 1 if this holds, as in "mine < als - 0.05". May be repeated.')
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Finished parts and reports. Default: FOLDER/benchmark.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Keep the results here too.")] = None,
    html: Annotated[Path | None, typer.Option(help="Keep the page here too.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Keep the report as text here too.")] = None,
    cache: Cache = None,
    replay: Replay = None,
    table: Table = False,
    remote: Remote = None,
    batch: Annotated[int, typer.Option(help="Users played together: the work of one process at a time.")] = 32,
    shards: Shards = None,
    ray: OnRay = False,
    ray_address: RayAddress = None,
    seed: Annotated[int, typer.Option(help="Draws the users and the bootstrap.")] = 0,
) -> None:
    """Hold recommenders before simulated users and say who serves them best, and how surely.

    Everyone is fitted on the contestants' rows of the population, plays the same users with the same luck, and is also
    judged on held-out ratings. Stopped and started again it goes on where it was and ends with the same result. A
    replay leaves its reports in FOLDER/replay.

    \b
    simenv benchmark my-users
    simenv benchmark my-users --recommenders popular,als,my_shop.ranker:Ranker --users 200 --html report.html
    simenv benchmark my-users --recommenders als,ours.parquet --fail-if "ours < als"      (for your own checks)
    simenv benchmark my-users --seeds 3 --refits 3            (how far luck and the training of the users matter)
    simenv benchmark my-users --cache answers.db              (to publish: with this file anybody can repeat it ...)
    simenv benchmark my-users --replay answers.db             (... to the bit and without weights; or it says why not)
    simenv benchmark my-users --shards 4                       (four processes; the same numbers, to the bit)
    simenv benchmark my-users --ray --ray-address auto         (a cluster; my-users under one path on all machines)
    simenv benchmark my-users --remote http://gpu:8000/v1 --cache answers.db      (weights on a server: docs/serving.md)
    """
    from simenv.cli.trial import Trial

    workers = executor(shards, ray, ray_address)
    answers = Answers(folder, cache, replay, table, remote, workers is not None)
    answers.check(refits)
    population = answers.load(folder)
    trial, about = Trial.load(folder / TRIAL, population)
    names = [name.strip() for name in recommenders.split(",") if name.strip()]
    kept = answers.kept(out_folder)
    build = Users(trial, about, population, kept / "refits", answers) if refits > 1 or workers else population
    if seeds < 1:
        raise ConfigError(f"--seeds must be at least 1; got {seeds}.")
    how: dict[str, Any] = {
        "users": users,
        "pages": pages,
        "slate_size": slate,
        "refits": refits,
        "records": records,
        "batch": batch,
        "seed": seed,
    }
    how |= {"seeds": tuple(range(seeds))}
    outcome = judge(trial, about, population, build, contestants(names, about), how, shared, kept, workers)
    outcome.report.print(out())
    write_json(json, outcome.result)
    for path in (html, markdown):
        if path is not None:
            outcome.report.save(path)
    out().print(f"\nThe page with plots: {kept / 'report.html'}", soft_wrap=True)
    answers.settle(kept)
    _gate(outcome, fail_if or [])


def contestants(names: list[str], about: dict[str, Any]) -> list[Recommender]:
    """Return the recommenders by name; modules of the working folder can be imported, "oracle" wants a synthetic world.

    Raises:
        ConfigError: a name stands for nothing.

    """
    from simenv.recommenders import Oracle, by_name

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if "oracle" not in names:
        return by_name(names)
    if about["synthetic"] is None:
        raise ConfigError("only in the synthetic world is there an oracle: nobody knows the truth of real data.")
    truth = Synthetic(**about["synthetic"]).world().truth
    found = by_name([n for n in names if n != "oracle"])
    return [*found, Oracle(truth.expected)]


def judge(
    trial: Trial,
    about: dict[str, Any],
    population: SimulatedPopulation,
    build: SimulatedPopulation | Build,
    on_trial: list[Recommender],
    how: dict[str, Any],
    shared: bool,
    kept: Path,
    workers: Executor | None = None,
) -> Outcome:
    """Run a benchmark of a trial with a progress bar; reports and finished units stay in the folder `kept`."""
    from simenv.agents.synthetic import true_population
    from simenv.catalogue import Catalogue
    from simenv.evaluation.benchmark import Benchmark
    from simenv.evaluation.terminal import progress_bar

    invented = about["synthetic"]
    truth = None if invented is None else true_population(Synthetic(**invented).world(), population.member)
    with progress_bar() as progress:
        outcome = Benchmark(**how).run(
            on_trial,
            build,
            trial.contestants,
            population.catalogue or Catalogue.bare(population.items),
            future=trial.future,
            truth=truth,
            shared=trial.past if shared and not trial.shared else None,
            folder=kept,
            progress=progress,
            provenance={"data": about["data"], "cut": trial.note} | _rounding(population),
            executor=workers,
        )
    for name in ("report.html", "report.md"):
        outcome.report.save(kept / name)
    (kept / "result.json").write_text(outcome.to_json(), encoding="utf-8")
    return outcome


def _rounding(population: SimulatedPopulation) -> dict[str, str]:
    """Return what a report must say of answers from a table or a server."""
    from simenv.agents.table import UNIT, TableRatingModel

    _, _, served = population.provenance.get("population", "").partition(", served")
    if served:
        return {"answers": f"served{served}"}
    if not isinstance(population.rating_model, TableRatingModel):
        return {}
    return {"answers": f"from a table; each probability is off by less than 1/{UNIT:,}"}


@final
@dataclass(frozen=True, eq=False)
class Users:
    """build(n): the population as it is, and fitted again without half of the users who are not simulated."""

    trial: Trial
    about: dict[str, Any]
    population: SimulatedPopulation
    folder: Path
    """Where refits are kept."""
    answers: Answers

    def __call__(self, number: int) -> SimulatedPopulation:
        """Return a population; in this process it may have to learn first."""
        if number == 0:
            return self.population
        if self.answers.replay is not None:
            return self.answers.refit(number)
        say(f"Refit {number}: the same users, learned from half of the others.")
        make, folder = Make(**self.about["make"]), self.folder / str(number)
        again = replace(self.trial, judge=self.trial.half(number, make.seed))
        anew = replace(make, seed=make.seed + number)
        made = run(again, self.population.catalogue, anew, folder, self.about["data"])
        return made if self.answers.cache is None else self.answers.load(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        """Reach another process as a function that loads: by then, everything has been learned here."""
        from simenv.agents.stored import Stored

        a = self.answers
        refits = self.folder if a.replay is None else a.folder / KEPT / "refits"
        return replace, (Stored(a.folder, a.cache, a.replay, a.table, a.remote, refits),)


def _gate(outcome: Outcome, conditions: list[str]) -> None:
    failed = False
    for condition in conditions:
        holds, words = outcome.fail_if(condition)
        say(words)
        failed |= holds
    if failed:
        raise typer.Exit(1)
