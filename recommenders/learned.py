"""Learned: any trained agent with `predict(observation)` as a policy for benchmarks, beside all other recommenders.

An agent of Stable-Baselines3 or your own; what it observes and what its actions mean is a form's business. Knows
neither Gymnasium nor torch nor the users: an agent sees what stands in a Session, as in the environment it was
trained in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.recommenders.pair_features import CONTEXT, FEATURES, PairFeatures, PairFeatureSettings, Start, View
from simenv.session import Session, Slate


@runtime_checkable
class Agent(Protocol):
    """What has been trained. Stable-Baselines3's algorithms are agents."""

    def predict(self, observation: Any, *, deterministic: bool = False) -> tuple[Any, Any]:
        """Return (actions [B, ...], anything) for observations with leading axis B."""
        ...


class Form(Protocol):
    """How Sessions look to an agent, and what its actions show, fitted on a log."""

    def show(self, agent: Agent, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k places that the agent, asked without exploration, fills for users [B]. Changes nothing."""
        ...


class FormSettings(Protocol):
    """How a form is made."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> Form:
        """Learn from the contestants' log what observations rest on."""
        ...


@final
@dataclass(frozen=True)
class Learned:
    """A trained agent as a recommender. Only the form is fitted; the agent is as it was trained."""

    agent: Agent
    form: FormSettings = field(default_factory=lambda: RankerForm())
    """The form of the environment the agent was trained in."""
    seed: int | None = None
    """Seed of the form the agent was trained with; None: the seed of the fit. Factors turn with it, and features with
    them, but little."""
    name: str = "learned"
    """How reports call it."""

    def __post_init__(self) -> None:
        if not isinstance(self.agent, Agent):
            raise ConfigError(
                f"an agent has predict(observation, deterministic=...) -> (action, state); {type(self.agent).__name__} "
                "has not. Wrap a plain function in a class with this method."
            )

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> LearnedPolicy:
        """Fit the form; the agent learns nothing."""
        return LearnedPolicy(self.agent, self.form.fit(log, catalogue, seed=seed if self.seed is None else self.seed))


@final
@dataclass(frozen=True, eq=False)
class LearnedPolicy:
    """See Learned."""

    agent: Agent
    form: Form

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return what the agent, asked without exploration, shows."""
        return self.form.show(self.agent, session, k, seed=seed)


@final
@dataclass(frozen=True)
class RankerForm:
    """Actions weigh pair features: float[F] in -1..1 per user, in the order of FEATURES; the k best are shown.

    Observations are float32[D] in -5..5 in the order of CONTEXT. Small enough for an agent to learn in minutes,
    whatever the catalogue's size.
    """

    features: PairFeatureSettings = PairFeatureSettings()  # noqa: RUF009 - frozen

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> Ranker:
        """Fit the features."""
        return Ranker(self.features.fit(log, catalogue, seed=seed))


@final
@dataclass(frozen=True, eq=False)
class Ranker:
    """See RankerForm."""

    features: PairFeatures
    _kept: list[tuple[Any, Start]] = field(default_factory=list, repr=False)
    """The last pasts asked for and what they say: pages of one visit share it."""

    @property
    def n_context(self) -> int:
        """D, numbers of an observation."""
        return len(CONTEXT)

    @property
    def n_features(self) -> int:
        """F, numbers of an action."""
        return len(FEATURES)

    def show(self, agent: Agent, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k candidates that weigh most; `seed` is not used."""
        look = self.look(session, k)
        action, _ = agent.predict(look.observation, deterministic=True)
        return look.slate(np.asarray(action))

    def look(self, session: Session, k: int) -> RankerLook:
        """Return context and features of the candidates."""
        return self.look_from(self._start(session), session, k)

    def look_from(self, start: Start, session: Session, k: int) -> RankerLook:
        """Return the same from what the past says, where it is known already."""
        view = self.features.view(start, session, k)
        return RankerLook(view.context, view, start, session, k)

    def _start(self, session: Session) -> Start:
        past = session.past_item, session.past_rating, session.candidate
        if self._kept and all(a is b for a, b in zip(self._kept[0][0], past, strict=True)):
            return self._kept[0][1]
        self._kept[:] = [(past, self.features.start(session))]
        return self._kept[0][1]


@final
@dataclass(frozen=True, eq=False)
class RankerLook:
    """One page as a ranker sees it."""

    observation: NDArray[np.float32]
    """float32[B, D]"""
    view: View
    start: Start
    session: Session
    k: int

    def slate(self, action: NDArray[Any]) -> Slate:
        """Return the k candidates that weigh most under weights [B, F].

        Raises:
            ConfigError: actions of another shape, or NaN.

        """
        shape = len(self.session), len(FEATURES)
        if action.shape != shape or not np.isfinite(action).all():
            raise ConfigError(
                f"a ranker's action is finite weights of shape [B, F] = {shape}, one per pair feature; "
                f"got shape {action.shape}. Was the agent trained in another environment?"
            )
        return self.view.slate(self.session, self.start, action, self.k)
