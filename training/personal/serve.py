"""A tuned arm as simulated users: the classes of the label "rating" are the answers. Head or written label alike.

Knows the past it is handed; nothing in it reaches beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.choice import Choice
from simenv.agents.exit import ExitModel
from simenv.agents.population import SimulatedPopulation
from simenv.agents.rating_model import MemoRatingModel
from simenv.catalogue import Catalogue
from simenv.datasets.annotators import item_texts, of_log
from simenv.errors import ConfigError, UnknownIdError
from simenv.log import InteractionLog
from simenv.protocols import Answer
from simenv.scale import RatingScale
from simenv.training.exit_model import fit_exit
from simenv.training.personal.arm import Arm
from simenv.training.personal.base import Base, EmbeddedSettings, embedded
from simenv.training.personal.carry import Lessons, trained
from simenv.training.personal.model import PersonalModel
from simenv.training.personal.partition import held_back
from simenv.training.personal.tune import Prompts, TuneSettings, probabilities
from simenv.training.personal.wording import NOBODY, Writer

Ints = NDArray[np.int64]
_VALID = 0.1
"""Share of the past on which the best epoch is chosen."""


@final
@dataclass(frozen=True, eq=False)
class PersonalRatingModel:
    """How much users like items, as one tuned arm says. Users without a past are strangers to it."""

    model: PersonalModel
    writer: Writer
    """Its prompts; its data has the one label "rating"."""
    text: Ints
    """int64[I]: number of each item's text."""
    scale: RatingScale
    known: NDArray[np.bool_]
    """bool[U]: users the arm learned of."""
    support: NDArray[np.float32]
    """float32[I]: ratings of each item it learned from."""

    def rate(self, user: Ints, item: Ints) -> Answer:
        """Return the answers of users [N] for items [N].

        off_scale: what an arm that writes its answer gave to other tokens; 0 for a head.

        Raises:
            UnknownIdError: a user or an item does not exist.

        """
        user, item = np.asarray(user, np.int64), np.asarray(item, np.int64)
        for what, number, size in (("user", user, len(self.known)), ("item", item, len(self.text))):
            if len(number) and (number.min() < 0 or number.max() >= size):
                raise UnknownIdError(f"{what}s are numbers 0..{size - 1}; got {number.min()}..{number.max()}.")
        whose = np.where(self.known[user], user, NOBODY)
        person = self.model.arm.person
        tokens = [self.writer.prompt(int(u), int(self.text[i]), person) for u, i in zip(whose, item, strict=True)]
        asked = Prompts(tokens, whose, np.full((len(user), 1), -1, np.int64))
        p, outside = probabilities(self.model, asked)
        return Answer(p[0], outside, self.support[item])


def rating_model(
    arm: Arm,
    log: InteractionLog,
    catalogue: Catalogue,
    *,
    base: Base | None = None,
    settings: TuneSettings | None = None,
    own: EmbeddedSettings | None = None,
    text_tokens: int = 64,
    seed: int = 0,
) -> PersonalRatingModel:
    """Return an arm tuned on a log.

    log: the past, and nothing later. base: the language model; None: our own, made on the log's item texts as `own`
    says. settings: None: the usual.

    Raises:
        ConfigError: the arm shows examples, which only the experiment does.

    """
    if arm.person == "examples":
        raise ConfigError(f"{arm.name} shows examples in the prompt and cannot serve; take a tuned arm such as CLS-V.")
    data = of_log(log, catalogue)
    everything = np.ones(len(data), bool)
    valid = held_back(data, everything, _VALID, seed)
    train = np.flatnonzero(~valid)
    language = base or embedded(data, train, own or EmbeddedSettings(), seed)
    writer = language.writer(data, text_tokens, text_tokens)
    model, _ = trained(arm, language, Lessons(writer, train, np.flatnonzero(valid), settings or TuneSettings()), seed)
    known = np.bincount(data.user[train], minlength=log.n_users) > 0
    support = np.bincount(log.item[train], minlength=log.n_items).astype(np.float32)
    return PersonalRatingModel(model, writer, item_texts(catalogue)[1], log.scale, known, support)


def population(
    answers: PersonalRatingModel,
    log: InteractionLog,
    catalogue: Catalogue,
    *,
    choice: Choice | None = None,
    leave: ExitModel | None = None,
) -> SimulatedPopulation:
    """Return users who answer as the arm does: all users of the log with a rating the arm learned from.

    log: the past the arm was tuned on. choice: None: the assumed one. leave: None: the hazard fitted to the log.
    """
    member = np.flatnonzero(answers.known)
    total = np.bincount(log.user, weights=log.rating, minlength=log.n_users)
    mean = np.where(log.count > 0, total / np.maximum(log.count, 1), log.rating.mean())
    busy = np.log1p(log.count)
    activity = (busy - busy[member].mean()) / max(float(busy[member].std()), 1e-9)
    told = {"population": f"arm {answers.model.arm.name}", "log": log.fingerprint}
    return SimulatedPopulation(
        MemoRatingModel(answers, log.n_items),
        choice or Choice(),
        leave or fit_exit(log, activity),
        log.users,
        log.items,
        member,
        mean,
        activity,
        catalogue=catalogue,
        provenance=told,
    )
