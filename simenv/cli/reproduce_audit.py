"""`simenv reproduce audit`: other simulators' published ratings, measured beside the yardsticks and one's own users."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simenv.cli.console import out, quiet_libraries, say, training_bars, write_json
from simenv.cli.source import dataset
from simenv.cli.train import Make
from simenv.errors import ConfigError

if TYPE_CHECKING:
    from simenv.study.audit import Audit, AuditSettings
    from simenv.study.published import Published
    from simenv.training.pipeline import TrainSettings


def command(
    data: Annotated[str, typer.Argument(help="The ratings that were simulated: ml-1m, ml-100k, a folder, a zip.")],
    folder: Annotated[
        Path, typer.Argument(help="Where users are trained and answers remembered. A stopped run goes on.")
    ],
    agent4rec: Annotated[
        Path | None, typer.Option(help="Agent4Rec's log as JSON lines, one agent each, on MovieLens-1M.")
    ] = None,
    run: Annotated[str, typer.Option(help="Run of Agent4Rec: lightgcn_1000 or mf_100.")] = "lightgcn_1000",
    table: Annotated[
        list[Path] | None,
        typer.Option(help="CSV with user_id, movie_id and a column of answers per model (Lusifer's form). Repeatable."),
    ] = None,
    users: Annotated[
        int | None, typer.Option(help="Measure the pairs of so many users, drawn at random. Default: all.")
    ] = None,
    metadata: Annotated[str | None, typer.Option(help="MovieLens: CSV of summary, cast and director.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps of the small model.")] = None,
    lora_steps: Annotated[
        int | None, typer.Option(help="Steps of the single adapter; a third for each persona.")
    ] = None,
    size: Annotated[str, typer.Option(help="Size of the small model: small, usual or large.")] = "usual",
    draws: Annotated[int, typer.Option(help="Sampled ratings per pair of whoever gives distributions.")] = 20,
    quick: Annotated[bool, typer.Option("--quick", help="Tune the yardsticks over fewer settings.")] = False,
    seed: Annotated[int, typer.Option(help="Draws users, weights, sampled ratings and the bootstrap.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Keep the numbers here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Keep the page here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Keep the report as text here.")] = None,
) -> None:
    """Measure ratings that other simulators published against what the same users really said.

    Beside them, on the same pairs: seven yardsticks that need no language model, and simenv's users. These learn from
    all ratings but the published pairs; what the published models had seen is theirs to say. A real rating that the
    published file contradicts is an error. Files are read as JSON or CSV, never as pickles.

    \b
    simenv reproduce audit ml-1m runs/audit --agent4rec simulation_log.jsonl.gz
    simenv reproduce audit ml-100k runs/audit --table ml100k_test_with_simulated_ratings.csv.gz
    """
    from simenv.evaluation.report import Report
    from simenv.study.audit import AuditSettings
    from simenv.study.published import agent4rec as read_agents
    from simenv.study.published import table as read_table

    quiet_libraries()
    if agent4rec is None and not table:
        raise ConfigError("nothing to audit; give --agent4rec LOG or --table CSV.")
    made = dataset(data, seed, {} if metadata is None else {"metadata": metadata})
    say(f"{made.name}: {len(made.log)} ratings. {made.note}")
    wanted = [] if agent4rec is None else [read_agents(agent4rec, made.log, run=run)]
    wanted += [read_table(path, made.log, name=path.name.split(".")[0]) for path in table or ()]
    make = Make(steps=steps, lora_steps=lora_steps, size=size)
    how = AuditSettings(users=users, draws=draws, quick=quick, seed=seed)
    found = [_audited(p, made.catalogue, folder, how, make.settings()) for p in wanted]
    sections = tuple(section for audit in found for section in audit.sections())
    origin = {
        "data": f"{made.name} {made.log.fingerprint}",
        "seed": str(seed),
        "files": ", ".join(p.source for p in wanted),
    }
    report = Report("Published ratings beside the real ones", _sentence(found), sections, origin)
    report.print(out())
    write_json(json, [audit.to_json() for audit in found])
    for path in (html, markdown):
        if path is not None:
            report.save(path)


def _audited(published: Published, catalogue: Any, folder: Path, how: AuditSettings, settings: TrainSettings) -> Audit:
    from simenv.study.audit import audit
    from simenv.study.builder import builder

    here = folder / published.source.split(".")[0]
    say(f"{published.name}: {published.note}")
    with training_bars() as show:
        build = builder(catalogue, here / "users", settings, show=show)
        return audit(published, build, how, folder=here, progress=say)


def _sentence(found: list[Audit]) -> str:
    """Return who came nearest to the real ratings in each audit, by RMSE."""
    from simenv.study.audit import ALL

    told = []
    for audit in found:
        value = {n: row["rmse"].mean for n, row in audit.table[ALL].value.items()}
        best = {k: min((n for n in value if audit.kind[n] == k), key=value.__getitem__) for k in _KINDS}
        told.append(f"{audit.published.name}: " + ", ".join(f"{n} {value[n]:.3f}" for n in best.values()))
    return "RMSE of the best published answers, of simenv's users and of the best yardstick. " + "; ".join(told) + "."


_KINDS = ("published", "simenv", "yardstick")
