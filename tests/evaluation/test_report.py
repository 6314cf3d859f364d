from __future__ import annotations

import io
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from simenv.errors import ConfigError
from simenv.evaluation import figure
from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Column, Figure, Report, Row, Section

HOSTILE = "<script>alert('x')</script> $\\frac | & \"quoted\" [link](javascript:x) --> [bold]"
COLUMNS = (Column("name"), Column("value", "fitted", "stars", "high", "What it is."), Column("n", "measured", form="d"))


def make(name: str = "als", value: float = 3.5) -> Report:
    row: Row = {"name": name, "value": Interval(value, value - 0.1, value + 0.1), "n": 3}
    pictures = (
        figure.dots(f"dots {name}", {name: Interval(1.0, 0.5, 1.5)}, "u"),
        figure.survival("alive", {name: np.array([1, 2, 5])}, 5),
        figure.bars("bars", {name: 1.0, "none": float("nan")}),
    )
    section = Section(f"About {name}", name, COLUMNS, (row,), pictures)
    return Report(f"Title {name}", f"{name} wins.", (section,), {"seed": "7", "by": name}, {"all": 1.234})


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k.endswith(("href", "src")) or k.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_page_is_self_contained() -> None:
    text = make().to_html()
    page = _Page(text)
    assert "http:" not in text
    assert "https:" not in text
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert page.tags.count("svg") == 3
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "url(" not in text.replace("url(#", "")


def test_hostile_words_stay_words() -> None:
    text = make(HOSTILE).to_html()
    page = _Page(text)
    assert "script" not in page.tags
    assert "<script" not in text
    assert page.words.count(HOSTILE) >= 4


def test_tags_stand_in_every_form() -> None:
    report = make()
    out = io.StringIO()
    report.print(Console(file=out, width=100))
    for text in (report.to_html(), report.to_markdown(), report.to_json(), out.getvalue()):
        assert "fitted" in text
        assert "measured" in text
        assert "stars" in text


def test_verdict_comes_before_any_table() -> None:
    report = make()
    for text in (report.to_markdown(), report.to_html()):
        assert text.index("als wins.") < text.index("3.500")


def test_json_is_stable_and_without_times() -> None:
    report = make()
    assert report.to_json() == make().to_json()
    assert "1.234" not in report.to_json()
    assert json.loads(report.to_json(timings=True))["timings"] == {"all": 1.234}
    found = json.loads(report.to_json())
    assert list(found) == sorted(found)
    assert found["sections"][0]["rows"][0]["value"]["low"] == pytest.approx(3.4)


def test_json_writes_undefined_numbers_as_null() -> None:
    section = Section(
        "s", columns=(Column("v", "measured"),), rows=({"v": float("nan")}, {"v": float("inf")}, {"v": -0.0})
    )
    rows = json.loads(Report("t", "v", (section,)).to_json())["sections"][0]["rows"]
    assert [r["v"] for r in rows] == [None, None, 0.0]
    assert "–" in Report("t", "v", (section,)).to_markdown()


def test_markdown_table_keeps_its_shape() -> None:
    text = make("a|b\nc").to_markdown()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "<script" not in make(HOSTILE).to_markdown()


def test_terminal_prints_words_as_they_are_and_fits() -> None:
    out = io.StringIO()
    columns = (Column("name"), *[Column(f"number {n}", "assumed") for n in range(12)])
    row = {"name": "[bold]x[/bold]"} | {f"number {n}": Interval(1.0, 0.5, 1.5) for n in range(12)}
    Report("t", "v", (Section("s", columns=columns, rows=(row,)),)).print(Console(file=out, width=60))
    text = out.getvalue()
    assert "[bold]x[/bold]" in text
    assert text.count("(0.500..1.500)") == 12
    assert max(map(len, text.splitlines())) <= 60


def test_pictures_have_the_same_bytes_every_time() -> None:
    value = {"a": Interval(1.0, 0.5, 1.5)}
    assert figure.dots("x", value).svg == figure.dots("x", value).svg
    assert figure.dots("x", value).svg != figure.dots("x", {"a": Interval(2.0, 0.5, 2.5)}).svg


@pytest.mark.parametrize(
    "svg",
    [
        "<p>no picture</p>",
        "<svg><script>x</script></svg>",
        "<svg onload='x()'></svg>",
        '<svg><a xlink:href="javascript:x"></a></svg>',
        '<svg><image href="//evil.example/x.png"/></svg>',
        "<svg><foreignObject></foreignObject></svg>",
    ],
)
def test_active_pictures_are_refused(svg: str) -> None:
    with pytest.raises(ConfigError, match="without scripts"):
        Figure("f", svg)


def test_numbers_need_a_tag_and_rows_known_columns() -> None:
    with pytest.raises(ConfigError, match="needs a tag"):
        Section("s", columns=(Column("v"),), rows=({"v": 1.0},))
    with pytest.raises(ConfigError, match="no column 'w'"):
        Section("s", columns=(Column("v"),), rows=({"w": "x"},))
    with pytest.raises(ConfigError, match="a column twice"):
        Section("s", columns=(Column("v"), Column("v")))


def test_saved_in_the_form_of_the_suffix(tmp_path: Path) -> None:
    report = make()
    assert report.save(tmp_path / "new" / "r.md").read_text(encoding="utf-8") == report.to_markdown()
    assert report.save(tmp_path / "r.json").read_text(encoding="utf-8") == report.to_json()
    assert report.save(tmp_path / "r.html").read_text(encoding="utf-8") == report.to_html()
    with pytest.raises(ConfigError, match=r"\.md, \.json or \.html"):
        report.save(tmp_path / "r.pdf")


def test_cells_as_people_read_them() -> None:
    column = Column("v", "measured", form="+.2f")
    shown = [column.show(c) for c in (1.5, Interval(0.12, 0.08, 0.16), 4, True, None, float("nan"), "x")]
    assert shown == ["+1.50", "+0.12 (+0.08..+0.16)", "4", "yes", "–", "–", "x"]


def test_a_report_loads_no_picture_library_until_it_draws() -> None:
    heavy = ("matplotlib", "torch", "gymnasium", "jinja2", "rich")
    code = f"import sys, simenv.evaluation.benchmark; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_no_table_is_wider_than_the_terminal_nor_cuts_a_heading() -> None:
    out = io.StringIO()
    columns = (
        Column("number"),
        *[Column(n, "measured", "standard error", "low") for n in ("users", "refits", "draws")],
    )
    row: Row = {"number": "item-knn - als", "users": Interval(1.0, 0.5, 1.5), "refits": None, "draws": 2.0}
    Report("t", "v", (Section("s", columns=columns, rows=(row,)),)).print(Console(file=out, width=66))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 66
    assert text.count("measured") == 3
    assert "(0.500..1.500)" in text


@pytest.mark.parametrize(
    ("verdict", "light"),
    [("GREEN: all met.", "green"), ("AMBER: 3 of 4.", "amber"), ("RED: no.", "red"), ("Redder is better.", None)],
)
def test_a_light_shows_its_colour(verdict: str, light: str | None) -> None:
    page = Report("Card", verdict).to_html()
    assert [c for c in ("green", "amber", "red") if f'<span class="light {c}">' in page] == ([light] if light else [])
