"""Recording: one JSON file per published result, with all it takes to judge and repeat it.

Knows no experiment. Results stand under "values"; what differs from run to run (date, wall time, memory) under "run".
Host, user and folder names are never written.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "transformers", "peft", "numpy", "gymnasium")
_DISTRIBUTION = "simenv-personas"


def record(
    name: str,
    values: Mapping[str, object],
    *,
    command: str,
    seed: int,
    data: Mapping[str, str],
    started: float,
    folder: Path = RESULTS,
) -> Path:
    """Write FOLDER/NAME.json and return its path. An older file of that name is replaced whole or not at all.

    values: numbers, strings, lists, mappings and NumPy values; keys keep their order. A number that is not defined
        must be None: NaN and infinity are refused.
    command: what a reader types to repeat it, from the repository root.
    data: name of each data set -> fingerprint of its log.
    started: `time.time()` when the run began.

    Raises:
        ValueError: the name is no plain file name, a value is not finite, or a value is of a type JSON cannot hold.

    """
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(f"a result's name must be a plain file name such as 'fidelity-ml-100k'; got {name!r}.")
    content = {
        "name": name,
        "command": command,
        "seed": seed,
        "data": dict(data),
        "versions": versions(),
        "machine": machine(),
        "run": run(started),
        "values": plain(values, "values"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path, draft = folder / f"{name}.json", folder / f".{name}.json.part"
    draft.write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def versions() -> dict[str, str | None]:
    """Return the version of simenv, Python and the libraries that results depend on; None: not installed."""
    own = {"simenv": _version(_DISTRIBUTION), "python": platform.python_version()}
    return own | {package: _version(package) for package in _PACKAGES}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def machine() -> dict[str, str | int | float | None]:
    """Return what the run had to work with; `cores` are those this process may use, memory is in GiB."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu(),
        "cores": cores,
        "memory_gib": round(total / 2**30, 1),
        "gpu": _gpu(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu() -> str | None:
    """Return the accelerator's name if this process could have used one; torch is looked at, never loaded."""
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name(0)) if torch is not None and torch.cuda.is_available() else None


def run(started: float) -> dict[str, str | float]:
    """Return date, wall time in seconds and peak resident memory in MiB.

    `peak_memory_mib` is the largest of this process; `peak_memory_child_mib` the largest of any one finished child.
    """
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    peak = {who: resource.getrusage(who).ru_maxrss * unit / 2**20 for who in (_SELF, _CHILDREN)}
    return {
        "date": datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%d"),
        "wall_seconds": round(time.time() - started, 1),
        "peak_memory_mib": round(peak[_SELF], 1),
        "peak_memory_child_mib": round(peak[_CHILDREN], 1),
    }


_SELF, _CHILDREN = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN


def plain(value: object, place: str) -> object:
    """Return the value as JSON holds it; `place` names it in errors."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): plain(v, f"{place}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, f"{place}[{n}]") for n, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}; write None where a number is not defined.")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"{place} is a {type(value).__name__}, which JSON cannot hold; turn it into numbers or text.")
