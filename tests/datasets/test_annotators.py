"""Published per-annotator formats, read from small files that are made here."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from simenv.catalogue import Catalogue
from simenv.datasets.annotators import Annotations, Label, of_log, of_rows
from simenv.datasets.annotators_files import FEELINGS, UNHEALTHY, disagreement, goemotions, load, studemo, unhealthy
from simenv.errors import DataError
from simenv.index import Index
from simenv.testing.logs import tiny_catalogue, tiny_log

GO_HEAD = (
    "text,id,author,subreddit,link_id,parent_id,created_utc,rater_id,example_very_unclear,admiration,anger,neutral"
)


def studemo_folder(folder: Path) -> Path:
    head = "text_id,annotator_id," + ",".join(FEELINGS) + ",valence,arousal\n"
    rows = ["0,8,0,1,2,3,0,0,0,0,-3.0,0", "1,8,0,0,0,0,0,0,0,1.0,0,0", "0,3,3,,0,0,0,0,0,0,0,0"]
    (folder / "annotation_data.csv.gz").write_bytes(gzip.compress((head + "\n".join(rows)).encode()))
    texts = 'text_id,text\n0,"Good, all told"\n1,Bad\n'
    (folder / "text_data.csv.gz").write_bytes(gzip.compress(texts.encode()))
    return folder


def entry(text: object, users: str, values: str) -> dict[str, object]:
    return {"text": text, "annotators": users, "annotations": values}


def disagreement_folder(folder: Path, task: str = "MD-Agreement", **files: dict[str, dict[str, object]]) -> Path:
    for part, content in files.items():
        (folder / f"{task}_{part}.json").write_text(json.dumps(content), "utf-8")
    return folder


def said(data: Annotations) -> list[tuple[object, str, list[int]]]:
    """Return the rows in words: raw user, text, classes."""
    ids = data.users.decode(data.user)
    return [(u, data.text[i], v) for u, i, v in zip(ids, data.item.tolist(), data.value.tolist(), strict=True)]


class TestStudEmo:
    def test_an_emotion_is_present_from_intensity_one(self, tmp_path: Path) -> None:
        data = studemo(studemo_folder(tmp_path))
        assert [label.name for label in data.labels] == list(FEELINGS)
        assert said(data) == [
            (8, "Good, all told", [0, 1, 1, 1, 0, 0, 0, 0]),
            (8, "Bad", [0, 0, 0, 0, 0, 0, 0, 1]),
            (3, "Good, all told", [1, -1, 0, 0, 0, 0, 0, 0]),
        ]
        assert data.time is None

    def test_the_threshold_moves(self, tmp_path: Path) -> None:
        data = studemo(studemo_folder(tmp_path), least=3)
        assert data.value[0].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]

    def test_a_text_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        studemo_folder(tmp_path)
        (tmp_path / "text_data.csv.gz").write_bytes(gzip.compress(b"text_id,text\n0,Good\n"))
        with pytest.raises(DataError, match=r"line 3: text 1 is not in text_data\.csv\.gz"):
            studemo(tmp_path)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        studemo_folder(tmp_path)
        (tmp_path / "text_data.csv.gz").unlink()
        with pytest.raises(DataError, match=r"text_data\.csv is missing"):
            studemo(tmp_path)


class TestDisagreement:
    def test_annotators_and_annotations_go_together_and_the_split_is_kept(self, tmp_path: Path) -> None:
        disagreement_folder(
            tmp_path,
            train={"1": entry("No way", "Ann4,Ann2", "0,1")},
            dev={"1": entry("Well", "Ann2", "1")},
            test={"1": entry("Hm", "Ann9", "0")},
        )
        data = disagreement(tmp_path)
        assert said(data) == [
            ("Ann4", "No way", [0]),
            ("Ann2", "No way", [1]),
            ("Ann2", "Well", [1]),
            ("Ann9", "Hm", [0]),
        ]
        assert data.official == ("train", "train", "test")
        assert data.labels == (Label("offensive"),)

    def test_a_text_of_train_and_test_is_tested_only(self, tmp_path: Path) -> None:
        both = {"1": entry("Same", "a", "0")}
        other = {"1": entry("Other", "a", "0"), "2": entry("Same", "b", "1")}
        data = disagreement(disagreement_folder(tmp_path, train=other, test=both))
        assert dict(zip(data.text, data.official or (), strict=True)) == {"Other": "train", "Same": "test"}

    def test_without_a_test_file_there_is_no_official_part(self, tmp_path: Path) -> None:
        assert disagreement(disagreement_folder(tmp_path, train={"1": entry("x", "a", "1")})).official is None

    def test_grades_of_abuse_become_yes_below_zero(self, tmp_path: Path) -> None:
        turns = {"prev_agent": "Hi", "user": "Go away"}
        train = {"1": entry(turns, "a,b,c", "-1,0,1")}
        data = disagreement(disagreement_folder(tmp_path, "ConvAbuse", train=train), "ConvAbuse")
        assert said(data) == [("a", "Hi\nGo away", [1]), ("b", "Hi\nGo away", [0]), ("c", "Hi\nGo away", [0])]

    @pytest.mark.parametrize(
        ("train", "words"),
        [
            ({"7": entry("x", "a,b", "1")}, r"text '7': 2 annotators and annotations '1' do not fit"),
            ({"7": entry("x", "a", "maybe")}, "whole numbers"),
            ({"7": {"text": "x"}}, "expected a JSON object of texts with text, annotators and annotations"),
        ],
    )
    def test_bad_entries_are_named(self, tmp_path: Path, train: dict[str, dict[str, object]], words: str) -> None:
        with pytest.raises(DataError, match=words):
            disagreement(disagreement_folder(tmp_path, train=train))

    def test_a_task_must_be_chosen_among_several(self, tmp_path: Path) -> None:
        for task in ("HS-Brexit", "MD-Agreement"):
            disagreement_folder(tmp_path, task, train={"1": entry("x", "a", "1")})
        with pytest.raises(DataError, match="holds HS-Brexit, MD-Agreement"):
            load(tmp_path)
        chosen = load(tmp_path, task="HS-Brexit")
        assert chosen is not None
        assert chosen.labels[0].name == "hateful"


class TestGoEmotions:
    def test_labels_are_the_columns_after_unclear_and_unclear_rows_go(self, tmp_path: Path) -> None:
        rows = ['"Wow, nice",a1,x,r,l,p,1.5e9,37,False,1,0,0', "Eh,a2,x,r,l,p,1.5e9,37,True,0,0,0"]
        (tmp_path / "goemotions_1.csv").write_text("\n".join([GO_HEAD, *rows]))
        (tmp_path / "goemotions_2.csv").write_text("\n".join([GO_HEAD, '"Wow, nice",a1,x,r,l,p,1.5e9,2,False,0,0,1']))
        data = goemotions(tmp_path)
        assert [label.name for label in data.labels] == ["admiration", "anger", "neutral"]
        assert said(data) == [(37, "Wow, nice", [1, 0, 0]), (2, "Wow, nice", [0, 0, 1])]
        assert data.note.startswith("1 judgements marked as very unclear")

    def test_other_labels_in_another_file_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "goemotions_1.csv").write_text(GO_HEAD + "\na,a1,x,r,l,p,1.5e9,37,False,1,0,0")
        (tmp_path / "goemotions_2.csv").write_text(GO_HEAD + "s\na,a1,x,r,l,p,1.5e9,37,False,1,0,0")
        with pytest.raises(DataError, match=r"goemotions_2\.csv: the labels differ from those of goemotions_1\.csv"):
            goemotions(tmp_path)

    def test_a_label_that_is_neither_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "g.csv").write_text(GO_HEAD + "\na,a1,x,r,l,p,1.5e9,37,False,1,2,0")
        with pytest.raises(DataError, match=r"line 2, column 'anger': 2 where 0 or 1"):
            goemotions(tmp_path / "g.csv")


class TestUnhealthy:
    HEAD = "_unit_id,comment,_trust,_worker_id," + ",".join(UNHEALTHY)

    def test_an_empty_cell_is_a_question_not_asked(self, tmp_path: Path) -> None:
        rows = ["17,Well done,0.9,44,0,0,0,0,,1,0,0", "17,Well done,0.7,45,1,0,0,0,1,0,0,1"]
        (tmp_path / "unhealthy_full.csv").write_text("\n".join([self.HEAD, *rows]))
        data = unhealthy(tmp_path)
        assert said(data) == [
            (44, "Well done", [0, 0, 0, 0, -1, 1, 0, 0]),
            (45, "Well done", [1, 0, 0, 0, 1, 0, 0, 1]),
        ]
        assert data.labels[4].name == "generalisation unfair"

    def test_the_aggregated_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "val.csv").write_text("_unit_id,comment,healthy\n1,x,1\n")
        with pytest.raises(DataError, match="column '_worker_id' is missing"):
            unhealthy(tmp_path / "val.csv")


class TestLoad:
    def test_each_layout_is_told_apart(self, tmp_path: Path) -> None:
        folders = {name: tmp_path / name for name in ("a", "b", "c", "d", "e")}
        for folder in folders.values():
            folder.mkdir()
        studemo_folder(folders["a"])
        disagreement_folder(folders["b"], train={"1": entry("x", "a", "1")})
        (folders["c"] / "goemotions_1.csv").write_text(GO_HEAD + "\na,a1,x,r,l,p,1.5e9,37,False,1,0,0")
        (folders["d"] / "unhealthy_full.csv").write_text(TestUnhealthy.HEAD + "\n17,Well,0.9,44,0,0,0,0,,1,0,0")
        (folders["e"] / "ratings.csv").write_text("user,item,rating\n1,2,3\n")
        found = [load(folder) for folder in folders.values()]
        names = [None if data is None else data.name for data in found]
        assert names == ["studemo", "md-agreement", "goemotions", "unhealthy", None]


class TestRatings:
    def test_a_rating_is_a_label_of_the_items_line(self) -> None:
        log = tiny_log()
        catalogue = tiny_catalogue(log.items)
        data = of_log(log, catalogue)
        assert [data.text[i] for i in data.item] == [catalogue.describe(int(i)) for i in log.item]
        assert np.array_equal(log.scale.array[data.value[:, 0]], log.rating)
        assert np.array_equal(data.user, log.user)

    def test_items_that_read_alike_are_one_text(self) -> None:
        log = tiny_log()
        bare = Catalogue.bare(log.items)
        twins = Catalogue.from_frame(bare.to_frame().assign(title="Same"), Index(log.items.ids, "item"))
        data = of_log(log, twins)
        assert data.text == ("Same",)
        assert f"{log.n_items - 1} items read like another one" in data.note


class TestAnnotations:
    ROWS = ((1, "a", (0,)), (2, "a", (1,)), (2, "b", (1,)))

    def test_equal_texts_get_one_number(self) -> None:
        data = of_rows(self.ROWS, [Label("x")], name="t")
        assert data.text == ("a", "b")
        assert data.item.tolist() == [0, 0, 1]
        assert data.count.tolist() == [1, 2]

    def test_busy_users_keep_their_numbers(self) -> None:
        data = of_rows(self.ROWS, [Label("x")], name="t").of_busy_users(2)
        assert data.user.tolist() == [1, 1]
        with pytest.raises(DataError, match="the busiest has 2"):
            data.of_busy_users(3)

    def test_the_fingerprint_feels_each_part(self) -> None:
        data = of_rows(self.ROWS, [Label("x")], name="t")
        others = [
            of_rows([*self.ROWS[:2], (2, "b", (0,))], [Label("x")], name="t"),
            of_rows([*self.ROWS[:2], (2, "c", (1,))], [Label("x")], name="t"),
            of_rows(self.ROWS, [Label("y")], name="t"),
            of_rows(self.ROWS, [Label("x")], name="t", time=[1, 2, 3]),
        ]
        assert len({d.fingerprint for d in (data, *others)}) == 5
        assert of_rows(self.ROWS, [Label("x")], name="other").fingerprint == data.fingerprint

    @pytest.mark.parametrize(
        ("value", "words"),
        [((2,), "class of 'x' are -1..1; got"), ((-2,), "class of 'x' are -1..1; got")],
    )
    def test_a_class_that_does_not_exist_is_refused(self, value: tuple[int], words: str) -> None:
        with pytest.raises(DataError, match=words):
            of_rows([(1, "a", value)], [Label("x")], name="t")

    def test_a_label_needs_two_distinct_classes(self) -> None:
        with pytest.raises(DataError, match="at least two distinct classes"):
            Label("x", ("yes", "yes"))
