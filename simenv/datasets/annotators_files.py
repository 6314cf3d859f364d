"""Published data sets with the label of each annotator: StudEmo, Learning With Disagreements, GoEmotions, Unhealthy.

Each function reads the files as their authors publish them. Knows their columns, nothing of models. Rows keep the
files' order, which in none of them is the order of judging: no times are made up.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simenv.datasets.annotators import Annotations, Label, Part, of_rows
from simenv.datasets.files import Member, members, text_of
from simenv.datasets.tables import Table, delimited
from simenv.errors import DataError
from simenv.index import RawId

Folder = str | os.PathLike[str]
FEELINGS = ("joy", "trust", "anticipation", "surprise", "fear", "sadness", "disgust", "anger")
"""The eight emotions of StudEmo, each with an intensity 0..3."""
UNHEALTHY = (
    *("antagonize", "condescending", "dismissive", "generalisation"),
    *("generalisation_unfair", "healthy", "hostile", "sarcastic"),
)
_TASKS = {"MD-Agreement": "offensive", "HS-Brexit": "hateful", "ConvAbuse": "abusive"}
_BEFORE_LABELS = "example_very_unclear"
"""The last column of GoEmotions that is no label."""


def load(source: Folder, *, task: str | None = None) -> Annotations | None:
    """Return the annotations at a path, told apart by file names and columns; None: none of the layouts known here.

    task: which of several data sets in the folder, such as "MD-Agreement"; None: the only one.

    Raises:
        DataError: nothing there, several tasks and none chosen, or something wrong in the files.

    """
    found = members(source)
    names = {m.name.removesuffix(".gz") for m in found}
    if {"annotation_data.csv", "text_data.csv"} <= names:
        return studemo(source)
    tasks = sorted({n.rpartition("_")[0] for n in names if re.search(r"_(train|dev|test)\.json$", n)})
    if tasks:
        if task is None and len(tasks) > 1:
            raise DataError(f"{source}: holds {', '.join(tasks)}. Say which one: task={tasks[0]!r}.")
        return disagreement(source, task or tasks[0])
    heads = [text_of(m, "utf-8").partition("\n")[0] for m in found if m.name.removesuffix(".gz").endswith(".csv")]
    if heads and all("rater_id" in head for head in heads):
        return goemotions(source)
    return unhealthy(source) if heads and all("_worker_id" in head for head in heads) else None


def studemo(folder: Folder, *, least: int = 1) -> Annotations:
    """Return StudEmo (Ngo et al. 2022): 25 annotators, reviews, eight emotions each present or not.

    least: intensity (0..3) from which an emotion counts as present; 1 as in PEFT-U (Clarke et al. 2024).
    Valence and arousal are left out: they are scales, not classes.

    Raises:
        DataError: a file or column is missing, a cell is no number, or a text id is unknown.

    """
    judged, texts = _csv(folder, "annotation_data.csv"), _csv(folder, "text_data.csv")
    body = dict(zip(_whole(texts, "text_id"), _words(texts, "text"), strict=True))
    text, user = _whole(judged, "text_id"), _whole(judged, "annotator_id")
    lost = [n for n, t in enumerate(text) if t not in body]
    if lost:
        raise judged.error(
            f"text {text[lost[0]]} is not in {texts.label}", "Take both files from one release.", row=lost[0]
        )
    degree = np.column_stack([_numbers(judged, name) for name in FEELINGS])
    value = np.where(np.isnan(degree), -1, degree >= least).astype(np.int64)
    rows = [(u, body[t], v) for u, t, v in zip(user, text, value, strict=True)]
    note = f"An emotion is present from intensity {least} on. Rows carry no time."
    return of_rows(rows, [Label(f) for f in FEELINGS], name="studemo", note=note)


def disagreement(folder: Folder, task: str = "MD-Agreement") -> Annotations:
    """Return a task of SemEval-2023 "Learning With Disagreements" (Leonardelli et al. 2023), one yes/no label.

    Reads TASK_train.json, TASK_dev.json and TASK_test.json as far as they are there; the texts of the test file are the
    official test part. ConvAbuse grades -3..1: abusive where below 0. A text in two files belongs to the later one.

    Raises:
        DataError: no such file, or annotators and annotations of a text differ in number.

    """
    there = {m.name.removesuffix(".gz"): m for m in members(folder)}
    parts = [p for p in ("train", "dev", "test") if f"{task}_{p}.json" in there]
    if not parts:
        raise DataError(f"{folder}: no {task}_train.json; found {', '.join(sorted(there)[:6])}. Check the task's name.")
    rows: list[tuple[RawId, str, Sequence[int]]] = []
    official: dict[str, Part] = {}
    for part in parts:
        for text, user, value in _judgements(there[f"{task}_{part}.json"], graded=task == "ConvAbuse"):
            rows.append((user, text, (value,)))
            official[text] = "test" if part == "test" else "train"
    name = task.lower()
    label = Label(_TASKS.get(task, name))
    note = "The files' split by text is kept (train and dev are one part). Rows carry no time."
    whole = official if {"train", "test"} == set(official.values()) else None
    return of_rows(rows, [label], name=name, note=note, official=whole)


def _judgements(member: Member, *, graded: bool) -> list[tuple[str, str, int]]:
    try:
        content = json.loads(text_of(member, "utf-8"))
        entries = [(k, _flat(e["text"]), e["annotators"], e["annotations"]) for k, e in content.items()]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{member.label}: expected a JSON object of texts with text, annotators and annotations ({error!r}). "
            "Fetch the file again."
        ) from error
    out = []
    for key, text, users, values in entries:
        who, said = users.split(","), values.split(",")
        if len(who) != len(said) or not all(re.fullmatch(r"-?\d+", v.strip()) for v in said):
            raise DataError(
                f"{member.label}, text {key!r}: {len(who)} annotators and annotations {values!r} do not fit. "
                "Give as many whole numbers as annotators."
            )
        grade = [int(v) for v in said]
        out += [(text, u.strip(), int(g < 0 if graded else g)) for u, g in zip(who, grade, strict=True)]
    return out


def _flat(text: object) -> str:
    """Return a text; a conversation (a mapping of turns, possibly as a string of JSON) as its lines."""
    if isinstance(text, str) and text.lstrip().startswith("{"):
        text = json.loads(text)
    return "\n".join(str(turn) for turn in text.values()) if isinstance(text, dict) else str(text)


def goemotions(source: Folder) -> Annotations:
    """Return GoEmotions (Demszky et al. 2020) as its raw files goemotions_1.csv .. _3.csv give it, one row per rater.

    Texts that a rater marked as very unclear carry no label and are dropped. created_utc is the comment's time, not
    the rater's, so there is no order.

    Raises:
        DataError: no CSV file, a column is missing, or a label is neither 0 nor 1.

    """
    tables = [delimited(m) for m in members(source) if m.name.removesuffix(".gz").endswith(".csv")]
    if not tables:
        raise DataError(f"{source}: no CSV file. Give goemotions_1.csv, or the folder of the three raw files.")
    rows: list[tuple[RawId, str, Sequence[int]]] = []
    unclear, names = 0, _after(tables[0], _BEFORE_LABELS)
    for table in tables:
        if _after(table, _BEFORE_LABELS) != names:
            raise table.error(f"the labels differ from those of {tables[0].label}", "Take all files from one release.")
        odd = np.array([cell.strip().lower() in ("true", "1") for cell in _words(table, _BEFORE_LABELS)])
        unclear += int(odd.sum())
        value = _binary(table, names)
        them = zip(_whole(table, "rater_id"), _words(table, "text"), value, odd, strict=True)
        rows += [(u, t, v) for u, t, v, dropped in them if not dropped]
    if not rows:
        raise tables[0].error("every row is marked as very unclear", "Give a file with labels.")
    note = f"{unclear} judgements marked as very unclear were dropped. Rows carry no time of judging."
    return of_rows(rows, [Label(n) for n in names], name="goemotions", note=note)


def unhealthy(source: Folder) -> Annotations:
    """Return Unhealthy Conversations (Price et al. 2020) from its file unhealthy_full.csv, one row per annotator.

    Columns _unit_id, comment, _trust, _worker_id and eight attributes; an empty cell is a question that was not asked.

    Raises:
        DataError: a column is missing, or an attribute is neither 0, 1 nor empty.

    """
    found = [m for m in members(source) if m.name.removesuffix(".gz").endswith(".csv")]
    full = [m for m in found if m.name.startswith("unhealthy_full")] or found
    if len(full) != 1:
        raise DataError(f"{source}: expected one file, unhealthy_full.csv; found {[m.name for m in found][:6]}.")
    table = delimited(full[0])
    rows = list(zip(_whole(table, "_worker_id"), _words(table, "comment"), _binary(table, UNHEALTHY), strict=True))
    labels = [Label(name.replace("_", " ")) for name in UNHEALTHY]
    return of_rows(rows, labels, name="unhealthy", note="All annotators, of any trust. Rows carry no time.")


def _csv(folder: Folder, name: str) -> Table:
    there = {m.name.removesuffix(".gz"): m for m in members(folder)}
    if name not in there:
        raise DataError(f"{Path(folder)}: {name} is missing; found {', '.join(sorted(there)[:6])}.")
    return delimited(there[name])


def _column(table: Table, name: str) -> list[str]:
    if name not in table.frame:
        columns = ", ".join(str(c) for c in list(table.frame)[:12])
        raise table.error(f"column {name!r} is missing (there are {columns})", "Give the per-annotator file.")
    return [str(cell) for cell in table.frame[name]]


def _words(table: Table, name: str) -> list[str]:
    return [cell.strip() for cell in _column(table, name)]


def _numbers(table: Table, name: str) -> NDArray[np.float64]:
    """Return float64 of a column; an empty cell is NaN."""
    out = np.empty(len(table.frame))
    for row, cell in enumerate(_words(table, name)):
        try:
            out[row] = float(cell) if cell else np.nan
        except ValueError:
            raise table.error(f"{cell!r} is no number", "Correct the cell.", row=row, column=name) from None
    return out


def _whole(table: Table, name: str) -> list[int]:
    number = _numbers(table, name)
    bad = np.flatnonzero(~np.isfinite(number) | (number != np.round(number)))
    if len(bad):
        cell = _words(table, name)[bad[0]]
        raise table.error(f"{cell!r} is no whole number", "Correct the cell.", row=int(bad[0]), column=name)
    return [int(n) for n in number]


def _binary(table: Table, names: Sequence[str]) -> NDArray[np.int64]:
    """Return int64[N, L] of 0/1 columns; -1: an empty cell."""
    columns = []
    for name in names:
        number = _numbers(table, name)
        bad = np.flatnonzero(~(np.isnan(number) | (number == 0) | (number == 1)))
        if len(bad):
            raise table.error(
                f"{number[bad[0]]:g} where 0 or 1 was expected", "Correct the cell.", row=int(bad[0]), column=name
            )
        columns.append(np.where(np.isnan(number), -1, number).astype(np.int64))
    return np.column_stack(columns)


def _after(table: Table, name: str) -> tuple[str, ...]:
    _column(table, name)
    columns = [str(c) for c in table.frame]
    return tuple(columns[columns.index(name) + 1 :])
