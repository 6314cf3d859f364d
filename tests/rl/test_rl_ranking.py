"""The environment for rankers: spaces, endings, seeds, replicas; and that it is the story that `play` tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simenv.agents.exit import ExitHazard
from simenv.errors import ActionError, ConfigError
from simenv.protocols import Population
from simenv.recommenders.learned import LearnedPolicy, Ranker
from simenv.rl.learner import PPORanker
from simenv.rl.ranking import RankingVectorEnv
from simenv.rl.replicas import Proving
from simenv.rl.value import Horizon


@pytest.fixture(scope="module")
def ranker(proving: Proving, quick: PPORanker) -> Ranker:
    return quick.form.fit(proving.log, proving.catalogue, seed=0)


def opened(proving: Proving, ranker: Ranker, many: list[Population] | None = None, **how: Any) -> RankingVectorEnv:
    how = {"num_envs": 8, "slate_size": 5, "max_pages": 4} | how
    return RankingVectorEnv(many or list(proving.train), proving.log, ranker, proving.learner, **how)


def leaving(p: float) -> ExitHazard:
    return ExitHazard(page_logit=(p,), frailty_sd=0, slope_utility=0, slope_best=0, slope_repeat=0)


class TestSpaces:
    def test_a_thousand_steps_stay_inside(self, proving: Proving, ranker: Ranker) -> None:
        env = opened(proving, ranker)
        env.action_space.seed(0)
        observation, _ = env.reset(seed=0)
        ended = 0
        for _ in range(125):
            assert env.observation_space.contains(observation)
            observation, reward, left, capped, info = env.step(env.action_space.sample())
            assert np.isfinite(reward).all()
            assert (reward > 0).all()
            assert not (left & capped).any()
            over = left | capped
            ended += int(over.sum())
            if over.any():
                assert (info["_final_obs"] == over).all()
                assert all(env.single_observation_space.contains(x) for x in info["final_obs"][over])
        assert ended > 100

    @pytest.mark.parametrize("bad", [np.zeros((8, 3)), np.zeros(8), np.full((8, 8), np.nan)], ids=str)
    def test_bad_actions(self, proving: Proving, ranker: Ranker, bad: Any) -> None:
        env = opened(proving, ranker)
        env.reset(seed=0)
        with pytest.raises(ActionError, match="expected finite weights of shape"):
            env.step(bad)

    @pytest.mark.parametrize("how", [{"num_envs": 1}, {"max_pages": 0}, {"slate_size": 0}], ids=str)
    def test_bad_settings(self, proving: Proving, ranker: Ranker, how: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="training needs at least one replica"):
            opened(proving, ranker, **how)


class TestStory:
    def test_one_seed_one_story(self, proving: Proving, ranker: Ranker) -> None:
        def told(seed: int) -> list[Any]:
            env = opened(proving, ranker)
            rng = np.random.default_rng(3)
            seen: list[Any] = [env.reset(seed=seed)[0]]
            for _ in range(10):
                observation, reward, *_ = env.step(rng.uniform(-1, 1, (8, ranker.n_features)))
                seen += [observation, reward]
            return seen

        first, again, other = told(1), told(1), told(2)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))

    def test_pays_what_play_pays(self, proving: Proving, ranker: Ranker) -> None:
        """Everybody stays, so rewards of a row are the page means of the user's visit; luck plays no part in them."""
        env = opened(proving, ranker, [proving.train[0]], leave=False)
        observation, _ = env.reset(seed=0)
        user = env.user[env._blocks[0].place.copy()]
        weight = np.linspace(-1, 1, ranker.n_features)

        class Fixed:
            def predict(self, seen: Any, *, deterministic: bool = False) -> tuple[Any, None]:
                return np.tile(weight, (len(seen), 1)), None

        # Without ratings of the visit in play: what is shown then rests on the past alone.
        pages = []
        for _ in range(4):
            pages.append(env.step(np.tile(weight, (8, 1)))[1])
        key = np.arange(8, dtype=np.uint64)
        record = Horizon(5, 1).record(
            LearnedPolicy(Fixed(), ranker), proving.train[0], proving.log, np.unique(user), seed=0
        )
        first = dict(zip(record.shown().user.tolist(), record.shown().mean(record.shown().expected), strict=True))
        assert len(key) == 8
        np.testing.assert_allclose(pages[0], [first[u] for u in user.tolist()], atol=1e-6)
        assert observation.shape == (8, ranker.n_context)

    def test_leaving_terminates_and_the_cap_truncates(self, proving: Proving, ranker: Ranker) -> None:
        restless, patient = (proving.train[0].with_(exit=leaving(x)) for x in (50.0, -50.0))  # type: ignore[attr-defined]
        env = opened(proving, ranker, [restless, patient])
        env.reset(seed=0)
        first = np.arange(8) < 4
        for page in range(1, 9):
            _, _, left, capped, _ = env.step(np.ones((8, ranker.n_features)))
            np.testing.assert_array_equal(left, first)
            np.testing.assert_array_equal(capped, ~first & (page % 4 == 0))

    def test_leave_false_keeps_everyone(self, proving: Proving, ranker: Ranker) -> None:
        restless = proving.train[0].with_(exit=leaving(50.0))  # type: ignore[attr-defined]
        env = opened(proving, ranker, [restless], leave=False)
        env.reset(seed=0)
        for page in range(1, 5):
            _, _, left, capped, _ = env.step(np.ones((8, ranker.n_features)))
            assert not left.any()
            assert capped.all() == (page == 4)

    def test_rows_are_dealt_to_replicas(self, proving: Proving, ranker: Ranker) -> None:
        env = opened(proving, ranker, num_envs=5)
        env.reset(seed=0)
        assert [(b.population is p, b.n) for b, p in zip(env._blocks, proving.train, strict=True)] == [
            (True, 3), (True, 2),
        ]  # fmt: skip

    def test_only_its_users_visit(self, proving: Proving, ranker: Ranker) -> None:
        env = opened(proving, ranker)
        env.reset(seed=0)
        met: set[int] = set()
        for _ in range(40):
            env.step(np.ones((8, ranker.n_features)))
            met |= {int(u) for block in env._blocks for u in block.session.user}
        assert met == set(proving.learner.tolist())

    def test_sessions_do_not_grow_for_ever(self, proving: Proving, ranker: Ranker) -> None:
        env = opened(proving, ranker)
        env.reset(seed=0)
        for _ in range(30):
            env.step(np.ones((8, ranker.n_features)))
        assert max(b.session.shown.shape[1] for b in env._blocks) <= 4 * 5
