"""A tiny world, tiny language models and one trained population, for the tests of agents and training."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simenv.datasets.synthetic import World, generate
from simenv.log import Split

MODELS = Path(os.environ.get("SIMENV_MODELS", Path(__file__).parents[2] / "shared" / "models"))
TEXTS = [
    "Rated Dark Story 4; Film: Sunny Story (1999), Comedy, Drama. Crowd 3.6 by many. Match +0.4 -0.2, in all 3.9.",
    "You are a person who rates films. Activity low, conformity high, diversity middle. Likes Comedy +0.3.",
]


@pytest.fixture(scope="session")
def tiny_world() -> World:
    """Sixty users, sixty items."""
    return generate(0, n_users=60, n_items=60, median_history=25)


@pytest.fixture(scope="session")
def tiny_split(tiny_world: World) -> Split:
    """The world cut in time for every user."""
    return tiny_world.log.split("user_time", 0.7)


@pytest.fixture(scope="session")
def tiny_settings() -> Any:
    """TrainSettings of the smallest population that still has every part."""
    from simenv.training.cluster import ClusterSettings
    from simenv.training.finetune import LoraSettings
    from simenv.training.learn import LearnSettings
    from simenv.training.pipeline import TrainSettings
    from simenv.training.world_model import WorldModelSize

    short = LearnSettings(steps=2, rate=1e-2, prefixes=2, warmup=1)
    return TrainSettings(
        size=WorldModelSize(hidden=16, layers=1, heads=2, vocabulary=600, positions=512),
        world=LearnSettings(steps=4, prefixes=3, warmup=2),
        lora=LoraSettings(rank=2, alpha=4, single=short, persona=short),
        cluster=ClusterSettings(k=2, min_users=2),
    )


@pytest.fixture(scope="session")
def tiny_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_world: World, tiny_split: Split, tiny_settings: Any
) -> Path:
    """A saved population of users 0..11; copy it before you change it."""
    from simenv.training.pipeline import train

    folder = tmp_path_factory.mktemp("trained") / "population"
    log = tiny_split.past
    train(log, tiny_world.catalogue, np.arange(12), folder, tiny_settings, cut=tiny_split.cut, training_log=log)
    return folder


@pytest.fixture(scope="session")
def tiny_population(tiny_folder: Path) -> Any:
    """The SimulatedPopulation of `tiny_folder`."""
    from simenv.agents.store import load

    return load(tiny_folder)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """The embedded model's kind of tokenizer, over a few words, for the scale 1..5."""
    from simenv.agents.prompt import numbers
    from simenv.scale import RatingScale
    from simenv.training.world_model import train_tokenizer

    return train_tokenizer(TEXTS, numbers(RatingScale()), 500)


@pytest.fixture(scope="session")
def tiny_llama(tiny_tokenizer: Any) -> Callable[..., Any]:
    """Return a function that makes a random Llama for `tiny_tokenizer` from a seed."""
    from simenv.training.world_model import WorldModelSize, new_model

    def made(seed: int = 0, hidden: int = 16) -> Any:
        size = WorldModelSize(hidden=hidden, layers=2, heads=2)
        return new_model(size, tiny_tokenizer, seed).eval()

    return made


@pytest.fixture(scope="session")
def stories() -> Path:
    """A public model of 260 thousand parameters with a SentencePiece-like tokenizer; skips where it is absent."""
    folder = MODELS / "stories260k"
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not at hand; set SIMENV_MODELS to the folder that holds it")
    return folder
