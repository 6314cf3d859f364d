"""What each cue of the prior is worth on MovieLens-100K and what others would add; no language model, some minutes.

python benchmarks/ablation_ml100k.py DATA [--seeds 0,1,2]

Judged on the half of the users on which recipes are developed (`protocols.development_half`);
the other half is not touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from protocols import development_half, eligible
from recording import record
from scipy.sparse import csr_matrix

from simenv import InteractionLog, Split
from simenv.agents.cues import FEATURE, Taste, cues
from simenv.agents.prior import Prior
from simenv.datasets import Dataset, load
from simenv.evaluation.rating import Prediction, Truth
from simenv.evaluation.rating_table import measure_all
from simenv.randomness import derive
from simenv.training.examples import Contexts, Evidence, evidence
from simenv.training.ground import Ground, TrainSettings, prepare

SHOWN = ("rmse", "mae_median", "nll", "rps", "ece_top", "ece_like", "within_variance_ratio", "w1")
Cue = Callable[[Evidence, InteractionLog], np.ndarray]
"""From contexts and the known rows of other users to one more cue [N]."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """What a prior is fitted on or asked about: evidence, each with the rows behind its crowd."""

    part: list[tuple[Evidence, InteractionLog]]

    def column(self, read: Callable[[Evidence], Any]) -> np.ndarray:
        """Return what is read off each evidence, put together [N, ...]."""
        return np.concatenate([np.asarray(read(e)) for e, _ in self.part])

    def more(self, cue: Cue) -> np.ndarray:
        """Return one more cue [N]."""
        return np.concatenate([cue(e, known) for e, known in self.part])


def _context_mean(e: Evidence, weight: np.ndarray, damping: float) -> np.ndarray:
    """Mean residual of each user's context under weights [B, H], shrunk; as a cue [N]."""
    mean = (e.taste.residual * weight).sum(axis=1) / (np.abs(weight).sum(axis=1) + damping)
    return np.asarray(mean[e.contexts.row])


def recency(half_life: float) -> Cue:
    """Recent residuals count more, by halves every `half_life` ratings."""

    def cue(e: Evidence, known: InteractionLog) -> np.ndarray:
        age = e.taste.count[:, None] - 1 - np.arange(e.contexts.item.shape[1])
        return _context_mean(e, np.where(e.contexts.item >= 0, 0.5 ** (age / half_life), 0.0), 5)

    return cue


def slope(e: Evidence, known: InteractionLog) -> np.ndarray:
    """Whether the user is becoming milder."""
    place = np.arange(e.contexts.item.shape[1]) / np.maximum(e.taste.count[:, None] - 1, 1) - 0.5
    return _context_mean(e, np.where(e.contexts.item >= 0, place, 0.0), 3)


def order(e: Evidence, known: InteractionLog) -> np.ndarray:
    """Where in their histories others rated the item: 0 first, 1 last."""
    place = (np.arange(len(known)) - known.indptr[known.user] + 0.5) / known.count[known.user]
    count = np.bincount(known.item, minlength=known.n_items)
    return np.asarray((np.bincount(known.item, place, minlength=known.n_items) + 2.5) / (count + 5))[e.contexts.target]


def user_neighbours(e: Evidence, known: InteractionLog) -> np.ndarray:
    """Residuals of the item's raters, weighted by squared, damped correlation with the user."""
    item, there = e.contexts.item, e.contexts.item >= 0
    taste = Taste.of(e.crowd, *known.padded(np.arange(known.n_users)))
    other, seen = _matrices(taste.item, taste.residual, known.n_items)
    own, own_seen = _matrices(np.where(there, item, -1), e.taste.residual, known.n_items)
    norm = np.sqrt((own.power(2) @ seen.T).toarray() * (own_seen @ other.power(2).T).toarray())
    common = (own_seen @ seen.T).toarray()
    weight = np.maximum((own @ other.T).toarray() / np.maximum(norm, 1e-6) * common / (common + 15), 0) ** 2
    expected = np.asarray(weight @ other) / (np.asarray(weight @ seen) + 0.05)
    return np.asarray(expected[e.contexts.row, e.contexts.target])


def _matrices(item: np.ndarray, residual: np.ndarray, n_items: int) -> tuple[csr_matrix, csr_matrix]:
    where, shape = (np.nonzero(item >= 0)[0], item[item >= 0]), (len(item), n_items)
    value = residual[item >= 0]
    return csr_matrix((value, where), shape=shape), csr_matrix((np.ones_like(value), where), shape=shape)


