"""A surrogate against the users it was distilled from, and a million invented users on it.

python benchmarks/surrogate.py POPULATION DATA [--users 1000000]

POPULATION: users of MovieLens 100K as the card leaves them (runs/fidelity/ml-100k/users/world/kmeans-0). DATA:
MovieLens 100K. Errors are of users that a surrogate has met neither in learning nor in calibration, in three folds.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from protocols import untouched_half
from recording import RESULTS, record

from simenv.agents.population import SimulatedPopulation
from simenv.agents.rating_model import LMRatingModel, MemoRatingModel
from simenv.agents.store import context_of, load
from simenv.agents.surrogate import SurrogateRatingModel
from simenv.agents.surrogate_histories import draw_histories, draw_items
from simenv.agents.surrogate_vector import UserVectors, VectorSpace
from simenv.datasets import load as load_data
from simenv.evaluation.control_variate import control_variate, sample_pairs
from simenv.evaluation.statistics import bootstrap_mean
from simenv.evaluation.user_total import deal
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.play import episode_key
from simenv.randomness import generator
from simenv.session import Slate
from simenv.training.distil_surrogate import Asked, SurrogateSettings, ask, draw_pairs, fit, gaps

Int = NDArray[np.int64]
SETTINGS = SurrogateSettings()
FOLDS = 3
LONGEST = 50
"""Known ratings of an invented user at most."""
CHUNK = 20_000


@dataclass(frozen=True, eq=False)
class Ground:
    """The language model, its members and what is known of them."""

    lm: LMRatingModel
    member: Int
    item: Int
    rating: NDArray[np.float32]
    space: VectorSpace
    future: InteractionLog

    @property
    def value(self) -> NDArray[np.float64]:
        """The scale's values."""
        return self.lm.scale.array

    def place(self, user: Int) -> Int:
        """Return the members' positions."""
        return np.searchsorted(self.member, user)


def ground(folder: Path, future: InteractionLog) -> tuple[Ground, SimulatedPopulation]:
    population = load(folder)
    memo = population.rating_model
    assert isinstance(memo, MemoRatingModel)
    assert isinstance(memo.inner, LMRatingModel)
    mind, catalogue = memo.inner.mind, memo.inner.mind.writer.catalogue
    item, rating = context_of(mind.memory, population.member)
    text = [f"{catalogue.describe(i)} {catalogue.summary[i]}" for i in range(len(catalogue))]
    space = VectorSpace.of(mind.crowd, text, item, rating)
    return Ground(memo.inner, population.member, item, rating, space, future), population


def timed(job: Callable[[], Any], pairs: int) -> tuple[Any, dict[str, float]]:
    """Return what a job returns, and pairs a second of wall and of processor time."""
    wall, busy = time.time(), time.process_time()
    out = job()
    wall, busy = time.time() - wall, time.process_time() - busy
    return out, {"pairs": pairs, "per_second": round(pairs / wall), "per_processor_second": round(pairs / busy)}


def distilled(g: Ground, asked: Asked, user: Int, told: str) -> SurrogateRatingModel:
    """Return a surrogate fitted and calibrated on some members, with vectors of all."""
    known = g.space.users(g.item, g.rating)
    model = fit(asked.of_users(user), g.space, g.lm, user, known.take(g.place(user)), SETTINGS, told=told)
    row = np.full(int(g.member.max()) + 1, -1, np.int64)
    row[g.member] = np.arange(len(g.member))
    return replace(model, users=known, row=row)


def over_users(user: Int, value: NDArray[np.floating]) -> list[float]:
    """Return mean, low and high of the users' means, resampling users."""
    own = np.unique(user, return_inverse=True)[1].ravel()
    found = bootstrap_mean(np.bincount(own, value) / np.bincount(own))
    return [round(x, 4) for x in (found.mean, found.low, found.high)]


