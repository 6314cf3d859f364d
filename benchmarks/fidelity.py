"""The fidelity card of the usual population, recorded: how far simulated users can be believed, beside the yardsticks.

python benchmarks/fidelity.py ml-100k DATA [--split global_time | --opaque | --canary]
python benchmarks/fidelity.py ml-latest-small DATA
python benchmarks/fidelity.py ml-1m DATA [--metadata FILE]
python benchmarks/fidelity.py synthetic

An interrupted run goes on in --out. The opaque arm is compared, user by user, with the population of the plain card.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from card_run import Run, value_of
from numpy.typing import NDArray
from protocols import Protocol, around_one_moment, development_half, drawn, first_users, untouched_half
from recording import RESULTS, record
from truth_ladder import climbed

from simenv import InteractionLog
from simenv.agents.arms import asked
from simenv.agents.opaque import opaque
from simenv.agents.store import load as load_users
from simenv.datasets import load
from simenv.datasets.synthetic import generate
from simenv.evaluation.fidelity.canary import canary
from simenv.evaluation.fidelity.study import Fidelity
from simenv.training.pipeline import TrainSettings

DATASETS = ("ml-100k", "ml-1m", "ml-latest-small", "synthetic")
WORLD = 1000
"""Users of the synthetic world."""
USERS = 200
"""Users drawn from the larger data sets."""


def plain(run: Run, protocol: Protocol) -> dict[str, Any]:
    """Return the usual card."""
    return {"protocol": protocol.note, **_counts(protocol), "card": value_of(run.card("world", protocol))}


def one_moment(run: Run, world: Protocol, strict: Protocol) -> dict[str, Any]:
    """Return what other users' later rows are worth: the same users and pairs, with and without them."""
    cut = run.card("global cut", strict)
    without = {"nothing known of anybody after the moment": run.answers("global cut", strict)}
    known = run.card("moment, world", world, without)
    told = {"world": world.note, "global_cut": strict.note}
    return {"protocol": told, **_counts(world), "card": {"world": value_of(known), "global_cut": value_of(cut)}}


def coded(run: Run, protocol: Protocol) -> dict[str, Any]:
    """Return the card of users trained anew where titles and people are codes, beside those who know the names."""
    hidden = opaque(run.catalogue, run.settings.seed)
    named = {"titles as they are": run.answers("world", protocol)}
    arm = {"build": run.build("opaque", hidden), "control": None, "catalogue": hidden}
    card = run.card("opaque", protocol, named, **arm)
    return {"protocol": f"{protocol.note}; titles and people are codes", **_counts(protocol), "card": value_of(card)}


def sung(run: Run, protocol: Callable[[InteractionLog], Protocol]) -> dict[str, Any]:
    """Return whether any byte of the users changes when the held-out ratings do: two whole trainings, and all prompts.

    The first is that of the plain card.
    """
    seed = run.settings.seeds[0]

    def make(log: InteractionLog, n: int) -> Path:
        arm = ("world", "canary")[n]
        run.build(arm)(log, protocol(log).split, seed)
        return run.folder / "users" / arm / f"{run.recipe.cluster.method}-{seed}"

    found = canary(make, run.log, lambda log: protocol(log).split, prompts=_prompts)
    told = {k: v for k, v in asdict(found).items() if not k.startswith("differing")}
    told |= {"differing_files": found.differing, "differing_prompts": len(found.differing_prompts)}
    print(f"canary: {'exact' if found.exact else 'SINGS'}: {told}\n", flush=True)
    return {"protocol": protocol(run.log).note, "exact": found.exact, **told}


def _prompts(folder: Path, user: NDArray[np.int64], item: NDArray[np.int64]) -> list[str]:
    return [p.text for p in asked(load_users(folder), user, item)]


def _counts(protocol: Protocol) -> dict[str, int]:
    return {"users": len(protocol.member), "pairs": len(protocol.split.future)}


def _protocol(dataset: str, log: InteractionLog, users: int | None) -> Protocol:
    if dataset == "ml-100k":
        protocol = untouched_half(log)
        return protocol if users is None else first_users(protocol, users)
    return drawn(log, users or (None if dataset == "ml-latest-small" else USERS))


def main(
    dataset: Annotated[str, typer.Argument(help=f"One of {', '.join(DATASETS)}")],
    data: Annotated[Path | None, typer.Argument(help="Folder or zip; none for synthetic")] = None,
    split: Annotated[str, typer.Option(help="user_time; or global_time: one moment for all")] = "user_time",
    opaque_titles: Annotated[bool, typer.Option("--opaque", help="train with titles and people as codes")] = False,
    sing: Annotated[bool, typer.Option("--canary", help="train twice, with other held-out ratings")] = False,
    seeds: Annotated[str, typer.Option(help="training seeds")] = "0,1,2",
    metadata: Annotated[Path | None, typer.Option(help="CSV of summary, cast and director")] = None,
    out: Annotated[Path, typer.Option(help="where populations and finished parts are kept")] = Path("runs/fidelity"),
    results: Annotated[Path, typer.Option(help="where the result goes")] = RESULTS,
    users: Annotated[int | None, typer.Option(help="pilots: so many users")] = None,
    steps: Annotated[int | None, typer.Option(help="pilots: so many training steps")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="pilots: yardsticks tuned over fewer settings")] = False,
) -> None:
    started = time.time()
    kinds = dataset in DATASETS and split in ("user_time", "global_time")
    if not kinds or (data is None) != (dataset == "synthetic"):
        raise typer.BadParameter(f"give one of {', '.join(DATASETS)}, and DATA for all but synthetic")
    if sum((split == "global_time", opaque_titles, sing)) > (dataset != "synthetic"):
        raise typer.BadParameter(
            "--split global_time, --opaque and --canary are cards of their own; give one, with DATA"
        )
    recipe, world = TrainSettings(), generate(0, n_users=WORLD) if dataset == "synthetic" else None
    if steps is not None:
        recipe = replace(recipe, world=replace(recipe.world, steps=steps, warmup=min(recipe.world.warmup, steps // 3)))
    found = world or load(str(data), **({} if metadata is None else {"metadata": metadata}))
    settings = Fidelity(tuple(int(s) for s in seeds.split(",")), quick=quick)
    run = Run(found.log, found.catalogue, out / dataset, settings, recipe)
    if world is not None:
        values = climbed(run, world, users or USERS)
    elif split == "global_time":
        both = around_one_moment(run.log, development_half(run.log) if dataset == "ml-100k" else ())
        values = one_moment(run, *(p if users is None else first_users(p, users) for p in both))
    elif sing:
        values = sung(run, lambda log: _protocol(dataset, log, users))
    else:
        values = (coded if opaque_titles else plain)(run, _protocol(dataset, run.log, users))
    kind = "-global-time" if split == "global_time" else "-opaque" if opaque_titles else "-canary" if sing else ""
    flags: dict[str, object] = {
        "--split global_time": split == "global_time",
        "--opaque": opaque_titles,
        "--canary": sing,
        "--metadata FILE": metadata,
    }
    flags |= {f"--users {users}": users, f"--steps {steps}": steps, "--quick": quick}
    command = " ".join([dataset, *["DATA"] * (data is not None), *[f for f, on in flags.items() if on]])
    print(
        record(
            f"fidelity-{dataset}{kind}", values, command=f"python benchmarks/fidelity.py {command} --seeds {seeds}",
            seed=0, data={found.name: run.log.fingerprint}, started=started, folder=results,
        )
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
