"""Cohort: the users of the table, what is known of them, the pairs they are asked about, and all of it in words.

Built from known rows alone; held-out rows give the pairs that are asked, and their ratings go to the score. No weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.cues import Taste
from simenv.agents.embedding import by_name
from simenv.agents.language_model import Prompt, UniformModel
from simenv.agents.memory import Memory
from simenv.agents.persona import Personas
from simenv.agents.prior import Prior
from simenv.agents.profile import Profiles
from simenv.agents.prompt import PromptWriter
from simenv.agents.rating_model import LMRatingModel, Mind
from simenv.agents.readout import Readout
from simenv.agents.store import context_of
from simenv.datasets.dataset import Dataset
from simenv.errors import ConfigError, DataError
from simenv.evaluation.rating import Truth
from simenv.evaluation.yardstick import HoldOut
from simenv.log import InteractionLog
from simenv.randomness import derive, generator
from simenv.study.table1_settings import FORMS, Arm, Form, Table1Settings
from simenv.training.cluster import ClusterSettings, cluster, features
from simenv.training.examples import Lesson, LessonWriter, evidence, fit_prior
from simenv.training.finetune import limited
from simenv.training.ground import Ground, TrainSettings, prepare
from simenv.training.resume import digest

_ENOUGH = 5
"""Known ratings below which nothing is learned from a user."""
_VERSION = 1
"""Raised when what is measured changes: older rows in a folder are then measured anew."""


@final
@dataclass(frozen=True, eq=False)
class Cohort:
    """M users before the table's questions."""

    ground: Ground
    """Known rows, item statistics, members."""
    profiles: Profiles
    """Ms, [M]."""
    memory: Memory
    """Ml."""
    prior: Prior
    """Teaches the embedded base in pre-training; no answer of the table is fused with it."""
    future: InteractionLog
    """The pairs asked, with the true ratings."""
    settings: Table1Settings
    arm: Arm
    seed: int
    note: str
    """How the log was cut."""

    @classmethod
    def of(cls, dataset: Dataset, settings: Table1Settings, arm: Arm, seed: int) -> Cohort:
        """Cut the log and distil what is known.

        Raises:
            DataError: too few users are eligible, or the log has no times to cut by.
            ConfigError: the arm "world" without other users.

        """
        member = _members(dataset.log, settings, seed)
        split = dataset.log.split(settings.split, settings.fraction, seed=seed, users=member)
        known = split.past.of_users(member) if arm == "own" else split.past
        if arm == "world" and len(known) == int(known.count[member].sum()):
            raise ConfigError(
                'the arm "world" needs users who are not simulated; all are. Take fewer, or the arm "own".'
            )
        least = HoldOut().least
        if known.count.max() < least:
            raise DataError(f"nobody has the {least} known ratings that yardsticks are tuned on; raise min_ratings.")
        cut = None if split.kind == "random" else split.cut
        how = TrainSettings(prompt=settings.prompt, embedder=settings.embedder, seed=seed)
        ground, profiles, memory = prepare(known, dataset.catalogue, member, how, cut=cut)
        pupils = np.flatnonzero(
            (known.count >= _ENOUGH) & (np.isin(np.arange(known.n_users), member) == (arm == "own"))
        )
        ground = replace(ground, pupils=pupils, judges=pupils[:0])
        prior = fit_prior(known, ground.folds, pupils, derive(seed, "prior"))
        future = _drawn(split.future.of_users(member), settings.limit, seed)
        return cls(ground, profiles, memory, prior, future, settings, arm, seed, split.note)

    @property
    def member(self) -> NDArray[np.int64]:
        """int64[M]: numbers of the users."""
        return self.ground.member

    @property
    def truth(self) -> Truth:
        """What was really rated."""
        return Truth(self.future.user, self.future.rating, self.future.scale)

    @property
    def key(self) -> str:
        """What all that is built depends on: known rows, catalogue, users, prompt, seed; no held-out rating."""
        g, s = self.ground, self.settings
        catalogue = digest(g.catalogue.noun + g.catalogue.to_frame().to_json())
        parts = (_VERSION, g.log.fingerprint, catalogue, g.member.tolist(), asdict(s.prompt), s.embedder, self.seed)
        return digest(repr(parts))

    @property
    def asked(self) -> str:
        """What every measurement depends on beside what is built: the held-out pairs and their ratings."""
        return digest(self.key + self.future.fingerprint)

    def writer(self, form: Form) -> PromptWriter:
        """Return the prompt of a form."""
        return PromptWriter(self.ground.catalogue, self.ground.log.scale, self.settings.form(form))

    def prompts(self, form: Form) -> list[Prompt]:
        """Return one prompt per pair asked."""
        rater = LMRatingModel(self._mind(form), UniformModel(), self.prior, Readout(arm="lm"))
        return rater.prompts(self.future.user, self.future.item)

    def _mind(self, form: Form) -> Mind:
        g = self.ground
        row = np.full(g.log.n_users, -1, np.int64)
        row[self.member] = np.arange(len(self.member))
        taste = Taste.of(g.crowd, *context_of(self.memory, self.member))
        silent = (None,) * len(self.member)
        return Mind(row, g.crowd, taste, self.profiles, self.memory, self.writer(form), silent)

    @cached_property
    def personas(self) -> tuple[Personas, str]:
        """Return the personas by the text of Ms, as in the paper, and how their number came about."""
        x = features(self.profiles, "text", by_name(self.settings.embedder))
        found = cluster(x, ClusterSettings(k=self.settings.personas, seed=self.seed))
        return Personas.of(found.label, self.member, self.profiles, self.ground.log.n_users), found.note

    def pretraining(self) -> Callable[[int], list[Lesson]]:
        """Return a function that draws an epoch of lessons from those the embedded base learns from.

        World arm: other users; own arm: the members themselves. Each fold of users gets one form of the prompt, another
        one in the next epoch, so that no form is strange to the base.
        """
        g = self.ground

        def draw(number: int) -> list[Lesson]:
            seed = derive(self.seed, "base", number)
            limit = g.settings.users_per_epoch
            user = g.pupils if len(g.pupils) <= limit else np.sort(generator(seed).choice(g.pupils, limit, False))
            drawn = enumerate(evidence(g.log, g.folds, user, seed))
            return [x for n, e in drawn for x in self._lessons(FORMS[(n + number) % 3]).write(e, seed)]

        return draw

    def rows(self, form: Form, user: NDArray[np.int64], most: int, per_prefix: int) -> list[Lesson]:
        """Return the fixed training rows of an adapter: at most so many known ratings of users, each in its prompt.

        Every user's known rows are cut once into what the prompt knows and what is asked, so that no rating stands in
        its own profile or memories. The same ratings are drawn for every form.
        """
        g, seed = self.ground, derive(self.seed, "adapter rows")
        drawn = evidence(g.log, g.folds, user, seed, targets=len(g.log))
        writer = replace(self._lessons(form), per_prefix=per_prefix)
        return limited([x for e in drawn for x in writer.write(e, seed)], most, seed)

    def _lessons(self, form: Form) -> LessonWriter:
        return LessonWriter(self.writer(form), self.profiles.cuts, self.prior, hide=0.0)

    def about(self) -> dict[str, Any]:
        """Return the cohort in plain values, for reports."""
        return {
            "users": len(self.member),
            "known_rows": len(self.ground.log),
            "known_rows_of_the_users": int(self.ground.log.count[self.member].sum()),
            "pairs": len(self.future),
            "split": self.note,
        }


def _members(log: InteractionLog, settings: Table1Settings, seed: int) -> NDArray[np.int64]:
    able = np.flatnonzero((log.count >= settings.min_ratings) & (log.count <= settings.max_ratings))
    wanted = len(able) if settings.users is None else settings.users
    if len(able) < max(wanted, 2) or wanted < 2:
        raise DataError(
            f"{len(able)} users have {settings.min_ratings} to {settings.max_ratings} ratings and {max(wanted, 2)} are "
            "wanted, two at least; take fewer users or wider bounds."
        )
    return np.sort(generator(seed, "members").choice(able, wanted, replace=False))


def _drawn(future: InteractionLog, limit: int | None, seed: int) -> InteractionLog:
    if limit is None or limit >= len(future):
        return future
    return future.take(np.sort(generator(seed, "pairs").permutation(len(future))[:limit]))
