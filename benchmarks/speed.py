"""Speed: how many answers, pages and visits a second, as ratios measured in one run.

python benchmarks/speed.py DATA [--peers] [--out FOLDER]

Weights are those of a few training steps: speed does not depend on what a model has learned, only on its shape. The
vector environment holds 64 users with slates of 10; nothing is remembered between steps (no answer cache), key/values
of prefixes are. Every number has its model size, memories k and mean tokens beside it. `--peers` measures SARDINE and
RecLab in the same run (pip install sardine-rec RecLab).
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from recording import record
from speed_naive import answer_naively, load_naive

from simenv.agents.cues import cues
from simenv.agents.engine import PrefixStore, TransformersEngine
from simenv.agents.local_model import LocalModel
from simenv.agents.population import SimulatedPopulation
from simenv.agents.prompt import preset
from simenv.agents.rating_model import LMRatingModel
from simenv.datasets import load
from simenv.environment import SlateEnv
from simenv.protocols import Answer
from simenv.scale import RatingScale
from simenv.training.cluster import ClusterSettings
from simenv.training.finetune import LoraSettings
from simenv.training.learn import LearnSettings
from simenv.training.pipeline import TrainSettings, train
from simenv.training.world_model import LARGE, WorldModelSize
from simenv.vector import SlateVectorEnv

USERS, SLATE, PERSONAS = 64, 10, 4
SHAPES = {
    "0.36 M, no Ml": (WorldModelSize(), 0),
    "0.36 M, k = 3 (the default)": (WorldModelSize(), 3),
    "1.1 M, no Ml": (LARGE, 0),
    "1.1 M, k = 5": (LARGE, 5),
}


@dataclass(frozen=True, eq=False)
class Even:
    """All ratings equally likely: what is left is the environment."""

    scale: RatingScale

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return the same for every pair."""
        n, r = len(user), len(self.scale)
        return Answer(np.full((n, r), 1 / r, np.float32), np.zeros(n, np.float32), np.zeros(n, np.float32))


def rate_of(work: Callable[[], int], seconds: float = 6.0, repeats: int = 3) -> float:
    """Return units of work a second: the best of some repeats, each of at least seconds / repeats."""
    work()
    best = 0.0
    for _ in range(repeats):
        done, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds / repeats:
            done += work()
        best = max(best, done / (time.perf_counter() - begin))
    return best


def quick(steps: int) -> LearnSettings:
    return LearnSettings(steps=steps, warmup=1)


def populate(data: Any, size: WorldModelSize, k: int, folder: Path) -> SimulatedPopulation:
    """Return a population whose model has the shape asked for and has hardly learned anything."""
    count = data.log.count
    member = np.flatnonzero((count >= 100) & (count <= 200))[:100]
    split = data.log.split("user_time", 0.6, users=member)
    settings = TrainSettings(
        prompt=preset("compact", memories=k),
        size=size,
        world=quick(3),
        lora=LoraSettings(single=quick(2), persona=quick(1)),
        cluster=ClusterSettings(k=PERSONAS),
    )
    return train(split.past, data.catalogue, member, folder, settings, cut=split.cut, training_log=split.past)


def language(population: SimulatedPopulation) -> LMRatingModel:
    inner = population.rating_model.inner  # type: ignore[attr-defined]
    assert isinstance(inner, LMRatingModel)
    return inner


def pages(population: Any, seed: int = 0, users: int = USERS, size: int = SLATE) -> Callable[[], int]:
    """Return a function that plays one step of a vector environment and returns the items answered."""
    env = SlateVectorEnv(population, users, slate_size=size, max_pages=10)
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    item = len(population.items)

    def step() -> int:
        slate = np.argpartition(rng.random((users, item)), size, axis=1)[:, :size]
        env.step(slate)
        return users * size

    return step


def naive_rate(lm: LMRatingModel, folder: Path, n: int) -> float:
    """Return answers a second of the naive loop, prompts written beforehand."""
    user = np.flatnonzero(lm.mind.row >= 0)
    rng = np.random.default_rng(1)
    asked = rng.choice(user, n), rng.integers(0, len(lm.mind.writer.catalogue), n)
    prompts = lm.prompts(*asked)
    names = [lm.mind.adapter[r] for r in lm.mind.rows(asked[0])]
    adapters = {name: folder / "adapters" / name for name in dict.fromkeys(names) if name}
    model, tokens = load_naive(folder / "model", adapters)
    return rate_of(lambda: len(answer_naively(model, tokens, prompts, names, lm.scale.symbols)), repeats=1)


