"""The findings of a benchmark as a report: which tables, which columns, which pictures, what kind of number each is."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from simenv.evaluation import figure
from simenv.evaluation.findings import HEADLINE, Findings
from simenv.evaluation.report import Cell, Column, Figure, Report, Row, Section, Tag
from simenv.evaluation.verdict import sentence

if TYPE_CHECKING:
    from simenv.evaluation.arms import Arms

_UNIT = "expected rating per shown place"
_WHO = Column("recommender")


def report(found: Findings, arms: Arms, assumption: Mapping[str, str], provenance: Mapping[str, str]) -> Report:
    """Return the report of a finished benchmark."""
    sections = [_league(found, assumption), _truth(found), _pairs(found), _shown(found), _sessions(found, assumption)]
    sections += [_sweep(found), _shared(found), _uncertainty(found)]
    return Report(
        f"{len(found.names)} recommenders before {len(arms.user)} simulated users",
        verdict(found),
        tuple(s for s in sections if s is not None),
        dict(provenance),
        {arm: seconds for arm, seconds in sorted(arms.seconds.items())},
    )


def verdict(found: Findings) -> str:
    """Return the sentence that stands first."""
    s = found.settings
    share = {n: found.mean(n, "unsupported") for n in found.names}
    words = sentence(found.headline, unit=_UNIT, alpha=found.alpha, unsupported=share, limit=s.support_limit)
    empty = {n: 1 - found.mean(n, "filled") for n in found.names}
    short = [f"{n} ({v:.0%})" for n, v in empty.items() if v > 0.005]
    return words + (f" Places left empty, which do not count: {', '.join(short)}." if short else "")


def provenance(arms: Arms, assumption: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return all that is needed to repeat the numbers."""
    s = arms.settings
    names = {"simenv": "simenv-personas", "numpy": "numpy", "scipy": "scipy", "pandas": "pandas"}
    packages = [f"{n} {version(p)}" for n, p in names.items()]
    return {
        **extra,
        "users": str(len(arms.user)),
        "seeds": ", ".join(map(str, s.seeds)),
        "settings": ", ".join(f"{k}={v}" for k, v in s.to_dict().items()),
        **{f"recommender, {r.name}": arms.described[r.name] for r in arms.recommenders},
        **arms.data,
        "populations": ", ".join(arms.populations),
        **{f"users' behaviour, {k}": v for k, v in assumption.items()},
        "versions": ", ".join([f"python {platform.python_version()}", *packages]),
    }


def behaviour_tag(assumption: Mapping[str, str], part: str) -> Tag:
    """Return "fitted" if every parameter of a behaviour ("exit", "choice") is, else "assumed"."""
    found = [v for k, v in assumption.items() if k.startswith(part)]
    return "fitted" if found and all(v.startswith("fitted") for v in found) else "assumed"


def _rows(found: Findings, columns: Iterable[Column]) -> tuple[Row, ...]:
    wanted = [c for c in columns if c.tag is not None]
    rows: list[Row] = []
    for n in found.headline.order:
        name = found.names[n]
        spread = found.spread(name)
        row: dict[str, Cell] = {"recommender": name}
        for column in wanted:
            row[column.name] = spread[column.name] if column.name in spread else found.interval(name, column.name)
        rows.append(row)
    return tuple(rows)


def _known(found: Findings, columns: Iterable[Column]) -> tuple[Column, ...]:
    return tuple(c for c in columns if c.tag is None or c.name in ("coverage", "gini") or found.has(c.name))


