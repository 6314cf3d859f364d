"""PPO as shipped learns, its actor is SB3's, and a proof of it says what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError, StoreError
from simenv.log import InteractionLog
from simenv.protocols import Policy, Population
from simenv.recommenders import ALS, Popular, Random
from simenv.rl.actor import Actor
from simenv.rl.findings import alarms, cube, gain
from simenv.rl.learner import Learner, PPORanker, Watch
from simenv.rl.proof import Bench, prove
from simenv.rl.replicas import Proving
from simenv.rl.value import Horizon, per_place

HORIZON = Horizon(5, 4)


@pytest.fixture(scope="module")
def taught(proving: Proving, quick: PPORanker) -> tuple[Policy, list[tuple[int, float]]]:
    """A policy, and what its watch saw: steps, and value to held-out true users."""
    seen: list[tuple[int, float]] = []
    assert proving.truth is not None
    truth = proving.truth

    def watch(step: int, policy: Policy) -> None:
        record = HORIZON.record(policy, truth, proving.log, proving.held_out, seed=9)
        seen.append((step, float(per_place(record.shown()).mean())))

    policy = quick.learn(proving.train, proving.learner, proving.log, proving.catalogue, seed=1, watch=watch)
    return policy, seen


class TestPPO:
    def test_learns_what_holds_elsewhere(self, taught: tuple[Policy, list[tuple[int, float]]]) -> None:
        _, seen = taught
        assert seen[0][0] == 0
        assert seen[-1][0] == 2048
        assert seen[-1][1] > seen[0][1] + 0.03

    def test_beats_chance_before_the_true_users(self, proving: Proving, taught: Any) -> None:
        assert proving.truth is not None
        other = Random().fit(proving.log, proving.catalogue, seed=0)
        value = [
            per_place(HORIZON.record(p, proving.truth, proving.log, proving.held_out, seed=2).shown()).mean()
            for p in (taught[0], other)
        ]
        assert value[0] > value[1] + 0.15

    def test_one_seed_one_policy(self, proving: Proving, quick: PPORanker) -> None:
        short = replace(quick, steps=512)
        made = [short.learn(proving.train, proving.learner, proving.log, proving.catalogue, seed=s) for s in (3, 3, 4)]
        actors = [p.agent for p in made]
        weights = [np.concatenate([w.ravel() for w, _ in a.layer]) for a in actors if isinstance(a, Actor)]
        np.testing.assert_array_equal(weights[0], weights[1])
        assert not np.array_equal(weights[0], weights[2])

    def test_pessimism_changes_what_is_learned(self, proving: Proving, quick: PPORanker) -> None:
        short = replace(quick, steps=1024)
        made = [
            replace(short, pessimism=w).learn(proving.train, proving.learner, proving.log, proving.catalogue, seed=3)
            for w in (0.0, 3.0)
        ]
        biases = [p.agent.layer[-1][1] for p in made if isinstance(p.agent, Actor)]
        assert not np.array_equal(biases[0], biases[1])

    @pytest.mark.parametrize("change", [{"steps": 100}, {"discount": 1.5}, {"discount": -0.1}], ids=str)
    def test_bad_settings(self, quick: PPORanker, change: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="at least one update"):
            replace(quick, **change)

    def test_is_a_learner(self, quick: PPORanker) -> None:
        assert isinstance(quick, Learner)


class TestActor:
    def test_by_hand(self) -> None:
        actor = Actor(((np.array([[1.0, 2.0]]), np.array([0.5])), (np.array([[3.0], [0.5]]), np.array([0.0, -9.0]))))
        action, _ = actor.predict(np.array([[0.1, 0.2]]))
        assert action[0] == pytest.approx([np.clip(3 * np.tanh(1.0), -1, 1), -1.0])

    def test_is_what_stable_baselines_predicts(self, proving: Proving, quick: PPORanker) -> None:
        from simenv.rl.ranking import RankingVectorEnv

        env = RankingVectorEnv(
            proving.train, proving.log, quick.form.fit(proving.log, proving.catalogue, seed=0), proving.learner, 8
        )
        model = quick._model(env, 5)
        seen = np.random.default_rng(0).normal(size=(20, env.ranker.n_context)).astype(np.float32)
        np.testing.assert_allclose(
            Actor.of(model).predict(seen)[0], model.predict(seen, deterministic=True)[0], atol=1e-5
        )

    def test_comes_back_from_its_file(self, tmp_path: Path, taught: Any) -> None:
        actor = taught[0].agent
        again = Actor.load(actor.save(tmp_path / "deep" / "actor.npz"))
        seen = np.random.default_rng(0).normal(size=(4, actor.layer[0][0].shape[1]))
        np.testing.assert_array_equal(again.predict(seen)[0], actor.predict(seen)[0])
        assert again.about == actor.about
        assert "PPORanker" in again.about["learner"]

    def test_bad_files(self, tmp_path: Path) -> None:
        (tmp_path / "x.npz").write_bytes(b"nothing")
        np.savez(tmp_path / "y.npz", other=np.zeros(3))
        for name in ("x.npz", "y.npz", "z.npz"):
            with pytest.raises(StoreError, match="holds no actor"):
                Actor.load(tmp_path / name)

    def test_layers_that_do_not_fit(self) -> None:
        with pytest.raises(ConfigError, match="do not fit"):
            Actor(((np.zeros((2, 3)), np.zeros(2)), (np.zeros((1, 3)), np.zeros(1))))


@dataclass(frozen=True)
class ByHeart:
    """A learner that learns the first training replica's answers by heart: what exploiting is."""

    name: str = "by heart"

    def learn(
        self,
        populations: Sequence[Population],
        user: NDArray[np.int64],
        log: InteractionLog,
        catalogue: Catalogue,
        *,
        seed: int,
        watch: Watch | None = None,
    ) -> Policy:
        from simenv.recommenders import Oracle
        from simenv.rl.replicas import expected_table

        everyone = populations[0].member
        table = np.full((log.n_users, log.n_items), np.nan)
        table[everyone] = np.mean([expected_table(p, everyone) for p in populations], axis=0)
        return Oracle(table).fit(log, catalogue, seed=seed)


