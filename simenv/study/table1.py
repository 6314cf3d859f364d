"""The source paper's table of ratings, for any base model, beside the yardsticks it left out.

Thakur, Agrawal, Mukund 2025 (arXiv 2509.09689), rows 0 to 10: no adapter, one LoRA on about 2,100 and 5,200 rows, one
LoRA per persona, by what the prompt shows (Ms, Ms+Ml, Ml). Every line is measured twice on the same held-out pairs: by
what the model writes, with the paper's rule, and by the probabilities of the options. A finished line is one file,
named by a hash of all it depends on; bases and adapters are kept beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from simenv.datasets.dataset import Dataset
from simenv.errors import ConfigError
from simenv.evaluation.interval import Interval
from simenv.evaluation.yardstick import Constant, fit_with_distribution, standard
from simenv.study.table1_cohort import Cohort
from simenv.study.table1_contrast import Contrast, contrasts
from simenv.study.table1_models import Said, Show, ask, base_of, plan, read_json, shown, tune, write_json
from simenv.study.table1_rule import strict
from simenv.study.table1_score import MEASURES, Scored, Totals
from simenv.study.table1_settings import Arm, Arrangement, Table1Settings, arrangements
from simenv.training.resume import digest

__all__ = ["Line", "Table1", "Table1Settings", "table1"]

Progress = Callable[[int, int, str], None]
"""(done, total, what is at work) over the lines of the table."""
CONSTANT, MF = "constant", "biased MF"
"""The yardsticks that differences are taken from, as `standard` calls them."""
_SHOWN = 5
"""Unrelated answers quoted, the commonest first."""


@final
@dataclass(frozen=True, eq=False)
class Line:
    """One line: an arrangement of a base, or a yardstick."""

    name: str
    """The printed rows it stands for, or the yardstick."""
    total: Totals
    base: str = ""
    adapter: str = ""
    memories: str = ""
    number: tuple[int, ...] = ()
    """Printed rows; (): a yardstick."""
    printed: str = ""
    """What the paper prints for these rows: other data, other bases; not measured here."""
    rows: int = 0
    """Training rows the adapters saw."""
    tokens: int = 0
    """Tokens an answer could have."""
    unrelated: tuple[tuple[str, int], ...] = ()
    """The commonest answers that were no option, and how often."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        rest = {k: v for k, v in vars(self).items() if k != "total"}
        return {**rest, "total": self.total.to_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Line:
        """Return what `to_json` wrote."""
        unrelated = tuple((str(text), int(n)) for text, n in content["unrelated"])
        kept = {"total": Totals.from_json(content["total"]), "unrelated": unrelated, "number": tuple(content["number"])}
        return cls(**{**content, **kept})


@final
@dataclass(frozen=True, eq=False)
class Table1:
    """One arm of the table."""

    arm: Arm
    lines: tuple[Line, ...]
    """Bases in the order given, arrangements in the paper's."""
    yardsticks: tuple[Line, ...]
    """Fitted on the same known rows, in the same run."""
    about: Mapping[str, Any]
    """Users, known rows, pairs, how the log was cut, how personas came about."""
    seed: int

    def scored(self) -> dict[str, Scored]:
        """Return all lines with resampled users, by `label`; differences between them are paired."""
        return {label(x): Scored.of(x.total, seed=self.seed) for x in (*self.lines, *self.yardsticks)}

    def contrasts(self) -> dict[str, list[tuple[Contrast, Interval | None, Interval | None]]]:
        """Return, per base, what the paper reads off its table, as far as the rows are there: (what, written, read)."""
        scored, rows = self.scored(), dict[str, dict[int, Scored]]()
        for line in self.lines:
            rows.setdefault(line.base, {}).update({n: scored[label(line)] for n in line.number})
        return {base: contrasts(own) for base, own in rows.items()}

    def to_json(self) -> dict[str, Any]:
        """Return every measure of every line with its interval over users; None: not defined."""
        scored, out = self.scored(), {}
        for line in (*self.lines, *self.yardsticks):
            own = scored[label(line)]
            values = {m: _plain(own.value(m)) for m in MEASURES}
            told = {k: v for k, v in line.to_json().items() if k != "total"}
            difference = {k: _plain(v) for k, v in gaps_of(own, scored).items()}
            out[label(line)] = {**told, "value": values, "difference": difference}
        gaps = {
            base: [{**vars(c), "written": _plain(written), "read": _plain(read)} for c, written, read in found]
            for base, found in self.contrasts().items()
        }
        return {"arm": self.arm, "about": dict(self.about), "lines": out, "contrasts": gaps}


def label(line: Line) -> str:
    """Return a line's name, the base before it."""
    return f"{line.base}, {line.name}" if line.base else line.name


def gaps_of(own: Scored, scored: Mapping[str, Scored]) -> dict[str, Interval | None]:
    """Return both paired differences of RMSE: written against always the same rating, read against factorisation."""
    return {
        "written_minus_constant": own.minus("rmse_worst", scored[CONSTANT], "rmse_worst"),
        "read_minus_mf": own.minus("rmse_read", scored[MF], "rmse_read"),
    }


def _plain(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {k: getattr(interval, k) for k in ("mean", "low", "high")}


def table1(
    dataset: Dataset,
    bases: Sequence[str | None],
    settings: Table1Settings | None = None,
    *,
    arm: Arm = "world",
    folder: str | Path,
    rows: tuple[int, ...] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Table1:
    """Measure the table's rows for every base and return them; what is finished in `folder` is not done again.

    bases: Hugging Face names or folders; None: the embedded model. That one has no knowledge of words from elsewhere:
        "no adapter" means that it was pre-trained on prompts and ratings of other users (arm "world") or of the users'
        own past (arm "own"), where a downloaded model was trained on neither.
    rows: printed rows wanted, 0 to 10; None: all.
    progress: called before each line and each training step.

    Raises:
        ConfigError: no base, one twice, a row that is not there, a base that cannot be loaded, or more personas than
            fit the users.
        DataError: too few users are eligible, or no times to cut by.

    """
    settings, folder = settings or Table1Settings(), Path(folder)
    names = [shown(b) for b in bases]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"the table needs at least one base, each once and under a name of its own; got {names}.")
    wanted = [(b, how) for b in bases for how in arrangements(settings, rows)]
    cohort = Cohort.of(dataset, settings, arm, seed)
    grouped = any(how.adapter == "persona" for _, how in wanted)
    about = cohort.about() | {"personas": cohort.personas[1] if grouped else "none asked", "dataset": dataset.name}
    folder.mkdir(parents=True, exist_ok=True)
    told = progress or (lambda done, total, words: None)
    told(0, len(wanted), f"{arm} arm: yardsticks")
    yardsticks = _yardsticks(cohort, folder)
    lines = []
    for n, (base, how) in enumerate(wanted):
        words = f"{arm} arm, {shown(base)}, {how.name}"
        told(n, len(wanted), words)
        lines.append(_line(cohort, base, how, folder, _show(told, n, len(wanted), words)))
    told(len(wanted), len(wanted), f"{arm} arm: done")
    return Table1(arm, tuple(lines), yardsticks, about, seed)


def _show(told: Progress, done: int, total: int, words: str) -> Show:
    return lambda name: lambda step, steps, loss: told(done, total, f"{words}: {name} {step}/{steps}, loss {loss:.3f}")


def _line(cohort: Cohort, name: str | None, how: Arrangement, folder: Path, show: Show) -> Line:
    base = base_of(cohort, name, folder, show)
    planned = plan(cohort, base, how, folder)
    tokens = cohort.settings.tokens_of(name, how.adapter)
    path = folder / f"row-{digest(repr((cohort.asked, base.key, planned.key, how.memories, tokens)))}.json"
    kept = read_json(path)
    if kept is None:
        rows = tune(cohort, base, how, planned, show)
        said = ask(cohort, base, how, planned)
        total = Totals.of(cohort.truth, said.text, said.p, said.off_scale)
        kept = Line("", total, rows=rows, tokens=tokens, unrelated=_unrelated(cohort, said)).to_json()
        write_json(path, kept)
    known: dict[str, Any] = {
        "number": how.number,
        "base": base.name,
        "adapter": how.words,
        "memories": how.memories,
        "printed": how.printed,
    }
    return Line.from_json({**kept, "name": how.name, **known})


def _unrelated(cohort: Cohort, said: Said) -> tuple[tuple[str, int], ...]:
    stray = np.isnan(strict(said.text, cohort.future.scale))
    found = Counter(text for text, odd in zip(said.text, stray, strict=True) if odd)
    return tuple(sorted(found.items(), key=lambda x: (-x[1], x[0]))[:_SHOWN])


def _yardsticks(cohort: Cohort, folder: Path) -> tuple[Line, ...]:
    """Return the usual yardsticks. Each "writes" its most probable rating, as greedy writing does."""
    path = folder / f"yardsticks-{digest(repr((cohort.asked, sorted(standard()))))}.json"
    kept = read_json(path)
    if kept is None:
        kept = {name: Line(name, _measured(cohort, name)).to_json() for name in standard()}
        write_json(path, kept)
    return tuple(Line.from_json(x) for x in kept.values())


def _measured(cohort: Cohort, name: str) -> Totals:
    known, future, yardstick = cohort.ground.log, cohort.future, standard()[name]
    if isinstance(yardstick, Constant) and yardstick.rule == "mode":
        point = yardstick.fit(known)(future.user, future.item)
        p = np.eye(len(future.scale))[future.scale.encode(point)]
    else:
        fitted = fit_with_distribution(yardstick, known, seed=cohort.seed)
        point = fitted.predict(future.user, future.item)
        p = fitted.to_distribution(point)
    text = [future.scale.symbols[place] for place in p.argmax(axis=1)]
    return Totals.of(cohort.truth, text, p, np.zeros(len(p)), point)
