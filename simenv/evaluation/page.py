"""A report as one self-contained HTML page. Knows Jinja2; everything but our own figures is escaped."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from simenv.evaluation.report import Report

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ report.title }}</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #59636e; --paper: #fff; --line: #d5dae0; --soft: #f4f6f8;
  --measured: #116329; --fitted: #0a5c8f; --assumed: #8a4b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #9aa4af; --paper: #14171b; --line: #363c44;
  --soft: #1d2127; --measured: #6cc98a; --fitted: #74b9ea; --assumed: #e8a94f; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .4rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.verdict { font-size: 1.15rem; border-left: .3rem solid var(--fitted); padding: .3rem 0 .3rem 1rem; margin: 1rem 0 }
.light { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .5em }
.light.green { background: #1a8f3c } .light.amber { background: #e69500 } .light.red { background: #d1242f }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: bottom }
th.word, td.word { text-align: left } tbody tr:nth-child(even) { background: var(--soft) }
.tag { display: block; font-weight: 600; font-size: .72rem } .unit { display: block; font-weight: 400;
  font-size: .72rem; color: var(--dim) }
.measured { color: var(--measured) } .fitted { color: var(--fitted) } .assumed { color: var(--assumed) }
dl, figcaption { font-size: .85rem; color: var(--dim) } dt { font-weight: 600; float: left; clear: left;
  margin-right: .5rem } dd { margin: 0 0 .2rem 0 }
figure { margin: 1.2rem 0; max-width: 46rem } figure svg { width: 100%; height: auto }
@media print { body { margin: 0; max-width: none; font-size: 10pt } section, figure, tr { break-inside: avoid }
  .wide { overflow: visible } }
</style>
</head>
<body>
<main>
<h1>{{ report.title }}</h1>
<p class="verdict">{% if light %}<span class="light {{ light }}"></span>{% endif %}{{ report.verdict }}</p>
{% for section in report.sections %}
<section>
<h2>{{ section.title }}</h2>
{% if section.text %}<p>{{ section.text }}</p>{% endif %}
{% if section.rows %}
<div class="wide"><table>
<thead><tr>
{% for column in section.columns %}<th scope="col" class="{{ 'word' if column.tag is none else 'number' }}">
{{ column.name }}{{ {"high": " ↑", "low": " ↓"}.get(column.better, "") }}
{% if column.tag %}<span class="tag {{ column.tag }}">{{ column.tag }}</span>{% endif %}
{% if column.unit %}<span class="unit">{{ column.unit }}</span>{% endif %}</th>
{% endfor %}</tr></thead>
<tbody>
{% for row in section.cells() %}<tr>
{% for column in section.columns %}<td class="{{ 'word' if column.tag is none else 'number' }}">
{{- row[loop.index0] }}</td>{% endfor %}
</tr>
{% endfor %}</tbody>
</table></div>
<dl>{% for column in section.columns if column.note %}<dt>{{ column.name }}</dt><dd>{{ column.note }}</dd>{% endfor %}
</dl>
{% endif %}
{% for figure in section.figures %}
<figure>{{ svg(figure.svg) }}<figcaption>{{ figure.caption }}</figcaption></figure>
{% endfor %}
</section>
{% endfor %}
<section>
<h2>Where this comes from</h2>
<p>Numbers are <b class="measured">measured</b> (from real answers), <b class="fitted">fitted</b> (out of a model
estimated from data) or <b class="assumed">assumed</b> (they rest on a declared knob).</p>
<dl>{% for name, value in report.provenance.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
{% if report.timings %}<h2>Wall times</h2>
<dl>{% for name, value in report.timings.items() %}<dt>{{ name }}</dt><dd>{{ "%.1f"|format(value) }} s</dd>
{% endfor %}</dl>{% endif %}
</section>
</main>
</body>
</html>
"""


@cache
def _template() -> Template:
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(_PAGE)


def render(report: Report) -> str:
    """Return the page. Figures go in as they are: `Figure` has refused active ones.

    A verdict that begins with GREEN, AMBER or RED and a colon gets a light of that colour before its words.
    """
    word = report.verdict.partition(":")[0]
    light = word.lower() if word in ("GREEN", "AMBER", "RED") else None
    return _template().render(report=report, light=light, svg=Markup)