@pytest.fixture(scope="module")
def units(proving: Proving, quick: PPORanker) -> list[dict[str, Any]]:
    bench = Bench.of(proving, [Random(), Popular(), ALS(factors=4)], HORIZON)
    short = replace(quick, steps=1024, looks=1)
    return [prove(bench, [short, ByHeart()], seed=s) for s in (0, 1)]


class TestProof:
    def test_its_numbers_are_those_of_the_places(self, units: list[dict[str, Any]], proving: Proving) -> None:
        assert cube(units, "ppo", "trained on").shape == (2, 2, 20)
        assert cube(units, "ppo", "true").shape == (1, 2, 20)
        assert proving.truth is not None
        policy = Popular().fit(proving.log, proving.catalogue, seed=0)
        record = HORIZON.record(policy, proving.truth, proving.log, proving.held_out, seed=77)
        np.testing.assert_allclose(
            cube(units, "popular", "true")[0, 0], per_place(record.shown()), atol=1e-5
        )  # popular knows no luck, and expectations have none

    def test_who_learned_by_heart_is_caught(self, units: list[dict[str, Any]]) -> None:
        rang = alarms(units, "by heart")
        assert any("where it was trained" in said for said in rang), rang
        assert not any("where it was trained" in said for said in alarms(units, "ppo"))
        where = {p: gain(units, "by heart", "als", p).mean for p in ("trained on", "held out", "true")}
        assert where["trained on"] > where["held out"] + 0.1

    def test_the_curve_has_its_steps(self, units: list[dict[str, Any]]) -> None:
        curve = units[0]["curve"]["ppo"]
        assert curve[0]["step"] == 0
        assert curve[-1]["step"] == 1024
        assert set(curve[0]) == {"step", "trained on", "held out", "true"}

    def test_names_must_differ(self, proving: Proving, quick: PPORanker) -> None:
        bench = Bench.of(proving, [Random()], HORIZON)
        with pytest.raises(ConfigError, match="names of their own"):
            prove(bench, [replace(quick, name="random")], seed=0)
        with pytest.raises(ConfigError, match="rivals of different names"):
            Bench.of(proving, [Random(), Random()], HORIZON)
