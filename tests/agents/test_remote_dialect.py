"""How a server is asked and read: known replies, the mass of what it does not list, words about what is no answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simenv.agents.remote_client import RemoteSettings
from simenv.agents.remote_dialect import Dialect, Options, ladder
from simenv.agents.remote_greeting import names_of
from simenv.errors import ConfigError, RemoteError

TOP = Dialect(exact=False, several=False, top=5)
ONE_TO_FIVE = Options((11, 12, 13, 14, 15), tuple(frozenset({f" {n}"}) for n in range(1, 6)))


def legacy(listed: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"index": index, "text": "", "logprobs": {"tokens": [""], "top_logprobs": [listed]}}


def reply(*choices: Any) -> dict[str, Any]:
    return {"choices": list(choices)}


class TestRequest:
    def test_exact(self) -> None:
        body = Dialect().body("u1", [[1, 2], [3]], ONE_TO_FIVE)
        wanted = {"model": "u1", "prompt": [[1, 2], [3]], "max_tokens": 1, "temperature": 0, "logprobs": 1}
        assert wanted.items() <= body.items()
        assert body["logprob_token_ids"] == [11, 12, 13, 14, 15]

    def test_most_likely_tokens_of_one_prompt(self) -> None:
        body = TOP.body("u1", ["Rating:"], ONE_TO_FIVE)
        assert (body["prompt"], body["logprobs"]) == ("Rating:", 5)
        assert "logprob_token_ids" not in body

    def test_the_best_is_tried_first_and_text_last(self) -> None:
        tried = ladder("<s>")
        assert tried[0] == Dialect()
        assert [d.ids for d in tried] == sorted((d.ids for d in tried), reverse=True)
        assert sum(d.exact for d in tried) == 1
        assert {d.opening for d in tried if not d.ids} == {"", "<s>"}
        assert {d.opening for d in ladder(None)} == {""}


class TestReading:
    def test_options_by_number(self) -> None:
        listed = {f"token_id:{n}": -float(n) for n in (15, 14, 13, 12, 11)}
        (said,) = Dialect(several=False).read(reply(legacy(listed)), ONE_TO_FIVE, 1)
        np.testing.assert_array_equal(said.logp, [-11, -12, -13, -14, -15])
        assert (said.missing, said.bound) == (0, 0.0)

    def test_options_by_name_in_the_form_of_chats(self) -> None:
        top = [{"token": " 4", "logprob": -0.5}, {"token": " 2", "logprob": -2.0}, {"token": "4", "logprob": -1.5}]
        choice = {"index": 0, "logprobs": {"content": [{"token": " 4", "logprob": -0.5, "top_logprobs": top}]}}
        (said,) = TOP.read(reply(choice), ONE_TO_FIVE, 1)
        assert said.logp[[3, 1]].tolist() == [-0.5, -2.0]
        assert said.missing == 3
        assert said.first == "' 4'"

    def test_of_tokens_that_read_alike_the_likeliest_is_meant(self) -> None:
        top = [{"token": " 4", "logprob": -0.5}, {"token": " 4", "logprob": -9.0}]
        (said,) = TOP.read(reply({"logprobs": {"content": [{"top_logprobs": top}]}}), ONE_TO_FIVE, 1)
        assert said.logp[3] == -0.5

    def test_numbers_beside_names_count_first(self) -> None:
        top = [{"id": 12, "token": "?", "logprob": -0.5}]
        (said,) = TOP.read(reply({"logprobs": {"content": [{"top_logprobs": top}]}}), ONE_TO_FIVE, 1)
        assert said.logp[1] == -0.5

    def test_answers_stand_in_the_order_asked(self) -> None:
        dialect = Dialect(exact=False)
        said = dialect.read(reply(legacy({" 1": -2.0}, 1), legacy({" 1": -1.0}, 0)), ONE_TO_FIVE, 2)
        assert [float(r.logp[0]) for r in said] == [-1.0, -2.0]

    def test_what_is_not_listed_by_hand(self) -> None:
        """Listed 0.6, 0.25, 0.1: the three missing options can have 0.05 together, and no one more than 0.1."""
        listed = {" 4": math.log(0.6), " 3": math.log(0.25), "x": math.log(0.1)}
        (said,) = TOP.read(reply(legacy(listed)), ONE_TO_FIVE, 1)
        assert np.exp(said.logp) == pytest.approx([0.05 / 3, 0.05 / 3, 0.25, 0.6, 0.05 / 3], rel=1e-5)
        assert said.missing == 3
        assert said.bound == pytest.approx(0.05)

    def test_no_one_more_than_the_last_that_is_listed(self) -> None:
        (said,) = TOP.read(reply(legacy({" 4": math.log(0.3), "x": math.log(0.01)})), ONE_TO_FIVE, 1)
        assert np.exp(said.logp) == pytest.approx([0.01, 0.01, 0.01, 0.3, 0.01], rel=1e-5)
        assert said.bound == pytest.approx(0.04)

    @given(st.lists(st.floats(0.001, 1), min_size=6, max_size=40), st.integers(1, 40), st.randoms())
    def test_off_scale_mass_is_understated_by_at_most_the_bound(self, weight: list[float], top: int, luck: Any) -> None:
        luck.shuffle(weight)
        p = np.array(weight) / sum(weight)
        listed = {f"token_id:{n}": math.log(p[n]) for n in np.argsort(-p, kind="stable")[:top]}
        (said,) = TOP.read(reply(legacy(listed)), Options((0, 1, 2, 3, 4)), 1)
        told, true = np.exp(said.logp.astype(np.float64)), p[:5]
        seen = np.array([f"token_id:{n}" in listed for n in range(5)])
        assert told[seen] == pytest.approx(true[seen], rel=1e-5)
        assert said.missing == (~seen).sum()
        assert true[~seen].sum() <= told[~seen].sum() + 1e-6
        assert told.sum() <= 1 + 1e-6
        assert told[~seen].sum() == pytest.approx(said.bound, abs=1e-6)
        assert 0 <= told.sum() - true.sum() + 1e-6 <= said.bound + 2e-6


BAD = {
    "no mapping": ([], "in another form"),
    "no choices": ({"object": "x"}, "in another form"),
    "too few": (reply(), "answered 1 prompts in another form"),
    "numbered elsewise": (reply(legacy({"a": -1.0}, 3)), "not numbered"),
    "no logprobs": (reply({"text": "4", "logprobs": None}), "no log-probabilities"),
    "empty": (reply(legacy({})), "are none"),
    "not finite": (reply(legacy({"a": float("nan")})), "are none"),
    "null": (reply(legacy({"a": None})), "no log-probabilities"),
    "more than all": (reply(legacy({"a": -0.1, "b": -0.1})), "are none"),
    "no list": (reply({"logprobs": {"top_logprobs": []}}), "no log-probabilities"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_answer(name: str) -> None:
    bad, words = BAD[name]
    with pytest.raises(RemoteError, match=words):
        TOP.read(bad, ONE_TO_FIVE, 1)


def test_an_option_asked_for_by_number_and_left_out_is_an_error() -> None:
    with pytest.raises(RemoteError, match="left out 4 of 5 options"):
        Dialect(several=False).read(reply(legacy({"token_id:11": -1.0})), ONE_TO_FIVE, 1)


class Pieces:
    """A tokenizer in which, as in SentencePiece, a piece with a leading blank reads like one without."""

    piece = ("▁4", "4", "Ġ5", "stay")
    text = ("4", "4", " 5", "stay")

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.piece[i] for i in ids]

    def decode(self, ids: list[int]) -> str:
        return self.text[ids[0]]


def test_no_name_stands_for_two_tokens() -> None:
    named = Options.of(Pieces(), [0, 1, 2, 3]).names
    assert [set(n) for n in named] == [{"▁4", " 4"}, {"4"}, {"Ġ5", " 5"}, {"stay"}]


class TestNames:
    LISTED = ({"id": "base"}, {"id": "u1", "parent": "base"}, {"id": "u2", "parent": "base"})

    def test_base_and_adapters(self) -> None:
        how = RemoteSettings("http://x")
        assert names_of(self.LISTED, how, ["u1"]) == ("base", {"u1": "u1"})
        assert names_of([{"id": "phi"}, *self.LISTED[1:]], how, ["u1"])[0] == "phi"
        assert names_of([{"id": "phi"}, {"id": "llama"}, {"id": "u1"}], how, ["u1"])[0] is None
        assert names_of([], RemoteSettings("http://x", base="b"), ["u1"]) == ("b", {"u1": "u1"})

    def test_templates(self) -> None:
        sglang = RemoteSettings("http://x", base="phi", adapter="phi:{adapter}")
        assert names_of([{"id": "phi"}], sglang, ["u1"]) == ("phi", {"u1": "phi:u1"})
        prefixed = RemoteSettings("http://x", adapter="mine-{adapter}")
        assert names_of([{"id": "b"}, {"id": "mine-u1", "parent": "b"}], prefixed, ["u1"]) == ("b", {"u1": "mine-u1"})

    def test_what_is_not_served(self) -> None:
        with pytest.raises(ConfigError, match=r"does not serve u3; it serves base, u1, u2\. Start it with"):
            names_of(self.LISTED, RemoteSettings("http://x"), ["u1", "u3"])
        with pytest.raises(ConfigError, match=r"which of the models \(phi, llama\) is the base"):
            names_of([{"id": "phi"}, {"id": "llama"}], RemoteSettings("http://x"), [])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"url": "localhost:8000"}, "address is like http"),
        ({"url": "ftp://x"}, "address is like http"),
        ({"url": "http://x", "batch": 0}, "batch must be at least 1"),
        ({"url": "http://x", "concurrency": 0}, "concurrency must be at least 1"),
        ({"url": "http://x", "timeout": 0}, "timeout must be above 0"),
        ({"url": "http://x", "retries": -1}, "retries at least 0"),
        ({"url": "http://x", "adapter": "u1"}, "must contain {adapter}"),
    ],
)
def test_settings_that_cannot_be(how: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RemoteSettings(**how)


def test_an_address_without_a_path_gets_the_usual_one() -> None:
    assert RemoteSettings("http://x:8000").address == RemoteSettings("http://x:8000/").address == "http://x:8000/v1"
    assert RemoteSettings("http://x/v1").address == "http://x/v1"
    assert RemoteSettings("https://x/models/openai/v1").address == "https://x/models/openai/v1"
