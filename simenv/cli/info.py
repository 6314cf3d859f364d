"""`simenv info`: versions, and what a population is made of: data, personas, readout, what is fitted or assumed."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simenv.cli.console import out, table, tagged, write_json
from simenv.cli.train import personas_of

if TYPE_CHECKING:
    from simenv.agents.population import SimulatedPopulation

_PACKAGES = ("simenv-personas", "torch", "transformers", "peft", "gymnasium", "numpy", "implicit")


def command(
    folder: Annotated[Path | None, typer.Argument(help="A population. Default: only versions.")] = None,
    json: Annotated[Path | None, typer.Option(help="Keep all of it here.")] = None,
) -> None:
    """Say what is installed and, given a population, what it is made of.

    Every number of its behaviour stands there with where it comes from: fitted on data, or assumed.

    \b
    simenv info
    simenv info my-users --json my-users.json
    """
    content: dict[str, Any] = {"versions": versions()}
    table(("package", "version"), list(content["versions"].items()), right=2)
    if folder is not None:
        content |= described(folder)
        _show(content)
    write_json(json, content)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {p: _version(p) for p in _PACKAGES}


def described(folder: Path) -> dict[str, Any]:
    """Return what a population's folder says of itself; its files are checked, its model is loaded.

    Raises:
        StoreError: no population there, or a damaged one.

    """
    from simenv.agents.store import check, load
    from simenv.cli.console import quiet_libraries

    quiet_libraries()
    check(folder)
    population = load(folder)
    rows = [{"number": n, "tag": tag, "value": value} for n, tag, value in tagged(population.assumption)]
    log = population.training_log
    size = {"users": len(population), "items": len(population.items), "scale": list(population.scale.values)}
    size["ratings for recommenders"] = None if log is None else len(log)
    return {
        "population": size,
        "made of": dict(population.provenance),
        "personas": personas_of(folder),
        "numbers": rows,
        "fidelity": fidelity_of(folder, population),
    }


def fidelity_of(folder: Path, population: SimulatedPopulation) -> str:
    """Return the light of the card stored with a population; where there is none of it, how to make one.

    Raises:
        StoreError: the card is damaged.

    """
    from simenv.cli.fidelity import FOLDER
    from simenv.evaluation.fidelity.card import read
    from simenv.evaluation.unit import population_fingerprint

    card, how = read(folder / FOLDER), f"make one: simenv fidelity {folder}"
    if card is None:
        return f"no card yet; {how}"
    if population_fingerprint(population) != card["provenance"]["populations"].split(", ")[0]:
        return f"the card in {folder / FOLDER} is of other users than these; {how}"
    return str(card["light"]["sentence"])


def _show(content: dict[str, Any]) -> None:
    console = out()
    console.print()
    made = content["population"] | content["made of"]
    table(("population", ""), [(k, _words(v)) for k, v in made.items()], right=2)
    console.print()
    rows = [(p["name"], str(p["users"]), p["adapter"] or "none", p["portrait"]) for p in content["personas"]]
    table(("persona", "users", "adapter", "portrait"), rows, right=4)
    console.print()
    numbers = [(n["number"], n["tag"], n["value"]) for n in content["numbers"]]
    table(("number of behaviour", "origin", "value"), numbers, right=3)
    console.print(f"\nFidelity: {content['fidelity']}", markup=False, soft_wrap=True)


def _words(value: Any) -> str:
    return ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else str(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
