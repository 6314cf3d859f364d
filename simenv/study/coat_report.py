"""What the Coat study found over its splits: a summary, a table, a picture and a sentence. Knows numbers and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.figure import dots
from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Column, Figure, Section

Floats = NDArray[np.float64]
Split = Mapping[str, Any]
Result = Mapping[str, Any]
OURS = "simenv"
_LEVEL = 0.95
_NUMBERS = ("regret", "error_mean", "error_max", "spread", "tau", "tau_of_ceiling")


def summary(split: Sequence[Split], name: str) -> dict[str, Any]:
    """Return what all splits say together, as JSON-able values.

    Every "share" has two intervals: "splits" (Student) and "users" (bootstrap, the same users in all splits).

    Raises:
        DataError: in some split no pair truly differs.

    """
    if not all(s["pairs"] for s in split):
        raise DataError(
            f"{name}: in some split no pair of recommenders truly differs, so there is nothing to order; take more "
            "users, or recommenders further apart."
        )
    names = list(dict.fromkeys(n for s in split for n in s["judge"]))
    judge = {n: _evaluator(split, n) for n in names}
    plain = [n for n in names if judge[n]["kind"] != "simulator" and judge[n]["splits"] == len(split)]
    best = max(plain, key=lambda n: judge[n]["share"]["mean"])
    return {
        "data": name,
        "splits": len(split),
        "users": split[0]["users"],
        "candidates": split[0]["candidates"],
        "contestants": list(split[0]["true"]),
        "true": {n: float(np.mean([s["true"][n] for s in split])) for n in split[0]["true"]},
        "pairs": _range([s["pairs"] for s in split]),
        "shared_pairs": _range([s["shared_pairs"] for s in split]),
        "ceiling": float(np.mean([s["ceiling"] for s in split])),
        "effective_rows": float(np.mean([s["effective_rows"] for s in split])),
        "evaluator": judge,
        "best_without_simulator": best,
        "primary": _difference(split, OURS, best),
        "difference": {n: _difference(split, OURS, n) for n in names if n != OURS},
    }


def verdict(result: Result) -> str:
    """Return the primary endpoint in one sentence."""
    best, found = result["best_without_simulator"], result["primary"]
    low = min(found["splits"]["low"], found["users"]["low"])
    high = max(found["splits"]["high"], found["users"]["high"])
    said = "ahead of" if low > 0 else "behind" if high < 0 else "not shown to differ from"
    ours, other = (result["evaluator"][n]["share"]["mean"] for n in (OURS, best))
    return (
        f"On {result['data']}, simulated users order {ours:.1%} of the truly different pairs of "
        f"{len(result['contestants'])} recommenders as ratings of randomly drawn items do; they are {said} the best "
        f"evaluator without a simulator ({best}, {other:.1%}): {found['mean']:+.3f} "
        f"({found['splits']['low']:+.3f}..{found['splits']['high']:+.3f} over splits, "
        f"{found['users']['low']:+.3f}..{found['users']['high']:+.3f} over users)."
    )


def table(result: Result) -> Section:
    """Return one row per evaluator, best first; the intervals of the first two columns count different things."""
    columns = (
        Column("evaluator"),
        Column("kind"),
        Column("splits", "measured", form="d"),
        Column(
            "pairs right",
            "measured",
            better="high",
            note="Share of truly different pairs; interval over users. "
            "Resampling adds the noise of users once more, so close to 1 the interval lies below its number.",
        ),
        Column("over splits", "measured", better="high", note="The same share; Student interval over splits."),
        Column("simenv minus this", "measured", form="+.3f", note="On the splits both have; interval over users."),
        Column("regret", "measured", "rating points", "low", "True best minus true value of the evaluator's first."),
        Column("value error", "measured", "rating points", "low", "Mean |judged - true| over recommenders."),
        Column("spread", "measured", note="Slope of judged on true values; 1: differences have their true size."),
        Column("tau / ceiling", "measured", better="high", note="Kendall's tau-b over what the truth itself repeats."),
        Column(
            "shared rows", "measured", form="+.3f", note="Change of the share when contestants learn from its rows."
        ),
    )
    order = sorted(result["evaluator"], key=lambda n: -result["evaluator"][n]["share"]["mean"])
    text = (
        f"{verdict(result)} {result['users']} users, {result['splits']} splits, {len(result['contestants'])} "
        f"recommenders, {result['pairs']['low']} to {result['pairs']['high']} of their pairs truly differ."
    )
    return Section(
        "Who orders recommenders rightly: " + result["data"], text, columns, tuple(_row(result, n) for n in order)
    )


def figure(result: Result) -> Figure:
    """Return a dot per evaluator, best first: share of pairs right, interval over users."""
    order = sorted(result["evaluator"], key=lambda n: -result["evaluator"][n]["share"]["mean"])
    drawn = {n: _interval(result["evaluator"][n]["share"], "users") for n in order}
    value = {n: one for n, one in drawn.items() if one is not None}
    return dots(f"Pairs of recommenders ordered right on {result['data']}", value, "share of truly different pairs")


def _row(result: Result, name: str) -> dict[str, Any]:
    one = result["evaluator"][name]
    gap = result["difference"].get(name)
    return {
        "evaluator": name,
        "kind": one["kind"],
        "splits": one["splits"],
        "pairs right": _interval(one["share"], "users"),
        "over splits": _interval(one["share"], "splits"),
        "simenv minus this": None if gap is None else _interval(gap, "users"),
        "regret": one["regret"],
        "value error": one["error_mean"],
        "spread": one["spread"],
        "tau / ceiling": one["tau_of_ceiling"],
        "shared rows": one["shared_minus_apart"],
    }


def _interval(number: Mapping[str, Any], over: str) -> Interval | None:
    """Return the number with one of its intervals; None: there is none over a single split."""
    low, high = number[over]["low"], number[over]["high"]
    return None if low is None else Interval(number["mean"], low, high, _LEVEL)


def _evaluator(split: Sequence[Split], name: str) -> dict[str, Any]:
    own = [s for s in split if name in s["judge"]]
    said = [s["judge"][name] for s in own]
    numbers = {n: _mean([d[n]["mean"] for d in said]) for n in _NUMBERS}
    both = [(s["shared"].get(name), s["judge"][name]["pairs_right"]["mean"]) for s in own]
    shared = [there - here for there, here in both if there is not None]
    return {
        "kind": said[0]["kind"],
        "splits": len(own),
        "share": _both([d["pairs_right"]["mean"] for d in said], [d["drawn"] for d in said]),
        **numbers,
        "shared_minus_apart": _mean(shared),
        "value": {n: float(np.mean([d["value"][n] for d in said])) for n in said[0]["value"]},
    }


def _difference(split: Sequence[Split], first: str, second: str) -> dict[str, Any]:
    """Return share of one evaluator minus that of another, over the splits that have both."""
    pair = [(s["judge"][first], s["judge"][second]) for s in split if first in s["judge"] and second in s["judge"]]
    gap = [a["pairs_right"]["mean"] - b["pairs_right"]["mean"] for a, b in pair]
    return _both(gap, [np.subtract(a["drawn"], b["drawn"]) for a, b in pair]) | {"each": gap}


def _both(value: Sequence[float], drawn: Sequence[Any]) -> dict[str, Any]:
    """Return mean and intervals of value [S] of splits, and of their resamples [S, B] of the same users."""
    from scipy.stats import t

    each, many = np.asarray(value, np.float64), np.mean(np.asarray(drawn, np.float64), axis=0)
    mean, size = float(each.mean()), len(each)
    splits: dict[str, float | None] = {"low": None, "high": None}
    if size > 1:
        half = float(t.ppf((1 + _LEVEL) / 2, size - 1) * each.std(ddof=1) / np.sqrt(size))
        splits = {"low": mean - half, "high": mean + half}
    low, high = np.quantile(many, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return {"mean": mean, "splits": splits, "users": {"low": float(low), "high": float(high)}}


def _mean(value: Sequence[float | None]) -> float | None:
    known = [v for v in value if v is not None]
    return float(np.mean(known)) if known else None


def _range(value: Sequence[int]) -> dict[str, float]:
    return {"low": min(value), "mean": float(np.mean(value)), "high": max(value)}
