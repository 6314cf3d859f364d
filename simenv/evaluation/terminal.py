"""Reports and progress in the terminal. Knows rich; nothing else in this folder does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from simenv.evaluation.report import Report, Section

_STYLE = {"measured": "green", "fitted": "cyan", "assumed": "yellow"}


def write(report: Report, console: Console | None = None) -> None:
    """Print verdict, tables and provenance; all text is literal, never markup."""
    console = console or Console()
    console.print(Text(report.title, style="bold"))
    console.print(Text(report.verdict))
    for section in report.sections:
        console.print()
        console.print(Text(section.title, style="bold underline"))
        if section.text:
            console.print(Text(section.text))
        if section.rows:
            for part in _parts(section, console.width):
                console.print(_table(section, part, console.width))
    console.print()
    for name, value in report.provenance.items():
        console.print(Text(f"{name}: {value}", style="dim"))
    for name, second in report.timings.items():
        console.print(Text(f"time, {name}: {second:.1f} s", style="dim"))


def _lines(cell: str) -> str:
    """Return an interval on two lines: columns stay narrow."""
    return cell.replace(" (", "\n(", 1)


def _parts(section: Section, width: int) -> list[list[int]]:
    """Return the numbers of the columns of each table: as many as fit, the first column on all of them."""
    texts = [[_lines(cell) for cell in row] for row in section.cells()]
    parts: list[list[int]] = [[0]]
    used = first = _width(section, texts, 0)
    for n in range(1, len(section.columns)):
        need = _width(section, texts, n)
        if used + need > width and len(parts[-1]) > 1:
            parts.append([0])
            used = first
        parts[-1].append(n)
        used += need
    return parts


def _width(section: Section, texts: list[list[str]], n: int) -> int:
    column = section.columns[n]
    words = [
        *column.name.split(),
        column.tag or "",
        *column.unit.split(),
        *(t for r in texts for t in r[n].split("\n")),
    ]
    return max(map(len, words)) + 3


def _table(section: Section, part: list[int], width: int) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    texts = [[_lines(cell) for cell in row] for row in section.cells()]
    need = {n: _width(section, texts, n) for n in part}
    spare = max(0, width - sum(need.values())) // len(part)
    for n in part:
        column = section.columns[n]
        natural = max(need[n] - 3, len(column.name) + 2, len(column.unit))
        room = min(natural, need[n] - 3 + spare)
        head = Text(column.name + (" ↑" if column.better == "high" else " ↓" if column.better == "low" else ""))
        if column.tag:
            head.append(f"\n{column.tag}", style=_STYLE[column.tag])
        if column.unit:
            head.append(f"\n{column.unit}", style="dim")
        table.add_column(
            head,
            justify="left" if column.tag is None else "right",
            overflow="fold",
            width=room,
        )
    for row in section.cells():
        table.add_row(*[Text(_lines(row[n]) if section.columns[n].tag else row[n]) for n in part])
    return table


@contextmanager
def progress_bar(console: Console | None = None) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar while inside; gives what `Benchmark.run(progress=...)` wants.

    The bar goes to standard error, so that standard output stays clean for results.
    """
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console or Console(stderr=True)) as bar:
        task = bar.add_task("start", total=None)
        yield lambda done, total, words: bar.update(task, completed=done, total=total, description=words)
