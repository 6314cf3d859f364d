"""The table as a report: a verdict, one section per arm, what was unlike the paper. Words and numbers only."""

from __future__ import annotations

from collections.abc import Sequence

from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Column, Report, Row, Section
from simenv.study.table1 import CONSTANT, MF, Line, Table1, gaps_of, label
from simenv.study.table1_score import Scored

_ARM = {
    "own": "Own rows: everything is built from the past of the simulated users alone",
    "world": "World: other users' rows of any time are known, too",
}
_PERCENT = (("URR", "urr"), ("URR, lenient", "urr_lenient"), ("off scale", "off_scale"))
_PLAIN = (
    ("RMSE written", "rmse_written"), ("MAE written", "mae_written"), ("RMSE worst", "rmse_worst"),
    ("MAE worst", "mae_worst"), ("RMSE read", "rmse_read"), ("MAE read", "mae_read"),
)  # fmt: skip
_GAP = (("written - constant", "written_minus_constant"), ("read - MF", "read_minus_mf"))

COLUMNS = (
    Column("line", note="base and printed rows of Thakur et al. 2025 with its adapter and memories; or a yardstick"),
    Column("adapter", note="all adapters start from the bare base and see their rows equally often"),
    Column("memories", note="Ms: the profile; Ml: the past item nearest by text, with a reason"),
    Column("RMSE written", "measured", better="low", note="of the written answers that are an option, as in the paper"),
    Column("MAE written", "measured", better="low", note="of the same"),
    Column("URR", "measured", "%", better="low", form=".2f",
           note="share of unrelated answers: the first word is not exactly one of the options"),
    Column("RMSE worst", "measured", better="low",
           note="of all answers, an unrelated one counted as the end of the scale farther from the truth"),
    Column("MAE worst", "measured", better="low", note="of the same"),
    Column("URR, lenient", "measured", "%", better="low", form=".2f",
           note="unrelated even if read with good will: '4.', '4/5' and 'Rating: 4' count as 4"),
    Column("RMSE read", "measured", better="low", note="of the expectation of the options' probabilities"),
    Column("MAE read", "measured", better="low", note="of their median"),
    Column("off scale", "measured", "%", form=".2f", better="low", note="probability of everything that is no option"),
    Column("written - constant", "measured", better="low", form="+.3f",
           note="RMSE worst minus that of always the same, most usual rating; paired over users"),
    Column("read - MF", "measured", better="low", form="+.3f",
           note="RMSE read minus that of the tuned matrix factorisation; paired over users"),
    Column("paper", note="as printed: base, RMSE / MAE / URR on 200 users of MovieLens-1M, without intervals"),
)  # fmt: skip

_GAPS = (
    Column("difference"),
    Column("rows", note="printed rows, first minus second: below zero the first is better"),
    Column("base"),
    Column("RMSE worst", "measured", form="+.3f", note="written answers, unrelated ones counted as the worst"),
    Column("RMSE read", "measured", form="+.3f"),
    Column("paper", note="the same difference of printed RMSE, without an interval"),
)
_PAIRED = "Differences on the same pairs, 95 % intervals from the same resampled users, not corrected for their number."
_READING = (
    "Written: greedily, {tokens}; a yardstick writes its most probable rating. Intervals (95 %) resample users; all "
    "lines meet the same ones. {embedded}Personas: {personas}. {users} users, {pairs} held-out pairs, {known} known "
    "rows, of these {own} of the users themselves; {split}."
)
_EMBEDDED = (
    'The embedded base knows no words but those of these prompts: its "no adapter" was pre-trained on prompts with '
    "ratings of {whom}, where a downloaded model was trained on neither. "
)


def report(tables: Sequence[Table1]) -> Report:
    """Return the report of the arms measured, with what they are not."""
    arms = ", ".join(t.arm for t in tables)
    about = {"data": str(tables[0].about["dataset"]), "arms": arms, "seed": str(tables[0].seed)}
    title = "Ratings of simulated users: the paper's table and its yardsticks"
    parts = [part for t in tables for part in (section(t), paired(t)) if part.rows]
    return Report(title, " ".join(_verdict(t) for t in tables), (*parts, _differences()), about)


