"""RemoteModel against a real vLLM, where SIMENV_VLLM names the interpreter of an environment that has one."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

from simenv.agents.language_model import Prompt
from simenv.agents.local_model import LocalModel

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SERVER = os.environ.get("SIMENV_VLLM", "")


@pytest.mark.slow
@pytest.mark.skipif(not SERVER, reason="set SIMENV_VLLM to the interpreter of an environment with vLLM")
def test_vllm_answers_as_this_process_does(
    monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    remote = importlib.import_module("remote")
    family = remote.phi(tmp_path, tiny_tokenizer)
    local = LocalModel.load(family.base, family.adapters)
    prompts = [Prompt((f"Activity low. Likes {n}.",), (f"Dark Story {m};", " Rating:")) for n in "ab" for m in range(6)]
    with remote.serving(SERVER, family, tmp_path / "server.log") as (url, _):
        found = remote.agreement(url, local, (prompts, [None, "persona-1", "persona-2"] * 4))
    exact = found["token ids, exact"]
    assert found["what an adapter changes, at most"] > 0.01
    assert exact["largest difference of a log-probability"] < remote.TOLERANCE
    assert exact["options not listed"] == 0