def without(lm: LMRatingModel) -> dict[str, Callable[[], LMRatingModel]]:
    """Return the model with one optimisation taken away at a time."""
    assert isinstance(lm.model, LocalModel)

    def other(**changes: Any) -> LMRatingModel:
        model = LocalModel.__new__(LocalModel)
        model.__dict__.update(lm.model.__dict__ | changes)
        return replace(lm, model=model)

    plain = {name: TransformersEngine(m) for name, m in lm.model._models.items()}
    return {
        "all": lambda: lm,
        "key/values of prefixes not kept": lambda: other(kept=PrefixStore(0)),
        "the library's forward pass": lambda: other(_engines=plain, kept=PrefixStore(256_000_000)),
        "one batch for all": lambda: other(tokens_per_batch=10**9),
    }


def tokens_of(lm: LMRatingModel) -> dict[str, float]:
    user = np.flatnonzero(lm.mind.row >= 0)[:USERS]
    prompts = lm.prompts(user, np.arange(len(user)) * 7 % len(lm.mind.writer.catalogue))
    assert isinstance(lm.model, LocalModel)
    ids = lm.model.segments
    return {
        "prefix_tokens": float(np.mean([len(ids.prefix_ids(p.prefix)) for p in prompts])),
        "suffix_tokens": float(np.mean([len(ids.suffix_ids(p.suffix, [])) for p in prompts])),
    }


def matmul_rate(dtype: torch.dtype) -> float:
    """Return measured multiply-add operations a second (2 per pair) of 1024 x 1024 matrices."""
    a = torch.randn(1024, 1024).to(dtype)
    return rate_of(lambda: 2 * 1024**3 if (a @ a) is not None else 0, seconds=2)


def spoken_by(lm: LMRatingModel, personas: int) -> LMRatingModel:
    """Return the model with so many of its adapters in use, members dealt in turn."""
    names = sorted({a for a in lm.mind.adapter if a})[:personas]
    dealt = tuple(names[n % len(names)] for n in range(len(lm.mind.adapter)))
    return replace(lm, mind=replace(lm.mind, adapter=dealt))


def recalling(lm: LMRatingModel, k: int) -> LMRatingModel:
    """Return the model with k memories in each prompt."""
    writer = lm.mind.writer
    return replace(lm, mind=replace(lm.mind, writer=replace(writer, settings=replace(writer.settings, memories=k))))


def sweeps(population: SimulatedPopulation) -> dict[str, dict[str, float]]:
    """Return answers a second of the default shape by slate size, users, personas and memories."""
    lm = language(population)
    plain = population.with_(rating_model=lm)

    def rate(changed: LMRatingModel) -> float:
        return rate_of(pages(population.with_(rating_model=changed)), seconds=3)

    return {
        "slate size": {str(k): rate_of(pages(plain, size=k), seconds=3) for k in (1, 5, 10, 20)},
        "users": {str(n): rate_of(pages(plain, users=n), seconds=3) for n in (1, 4, 16, 64, 256)},
        "personas": {str(n): rate(spoken_by(lm, n)) for n in range(1, PERSONAS + 1)},
        "memories": {str(k): rate(recalling(lm, k)) for k in (0, 1, 3, 5, 10)},
    }


def forward_flops(lm: LMRatingModel, size: WorldModelSize, suffix: float) -> float:
    """Return multiply-adds (2 each) of linear layers per answer; the last block's beyond keys and values once."""
    d, f = size.hidden, 8 * size.hidden // 3 // 8 * 8
    block, keys = 4 * d * d + 3 * d * f, 2 * d * d
    assert isinstance(lm.model, LocalModel)
    tail = block - keys + d * len(lm.model.tokenizer)
    return 2 * (suffix * ((size.layers - 1) * block + keys) + tail)


def shape(data: Any, name: str, out: Path, naive: int) -> dict[str, object]:
    size, k = SHAPES[name]
    folder = out / name.replace(" ", "-").replace(",", "")
    population = populate(data, size, k, folder)
    lm = language(population)
    uncached = population.with_(rating_model=lm)
    length = tokens_of(lm)
    rate = rate_of(pages(uncached))
    slow = naive_rate(lm, folder, naive)
    flops = forward_flops(lm, size, length["suffix_tokens"])
    row = np.repeat(np.arange(USERS), SLATE)
    item = np.arange(USERS * SLATE) % len(population.items)
    user = np.flatnonzero(lm.mind.row >= 0)[row]
    words = rate_of(lambda: len(lm.prompts(user, item)), seconds=2)
    taken = {n: rate_of(pages(population.with_(rating_model=m()))) for n, m in without(lm).items()}
    known = rate_of(lambda: len(cues(lm.mind.crowd, lm.mind.taste, row, item).feature), seconds=1)
    print(f"{name}: {rate:.0f} items/s end to end, naive {slow:.1f}, ratio {rate / slow:.0f}", flush=True)
    return {
        "items_per_second": rate,
        "naive_items_per_second": slow,
        "ratio_to_naive": rate / slow,
        **length,
        "memories": k,
        "parameters": sum(p.numel() for p in lm.model.base.parameters()),  # type: ignore[attr-defined]
        "personas": PERSONAS,
        "linear_flops_per_item": flops,
        "share_of_float32_matmul_rate": rate * flops / matmul_rate(torch.float32),
        "share_of_bfloat16_matmul_rate": rate * flops / matmul_rate(torch.bfloat16),
        "prompts_written_per_second": words,
        "cues_per_second": known,
        "one_taken_away": taken,
        "prefix_store_bytes": lm.model.kept.bytes,  # type: ignore[attr-defined]
    }


