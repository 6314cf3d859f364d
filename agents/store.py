"""A population as a folder: safetensors, npz, parquet and JSON, never pickles.

Versioned; every file's hash is checked at the door.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.agents.choice import Choice
from simenv.agents.crowd import Crowd
from simenv.agents.cues import Taste
from simenv.agents.exit import CombinedExit, ExitHazard, ExitModel
from simenv.agents.exit_answer import ExitAnswer
from simenv.agents.local_model import LocalModel
from simenv.agents.memory import Memory
from simenv.agents.persona import Personas
from simenv.agents.population import SimulatedPopulation
from simenv.agents.prior import Prior
from simenv.agents.profile import Profiles
from simenv.agents.prompt import PromptSettings, PromptWriter
from simenv.agents.rating_model import LMRatingModel, MemoRatingModel, Mind
from simenv.agents.readout import Readout
from simenv.catalogue import Catalogue
from simenv.errors import StoreError
from simenv.index import Index
from simenv.log import InteractionLog, TimeNote
from simenv.scale import RatingScale

VERSION = 2
"""Raised when a folder of before can no longer be read."""
MANIFEST = "population.json"


@final
@dataclass(frozen=True)
class Behaviour:
    """The numbers of a population that are no arrays."""

    prompt: PromptSettings
    readout: Readout
    choice: Choice
    hazard: ExitHazard
    exit: str
    """"hazard": the statistical form; "answer": the persona's own stay/leave answer, with the hazard's slopes added."""
    exit_shift: float
    """Logits added to the persona's answer."""
    rho: float
    arm: str
    """"none", "single" or "persona": which adapter speaks."""
    base: str | None = None
    """Name or path of the base model; None: the folder's own `model`."""


@final
@dataclass(frozen=True, eq=False)
class Parts:
    """What is saved of a population beside model and adapters."""

    catalogue: Catalogue
    users: Index
    scale: RatingScale
    member: NDArray[np.int64]
    crowd: Crowd
    prior: Prior
    profiles: Profiles
    memory: Memory
    personas: Personas
    user_mean: NDArray[np.float64]
    activity: NDArray[np.float64]
    cut: NDArray[np.int64] | None
    behaviour: Behaviour
    training_log: InteractionLog | None
    """Contestants' rows; None: not kept."""
    provenance: Mapping[str, str]
    """Log fingerprint, split, seeds, versions."""


def save(parts: Parts, folder: Path) -> None:
    """Write the parts beside `model/` and `adapters/`, then the manifest with every file's hash."""
    folder.mkdir(parents=True, exist_ok=True)
    parts.crowd.save(folder / "crowd.npz")
    parts.prior.save(folder / "prior.npz")
    parts.profiles.save(folder / "profiles.npz")
    parts.memory.save(folder / "memory.npz")
    parts.personas.save(folder)
    parts.catalogue.to_frame().to_parquet(folder / "catalogue.parquet")
    cut: dict[str, Any] = {} if parts.cut is None else {"cut": parts.cut}
    np.savez(folder / "member.npz", member=parts.member, user_mean=parts.user_mean, activity=parts.activity, **cut)
    note = "exact" if parts.training_log is None else parts.training_log.time_note
    ids = {"users": parts.users.ids, "items": parts.catalogue.items.ids}
    _write(folder / "index.json", {**ids, "noun": parts.catalogue.noun, "time_note": note})
    _write(folder / "behaviour.json", asdict(parts.behaviour) | {"scale": asdict(parts.scale)})
    if parts.training_log is not None:
        log = parts.training_log
        columns = {"user": log.user, "item": log.item, "rating": log.rating} | (
            {} if log.time is None else {"time": log.time}
        )
        pd.DataFrame(columns).to_parquet(folder / "contestants.parquet")
    files = {str(f.relative_to(folder)): _digest(f) for f in sorted(folder.rglob("*")) if _kept(f, folder)}
    _write(
        folder / MANIFEST,
        {"format": "simenv-population", "version": VERSION, "provenance": dict(parts.provenance), "file": files},
    )


def load(path: str | Path) -> SimulatedPopulation:
    """Return the population saved in a folder.

    Raises:
        StoreError: no such folder, not one of simenv's, of another version, or a file is missing or changed.

    """
    folder = Path(path)
    manifest = check(folder)
    behaviour, scale = _behaviour(folder)
    index = json.loads((folder / "index.json").read_text())
    users, items = Index(tuple(index["users"]), "user"), Index(tuple(index["items"]), "item")
    catalogue = Catalogue.from_frame(pd.read_parquet(folder / "catalogue.parquet"), items, noun=index["noun"])
    crowd = Crowd.load(folder / "crowd.npz")
    memory = Memory.load(folder / "memory.npz", crowd, catalogue)
    with np.load(folder / "member.npz", allow_pickle=False) as data:
        member, user_mean, activity = data["member"], data["user_mean"], data["activity"]
        cut = data["cut"] if "cut" in data.files else None
    memory.check(cut)
    personas = Personas.load(folder)
    mind = _mind(folder, behaviour, catalogue, scale, crowd, memory, member, personas, len(users))
    model = load_model(folder, behaviour, personas)
    rating = LMRatingModel(mind, model, Prior.load(folder / "prior.npz"), behaviour.readout)
    return SimulatedPopulation(
        MemoRatingModel(rating, len(items)),
        behaviour.choice,
        _exit(behaviour, mind, model),
        users,
        items,
        member,
        user_mean,
        activity,
        rho=behaviour.rho,
        rho_tag="fitted",
        cut=cut,
        catalogue=catalogue,
        persona=tuple(personas[k].name if k >= 0 else "" for k in personas.label),
        training_log=_training_log(folder, users, items, scale, index["time_note"]),
        provenance={**manifest["provenance"], "population": _digest(folder / MANIFEST)},
    )