def against_lm(g: Ground, asked: Asked, folds: list[SurrogateRatingModel], fold: Int) -> dict[str, Any]:
    """Return errors, coverage and routing on held-out users' pairs."""
    p, gap_bound, far_bound = answers(asked.user, asked.item, folds, fold[g.place(asked.user)])
    gap, far = gaps(asked.p, p, g.value)
    prior = g.lm.prior_of(_cues(g, asked))
    prior = prior / prior.sum(axis=1, keepdims=True)
    gap0, far0 = gaps(asked.p, prior, g.value)
    exact = asked.p @ g.value
    kl = (asked.p * (np.log(asked.p) - np.log(p))).sum(axis=1)
    kl0 = (asked.p * (np.log(asked.p) - np.log(prior))).sum(axis=1)
    user = asked.user
    return {
        "pairs": len(user),
        "mean (low, high) over users": True,
        "surrogate": {
            "mae": over_users(user, gap), "total_variation": over_users(user, far), "kl": over_users(user, kl),
            "r2": round(1 - float(((exact - p @ g.value) ** 2).mean() / exact.var()), 4),
        },
        "the LM's prior alone": {
            "mae": over_users(user, gap0), "total_variation": over_users(user, far0), "kl": over_users(user, kl0),
            "r2": round(1 - float(((exact - prior @ g.value) ** 2).mean() / exact.var()), 4),
        },
        "bound": {
            "aimed": SETTINGS.coverage,
            "covered_expected": over_users(user, gap <= gap_bound),
            "covered_variation": over_users(user, far <= far_bound),
            "mean_expected": round(float(gap_bound.mean()), 4), "mean_variation": round(float(far_bound.mean()), 4),
            "rank_correlation_with_gap": round(_spearman(gap, gap_bound), 3),
        },
        "routing": [_routed(gap, gap_bound, share) for share in (0.0, 0.05, 0.1, 0.25, 0.5)],
    }  # fmt: skip


def _routed(gap: NDArray[np.float64], bound: NDArray[np.float32], share: float) -> dict[str, float]:
    limit = float(np.quantile(bound, 1 - share))
    kept = bound <= limit
    return {
        "limit": round(limit, 4), "share_to_lm": round(float(1 - kept.mean()), 4),
        "mae_left": round(float((gap * kept).mean()), 4),
        "mae_left_if_routed_at_random": round(float(gap.mean() * kept.mean()), 4),
        "rmse_left": round(float(np.sqrt((gap**2 * kept).mean())), 4),
        "rmse_left_if_routed_at_random": round(float(np.sqrt((gap**2).mean() * kept.mean())), 4),
        "worst_hundredth": round(float(np.quantile(gap * kept, 0.99)), 4),
    }  # fmt: skip