MORE: dict[str, list[Cue]] = {
    "with recency (half-life 5 and 20) and slope": [recency(5), recency(20), slope],
    "with place in others' histories": [order],
    "with user neighbours": [user_neighbours],
}


def drawn(ground: Ground, seed: int, epochs: int = 4, **how: float) -> Pairs:
    """Contexts the prior learns from, as `fit_prior` draws them."""
    part = []
    for n in range(epochs):
        for e in evidence(ground.log, ground.folds, ground.pupils, derive(seed, "prior") + n, **how):
            mine = ground.folds.fold[ground.log.user] == ground.folds.fold[e.contexts.user[0]]
            part.append((e, ground.log.take(~mine)))
    return Pairs(part)


def asked(ground: Ground, split: Split) -> Pairs:
    """Members' futures against their known rows."""
    item, rating = split.past.padded(ground.member)
    taste, row = Taste.of(ground.crowd, item, rating), np.searchsorted(ground.member, split.future.user)
    c = Contexts(ground.member, item, rating, row, split.future.item, split.future.rating)
    e = Evidence(c, ground.crowd, ground.folds.space[0], taste, cues(ground.crowd, taste, row, c.target))
    return Pairs([(e, split.past)])


def answers(
    learned: Pairs, future: Pairs, truth: Truth, without: tuple[str, ...] = (), more: list[Cue] | None = None
) -> Prediction:
    """Fit a prior with cues left out or added, and ask it."""
    kept = [n for n, name in enumerate(FEATURE) if name not in without]
    mean = learned.column(lambda e: np.full(len(e.contexts.row), e.crowd.mean))

    def feature(pairs: Pairs) -> np.ndarray:
        return np.column_stack([pairs.column(lambda e: e.cues.feature[:, kept]), *map(pairs.more, more or [])])

    def spread(pairs: Pairs) -> np.ndarray:
        if "item's spread" in without:
            return pairs.column(lambda e: e.taste.spread[e.contexts.row])
        return pairs.column(lambda e: e.spread)

    rating = learned.column(lambda e: e.contexts.answer)
    prior = Prior.fit(feature(learned), spread(learned), rating, mean, truth.scale)
    expected = prior.expected(feature(future), future.part[0][0].crowd.mean)
    return Prediction.of(prior.distribution(expected, spread(future)), truth.scale)


def table(dataset: Dataset, split: Split, truth: Truth, users: np.ndarray, seed: int) -> dict[str, Prediction]:
    settings = TrainSettings(seed=seed)
    ground, _, _ = prepare(split.past, dataset.catalogue, users, settings, cut=split.cut)
    learned, future = drawn(ground, seed), asked(ground, split)
    made = {"all cues": answers(learned, future, truth)}
    near = ("similar items, 10", "similar items, 40", "support")
    for name in (("factors",), near, ("genres",), ("recent residual",), ("popularity taste",), ("item's spread",)):
        made[f"without {name[0]}"] = answers(learned, future, truth, name)
    for label, more in MORE.items():
        made[label] = answers(learned, future, truth, more=more)
    made["contexts cut in time only"] = answers(drawn(ground, seed, fraction=0.6), future, truth)
    for size in (4, 16):
        crowd = replace(settings.crowd, factors=size)
        other, _, _ = prepare(split.past, dataset.catalogue, users, replace(settings, crowd=crowd), cut=split.cut)
        made[f"{size} factors"] = answers(drawn(other, seed), asked(other, split), truth)
    return made


def main(
    data: Annotated[Path, typer.Argument(help="MovieLens-100K: folder or zip")],
    seeds: Annotated[str, typer.Option(help="seeds of folds, factors and contexts")] = "0,1,2",
) -> None:
    started = time.time()
    dataset = load(data)
    users = development_half(dataset.log)
    split = dataset.log.split("user_time", 0.6, users=eligible(dataset.log))
    split = replace(split, future=split.future.of_users(users))
    truth = Truth(split.future.user, split.future.rating, dataset.log.scale)
    values: dict[str, object] = {"users": len(users), "pairs": len(split.future), "split": split.note, "half": "dev"}
    for seed in map(int, seeds.split(",")):
        measured = measure_all(truth, table(dataset, split, truth, users, seed), baseline="all cues")
        values[f"seed {seed}"] = measured.to_json()
        print(f"seed {seed}\n{measured.to_markdown(SHOWN)}\n", flush=True)
    command = f"python benchmarks/ablation_ml100k.py DATA --seeds {seeds}"
    about = {dataset.name: dataset.log.fingerprint}
    print(record("ablation-ml100k", values, command=command, seed=0, data=about, started=started))


if __name__ == "__main__":
    typer.run(main)
