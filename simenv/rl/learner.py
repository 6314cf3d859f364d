"""Learner: a way to get a policy from replicas of a population. The protocol, and Stable-Baselines3's PPO as shipped.

Knows populations by protocol; imports Stable-Baselines3 only while it learns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.protocols import Policy, Population
from simenv.randomness import derive
from simenv.recommenders.learned import LearnedPolicy, RankerForm
from simenv.rewards import Reward
from simenv.rl.actor import Actor
from simenv.rl.replicas import Disagreement, Pessimistic

if TYPE_CHECKING:
    from simenv.rl.ranking import RankingVectorEnv

Watch = Callable[[int, Policy], None]
"""Called now and then while a policy learns, with the steps taken so far and the policy as it is."""


@runtime_checkable
class Learner(Protocol):
    """A way to become a policy by trial and error. Usually a frozen dataclass of settings."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    def learn(
        self,
        populations: Sequence[Population],
        user: NDArray[np.int64],
        log: InteractionLog,
        catalogue: Catalogue,
        *,
        seed: int,
        watch: Watch | None = None,
    ) -> Policy:
        """Return a policy trained on users [M] of replicas. log: the contestants' rows, all it may know of the past."""
        ...


@final
@dataclass(frozen=True)
class PPORanker:
    """PPO (Schulman et al. 2017), as Stable-Baselines3 has it, that learns how to weigh the features of candidates.

    A Gaussian over F weights per page given the context of the visit; see `RankerForm` for both.
    """

    steps: int = 20_000
    """Pages shown in training."""
    form: RankerForm = RankerForm()  # noqa: RUF009 - frozen
    """Candidates, features and context."""
    reward: str | Reward = "expected"
    """Name in `simenv.rewards`, or a function of (response, slate, scale)."""
    discount: float = 0.0
    """gamma: weight of the next page against this one. 0: myopic, each page for itself."""
    leave: bool = True
    """Users leave while it trains; False keeps everyone to the last page."""
    pessimism: float = 0.0
    """Rating points a promised rating loses per point that the training replicas disagree; see `Pessimistic`."""
    slate_size: int = 10
    """Places of a page."""
    max_pages: int = 10
    """Pages of a visit."""
    rows: int = 64
    """Visits side by side."""
    pages_per_update: int = 16
    """Pages of each row between two updates."""
    epochs: int = 8
    """Passes over the pages of an update."""
    batch: int = 256
    """Pages of a gradient step."""
    learning_rate: float = 1e-3
    """Step of Adam, falling in a straight line to a twentieth of it."""
    hidden: tuple[int, ...] = (32, 32)
    """Widths of the layers of actor and critic."""
    initial_deviation: float = 0.5
    """Standard deviation of the weights tried at first, in -1..1."""
    looks: int = 8
    """How often `watch` is called, evenly, besides at the start."""
    name: str = "ppo"
    """How reports call it."""

    def __post_init__(self) -> None:
        if self.rows * self.pages_per_update > self.steps or not 0 <= self.discount <= 1:
            raise ConfigError(
                f"PPO needs at least one update ({self.rows * self.pages_per_update} steps) and a discount in 0..1; "
                f"got {self.steps} steps and {self.discount}."
            )

    def learn(
        self,
        populations: Sequence[Population],
        user: NDArray[np.int64],
        log: InteractionLog,
        catalogue: Catalogue,
        *,
        seed: int,
        watch: Watch | None = None,
    ) -> LearnedPolicy:
        """Return the policy after the last update; none is chosen by what `watch` sees."""
        from simenv.rl.ranking import RankingVectorEnv

        ranker = self.form.fit(log, catalogue, seed=derive(seed, "form"))
        if self.pessimism:
            dispute = Disagreement.of(populations, user)
            populations = [Pessimistic(p, dispute, self.pessimism) for p in populations]
        env = RankingVectorEnv(
            populations, log, ranker, user, self.rows,
            slate_size=self.slate_size, max_pages=self.max_pages, reward=self.reward, leave=self.leave,
        )  # fmt: skip
        model = self._model(env, seed)
        about = {"learner": repr(self), "seed": str(seed), "log": log.fingerprint}

        def policy() -> LearnedPolicy:
            return LearnedPolicy(Actor.of(model, about), ranker)

        self._run(model, policy, watch)
        return policy()

    def _model(self, env: RankingVectorEnv, seed: int) -> Any:
        from stable_baselines3 import PPO
        from stable_baselines3.common.vec_env import VecNormalize

        from simenv.rl.sb3 import SimenvVecEnv

        adapted = SimenvVecEnv(env)  # type: ignore[arg-type]  # it asks for no more than this environment has
        return PPO(
            "MlpPolicy",
            VecNormalize(adapted, norm_obs=False, gamma=self.discount),
            learning_rate=lambda left: self.learning_rate * max(left, 0.05),
            n_steps=self.pages_per_update,
            batch_size=self.batch,
            n_epochs=self.epochs,
            gamma=self.discount,
            policy_kwargs={"net_arch": list(self.hidden), "log_std_init": float(np.log(self.initial_deviation))},
            seed=derive(seed, "ppo") % 2**32,
            device="cpu",
        )

    def _run(self, model: Any, policy: Callable[[], Policy], watch: Watch | None) -> None:
        """Learn, and call `watch` at the start and `looks` times after."""
        from stable_baselines3.common.callbacks import BaseCallback

        due = [round(self.steps * (n + 1) / self.looks) for n in range(self.looks)]
        see: Watch = watch if watch is not None else lambda step, seen: None

        class Watching(BaseCallback):
            def _on_step(self) -> bool:
                return True

            def _on_rollout_start(self) -> None:  # the policy changes between rollouts only
                if due and self.num_timesteps >= due[0]:
                    due.pop(0)
                    see(self.num_timesteps, policy())

        see(0, policy())
        model.learn(self.steps, callback=Watching())
        see(model.num_timesteps, policy())
