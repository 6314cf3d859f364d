"""Packing: segments to ids and back, the one token of an answer, chat forms, padding."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from simenv.agents.packing import ChatForm, Ragged, SegmentTokenizer
from simenv.agents.prompt import EXIT_OPTIONS, numbers
from simenv.errors import ConfigError
from simenv.scale import RatingScale
from simenv.training.world_model import train_tokenizer

DIGITS = ("1", "2", "3", "4", "5")
SYSTEM = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
REFUSES = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}<|model|>"
)
IGNORES = (
    "<s>{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}"
)


def chatty(tokenizer: Any, template: str) -> Any:
    made = copy.deepcopy(tokenizer)
    made.chat_template = template
    return made


@pytest.fixture(scope="module")
def byte_tokenizer() -> Any:
    """Digits are bytes like any other: what a general tokenizer is."""
    return train_tokenizer(["You are a person. Likes Comedy. Film: Dark Story. Rating: 4"], [], 400)


def test_segments_are_tokenised_apart(tiny_tokenizer: Any) -> None:
    segments = SegmentTokenizer(tiny_tokenizer)
    apart = [*tiny_tokenizer(" Dark St")["input_ids"], *tiny_tokenizer("ory")["input_ids"]]
    assert segments.ids([" Dark St", "ory"]) == apart != segments.ids([" Dark Story"])
    assert segments.ids([]) == []


@given(
    parts=st.lists(st.sampled_from(["Film: ", "Dark", " 3.4", " +0.2", "", ";\n"]), max_size=8), limit=st.integers(1, 4)
)
@settings(max_examples=40, deadline=None)
def test_a_short_memory_changes_nothing(tiny_tokenizer: Any, parts: list[str], limit: int) -> None:
    small, plain = SegmentTokenizer(tiny_tokenizer, limit=limit), SegmentTokenizer(tiny_tokenizer)
    assert small.ids(parts) == plain.ids(parts) == [i for p in parts for i in tiny_tokenizer(p)["input_ids"]]
    assert len(small.memory) <= limit


def test_a_prefix_opens_with_the_beginning_of_sequence(tiny_tokenizer: Any) -> None:
    segments = SegmentTokenizer(tiny_tokenizer)
    assert segments.prefix_ids(["Film:"]) == [tiny_tokenizer.bos_token_id, *segments.ids(["Film:"])]
    without = copy.deepcopy(tiny_tokenizer)
    without.bos_token = None
    assert SegmentTokenizer(without).prefix_ids(["Film:"]) == segments.ids(["Film:"])


@pytest.mark.parametrize(
    "scale", [RatingScale(), RatingScale(tuple(n / 2 for n in range(1, 11))), RatingScale((0.0, 1.0))]
)
def test_every_symbol_of_a_scale_is_one_token(scale: RatingScale) -> None:
    tokenizer = train_tokenizer(["Rated a film; Rating:"], numbers(scale), 400)
    segments = SegmentTokenizer(tokenizer)
    glue, option = segments.answer_ids(" Rating:", scale.symbols)
    assert len(set(option)) == len(scale)
    assert [tokenizer.decode([t]).strip() for t in option] == list(scale.symbols)
    asked = segments.ids([" Rating:"]) + glue
    for symbol, token in zip(scale.symbols, option, strict=True):
        assert [*asked, token] in (segments.ids([f" Rating: {symbol}"]), segments.ids([f" Rating:{symbol}"]))


def test_an_option_of_many_tokens_is_refused_with_words(tiny_tokenizer: Any) -> None:
    segments = SegmentTokenizer(tiny_tokenizer)
    with pytest.raises(ConfigError, match=r"\['mediocre', 'superb'\] are not one distinct token each after ' Rating:'"):
        segments.answer_ids(" Rating:", ["mediocre", "superb"])
    with pytest.raises(ConfigError, match="other symbols"):
        segments.answer_ids(" Rating:", ["1", "1"])


@pytest.mark.data
@pytest.mark.parametrize("options", [DIGITS, tuple("ABCDEFGHIJ")])
def test_a_sentencepiece_tokenizer(stories: Path, options: tuple[str, ...]) -> None:
    """Here a blank opens every segment and the answer's blank is a token of its own."""
    tokenizer = AutoTokenizer.from_pretrained(str(stories))
    segments = SegmentTokenizer(tokenizer)
    glue, option = segments.answer_ids(" Rating:", options)
    for symbol, token in zip(options, option, strict=True):
        said = tokenizer.decode([*segments.ids([" Rating:"]), *glue, token])
        assert said.replace(" ", "").replace("\n", "") == f"Rating:{symbol}"
    assert len(set(option)) == len(options)
    with pytest.raises(ConfigError, match="'stay', 'leave'"):
        segments.answer_ids(" Next:", EXIT_OPTIONS)