def _league(found: Findings, assumption: Mapping[str, str]) -> Section:
    s, out = found.settings, behaviour_tag(assumption, "exit")
    columns = _known(
        found,
        (
            _WHO,
            Column(HEADLINE, "fitted", _UNIT, "high", f"Mean of the users' rating distributions over {s.pages} pages "
                   f"of {s.slate_size} places that everyone sees to the end; the same luck for every recommender."),
            Column("true utility", "measured", _UNIT, "high", "The same under the true users of a synthetic world."),
            Column("pages", out, "pages per visit", "high", f"Users may leave; capped at {s.session_pages} pages."),
            Column("satisfaction", "assumed", "expected rating", "high", "Mean over what was consumed in it."),
            Column("ndcg", "measured", f"@{s.ndcg_places}", "high", "Held-out ratings, whole catalogue ranked."),
            Column("true rating", "measured", "rating", "high", f"Mean held-out rating of the {s.rated_places} ranked "
                   "first among those the user rated; users with more than that many."),
        ),
    )  # fmt: skip
    text = f"Means over users with {s.level:.0%} bootstrap intervals over users, best headline first."
    order = [found.names[n] for n in found.headline.order]
    pictures = [figure.dots(f"Headline: {_UNIT}", {n: found.interval(n, HEADLINE) for n in order}, _UNIT)]
    if found.has("true utility"):
        true = {n: found.interval(n, "true utility") for n in order}
        pictures.append(figure.dots(f"True world: {_UNIT}", true, _UNIT))
    return Section("The league", text, columns, _rows(found, columns), tuple(pictures))


def _truth(found: Findings) -> Section | None:
    if not found.has("true utility"):
        return None
    columns = (
        Column("judge"),
        Column("truly different pairs", "measured", "pairs", None, "Significant under the true users, after Holm."),
        Column("ordered right", "measured", "pairs", "high", "By the judge's means."),
        Column("sure and wrong", "measured", "pairs", "low", "Wrong way round and significant for the judge."),
        Column("Kendall tau", "measured", "tau-b", "high", "Between the judge's means and the true ones."),
    )
    said = found.agreement()
    rows = tuple(dict(zip([c.name for c in columns], vars(a).values(), strict=True)) for a in said)
    first = said[0]
    text = f"The simulator ordered {first.right} of {first.pairs} truly different pairs right" + "".join(
        f", {a.judge} {a.right}" for a in said[1:]
    )
    return Section("Was the simulator right?", text + ".", columns, rows)


def _pairs(found: Findings) -> Section | None:
    if not found.headline.pairs:
        return None
    columns = (
        Column("first"),
        Column("second"),
        Column("difference", "fitted", _UNIT, None, "First minus second, paired by user.", "+.3f"),
        Column("p", "fitted", "", None, "Two-sided, bootstrap over users."),
        Column("p, Holm", "fitted", "", None, "Corrected over all pairs."),
        Column("significant"),
    )
    rows: list[Row] = []
    for p in found.headline.pairs:
        names = found.names[p.first], found.names[p.second]
        sure = "yes" if p.significant(found.alpha) else "no"
        rows.append(dict(zip([c.name for c in columns], (*names, p.difference, p.p, p.p_holm, sure), strict=True)))
    return Section("Every pair", "Differences of the headline.", columns, tuple(rows))


def _shown(found: Findings) -> Section:
    s = found.settings
    columns = _known(
        found,
        (
            _WHO,
            Column("consumed", "assumed", "share of places", None, "Rests on the choice model."),
            Column("given rating", "fitted", "rating", None, "Only over what was consumed and rated."),
            Column("coverage", "measured", "share of items", "high", "Shown to at least one user."),
            Column("gini", "measured", "0..1", "low", "Of exposure over items: 0 all alike."),
            Column("novelty", "measured", "bits", None, "-log2 of the share of users that rated the item."),
            Column("diversity", "measured", "0..1", "high", "Mean 1 - Jaccard of genres within a page."),
            Column("popularity bias", "measured", "percentile", None, "Of shown items minus the user's own.", "+.3f"),
            Column("unsupported", "measured", "share of places", "low",
                   f"Items of which the users' model saw fewer than {s.support_threshold:g} ratings."),
            Column("filled", "measured", "share of places", "high", "Places not left empty."),
        ),
    )  # fmt: skip
    return Section("What they show", f"Over the {s.pages} fixed pages.", columns, _rows(found, columns))


