"""Typed answers: the numbers of the field by hand, what engines write is read, users are asked on their own prompt."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simenv.agents.decision_endpoint import QUESTIONS, VERSION, ScoreAnswer, YesNoAnswer, decide, read
from simenv.errors import ConfigError, DataError, UnknownIdError
from simenv.session import Slate

ALL = {name: {"type": kind} for name, kind in QUESTIONS.items()}


class TestShape:
    def test_a_score_by_hand(self) -> None:
        """Levels 0, 1, 2 with 0.2, 0.2, 0.6: score 1.4, on average 0.6 from the likeliest; a uniform answer 2/3."""
        wire = ScoreAnswer.of(["1", "2", "3"], [0.2, 0.2, 0.6]).to_wire()
        assert wire["type"] == "score"
        assert wire["score"] == pytest.approx(1.4)
        assert wire["legend"] == {"0": "1", "1": "2", "2": "3"}
        assert wire["probabilities"] == {"0": 0.2, "1": 0.2, "2": 0.6}
        assert wire["confidence"] == pytest.approx(1 - 0.6 / (2 / 3))

    def test_certain_and_knowing_nothing(self) -> None:
        assert ScoreAnswer.of(["a", "b", "c"], [0, 0, 1]).confidence == 1
        assert ScoreAnswer.of(["a", "b", "c"], [1 / 3] * 3).confidence == 0

    def test_what_is_written_is_read(self) -> None:
        one = ScoreAnswer.of(["0.5", "1", "1.5"], [0.25, 0.5, 0.25], 0.9)
        back = read(json.loads(json.dumps(one.to_wire())), {"label_mass": 0.9})
        assert isinstance(back, ScoreAnswer)
        assert (back.levels, back.label_mass) == (one.levels, one.label_mass)
        np.testing.assert_array_equal(back.probability, one.probability)
        assert read(YesNoAnswer(0.25).to_wire()) == YesNoAnswer(0.25)

    def test_levels_stand_in_order_of_number(self) -> None:
        given = {str(n): (n + 1) / 66 for n in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)}
        back = read({"type": "score", "probabilities": given})
        assert isinstance(back, ScoreAnswer)
        assert back.levels == tuple(map(str, range(11)))
        assert back.probability[10] == pytest.approx(11 / 66)
        assert back.label_mass is None

    def test_an_answer_of_transformers_is_read(self) -> None:
        """As its decision pipeline builds it."""
        decision = pytest.importorskip("transformers.decision", reason="transformers has it since 5.23")
        asked = {"r": {"type": "score", "criteria": ["bad", "fair", "good"]}, "x": {"type": "noul"}}
        score, noul = decision.parse_questions(asked, decision.DecisionConfig())
        p = [0.1, 0.2, 0.7]
        back = read(score.answer(p))
        assert isinstance(back, ScoreAnswer)
        assert back.levels == ("bad", "fair", "good")
        wire = score.answer(p)
        for part in ("type", "legend", "probabilities"):
            assert back.to_wire()[part] == wire[part]
        assert back.score == pytest.approx(wire["score"])
        assert back.confidence == pytest.approx(wire["confidence"])
        assert read(noul.answer([0.3, 0.7])) == YesNoAnswer(0.3)

    @pytest.mark.parametrize(
        ("levels", "p", "mass", "words"),
        [
            (["1", "2"], [1.0], None, "2 levels need as many"),
            (["1"], [1.0], None, "at least two"),
            (["1", "2"], [0.9, 0.9], None, "sum to 1"),
            (["1", "2"], [1.5, -0.5], None, "lie in 0..1"),
            (["1", "2"], [float("nan"), 1], None, "sum to 1"),
            (["1", "2"], [0.5, 0.5], 1.2, "mass of the labels"),
        ],
    )
    def test_what_is_no_score(self, levels: list[str], p: list[float], mass: float | None, words: str) -> None:
        with pytest.raises(DataError, match=words):
            ScoreAnswer.of(levels, p, mass)

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            ({"type": "choice", "choice": "a"}, "of type score or noul; got 'choice'"),
            ({"type": "refusal"}, "got 'refusal'"),
            ({"noul": 0.5}, "this is no answer"),
            ({"type": "noul", "noul": 1.5}, "a probability lies in"),
            ({"type": "score", "probabilities": {"bad": 0.5, "good": 0.5}}, "this is no answer"),
            ({"type": "score", "probabilities": None}, "this is no answer"),
        ],
    )
    def test_what_is_no_answer(self, answer: dict[str, Any], words: str) -> None:
        with pytest.raises(DataError, match=words):
            read(answer)


class TestDecide:
    def test_a_user_answers_as_in_a_visit(self, tiny_population: Any) -> None:
        users, items = tiny_population.users, tiny_population.items
        done = decide(tiny_population, {"state": {"user": users.ids[4], "item": items.ids[9]}, "questions": ALL})
        assert done["version"] == VERSION
        said = tiny_population.rating_model.rate(np.array([4]), np.array([9]))
        rating = read(done["answers"]["rating"], done["diagnostics"]["rating"])
        assert isinstance(rating, ScoreAnswer)
        np.testing.assert_allclose(rating.probability, said.p[0], atol=1e-6)
        assert rating.label_mass == pytest.approx(1 - said.off_scale[0])
        assert rating.levels == ("1", "2", "3", "4", "5")
        expected = float(said.p[0] @ np.arange(1, 6))
        assert rating.score + 1 == pytest.approx(expected, abs=1e-5)
        mean = tiny_population.user_mean[[4]]
        take = tiny_population.choice.probability(np.array([[expected]]), mean)[0, 0]
        assert done["answers"]["take"]["noul"] == pytest.approx(take, abs=1e-6)
        begun = tiny_population.begin(np.array([4]), np.array([7], np.uint64))
        response, _ = tiny_population.respond(replace(begun, frailty=np.zeros(1)), Slate.certain(np.array([[9]])))
        assert done["answers"]["leave"]["noul"] == pytest.approx(response.p_exit[0])

    def test_only_what_was_asked_is_said(self, tiny_population: Any) -> None:
        state = {"user": tiny_population.users.ids[0], "item": tiny_population.items.ids[0]}
        done = decide(tiny_population, {"state": state, "questions": {"leave": {"type": "noul"}}})
        assert set(done["answers"]) == {"leave"}
        assert done["diagnostics"] == {}

    @pytest.mark.parametrize(
        ("questions", "words"),
        [
            ({}, "at least one question"),
            (None, "at least one question"),
            ({"mood": {"type": "score"}}, "users answer rating"),
            ({"rating": {"type": "noul"}}, "users answer rating"),
            ({"rating": {"type": "score", "instructions": "Be nice."}}, "'rating' has instructions of its own"),
            ({"rating": {"type": "score", "criteria": ["a", "b"]}}, "'rating' has criteria of its own"),
        ],
    )
    def test_questions_of_ones_own(self, tiny_population: Any, questions: Any, words: str) -> None:
        state = {"user": tiny_population.users.ids[0], "item": tiny_population.items.ids[0]}
        with pytest.raises(ConfigError, match=words):
            decide(tiny_population, {"state": state, "questions": questions})

    def test_states_of_nobody(self, tiny_population: Any) -> None:
        known, item = tiny_population.users.ids, tiny_population.items.ids[0]
        with pytest.raises(DataError, match="a state names one user and one item"):
            decide(tiny_population, {"state": "user 4", "questions": ALL})
        with pytest.raises(UnknownIdError, match="is not simulated here"):
            decide(tiny_population, {"state": {"user": known[40], "item": item}, "questions": ALL})
        with pytest.raises(UnknownIdError):
            decide(tiny_population, {"state": {"user": known[0], "item": "nothing"}, "questions": ALL})
