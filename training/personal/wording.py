"""From a person and a text to tokens: the one prompt of training and measuring, for every arm.

The person, if any, stands in front; then examples, if any; then the text; last the label that is asked for. Every class
is one token. Texts are quoted as data and cut at a number of tokens. Knows no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.packing import ChatForm, Ids, SegmentTokenizer
from simenv.datasets.annotators import Annotations, Label
from simenv.errors import ConfigError
from simenv.training.personal.arm import Person

Ints = NDArray[np.int64]
VECTOR = -1
"""Stands in a prompt where the learned vector of the person goes."""
NOBODY = -1
"""Number of a person of whom nothing is known."""


@final
@dataclass(frozen=True)
class Wording:
    """The fixed words of a prompt."""

    task: str = ""
    """In front of every prompt; "{labels}" becomes the names of all labels."""
    person: str = "Reader: {}\n"
    """Where the id goes."""
    stranger: str = "unknown"
    """In place of the id of a person never met."""
    text: str = "Text: "
    cue: str = "{}:"
    """Asks for one label, by name."""


EMBEDDED = Wording()
"""For a model that is trained on nothing else."""
INSTRUCT = Wording(
    task="People read texts and label them, each in their own way. For the last text below, say how this reader labels "
    "it. The labels: {labels}.\n\n"
)
"""For pre-trained models."""


@final
@dataclass(frozen=True, eq=False)
class Question:
    """How one label is asked for: tokens of the cue, and the one token of each class behind it."""

    cue: tuple[int, ...]
    option: tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class Writer:
    """Writes the prompts of one data set for one tokenizer."""

    data: Annotations
    tokenizer: Any
    wording: Wording = EMBEDDED
    text_tokens: int = 192
    """Longest text; the rest of it is cut off."""
    example_tokens: int = 64
    """Longest text of an example."""
    closing: tuple[int, ...] = ()
    """Ends a prompt; encoders such as T5's are used to an end-of-text token there."""

    @cached_property
    def segments(self) -> SegmentTokenizer:
        """Turns words into tokens, with the tokenizer's chat form around them where it has one."""
        return SegmentTokenizer(self.tokenizer, ChatForm.of(self.tokenizer))

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """[L]: one per label.

        Raises:
            ConfigError: the classes are not one token each for this tokenizer.

        """
        return tuple(self._question(label) for label in self.data.labels)

    def _question(self, label: Label) -> Question:
        asked = self.wording.cue.format(label.name)
        glue, option = self.segments.answer_ids(asked, label.options)
        return Question(tuple(self.segments.suffix_ids([asked], glue)), tuple(option))

    def prompt(
        self, user: int, item: int, person: Person, examples: Sequence[int] = (), body: Sequence[int] | None = None
    ) -> list[int]:
        """Return the tokens up to the cue, `VECTOR` where the person's vector goes.

        user: number of the user, `NOBODY` for a stranger. examples: rows of the data to show, in order. body: tokens
        to put in place of the text's own.
        """
        chat = self.segments.chat
        start = self.tokenizer.bos_token_id
        out = [] if start is None or chat.head else [start]
        out += self._ids(chat.head) + ([VECTOR] if person == "vector" else []) + self._ids(self._task)
        if person == "text":
            out += self._ids(self.wording.person.format(self._name(user)))
        for row in examples:
            out += self._example(row)
        words = self.bodies[item] if body is None else body
        return [*out, *self._text(words, self.text_tokens), *self._ids(chat.middle), *self.closing]

    def _name(self, user: int) -> str:
        return self.wording.stranger if user == NOBODY else str(self.data.users.ids[user])

    def _example(self, row: int) -> list[int]:
        said = [
            f"{self.wording.cue.format(label.name)} {label.options[value]}"
            for label, value in zip(self.data.labels, self.data.value[row], strict=True)
            if value >= 0
        ]
        words = self.bodies[int(self.data.item[row])]
        return [*self._text(words, self.example_tokens), *self._ids("\n".join(said) + "\n\n")]

    def _text(self, words: Sequence[int], longest: int) -> list[int]:
        return [*self._ids(self.wording.text), *words[:longest], *self._ids("\n")]

    @cached_property
    def bodies(self) -> tuple[Ids, ...]:
        """[T]: tokens of each text, whole."""
        made = self.tokenizer(list(self.data.text), add_special_tokens=False, verbose=False)["input_ids"]
        return tuple(tuple(row) for row in made)

    @cached_property
    def _task(self) -> str:
        return self.wording.task.format(labels=", ".join(label.name for label in self.data.labels))

    def _ids(self, text: str) -> list[int]:
        return self.segments.ids([text]) if text else []


def corpus(data: Annotations, rows: Ints, wording: Wording = EMBEDDED) -> list[str]:
    """Return the words a tokenizer for these rows should know: each prompt's opening and text, then all answers.

    Only texts and users of the given rows are used.
    """
    people = [wording.person.format(data.users.ids[u]) for u in data.user[rows]]
    texts = [wording.text + data.text[i] + "\n" for i in np.unique(data.item[rows])]
    cues = [f"{wording.cue.format(la.name)} {option}" for la in data.labels for option in la.options]
    return [*people, wording.person.format(wording.stranger), *texts, *cues * 10]


def check_length(prompts: Sequence[Sequence[int]], questions: Sequence[Question], limit: int) -> None:
    """Raise ConfigError if a prompt with its longest cue is longer than the model's positions."""
    longest = max(map(len, prompts), default=0) + max(len(q.cue) for q in questions) + 1
    if longest > limit:
        raise ConfigError(
            f"a prompt has {longest} tokens and the model {limit} positions: take a smaller text_tokens, fewer or "
            "shorter examples, or a base with a longer context."
        )
