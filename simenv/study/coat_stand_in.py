"""A made-up Coat: users who chose what they rated, and ratings of items drawn at random for them, as in the real one.

Everything of the Coat study is developed here, so that the real test ratings are opened once. Same sizes: 290 users,
300 items, 24 chosen ratings each, 16 items drawn at random.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from simenv.catalogue import Catalogue
from simenv.datasets.dataset import Dataset
from simenv.datasets.synthetic import Truth, World, generate
from simenv.log import InteractionLog
from simenv.randomness import generator

CHOSEN, DRAWN = 24, 16
"""Ratings per user in the two parts of Coat (Schnabel et al. 2016)."""


def stand_in(
    seed: int = 0,
    *,
    n_users: int = 290,
    n_items: int = 300,
    selection: float = 2.0,
    popularity: float = 0.5,
    chosen: int = CHOSEN,
    drawn: int = DRAWN,
) -> tuple[Dataset, Truth]:
    """Return a data set with `random_exposure`, and the truth behind it.

    selection: how strongly users rate what they would like; popularity: how strongly what is popular; see
    `simenv.datasets.synthetic.generate`. As in Coat, there are no times, pairs that were chosen as well are left out of
    the random part, items have tags and a name but no text, and users a few features: their taste group, told wrongly
    for one in five, and one that means nothing.
    """
    world = generate(
        seed, n_users=n_users, n_items=n_items, selection=selection, selection_popularity=popularity,
        median_history=100 * chosen, max_history=chosen,
    )  # fmt: skip
    log = world.log
    past = InteractionLog.of(log.users, log.items, log.user, log.item, log.rating, None, log.scale)
    name = f"coat stand-in, selection {selection:g}, seed {seed}"
    made = Dataset(past, _tagged(world), name, _people(world, seed), _drawn(world, past, drawn, seed), "Invented.")
    return made, world.truth


def _tagged(world: World) -> Catalogue:
    c, none = world.catalogue, ("",) * len(world.catalogue)
    tags = tuple((*genres, f"{year // 10}0s") for genres, year in zip(c.genres, c.year, strict=True))
    return replace(c, genres=tags, year=(0,) * len(c), cast=((),) * len(c), director=none, summary=none)


def _people(world: World, seed: int) -> pd.DataFrame:
    rng, group = generator(seed, "people"), world.truth.group
    told = np.where(rng.random(len(group)) < 0.2, rng.integers(group.max() + 1, size=len(group)), group)
    kind = {"user": list(world.log.users.ids), "group": [f"g{g}" for g in told]}
    return pd.DataFrame(kind | {"age": rng.choice(["young", "old"], len(group))})


def _drawn(world: World, past: InteractionLog, drawn: int, seed: int) -> InteractionLog:
    """Return ratings of items drawn uniformly for each user, those left out that were chosen as well."""
    rng, truth = generator(seed, "random exposure"), world.truth
    item = np.stack([rng.choice(past.n_items, drawn, replace=False) for _ in range(past.n_users)])
    user = np.repeat(np.arange(past.n_users), drawn)
    rating = truth.scale.sample(truth.p(user, item.ravel()), rng.random(len(user)))
    chosen = np.zeros((past.n_users, past.n_items), bool)
    chosen[past.user, past.item] = True
    new = ~chosen[user, item.ravel()]
    return InteractionLog.of(past.users, past.items, user[new], item.ravel()[new], rating[new], None, past.scale)
