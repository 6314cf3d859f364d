"""Gymnasium's and Stable-Baselines3's own checkers find nothing to complain about: every id, every option."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3

import simenv.environment  # noqa: F401  registers the ids
from simenv.registration import ITEM_ID, PROTO_ID, SLATE_ID
from simenv.testing.logs import log_of, tiny_catalogue
from simenv.testing.population import ScriptedPopulation

POPULATION = ScriptedPopulation(persona=("calm", "eager") * 4)
LOG = log_of(POPULATION)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"observation": "flat"},
    {"observation": "history"},
    {"observation": "text"},
    {"candidates": 8},
    {"candidates": 8, "observation": "flat", "show_user": True},
    {"show_user": True, "diagnostics": True},
    {"repeats": "answer", "reward": "satisfaction"},
    {"reward": "retention", "history": 1, "keep_record": False},
    {"slate_size": 1, "max_pages": 2, "reward": "consumed"},
    {"training_log": LOG, "catalogue": tiny_catalogue(LOG.items), "reward": "expected"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", [SLATE_ID, ITEM_ID, PROTO_ID])
def test_both_checkers_are_content(name: str, options: dict[str, Any]) -> None:
    setting: dict[str, Any] = {"slate_size": 3, "population": POPULATION} | options
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("error")
        check_env(gymnasium.make(name, **setting).unwrapped)
        if options.get("observation") != "text":  # Stable-Baselines3 knows no text
            check_for_sb3(gymnasium.make(name, **setting).unwrapped, skip_render_check=False)
