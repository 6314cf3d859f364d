"""F1 against scikit-learn, and differences that are paired by user."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from simenv.training.personal.score import Scores, change, counts, f1_macro


def drawn(seed: int, rows: int = 200, users: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users, rows)
    value = np.column_stack([rng.integers(0, 2, rows), rng.integers(-1, 4, rows)])
    said = np.where(rng.random(value.shape) < 0.5, np.maximum(value, 0), rng.integers(0, 2, value.shape))
    return user, value, said


class TestF1:
    @given(seed=st.integers(0, 1000))
    @settings(max_examples=20, deadline=None)
    def test_equals_scikit_learn(self, seed: int) -> None:
        user, value, said = drawn(seed)
        mine = f1_macro(counts(user, value, said, [2, 4]).sum(axis=0))
        for n in range(2):
            given_ = value[:, n] >= 0
            theirs = f1_score(value[given_, n], said[given_, n], average="macro")
            assert np.isclose(mine[n], theirs)

    def test_known_answer(self) -> None:
        # no: TP 2, FP 1, FN 1; yes: TP 1, FP 1, FN 1.
        value, said = np.array([[0], [0], [0], [1], [1]]), np.array([[0], [0], [1], [1], [0]])
        found = f1_macro(counts(np.zeros(5, np.int64), value, said, [2]).sum(axis=0))
        assert np.allclose(found, [(4 / 6 + 2 / 4) / 2])

    def test_a_class_that_never_occurs_does_not_count(self) -> None:
        found = f1_macro(counts(np.zeros(2, np.int64), np.array([[0], [1]]), np.array([[0], [1]]), [5]).sum(axis=0))
        assert np.allclose(found, [1.0])


class TestScores:
    def test_names_of_users_do_not_matter(self) -> None:
        user, value, said = drawn(0)
        plain = Scores.of({"a": counts(user, value, said, [2, 4])}, 0)
        renamed = Scores.of({"a": counts(user * 7 + 3, value, said, [2, 4])}, 0)
        assert plain.mean("a") == renamed.mean("a")
        assert plain.mean("a").low < plain.mean("a").mean < plain.mean("a").high

    def test_a_contestant_gains_nothing_on_itself(self) -> None:
        user, value, said = drawn(1)
        same = counts(user, value, said, [2, 4])
        gain = Scores.of({"a": same, "b": same}, 0).gain("a", "b")
        assert (gain.difference.low, gain.difference.high, gain.p, gain.words) == (0.0, 0.0, 1.0, "no difference shown")

    def test_better_and_worse_are_told_apart(self) -> None:
        user, value, said = drawn(2)
        right = np.where(np.random.default_rng(0).random(value.shape) < 0.6, np.maximum(value, 0), said)
        counted = {"good": counts(user, value, right, [2, 4]), "bad": counts(user, value, said, [2, 4])}
        scores = Scores.of(counted, 0)
        assert scores.gain("good", "bad").words == "better"
        assert scores.gain("bad", "good").words == "worse"
        assert np.isclose(
            scores.gain("good", "bad").difference.mean, scores.mean("good").mean - scores.mean("bad").mean
        )

    def test_pairing_makes_differences_surer(self) -> None:
        """Users differ greatly in how well both do; the difference is the same for all."""
        rng = np.random.default_rng(0)
        user = np.repeat(np.arange(40), 50)
        value = rng.integers(0, 2, (2000, 1))
        error = rng.random(2000) < np.repeat(rng.uniform(0, 0.5, 40), 50)
        a = np.where(error[:, None], 1 - value, value)
        b = np.where((rng.random(2000) < 0.05)[:, None], 1 - a, a)
        scores = Scores.of({"a": counts(user, value, a, [2]), "b": counts(user, value, b, [2])}, 0)
        gain, own = scores.gain("a", "b").difference, scores.mean("a")
        assert gain.high - gain.low < (own.high - own.low) / 2

    def test_change_is_later_less_earlier_and_its_lead(self) -> None:
        user, value, said = drawn(3)
        right = np.maximum(value, 0)
        early = Scores.of({"a": counts(user, value, said, [2, 4]), "b": counts(user, value, said, [2, 4])}, 0)
        late = Scores.of({"a": counts(user, value, right, [2, 4]), "b": counts(user, value, said, [2, 4])}, 0)
        alone, lead = change(early, late, "a"), change(early, late, "a", "b")
        assert np.isclose(alone.difference.mean, 1 - early.mean("a").mean)
        assert lead == alone  # the twin did not change
        assert change(early, late, "b").words == "no difference shown"
