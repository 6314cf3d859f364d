"""The numbers of an audit: every predictor on the same pairs, answers as they were given or sampled ratings.

Knows held-out pairs and predictions; nothing of who predicted or how a report looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.fidelity.held import Held
from simenv.evaluation.fidelity.signal import incremental_r2
from simenv.evaluation.fidelity.two_sample import c2st
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Prediction, Truth
from simenv.evaluation.rating_table import measure_all, shares
from simenv.evaluation.statistics import RESAMPLES
from simenv.evaluation.user_total import Statistic, UserTotals, bootstrap, correlation


@final
@dataclass(frozen=True, eq=False)
class Table:
    """P predictors on N pairs."""

    users: int
    pairs: int
    value: Mapping[str, Mapping[str, Interval]]
    """predictor -> measure -> estimate with its interval over users; what a predictor cannot have is absent.

    `rmse`, `rmse_rounded`, `r` of the number; `mae` of the answer or of a distribution's median; `w1`,
    `within_variance_ratio`, `between_sd_ratio`, `c2st` of answers given or sampled; `incremental_r2`; `rmse_gap`."""
    share: Mapping[str, NDArray[np.float64]]
    """"real" and each predictor that gives or samples ratings: share of each scale value, float64[R]."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values; a number that is not defined is None."""
        value = {n: {m: _ends(i) for m, i in row.items()} for n, row in self.value.items()}
        share = {n: [float(x) for x in s] for n, s in self.share.items()}
        return {"users": self.users, "pairs": self.pairs, "value": value, "share": share}


def given(answer: NDArray[np.float64], truth: Truth) -> Prediction:
    """Return published answers [N] as a prediction; where all lie on the scale they are its one draw too."""
    on_scale = np.isclose(answer[:, None], truth.scale.array).any(axis=1).all()
    return Prediction(answer, draws=answer[None] if on_scale else None)


def measured(
    held: Held,
    said: Mapping[str, Prediction],
    mask: NDArray[np.bool_],
    *,
    own: str,
    bias: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Table:
    """Return the measures of predictions of all held-out pairs, on the pairs of a mask bool[N].

    own: the predictor whose RMSE is taken off everybody's. bias: the one whose number R2 is to be gained over.

    Raises:
        DataError: fewer than two users.

    """
    whole = held.truth
    truth = Truth(whole.user[mask], whole.rating[mask], whole.scale, whole.like_from)
    if len(np.unique(truth.user)) < 2:
        raise DataError("an audit needs pairs of at least two users.")
    here = {n: _masked(p, mask) for n, p in said.items()}
    usual = measure_all(truth, here, baseline=own, resamples=resamples, seed=seed)
    value: dict[str, dict[str, Interval]] = {}
    for name, prediction in here.items():
        row, point = usual.value[name], np.asarray(prediction.point, np.float64)
        found = {"rmse": row["rmse"], "rmse_rounded": row["rmse_rounded"], "mae": row.get("mae_median", row["mae"])}
        found["r"] = _correlation(truth, point, resamples, seed)
        found |= {k.removeprefix("sampled_"): v for k, v in row.items() if k.startswith("sampled_")}
        if prediction.draws is not None:
            item = held.item[mask]
            found["c2st"] = c2st(truth, item, prediction.draws, held.known, resamples=resamples, seed=seed)
        if name != bias:
            base = {bias: here[bias].point}
            found["incremental_r2"] = incremental_r2(truth, base, point, resamples=resamples, seed=seed)
        if name != own:
            found["rmse_gap"] = usual.difference[name]["rmse"]
        value[name] = found
    share = {"real": shares(truth, here[own])["real"]}
    share |= {n: shares(truth, p)["sampled"] for n, p in here.items() if p.draws is not None}
    return Table(usual.users, usual.pairs, value, share)


def _masked(prediction: Prediction, mask: NDArray[np.bool_]) -> Prediction:
    p, draws, off = prediction.p, prediction.draws, prediction.off_scale
    return Prediction(
        prediction.point[mask],
        None if p is None else p[mask],
        None if draws is None else draws[:, mask],
        None if off is None else off[mask],
    )


def _correlation(truth: Truth, point: NDArray[np.float64], resamples: int, seed: int) -> Interval:
    real = np.asarray(truth.rating, np.float64)
    moments = np.column_stack([np.ones_like(point), point, real, point**2, real**2, point * real])
    statistic = Statistic(UserTotals(truth.user).sum(moments), correlation)
    return bootstrap(statistic, resamples=resamples, seed=seed)


def _ends(interval: Interval) -> dict[str, float | None]:
    ends = {k: float(getattr(interval, k)) for k in ("mean", "low", "high")}
    return {k: v if np.isfinite(v) else None for k, v in ends.items()}
