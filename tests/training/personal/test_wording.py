"""Prompts, token by token and in words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simenv.datasets.annotators import Annotations, Label, of_rows
from simenv.errors import ConfigError
from simenv.training.personal.base import Base, Kind
from simenv.training.personal.wording import INSTRUCT, NOBODY, VECTOR, Writer, check_length, corpus

Bases = Callable[[Kind], Base]


@pytest.fixture
def writer(quarrel: Annotations, tiny_base: Bases) -> Writer:
    return tiny_base("decoder").writer(quarrel, 64, 2)


def words(writer: Writer, tokens: list[int]) -> str:
    return str(writer.tokenizer.decode([t for t in tokens if t != VECTOR]))


class TestPrompt:
    def test_nobody_is_named_where_nobody_is_known(self, writer: Writer) -> None:
        assert words(writer, writer.prompt(0, 3, "nobody")) == f"<s>Text: {writer.data.text[3]}\n"

    def test_the_id_stands_in_front_as_text(self, writer: Writer) -> None:
        assert words(writer, writer.prompt(1, 3, "text")) == f"<s>Reader: 9\nText: {writer.data.text[3]}\n"

    def test_a_stranger_has_no_id(self, writer: Writer) -> None:
        assert words(writer, writer.prompt(NOBODY, 3, "text")).startswith("<s>Reader: unknown\n")

    def test_the_vector_stands_behind_the_opening_token(self, writer: Writer) -> None:
        tokens = writer.prompt(1, 3, "vector")
        assert tokens[0] == writer.tokenizer.bos_token_id
        assert [n for n, t in enumerate(tokens) if t == VECTOR] == [1]
        assert words(writer, tokens) == words(writer, writer.prompt(1, 3, "nobody"))

    def test_examples_come_before_the_text_with_their_labels(self, writer: Writer) -> None:
        shown = words(writer, writer.prompt(0, 3, "examples", [0]))
        start = words(writer, list(writer.bodies[0][:2]))
        assert shown == f"<s>Text: {start}\nlikes:yes\nkind:warm\n\nText: {writer.data.text[3]}\n"

    def test_long_texts_are_cut(self, quarrel: Annotations, tiny_base: Bases) -> None:
        short = tiny_base("decoder").writer(quarrel, 1, 1)
        whole = tiny_base("decoder").writer(quarrel, 64, 1)
        lost = len(whole.prompt(0, 3, "nobody")) - len(short.prompt(0, 3, "nobody"))
        assert lost == len(whole.bodies[3]) - 1 > 0

    def test_a_label_that_was_not_given_is_not_shown(self, tiny_base: Bases) -> None:
        data = of_rows([(1, "river", (-1, 1))], [Label("likes"), Label("kind", ("cold", "warm"))], name="t")
        shown = words(writer := tiny_base("decoder").writer(data, 9, 9), writer.prompt(0, 0, "examples", [0]))
        assert "kind:warm" in shown  # the class's token holds the blank before it
        assert "likes" not in shown


class TestQuestions:
    def test_cue_and_options_read_as_words(self, writer: Writer) -> None:
        likes, kind = writer.questions
        assert words(writer, list(likes.cue)) == "likes:"
        assert [words(writer, [t]).strip() for t in kind.option] == ["cold", "warm"]

    def test_classes_of_several_tokens_are_refused(self, tiny_base: Bases) -> None:
        data = of_rows([(1, "river", (0,))], [Label("x", ("quite unlikely", "rather likely"))], name="t")
        with pytest.raises(ConfigError, match="are not one distinct token each"):
            _ = tiny_base("decoder").writer(data, 9, 9).questions

    def test_instructions_name_all_labels(self) -> None:
        assert INSTRUCT.task.format(labels="joy, fear").endswith("The labels: joy, fear.\n\n")


def test_a_tokenizer_learns_from_the_given_rows_only(quarrel: Annotations) -> None:
    said = "\n".join(corpus(quarrel, quarrel.item[:0]))
    assert "river" not in said
    assert "Reader: 7" not in said
    assert "Reader: unknown" in said
    assert "kind: warm" in said


def test_a_prompt_longer_than_the_model_is_refused(writer: Writer) -> None:
    tokens = [writer.prompt(0, 3, "nobody")]
    longest = len(tokens[0]) + max(len(q.cue) for q in writer.questions) + 1
    check_length(tokens, writer.questions, longest)
    with pytest.raises(ConfigError, match=f"{longest} tokens and the model {longest - 1} positions"):
        check_length(tokens, writer.questions, longest - 1)
