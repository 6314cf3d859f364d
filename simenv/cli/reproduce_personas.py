"""`simenv reproduce personas`: what profiles say of users, measured against their held-out ratings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simenv.cli.console import out, say, write_json
from simenv.cli.source import dataset
from simenv.errors import ConfigError

if TYPE_CHECKING:
    from simenv.study.persona_quality import Arena


def command(
    data: Annotated[str, typer.Argument(help="The ratings: ml-100k, ml-1m, a file, folder or zip; or synthetic.")],
    told: Annotated[Path | None, typer.Option(help="Folder made by `simenv distil` from this data.")] = None,
    agent4rec: Annotated[
        Path | None, typer.Option(help="Agent4Rec's personas on MovieLens-1M, as JSON lines; wants --behaviour.")
    ] = None,
    behaviour: Annotated[Path | None, typer.Option(help="Agent4Rec's log of a run, as JSON lines.")] = None,
    lusifer: Annotated[
        Path | None, typer.Option(help="Lusifer's profiles on MovieLens-100K, as CSV; wants --lusifer-test.")
    ] = None,
    lusifer_test: Annotated[Path | None, typer.Option(help="Lusifer's table of held-out ratings.")] = None,
    min_ratings: Annotated[int, typer.Option(help="As for `simenv distil`, where no folder is given.")] = 100,
    max_ratings: Annotated[int, typer.Option(help="As for `simenv distil`, where no folder is given.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the cut and the bootstrap.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Keep the numbers here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Keep the page here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Keep the report as text here.")] = None,
) -> None:
    """Measure whether profiles are true: liked genres and trait levels against ratings their writers did not know.

    Beside each writer stand profiles counted from the same known rows, and two claims that all users are alike.

    \b
    simenv reproduce personas ml-100k --told runs/told
    simenv reproduce personas ml-1m --agent4rec personas.jsonl.gz --behaviour simulation_log.jsonl.gz
    simenv reproduce personas ml-100k --lusifer profiles.csv.gz --lusifer-test test.csv.gz
    """
    from simenv.study.persona_quality_report import report, values
    from simenv.study.persona_quality_source import agent4rec as read_agents
    from simenv.study.persona_quality_source import lusifer as read_lusifer

    for first, second, names in (
        (agent4rec, behaviour, "--agent4rec and --behaviour"),
        (lusifer, lusifer_test, "--lusifer and --lusifer-test"),
    ):
        if (first is None) != (second is None):
            raise ConfigError(f"{names} go together: profiles, and what tells who was held out or how they act.")
    made = dataset(data, seed, {})
    say(f"{made.name}: {len(made.log)} ratings. {made.note}")
    arenas = [own_arena(made, told, min_ratings, max_ratings, seed)]
    if agent4rec is not None and behaviour is not None:
        arenas.append(read_agents(agent4rec, behaviour, made.log, made.catalogue))
    if lusifer is not None and lusifer_test is not None:
        arenas.append(read_lusifer(lusifer, lusifer_test, made.log, made.catalogue))
    found = values(arenas, seed)
    page = report(found, {"data": f"{made.name} {made.log.fingerprint}", "seed": str(seed)})
    page.print(out())
    write_json(json, found)
    for path in (html, markdown):
        if path is not None:
            page.save(path)


def own_arena(made: Any, folder: Path | None, min_ratings: int, max_ratings: int, seed: int) -> Arena:
    """Return the arena of the data's own users, cut as the folder says."""
    from simenv.cli.trial import Cut, Trial
    from simenv.study.persona_quality_source import own
    from simenv.training.llm.folder import FolderDistiller

    told = None if folder is None else FolderDistiller.load(folder)
    how = Cut(min_ratings=min_ratings, max_ratings=max_ratings, share=1.0, seed=seed)
    if told is not None:
        how = Cut(**told.account["about"]["options"])
    trial = Trial.of(made.log, how)
    return own(f"{made.name}, {len(trial.member)} users", trial.judge, trial.future, trial.member, made.catalogue, told)
