"""What training stands on: settings, what is distilled from the known rows, item statistics, and who learns from whom.

Touches no weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.choice import Choice
from simenv.agents.crowd import Crowd, CrowdSettings
from simenv.agents.embedding import by_name
from simenv.agents.memory import ItemSpace, Memory
from simenv.agents.profile import Profiles
from simenv.agents.prompt import PromptSettings, PromptWriter, preset
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.randomness import generator
from simenv.training.cluster import ClusterSettings, FeatureKind
from simenv.training.distil import Distiller, StatisticalDistiller
from simenv.training.examples import Folds
from simenv.training.finetune import Arm, LoraSettings
from simenv.training.learn import LearnSettings
from simenv.training.world_model import WorldModelSize


@final
@dataclass(frozen=True)
class TrainSettings:
    """How a population is made."""

    prompt: PromptSettings = field(default_factory=lambda: preset("compact"))
    """What prompts hold; see agents/prompt.py for the presets."""
    base: str | None = None
    """Hugging Face name or path of a causal LM; None: the embedded model, trained here from nothing."""
    size: WorldModelSize = field(default_factory=WorldModelSize)
    """Shape of the embedded model."""
    world: LearnSettings = field(default_factory=lambda: LearnSettings(steps=800))
    """Training of the embedded model."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    """Training of the adapters."""
    arm: Arm = "persona"
    """"none": no adapter; "single": one for all; "persona": one each."""
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    """How members are grouped into personas; method="random" is the control arm."""
    cluster_on: FeatureKind = "numbers"
    """What of a profile is compared: its numbers, its text (the paper's way) or both."""
    readout: Literal["auto", "fused", "lm", "prior"] = "auto"
    """What answers: the pool of language model and prior, or one alone. "auto": the pool where the prompt shows the
    taste match, which rests on the same prior; else the language model alone."""
    exit: Literal["hazard", "answer"] = "hazard"
    """Leave by the fitted hazard, or by the persona's own stay/leave answer."""
    crowd: CrowdSettings = field(default_factory=CrowdSettings)
    """Item statistics."""
    choice: Choice = field(default_factory=Choice)
    """What is looked at and taken; assumed."""
    embedder: str = "tfidf"
    """Text embedder of items and profiles: "tfidf", "glove:FOLDER" or "st:NAME"."""
    page_size: int = 10
    """Ratings of the log that count as one page of a visit."""
    users_per_epoch: int = 800
    """Users whose histories are cut anew in each epoch."""
    validation: float = 0.1
    """Share of the training users kept for calibration."""
    seed: int = 0


@final
@dataclass(frozen=True, eq=False)
class Ground:
    """What every stage stands on: known rows, item statistics and who learns from whom."""

    log: InteractionLog
    catalogue: Catalogue
    member: NDArray[np.int64]
    settings: TrainSettings
    crowd: Crowd
    space: ItemSpace
    folds: Folds
    pupils: NDArray[np.int64]
    """Users the world model and the prior learn from."""
    judges: NDArray[np.int64]
    """Users kept for calibration."""

    @classmethod
    def of(
        cls,
        log: InteractionLog,
        catalogue: Catalogue,
        member: NDArray[np.int64],
        settings: TrainSettings,
        crowd: Crowd,
        space: ItemSpace,
        people: NDArray[np.floating] | None = None,
    ) -> Ground:
        """Return item statistics of folds and the division of users. crowd, space: of all known rows."""
        folds = Folds.fit(log, catalogue, settings.crowd, space, settings.seed, blind=crowd.blind, people=people)
        pool = _pool(log, member)
        order = generator(settings.seed, "judges").permutation(pool)
        n = int(np.clip(round(len(pool) * settings.validation), min(20, len(pool) // 2), 200))
        return cls(log, catalogue, member, settings, crowd, space, folds, np.sort(order[n:]), np.sort(order[:n]))

    def truncated(self, cut: NDArray[np.int64] | None) -> NDArray[np.bool_]:
        """Return bool[U]: whose last known visit may go on in rows that are not known."""
        member = np.isin(np.arange(self.log.n_users), self.member)
        return member if cut is None else member | (cut < np.iinfo(np.int64).max)

    @property
    def writer(self) -> PromptWriter:
        """The one prompt."""
        return PromptWriter(self.catalogue, self.log.scale, self.settings.prompt)


def _pool(log: InteractionLog, member: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return who may be learned from: users who are not simulated, or everybody where these are fewer than 100."""
    able = np.flatnonzero(log.count >= 5)
    others = np.setdiff1d(able, member)
    pool = others if len(others) >= 100 else able
    if len(pool) < 4:
        raise ConfigError(
            f"only {len(pool)} users have five or more known ratings; simenv needs at least four such users."
        )
    return pool


def known_crowd(
    log: InteractionLog, catalogue: Catalogue, settings: TrainSettings, people: NDArray[np.floating] | None = None
) -> Crowd:
    """Return item statistics of all known rows; without other users' opinions where no prompt shows any."""
    crowd = Crowd.fit(log, catalogue, settings.crowd, people=people, seed=settings.seed)
    return crowd if settings.prompt.collaborative else crowd.without_opinions()


def by_counting(settings: TrainSettings) -> StatisticalDistiller:
    """Return the default distiller, recalling as the prompt settings say.

    By text alone, the nearest is recalled however far it is (the paper's form).
    """
    mix = settings.prompt.mix
    return StatisticalDistiller(by_name(settings.embedder), mix, floor=None if mix == 1 else 0.0)


def prepare(
    log: InteractionLog,
    catalogue: Catalogue,
    member: NDArray[np.int64],
    settings: TrainSettings,
    distiller: Distiller | None = None,
    cut: NDArray[np.int64] | None = None,
    people: NDArray[np.floating] | None = None,
) -> tuple[Ground, Profiles, Memory]:
    """Return the ground, and the members' Ms and Ml; see `simenv.training.pipeline.train` for the arguments.

    Raises:
        LeakageError: a member's row lies at or after the user's cut.

    """
    crowd = known_crowd(log, catalogue, settings, people)
    made = (distiller or by_counting(settings)).distil(log.of_users(member), catalogue, crowd, member, cut=cut)
    profiles, memory = made
    return Ground.of(log, catalogue, member, settings, crowd, memory.space, people), profiles, memory
