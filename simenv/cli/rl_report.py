"""`simenv rl-report`: what learned policies gain, what is left when replicas and users change, whether it is real."""

from __future__ import annotations

import json as json_
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simenv.cli.console import out, quiet_libraries, say, write_json
from simenv.cli.train import TRIAL, Make, run
from simenv.errors import ConfigError

if TYPE_CHECKING:
    from simenv.rl.gate import Gate
    from simenv.rl.learner import Learner
    from simenv.rl.replicas import Proving
    from simenv.study.rl_study import RLStudy, Unit

GATE = "gate.json"


def command(
    folder: Annotated[Path, typer.Argument(help="Where finished parts and reports go. A stopped run goes on.")],
    population: Annotated[
        Path | None, typer.Option(help="A population made by `simenv train`; without it, invented worlds alone.")
    ] = None,
    learner: Annotated[str, typer.Option(help="ppo, or module:Class of your own (simenv.rl.learner.Learner).")] = "ppo",
    gate: Annotated[
        Path | None, typer.Option(help="A gate.json of the same learner, instead of running the gate anew.")
    ] = None,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="No gate: nothing is then called better.")] = False,
    steps: Annotated[int | None, typer.Option(help="Pages shown in training. Default: 20,000.")] = None,
    pessimism: Annotated[
        float, typer.Option(help="Rating points a promise loses per point that replicas disagree.")
    ] = 0.0,
    seeds: Annotated[int, typer.Option(help="Trainings, each with its own luck.")] = 3,
    worlds: Annotated[int, typer.Option(help="Invented worlds of the gate; its intervals count them.")] = 3,
    users: Annotated[int | None, typer.Option(help="Users of an invented world, for a look. Default: 800.")] = None,
    replicas: Annotated[int, typer.Option(help="Replicas to train in; two more are for testing.")] = 2,
    model_steps: Annotated[
        int | None, typer.Option(help="Training steps of each replica in invented worlds. Default: 200.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Keep the numbers here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Keep the page here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Keep the report as text here.")] = None,
) -> None:
    """Train a policy on simulated users and find out whether its gains are more than the simulator's quirks.

    The policy learns in some replicas of the users (learned anew, from other seeds and other people) and is tried on
    other replicas and on users it never met, beside recommenders fitted on the same rows. Shown are the gap between the
    two, how varied its pages are, how far pages and states lie from the log, and how much replicas disagree over what
    it shows. The gate repeats all of it in invented worlds: a biased log of users whose truth is known, populations
    built from that log alone, and then the true users. Only what passed is called better.

    \b
    simenv rl-report runs/rl                                        (the gate: half an hour of one core)
    simenv rl-report runs/rl --population my-users                  (your users; the gate as far as it is not done)
    simenv rl-report runs/look --users 150 --worlds 2 --seeds 2 --steps 8000 --model-steps 30
    """
    from simenv.study.rl_report import report, to_dict

    quiet_libraries()
    study = settings(_learner(learner, steps, pessimism), seeds, worlds, users, replicas, model_steps)
    passed, invented = _gate(study, folder, gate, no_gate)
    own = None if population is None else _own(study, population, folder)
    if passed is None and own is None:
        raise ConfigError("--no-gate leaves nothing to report without --population; give one, or run the gate.")
    done = report(study, invented, passed, own)
    done.print(out())
    write_json(json, to_dict(study, invented, passed, own))
    for path in (folder / "report.html", folder / "report.md", html, markdown):
        if path is not None:
            done.save(path)
    out().print(f"\nThe page with curves: {folder / 'report.html'}", soft_wrap=True)


def settings(
    learner: Learner, seeds: int, worlds: int, users: int | None, replicas: int, model_steps: int | None
) -> RLStudy:
    """Return the study; None: as published."""
    from simenv.study.dose_unit import recipe
    from simenv.study.rl_study import RLStudy
    from simenv.study.rl_world import ReplicaSettings, RLWorld

    world = RLWorld(replicas=ReplicaSettings(train=replicas))
    if users is not None:
        world = replace(world, n_users=users, members=max(4, users // 3), min_ratings=20, n_items=min(400, users))
    if model_steps is not None:
        how = replace(world.replicas, recipe=recipe(model_steps, max(1, model_steps // 7)))
        world = replace(world, replicas=how)
    return RLStudy((learner,), worlds=tuple(range(worlds)), seeds=tuple(range(seeds)), world=world)


def _learner(name: str, steps: int | None, pessimism: float) -> Learner:
    import importlib

    from simenv.rl.learner import Learner
    from simenv.study.rl_study import usual_learner

    if name == "ppo":
        usual = replace(usual_learner(), pessimism=pessimism)
        return usual if steps is None else replace(usual, steps=steps)
    module, colon, attribute = name.partition(":")
    if not colon or steps is not None or pessimism:
        raise ConfigError(f"a learner is ppo, or module:Class without --steps and --pessimism; got {name!r}.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"cannot make the learner {name!r}: {type(error).__name__}: {error}.") from error
    if not isinstance(made, Learner):
        raise ConfigError(f"{name!r} is no learner: it needs what simenv.rl.learner.Learner says.")
    return made


def _gate(study: RLStudy, folder: Path, given: Path | None, no_gate: bool) -> tuple[Gate | None, list[list[Unit]]]:
    from simenv.rl.gate import Gate

    if no_gate:
        return None, []
    if given is not None:
        try:
            return Gate.from_dict(json_.loads(given.read_text(encoding="utf-8"))), []
        except (OSError, ValueError) as error:
            raise ConfigError(f"{given} cannot be read as a gate ({error}).") from error
    found, units = study.gate(folder, say)
    write_json(folder / GATE, found.to_dict())
    return found, units


def _own(study: RLStudy, population: Path, folder: Path) -> list[Unit]:
    from simenv.agents.store import load
    from simenv.evaluation.unit import digest

    users = load(population)
    told = digest(users.fingerprint, repr(study.world.replicas))
    return study.units(lambda: _proving(study, population, folder / "own"), told, folder / "own", say)


def _proving(study: RLStudy, population: Path, folder: Path) -> Proving:
    """Return the population's trial with replicas: the same users, each learned from half of the others."""
    from simenv.agents.store import load
    from simenv.catalogue import Catalogue
    from simenv.cli.trial import Trial
    from simenv.rl.replicas import Proving
    from simenv.study.rl_world import halves

    users, many = load(population), study.world.replicas
    trial, about = Trial.load(population / TRIAL, users)
    catalogue, make = users.catalogue or Catalogue.bare(users.items), Make(**about["make"])
    made: list[Any] = []
    for number in range(1, many.train + many.test + 1):
        say(f"Replica {number} of {many.train + many.test}: the same users, learned from half of the others.")
        again, anew = replace(trial, judge=trial.half(number, make.seed)), replace(make, seed=make.seed + number)
        replica = run(again, catalogue, anew, folder / f"replica-{number}" / "population", about["data"])
        made.append(replica.compile(folder / f"replica-{number}" / "table"))
    return Proving(
        tuple(made[: many.train]), tuple(made[many.train :]), *halves(users.member), trial.contestants, catalogue,
        future=trial.future,
    )  # fmt: skip
