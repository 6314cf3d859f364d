"""Forms of observation: the same facts, laid out otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simenv.environment import ItemEnv, SlateEnv
from simenv.testing.environment import played
from simenv.testing.logs import log_of, tiny_catalogue
from simenv.testing.population import ScriptedPopulation

POPULATION = ScriptedPopulation(p_leave=0.1)
LOG = log_of(POPULATION)
WORLD: dict[str, Any] = {"training_log": LOG, "catalogue": tiny_catalogue(LOG.items), "max_pages": 4, "history": 5}
ITEMS = ("recent_item", "slate", "draft", "candidate")


@pytest.mark.parametrize("setting", [{}, {"candidates": 7, "show_user": True}])
@pytest.mark.parametrize("kind", [SlateEnv, ItemEnv])
def test_the_flat_one_holds_the_numeric_one(kind: Any, setting: dict[str, Any]) -> None:
    """Every item number is replaced by the item's features, zeros for none; all lies in -1..1."""
    numeric = kind(POPULATION, slate_size=3, **WORLD, **setting)
    flat = kind(POPULATION, slate_size=3, observation="flat", **WORLD, **setting)
    feature = np.concatenate([numeric.item_feature, np.zeros((1, numeric.item_feature.shape[1]))])
    for (rich, *_), (plain, *_) in zip(played(numeric, 1), played(flat, 1), strict=True):
        assert plain.shape == flat.observation_space.shape
        assert set(flat.layout) == set(rich) - {"candidate"}
        assert sum(part.stop - part.start for part in flat.layout.values()) == len(plain)
        for name, part in flat.layout.items():
            want: Any = feature[rich[name]] if name in ITEMS else rich[name]
            want = {"page": rich["page"] / 4, "user_index": np.eye(8)[rich.get("user_index", 0)]}.get(name, want)
            np.testing.assert_allclose(plain[part], np.ravel(want), atol=1e-6, err_msg=name)


def test_candidates_come_with_their_features() -> None:
    env = SlateEnv(POPULATION, slate_size=3, candidates=7, **WORLD)
    observation, _ = env.reset(seed=0)
    table = observation["candidate_feature"].reshape(7, -1)
    np.testing.assert_array_equal(table, env.item_feature[observation["candidate"]])


def test_history_only_shows_ratings_and_what_the_action_needs() -> None:
    plain: Any = SlateEnv(POPULATION, observation="history").observation_space
    assert set(plain) == {"recent_item", "recent_rating"}
    env = ItemEnv(POPULATION, observation="history", slate_size=2, candidates=9, show_user=True)
    more = {"candidate", "candidate_feature", "draft", "user_index"}
    space: Any = env.observation_space
    assert set(space) == {"recent_item", "recent_rating", *more}
    observation, info = env.reset(seed=0)
    assert observation["user_index"] == info["user_index"]


def test_who_it_is_is_told_on_request_only() -> None:
    """Two users without a past look alike, unless the user is shown."""
    plain, told = (SlateEnv(POPULATION, slate_size=3, show_user=show) for show in (False, True))
    one, other = (plain.reset(seed=0, options={"user_id": user})[0] for user in (101, 102))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert [told.reset(seed=0, options={"user_id": user})[0]["user_index"] for user in (101, 102)] == [0, 1]
