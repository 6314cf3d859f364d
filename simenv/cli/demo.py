"""`simenv demo`: the whole loop once, on an invented world whose truth is known."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from simenv.cli.benchmark import contestants, judge
from simenv.cli.console import out, quiet_libraries, say, write_json
from simenv.cli.inspect import look, show
from simenv.cli.source import Synthetic
from simenv.cli.train import TRIAL, Make, page_of, run

if TYPE_CHECKING:
    from simenv.agents.population import SimulatedPopulation
    from simenv.evaluation.benchmark import Outcome

LEAGUE = ("random", "popular", "best-rated", "item-knn", "als", "bpr", "content", "oracle")


@final
@dataclass(frozen=True)
class Size:
    """How large the demo is."""

    n_users: int = 700
    n_items: int = 300
    members: int = 100
    min_ratings: int = 50
    """Members have at least so many ratings, so that enough is left on each side of every cut."""
    steps: int = 400
    lora_steps: int = 45
    pages: int = 5
    slate: int = 10
    resamples: int = 2000


def command(
    seed: Annotated[int, typer.Option(help="Another seed, another world.")] = 0,
    out_folder: Annotated[Path, typer.Option("--out", help="Where population and report go.")] = Path("demo"),
    json: Annotated[Path | None, typer.Option(help="Keep the results here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Keep the page here too.")] = None,
) -> None:
    """Run the whole loop once, on an invented world, in about three minutes on two CPU cores.

    A world of films and people with known tastes is made; a small language model learns from its ratings log; one
    adapter per persona is trained; eight recommenders are held before 100 simulated users. Because the world is
    invented, the league shows the true value of each recommender beside the simulated one, and counts how many of the
    true differences the simulator got right, and how many NDCG on held-out ratings did.

    \b
    simenv demo
    simenv demo --seed 7 --html demo.html
    """
    from simenv.evaluation.report import Report

    started = time.monotonic()
    population, folder, outcome = play_demo(out_folder, seed, Size())
    report = outcome.report
    Report(report.title, report.verdict, report.sections[:2]).print(out())
    result = dict(outcome.result) | {"demo": summary(outcome)}
    out().print("\n" + words(result["demo"]) + "\n", markup=False, soft_wrap=True)
    member = population.users.ids[int(population.member[0])]
    show(look(population, folder, member))
    write_json(json, result)
    page = outcome.report.save(html or out_folder / "report.html")
    out().print(f"\nThe page with plots: {page}. The population: {folder} (see simenv inspect).", soft_wrap=True)
    say(f"All of it took {time.monotonic() - started:.0f} s.")


def play_demo(out_folder: Path, seed: int, size: Size) -> tuple[SimulatedPopulation, Path, Outcome]:
    """Return the population, its folder and the benchmark of the demo."""
    from simenv.cli.trial import Cut, Trial

    quiet_libraries()
    invented = Synthetic(seed, size.n_users, size.n_items)
    world = invented.world()
    trial = Trial.of(world.log, Cut(size.members, size.min_ratings, 10**6, seed=seed))
    make = Make(steps=size.steps, lora_steps=size.lora_steps, size="small", page_size=page_of(0.5), seed=seed)
    folder = out_folder / f"population-{seed}"
    say(f"{world.name}: {len(world.log)} invented ratings. {trial.note}.")
    population = run(trial, world.catalogue, make, folder, world.name)
    about = {"data": world.name, "make": asdict(make), "cut": {}, "synthetic": asdict(invented)}
    trial.save(folder / TRIAL, about)
    how = {"pages": size.pages, "slate_size": size.slate, "seed": seed, "resamples": size.resamples}
    found = judge(
        trial, about, population, population, contestants(list(LEAGUE), about), how, False, folder / "benchmark"
    )
    return population, folder, found


def summary(outcome: Outcome) -> dict[str, Any]:
    """Return what the demo must show: is the truth ordered as it should be, and who saw the true differences."""
    value = outcome.result["values"]
    true = {name: row["true utility"] for name, row in value.items()}
    first, last = max(true, key=lambda n: true[n].mean), min(true, key=lambda n: true[n].mean)
    agreement = {
        a["judge"]: {k: a[k] for k in ("pairs", "right", "misled", "tau")} for a in outcome.result["agreement"]
    }
    apart = {
        "oracle": all(true["oracle"].low > true[n].high for n in true if n != "oracle"),
        "random": all(true["random"].high < true[n].low for n in true if n != "random"),
    }
    return {"truly first": first, "truly last": last, "intervals apart": apart, "agreement": agreement}


def words(found: dict[str, Any]) -> str:
    """Return the summary as a sentence."""
    said = "; ".join(f"{who} {a['right']} of {a['pairs']}" for who, a in found["agreement"].items())
    apart = all(found["intervals apart"].values())
    return (
        f"In truth {found['truly first']} is first and {found['truly last']} last, "
        f"{'with' if apart else 'not all with'} intervals apart. Truly different pairs ordered right: {said}."
    )
