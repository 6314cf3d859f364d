"""Evaluators of the Coat study that are no simulator: each puts the contestants in order from the judge's rows alone.

All of them have the same rows. Since contestants never saw these, they serve as held-out ratings for those evaluators
that need some (NDCG, mean rating, propensity scores), and as training rows for those that predict.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation import offline
from simenv.evaluation.estimate import Estimate
from simenv.evaluation.propensity import inverse_weights, selection_propensity
from simenv.evaluation.yardstick import HoldOut, ItemMean, Tuned, Yardstick, tuned_bias, tuned_mf
from simenv.log import InteractionLog
from simenv.randomness import derive, generator
from simenv.study.coat_content import ContentRidge
from simenv.study.coat_field import Field

Floats = NDArray[np.float64]
NDCG_PLACES = 10
_TUNING = HoldOut(share=1.0, fraction=0.75, least=4)
"""Twelve rows a user leave three to tune on; everybody gives up theirs."""


def held_out(field: Field, weight: Floats) -> dict[str, Estimate]:
    """Return the evaluators that read the judge's rows as held-out ratings. weight: inverse propensities [E]."""
    seed, like = derive(field.seed, "policy"), offline.relevance_threshold(field.judge.scale)
    data, policies = (field.known, field.judge, field.user), field.policy.values()
    gain = [offline.catalogue_ndcg(p, *data, k=NDCG_PLACES, relevant=like, seed=seed) for p in policies]
    rated = [offline.held_out_rating(p, *data, k=field.places, seed=seed) for p in policies]
    count = np.bincount(field.judge.item, minlength=field.judge.n_items)[field.judge.item]
    page = (field.rank < NDCG_PLACES) / count
    return {
        f"NDCG@{NDCG_PLACES}": Estimate.of(np.stack(gain, axis=1)),
        "SNIPS": _snips(field, page),
        "SNIPS, matched": _snips(field, field.inclusion * weight),
        "top held-out ratings": Estimate.of(np.stack(rated, axis=1)),
    }


def _snips(field: Field, weight: Floats) -> Estimate:
    """Return self-normalised inverse propensity scores: the mean rating of the judge's rows, weighted [A, E]."""
    return Estimate(((field.by_user(weight * field.judge.rating), field.by_user(weight)),))


def tables(field: Field, weight: Floats) -> dict[str, Floats]:
    """Return the expected ratings [U, I] of the judges that predict. weight: inverse propensities [E]."""
    ridge = ContentRidge(field.features)
    plain: dict[str, Yardstick] = {
        "item mean": Tuned([ItemMean(d) for d in (2, 5, 10, 20)], _TUNING),
        "user+item bias": replace(tuned_bias(), hold_out=_TUNING),
        "matrix factorisation": replace(tuned_mf((2, 4, 8), (8, 12, 16, 32), starts=3), hold_out=_TUNING),
    }
    made = {name: _table(y, field.judge, derive(field.seed, name)) for name, y in plain.items()}
    seed = derive(field.seed, "content")
    made["content ridge"] = ridge.fit(field.judge, seed=seed)
    made["content ridge, propensity-weighted"] = ridge.fit(field.judge, seed=seed, weight=weight)
    return made


def weights(field: Field) -> Floats:
    """Return inverse propensities [E] of the judge's rows, mean 1, estimated from which rows these are."""
    propensity = selection_propensity(field.judge, field.features.user, field.features.item)
    return inverse_weights(propensity[field.judge.user, field.judge.item])


def doubly_robust(field: Field, table: Floats, unseen: Floats, weight: Floats) -> Estimate:
    """Return what a table [U, I] says, corrected by the weighted mean error of `unseen` on the judge's rows.

    Self-normalised doubly robust (Dudik, Langford, Li 2011; Swaminathan and Joachims 2015). unseen: predictions [E] of
    the judge's rows by models that had not learned from them; NaN: rows that correct nothing.
    """
    known = np.isfinite(unseen)
    error = np.where(known, field.judge.rating - np.nan_to_num(unseen), 0.0)
    shown = field.inclusion * (weight * known)
    return field.worth(table) + Estimate(((field.by_user(shown * error), field.by_user(shown)),))


def folds(field: Field, number: int) -> NDArray[np.int64]:
    """Return int64[E]: the fold of each of the judge's rows, equally many of every user in each."""
    rows, rng = field.judge, generator(field.seed, "folds")
    order = np.lexsort((rng.random(len(rows)), rows.user))
    fold = np.empty(len(rows), np.int64)
    fold[order] = (np.arange(len(rows)) - rows.indptr[rows.user[order]]) % number
    return fold


def content_crossed(field: Field, number: int) -> tuple[Floats, Floats]:
    """Return (table [U, I], unseen [E]) of content ridges that each did without a fold of the judge's rows.

    table: their mean; unseen: what the one that did without a row says of it.
    """
    fold, rows, tables = folds(field, number), field.judge, []
    unseen = np.empty(len(rows))
    for f in range(number):
        tables.append(ContentRidge(field.features).fit(rows.take(fold != f), seed=derive(field.seed, "content", f)))
        unseen[fold == f] = tables[f][rows.user, rows.item][fold == f]
    return np.mean(tables, axis=0), unseen


def _table(yardstick: Yardstick, log: InteractionLog, seed: int) -> Floats:
    user, item = (n.ravel() for n in np.indices((log.n_users, log.n_items)))
    return yardstick.fit(log, seed=seed)(user, item).reshape(log.n_users, log.n_items)
