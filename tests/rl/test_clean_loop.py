"""A loop in the style of CleanRL: tensors [steps, users, ...], one file, no library of agents; flat observations."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torch import nn
from torch.distributions import Categorical

import simenv.environment  # noqa: F401  registers the ids
from simenv.agents.synthetic import checkerboard
from simenv.testing.population import CountingPopulation

STEPS, USERS = 8, 16


class Agent(nn.Module):
    """A linear actor over the n choices, and a critic."""

    def __init__(self, envs: Any) -> None:
        super().__init__()
        width = int(np.prod(envs.single_observation_space.shape))
        self.actor = nn.Linear(width, int(envs.single_action_space.n))
        self.critic = nn.Linear(width, 1)

    def act(self, observation: torch.Tensor, mask: torch.Tensor, action: torch.Tensor | None = None) -> Any:
        choice: Any = Categorical(logits=self.actor(observation).masked_fill(~mask, -1e9))
        action = choice.sample() if action is None else action
        return action, choice.log_prob(action), self.critic(observation).squeeze(-1)


def train(envs: Any, updates: int) -> list[float]:
    """Return the mean reward of each update, learned by advantage actor-critic."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    agent = Agent(envs)
    optimizer = torch.optim.Adam(agent.parameters(), lr=0.03)
    observation, means = torch.from_numpy(envs.reset(seed=0)[0]), []
    mask = torch.from_numpy(envs.unwrapped.action_masks())
    fresh = torch.zeros(USERS, dtype=torch.bool)  # rows whose next step begins a visit and shows nothing
    for _ in range(updates):
        kept: dict[str, list[torch.Tensor]] = {n: [] for n in ("log_p", "value", "reward", "over", "fresh")}
        for _ in range(STEPS):
            action, log_p, value = agent.act(observation, mask)
            seen, reward, terminated, truncated, _ = envs.step(action.numpy())
            over = torch.from_numpy(terminated | truncated)
            for name, tensor in (("log_p", log_p), ("value", value), ("over", over), ("fresh", fresh)):
                kept[name].append(tensor)
            kept["reward"].append(torch.from_numpy(reward).float())
            observation, fresh = torch.from_numpy(seen), over
            mask = torch.from_numpy(envs.unwrapped.action_masks())
        with torch.no_grad():
            back = agent.critic(observation).squeeze(-1)
        total, returns = back, []
        for reward, over in zip(reversed(kept["reward"]), reversed(kept["over"]), strict=True):
            total = reward + 0.9 * total * ~over
            returns.append(total)
        ahead, value, live = torch.stack(returns[::-1]), torch.stack(kept["value"]), ~torch.stack(kept["fresh"])
        gain = (ahead - value.detach())[live]
        loss: Any = -(torch.stack(kept["log_p"])[live] * gain).mean() + 0.1 * (ahead - value)[live].pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        means.append(float(torch.stack(kept["reward"])[live].mean()))
    return means


def opened(population: Any) -> Any:
    return gymnasium.make_vec(
        "simenv/Item-v0",
        num_envs=USERS,
        vectorization_mode="vector_entry_point",
        population=population,
        autoreset_mode=AutoresetMode.NEXT_STEP,
        observation="flat",
        show_user=True,
        max_pages=3,
    )


def test_it_learns_the_board() -> None:
    """Users who like items of their own parity: rewards go from the middle of the scale towards its top."""
    population = CountingPopulation(checkerboard(8, 20))
    means = train(opened(population), 20)
    assert len(population.calls) <= 20 * STEPS, "one call of the population a step"
    assert np.mean(means[:3]) < 3.2
    assert np.mean(means[-6:]) > 3.9


def test_gymnasiums_wrapper_of_episodes_fits_in() -> None:
    envs = RecordEpisodeStatistics(opened(checkerboard(8, 20)))
    train(envs, 2)
    assert envs.episode_count > USERS
    assert max(envs.length_queue) <= 3
