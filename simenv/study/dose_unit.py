"""One unit of the dose-response study: one invented world at one dose, its contest, and what every judge says of it.

The truth of a world is known for every pair. It reaches the true column and nothing else: judges and simulated users
learn from the judge's rows, recommenders from the contestants' rows, and NDCG and its like read the held-out rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.arms import parts
from simenv.agents.population import SimulatedPopulation
from simenv.agents.prompt import preset
from simenv.datasets.synthetic import World, generate
from simenv.errors import ConfigError
from simenv.evaluation.decision import Judge, judge_values, population_judge
from simenv.evaluation.estimate import Estimate
from simenv.evaluation.order import TrueOrder
from simenv.evaluation.yardstick import ItemMean, Yardstick, tuned_bias, tuned_mf
from simenv.log import InteractionLog
from simenv.protocols import Recommender
from simenv.randomness import derive, generator
from simenv.recommenders import by_name
from simenv.study.contest import Contest
from simenv.study.judges import ndcg, popularity_propensity, snips, top_rated
from simenv.training.pipeline import TrainSettings, train
from simenv.training.world_model import SMALL

Floats = NDArray[np.float64]
Kind = Literal["rating", "popularity"]

NDCG = "NDCG@10"
PLAIN = "matrix factorisation"
OURS = "simenv"
CONTENT = "simenv, content only"
JUDGES = (
    NDCG, "SNIPS", "top held-out ratings", "item mean", "user+item bias", PLAIN,
    OURS, f"{OURS}, prior alone", f"{OURS}, language model alone", CONTENT,
)  # fmt: skip
"""In the order of tables; the first three read held-out ratings, all others predict."""
CONTESTANTS = (
    "random", "popular", "best-rated", "long-tail", "item-knn", "als", "bpr", "mf", "content",
    "inverted-mf", "noisy-mf", "mf-no-item-bias", "popular-x-mean",
)  # fmt: skip


def recipe(steps: int = 200, lora_steps: int = 30) -> TrainSettings:
    """Return the usual recipe, made small: a small embedded model, few steps, pages of half a log.

    steps: of the embedded model; more did not order recommenders better at doses 0 and 1 (docs/log.md). lora_steps: of
    the single adapter, a third for each persona.
    """
    usual = TrainSettings()
    lora = replace(
        usual.lora,
        single=replace(usual.lora.single, steps=lora_steps),
        persona=replace(usual.lora.persona, steps=max(1, lora_steps // 3)),
    )
    return replace(usual, size=SMALL, world=replace(usual.world, steps=steps), lora=lora, page_size=5)


@final
@dataclass(frozen=True)
class DoseWorld:
    """How large a world is, how its log is cut, how much its simulated users learn."""

    n_users: int = 400
    n_items: int = 400
    median_history: float = 40.0
    members: int = 100
    """Users who are shown pages and simulated, drawn by the world's seed."""
    min_ratings: int = 30
    """Members have at least so many ratings, so that enough is left on each side of every cut."""
    fraction: float = 0.6
    """Share of a member's history, first in time, that is past; others' rows are all known (the `world` arm)."""
    share: float = 0.5
    """Share of the past rows that judges learn from; recommenders learn from the rest."""
    places: int = 10
    """Places of the page that counts, and of NDCG."""
    rated_places: int = 5
    """Held-out items ranked first whose true ratings are averaged."""
    contestants: tuple[str, ...] = CONTESTANTS
    """Names of `simenv.recommenders`."""
    recipe: TrainSettings = field(default_factory=lambda: recipe())
    """How simulated users are made; prompt and seed are set by the study."""
    simulated: bool = True
    """Train simulated users; False: the other judges alone, in seconds."""
    content: bool = False
    """Also train users whose prompts know nothing of others' opinions; takes nearly as long again."""


