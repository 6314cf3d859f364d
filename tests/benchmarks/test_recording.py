import importlib.util
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "recording.py"


@pytest.fixture(scope="module")
def recording() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recording", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(recording: ModuleType, folder: Path, values: dict[str, object], name: str = "loop") -> dict[str, Any]:
    about = {"command": "python benchmarks/loop.py", "seed": 7, "data": {"tiny": "00ff"}}
    path = recording.record(name, values, **about, started=time.time() - 2, folder=folder)
    assert path == folder / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_a_result_says_how_to_judge_and_repeat_it(recording: ModuleType, tmp_path: Path) -> None:
    found = write(recording, tmp_path, {"rmse": np.float32(0.5), "by user": np.arange(3), "a": None})
    assert list(found) == ["name", "command", "seed", "data", "versions", "machine", "run", "values"]
    assert found["values"] == {"rmse": 0.5, "by user": [0, 1, 2], "a": None}
    assert list(found["values"]) == ["rmse", "by user", "a"]
    assert (found["seed"], found["data"]) == (7, {"tiny": "00ff"})
    assert found["versions"]["numpy"] == np.__version__
    assert {"simenv", "python", "torch", "transformers", "peft", "gymnasium"} <= set(found["versions"])
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory_gib"] > 0.1
    assert 2 <= found["run"]["wall_seconds"] < 60
    assert found["run"]["peak_memory_mib"] > 10
    assert found["run"]["date"] in {datetime.fromtimestamp(time.time() - s, UTC).strftime("%Y-%m-%d") for s in (0, 60)}
    assert [p.name for p in tmp_path.iterdir()] == ["loop.json"]


def test_no_host_or_folder_is_written(recording: ModuleType, tmp_path: Path) -> None:
    text = json.dumps(write(recording, tmp_path, {}))
    assert str(tmp_path) not in text
    assert str(FILE.parents[1]) not in text
    assert not platform.node() or json.dumps(platform.node()) not in text


def test_results_are_the_same_text_but_for_the_run(recording: ModuleType, tmp_path: Path) -> None:
    first, second = (write(recording, tmp_path, {"b": 1, "a": (1.5, True)}) for _ in range(2))
    assert json.dumps(first | {"run": 0}) == json.dumps(second | {"run": 0})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": {"b": [1.0, float("nan")]}}, r"values\.a\.b\[1\] is nan"),
        ({"a": np.float64("inf")}, r"values\.a is inf"),
        ({"a": object()}, r"values\.a is a object, which JSON cannot hold"),
    ],
)
def test_values_json_cannot_hold_are_refused_and_the_old_file_stays(
    recording: ModuleType, tmp_path: Path, value: dict[str, object], words: str
) -> None:
    write(recording, tmp_path, {"a": 1})
    with pytest.raises(ValueError, match=words):
        write(recording, tmp_path, value)
    assert json.loads((tmp_path / "loop.json").read_text(encoding="utf-8"))["values"] == {"a": 1}


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_odd_names_are_refused(recording: ModuleType, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        write(recording, tmp_path, {}, name)
