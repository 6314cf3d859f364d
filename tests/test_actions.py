"""Three forms of action over one core: what they show, what they refuse, and that they agree where they must."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from hypothesis import given, settings
from hypothesis import strategies as st

from simenv.actions import nearest
from simenv.environment import ItemEnv, ProtoEnv, SlateEnv
from simenv.errors import ActionError, ConfigError
from simenv.index import Index
from simenv.registration import ITEM_ID, PROTO_ID
from simenv.testing import EnvironmentContract
from simenv.testing.logs import log_of, tiny_catalogue
from simenv.testing.population import CountingPopulation, ScriptedPopulation
from simenv.vector import ItemVectorEnv, SlateVectorEnv

STAYING = ScriptedPopulation(p_leave=0.0)
LOG = log_of(STAYING)
WORLD: dict[str, Any] = {"training_log": LOG, "catalogue": tiny_catalogue(STAYING.items)}


class TestItem(EnvironmentContract):
    env_id, population = ITEM_ID, ScriptedPopulation()


class TestItemPlaceByPlace(EnvironmentContract):
    env_id, population = ITEM_ID, ScriptedPopulation()
    setting = {"slate_size": 3, "max_pages": 5, "candidates": 7, "show_user": True, **WORLD}  # noqa: RUF012


class TestItemUntilNothingIsLeft(EnvironmentContract):
    env_id, population = ITEM_ID, ScriptedPopulation(items=Index(tuple(range(8)), "item"), p_leave=0.01)
    setting = {"slate_size": 3, "max_pages": 9, "observation": "flat"}  # noqa: RUF012


class TestProto(EnvironmentContract):
    env_id, population = PROTO_ID, ScriptedPopulation()
    setting = {"slate_size": 4, "max_pages": 5, "protos": 2, **WORLD}  # noqa: RUF012


class TestProtoAmongCandidates(EnvironmentContract):
    env_id, population = PROTO_ID, ScriptedPopulation()
    setting = {"slate_size": 3, "candidates": 5, "observation": "flat", "diagnostics": True, **WORLD}  # noqa: RUF012


def test_an_item_is_a_page_of_one() -> None:
    item, slate = ItemEnv(STAYING, **WORLD), SlateEnv(STAYING, slate_size=1, **WORLD)
    assert data_equivalence(item.reset(seed=3), slate.reset(seed=3), exact=True)
    for action in (4, 9, 4, -1, 17):
        assert data_equivalence(item.step(action), slate.step([action]), exact=True)


@pytest.mark.parametrize("candidates", [None, 9])
def test_place_by_place_is_a_page_in_the_end(candidates: int | None) -> None:
    """Bad places among them: a page filled one by one is judged as the same page at once."""
    draw = np.random.default_rng(0)
    population = CountingPopulation(STAYING)
    item = ItemEnv(population, slate_size=3, max_pages=6, candidates=candidates, **WORLD)
    slate = SlateEnv(STAYING, slate_size=3, max_pages=6, candidates=candidates, **WORLD)
    item.reset(seed=1)
    slate.reset(seed=1)
    for page in range(6):
        action = draw.integers(-1, candidates or 30, 3)
        for place in (0, 1):
            observation, reward, *over, info = item.step(action[place])
            assert (reward, over) == (0.0, [False, False])
            assert not info["rated"].any()
            assert info["duplicates"] + info["masked"] + info["repeats"] == 0
            offered = item.session.candidate
            shown = action if offered is None else np.where(action < 0, -1, offered[0][action])
            assert observation["draft"].tolist() == [*shown[: place + 1], *[-1] * (2 - place)]
            assert observation["page"] == page
        got, want = item.step(action[2]), slate.step(action)
        assert (got[0].pop("draft") == -1).all()
        assert data_equivalence(got, want, exact=True)
    assert len(population.calls) == 6, "the users are asked once per page"


def test_rows_are_asked_when_their_page_is_full() -> None:
    population = CountingPopulation(ScriptedPopulation(p_leave=0.5))
    env = ItemVectorEnv(population, 4, slate_size=3)
    env.reset(seed=0)
    draw = np.random.default_rng(0)
    for _ in range(30):
        env.step(draw.integers(30, size=4))
    assert sum(population.calls) <= 4 * 10
    assert len(population.calls) <= 30


def test_masks_that_are_followed_never_lose_a_place() -> None:
    env, draw = ItemEnv(STAYING, slate_size=4, max_pages=50, **WORLD), np.random.default_rng(0)
    env.reset(seed=2)
    shown: list[int] = []
    over = False
    while not over:
        mask = env.action_masks()
        assert mask.shape == (30,)
        assert mask.any(), "a visit that goes on has a choice left"
        observation, _, terminated, truncated, info = env.step(draw.choice(np.flatnonzero(mask)))
        assert info["duplicates"] + info["masked"] + info["repeats"] == 0
        if (observation["draft"] == -1).all():
            shown += [int(i) for i in observation["slate"] if i >= 0]
        over = terminated or truncated
    assert info["stop_reason"] == "exhausted"
    past = LOG.history(info["user_index"])[0].tolist()
    assert sorted([*shown, *past]) == list(range(30)), "each item once, and the last page shorter than the others"


def test_the_mask_of_slates_leaves_duplicates_to_the_rules() -> None:
    env = SlateEnv(STAYING, slate_size=2, **WORLD)
    env.reset(seed=0)
    mask = env.action_masks()
    free = np.flatnonzero(mask[:30])
    assert (mask[:30] == mask[30:]).all()
    assert env.step([free[0], free[0]])[4]["duplicates"] == 1


def plain_nearest(point: Any, feature: Any, free: Any, size: int) -> list[int]:
    page: list[int] = []
    for place in range(size):
        p = point[place * len(point) // size]
        left = [(float(((feature[i] - p) ** 2).sum()), i) for i in range(len(feature)) if free[i] and i not in page]
        page.append(min(left)[1] if left else -1)
    return page


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.booleans())
def test_nearest_is_what_it_says(seed: int, protos: int, share: int, n: int, own: bool) -> None:
    """On a coarse grid, so that many are equally near."""
    draw, b = np.random.default_rng(seed), 3
    point = draw.integers(-2, 3, (b, protos, 2)) / 2
    feature = draw.integers(-2, 3, (b if own else 1, n, 2)) / 2
    free, size = draw.random((b, n)) < 0.7, protos * share
    page = nearest(point.astype(np.float64), feature.astype(np.float64), free, size)
    for row in range(b):
        assert page[row].tolist() == plain_nearest(point[row], feature[row if own else 0], free[row], size)


def test_a_proto_action_shows_its_neighbours_and_nothing_seen() -> None:
    env = ProtoEnv(STAYING, slate_size=3, max_pages=4, **WORLD)
    observation, info = env.reset(seed=0)
    past = set(LOG.history(info["user_index"])[0].tolist())
    target = next(i for i in range(30) if i not in past)
    assert env.action_space.shape == (env.item_feature.shape[1],)
    observation, _, _, _, info = env.step(env.item_feature[target])
    assert observation["slate"][0] == target, "a point at an item is nearest to it"
    assert not set(observation["slate"].tolist()) & past
    again = env.step(env.item_feature[target])[0]["slate"]
    assert not set(again.tolist()) & {*observation["slate"].tolist(), *past}
    assert info["duplicates"] + info["masked"] + info["repeats"] == 0


def test_features_of_ones_own_are_the_space_of_actions() -> None:
    feature = np.stack([np.linspace(-1, 1, 30), np.zeros(30)], axis=1)
    env = ProtoEnv(STAYING, slate_size=2, item_feature=feature)
    env.reset(seed=0)
    assert env.step(np.array([0.99, 0.0], np.float32))[0]["slate"].tolist() == [29, 28]
    assert np.abs(env.item_feature - feature).max() <= 0.5 / 1024


def test_two_protos_share_the_page() -> None:
    feature = np.linspace(-1, 1, 30)[:, None]
    env = ProtoEnv(STAYING, slate_size=4, protos=2, item_feature=feature)
    env.reset(seed=0)
    assert env.step(np.array([-1.0, 1.0], np.float32))[0]["slate"].tolist() == [0, 1, 29, 28]


BAD: list[tuple[Any, dict[str, Any], Any, str]] = [
    (ItemEnv, {}, 30, r"the action shows item number 30, but there are 0\.\.29"),
    (ItemEnv, {}, -2, "item number -2"),
    (ItemEnv, {}, [3], r"expected an action of shape \(\), one item number per user; got shape \(1,\)"),
    (ItemEnv, {}, 0.5, "an action holds one item number per user; got dtype float64"),
    (ItemEnv, {}, True, "got dtype bool"),
    (ItemEnv, {"candidates": 5}, 5, r"candidate number 5, but there are 0\.\.4"),
    (ProtoEnv, {}, np.zeros(3, np.float32), r"shape \(14,\), 1 points of 14 numbers per user; got dtype float32, sh"),
    (ProtoEnv, {}, np.zeros(14, np.int64), "got dtype int64"),
    (ProtoEnv, {}, np.full(14, 1.01), r"lies outside -1\.\.1 or is NaN"),
    (ProtoEnv, {}, np.full(14, np.nan), r"lies outside -1\.\.1 or is NaN; clip it first"),
]


@pytest.mark.parametrize(("kind", "setting", "action", "words"), BAD)
def test_bad_actions_say_what_is_wrong(kind: Any, setting: dict[str, Any], action: Any, words: str) -> None:
    env = kind(STAYING, slate_size=2, training_log=LOG, catalogue=tiny_catalogue(STAYING.items), **setting)
    env.reset(seed=0)
    with pytest.raises(ActionError, match=words):
        env.step(action)
    assert env.session.page[0] == 0
    assert env._visits.place[0] == 0, "a refused action must not fill a place"


def test_bad_actions_of_a_row_name_the_row() -> None:
    env = ItemVectorEnv(STAYING, 3, slate_size=2)
    env.reset(seed=0)
    with pytest.raises(ActionError, match=r"row 1 shows item number 99"):
        env.step([0, 99, 1])
    with pytest.raises(ActionError, match=r"expected an action of shape \(3,\), one item number per user"):
        env.step([0, 1])


BAD_SETTINGS: list[tuple[Any, dict[str, Any], str]] = [
    (ProtoEnv, {"slate_size": 4, "protos": 3}, "protos must divide the 4 places of a page evenly; got 3"),
    (ProtoEnv, {"item_feature": np.zeros((3, 2))}, r"a row for each of 30 items; got \(3, 2\)"),
    (ProtoEnv, {"item_feature": np.full((30, 2), 2.0)}, r"must lie in -1\.\.1 without NaN"),
    (SlateEnv, {"slates": 3}, "argument 'slates' is unknown; arguments are population, slate_size"),
]


@pytest.mark.parametrize(("kind", "setting", "words"), BAD_SETTINGS)
def test_bad_settings_say_what_is_wrong(kind: Any, setting: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        kind(STAYING, **setting)


def test_proto_has_no_masks() -> None:
    env = ProtoEnv(STAYING)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="Proto-v0 has no action masks"):
        env.action_masks()


def test_a_vector_of_slates_masks_each_row() -> None:
    env = SlateVectorEnv(STAYING, 3, slate_size=2, training_log=LOG)
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.action_masks().reshape(3, 2, 30)[:, 1], observation["seen"] == 0)
