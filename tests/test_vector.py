"""Many users at a time: one call per step, seeds, the three ways to begin anew, and the plain loop."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from numpy.typing import NDArray

from simenv.agents.synthetic import checkerboard
from simenv.catalogue import Catalogue
from simenv.environment import SlateEnv
from simenv.errors import ActionError, ConfigError, UnknownIdError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.protocols import Population
from simenv.registration import SLATE_ID
from simenv.session import Response, Session, Slate, UserState
from simenv.testing.environment import EnvironmentContract, ScriptedPopulation, rolled
from simenv.testing.logs import checkerboard_log
from simenv.vector import SlateVectorEnv


@dataclass
class Counting:
    """Passes everything on and counts the calls."""

    inner: ScriptedPopulation
    calls: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        self.calls.append(len(slate.item))
        return self.inner.respond(state, slate)


class Last:
    """Recommends the free items of highest number."""

    name = "last"

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> Last:
        return self

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        score = np.where(session.available(), np.arange(session.n_items), -1)
        return Slate.certain(np.take_along_axis(np.where(score < 0, -1, score), np.argsort(-score)[:, :k], axis=1))


class TestCheckerboardUsers(EnvironmentContract):
    """The contract over users with a real choice and exit model."""

    def population(self) -> Population:
        return checkerboard(8, 20)


def roll(population: ScriptedPopulation, mode: AutoresetMode | str, n: int = 5, steps: int = 30, **setting: Any) -> Any:
    return rolled(SlateVectorEnv(population, n, autoreset_mode=mode, slate_size=3, max_pages=4, **setting), steps)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_row_does_not_know_how_many_others_there_are(mode: AutoresetMode) -> None:
    """Row i of a large batch is row 0 of a batch of one with its seed and actions."""
    population = ScriptedPopulation()
    draw = np.random.default_rng(0)
    actions = draw.integers(30, size=(20, 6, 3))
    many = SlateVectorEnv(population, 6, autoreset_mode=mode, slate_size=3, max_pages=4)
    ones = [SlateVectorEnv(population, 1, autoreset_mode=mode, slate_size=3, max_pages=4) for _ in range(6)]
    many.reset(seed=10)
    for i, env in enumerate(ones):
        env.reset(seed=10 + i)
    for action in actions:
        observation, reward, terminated, truncated, _ = many.step(action)
        over = terminated | truncated
        for i, env in enumerate(ones):
            alone = env.step(action[i : i + 1])
            assert alone[1][0] == reward[i]
            assert (alone[2][0], alone[3][0]) == (terminated[i], truncated[i])
            for name, value in alone[0].items():
                np.testing.assert_array_equal(value[0], observation[name][i])
            if mode is AutoresetMode.DISABLED and over[i]:
                env.reset(options={"reset_mask": np.array([True])})
        if mode is AutoresetMode.DISABLED and over.any():
            many.reset(options={"reset_mask": over})


def test_order_of_the_rows_does_not_matter() -> None:
    population, order = ScriptedPopulation(), np.array([3, 0, 2, 1])
    actions = np.random.default_rng(1).integers(30, size=(15, 4, 3))
    plain, turned = (SlateVectorEnv(population, 4, slate_size=3, max_pages=5) for _ in range(2))
    plain.reset(seed=[7, 8, 9, 10])
    turned.reset(seed=[10, 7, 9, 8])
    for action in actions:
        a, b = plain.step(action), turned.step(action[order])
        np.testing.assert_array_equal(a[1][order], b[1])
        for name in a[0]:
            np.testing.assert_array_equal(a[0][name][order], b[0][name])


def test_one_call_of_the_population_per_step_whatever_ends() -> None:
    population = Counting(ScriptedPopulation(p_leave=0.4))
    env = SlateVectorEnv(population, 6, slate_size=3, max_pages=3)
    env.reset(seed=0)
    for _ in range(20):
        env.step(np.random.default_rng(0).integers(30, size=(6, 3)))
    assert len(population.calls) <= 20
    assert max(population.calls) == 6
    assert min(population.calls) < 6, "rows that begin anew are not asked"


def test_same_step_keeps_the_end_of_the_visit() -> None:
    env = SlateVectorEnv(
        ScriptedPopulation(p_leave=0.5), 5, autoreset_mode="SameStep", slate_size=3, max_pages=9, diagnostics=True
    )
    env.reset(seed=0)
    ends = 0
    for _ in range(20):
        _, _, terminated, truncated, info = env.step(np.random.default_rng(0).integers(30, size=(5, 3)))
        over = terminated | truncated
        assert ("final_obs" in info) == bool(over.any())
        if not over.any():
            continue
        ends += int(over.sum())
        np.testing.assert_array_equal(info["_final_obs"], over)
        np.testing.assert_array_equal(info["_final_info"], over)
        for row in np.flatnonzero(over):
            assert info["final_obs"][row] in env.single_observation_space
            assert info["final_obs"][row]["page"] > 0
            assert info["final_info"]["stop_reason"][row] == "left"
            assert info["stop_reason"][row] == ""
    assert ends > 10


def test_next_step_ignores_even_a_wrong_action_of_a_row_that_begins_anew() -> None:
    env = SlateVectorEnv(ScriptedPopulation(p_leave=1.0), 2, slate_size=3)
    env.reset(seed=0)
    assert env.step([[0, 1, 2], [0, 1, 2]])[2].all()
    observation, reward, terminated, _, info = env.step([[99, 99, 99], [0, 1, 2]])
    assert not reward.any()
    assert not terminated.any()
    assert not observation["page"].any()
    assert list(info["stop_reason"]) == ["", ""]
    with pytest.raises(ActionError, match=r"place 0 of row 0 shows item number 99, but there are 0\.\.29"):
        env.step([[99, 99, 99], [0, 1, 2]])


def test_disabled_waits_for_the_mask() -> None:
    env = SlateVectorEnv(ScriptedPopulation(p_leave=1.0), 3, autoreset_mode=AutoresetMode.DISABLED, slate_size=3)
    action = np.tile(np.arange(3), (3, 1))
    with pytest.raises(gymnasium.error.ResetNeeded, match="no visit going on"):
        env.step(action)
    with pytest.raises(ConfigError, match="reset all rows once"):
        env.reset(options={"reset_mask": np.array([True, False, False])})
    env.reset(seed=0)
    assert env.step(action)[2].all()
    before, info = env.reset(options={"reset_mask": np.array([False, True, False])})
    assert before["page"][:, 0].tolist() == [1, 0, 1]
    assert info["_user_id"].tolist() == [False, True, False]
    assert info["user_id"][0] == 0
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"rows \[0 2\]"):
        env.step(action)
    for mask in ([True] * 3, np.array([1, 0, 1]), np.array([False] * 3), np.array([True])):
        with pytest.raises(ConfigError, match="reset_mask must be a bool array of shape"):
            env.reset(options={"reset_mask": mask})


def test_make_vec_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env: Any = gymnasium.make_vec(
            SLATE_ID,
            num_envs=4,
            vectorization_mode="vector_entry_point",
            population=ScriptedPopulation(),
            slate_size=3,
            max_episode_steps=2,
        )
        observation, _ = env.reset(seed=0)
        assert observation in env.observation_space
        assert env.metadata["autoreset_mode"] is env.autoreset_mode is AutoresetMode.NEXT_STEP
        assert (env.population.member == np.arange(8)).all()
        env.step(env.action_space.sample())
        over = env.step(env.action_space.sample())
        assert (over[2] | over[3]).any(), "max_episode_steps of make_vec must hold"
        env.close()
        env.close()


def test_gymnasiums_own_wrapper_counts_the_episodes() -> None:
    env = RecordEpisodeStatistics(SlateVectorEnv(ScriptedPopulation(), 4, slate_size=3, max_pages=3))
    env.reset(seed=0)
    for _ in range(12):
        env.step(env.action_space.sample())
    assert env.episode_count > 4
    assert max(env.length_queue) <= 3


BAD: list[tuple[dict[str, Any], str]] = [
    ({"num_envs": 0}, "num_envs must be at least 1; got 0"),
    ({"render_mode": "rgb_array"}, 'None, "ansi" or "human"'),
    ({"slate_size": 0}, "slate_size must be at least 1"),
]


@pytest.mark.parametrize(("setting", "words"), BAD)
def test_bad_settings_say_what_is_wrong(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SlateVectorEnv(ScriptedPopulation(), **setting)


def test_bad_resets_say_what_is_wrong() -> None:
    env = SlateVectorEnv(ScriptedPopulation(), 3, slate_size=3)
    with pytest.raises(ConfigError, match="expected 3 seeds, one per row; got 2"):
        env.reset(seed=[1, 2])
    with pytest.raises(ConfigError, match="expected 3 user ids, one per row, or a single one; got 2"):
        env.reset(options={"user_id": [101, 102]})
    with pytest.raises(UnknownIdError, match="unknown user 5"):
        env.reset(options={"user_id": 5})
    with pytest.raises(ConfigError, match="'users' is unknown; options are user_id, persona, history, reset_mask"):
        env.reset(options={"users": 5})
    env.reset(seed=0)
    with pytest.raises(ActionError, match=r"shape \(3, 3\), 3 places per user; got shape \(2, 3\)"):
        env.step([[0, 1, 2], [0, 1, 2]])


def test_users_can_be_chosen_per_row() -> None:
    env = SlateVectorEnv(ScriptedPopulation(), 3, slate_size=3)
    assert env.reset(options={"user_id": [104, 101, 104]})[1]["user_id"].tolist() == [104, 101, 104]
    assert env.reset(options={"user_id": 102})[1]["user_index"].tolist() == [1, 1, 1]


def test_what_is_kept_of_a_visit_does_not_grow_with_the_run() -> None:
    env = SlateVectorEnv(ScriptedPopulation(), 5, slate_size=3, max_pages=4, keep_record=False)
    env.reset(seed=0)
    draw = np.random.default_rng(0)
    for _ in range(100):
        env.step(draw.integers(30, size=(5, 3)))
    assert env.session.shown.shape[1] <= 12
    assert env._visits.state.shown.shape[1] <= 12


def test_same_seed_same_run_and_another_seed_another_run() -> None:
    a, b = (roll(ScriptedPopulation(), "SameStep", candidates=6) for _ in range(2))
    assert data_equivalence(a, b, exact=True)
    other = SlateVectorEnv(ScriptedPopulation(), 5, slate_size=3)
    assert not np.array_equal(other.reset(seed=2)[1]["user_id"], other.reset(seed=3)[1]["user_id"])


def test_string_ids_are_objects_in_infos() -> None:
    env = SlateVectorEnv(ScriptedPopulation(users=Index(tuple("abcdefgh"), "user")), 3, slate_size=3)
    info = env.reset(seed=0)[1]
    assert info["user_id"].dtype == object
    assert set(info["user_id"]) <= set("abcdefgh")


def test_pages_can_be_read() -> None:
    env = SlateVectorEnv(ScriptedPopulation(), 2, slate_size=3, render_mode="ansi")
    env.reset(seed=0)
    env.step([[0, 1, 2], [3, 4, 5]])
    pages = env.render()
    assert pages is not None
    assert [p.splitlines()[0].split(",")[1] for p in pages] == [" page 1 of 10"] * 2


class TestPlainLoop:
    """The loop people want to write, on users whose right answer is known."""

    def env(self) -> SlateVectorEnv:
        population = checkerboard(8, 20)
        log = checkerboard_log(8, 20)
        return SlateVectorEnv(population, 4, slate_size=2, max_pages=1, training_log=log, name="parity")

    def test_who_understands_the_board_keeps_the_users(self) -> None:
        env = self.env()
        observation, info = env.reset(seed=0)
        rewards, mask = [], np.ones(4, bool)
        for _ in range(12):
            action = parity(info["user_index"], observation["seen"])
            observation, reward, terminated, truncated, info = env.step(action)
            rewards += list(reward[mask])
            assert not terminated.any(), "users stay after a page they like"
            mask = ~truncated
        assert set(rewards) == {5.0}
        record = env.record
        frame = record.to_frame()
        assert set(frame["policy"]) == {"parity"}
        assert sorted(frame["visit"].unique()) == list(range(frame["visit"].nunique()))
        assert not frame.duplicated(["visit", "item"]).any()
        other = env.play(Last())
        assert set(other.to_frame()["visit"]) == set(frame["visit"])
        assert record.shown().user.tolist() == other.shown().user.tolist()
        report = record.report(baselines=[other])
        assert "parity" in report.to_markdown()

    def test_the_past_is_never_shown_again(self) -> None:
        env = self.env()
        observation, info = env.reset(seed=0)
        log = env.training_log
        for row, user in enumerate(info["user_index"]):
            assert set(np.flatnonzero(observation["seen"][row])) == set(log.history(int(user))[0].tolist())


def parity(user: NDArray[np.int64], seen: NDArray[np.int8]) -> NDArray[np.int64]:
    score = ((user[:, None] + np.arange(seen.shape[1])) % 2 == 0) - 10.0 * seen
    return np.argsort(-score, axis=1, kind="stable")[:, :2]


def test_replacing_the_population_changes_no_shape() -> None:
    one, other = (SlateVectorEnv(replace(ScriptedPopulation(), p_leave=p), 2, slate_size=3) for p in (0.0, 1.0))
    assert one.observation_space == other.observation_space


def test_vector_and_single_share_their_spaces() -> None:
    vector = SlateVectorEnv(ScriptedPopulation(), 2, slate_size=3, candidates=9)
    single = SlateEnv(ScriptedPopulation(), slate_size=3, candidates=9)
    assert vector.single_observation_space == single.observation_space
    assert vector.single_action_space == single.action_space
    vector.reset(seed=0)
    assert vector.action_masks().shape == (2, 27)