def _spearman(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def _cues(g: Ground, asked: Asked) -> Any:
    from simenv.agents.cues import cues

    return cues(g.lm.mind.crowd, g.lm.mind.taste, g.lm.mind.rows(asked.user), asked.item)


def answers(user: Int, item: Int, folds: list[SurrogateRatingModel], fold: Int) -> tuple[Any, Any, Any]:
    """Return p and both bounds [N], each pair by the surrogate that never met its user."""
    p = np.empty((len(user), len(folds[0].scale)), np.float32)
    gap, far = np.empty(len(user), np.float32), np.empty(len(user), np.float32)
    for f, model in enumerate(folds):
        own = fold == f
        said, bound = model.told_apart(user[own], item[own])
        p[own], gap[own], far[own] = said.p, bound.expected, bound.variation
    return p, gap, far


def real_ratings(g: Ground, folds: list[SurrogateRatingModel], fold: Int) -> dict[str, Any]:
    """Return log-loss and RMSE of held-out real ratings: of the language model's answers, and of the surrogate's."""
    f = g.future
    exact = ask(g.lm, f.user, f.item)
    p, _, _ = answers(f.user, f.item, folds, fold[g.place(f.user)])
    place, row, out = g.lm.scale.encode(f.rating), np.arange(len(f)), {}
    nll = {name: -np.log(x[row, place]) for name, x in (("lm", exact.p), ("surrogate", p))}
    for name, x in (("lm", exact.p), ("surrogate", p)):
        error = float(np.sqrt(((x @ g.value - f.rating) ** 2).mean()))
        out[name] = {"nll": over_users(f.user, nll[name]), "rmse": round(error, 4)}
    gap, far = gaps(exact.p, p, g.value)
    out["surrogate against lm"] = {"mae": over_users(f.user, gap), "total_variation": over_users(f.user, far)}
    return {"pairs": len(f), "nll, surrogate - lm": over_users(f.user, nll["surrogate"] - nll["lm"]), **out}


def corrected(g: Ground, folds: list[SurrogateRatingModel], fold: Int, draws: int = 400) -> dict[str, Any]:
    """Return, per policy, how the control variate does over repeated samples against the value by all LM answers."""
    user = np.repeat(g.member, 10)
    out: dict[str, Any] = {}
    for name, slate in slates(g, folds, fold).items():
        item = slate.ravel()
        cheap = answers(user, item, folds, np.repeat(fold, 10))[0] @ g.value
        exact = ask(g.lm, user, item).p @ g.value
        out[name] = _policy(user, cheap, exact, draws)
    return {"users": len(g.member), "pairs": len(user), "draws": draws, "sample": "36 users, 2 pairs each", **out}


def _policy(user: Int, cheap: NDArray[np.float64], exact: NDArray[np.float64], draws: int) -> dict[str, Any]:
    truth, found = float(exact.mean()), []
    for seed in range(draws):
        rows = sample_pairs(user, users=36, pairs=2, seed=seed)
        args = (user, cheap, rows, exact[rows])
        found.append([control_variate(*args, seed=seed), control_variate(*args, coefficient=1.0, seed=seed)])
    plain = np.array([c.plain.mean for c, _ in found]) - truth
    table: dict[str, Any] = {"value_by_lm": round(truth, 4), "value_by_surrogate": round(float(cheap.mean()), 4)}
    for n, name in enumerate(("fitted coefficient", "coefficient 1")):
        error = np.array([pair[n].value.mean for pair in found]) - truth
        table[name] = {
            "bias": round(float(error.mean()), 5),
            "standard_error_of_bias": round(float(error.std(ddof=1) / np.sqrt(draws)), 5),
            "rmse": round(float(np.sqrt((error**2).mean())), 5),
            "rmse_of_plain_sample": round(float(np.sqrt((plain**2).mean())), 5),
            "variance_reduction": round(float(plain.var() / error.var()), 2),
            "interval_covers": round(float(np.mean([p[n].value.low <= truth <= p[n].value.high for p in found])), 3),
            "coefficient": round(float(np.mean([p[n].coefficient for p in found])), 3),
        }
    table["r2_of_user_means"] = round(
        float(np.corrcoef(*[x.reshape(-1, 10).mean(1) for x in (cheap, exact)])[0, 1]) ** 2, 4
    )
    return table


def slates(g: Ground, folds: list[SurrogateRatingModel], fold: Int) -> dict[str, Int]:
    """Return slates [M, 10] of unknown items: drawn, popular, and those the surrogate rates highest.

    Its favourites are where it errs upwards.
    """
    size = len(g.space.item)
    known = np.zeros((len(g.member), size), bool)
    row, column = np.nonzero(g.item >= 0)
    known[row, g.item[row, column]] = True
    luck = generator(0, "slates").random(known.shape)
    user, item = np.repeat(g.member, size), np.tile(np.arange(size), len(g.member))
    best = answers(user, item, folds, np.repeat(fold, size))[0] @ g.value
    key = {"random": luck, "popular": g.space.crowd.item_count + luck, "surrogate's best": best.reshape(known.shape)}
    return {n: np.argsort(np.where(known, np.inf, -k), axis=1, kind="stable")[:, :10] for n, k in key.items()}


def million(
    model: SurrogateRatingModel, population: SimulatedPopulation, length: Int, n: int, out: Path
) -> dict[str, Any]:
    """Invent n users, show each ten items drawn by popularity, once; return what they did and how long it took."""
    started, crowd, scale = time.time(), model.space.crowd, model.scale
    drawn = np.minimum(generator(0, "lengths").choice(length[length > 0], n), LONGEST)
    mean = np.empty(n)

    def invent(part: slice) -> UserVectors:
        item, rating = draw_histories(crowd, scale, drawn[part], seed=part.start)
        mean[part] = (np.nansum(rating, axis=1) + 5 * crowd.mean) / (drawn[part] + 5)
        return model.space.users(item, rating)

    known = UserVectors.collect(out, n, LONGEST, invent, rows=CHUNK)
    made = time.time()
    activity = np.log1p(drawn.astype(float))
    activity = (activity - activity.mean()) / activity.std()
    index, answers_ = Index(tuple(range(n)), "user"), model.of_users(known)
    users = SimulatedPopulation(
        answers_, population.choice, population.exit, index, population.items, np.arange(n), mean, activity,
        rho=population.rho,
    )  # fmt: skip
    ready = time.time()
    size = sum(a.nbytes for a in (known.vector, known.past, known.residual))
    told, total = _pages(users, answers_, n)
    seen = time.time()
    return {
        "users": n, "pairs": 10 * n, "known_ratings": int(drawn.sum()),
        "seconds": {"histories and vectors": round(made - started, 1), "population": round(ready - made, 1),
                    "pages": round(seen - ready, 1)},
        "pages_pairs_per_second": round(10 * n / (seen - ready)), "users_mib": round(size / 2**20, 1),
        "mean_expected": [round(float(x), 5) for x in (total[0] / n, 1.96 * told)],
        "consumed_per_page": round(total[1] / n, 4), "left_after_page": round(total[2] / n, 4),
        "mean_rating_given": round(total[3] / total[1], 4), "mean_bound_expected": round(total[4] / total[5], 4),
    }  # fmt: skip


def _pages(users: SimulatedPopulation, model: SurrogateRatingModel, n: int) -> tuple[float, list[float]]:
    """Return the standard error of the users' mean expected rating, and sums over users."""
    count, value = model.space.crowd.item_count, model.scale.array
    total, squares = [0.0] * 6, 0.0
    for start in range(0, n, CHUNK):
        user = np.arange(start, min(start + CHUNK, n))
        item = draw_items(count + 0.5, len(user), 10, generator(start, "pages"))
        said, _ = users.respond(users.begin(user, episode_key(0, user)), Slate.certain(item))
        expected = (said.p_rating @ value).mean(axis=1)
        rows = slice(0, 200)  # bounds of some: told_apart would answer all of them once more
        bound = model.uncertainty(np.repeat(user[rows], 10), item[rows].ravel())
        new = (expected.sum(), said.consumed.sum(), said.exit.sum(), np.nansum(said.rating), bound.sum(), len(bound))
        total = [a + float(b) for a, b in zip(total, new, strict=True)]
        squares += float((expected**2).sum())
    return float(np.sqrt((squares / n - (total[0] / n) ** 2) / n)), total


def main(
    population: Annotated[Path, typer.Argument(help="folder of simulated users of MovieLens 100K")],
    data: Annotated[Path, typer.Argument(help="MovieLens 100K: folder or zip")],
    users: Annotated[int, typer.Option(help="invented users")] = 1_000_000,
    out: Annotated[Path, typer.Option(help="where vectors and the surrogate are kept")] = Path("runs/surrogate"),
    results: Annotated[Path, typer.Option(help="where the result goes")] = RESULTS,
) -> None:
    started = time.time()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    log = load_data(data).log
    split = untouched_half(log).split
    g, simulated = ground(population, split.future)
    if simulated.provenance["log"] != split.past.fingerprint:
        raise typer.BadParameter("the users were not built from this data by the card's protocol.")
    pairs = draw_pairs(g.member, g.item, g.space.crowd.item_count, SETTINGS.pairs, 0)
    asked, lm_speed = timed(lambda: ask(g.lm, *pairs), len(pairs[0]))
    print("language model", lm_speed, flush=True)
    fold = deal(g.member, FOLDS, 0)
    began = time.time()
    folds = [distilled(g, asked, g.member[fold != f], simulated.fingerprint) for f in range(FOLDS)]
    values: dict[str, Any] = {
        "settings": repr(SETTINGS), "members": len(g.member), "folds": FOLDS,
        "users_behind_each": {"learned": round(len(g.member) * 2 / 3) - folds[0].margin.users,
                              "calibrated": folds[0].margin.users},
        "seconds_to_fit": round((time.time() - began) / FOLDS, 1),
        "margin": [repr(m.margin) for m in folds],
    }  # fmt: skip
    many = (np.repeat(g.member, 1000), np.tile(np.arange(1000), len(g.member)))
    _, speed = timed(lambda: folds[0].told_apart(*many), len(many[0]))
    few = Asked(*pairs, asked.p)
    _, prior_speed = timed(lambda: g.lm.prior_of(_cues(g, few)), len(pairs[0]))
    values["speed"] = {"lm": lm_speed, "surrogate": speed, "the LM's prior alone": prior_speed}
    values["against the lm"] = against_lm(g, asked, folds, fold)
    print(values, flush=True)
    values["held-out ratings"] = real_ratings(g, folds, fold)
    print(values["held-out ratings"], flush=True)
    values["control variate"] = corrected(g, folds, fold)
    print(values["control variate"], flush=True)
    whole = distilled(g, asked, g.member, simulated.fingerprint)
    whole.save(out / "surrogate")
    values["invented users"] = million(
        SurrogateRatingModel.load(out / "surrogate", told=simulated.fingerprint), simulated, log.count, users, out
    )
    values["invented users"]["mean_bound_members"] = round(float(whole.uncertainty(*pairs).mean()), 4)
    print(values["invented users"], flush=True)
    command = f"python benchmarks/surrogate.py POPULATION DATA --users {users}"
    prints = {"ml-100k": log.fingerprint, "population": simulated.provenance["population"]}
    print(record("surrogate", values, command=command, seed=0, data=prints, started=started, folder=results))


if __name__ == "__main__":
    typer.run(main)
