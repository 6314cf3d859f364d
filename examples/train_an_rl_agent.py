"""Reinforcement learning: PPO learns which pages to show, and is held against recommenders that only read the log.

python examples/train_an_rl_agent.py                  a few minutes on a synthetic world
python examples/train_an_rl_agent.py --steps 5000     less

Needs the extra `rl` (Stable-Baselines3). What is learned here is good for these simulated users; `simenv rl-report`
tells whether it is good for others.
"""

from __future__ import annotations

import argparse

from simenv.agents.synthetic import true_population
from simenv.datasets.synthetic import generate
from simenv.evaluation.report import Report
from simenv.recommenders.baseline import BestRated, Popular, Random
from simenv.rl.sb3 import make_sb3
from simenv.vector import ProtoVectorEnv


def main(steps: int = 40_000, users: int = 64, pages: int = 5) -> Report:
    from stable_baselines3 import PPO

    world = generate(n_users=150, n_items=120, seed=0)
    _, contestants = world.log.split_worlds(seed=0)  # the judge's rows belong to the users, these to us
    setting = {
        "training_log": contestants,
        "catalogue": world.catalogue,
        "slate_size": 5,
        "max_pages": pages,
        "observation": "flat",  # all of it in one vector, items as their features
        "history": 5,
        "reward": "satisfaction",
    }
    # 64 users side by side, answered in one call a step. Proto-v0: the agent names a point among the item features
    # and the nearest items are shown, so the action stays small whatever the catalogue.
    env = make_sb3("simenv/Proto-v0", users, population=true_population(world), keep_record=False, **setting)
    batch = dict(n_steps=32, batch_size=8 * users, n_epochs=4)
    agent = PPO("MlpPolicy", env, seed=0, device="cpu", verbose=0, learning_rate=1e-3, **batch)  # type: ignore[arg-type]
    agent.learn(steps)

    test = ProtoVectorEnv(true_population(world), users, name="ppo", **setting)  # type: ignore[arg-type]
    observation, _ = test.reset(seed=1)
    for _ in range(3 * pages):
        action, _ = agent.predict(observation, deterministic=True)
        observation = test.step(action)[0]
    report = test.record.report(baselines=[test.play(other) for other in (Random(), Popular(), BestRated())])
    print(report.to_markdown())
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40_000, help="pages shown while the agent learns")
    main(parser.parse_args().steps)
