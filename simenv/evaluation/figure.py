"""Pictures of a report as inline SVG: dots with intervals, survival curves, bars. matplotlib is loaded when drawing.

Text is drawn in the page's own colour, so that one picture serves light and dark; bytes depend on the data only.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import ArrayLike

from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK = "#010203"
_HUES = ("#3b8fd1", "#d1783b", "#4aa564", "#b05cc6", "#c9a227", "#cf4f5f", "#4fb3bf", "#8d8d8d")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "simenv",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
}


def dots(caption: str, value: Mapping[str, Interval], unit: str = "") -> Figure:
    """Return a dot with its interval per name, first name on top."""

    def draw(axes: Axes) -> None:
        names = list(value)
        for row, name in enumerate(names):
            one = value[name]
            axes.plot([one.low, one.high], [row, row], color=_HUES[0], linewidth=2)
            axes.plot([one.mean], [row], "o", color=_HUES[0])
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel(unit)
        axes.grid(axis="x", alpha=0.25, color=_INK)

    return _figure(caption, draw, height=0.8 + 0.35 * len(value))


def survival(caption: str, pages: Mapping[str, ArrayLike], last: int) -> Figure:
    """Return, per name, the share of visits [N] still there after each page up to `last`."""

    def draw(axes: Axes) -> None:
        grid = np.arange(last + 1)
        for n, (name, length) in enumerate(pages.items()):
            alive = (np.asarray(length)[:, None] > grid).mean(axis=0)
            axes.step(grid, alive, where="post", color=_HUES[n % len(_HUES)])
            axes.plot([], [], color=_HUES[n % len(_HUES)], label=name.lstrip("_") or name)
        axes.set_xlabel("pages seen")
        axes.set_ylabel("share of visits going on")
        axes.set_ylim(0, 1.02)
        if pages:
            axes.legend(frameon=False, fontsize=8)

    return _figure(caption, draw, height=3.2)


def bars(caption: str, value: Mapping[str, float], unit: str = "") -> Figure:
    """Return a horizontal bar per name, first name on top; NaN draws no bar."""

    def draw(axes: Axes) -> None:
        names = list(value)
        axes.barh(range(len(names)), [float(np.nan_to_num(value[n])) for n in names], color=_HUES[0], height=0.6)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel(unit)

    return _figure(caption, draw, height=0.8 + 0.35 * len(value))


def columns(caption: str, value: Mapping[str, Mapping[str, float]], unit: str = "") -> Figure:
    """Return upright bars side by side: series -> name -> height, all series over the names of the first."""

    def draw(axes: Axes) -> None:
        names = list(next(iter(value.values())))
        width = 0.8 / len(value)
        for n, (series, height) in enumerate(value.items()):
            place = np.arange(len(names)) + (n - (len(value) - 1) / 2) * width
            axes.bar(place, [height[name] for name in names], width, color=_HUES[n % len(_HUES)], label=series)
        axes.set_xticks(range(len(names)), names)
        axes.set_ylabel(unit)
        axes.legend(frameon=False, fontsize=8)

    return _figure(caption, draw, height=3.2)


def lines(
    caption: str,
    series: Mapping[str, Sequence[tuple[float, Interval]]],
    x: str = "",
    y: str = "",
    *,
    diagonal: bool = False,
) -> Figure:
    """Return, per name, points (x, interval of y) joined by a line; `diagonal`: y = x is drawn over the same range."""

    def draw(axes: Axes) -> None:
        if diagonal:
            ends = [v for points in series.values() for at, i in points for v in (at, i.mean)]
            axes.plot([min(ends), max(ends)], [min(ends), max(ends)], "--", color=_INK, alpha=0.5, linewidth=1)
        for n, (name, points) in enumerate(series.items()):
            hue, at = _HUES[n % len(_HUES)], [x for x, _ in points]
            axes.plot(at, [i.mean for _, i in points], "o-", color=hue, markersize=4, label=name.lstrip("_") or name)
            axes.vlines(at, [i.low for _, i in points], [i.high for _, i in points], color=hue, linewidth=1.5)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(alpha=0.25, color=_INK)
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=8)

    return _figure(caption, draw, height=3.6)


def _figure(caption: str, draw: Any, *, height: float) -> Figure:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    with rc_context(_STYLE):
        canvas = Canvas(figsize=(7, height), layout="constrained")
        canvas.patch.set_alpha(0)
        axes = canvas.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes)
        out = io.StringIO()
        printer: Any = FigureCanvasSVG(canvas)
        printer.print_svg(out, metadata={"Date": None})
    return Figure(caption, _inline(out.getvalue(), caption))


def _inline(svg: str, caption: str) -> str:
    """Return only the <svg> element: no prolog, comments, metadata or namespaces (HTML needs none)."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\sxmlns(:\w+)?=\"[^\"]*\"", "", svg)
    label = re.sub(r"[<>&\"]", " ", caption)
    return svg.replace(_INK, "currentColor").replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