def section(table: Table1) -> Section:
    """Return one arm as a table."""
    scored = table.scored()
    rows = [_row(line, scored) for line in (*table.lines, *table.yardsticks)]
    return Section(_ARM[table.arm], _text(table), COLUMNS, tuple(rows))


def paired(table: Table1) -> Section:
    """Return what the paper reads off its table, with intervals."""
    rows: list[Row] = [
        {"difference": c.question, "rows": f"{c.first} - {c.second}", "base": base, "RMSE worst": written,
         "RMSE read": read, "paper": c.printed}
        for base, found in table.contrasts().items() for c, written, read in found
    ]  # fmt: skip
    return Section(f"{_ARM[table.arm].split(':')[0]}: what the paper reads off its table", _PAIRED, _GAPS, tuple(rows))


def _text(table: Table1) -> str:
    a, tokens = table.about, sorted({x.tokens for x in table.lines})
    whom = "other users" if table.arm == "world" else "the users' own past"
    embedded = _EMBEDDED.format(whom=whom) if any(x.base == "embedded" for x in table.lines) else ""
    said = " or ".join(f"{n} token{'s' if n > 1 else ''}" for n in tokens)
    quoted = [
        f"{label(x)}: " + ", ".join(f"{t!r} {n} times" for t, n in x.unrelated) for x in table.lines if x.unrelated
    ]
    strays = f" The commonest unrelated answers: {'; '.join(quoted)}." if quoted else ""
    told = _READING.format(
        tokens=said, embedded=embedded, personas=a["personas"], users=a["users"], pairs=a["pairs"],
        known=a["known_rows"], own=a["known_rows_of_the_users"], split=a["split"],
    )  # fmt: skip
    return told + strays


def _row(line: Line, scored: dict[str, Scored]) -> Row:
    own = scored[label(line)]
    told = {"line": label(line), "adapter": line.adapter, "memories": line.memories}
    if line.adapter not in ("", "none"):
        told["adapter"] += f" ({line.rows} rows)" if str(line.rows) not in line.adapter else ""
    numbers = {name: own.value(measure) for name, measure in _PLAIN}
    numbers |= {name: _percent(own.value(measure)) for name, measure in _PERCENT}
    gaps = gaps_of(own, scored)
    return {**told, **numbers, **{name: gaps[key] for name, key in _GAP}, "paper": line.printed}


def _percent(share: Interval | None) -> Interval | None:
    return None if share is None else Interval(100 * share.mean, 100 * share.low, 100 * share.high, share.level)


def _verdict(table: Table1) -> str:
    """Return the arm in one sentence: the best line by its probabilities against MF, and the constant."""
    scored = table.scored()
    value = {label(x): _sure(scored[label(x)].value("rmse_read")) for x in table.lines}
    gaps = {name: gaps_of(scored[name], scored) for name in value}
    best = min(value, key=lambda name: value[name].mean)
    beat = [name for name, g in gaps.items() if _sure(g["written_minus_constant"]).high < 0]
    gap = _sure(gaps[best]["read_minus_mf"])
    said = "above" if gap.low > 0 else "below" if gap.high < 0 else "not shown to differ from"
    return (
        f"Arm {table.arm}: the lowest RMSE read is {value[best]:.3f} ({best}), {said} tuned matrix factorisation "
        f"({scored[MF].value('rmse_read'):.3f}); {len(beat)} of {len(gaps)} lines write better than always the same "
        f"rating ({scored[CONSTANT].value('rmse_worst'):.3f})."
    )


def _sure(interval: Interval | None) -> Interval:
    assert interval is not None  # measures of all pairs are always defined
    return interval


def _differences() -> Section:
    return Section(
        "What is unlike the paper",
        "Profiles and memories come from counting, not from GPT-4o; texts are embedded by the embedder named, not by "
        "ada-002. The historical average and the traits rest on known rows only; the paper's seem to count the test "
        "rows in. A training row's own rating stands neither in its profile nor in its memories. Nothing is dropped "
        "for its length. Adapters are taught the answer's token and not its end, so their answers are one token long. "
        "The embedded base is pre-trained as simenv always does, pulled towards the expectation of the collaborative "
        "prior on the same rows; adapters learn from ratings alone. Learning rate, epochs and target modules are not "
        "in the paper: see Table1Settings.",
    )
