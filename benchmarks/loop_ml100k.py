"""Rating fidelity on MovieLens-100K: simulated users against yardsticks on held-out ratings.

python benchmarks/loop_ml100k.py DATA [--half dev] [--seeds 0,1,2] [--out FOLDER]

Users with 100-200 ratings, each cut in time at 60 %, other users' rows of any time known (the `world` arm). Recipes
were developed on a seeded half of these users (--half dev); the published figures are of all of them.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from recording import record

from simenv import InteractionLog, Split
from simenv.agents.cues import cues
from simenv.agents.local_model import LocalModel
from simenv.agents.population import SimulatedPopulation
from simenv.agents.rating_model import LMRatingModel, MemoRatingModel
from simenv.datasets import load
from simenv.evaluation.rating import Prediction, Truth
from simenv.evaluation.rating_table import measure_all, shares
from simenv.evaluation.yardstick import fit_with_distribution, standard
from simenv.training.cluster import ClusterSettings
from simenv.training.pipeline import TrainSettings, train

DRAWS = 20
SHOWN = ("rmse", "rmse_rounded", "mae_median", "nll", "rps", "off_scale", "sampled_within_variance_ratio", "sampled_w1")


def eligible(log: InteractionLog, half: str) -> np.ndarray:
    users = np.flatnonzero((log.count >= 100) & (log.count <= 200))
    return np.sort(np.random.default_rng(0).permutation(users)[: len(users) // 2]) if half == "dev" else users


def yardsticks(split: Split, seed: int) -> dict[str, Prediction]:
    """Fitted on the same known rows, in the same run."""
    future, scale, made = split.future, split.past.scale, {}
    for name, yardstick in standard().items():
        fitted = fit_with_distribution(yardstick, split.past, seed=seed)
        point = fitted.predict(future.user, future.item)
        drawn = Prediction.of(fitted.to_distribution(point), scale, draws=DRAWS, seed=seed)
        made[name] = replace(drawn, point=point)
    return made


def arms(population: SimulatedPopulation, folder: Path, future: InteractionLog, seed: int) -> dict[str, Prediction]:
    """Prior alone, language model alone (by adapter) and fused."""
    assert isinstance(population.rating_model, MemoRatingModel)
    lm = population.rating_model.inner
    assert isinstance(lm, LMRatingModel)
    mind, scale = lm.mind, lm.scale
    row = mind.rows(future.user)
    prior = lm.prior_of(cues(mind.crowd, mind.taste, row, future.item))
    prompts = lm.prompts(future.user, future.item)
    single = LocalModel.load(folder / "model", {"single": folder / "adapters" / "single"})
    logp = {
        "no adapter": single.score(prompts, scale.symbols, adapters=[None] * len(row)),
        "single LoRA": single.score(prompts, scale.symbols, adapters=["single"] * len(row)),
        "persona LoRA": lm.model.score(prompts, scale.symbols, adapters=[mind.adapter[r] for r in row]),
    }
    made = {"ridge on the cues (prior alone)": Prediction.of(prior, scale, draws=DRAWS, seed=seed)}
    for name, scored in logp.items():
        for arm in ("lm", "fused"):
            p, off = replace(lm.readout, arm=arm).read(scored, prior)
            label = f"{'LM alone' if arm == 'lm' else 'fused'}, {name}"
            made[label] = Prediction.of(p, scale, off_scale=off, draws=DRAWS, seed=seed)
    return made


def main(
    data: Annotated[Path, typer.Argument(help="MovieLens-100K: folder or zip")],
    half: Annotated[
        str, typer.Option(help='"dev": the half recipes were developed on; "all": the published figures')
    ] = "all",
    seeds: Annotated[str, typer.Option(help="training seeds")] = "0,1,2",
    out: Annotated[Path, typer.Option(help="where populations are built")] = Path("runs/loop-ml100k"),
) -> None:
    started = time.time()
    dataset = load(data)
    users = eligible(dataset.log, half)
    split = dataset.log.split("user_time", 0.6, users=eligible(dataset.log, "all"))
    split = replace(split, future=split.future.of_users(users))
    truth = Truth(split.future.user, split.future.rating, dataset.log.scale)
    values: dict[str, object] = {"users": len(users), "pairs": len(split.future), "split": split.note, "half": half}
    base = yardsticks(split, 0)
    for seed in (int(s) for s in seeds.split(",")):
        for method in ("kmeans", "random") if seed == 0 else ("kmeans",):
            folder = out / f"{half}-{seed}-{method}"
            shutil.rmtree(folder, ignore_errors=True)
            settings = TrainSettings(seed=seed, cluster=ClusterSettings(method=method, seed=seed))
            began = time.time()
            population = train(split.past, dataset.catalogue, users, folder, settings, cut=split.cut)
            minutes = (time.time() - began) / 60
            found = arms(population, folder, split.future, seed)
            table = measure_all(truth, base | found, baseline="biased MF")
            fused = found["fused, persona LoRA"]
            values[f"seed {seed}, {method} personas"] = {
                "train_minutes": minutes,
                "readout": repr(population.rating_model.inner.readout),  # type: ignore[attr-defined]
                "rho": population.rho,
                "share": {k: v.tolist() for k, v in shares(truth, fused).items()},
                **table.to_json(),
            }
            print(f"seed {seed}, {method} personas, {minutes:.1f} minutes\n{table.to_markdown(SHOWN)}\n", flush=True)
    command = (
        "python benchmarks/loop_ml100k.py DATA" + ("" if half == "all" else f" --half {half}") + f" --seeds {seeds}"
    )
    name = "loop-ml100k" if half == "all" else f"loop-ml100k-{half}"
    print(record(name, values, command=command, seed=0, data={dataset.name: dataset.log.fingerprint}, started=started))


if __name__ == "__main__":
    typer.run(main)
