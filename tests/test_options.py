"""Who comes: user, persona and past can be chosen, for one user or for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simenv.environment import SlateEnv
from simenv.errors import ConfigError, DataError, UnknownIdError
from simenv.features import Features
from simenv.log import InteractionLog
from simenv.testing.logs import log_of, tiny_catalogue
from simenv.testing.population import ScriptedPopulation
from simenv.vector import SlateVectorEnv

NAMES = ("calm", "eager", "calm", "picky", "eager", "calm", "picky", "lone")
POPULATION = ScriptedPopulation(persona=NAMES, member=np.arange(7))
LOG = log_of(POPULATION)
WORLD: dict[str, Any] = {"slate_size": 3, "training_log": LOG, "catalogue": tiny_catalogue(LOG.items)}


def test_a_persona_draws_among_its_members_only() -> None:
    env = SlateEnv(POPULATION, diagnostics=True, **WORLD)
    found = {
        (info["user_index"], info["persona"])
        for info in (env.reset(seed=s, options={"persona": "calm"})[1] for s in range(40))
    }
    assert found == {(0, "calm"), (2, "calm"), (5, "calm")}


def test_a_history_stands_for_the_past_of_the_log() -> None:
    env = SlateEnv(POPULATION, **WORLD)
    past = {"i004": 5.0, "i001": 2.0}
    observation, info = env.reset(seed=0, options={"user_id": 103, "history": past})
    assert info["user_id"] == 103
    assert observation["recent_item"][:3].tolist() == [4, 1, -1]
    np.testing.assert_allclose(observation["recent_rating"][:3], [1, 0.25, -1])
    assert np.flatnonzero(observation["seen"]).tolist() == [1, 4]
    only = InteractionLog.of(LOG.users, LOG.items, [2, 2], [4, 1], [5, 2], None, LOG.scale)
    np.testing.assert_allclose(observation["user"], Features(only, env.catalogue).user[2], atol=1e-6)
    assert env.step([4, 0, 2])[4]["masked"] == 1
    plain, _ = env.reset(seed=0, options={"user_id": 103})
    assert (plain["recent_item"] >= 0).sum() == LOG.count[2]
    np.testing.assert_array_equal(plain["user"], Features(LOG, env.catalogue).user[2])


def test_an_empty_history_is_a_stranger_with_the_same_answers() -> None:
    """What the recommender knows changes nothing of who the user is."""
    env = SlateEnv(POPULATION, **WORLD)
    known, info = env.reset(seed=0, options={"user_id": 101})
    free = np.flatnonzero(known["seen"] == 0)[:3]
    answers = env.step(free)[4]
    stranger, again = env.reset(seed=0, options={"user_id": 101, "history": {}})
    assert not stranger["seen"].any()
    assert not stranger["user"].any()
    assert again["user_id"] == info["user_id"]
    np.testing.assert_array_equal(env.step(free)[4]["ratings"], answers["ratings"])


def test_each_row_has_its_own_options() -> None:
    env = SlateVectorEnv(POPULATION, 3, **WORLD)
    observation, info = env.reset(seed=0, options={"history": [None, {"i007": 1}, None], "user_id": [101, None, 103]})
    assert (info["user_id"][0], info["user_id"][2]) == (101, 103)
    assert np.flatnonzero(observation["seen"][1]).tolist() == [7]
    assert observation["seen"][0].sum() == LOG.count[0]
    _, info = env.reset(options={"persona": "eager"})
    assert set(info["user_index"]) <= {1, 4}
    one = SlateEnv(POPULATION, **WORLD).reset(seed=1, options={"history": {"i007": 1}})
    np.testing.assert_array_equal(one[0]["user"], observation["user"][1])
    assert one[1]["user_id"] == SlateVectorEnv(POPULATION, 3, **WORLD).reset(seed=0)[1]["user_id"][1]


def test_autoreset_forgets_the_options() -> None:
    env = SlateVectorEnv(ScriptedPopulation(p_leave=1.0), 2, slate_size=3, training_log=LOG, autoreset_mode="SameStep")
    env.reset(seed=0, options={"history": {"i007": 1}})
    observation = env.step([[0, 1, 2], [3, 4, 5]])[0]
    assert (observation["seen"].sum(axis=1) > 1).all()


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"persona": "grumpy"}, ConfigError, "nobody has the persona 'grumpy'; personas are 'calm', 'eager', 'picky'"),
    ({"persona": "lone"}, ConfigError, "nobody has the persona 'lone'"),
    ({"user_id": 101, "persona": "calm"}, ConfigError, "give user_id or persona, not both"),
    ({"history": {"i999": 3}}, UnknownIdError, "unknown item 'i999'"),
    ({"history": {"i001": 9}}, DataError, "rating 9 is not on the scale"),
    ({"person": "calm"}, ConfigError, "'person' is unknown; options are user_id, persona, history"),
    ({"persona": ["calm", "calm"]}, ConfigError, "expected 1 personas, one per row, or a single one; got 2"),
    ({"history": [{}, {}]}, ConfigError, "expected 1 histories"),
]


@pytest.mark.parametrize(("options", "kind", "words"), BAD)
def test_bad_options_say_what_is_wrong(options: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        SlateEnv(POPULATION, **WORLD).reset(seed=0, options=options)


def test_where_there_are_no_personas() -> None:
    with pytest.raises(ConfigError, match="nobody has the persona 'calm'; there are none"):
        SlateEnv(ScriptedPopulation()).reset(seed=0, options={"persona": "calm"})
