"""Yardsticks with known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simenv.datasets.annotators import Annotations, Label, of_rows
from simenv.training.personal.partition import Partition
from simenv.training.personal.plain import PLAIN, TWIN, decide, plain, shares


def parts_of(train: list[int], test: list[int], context: list[int], new: list[int]) -> Partition:
    rows = {"train": train, "valid": train, "test": test, "context": context, "new": new}
    made = {name: np.array(r, np.int64) for name, r in rows.items()}
    return Partition(**made, late=None, text_disjoint=False, kind="by hand")


@pytest.fixture
def small() -> tuple[Annotations, Partition]:
    """User 1 says yes to what is "good", user 2 always no; user 3 is new, with one yes to show."""
    said = [(1, f"good day {n}", (1,)) for n in range(4)] + [(1, f"bad day {n}", (0,)) for n in range(4)]
    said += [(2, f"good day {n}", (0,)) for n in range(4)] + [(2, f"bad day {n}", (0,)) for n in range(4)]
    said += [
        (1, "good day at last", (1,)),
        (2, "good day at last", (0,)),
        (3, "good day 0", (1,)),
        (3, "bad end", (0,)),
    ]
    return of_rows(said, [Label("x")], name="small"), parts_of([*range(16)], [16, 17], [18], [19])


def test_majority_is_the_training_share(small: tuple[Annotations, Partition]) -> None:
    said = plain("majority", *small)
    assert np.allclose(said.test[0], [[0.75, 0.25]] * 2, atol=1e-3)
    assert np.array_equal(said.new[0][0], said.test[0][0])


def test_user_majority_is_shrunk_by_one_judgement_and_sees_the_context(small: tuple[Annotations, Partition]) -> None:
    said = plain("user majority", *small)
    assert np.allclose(said.test[0][:, 1], [(4 + 0.25) / 9, 0.25 / 9], atol=1e-3)
    assert np.allclose(said.new[0][:, 1], [(1 + 0.25) / 2], atol=1e-3)


def test_words_tell_texts_apart_and_users_only_where_told(small: tuple[Annotations, Partition]) -> None:
    words, both = plain("words", *small), plain("words and user", *small)
    assert words.test[0][0, 1] == words.test[0][1, 1] > 0.3
    assert both.test[0][0, 1] > both.test[0][1, 1] + 0.2
    assert words.new[0][0, 1] < 0.25  # "bad"


def test_a_new_user_is_nobodys_indicator(small: tuple[Annotations, Partition]) -> None:
    """Moving the new rows to a user who was trained on changes nothing: they are strangers."""
    data, parts = small
    user = data.user.copy()
    user[parts.new] = 0
    one, two = plain("words and user", data, parts), plain("words and user", replace(data, user=user), parts)
    assert np.array_equal(one.new[0], two.new[0])


def test_labels_of_tested_rows_have_no_say(small: tuple[Annotations, Partition]) -> None:
    data, parts = small
    value = data.value.copy()
    for rows in (parts.test, parts.new):
        value[rows] = 1 - value[rows]
    for name in PLAIN:
        one, two = plain(name, data, parts), plain(name, replace(data, value=value), parts)
        assert np.array_equal(one.test[0], two.test[0])
        assert np.array_equal(one.new[0], two.new[0])


def test_a_class_never_seen_has_no_probability() -> None:
    rows = [(u, f"{'good' if n % 2 else 'bad'} day {n}", (n % 2,)) for u in (1, 2) for n in range(6)]
    data = of_rows(rows, [Label("x", ("a", "b", "c"))], name="three")
    said = plain("words", data, parts_of([*range(10)], [10], [], [11]))
    assert said.test[0].shape == (1, 3)
    assert said.test[0][0, 2] == 0


def test_twins_are_yardsticks() -> None:
    assert set(TWIN) | set(TWIN.values()) == set(PLAIN)


def test_decisions_lean_to_rare_classes_with_the_power(small: tuple[Annotations, Partition]) -> None:
    data, parts = small
    p, prior = [np.array([[0.6, 0.4]])], shares(data, parts.train)
    assert decide(p, prior, 0.0).tolist() == [[0]]
    assert decide(p, prior, 1.0).tolist() == [[1]]  # 0.6 / 0.75 < 0.4 / 0.25
