"""Distil a surrogate: small networks learn a rating model's answers, others' users tell how far off they are.

Learns from answers only; no rating reaches it but through the contexts and the crowd it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.surrogate import Margin, SurrogateRatingModel
from simenv.agents.surrogate_network import Ensemble
from simenv.agents.surrogate_vector import LIMIT, UserVectors, VectorSpace
from simenv.errors import ConfigError
from simenv.protocols import RatingModel
from simenv.randomness import derive, generator

Float = NDArray[np.float32]
Int = NDArray[np.int64]


@final
@dataclass(frozen=True)
class SurrogateSettings:
    """How a surrogate is learned."""

    pairs: int = 100
    """Items asked of each user: half of them uniformly, half by popularity, none the user is known to have rated."""
    held_out: float = 0.25
    """Share of users the bound is calibrated on."""
    coverage: float = 0.9
    networks: int = 5
    hidden: tuple[int, int] = (64, 32)
    steps: int = 2000
    batch: int = 512
    rate: float = 3e-3
    decay: float = 1.0
    """Decoupled weight decay (AdamW)."""
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = min(self.pairs, self.networks, *self.hidden, self.steps, self.batch)
        if sizes < 1 or not 0 < self.held_out < 1 or not 0 < self.coverage < 1:
            raise ConfigError("sizes must be 1 or more, held_out and coverage between 0 and 1.")
        if self.networks < 2:
            raise ConfigError(f"disagreement needs at least 2 networks; got {self.networks}.")


@final
@dataclass(frozen=True, eq=False)
class Asked:
    """A rating model's answers to N pairs."""

    user: Int
    """int64[N]"""
    item: Int
    """int64[N]"""
    p: Float
    """float32[N, R]"""

    def of_users(self, user: Int) -> Asked:
        """Return the pairs of some users."""
        keep = np.isin(self.user, user)
        return Asked(self.user[keep], self.item[keep], self.p[keep])


def draw_pairs(user: Int, known: Int, count: NDArray[np.floating], size: int, seed: int) -> tuple[Int, Int]:
    """Return users and items [N]: `size` pairs for each user [B], or all there are.

    known: int64[B, H], -1 padded: items that are left out. count: float[I]: popularity, by which half are drawn.
    """
    weight = 0.5 / len(count) + 0.5 * (count + 1e-9) / (count + 1e-9).sum()
    users, items = [], []
    for u, own in zip(user, known, strict=True):
        free = np.setdiff1d(np.arange(len(count)), own)
        # Gumbel keys draw without replacement, proportionally to the weight (Efraimidis and Spirakis 2006).
        key = np.log(weight[free]) + generator(seed, "surrogate pairs", int(u)).gumbel(size=len(free))
        chosen = np.sort(free[np.argsort(-key, kind="stable")[:size]])
        users.append(np.full(len(chosen), u))
        items.append(chosen)
    return np.concatenate(users).astype(np.int64), np.concatenate(items).astype(np.int64)


def ask(teacher: RatingModel, user: Int, item: Int, rows: int = 2000) -> Asked:
    """Return the teacher's answers to pairs [N], asked `rows` at a time."""
    parts = [teacher.rate(user[s : s + rows], item[s : s + rows]).p for s in range(0, len(user), rows)]
    return Asked(user, item, np.concatenate(parts))


def distil(
    teacher: RatingModel,
    space: VectorSpace,
    user: Int,
    item: Int,
    rating: NDArray[np.floating],
    settings: SurrogateSettings | None = None,
    *,
    told: str = "",
    show: Callable[[int, int, float], None] | None = None,
) -> SurrogateRatingModel:
    """Return a surrogate of the teacher for users [B], known by contexts item, rating [B, H] (-1 and NaN padded).

    told: the population's fingerprint. show: called with (step, steps, loss).

    Raises:
        ConfigError: too few users to calibrate the bound on.

    """
    s = settings or SurrogateSettings()
    asked = ask(teacher, *draw_pairs(user, item, space.crowd.item_count, s.pairs, derive(s.seed, "pairs")))
    return fit(asked, space, teacher, user, space.users(item, rating), s, told=told, show=show)


def fit(
    asked: Asked,
    space: VectorSpace,
    teacher: RatingModel,
    user: Int,
    known: UserVectors,
    settings: SurrogateSettings,
    *,
    told: str = "",
    show: Callable[[int, int, float], None] | None = None,
) -> SurrogateRatingModel:
    """Return a surrogate from answers at hand; user [B] are known by their vectors [B]. Arguments as of `distil`."""
    s = settings
    needed = int(np.ceil(s.coverage / (1 - s.coverage) - 1e-9))
    calibration = generator(s.seed, "calibration users").permutation(user)[: round(s.held_out * len(user))]
    if len(calibration) < needed or len(calibration) >= len(user):
        raise ConfigError(
            f"a bound with coverage {s.coverage:g} needs at least {needed} users to calibrate on, and some to learn "
            f"from; {len(calibration)} of {len(user)} are held out. Give more users, or a lower coverage."
        )
    row = np.full(int(user.max()) + 1, -1, np.int64)
    row[user] = np.arange(len(user))
    pupils = asked.of_users(np.setdiff1d(user, calibration))
    ensemble = _learn(pupils, space, known, row, s, show)
    bare = Margin(s.coverage, 1.0, 1.0, 0.0, 0.0, len(calibration))
    model = SurrogateRatingModel(teacher.scale, space, ensemble, bare, known, row, told)
    floor = model.told_apart(pupils.user, pupils.item)[1]
    margin = replace(bare, floor_expected=float(floor.expected.mean()), floor_variation=float(floor.variation.mean()))
    return calibrated(replace(model, margin=margin), asked.of_users(calibration), s.coverage)


