"""One split of the Coat study: contestants fitted, every evaluator asked, all held to the true order.

The true values reach `TrueOrder` and nothing else. Knows no other split.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from simenv.datasets.dataset import Dataset
from simenv.errors import DataError
from simenv.evaluation.decision import Estimate, TrueOrder
from simenv.evaluation.propensity import effective_size
from simenv.evaluation.unit import digest, recommender_fingerprint
from simenv.protocols import Recommender
from simenv.recommenders import (
    ALS,
    BPR,
    BestRated,
    BiasedMF,
    Content,
    InvertedMF,
    ItemKNN,
    LongTail,
    NoisyMF,
    Popular,
    PopularTimesMean,
    Random,
    TasteMF,
)
from simenv.study import coat_judges, coat_users
from simenv.study.coat_content import Features, UserContent
from simenv.study.coat_field import Field
from simenv.training.pipeline import TrainSettings

Floats = NDArray[np.float64]
Kind = Literal["held-out ratings", "predictor", "doubly robust", "simulator"]
_FORMAT = 3
"""Raised when the meaning of stored numbers changes: older splits are then computed again."""


@final
@dataclass(frozen=True)
class Arms:
    """Which of the dearer simulated users a split has."""

    reduced: bool = True
    """Users with less in their prompts: content only, cues only."""
    crossed: bool = True
    """The doubly robust sum around simulated users."""


@final
@dataclass(frozen=True)
class CoatStudy:
    """Settings of the study; see `simenv.study.coat`."""

    places: int = 5
    """Candidates ranked first that count as shown."""
    alpha: float = 0.05
    """Pairs of contestants differ truly below, after Holm."""
    resamples: int = 1000
    """Bootstrap resamples of the users."""
    recipe: TrainSettings = field(default_factory=coat_users.recipe)
    """How simulated users are made; prompt and seed are set by the study."""
    folds: int = 3
    """Parts of the judge's rows for doubly robust sums."""
    reduced: int = 20
    """Splits, the first ones, with users who have less in their prompts: two more trainings each."""
    crossed: int = 10
    """Splits, the first ones, with a doubly robust sum around simulated users: `folds` more trainings each."""

    def arms(self, number: int) -> Arms:
        """Return what the split at a position has."""
        return Arms(number < self.reduced, number < self.crossed)


def contestants(features: Features) -> list[Recommender]:
    """Return the fifteen; four are wrong on purpose, one has far too many free factors."""
    plain: list[Recommender] = [Random(), Popular(), BestRated(), LongTail(), ItemKNN(), ALS(), BPR()]
    worded: list[Recommender] = [UserContent(features), Content()]
    factored = [BiasedMF(factors=8), BiasedMF(factors=32, regularization=1.0, name="mf-overfitted")]
    return [*plain, *worded, *factored, TasteMF(), NoisyMF(), InvertedMF(), PopularTimesMean()]


def key(dataset: Dataset, study: CoatStudy, seed: int, arms: Arms) -> str:
    """Return a hash of all that a split's numbers depend on.

    Raises:
        DataError: the data has no part drawn at random.

    """
    if dataset.random_exposure is None:
        raise DataError(f"{dataset.name} has no ratings of items drawn at random; this study needs them.")
    data = dataset.log.fingerprint, dataset.random_exposure.fingerprint
    how = study.places, study.alpha, study.resamples, repr(study.recipe), study.folds
    fitted = [recommender_fingerprint(r) for r in contestants(Features.of(dataset))]
    return digest(_FORMAT, data, how, fitted, seed, repr(arms))


def compute(dataset: Dataset, study: CoatStudy, seed: int, arms: Arms, scratch: Path) -> dict[str, Any]:
    """Return what one split finds, as JSON-able values. scratch: where populations are trained; taken away after."""
    features = Features.of(dataset)
    made, places = contestants(features), study.places
    apart = Field.of(dataset, made, features, seed=seed, places=places)
    same = Field.of(dataset, made, features, seed=seed, places=places, shared=True)
    weight = coat_judges.weights(apart)
    predicted, sums = _predicted(apart, study, arms, weight, scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    judged: dict[str, tuple[Kind, Estimate]] = {
        n: ("held-out ratings", e) for n, e in coat_judges.held_out(apart, weight).items()
    }
    judged |= {n: (kind, apart.worth(t)) for n, (kind, t) in predicted.items()} | sums
    order, other = (TrueOrder.of(f.true, alpha=study.alpha, resamples=study.resamples) for f in (apart, same))
    return {
        "seed": seed,
        "users": len(apart.user),
        "candidates": len(apart.drawn),
        "effective_rows": effective_size(weight),
        "true": dict(zip(apart.policy, order.mean.tolist(), strict=True)),
        "pairs": len(order.pairs),
        "ceiling": order.ceiling,
        "judge": {name: _held(order, kind, value, name, apart.policy) for name, (kind, value) in judged.items()},
        "shared_pairs": len(other.pairs),
        "shared": {n: asdict(other.judge(same.worth(t)))["pairs_right"]["mean"] for n, (_, t) in predicted.items()},
    }


def _held(order: TrueOrder, kind: Kind, value: Estimate, name: str, names: Iterable[str]) -> dict[str, Any]:
    found = asdict(order.judge(value, same_unit=not name.startswith("NDCG")))
    told = {"kind": kind, "value": dict(zip(names, value.take(order.kept).value().tolist(), strict=True))}
    return told | found | {"drawn": np.round(order.right_drawn(value), 5).tolist()}


Predicted = dict[str, tuple[Kind, Floats]]
Sums = dict[str, tuple[Kind, Estimate]]


def _predicted(field: Field, study: CoatStudy, arms: Arms, weight: Floats, scratch: Path) -> tuple[Predicted, Sums]:
    """Return the tables of all who predict, and the doubly robust sums around some of them."""
    plain = coat_judges.tables(field, weight)
    ours = coat_users.usual(field, study.recipe, weight, scratch)
    if arms.reduced:
        for name, prompt in (("content only", "content"), ("cues only", "cue-only")):
            ours[f"{coat_users.OURS}, {name}"] = coat_users.reduced(field, study.recipe, prompt, scratch)
    around: dict[str, tuple[Kind, Floats, Floats]] = {
        "content ridge, doubly robust": ("doubly robust", *coat_judges.content_crossed(field, study.folds))
    }
    if arms.crossed:
        around[f"{coat_users.OURS}, doubly robust"] = (
            "simulator", *coat_users.crossed(field, study.recipe, scratch, study.folds)
        )  # fmt: skip
    made: Predicted = {n: ("predictor", t) for n, t in plain.items()} | {n: ("simulator", t) for n, t in ours.items()}
    return made, {n: (k, coat_judges.doubly_robust(field, t, u, weight)) for n, (k, t, u) in around.items()}
