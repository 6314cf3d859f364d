"""What all commands share: where output goes, progress bars, errors as one sentence, tables kept as JSON.

Knows nothing of populations or recommenders.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from simenv.errors import ConfigError, SimenvError

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 24
"""Characters of the longest bar of a chart."""


class Guarded(TyperGroup):
    """A command group that says what simenv raises on purpose in one sentence, with exit code 2 and no traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except SimenvError as error:
            typer.echo(f"simenv: {error}", err=True)
            raise typer.Exit(2) from None


def out() -> Console:
    """Return the console for results."""
    from rich.console import Console

    return Console(soft_wrap=False, highlight=False)


def say(text: str) -> None:
    """Print words on standard error, beside the progress bars: they are no result."""
    typer.echo(text, err=True)


def write_json(path: Path | None, content: Any) -> None:
    """Keep a table for machines where a path was given: sorted keys, no NaN, no wall times."""
    if path is None:
        return
    from simenv.evaluation.report import stable_json

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(stable_json(content), encoding="utf-8")


def one_of(value: str, allowed: Sequence[str], option: str) -> str:
    """Return the value, or raise a ConfigError that lists what is allowed."""
    if value not in allowed:
        raise ConfigError(f"{option} is one of {', '.join(allowed)}; got {value!r}.")
    return value


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", right: int = 1) -> None:
    """Print rows of words. The first `right` columns are set left, the others right; text is literal."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(title) if title else None, title_justify="left", show_edge=False, pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(Text(column), justify="left" if number < right else "right", overflow="fold")
    for row in rows:
        made.add_row(*[Text(cell) for cell in row])
    out().print(made)


def bar(share: float) -> str:
    """Return a bar for a share in 0..1, to an eighth of a character."""
    eighths = round(8 * WIDTH * min(max(share, 0.0), 1.0))
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")


@contextmanager
def training_bars() -> Iterator[Callable[[str], Callable[[int, int, float], None]]]:
    """Show one bar per stage of training while inside, and how fast each went; gives what `train(show=...)` wants."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<14}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.3f}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        stage = [""]

        def tell(text: str) -> None:
            progress.console.print(f"{stage[-1]}: {text}", highlight=False, markup=False, soft_wrap=True)

        def show(name: str) -> Callable[[int, int, float], None]:
            stage.append(name)
            task = progress.add_task(name, total=None, loss=float("nan"))
            return lambda step, steps, loss: progress.update(task, completed=step, total=steps, loss=loss)

        with _told("simenv.training.learn", tell):
            yield show


@contextmanager
def _told(logger: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Hand what a logger says at level INFO to a function while inside."""
    source, handler = logging.getLogger(logger), logging.Handler(logging.INFO)
    level, handler.emit = source.level, lambda record: tell(record.getMessage())  # type: ignore[method-assign]
    source.addHandler(handler)
    source.setLevel(logging.INFO)
    try:
        yield
    finally:
        source.removeHandler(handler)
        source.setLevel(level)


def patient_threads() -> None:
    """Let idle OpenMP threads sleep, unless the environment says otherwise. Call before torch is loaded.

    By default they spin. On two cores that something else uses too, a step of a small model then takes 20 times as
    long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def quiet_libraries() -> None:
    """Keep the progress bars and notices of model libraries out of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def tagged(assumption: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (name, tag, value) of each behavioural number of a population."""
    return [(name, *_tag(value)) for name, value in sorted(assumption.items())]


def _tag(value: str) -> tuple[str, str]:
    tag, _, rest = value.partition(" ")
    return (tag.rstrip(":"), rest) if tag.rstrip(":") in ("fitted", "assumed", "measured") else ("", value)