def _sessions(found: Findings, assumption: Mapping[str, str]) -> Section:
    tag: Tag = behaviour_tag(assumption, "exit")
    columns = _known(
        found,
        (
            _WHO,
            Column("pages", tag, "pages per visit", "high"),
            Column("true pages", "measured", "pages per visit", "high", "Under the true users of a synthetic world."),
        ),
    )
    last, order = found.settings.session_pages, [found.names[n] for n in found.headline.order]
    curve: Figure = figure.survival("Visits still going on", {n: found.per_user[n]["pages"] for n in order}, last)
    text = "Users leave when they have had enough. What makes them leave:"
    known = (
        ", ".join(f"{k} {v}" for k, v in assumption.items() if k.startswith("exit")) or "the population does not say"
    )
    return Section("Visits that users may leave", f"{text} {known}.", columns, _rows(found, columns), (curve,))


def _sweep(found: Findings) -> Section | None:
    title = "Does the order of pages rest on the exit's satisfaction slope?"
    if not found.settings.sweep:
        return None
    if not found.sweep:
        return Section(title, "Not swept: this population has no with_exit_slope(factor).")
    top, pairs, whole = found.order_kept()
    order = [found.names[n] for n in found.headline.order]
    kind: Literal["assumed"] = "assumed"
    columns = (Column("slope x"), *[Column(n, kind, "pages per visit", "high") for n in order])
    rows = tuple({"slope x": f"{f:g}"} | {n: v[n] for n in order} for f, v in found.sweep.items())
    text = (
        f"Compared with factor 1, at the first seed: {pairs:.0%} of the pairs keep their order over the other factors; "
        f"the first by pages stays first at {top:.0%} of them; the whole order holds at {whole:.0%}."
    )
    return Section(title, text, columns, rows)


def _shared(found: Findings) -> Section | None:
    if not found.has("shared utility"):
        return None
    columns = (
        _WHO,
        Column("own utility", "fitted", _UNIT, "high", "Learned from the contestants' rows only."),
        Column("shared utility", "fitted", _UNIT, "high", "Learned from the judge's rows too."),
        Column("difference", "fitted", _UNIT, None, "Shared minus disjoint, paired by user.", "+.3f"),
    )
    rows: list[Row] = []
    for n in found.headline.order:
        name = found.names[n]
        own, shared, gain = found.shared(name)
        rows.append({"recommender": name, "own utility": own, "shared utility": shared, "difference": gain})
    own_order = found.league("own utility").order
    same = found.league("shared utility").order == own_order
    text = (
        "What contestants gain when they learn from the very rows the simulated users were made of. Both sides pass "
        "over all items rated in any of these rows, so both differ from the headline. The order "
        + ("stays the same." if same else "changes: judge by the first column.")
    )
    return Section("Shared rows", text, columns, tuple(rows))


def _uncertainty(found: Findings) -> Section:
    columns = (
        Column("number"),
        Column("estimate", "fitted", _UNIT, None, "Student interval from all sources together."),
        Column("users", "fitted", "standard error", "low", "What only more users would lower."),
        Column("refits", "fitted", "standard error", "low", "What only more refits of the population would lower."),
        Column("draws", "fitted", "standard error", "low", "What more seeds would lower: luck of visits and of fits."),
    )
    order = [found.names[n] for n in found.headline.order]
    parts = {n: found.uncertainty(n) for n in order}
    if len(order) > 1:
        parts[f"{order[0]} - {order[1]}"] = found.uncertainty(order[0], order[1])
    rows = tuple(
        {"number": n, "estimate": u.total, "users": u.users, "refits": u.refits, "draws": u.draws}
        for n, u in parts.items()
    )
    s = found.settings
    text = f"From {s.refits} population(s), {len(s.seeds)} seed(s) and the users; a dash: one level only, so not known."
    return Section("Where the uncertainty comes from", text, columns, rows)
