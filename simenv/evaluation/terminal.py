"""A report in the terminal. Knows rich; nothing else does."""

from __future__ import annotations

from rich.console import Console
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
            console.print(_table(section))
    console.print()
    for name, value in report.provenance.items():
        console.print(Text(f"{name}: {value}", style="dim"))
    for name, second in report.timings.items():
        console.print(Text(f"time, {name}: {second:.1f} s", style="dim"))


def _table(section: Section) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for column in section.columns:
        head = Text(column.name + (" ↑" if column.better == "high" else " ↓" if column.better == "low" else ""))
        if column.tag:
            head.append(f"\n{column.tag}", style=_STYLE[column.tag])
        if column.unit:
            head.append(f"\n{column.unit}", style="dim")
        table.add_column(head, justify="left" if column.tag is None else "right")
    for row in section.cells():
        table.add_row(*[Text(cell) for cell in row])
    return table
