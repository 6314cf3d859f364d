"""`simenv compile`: every answer of a population once, in a table that environments and benchmarks read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simenv.cli.console import out, quiet_libraries, say, write_json
from simenv.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from simenv.agents.population import SimulatedPopulation

_AGAIN = 150
"""Pairs asked once more when the table is finished, to measure what rounding did."""


def command(
    folder: Annotated[Path, typer.Argument(help="A population made by `simenv train`.")],
    items: Annotated[
        str | None,
        typer.Option(help="How many items, those with most known ratings; or a file of ids, one a line. Default: all."),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The table, inside FOLDER. Default: FOLDER/table.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Keep size and rounding here.")] = None,
) -> None:
    """Ask every user about every item once, and keep the answers in a table on disk.

    Environments and benchmarks then read answers instead of asking a language model. Probabilities are rounded to
    1/65,535. What users look at and take, the ratings they give, their mood and when they leave are computed as ever.
    A table has no prompts, and no memories that grow within an episode. Interrupted work goes on.

    \b
    simenv compile my-users
    simenv benchmark my-users --table
    simenv compile my-users --items 500 --out my-users/top500      (gym.make(..., population="my-users/top500"))
    """
    from simenv.agents.store import TABLE, load
    from simenv.evaluation.terminal import progress_bar

    quiet_libraries()
    place = out_folder or folder / TABLE
    if place.resolve().parent != folder.resolve():
        raise ConfigError(f"a table is found by its population, so it lies inside {folder}; got --out {place}.")
    population = load(folder)
    # What has been answered need not be remembered too: each pair is asked once.
    asking = population.with_(rating_model=getattr(population.rating_model, "inner", population.rating_model))
    chosen = chosen_items(asking, items)
    size = _size(len(population), len(chosen), len(population.scale))
    _room(place, size)
    say(f"{len(population):,} users x {len(chosen):,} items: {size / 1e6:,.2f} MB in {place}.")
    with progress_bar() as progress:
        table = asking.compile(place, chosen, show=lambda done, total: progress(done, total, "users"))
    found = _rounding(asking, table, chosen)
    found |= {"users": len(population), "items": len(chosen), "bytes": sum(f.stat().st_size for f in place.iterdir())}
    write_json(json, found)
    for line in _words(population, place, found):
        out().print(line, markup=False, soft_wrap=True)


def chosen_items(population: SimulatedPopulation, wanted: str | None) -> NDArray[np.int64]:
    """Return the numbers of the items of a table, ascending.

    wanted: None: all; a number: so many, those with most known ratings (the judge's and the contestants'); else a file
    of ids, one a line.

    Raises:
        ConfigError: no such file, or more items than there are.
        UnknownIdError: an id that is no item.

    """
    import numpy as np

    everything = np.arange(len(population.items))
    if wanted is None:
        return everything
    if wanted.isdigit():
        if not 1 <= int(wanted) <= len(everything):
            raise ConfigError(f"--items lies in 1..{len(everything)} here, or is left out for all; got {wanted}.")
        model: Any = population.rating_model
        known = model.mind.crowd.item_count.astype(np.float64)
        if population.training_log is not None:
            known = known + np.bincount(population.training_log.item, minlength=len(everything))
        return np.sort(np.argsort(-known, kind="stable")[: int(wanted)])
    if not Path(wanted).is_file():
        raise ConfigError(f"--items is a number, or a file with one item id a line; there is no file {wanted}.")
    lines = [line.strip() for line in Path(wanted).read_text(encoding="utf-8").splitlines()]
    return np.unique(population.items.encode([population.items.parse(line) for line in lines if line]))


def _size(users: int, items: int, values: int) -> int:
    """Return bytes: two for each probability, six for what stands beside them."""
    return users * items * (2 * values + 6)


def _room(place: Path, size: int) -> None:
    """Raise ConfigError if a new table does not fit on the disk; a mapped file would fail with a crash instead."""
    free = shutil.disk_usage(next(p for p in (place, *place.parents) if p.exists())).free
    if size > free and not (place / "table.json").exists():
        raise ConfigError(
            f"the table takes {size / 1e9:.1f} GB and {place.parent} has {free / 1e9:.1f} GB left; take fewer --items."
        )


def _rounding(exact: SimulatedPopulation, table: SimulatedPopulation, item: NDArray[np.int64]) -> dict[str, Any]:
    """Return how far answers are off: the bounds, and the largest difference over pairs that are asked again."""
    import numpy as np

    from simenv.agents.table import UNIT

    value, half = np.array(exact.scale.values), len(exact.scale) // 2
    most = float(value[len(value) - half :].sum() - value[:half].sum()) / UNIT
    pair = np.unique(np.linspace(0, len(exact) * len(item) - 1, _AGAIN).astype(np.int64))
    asked = np.sort(exact.member)[pair // len(item)], item[pair % len(item)]
    one, other = (p.rating_model.rate(*asked).p.astype(np.float64) for p in (exact, table))
    return {
        "probability": {"bound": 1 / UNIT, "measured": float(np.abs(one - other).max())},
        "expected rating": {"bound": most, "measured": float(np.abs((one - other) @ value).max())},
        "asked again": len(pair),
    }


def _words(population: SimulatedPopulation, place: Path, found: dict[str, Any]) -> list[str]:
    p, e = found["probability"], found["expected rating"]
    own = hasattr(population.exit, "base")
    leaving = "the users' own answer of the language model after each page, so keep the weights" if own else "a hazard"
    return [
        f"{found['users']:,} users x {found['items']:,} items lie in {place}: {found['bytes'] / 1e6:,.2f} MB.",
        f"Rounding: a probability is off by less than {p['bound']:.1e}, an expected rating by less than "
        f"{e['bound']:.1e}; asked again about {found['asked again']} pairs, by at most {p['measured']:.1e} and "
        f"{e['measured']:.1e}.",
        f"Still computed: what is looked at and taken, ratings drawn, mood, leaving ({leaving}).",
        "Not in the table: prompts, other items, and memories that grow within an episode.",
        f"Next: simenv benchmark {place.parent} --table"
        if place.name == "table"
        else f'Next: gym.make("simenv/Slate-v0", population="{place}")',
    ]
