"""Propensity: how likely a pair of user and item is to be rated at all, estimated from which pairs were; and weights.

No rating is read: what users did not choose is told from what they chose. Knows logs and arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.log import InteractionLog

Floats = NDArray[np.float64]


def selection_propensity(
    log: InteractionLog, user_feature: Floats, item_feature: Floats, *, damping: float = 1.0
) -> Floats:
    """Return float64[U, I]: the probability that a pair has a row in `log`, by logistic regression.

    user_feature [U, G], item_feature [I, F]: what is known of both besides ratings. The regression sees the users'
    features, the items', their products, and how often the item was rated (the propensities of Schnabel et al. 2016,
    section 6, with the item's own frequency added). damping: ridge penalty on the weights. The mean over all pairs is
    that of the log.

    Raises:
        DataError: features of other users or items.

    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import LogisticRegression

    shape = (log.n_users, log.n_items)
    if (len(user_feature), len(item_feature)) != shape:
        raise DataError(f"expected features of {shape} users and items; got {len(user_feature)}, {len(item_feature)}.")
    user, item = (n.ravel() for n in np.indices(shape))
    u, i = csr_matrix(user_feature)[user], csr_matrix(item_feature)[item]
    products = [i.multiply(u[:, [column]]) for column in range(user_feature.shape[1])]
    fame = np.log((np.bincount(log.item, minlength=log.n_items) + 1.0) / (len(log) / log.n_items + 1.0))
    design = csr_matrix(hstack([u, i, *products, csr_matrix(fame[item][:, None])]))
    chosen = np.zeros(shape, np.int64)
    chosen[log.user, log.item] = 1
    model = LogisticRegression(C=1 / damping, max_iter=500).fit(design, chosen.ravel())
    return np.asarray(model.predict_proba(design)[:, 1].reshape(shape), np.float64)


def inverse_weights(propensity: Floats, share: float = 0.01) -> Floats:
    """Return 1 / propensity with mean 1 [N], the smallest `share` of the propensities raised to their quantile.

    Clipping bounds what a single row can weigh, at the price of some bias (Ionides 2008).
    """
    weight = 1 / np.maximum(propensity, np.quantile(propensity, share))
    return np.asarray(weight / weight.mean())


def effective_size(weight: Floats) -> float:
    """Return (sum w)^2 / sum w^2: how many equally weighted rows are worth as much (Kish 1965)."""
    return float(weight.sum() ** 2 / (weight**2).sum())