def calibrated(model: SurrogateRatingModel, asked: Asked, coverage: float) -> SurrogateRatingModel:
    """Return the surrogate with its margin set on the answers for users it has not learned from."""
    unit = replace(model, margin=replace(model.margin, expected=1.0, variation=1.0))
    said, bound = unit.told_apart(asked.user, asked.item)
    gap, far = gaps(asked.p, said.p, model.scale.array)
    margin = replace(
        unit.margin,
        coverage=coverage,
        expected=conformal_factor(gap / np.maximum(bound.expected, 1e-9), asked.user, coverage),
        variation=conformal_factor(far / np.maximum(bound.variation, 1e-9), asked.user, coverage),
        users=len(np.unique(asked.user)),
    )
    return replace(model, margin=margin)


def gaps(
    p: NDArray[np.floating], q: NDArray[np.floating], value: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return [N] distances of distributions p and q [N, R]: of their means, and in total variation."""
    gap = np.asarray(p, np.float64) - q
    return np.abs(gap @ value), np.abs(gap).sum(axis=1) / 2


def conformal_factor(score: NDArray[np.floating], user: Int, coverage: float) -> float:
    """Return the score that a new user's pair stays under with probability `coverage`.

    The quantile of the users' pooled scores, each of K users with weight 1 / (K + 1), and one at infinity (Lee, Barber
    and Willett 2023, hierarchical conformal prediction): users count, however many pairs each has.

    Raises:
        ConfigError: too few users for that coverage.

    """
    _, own, size = np.unique(user, return_inverse=True, return_counts=True)
    weight = 1 / ((len(size) + 1) * size[own.ravel()])
    order = np.argsort(score, kind="stable")
    reached = np.cumsum(weight[order]) >= coverage - 1e-12
    if not reached.any():
        raise ConfigError(f"{len(size)} users are too few for a bound with coverage {coverage:g}.")
    return float(np.asarray(score)[order][np.argmax(reached)])


def _learn(
    asked: Asked,
    space: VectorSpace,
    known: UserVectors,
    row: Int,
    s: SurrogateSettings,
    show: Callable[[int, int, float], None] | None,
) -> Ensemble:
    """Return networks of least cross-entropy with the answers, each on its own Bayesian bootstrap of the users."""
    import torch

    own = row[asked.user]
    both = space.interaction(known, own, asked.item)
    x = np.column_stack([known.vector[own, : space.width[0]], space.item[asked.item], both])
    luck = generator(s.seed, "surrogate users").exponential(size=(len(known), s.networks))
    data = [torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in (x, asked.p, luck[own])]
    weights = _start(x.shape[1], asked.p.shape[1], s)
    decayed = [w for w in weights if w.ndim == 3]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": s.decay},
        {"params": [w for w in weights if w.ndim == 2]},
    ]
    optimizer = torch.optim.AdamW(groups, lr=s.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, s.rate, total_steps=s.steps)
    rng = generator(s.seed, "surrogate batches")
    for step in range(s.steps):
        pick = torch.from_numpy(rng.integers(len(x), size=min(s.batch, len(x))))
        loss = _loss(weights, *[d[pick] for d in data])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if show is not None:
            show(step + 1, s.steps, float(loss.detach()))
    return _export(weights, space)


def _start(inputs: int, values: int, s: SurrogateSettings) -> list[Any]:
    """Return fresh weights and biases of E networks, layer by layer (He et al. 2015)."""
    import torch

    rng, sizes = generator(s.seed, "surrogate weights"), (inputs, *s.hidden, values)
    made: list[Any] = []
    for a, b in pairwise(sizes):
        drawn = rng.normal(0, np.sqrt((2 if b != values else 1) / a), (s.networks, a, b))
        made += [torch.tensor(drawn, dtype=torch.float32), torch.zeros(s.networks, b)]
    return [w.requires_grad_() for w in made]


def _loss(weights: list[Any], x: Any, p: Any, luck: Any) -> Any:
    """Return the users' weighted cross-entropy of answers p [N, R], summed over the networks."""
    w1, b1, w2, b2, w3, b3 = weights
    hidden = (x @ w1 + b1[:, None]).clamp(0, LIMIT)
    hidden = (hidden @ w2 + b2[:, None]).clamp(0, LIMIT)
    score = (hidden @ w3 + b3[:, None]).log_softmax(dim=2)
    return -((score * p).sum(dim=2) * luck.T).mean(dim=1).sum()


def _export(weights: list[Any], space: VectorSpace) -> Ensemble:
    w1, b1, w2, b2, w3, b3 = (w.detach().numpy() for w in weights)
    user, item, _ = space.width
    parts = np.split(w1.transpose(1, 0, 2), [user, user + item])
    return Ensemble.rounded(*parts, b1, w2, b2, w3, b3)
