"""`simenv reproduce`: published experiments, run again on one's own data and models, with what they left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from simenv.cli import reproduce_arms, reproduce_audit, reproduce_decision, reproduce_personas
from simenv.cli.console import one_of, out, quiet_libraries, say, write_json
from simenv.cli.source import dataset
from simenv.errors import ConfigError

if TYPE_CHECKING:
    from simenv.study.table1 import Table1, Table1Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
_EMBEDDED = "embedded"


@app.callback()
def _about() -> None:
    """Run a published experiment again, on your data and models, beside the yardsticks it left out.

    \b
    simenv reproduce table1 --help      ratings by memories and adapters: the table of the paper behind simenv
    simenv reproduce audit --help       ratings that Agent4Rec and Lusifer published, beside the real ones
    simenv reproduce decision --help    who orders recommenders right as users choose ever more what they rate
    simenv reproduce personas --help    whether profiles are true: Agent4Rec's, Lusifer's, counted and written ones
    simenv reproduce arms --help        what knowing the person adds, by the way a language model is told of them
    """


app.command("audit", no_args_is_help=True)(reproduce_audit.command)
app.command("decision", no_args_is_help=True)(reproduce_decision.command)
app.command("personas", no_args_is_help=True)(reproduce_personas.command)
app.command("arms", no_args_is_help=True)(reproduce_arms.command)


@app.command("table1", no_args_is_help=True)
def table1(
    data: Annotated[str, typer.Argument(help="Ratings: a file, folder or zip; a name such as ml-1m; or synthetic.")],
    folder: Annotated[Path, typer.Argument(help="Where bases, adapters and finished rows go. A stopped run goes on.")],
    base: Annotated[
        list[str] | None,
        typer.Option(help="Hugging Face name or folder of a causal language model, or embedded. May be repeated."),
    ] = None,
    arm: Annotated[str, typer.Option(help="Whose rows are known: own (the users' past), world, or both.")] = "both",
    rows: Annotated[str, typer.Option(help="Printed rows wanted, such as 0,3,5; or all.")] = "all",
    users: Annotated[
        int | None, typer.Option(help="Users to simulate, drawn at random. Default: all eligible.")
    ] = None,
    min_ratings: Annotated[int, typer.Option(help="Eligible are users with at least so many ratings ...")] = 100,
    max_ratings: Annotated[int, typer.Option(help="... and at most so many.")] = 200,
    split: Annotated[
        str, typer.Option(help="What is past: user_time, or random where there are no times.")
    ] = "user_time",
    train_rows: Annotated[str, typer.Option(help="Rows of the larger and the smaller single adapter.")] = "5200,2100",
    personas: Annotated[str, typer.Option(help="Number of personas, or elbow.")] = "4",
    epochs: Annotated[float, typer.Option(help="Times an adapter sees its rows.")] = 3.0,
    steps: Annotated[int | None, typer.Option(help="Pre-training steps of the embedded model.")] = None,
    size: Annotated[str, typer.Option(help="Size of the embedded model: small, usual or large.")] = "usual",
    answer_tokens: Annotated[
        int | None, typer.Option(help="Tokens of a written answer. Default: 1 where that was taught, else 8.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Ask only so many held-out pairs, for expensive bases.")] = None,
    metadata: Annotated[str | None, typer.Option(help="MovieLens: CSV of summary, cast and director.")] = None,
    seed: Annotated[int, typer.Option(help="Draws users, rows, weights and the bootstrap.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Keep the numbers here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Keep the page here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Keep the report as text here.")] = None,
) -> None:
    """Measure rows 0 to 10 of "Personas within Parameters" (Thakur et al. 2025) for any base model.

    No adapter, one LoRA on two numbers of rows, one LoRA per persona; prompts with the profile (Ms), the recalled
    memory (Ml) or both. Each row is scored by what the model writes, with the paper's rule, and by the probabilities of
    the options; beside it stand the usual yardsticks on the same pairs and what the paper prints. The embedded model is
    first trained from nothing, on other users' rows (world) or the users' own past (own).

    \b
    simenv reproduce table1 ml-100k runs/table1                            (an hour of one core)
    simenv reproduce table1 synthetic:120x80 toy --min-ratings 40 --steps 20 --train-rows 200,80
    simenv reproduce table1 ml-1m runs/gpu --metadata movies.csv --users 200 \\
        --base microsoft/Phi-3-mini-4k-instruct                            (wants a GPU)
    simenv reproduce table1 ml-1m runs/gpu --metadata movies.csv --users 200 --rows 0,1,2 --limit 2000 \\
        --base meta-llama/Meta-Llama-3-8B-Instruct                         (wants a GPU)
    """
    from simenv.study.table1_report import report
    from simenv.study.table1_settings import Table1Settings

    quiet_libraries()
    how = Table1Settings(
        users=users, min_ratings=min_ratings, max_ratings=max_ratings, epochs=epochs, limit=limit,
        split=cast(Any, one_of(split, ("user_time", "random"), "--split")), rows=cast(Any, _numbers(train_rows, 2)),
        personas=_personas(personas), answer_tokens=answer_tokens,
    )  # fmt: skip
    arms = ("own", "world") if one_of(arm, ("own", "world", "both"), "--arm") == "both" else (arm,)
    wanted = None if rows == "all" else _numbers(rows)
    made = dataset(data, seed, {} if metadata is None else {"metadata": metadata})
    say(f"{made.name}: {len(made.log)} ratings. {made.note}")
    tables = _measure(made, base or [_EMBEDDED], _embedded(how, steps, size), arms, folder, wanted, seed)
    done = report(tables)
    done.print(out())
    write_json(json, [t.to_json() for t in tables])
    for path in (html, markdown):
        if path is not None:
            done.save(path)


def _measure(
    made: Any,
    base: list[str],
    how: Table1Settings,
    arms: tuple[str, ...],
    folder: Path,
    rows: tuple[int, ...] | None,
    seed: int,
) -> list[Table1]:
    from simenv.evaluation.terminal import progress_bar
    from simenv.study.table1 import table1 as measure

    names = [None if b == _EMBEDDED else b for b in base]
    with progress_bar() as progress:
        return [
            measure(made, names, how, arm=cast(Any, a), folder=folder, rows=rows, seed=seed, progress=progress)
            for a in arms
        ]


def _embedded(how: Table1Settings, steps: int | None, size: str) -> Table1Settings:
    from simenv.training.world_model import LARGE, SMALL

    shapes = {"small": SMALL, "usual": how.size, "large": LARGE}
    world = how.world if steps is None else replace(how.world, steps=steps, warmup=min(how.world.warmup, steps // 3))
    return replace(how, world=world, size=shapes[one_of(size, tuple(shapes), "--size")])


def _numbers(text: str, count: int | None = None) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts) or (count is not None and len(parts) != count):
        wanted = "whole numbers" if count is None else f"{count} whole numbers"
        raise ConfigError(f"expected {wanted} with commas between; got {text!r}.")
    return tuple(map(int, parts))


def _personas(text: str) -> Any:
    if text != "elbow" and (not text.isdigit() or int(text) < 1):
        raise ConfigError(f'--personas is a number of at least 1, or "elbow"; got {text!r}.')
    return text if text == "elbow" else int(text)