@final
@dataclass(frozen=True, eq=False)
class Ground:
    """A world and its cuts."""

    world: World
    member: NDArray[np.int64]
    """int64[M]"""
    cut: NDArray[np.int64] | None
    judge: InteractionLog
    contestants: InteractionLog
    held_out: InteractionLog

    @classmethod
    def of(cls, settings: DoseWorld, kind: Kind, dose: float, seed: int) -> Ground:
        """Generate and cut a world. Equal seeds give equal users and items at every dose and of both kinds.

        The other kind of selection is off, so that dose 0 is the same world for both: rated uniformly at random.

        Raises:
            ConfigError: fewer users have `min_ratings` than are wanted.

        """
        s = settings
        world = generate(
            seed,
            n_users=s.n_users,
            n_items=s.n_items,
            median_history=s.median_history,
            selection=dose if kind == "rating" else 0.0,
            selection_popularity=dose if kind == "popularity" else 0.0,
        )
        able = np.flatnonzero(world.log.count >= s.min_ratings)
        if len(able) < s.members:
            raise ConfigError(f"{len(able)} users of {world.name} have {s.min_ratings} ratings; want {s.members}.")
        member = np.sort(generator(seed, "members").choice(able, s.members, replace=False))
        split = world.log.split("user_time", s.fraction, users=member)
        judge, contestants = split.past.split_worlds(derive(seed, "worlds"), s.share)
        return cls(world, member, split.cut, judge, contestants, split.future)

    def truth(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Floats:
        """Return the true mean rating [N] of pairs."""
        return self.world.truth.expected[user, item].astype(np.float64)


def compute(settings: DoseWorld, kind: Kind, dose: float, seed: int, scratch: Path) -> dict[str, Any]:
    """Return what one unit found, as JSON-able values. scratch: where populations are trained."""
    ground = Ground.of(settings, kind, dose, seed)
    known, catalogue = ground.contestants, ground.world.catalogue
    contest = Contest.hold(recommenders(settings), known, catalogue, ground.member, places=settings.places, seed=seed)
    true = TrueOrder.of(judge_values(ground.truth, contest.user, contest.shown), seed=seed)
    told = _held_out(settings, ground, contest)
    predicting = _plain(ground, seed) | _simulated(settings, ground, seed, scratch)
    told |= {n: Estimate.of(judge_values(j, contest.user, contest.shown)) for n, j in predicting.items()}
    rows = {"judge": len(ground.judge), "contestants": len(ground.contestants), "held out": len(ground.held_out)}
    return {
        "dose": dose,
        "kind": kind if dose else "none",
        "seed": seed,
        "log": ground.world.log.fingerprint,
        "rows": rows,
        "pairs": len(true.pairs),
        "true": dict(zip(contest.name, true.mean.tolist(), strict=True)),
        "judge": {n: _said(contest, true, estimate) for n, estimate in told.items()},
    }


def recommenders(settings: DoseWorld) -> list[Recommender]:
    """Return the contestants."""
    return by_name(settings.contestants)


def _said(contest: Contest, true: TrueOrder, told: Estimate) -> dict[str, Any]:
    """Return what a judge says and how far it is right. Errors in rating points are no question of this study."""
    found = true.judge(told, same_unit=False)
    return {
        "value": dict(zip(contest.name, told.value().tolist(), strict=True)),
        "right": found.pairs_right.mean,
        "regret": found.regret.mean,
        "tau": found.tau.mean,
        "chosen": [contest.name[n] for n in found.chosen],
    }


def _held_out(settings: DoseWorld, ground: Ground, contest: Contest) -> dict[str, Estimate]:
    return {
        NDCG: ndcg(contest, ground.held_out, places=settings.places),
        "SNIPS": snips(contest, ground.held_out, popularity_propensity(ground.judge)),
        "top held-out ratings": top_rated(contest, ground.held_out, places=settings.rated_places),
    }


def _plain(ground: Ground, seed: int) -> dict[str, Judge]:
    """Return the judges that predict without simulated users, fitted on the judge's rows."""
    rules: dict[str, Yardstick] = {
        "item mean": ItemMean(),
        "user+item bias": tuned_bias(),
        PLAIN: tuned_mf((4, 8, 16), (6, 12, 24)),
    }
    return {n: rule.fit(ground.judge, seed=derive(seed, n)) for n, rule in rules.items()}


def _simulated(settings: DoseWorld, ground: Ground, seed: int, scratch: Path) -> dict[str, Judge]:
    """Train populations on the judge's rows and return what they, and the parts of the first alone, predict."""
    if not settings.simulated:
        return {}
    full = _train(settings, ground, "compact", seed, scratch)
    users = {OURS: full} | {f"{OURS}, {name}": part for name, part in parts(full).items()}
    if settings.content:
        users[CONTENT] = _train(settings, ground, "content", seed, scratch)
    return {name: population_judge(population) for name, population in users.items()}


def _train(settings: DoseWorld, ground: Ground, prompt: str, seed: int, scratch: Path) -> SimulatedPopulation:
    how = replace(settings.recipe, prompt=preset(prompt), seed=seed)
    folder = scratch / prompt
    return train(ground.judge, ground.world.catalogue, ground.member, folder, how, cut=ground.cut)
