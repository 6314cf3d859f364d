"""One record against others over the same users. Knows records by their flat columns, never how they were played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.evaluation.figure import dots
from simenv.evaluation.report import Column, Report, Row, Section
from simenv.evaluation.statistics import RESAMPLES, bootstrap_mean, paired_bootstrap
from simenv.evaluation.verdict import League, sentence

if TYPE_CHECKING:
    from simenv.record import Record

_METRIC = (
    Column("expected utility", "fitted", "expected rating per shown place", "high", "Mean of the rating distribution."),
    Column("pages", "assumed", "pages per visit", "high", "Rests on the exit model."),
    Column("mean given rating", "fitted", "rating", "high", "Only over items the users chose to rate."),
)
Values = Mapping[str, Mapping[str, NDArray[np.float64]]]


def compare_records(records: Sequence[Record]) -> Report:
    """Return the report of records[0] against the others, paired by user.

    Raises:
        ConfigError: the records are of other users, items or scales, or one of them is empty.

    """
    names = _names(records)
    user = _common_users(records, names)
    values = {name: _per_user(record, user) for name, record in zip(names, records, strict=True)}
    utility = {name: value["expected utility"] for name, value in values.items()}
    if len(user) < 2:
        raise ConfigError("a report needs at least two users: with one there is no spread to judge differences by.")
    league = League.of(utility, resamples=RESAMPLES, seed=0)
    verdict = sentence(league, unit="expected rating per shown place", alpha=0.05)
    sections = [_table(values, [names[n] for n in league.order])]
    if len(names) > 1:
        sections.append(_against(values, names))
    provenance = {
        "users": str(len(user)),
        "seeds": ", ".join(f"{n}: {r.seed}" for n, r in zip(names, records, strict=True)),
    }
    meta = {f"{n}, {k}": v for n, r in zip(names, records, strict=True) for k, v in r.meta.items()}
    return Report(
        f"{names[0]} against {len(names) - 1} others" if len(names) > 1 else names[0],
        verdict,
        tuple(sections),
        provenance | meta,
    )


def _names(records: Sequence[Record]) -> list[str]:
    """Return the policies' names, numbered where two records carry the same one."""
    out: list[str] = []
    for record in records:
        seen = [n for n in out if n == record.policy or n.startswith(record.policy + " #")]
        out.append(record.policy if not seen else f"{record.policy} #{len(seen) + 1}")
    return out


def _common_users(records: Sequence[Record], names: Sequence[str]) -> NDArray[np.int64]:
    first = records[0]
    user = np.unique(first.shown().user)
    for record, name in zip(records, names, strict=True):
        if not record.pages:
            raise ConfigError(f"the record of {name} is empty; play some pages first.")
        same = (
            record.users.fingerprint == first.users.fingerprint
            and record.items.fingerprint == first.items.fingerprint
            and record.scale.values == first.scale.values
        )
        if not same:
            raise ConfigError(
                f"{names[0]} and {name} were played on other users, items or scales; compare like with like."
            )
        other = np.unique(record.shown().user)
        if not np.array_equal(user, other):
            raise ConfigError(
                f"{names[0]} was played with {len(user)} users and {name} with {len(other)}, "
                f"{len(np.intersect1d(user, other))} of them in both; play both with the same users to pair them."
            )
    return user


def _per_user(record: Record, user: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return each number [M] per user of `user` (ascending), averaged over the user's visits."""
    shown = record.shown()
    row = np.searchsorted(user, shown.user)
    visit = (shown.mean(shown.expected), shown.pages.astype(np.float64), shown.mean(shown.rating))
    return {c.name: _average(row, v, len(user)) for c, v in zip(_METRIC, visit, strict=True)}


def _average(row: NDArray[np.int64], value: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    good = ~np.isnan(value)
    count = np.bincount(row[good], minlength=size)
    total = np.bincount(row[good], weights=value[good], minlength=size)
    return np.asarray(np.where(count > 0, total, np.nan) / np.maximum(count, 1), np.float64)


def _table(values: Values, order: Sequence[str]) -> Section:
    rows: list[Row] = []
    for name in order:
        known = {k: v[np.isfinite(v)] for k, v in values[name].items()}
        rows.append({"policy": name} | {k: bootstrap_mean(v) if len(v) > 1 else None for k, v in known.items()})
    picture = {
        n: bootstrap_mean(v[np.isfinite(v)]) for n in order if np.isfinite(v := values[n]["expected utility"]).sum() > 1
    }
    text = "Means over users with 95% bootstrap intervals over users."
    figure = dots("Expected rating per shown place", picture, "expected rating per shown place")
    return Section("Each policy", text, (Column("policy"), *_METRIC), tuple(rows), (figure,))


def _against(values: Values, names: Sequence[str]) -> Section:
    rows: list[Row] = []
    for other in names[1:]:
        row: dict[str, object] = {"against": other}
        for column in _METRIC:
            a, b = values[names[0]][column.name], values[other][column.name]
            both = np.isfinite(a) & np.isfinite(b)
            row[column.name] = paired_bootstrap(a[both], b[both]).difference if both.sum() > 1 else None
        rows.append(row)  # type: ignore[arg-type]
    columns = tuple(Column(c.name, c.tag, c.unit, c.better, form="+.3f") for c in _METRIC)
    text = f"{names[0]} minus the other, user by user; users without a number on both sides are left out."
    return Section(f"{names[0]} against the others", text, (Column("against"), *columns), tuple(rows))