@final
@dataclass(frozen=True)
class Panel:
    """One of several pictures side by side."""

    x: tuple[float, ...]
    """Where values stand; a single one: a column of dots without a scale below."""
    line: Mapping[str, Sequence[Interval]]
    """Name -> an interval at each x."""
    unit: str = ""
    """What x is."""


def curves(caption: str, panel: Mapping[str, Panel], unit: str = "", *, bold: Collection[str] = ()) -> Figure:
    """Return panels side by side on one vertical scale; a name has the same colour in all of them.

    bold: names drawn thick, with their intervals as bands; the others are thin, with bars set a little apart.
    """
    names = list(dict.fromkeys(name for one in panel.values() for name in one.line))

    def draw(axes: Axes) -> None:
        canvas: Any = axes.figure
        axes.remove()
        wide = [3.0 if len(one.x) > 1 else 1.4 for one in panel.values()]
        places = canvas.subplots(1, len(panel), sharey=True, squeeze=False, width_ratios=wide)[0]
        for place, (title, one) in zip(places, panel.items(), strict=True):
            _panel(place, title, one, names, bold)
        places[0].set_ylabel(unit)
        named = {la: h for place in places[::-1] for h, la in zip(*place.get_legend_handles_labels(), strict=True)}
        shown = [n for n in names if n in named]
        canvas.legend([named[n] for n in shown], shown, loc="outside lower center", ncols=3, frameon=False, fontsize=8)

    return _figure(caption, draw, height=3.4 + 0.2 * -(-len(names) // 3))


def _panel(axes: Any, title: str, panel: Panel, names: Sequence[str], bold: Collection[str]) -> None:
    axes.patch.set_alpha(0)
    single = len(panel.x) == 1
    step = (0.9 if single else 0.12 * (max(panel.x) - min(panel.x))) / max(len(names), 1)
    for n, name in enumerate(names):
        if name in panel.line:
            # The eight hues are used again with dashes.
            style = {"color": _HUES[n % len(_HUES)], "linestyle": ("-", "--", ":")[n // len(_HUES) % 3], "label": name}
            apart = (n - (len(names) - 1) / 2) * step
            _curve(axes, panel.x, panel.line[name], style, apart, name in bold)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(panel.unit)
    axes.set_xticks([] if single else panel.x, [] if single else [f"{v:g}" for v in panel.x])
    axes.grid(axis="y", alpha=0.25, color=_INK)


def _curve(
    axes: Any, x: Sequence[float], value: Sequence[Interval], style: dict[str, Any], apart: float, bold: bool
) -> None:
    low, high, mean = ([getattr(v, n) for v in value] for n in ("low", "high", "mean"))
    if bold and len(x) > 1:
        axes.plot(x, mean, linewidth=2.6, marker="o", markersize=4, zorder=3, **style)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
        return
    at, size = [v + apart for v in x], 6 if bold else 4
    axes.plot(at, mean, linewidth=1.1, marker="o" if len(x) == 1 else None, markersize=size, **style)
    axes.vlines(at, low, high, color=style["color"], linewidth=2.6 if bold else 0.8, alpha=0.55)


def standalone(figure: Figure) -> str:
    """Return the figure as a file of its own: an SVG with its namespaces, dark ink on white."""
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return figure.svg.replace("<svg", f'<svg {names} style="color:#1c1c1c;background:#ffffff"', 1) + "\n"
