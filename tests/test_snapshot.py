"""Visits in mid-air: gone on with here or elsewhere they lead to the same, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode

from simenv.agents.exit import ExitHazard
from simenv.agents.synthetic import checkerboard
from simenv.environment import ItemEnv, ProtoEnv, SlateEnv
from simenv.errors import ConfigError
from simenv.testing.environment import followed
from simenv.testing.logs import checkerboard_log
from simenv.testing.population import ScriptedPopulation
from simenv.testing.vector import random_actions
from simenv.vector import ItemVectorEnv, SlateVectorEnv

POPULATION = ScriptedPopulation(p_leave=0.15)
FORMS: list[tuple[Any, dict[str, Any]]] = [
    (SlateEnv, {"slate_size": 3}),
    (SlateEnv, {"slate_size": 3, "candidates": 8, "repeats": "answer", "observation": "text"}),
    (ItemEnv, {"slate_size": 4, "candidates": 9}),
    (ProtoEnv, {"slate_size": 2, "observation": "flat"}),
]


@pytest.mark.parametrize(("kind", "setting"), FORMS)
def test_restoring_and_replaying_is_exact(kind: Any, setting: dict[str, Any]) -> None:
    """In the midst of a visit, and into the visits that follow it."""
    env, draw = kind(POPULATION, max_pages=6, **setting), np.random.default_rng(0)
    env.reset(seed=2)
    for _ in range(40):
        shot, actions = env.snapshot(), [random_actions(env.action_space, draw) for _ in range(5)]
        ahead = followed(env, actions)
        env.restore(shot)
        assert data_equivalence(followed(env, actions), ahead, exact=True)


def test_a_population_with_choice_and_exit_replays_as_well() -> None:
    exit = ExitHazard(page_logit=(-1.0,), frailty_sd=1.0)
    population = checkerboard(8, 20, exit=exit).with_(rho=0.5)
    env, draw = SlateEnv(population, slate_size=3, training_log=checkerboard_log(8, 20)), np.random.default_rng(0)
    env.reset(seed=2)
    for _ in range(20):
        shot, actions = env.snapshot(), [random_actions(env.action_space, draw) for _ in range(4)]
        ahead = followed(env, actions)
        assert data_equivalence(env.restore(shot)[0], env._now()[0], exact=True)
        assert data_equivalence(followed(env, actions), ahead, exact=True)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_all_rows_or_some_go_back(mode: str) -> None:
    env, draw = SlateVectorEnv(POPULATION, 5, autoreset_mode=mode, slate_size=3, max_pages=6), np.random.default_rng(0)
    env.reset(seed=0)
    rows = np.array([1, 3])
    for _ in range(15):
        revive(env)
        shot, some = env.snapshot(), env.snapshot(rows)
        actions = random_actions(env.single_action_space, draw, 5)
        ahead = env.step(actions)
        env.restore(shot)
        assert data_equivalence(env.step(actions), ahead, exact=True)
        observation, info = env.restore(some, rows=rows)
        assert info["_user_id"].tolist() == [False, True, False, True, False]
        for name, value in observation.items():
            np.testing.assert_array_equal(np.delete(value, rows, axis=0), np.delete(ahead[0][name], rows, axis=0))
        revive(env, spare=rows)
        again = env.step(actions)
        np.testing.assert_array_equal(again[1][rows], ahead[1][rows])
        np.testing.assert_array_equal(again[0]["slate"][rows], ahead[0]["slate"][rows])


def revive(env: SlateVectorEnv, spare: Any = ()) -> None:
    """Begin anew where a visit has ended and nobody else does."""
    over = env._visits.stop > 0
    over[list(spare)] = False
    if env.autoreset_mode is AutoresetMode.DISABLED and over.any():
        env.reset(options={"reset_mask": over})


def test_many_slates_from_one_state_are_what_single_environments_say() -> None:
    """Counterfactual slates: one user in mid-visit, copied into every row."""
    single, vector = SlateEnv(POPULATION, slate_size=3), SlateVectorEnv(POPULATION, 6, slate_size=3)
    single.reset(seed=4)
    single.step([0, 1, 2])
    shot = single.snapshot()
    vector.restore(shot.take([0] * 6))
    slates = np.random.default_rng(1).permutation(30)[:18].reshape(6, 3)
    observation, reward, terminated, _, info = vector.step(slates)
    for row, slate in enumerate(slates):
        single.restore(shot)
        got = single.step(slate)
        assert (got[1], got[2]) == (reward[row], terminated[row])
        np.testing.assert_array_equal(got[4]["ratings"], info["ratings"][row])
        np.testing.assert_array_equal(got[0]["recent_item"], observation["recent_item"][row])
    assert len(set(reward)) > 1


def test_other_luck_is_other_and_its_own_for_each_row() -> None:
    single, vector = SlateEnv(POPULATION, slate_size=10), SlateVectorEnv(POPULATION, 6, slate_size=10)
    single.reset(seed=4)
    single.step(np.arange(10))
    shot = single.snapshot().take([0] * 6)
    slate = np.tile(np.arange(10, 20), (6, 1))
    answers = []
    for luck in (None, 1, 1, 2):
        observation, _ = vector.restore(shot, luck=luck)
        assert (observation["slate"] == np.arange(10)).all(), "what was answered stays"
        answers.append(vector.step(slate)[4]["consumed"])
    same, one, again, two = answers
    assert (same == same[0]).all()
    assert len({row.tobytes() for row in one}) > 3
    np.testing.assert_array_equal(one, again)
    assert (one != two).any()


def test_a_snapshot_is_not_touched_by_what_follows() -> None:
    env = ItemVectorEnv(POPULATION, 3, slate_size=2, candidates=6)
    env.reset(seed=0)
    env.step([0, 1, 2])
    shot, draw = env.snapshot(), np.random.default_rng(0)
    before = {name: value.copy() for name, value in shot.own.items()}
    for _ in range(10):
        env.step(draw.integers(6, size=3))
    for name, value in shot.own.items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    assert env.restore(shot)[0]["draft"][:, 0].tolist() == shot.session.candidate[range(3), range(3)].tolist()  # type: ignore[index]


def test_the_record_holds_each_branch_as_a_whole_visit() -> None:
    env = SlateEnv(ScriptedPopulation(p_leave=0.0), slate_size=2, max_pages=3)
    env.reset(seed=1)
    env.step([0, 1])
    env.step([2, 3])
    shot = env.snapshot()
    env.step([4, 5])
    env.restore(shot)
    env.step([6, 7])
    frame = env.record.to_frame()
    assert frame.groupby("visit")["page"].unique().apply(list).tolist() == [[0, 1, 2], [0, 1, 2]]
    pages = frame.drop(columns="visit")
    ours, theirs = (pages[frame["visit"] == visit].reset_index(drop=True) for visit in (0, 1))
    assert ours[ours["page"] < 2].equals(theirs[theirs["page"] < 2])
    assert theirs["item"].tolist() == ["i000", "i001", "i002", "i003", "i006", "i007"]
    other = SlateEnv(ScriptedPopulation(p_leave=0.0), slate_size=2, max_pages=3)
    other.restore(shot)
    other.step([8, 9])
    assert other.record.shown().pages.tolist() == [3]


def test_before_the_first_page_there_is_nothing_to_record() -> None:
    env = SlateVectorEnv(ScriptedPopulation(p_leave=0.0), 2, slate_size=2)
    env.reset(seed=1)
    env.restore(env.snapshot())
    env.step([[0, 1], [2, 3]])
    assert env.record.shown().pages.tolist() == [1, 1]


def test_what_cannot_be_restored_says_so() -> None:
    env = SlateVectorEnv(POPULATION, 3, slate_size=2)
    with pytest.raises(ConfigError, match=r"call reset\(\) first"):
        env.snapshot()
    env.reset(seed=0)
    shot = env.snapshot()
    with pytest.raises(ConfigError, match=r"a snapshot of 3 visits cannot fill 2 rows; choose with snapshot\.take"):
        env.restore(shot, rows=[0, 1])
    with pytest.raises(ConfigError, match=r"rows must be ascending numbers in 0\.\.2; got \[1, 0\]"):
        env.restore(shot.take([0, 1]), rows=[1, 0])
    with pytest.raises(ConfigError, match=r"of another environment: places, items and candidates are \(2, 30, None\)"):
        SlateVectorEnv(POPULATION, 3, slate_size=2, candidates=9).restore(shot)
    with pytest.raises(ConfigError, match="reset all rows once"):
        SlateVectorEnv(POPULATION, 3, slate_size=2).restore(shot.take([0]), rows=[1])
    with pytest.raises(ConfigError, match="a snapshot of 3 visits cannot fill 1 rows"):
        SlateEnv(POPULATION, slate_size=2).restore(shot)
