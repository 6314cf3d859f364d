"""`simenv fidelity`: how far a population can be believed: a light, its criteria, and the card with pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from simenv.cli.answers import Answers, Cache, Remote, Replay
from simenv.cli.benchmark import contestants
from simenv.cli.console import out, say, table, write_json
from simenv.cli.train import TRIAL, Make, run
from simenv.errors import ConfigError

if TYPE_CHECKING:
    from simenv.agents.population import SimulatedPopulation
    from simenv.cli.trial import Trial
    from simenv.evaluation.fidelity.card import Card
    from simenv.evaluation.fidelity.study import Fidelity
    from simenv.evaluation.interval import Interval
    from simenv.log import InteractionLog, Split
    from simenv.protocols import Recommender

FOLDER = "fidelity"
"""Folder inside a population's folder: its card, and the finished parts of it."""
USUAL = (
    "random,popular,best-rated,long-tail,item-knn,als,mf,content,inverted-mf,noisy-mf,mf-no-item-bias,popular-x-mean"
)
"""Rankers whose order is checked: usual ones, and some that are wrong on purpose."""


def command(
    folder: Annotated[Path, typer.Argument(help="A population made by `simenv train`.")],
    seeds: Annotated[
        int, typer.Option(help="Training seeds; populations after the first are trained anew on the same rows.")
    ] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Tune the yardsticks over fewer settings.")] = False,
    control: Annotated[
        bool, typer.Option("--control", help="Also train the same users with personas dealt at random.")
    ] = False,
    disturb: Annotated[bool, typer.Option(help="Exchange what users answer from; it must cost something.")] = True,
    recommenders: Annotated[
        str, typer.Option(help='Those whose order is checked on held-out ratings, as in `simenv benchmark`; "": none.')
    ] = USUAL,
    draws: Annotated[int, typer.Option(help="Sampled ratings per pair.")] = 20,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Card and finished parts. Default: FOLDER/fidelity.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Keep the numbers here too.")] = None,
    html: Annotated[Path | None, typer.Option(help="Keep the page here too.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Keep the card as text here too.")] = None,
    cache: Cache = None,
    replay: Replay = None,
    remote: Remote = None,
    seed: Annotated[int, typer.Option(help="Draws sampled ratings, bootstrap and exchanges.")] = 0,
) -> None:
    """Say how far simulated users can be believed.

    Everybody's held-out ratings are put before the simulator and before seven yardsticks that need no language model,
    fitted on the very same rows. One sentence first, green, amber or red, then the criteria it stands on; the card with
    all measures and pictures stays with the population. Stopped and started again it goes on where it was.

    \b
    simenv fidelity my-users --quick                    (seconds more than asking the users)
    simenv fidelity my-users --html card.html
    simenv fidelity my-users --seeds 3 --control        (how far luck of training matters, and the personas)
    """
    from simenv.cli.trial import Trial
    from simenv.evaluation.fidelity.study import Fidelity

    if seeds < 1:
        raise ConfigError(f"--seeds must be at least 1; got {seeds}.")
    if (replay or remote) and (seeds > 1 or control):
        raise ConfigError("--seeds and --control train users here: leave them out, or --replay and --remote.")
    answers = Answers(folder, cache, replay, remote=remote)
    population = answers.load(folder)
    trial, about = Trial.load(folder / TRIAL, population)
    first = int(about["make"]["seed"])
    settings = Fidelity(tuple(range(first, first + seeds)), draws=draws, quick=quick, seed=seed)
    kept = out_folder or folder / FOLDER
    names = [name.strip() for name in recommenders.split(",") if name.strip()]
    on_trial = contestants(names, about) if names else []
    card = made(population, trial, about, settings, kept, on_trial, control=control, disturb=disturb)
    card.save(kept)
    _show(card)
    write_json(json, card.value)
    for path in (html, markdown):
        if path is not None:
            card.report.save(path)
    out().print(f"\nThe card with all measures and pictures: {kept / 'card.html'}", soft_wrap=True)
    answers.settle()


def made(
    population: SimulatedPopulation,
    trial: Trial,
    about: dict[str, Any],
    settings: Fidelity,
    kept: Path,
    recommenders: Sequence[Recommender] = (),
    *,
    control: bool = False,
    disturb: bool = True,
) -> Card:
    """Return the card of a trial's population with a progress bar; finished parts stay in the folder `kept`.

    Raises:
        ConfigError: a control is asked for a population whose personas are dealt at random already.

    """
    from simenv.agents.arms import disturbed, parts
    from simenv.evaluation.terminal import progress_bar
    from simenv.log import Split

    make = Make(**about["make"])
    if control and make.random_personas:
        raise ConfigError("--control deals personas at random, and those of this population are: leave it out.")
    split = Split(trial.judge, trial.future, about["cut"]["split"], trial.note, trial.cut)
    dealt = _trained(trial, population, replace(make, random_personas=True), kept / "control", about["data"])
    with progress_bar() as progress:
        return settings.run(
            _refits(trial, population, make, kept / "refits", about["data"]),
            _everything(trial),
            split,
            catalogue=population.catalogue,
            recommenders=recommenders,
            contestants=trial.contestants,
            arms=parts,
            disturb=disturbed if disturb else None,
            control=dealt if control else None,
            folder=kept,
            progress=progress,
            provenance={"data": about["data"], "cut": trial.note},
        )


def _everything(trial: Trial) -> InteractionLog:
    """Return all rows of a trial, held-out ones included: what real visits are cut from."""
    from simenv.log import InteractionLog

    past, future = trial.past, trial.future
    user, item, rating = (np.concatenate([getattr(x, n) for x in (past, future)]) for n in ("user", "item", "rating"))
    time = None if past.time is None or future.time is None else np.concatenate([past.time, future.time])
    note = past.time_note
    return InteractionLog.of(past.users, past.items, user, item, rating, time, past.scale, time_note=note)


def _refits(
    trial: Trial, population: SimulatedPopulation, make: Make, folder: Path, data: str
) -> Callable[[InteractionLog, Split, int], SimulatedPopulation]:
    """Return build(log, split, seed): the population as it is for its own seed, trained anew for others."""

    def build(log: InteractionLog, split: Split, seed: int) -> SimulatedPopulation:
        if seed == make.seed:
            return population
        say(f"Training seed {seed}: the same users and rows, other luck.")
        return _trained(trial, population, replace(make, seed=seed), folder / str(seed), data)(log, split, seed)

    return build


def _trained(
    trial: Trial, population: SimulatedPopulation, make: Make, folder: Path, data: str
) -> Callable[[InteractionLog, Split, int], SimulatedPopulation]:
    """Return build(log, split, seed) of the same users under other settings."""

    def build(log: InteractionLog, split: Split, seed: int) -> SimulatedPopulation:
        return run(replace(trial, judge=split.past), population.catalogue, make, folder, data)

    return build


def _show(card: Card) -> None:
    out().print(card.light.sentence, markup=False, soft_wrap=True)
    out().print()
    standing, value = card.light.standing, card.light.value
    rows = [(c.name, _number(value.get(c.key), c.form), standing[c.name]) for c in card.light.criterion]
    table(("criterion", "measured", "standing"), rows)
    out().print()
    measures = card.value["chapters"]["measures"]
    names = {"rmse": "RMSE", "mae_median": "MAE, median", "nll": "NLL", "rps": "RPS", "ece_top": "ECE"}
    lines = [(who, *[_number(row.get(m), ".3f") for m in names]) for who, row in measures.items()]
    table(("predictor", *names.values()), lines)


def _number(value: Interval | None, form: str) -> str:
    return "–" if value is None else format(value.mean, form)
