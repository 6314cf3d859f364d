"""`simenv reproduce decision`: does a judge order recommenders as the truth does, by how selective users are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simenv.cli.console import out, quiet_libraries, write_json
from simenv.errors import ConfigError

if TYPE_CHECKING:
    from simenv.study.dose_response import DoseResponse


def command(
    folder: Annotated[Path, typer.Argument(help="Where finished worlds go. A stopped run goes on.")],
    doses: Annotated[str, typer.Option(help="Strengths of selection, ascending from 0.")] = "0,0.5,1,1.5,2,3",
    worlds: Annotated[int, typer.Option(help="Worlds per dose; intervals count them.")] = 3,
    users: Annotated[int | None, typer.Option(help="Users of a world, for a quick look. Default: 400.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps of each embedded model. Default: 200.")] = None,
    content: Annotated[
        bool, typer.Option("--content", help="Also users who know nothing of others' opinions; twice as long.")
    ] = False,
    coat: Annotated[
        Path | None,
        typer.Option(help="Also Coat: its folder or zip (many hours), or the JSON of a finished benchmarks/coat.py."),
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Keep the picture here, as SVG.")] = None,
    json: Annotated[Path | None, typer.Option(help="Keep the numbers here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Keep the page here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Keep the report as text here.")] = None,
) -> None:
    """Find out who orders recommenders right as users choose ever more what they rate.

    Invented worlds, so the true value of each recommender is known. Users choose what to rate by what they would like,
    or by what is popular, more strongly from dose to dose. Thirteen recommenders, four of them wrong on purpose, are
    put in order by NDCG, by other held-out measures, by plain predictors and by simulated users; counted is how many
    of the truly different pairs each gets right, where simenv crosses NDCG and where simenv breaks as well.

    \b
    simenv reproduce decision runs/decision --html decision.html       (20 minutes of one core)
    simenv reproduce decision runs/look --doses 0,2 --worlds 2         (a few minutes)
    simenv reproduce decision runs/decision --coat benchmarks/results/coat.json --html decision.html
    """
    from simenv.evaluation.figure import standalone
    from simenv.evaluation.terminal import progress_bar
    from simenv.study import dose_report
    from simenv.study.decision_report import figure as picture
    from simenv.study.decision_report import report

    quiet_libraries()
    study = settings(_numbers(doses), worlds, users, steps, content)
    with progress_bar() as progress:
        units = study.run(folder, progress)
        beside = None if coat is None else _coat(coat, folder / "coat", progress)
    done = report(study, units, beside)
    done.print(out())
    write_json(json, dose_report.to_dict(study, units))
    if figure is not None:
        figure.parent.mkdir(parents=True, exist_ok=True)
        figure.write_text(standalone(picture(study, units, beside)), encoding="utf-8")
    for path in (html, markdown):
        if path is not None:
            done.save(path)


def settings(
    doses: tuple[float, ...], worlds: int, users: int | None, steps: int | None, content: bool
) -> DoseResponse:
    """Return the study; None: as published."""
    from simenv.study.dose_response import DoseResponse
    from simenv.study.dose_unit import DoseWorld, recipe

    world = DoseWorld(content=content)
    if users is not None:
        world = replace(world, n_users=users, members=min(world.members, users // 4))
    if steps is not None:
        world = replace(world, recipe=recipe(steps, max(1, steps // 7)))
    return DoseResponse(doses, tuple(range(worlds)), world)


def _coat(data: Path, folder: Path, progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
    """Return what the Coat study finds, or found."""
    from simenv.datasets import load
    from simenv.study.coat import coat
    from simenv.study.decision_report import read_coat

    return read_coat(data) if data.suffix == ".json" else coat(load(data), folder=folder, progress=progress)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--doses are numbers with commas between, such as 0,1,2; got {text!r}.") from None
