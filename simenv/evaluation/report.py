"""Report: one verdict, tables whose columns say what kind of number they hold, provenance. As markdown, JSON, page.

Knows nothing of recommenders or statistics: it is given words and numbers. Every column that holds numbers is tagged

    measured  computed from real answers, or from the true world of a synthetic one
    fitted    comes out of a model whose parameters were estimated from data
    assumed   rests on a declared knob that no data fixed
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from simenv.errors import ConfigError
from simenv.evaluation.interval import Interval

Tag = Literal["measured", "fitted", "assumed"]
Cell = str | int | float | bool | Interval | None
Row = Mapping[str, Cell]
_MARKDOWN = re.compile(r"([\\|<>*`\[\]])")
_MARK = {"high": "↑", "low": "↓", None: ""}


@final
@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    """Key of the cell in a row, and its heading."""
    tag: Tag | None = None
    """What kind of number; None only for words."""
    unit: str = ""
    better: Literal["high", "low"] | None = None
    """Which direction is good; None: neither."""
    note: str = ""
    """One sentence: what it is, with the formula's name."""
    form: str = ".3f"
    """Format of its numbers, as `format` takes it."""

    @property
    def heading(self) -> str:
        """Return name, arrow and, in brackets, tag and unit."""
        kind = ", ".join(p for p in (self.tag or "", self.unit) if p)
        return " ".join(p for p in (self.name, _MARK[self.better], f"[{kind}]" if kind else "") if p)

    def show(self, cell: Cell) -> str:
        """Return the cell as text; an absent or undefined number is a dash."""
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return "–"
        if isinstance(cell, bool):
            return "yes" if cell else "no"
        if isinstance(cell, str):
            return cell
        if isinstance(cell, int):
            return str(cell) if self.form.endswith("f") else format(cell, self.form)
        return format(cell, self.form)


@final
@dataclass(frozen=True)
class Figure:
    """A picture for the page: an inline SVG."""

    caption: str
    svg: str
    """An <svg> element without scripts, event handlers or outside references."""

    def __post_init__(self) -> None:
        active = r"<script|<foreignObject|<[^>]*\son\w+\s*=|<[^>]*href\s*=\s*[\"'](?!#)"
        if not self.svg.lstrip().startswith("<svg") or re.search(active, self.svg, re.IGNORECASE):
            raise ConfigError(
                f"figure {self.caption!r} must be one <svg> element without scripts, handlers or outside links; "
                "make it with simenv.evaluation.figure."
            )


@final
@dataclass(frozen=True)
class Section:
    """A heading, a few sentences, a table, pictures."""

    title: str
    text: str = ""
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        known = {c.name: c for c in self.columns}
        if len(known) != len(self.columns):
            raise ConfigError(f"section {self.title!r} names a column twice: {[c.name for c in self.columns]}.")
        for row in self.rows:
            extra = set(row) - set(known)
            if extra:
                raise ConfigError(f"section {self.title!r} has no column {sorted(extra)[0]!r}; add a Column for it.")
            for name, cell in row.items():
                if known[name].tag is None and isinstance(cell, (int, float, Interval)):
                    raise ConfigError(
                        f"column {name!r} of section {self.title!r} holds numbers, so it needs a tag: "
                        "measured, fitted or assumed."
                    )

    def cells(self) -> list[list[str]]:
        """Return the table as text, a list per row."""
        return [[c.show(row.get(c.name)) for c in self.columns] for row in self.rows]


@final
@dataclass(frozen=True)
class Report:
    """The answer first, then what it rests on."""

    title: str
    verdict: str
    """One sentence."""
    sections: tuple[Section, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Seeds, data hashes, versions: all that is needed to repeat the numbers."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by name. Not results: two equal runs differ here and nowhere else."""

    def to_dict(self, *, timings: bool = False) -> dict[str, Any]:
        """Return what `to_json` writes."""
        out: dict[str, Any] = {
            "title": self.title,
            "verdict": self.verdict,
            "sections": [_section(s) for s in self.sections],
            "provenance": dict(self.provenance),
        }
        return out | ({"timings": dict(self.timings)} if timings else {})

    def to_json(self, *, timings: bool = False) -> str:
        """Return stable JSON: sorted keys, no wall times unless asked, NaN as null, ten significant digits."""
        return stable_json(self.to_dict(timings=timings))

    def to_markdown(self) -> str:
        """Return the report as GitHub-flavoured markdown, without pictures."""
        parts = [f"# {_plain(self.title)}", f"**{_plain(self.verdict)}**"]
        for section in self.sections:
            parts.append(f"## {_plain(section.title)}")
            parts += [_plain(section.text)] if section.text else []
            parts += [_table(section), *_notes(section)] if section.rows else []
        parts += ["## Provenance", "\n".join(f"- {_plain(k)}: {_plain(v)}" for k, v in self.provenance.items())]
        return "\n\n".join(p for p in parts if p) + "\n"

    def to_html(self) -> str:
        """Return one self-contained page: no script, no outside reference, light and dark, fit to print."""
        from simenv.evaluation.page import render

        return render(self)

    def print(self, console: Any = None) -> None:
        """Write the report to the terminal (or to a given rich Console)."""
        from simenv.evaluation.terminal import write

        write(self, console)

    def save(self, path: str | Path) -> Path:
        """Write the report as the suffix says: .md, .json or .html.

        Raises:
            ConfigError: another suffix.

        """
        path = Path(path)
        forms = {".md": self.to_markdown, ".json": self.to_json, ".html": self.to_html}
        if path.suffix not in forms:
            raise ConfigError(f"cannot tell the form of a report from {path.name!r}; end it in .md, .json or .html.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(forms[path.suffix](), encoding="utf-8")
        return path


def stable_json(value: Any) -> str:
    """Return JSON with sorted keys, NaN and infinities as null, floats to ten significant digits."""
    return json.dumps(_clean(value), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _clean(value: Any) -> Any:
    if isinstance(value, Interval):
        return {k: _clean(getattr(value, k)) for k in ("mean", "low", "high", "level")}
    if isinstance(value, Mapping):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(v) for v in value]
    if isinstance(value, float):
        # Ten digits: the last bits of a sum may depend on the machine's vector width. + 0.0 turns -0.0 into 0.0.
        return float(f"{value:.10g}") + 0.0 if math.isfinite(value) else None
    return value


def _section(section: Section) -> dict[str, Any]:
    columns = [
        {"name": c.name, "tag": c.tag, "unit": c.unit, "better": c.better, "note": c.note} for c in section.columns
    ]
    figures = [f.caption for f in section.figures]
    rows = [dict(r) for r in section.rows]
    return {"title": section.title, "text": section.text, "columns": columns, "rows": rows, "figures": figures}


def _plain(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split())).replace("\\<", "&lt;").replace("\\>", "&gt;")


def _table(section: Section) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rule = ["---" if c.tag is None else "---:" for c in section.columns]
    body = [[_plain(c) for c in row] for row in section.cells()]
    return "\n".join(line(r) for r in [[_plain(c.heading) for c in section.columns], rule, *body])


def _notes(section: Section) -> list[str]:
    notes = [f"- *{_plain(c.name)}*: {_plain(c.note)}" for c in section.columns if c.note]
    return ["\n".join(notes)] if notes else []
