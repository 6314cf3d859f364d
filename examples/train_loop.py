"""The plain loop: a recommender learns from what simulated users do with its pages, and is held against baselines.

python examples/train_loop.py              a minute's worth of visits on a synthetic world
python examples/train_loop.py --steps 20   less
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from simenv.agents.synthetic import true_population
from simenv.datasets.synthetic import generate
from simenv.log import InteractionLog
from simenv.recommenders.baseline import BestRated, Popular, Random
from simenv.vector import SlateVectorEnv


class OnlineFactors:
    """Matrix factorisation by stochastic gradient steps: first on the log, then on every page that is answered."""

    def __init__(self, log: InteractionLog, size: int = 8, rate: float = 0.05, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.user = draw.normal(0, 0.1, (log.n_users, size))
        self.item = draw.normal(0, 0.1, (log.n_items, size))
        self.bias, self.mean, self.rate = np.zeros(log.n_items), float(log.rating.mean()), rate
        for _ in range(10):
            for rows in np.array_split(draw.permutation(len(log)), max(1, len(log) // 200)):
                self.learn(log.user[rows], log.item[rows], log.rating[rows])

    def score(self, user: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return float64[B, I]: how much the users will like each item."""
        return np.asarray(self.mean + self.bias + self.user[user] @ self.item.T)

    def learn(self, user: NDArray[np.int64], item: NDArray[np.int64], rating: NDArray[np.float32]) -> None:
        """Take one gradient step on ratings [N]."""
        u, i = self.user[user], self.item[item]
        miss = (rating - self.mean - self.bias[item] - (u * i).sum(axis=1))[:, None]
        np.add.at(self.user, user, self.rate * (miss * i - 0.05 * u))
        np.add.at(self.item, item, self.rate * (miss * u - 0.05 * i))
        np.add.at(self.bias, item, self.rate * (miss[:, 0] - 0.05 * self.bias[item]))


def main(steps: int = 60, num_envs: int = 32, slate_size: int = 5) -> None:
    world = generate(n_users=150, n_items=120, seed=0)
    _, contestants = world.log.split_worlds(seed=0)  # the judge's rows belong to the users, these to us
    env = SlateVectorEnv(  # or gymnasium.make_vec("simenv/Slate-v0", num_envs=..., population=..., ...)
        true_population(world), num_envs, training_log=contestants, slate_size=slate_size, name="online factors"
    )
    model = OnlineFactors(env.training_log)
    observation, info = env.reset(seed=0)
    for step in range(steps):
        score = model.score(info["user_index"])
        score[observation["seen"] == 1] = -np.inf
        action = np.argsort(-score, axis=1)[:, :slate_size]
        observation, reward, terminated, truncated, info = env.step(action)
        row, place = np.nonzero(info["rated"])
        user, item = info["user_index"][row], observation["slate"][row, place]
        model.learn(user, item, info["ratings"][row, place])
        if step % 20 == 19:
            print(f"step {step + 1}: mean reward {reward.mean():.2f}, visits ended {(terminated | truncated).sum()}")
    report = env.record.report(baselines=[env.play(other) for other in (Random(), Popular(), BestRated())])
    print(report.to_markdown())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="pages shown to each of the users side by side")
    main(parser.parse_args().steps)
