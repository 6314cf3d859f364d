"""A population of many: bytes on disk, time and memory to open it, and to let some of its users answer.

python benchmarks/scale.py [--users 100000] [--before OLDER.json]

A small population is trained on invented data; its items, weights and prior then serve invented users by the hundred
thousand, each with a history of its own. Opening and answering are measured in fresh processes. --before takes the
record of an older version, which then stands beside this one's numbers.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from recording import RESULTS, record

from simenv.agents.memory import Memory
from simenv.agents.persona import Personas
from simenv.agents.profile import Profiles
from simenv.agents.store import Behaviour, Parts, load, save
from simenv.datasets.synthetic import generate
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.randomness import generator
from simenv.training.cluster import ClusterSettings
from simenv.training.learn import LearnSettings
from simenv.training.pipeline import TrainSettings, train
from simenv.training.world_model import SMALL

ITEMS, LONGEST, CHUNK = 2_000, 200, 5_000
ASKED, PAGES, SLATE = 64, 10, 10


def ground(folder: Path) -> Any:
    """Return a small population, trained a few steps: opening one does not depend on what it learned."""
    world = generate(0, n_users=400, n_items=ITEMS)
    split = world.log.split("user_time", 0.6)
    settings = TrainSettings(
        size=SMALL, world=LearnSettings(steps=2, warmup=1), arm="none", cluster=ClusterSettings(k=2)
    )
    member = np.flatnonzero(split.past.count >= 20)[:50]
    return train(split.past, world.catalogue, member, folder, settings, cut=split.cut)


def histories(users: int, weight: NDArray[np.floating], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (user, item) of invented histories: lognormal lengths around 60, items by popularity, none twice."""
    rng = generator(seed, "scale")
    parts = []
    for start in range(0, users, CHUNK):
        n = min(CHUNK, users - start)
        size = np.clip(np.exp(rng.normal(4.0, 0.6, n)), 5, LONGEST).astype(np.int64)
        key = np.log(weight + 1) + rng.gumbel(size=(n, len(weight)))
        best = np.argsort(-key, axis=1)[:, :LONGEST]  # Gumbel-top-k: drawn without replacement
        row, place = np.nonzero(np.arange(LONGEST) < size[:, None])
        parts.append((row + start, best[row, place]))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def make(users: int, folder: Path, small: Path) -> dict[str, Any]:
    """Save a population of `users` invented users in a folder, and return what was measured."""
    known = ground(small)
    mind = known.rating_model.inner.mind
    catalogue, crowd, scale = mind.writer.catalogue, mind.crowd, mind.writer.scale
    user, item = histories(users, np.asarray(crowd.item_count), 0)
    rng = generator(0, "scale ratings")
    rating = np.clip(np.rint(crowd.item_mean[item] + rng.normal(size=len(item))), 1, 5)
    moment = np.arange(len(user)) % 1_000_000
    log = InteractionLog.of(Index(tuple(range(users)), "user"), catalogue.items, user, item, rating, moment, scale)
    began = time.perf_counter()
    member = np.arange(users)
    entries = Memory.of(log, crowd, catalogue, mind.memory.space)
    profiles = Profiles.of_log(log, member, crowd, catalogue)
    distilled = time.perf_counter() - began
    lm = known.rating_model.inner
    behaviour = Behaviour(mind.writer.settings, lm.readout, known.choice, known.exit, "hazard", 0.0, known.rho, "none")
    mean = np.bincount(log.user, log.rating) / np.bincount(log.user)
    parts = Parts(
        catalogue, log.users, scale, member, crowd, lm.prior, profiles, entries,
        Personas.of(np.zeros(users, np.int64), member, profiles.take(member), users), mean, np.zeros(users), None,
        behaviour, None, {"log": log.fingerprint},
    )  # fmt: skip
    shutil.copytree(small / "model", folder / "model")
    began = time.perf_counter()
    save(parts, folder)
    return {"users": users, "items": len(catalogue), "memories": len(entries), "seconds to distil": round(distilled, 1),
            "seconds to save": round(time.perf_counter() - began, 1)}  # fmt: skip


def sizes(folder: Path) -> dict[str, float]:
    """Return megabytes by part, weights left out."""
    out: dict[str, float] = {}
    for file in (f for f in folder.rglob("*") if f.is_file()):
        name = file.relative_to(folder).parts[0].removesuffix(".npz")
        if name != "model":
            out[name] = out.get(name, 0.0) + file.stat().st_size / 1e6
    return {n: round(v, 3) for n, v in sorted(out.items(), key=lambda kv: -kv[1]) if v >= 0.01} | {
        "all": round(sum(out.values()), 3)
    }


def memory(name: str) -> float:
    """Return a line of /proc/self/status in MiB: VmHWM (peak), VmRSS (now), RssAnon (now, without mapped files)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def opened(folder: Path) -> dict[str, Any]:
    """Return what it takes to open a population, and to let users answer; run in a fresh process (Linux)."""
    import torch

    import simenv.agents.local_model  # noqa: F401 (so that what libraries take is not counted)

    torch.set_num_threads(1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, mapped = memory("VmRSS"), memory("RssFile")
    began = time.perf_counter()
    population = load(folder)
    found: dict[str, Any] = {"seconds to open": time.perf_counter() - began}
    found |= {"MiB more, peak of opening": memory("VmHWM") - before, "MiB more, opened": memory("VmRSS") - before}
    rng = np.random.default_rng(0)
    user = rng.choice(population.member, ASKED, replace=False)
    for page in range(PAGES):
        began = time.perf_counter()
        population.rating_model.rate(np.repeat(user, SLATE), rng.integers(0, len(population.items), ASKED * SLATE))
        name = "seconds of the first page" if page == 0 else "seconds of a later page"
        found[name] = time.perf_counter() - began
    found |= {"MiB more, peak with answers": memory("VmHWM") - before}
    return found | {"MiB of these mapped files": memory("RssFile") - mapped}


def measured(folder: Path, mode: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--measure", f"{mode}:{folder}"], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(
    users: Annotated[int, typer.Option()] = 100_000,
    before: Annotated[Path | None, typer.Option(help="Record of an older version.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the record.")] = RESULTS,
    measure: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Make, open and ask a population of many; record it."""
    if measure is not None:
        print(json.dumps(opened(Path(measure.partition(":")[2]))))
        return
    started = time.time()
    with tempfile.TemporaryDirectory() as place:
        folder, small = Path(place) / "many", Path(place) / "few"
        folder.mkdir()
        values: dict[str, Any] = {"made": make(users, folder, small), "megabytes": sizes(folder)}
        runs = [measured(folder, "open") for _ in range(3)]
        values["opened"] = {k: round(float(np.median([r[k] for r in runs])), 3) for k in runs[0]}
    values["asked"] = f"{ASKED} users, {PAGES} pages of {SLATE}, one thread"
    if before is not None:
        values["before"] = json.loads(before.read_text())["values"]
    path = record("scale", values, command=f"python benchmarks/scale.py --users {users}", seed=0, data={},
                  started=started, folder=out)  # fmt: skip
    print(json.dumps(values, indent=1), path)


if __name__ == "__main__":
    typer.run(main)