def check(folder: Path) -> dict[str, Any]:
    """Return the manifest after checking every file against it.

    Raises:
        StoreError: see `load`.

    """
    if not (folder / MANIFEST).is_file():
        raise StoreError(f"{folder} is no saved population: it has no {MANIFEST}. Make one with `simenv train`.")
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except ValueError as error:  # no JSON, or no text at all
        raise StoreError(f"{folder / MANIFEST} is damaged ({error}); train the population again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != "simenv-population":
        raise StoreError(f"{folder / MANIFEST} was not written by simenv.")
    if manifest.get("version") != VERSION:
        raise StoreError(
            f"{folder} has format version {manifest.get('version')}; this simenv reads {VERSION}. Train it again."
        )
    for name, digest in manifest["file"].items():
        if not (folder / name).is_file():
            raise StoreError(f"{folder} is incomplete: {name} is missing. Copy the whole folder, or train it again.")
        if _digest(folder / name) != digest:
            raise StoreError(
                f"{folder / name} is damaged: its hash differs from {MANIFEST}. Copy it again, or train it again."
            )
    return manifest


def load_model(folder: Path, behaviour: Behaviour, personas: Personas) -> LocalModel:
    """Return base and adapters of a population's folder."""
    names = dict.fromkeys(p.adapter for p in personas if p.adapter)
    adapters = {name: folder / "adapters" / name for name in names}
    return LocalModel.load(behaviour.base or folder / "model", adapters)


def _mind(
    folder: Path,
    behaviour: Behaviour,
    catalogue: Catalogue,
    scale: RatingScale,
    crowd: Crowd,
    memory: Memory,
    member: NDArray[np.int64],
    personas: Personas,
    n_users: int,
) -> Mind:
    row = np.full(n_users, -1, np.int64)
    row[member] = np.arange(len(member))
    profiles = Profiles.load(folder / "profiles.npz", catalogue)
    context = context_of(memory, member)
    return Mind(
        row,
        crowd,
        Taste.of(crowd, *context),
        profiles,
        memory,
        PromptWriter(catalogue, scale, behaviour.prompt),
        speakers(personas, member),
    )


def context_of(memory: Memory, member: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return what members [M] are known by: item [M, H] and rating [M, H], padded with -1 and NaN."""
    entry = memory.entries(member)
    if not entry.size:
        return entry, entry.astype(np.float32)
    item, rating = memory.item[entry], memory.rating[entry]
    return np.where(entry >= 0, item, -1), np.where(entry >= 0, rating, np.float32(np.nan))


def speakers(personas: Personas, member: NDArray[np.int64]) -> tuple[str | None, ...]:
    """Return the adapter [M] that speaks for each member; None: the bare base."""
    names = [p.adapter for p in personas]
    return tuple(names[int(k)] for k in personas.of_user(member))


def _exit(behaviour: Behaviour, mind: Mind, model: LocalModel) -> ExitModel:
    if behaviour.exit == "hazard":
        return behaviour.hazard
    return CombinedExit(ExitAnswer(mind, model), behaviour.hazard, behaviour.exit_shift)


def _behaviour(folder: Path) -> tuple[Behaviour, RatingScale]:
    raw = json.loads((folder / "behaviour.json").read_text())
    scale = RatingScale(tuple(raw["scale"]["values"]), tuple(raw["scale"]["symbols"]))
    hazard: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw["hazard"].items()}
    readout: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw["readout"].items()}
    made: dict[str, Any] = {
        "prompt": PromptSettings(**raw["prompt"]),
        "readout": Readout(**readout),
        "choice": Choice(**raw["choice"]),
        "hazard": ExitHazard(**hazard),
    }
    rest = {f.name: raw[f.name] for f in fields(Behaviour) if f.name not in made}
    return Behaviour(**made, **rest), scale


def _training_log(
    folder: Path, users: Index, items: Index, scale: RatingScale, note: TimeNote
) -> InteractionLog | None:
    path = folder / "contestants.parquet"
    if not path.exists():
        return None
    frame = pd.read_parquet(path)
    time = frame["time"].to_numpy() if "time" in frame else None
    rows = (frame["user"], frame["item"], frame["rating"], time)
    return InteractionLog.of(users, items, *rows, scale, time_note=note)


def _kept(file: Path, folder: Path) -> bool:
    """Model, adapters and parts belong to the population; what training left for resuming, and cards, do not."""
    inside = file.relative_to(folder).parts
    return file.is_file() and inside[0] not in (MANIFEST, "stage", "fidelity")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, default=list, sort_keys=False) + "\n")