@pytest.mark.parametrize(("template", "role"), [(SYSTEM, True), (REFUSES, False), (IGNORES, False)])
def test_a_chat_template_is_honoured(byte_tokenizer: Any, template: str, role: bool) -> None:
    tokenizer = chatty(byte_tokenizer, template)
    segments = SegmentTokenizer(tokenizer, ChatForm.of(tokenizer))
    prefix, suffix = ("You are a person. ", "Likes Comedy.\n"), ("Film: Dark Story.", " Rating:")
    ids = segments.prefix_ids(prefix) + segments.suffix_ids(suffix, [])
    system, user = "".join(prefix), "".join(suffix)
    turns = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    if not role:
        turns = [{"role": "user", "content": system + user}]
    assert tokenizer.decode(ids) == tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


@pytest.mark.parametrize("template", [SYSTEM, REFUSES, IGNORES])
def test_answers_stand_behind_the_form(byte_tokenizer: Any, template: str) -> None:
    tokenizer = chatty(byte_tokenizer, template)
    segments = SegmentTokenizer(tokenizer, ChatForm.of(tokenizer))
    glue, option = segments.answer_ids(" Rating:", DIGITS)
    ids = segments.suffix_ids(["Film.", " Rating:"], glue)
    tail = segments.ids([segments.chat.tail])
    assert ids[len(ids) - len(glue) - len(tail) :] == tail + glue
    assert len(set(option)) == 5


def test_no_template_no_form(tiny_tokenizer: Any) -> None:
    assert ChatForm.of(tiny_tokenizer) == ChatForm("", "", "")


rows = st.lists(st.lists(st.integers(1, 90), max_size=6), min_size=1, max_size=6)


@given(rows=rows, left=st.booleans())
@settings(max_examples=60, deadline=None)
def test_ragged_rows_come_back(rows: list[list[int]], left: bool) -> None:
    made = Ragged.of(rows, torch.device("cpu"), left=left)
    assert made.ids.shape == made.mask.shape == (len(rows), max(1, *(len(r) for r in rows), 1))
    assert [made.ids[n][made.mask[n] == 1].tolist() for n in range(len(rows))] == rows
    assert [made.position[n][made.mask[n] == 1].tolist() for n in range(len(rows))] == [
        list(range(len(r))) for r in rows
    ]
    edge = made.mask.numpy() if left else made.mask.numpy()[:, ::-1]
    assert (np.diff(edge, axis=1) >= 0).all()


def test_segments_learned_together_read_as_learned_alone(tiny_tokenizer: Any) -> None:
    words = [" Dark Story", ";", " 3.4", " Dark Story", "Sunny"]
    together, alone = SegmentTokenizer(tiny_tokenizer), SegmentTokenizer(tiny_tokenizer)
    together.learn(words)
    assert set(together.memory) == set(words)
    assert together.ids(words) == alone.ids(words)
    full = SegmentTokenizer(tiny_tokenizer, limit=2)
    full.learn(words)  # too many to keep: read one by one when asked
    assert not full.memory
    assert full.ids(words) == alone.ids(words)