def table_rates(population: SimulatedPopulation, out: Path) -> dict[str, float]:
    """Return pages a second where answers come from a table, by users side by side."""
    begin = time.perf_counter()
    compiled = population.compile(out / "table")
    seconds = time.perf_counter() - begin
    pairs = len(population) * len(population.items)
    made = {"compiled_pairs_per_second": pairs / seconds, "pairs": float(pairs)}
    many = {f"slates_per_second, {n} users": rate_of(pages(compiled, users=n)) / SLATE for n in (1, 64, 1024)}
    return made | many


def overhead(population: SimulatedPopulation) -> float:
    """Return microseconds per step of a single environment around a model that costs nothing."""
    env = SlateEnv(population.with_(rating_model=Even(population.scale)), slate_size=SLATE, max_pages=10)
    rng, item = np.random.default_rng(0), len(population.items)
    slates = [rng.permutation(item)[:SLATE] for _ in range(200)]
    env.reset(seed=0)

    def visit() -> int:
        for slate in slates:
            *_, terminated, truncated, _ = env.step(slate)
            if terminated or truncated:
                env.reset()
        return len(slates)

    return 1e6 / rate_of(visit, seconds=3)


def sardine() -> dict[str, float]:
    """Return steps a second of SARDINE's slate environment, single and side by side (pip install sardine-rec)."""
    import gymnasium
    import sardine  # type: ignore[import-not-found]  # noqa: F401

    env = gymnasium.make("sardine/SlateTopK-Bored-v0")
    env.reset(seed=0)

    def steps() -> int:
        for _ in range(200):
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        return 200

    many = gymnasium.make_vec("sardine/SlateTopK-Bored-v0", num_envs=64, vectorization_mode="sync")
    many.reset(seed=0)

    def wide() -> int:
        many.step(many.action_space.sample())
        return 64

    return {"slates_per_second, single": rate_of(steps), "slates_per_second, 64 in sync": rate_of(wide)}


def reclab() -> float:
    """Return slates a second of RecLab's topics environment, 64 users who all want a slate (pip install RecLab)."""
    from reclab.environments.topics import Topics  # type: ignore[import-not-found]

    env = Topics(num_topics=19, num_users=USERS, num_items=1682, rating_frequency=1.0, num_init_ratings=1000)
    env.seed(0)
    env.reset()
    rng = np.random.default_rng(0)

    def step() -> int:
        env.step(np.argpartition(rng.random((USERS, 1682)), SLATE, axis=1)[:, :SLATE])
        return USERS

    return rate_of(step)


def main(
    data: Annotated[Path, typer.Argument(help="MovieLens-100K: folder or zip")],
    peers: Annotated[bool, typer.Option("--peers", help="also measure SARDINE and RecLab")] = False,
    naive: Annotated[int, typer.Option(help="prompts of the naive loop")] = 60,
    out: Annotated[Path, typer.Option(help="where populations are built")] = Path("runs/speed"),
) -> None:
    started, dataset = time.time(), load(str(data))
    values: dict[str, object] = {"threads": torch.get_num_threads(), "users": USERS, "slate": SLATE}
    values["model"] = {name: shape(dataset, name, out, naive) for name in SHAPES}
    population = populate(dataset, *SHAPES["0.36 M, no Ml"], out / "0.36-M-no-Ml")
    values["table"] = table_rates(population, out)
    values["overhead_microseconds"] = overhead(population)
    values["sweep"] = sweeps(populate(dataset, *SHAPES["0.36 M, k = 3 (the default)"], out / "sweep"))
    if peers:
        values["sardine"] = sardine()
        values["reclab"] = {"slates_per_second, 64 users": reclab()}
    values["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    command = "python benchmarks/speed.py DATA" + (" --peers" if peers else "")
    print(
        record(
            "speed-cpu", values, command=command, seed=0, data={dataset.name: dataset.log.fingerprint}, started=started
        )
    )


if __name__ == "__main__":
    typer.run(main)
