"""The Coat study: who orders recommenders as ratings of randomly drawn items do, without having seen any of these.

All choices below were written down, and everything was developed on `coat_stand_in`, before the ratings of Coat's
random part were opened for this study. They were not untouched: an earlier probe with fourteen recommenders and no
simulated users had put a content ridge in front, the mean of held-out ratings and item means next, NDCG last.

**Data.** Coat (Schnabel et al. 2016): 290 users, 300 coats, 24 ratings each of coats they chose, and ratings of 16
coats drawn at random for them, without the 366 pairs that were chosen as well.
**Splits.** Twenty, by seed: of each user's 24 chosen rows a random half is the judge's, the other the contestants'.
**Contestants.** Fifteen (`contestants`), fitted on their half with their usual settings; none is tuned on Coat.
**Truth.** A contestant ranks the coats drawn at random for a user (it is told which they are, never a rating); its true
value is the mean real rating of the first five, over users. Pairs of contestants that truly differ: paired bootstrap
over users, Holm over all 105 pairs at 0.05, in each split.
**Evaluators.** All have the judge's rows and nothing else of the ratings. Contestants did not see these rows, so
NDCG@10 (whole catalogue, ratings of 4 and more relevant), SNIPS and the mean rating of the five held-out items ranked
first use them as they are, all twelve of each user. SNIPS comes as usual (first ten of the catalogue, propensity by
the item's popularity) and matched to the target (each held-out pair weighted by its chance of being among the first
five of the drawn coats, over a propensity estimated by logistic regression on features and popularity). The others
predict ratings of what is shown: item mean, user and item bias, matrix factorisation, a ridge on tags and user
features, all tuned on the judge's rows; that ridge weighted by inverse propensity; doubly robust, the ridge plus its
propensity-weighted error on rows it had not learned from (three folds). Propensities are estimated from which rows
the judge has; Coat's own file is not used.
**Simulated users.** The usual recipe with the compact prompt, fewer steps (`coat_users.recipe`); the prior and the
language model of the same users alone; prompts with content only and with cues only; the prior fitted again with
inverse propensities; doubly robust sums around simulated users. The dearer ones on fewer splits, as the result says.
**Primary endpoint.** The share of truly different pairs ordered right (a tie counts one half): simulated users of the
usual recipe minus the best evaluator that is no simulator, the one with the highest mean share over the twenty splits,
which favours that side. Two intervals of the mean difference: Student over splits (draw of the halves, luck of
training) and percentile bootstrap over users, the same resampled users in all splits. Ahead or behind is said only if
both exclude zero on that side. Neither repeats the draw of the chosen ratings or of the coats.
**Secondary.** Differences from every other evaluator, regret, error and spread of values, tau over its ceiling, and the
same with contestants that learned from the judge's half (the shared arm).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simenv.datasets.dataset import Dataset
from simenv.errors import ConfigError, StoreError
from simenv.evaluation.report import stable_json
from simenv.study.coat_report import figure, summary, table, verdict
from simenv.study.coat_split import CoatStudy, compute, key

__all__ = ["CoatStudy", "coat", "figure", "table", "verdict"]

Progress = Callable[[int, int, str], None]
"""(splits done, splits in all, what comes next)"""


def coat(
    dataset: Dataset,
    settings: CoatStudy | None = None,
    *,
    folder: Path,
    seeds: Sequence[int] = tuple(range(20)),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return what the study finds, as JSON-able values; `table`, `figure` and `verdict` show it.

    dataset: Coat, or any data with a part drawn at random. folder: one JSON file per split; finished ones are read, so
    that an interrupted study goes on.

    Raises:
        ConfigError: fewer than two seeds, or the same twice.
        DataError: the data has no part drawn at random, or it overlaps the chosen one.
        StoreError: the file of a finished split is damaged.

    """
    settings = settings or CoatStudy()
    if len(set(seeds)) != len(seeds) or len(seeds) < 2:
        raise ConfigError(f"intervals count splits, so at least two different seeds are needed; got {list(seeds)}.")
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, seed in enumerate(seeds):
        if progress is not None:
            progress(number, len(seeds), f"split {seed}")
        arms = settings.arms(number)
        path = folder / f"split-{seed}-{key(dataset, settings, seed, arms)}.json"
        if not path.exists():
            _write(path, compute(dataset, settings, seed, arms, folder / "users"))
        found.append(_read(path))
    if progress is not None:
        progress(len(seeds), len(seeds), "done")
    return summary(found, dataset.name)


def _write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_suffix(".part")
    draft.write_text(stable_json(content), encoding="utf-8")
    os.replace(draft, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["judge"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error}); remove it, and the split is computed again.") from error
    return content
