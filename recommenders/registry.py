"""Recommenders by the name a person types: on a command line, in a configuration, in a list."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable
from typing import Final

from simenv.errors import ConfigError
from simenv.protocols import Recommender
from simenv.recommenders.adversarial import InvertedMF, NoisyMF, PopularTimesMean, TasteMF
from simenv.recommenders.bandit import LinUCB, Thompson
from simenv.recommenders.baseline import BestRated, LongTail, Popular, Random
from simenv.recommenders.biased_mf import BiasedMF
from simenv.recommenders.content import Content
from simenv.recommenders.contextual import ContextualGreedy
from simenv.recommenders.factorisation import ALS, BPR
from simenv.recommenders.neighbours import ItemKNN
from simenv.recommenders.scores import from_scores

KNOWN: Final[dict[str, Callable[[], Recommender]]] = {
    "random": Random,
    "popular": Popular,
    "best-rated": BestRated,
    "long-tail": LongTail,
    "item-knn": ItemKNN,
    "als": ALS,
    "bpr": BPR,
    "mf": BiasedMF,
    "content": Content,
    "linucb": LinUCB,
    "thompson": Thompson,
    "contextual": ContextualGreedy,
    "inverted-mf": InvertedMF,
    "noisy-mf": NoisyMF,
    "mf-no-item-bias": TasteMF,
    "popular-x-mean": PopularTimesMean,
}
"""Names that `by_name` knows, each with default settings; the last four are wrong on purpose (`adversarial.py`). The
oracle needs a truth, so it has no name here."""


def by_name(names: Iterable[str]) -> list[Recommender]:
    """Return a recommender per name.

    A name is one of KNOWN; "module.path:ClassName", a class of your own that needs no arguments; or the path of a
    .parquet or .csv file with the columns user, item, score.

    Raises:
        ConfigError: a name is not known, the class cannot be imported or made, it is no Recommender, or two
            recommenders have one name.
        DataError: the file of scores is not what it should be.

    """
    if isinstance(names, str):
        raise ConfigError(f'by_name takes a list of names; got the text {names!r}. Write by_name(["{names}"]).')
    found = [_one(name.strip()) for name in names]
    called = [recommender.name for recommender in found]
    twice = sorted({name for name in called if called.count(name) > 1})
    if twice:
        raise ConfigError(f"two recommenders are called {twice[0]!r}; reports tell them apart by name. Rename one.")
    return found


def _one(name: str) -> Recommender:
    if name in KNOWN:
        return KNOWN[name]()
    if name.endswith((".parquet", ".csv")):
        return from_scores(name)
    if ":" in name:
        return _own(name)
    near = difflib.get_close_matches(name, KNOWN, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(
        f"no recommender is called {name!r}.{hint} Known: {', '.join(KNOWN)}; or give a class of your own as "
        '"module.path:ClassName", or a .parquet or .csv file of user, item, score.'
    )


def _own(name: str) -> Recommender:
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"cannot make {name!r}: {type(error).__name__}: {error}. The module must be importable from here and the "
            "class must need no arguments."
        ) from error
    if not isinstance(made, Recommender):
        raise ConfigError(
            f"{name!r} is no recommender: it needs a `name` and a method fit(log, catalogue, *, seed) that returns a "
            "policy with recommend(session, k, *, seed)."
        )
    return made
