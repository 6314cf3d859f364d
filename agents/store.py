"""A population as a folder: safetensors, arrays, parquet and JSON, never pickles.

Versioned; every file's hash is checked before the first answer that rests on it: small files at the door, those that
are mapped (crowd, profiles, memories) when the first user is asked, weights when they are loaded. What is not used is
not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.agents.choice import Choice
from simenv.agents.crowd import Crowd
from simenv.agents.exit import CombinedExit, ExitHazard, ExitModel
from simenv.agents.exit_answer import ExitAnswer
from simenv.agents.language_model import LanguageModel
from simenv.agents.life import FILES, Life
from simenv.agents.manifest import MANIFEST, VERSION, Sound, check, digest, read, verify, weights
from simenv.agents.memory import Memory
from simenv.agents.persona import Personas
from simenv.agents.population import SimulatedPopulation
from simenv.agents.prior import Prior
from simenv.agents.profile import Profiles
from simenv.agents.prompt import PromptSettings, PromptWriter
from simenv.agents.rating_model import LMRatingModel, MemoRatingModel, Mind
from simenv.agents.readout import Readout
from simenv.agents.speaker import speaker
from simenv.agents.table import TableRatingModel
from simenv.agents.tastes import Tastes, context_of
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.index import Index
from simenv.log import InteractionLog, TimeNote
from simenv.protocols import RatingModel
from simenv.scale import RatingScale

if TYPE_CHECKING:
    from simenv.agents.remote_client import RemoteSettings

__all__ = ["MANIFEST", "TABLE", "VERSION", "Behaviour", "Parts", "check", "context_of", "load", "save", "speakers"]

MAPPED = ("crowd", "profiles", "memory")
"""Folders inside a population's folder whose files are mapped, not read."""
TABLE = "table"
"""Folder inside a population's folder where its table of answers usually is."""


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
    life: Life | None = None
    """What carries over between pages and visits; None: nothing, and nothing is written of it."""


def save(parts: Parts, folder: Path) -> None:
    """Write the parts beside `model/` and `adapters/`, then the manifest with every file's hash."""
    folder.mkdir(parents=True, exist_ok=True)
    parts.crowd.save(folder / "crowd")
    parts.prior.save(folder / "prior.npz")
    parts.profiles.save(folder / "profiles")
    parts.memory.save(folder / "memory")
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
    if parts.life is not None:
        parts.life.save(folder)
    files = {str(f.relative_to(folder)): digest(f) for f in sorted(folder.rglob("*")) if _kept(f, folder)}
    _write(
        folder / MANIFEST,
        {"format": "simenv-population", "version": VERSION, "provenance": dict(parts.provenance), "file": files},
    )


def load(
    path: str | Path,
    *,
    cache: Path | None = None,
    replay: Path | None = None,
    table: bool = False,
    remote: str | RemoteSettings | None = None,
) -> SimulatedPopulation:
    """Return the population saved in a folder.

    path: the folder; or a table of answers inside it, made by `compile`, which means table=True.
    cache: file in which the language model's answers are kept and looked up first.
    replay: such a file, instead of the language model: weights and adapters may be missing, and what is not in the
    file raises CacheMissError. Given both, what is asked is copied from the replay into the cache.
    table: answer ratings from the population's table. Choice and leaving are computed as ever; weights may be missing
    unless users leave by their own answer, which the language model gives after each page.
    remote: address of a server that has base and adapters (docs/serving.md), or settings; weights may be missing here,
    the tokenizer may not.

    Raises:
        StoreError: no such folder, not one of simenv's, of another version, or a file is missing or changed.
        ConfigError: a cache, replay or server of a table that asks no language model; a server without the adapters.
        RemoteError: the server does not answer.

    """
    folder, compiled = _table(Path(path), table)
    manifest = read(folder)
    spared, mapped = weights(manifest), [n for n in manifest["file"] if Path(n).parts[0] in MAPPED]
    verify(folder, manifest, [name for name in manifest["file"] if name not in spared and name not in mapped])
    behaviour, scale = _behaviour(folder)
    index = json.loads((folder / "index.json").read_text())
    users, items = Index(tuple(index["users"]), "user"), Index(tuple(index["items"]), "item")
    catalogue = Catalogue.from_frame(pd.read_parquet(folder / "catalogue.parquet"), items, noun=index["noun"])
    with np.load(folder / "member.npz", allow_pickle=False) as data:
        member, user_mean, activity = data["member"], data["user_mean"], data["activity"]
        cut = data["cut"] if "cut" in data.files else None
    personas = Personas.load(folder)
    model: LanguageModel | None = None
    mind: Mind | None = None
    if compiled is None or behaviour.exit == "answer":
        mind = _mind(folder, behaviour, catalogue, scale, member, personas, Sound(folder, manifest, tuple(mapped)))
        mind.memory.check(cut)
        if replay is None:
            verify(folder, manifest, spared if remote is None else [n for n in spared if (folder / n).is_file()])
        adapters = dict.fromkeys(p.adapter for p in personas if p.adapter)
        model = speaker(folder, manifest["file"], behaviour.base, adapters, cache=cache, replay=replay, remote=remote)
    elif cache or replay or remote:
        words = "there is nothing to cache or to replay, and no server to ask"
        raise ConfigError(f"a table answers without the language model: {words}.")
    told = ", ".join(filter(None, (digest(folder / MANIFEST), getattr(model, "served", ""))))
    population = SimulatedPopulation(
        _ratings(folder, behaviour, mind, model) if compiled is None else TableRatingModel.load(compiled, scale),
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
        provenance={**manifest["provenance"], "population": told},
        life=Life.load(folder) if FILES[0] in manifest["file"] else None,
    )
    return population if compiled is None else population.with_table(compiled)


def _table(path: Path, wanted: bool) -> tuple[Path, Path | None]:
    """Return the population's folder and that of its table; None: not wanted."""
    if (path / "table.json").is_file() and not (path / MANIFEST).exists():
        return path.absolute().parent, path
    return path, path / TABLE if wanted else None


def _mind(
    folder: Path,
    behaviour: Behaviour,
    catalogue: Catalogue,
    scale: RatingScale,
    member: NDArray[np.int64],
    personas: Personas,
    sound: Sound,
) -> Mind:
    row = np.full(personas.n_users, -1, np.int64)
    row[member] = np.arange(len(member))
    missing = [name for name in sound.name if not (folder / name).is_file()]
    verify(folder, sound.manifest, missing)  # a missing file is told from a damaged one
    crowd = Crowd.load(folder / "crowd")
    memory = Memory.load(folder / "memory", crowd, catalogue)
    profiles = Profiles.load(folder / "profiles", catalogue)
    writer = PromptWriter(catalogue, scale, behaviour.prompt)
    return Mind(row, crowd, Tastes(crowd, memory, member), profiles, memory, writer, speakers(personas, member), sound)


def speakers(personas: Personas, member: NDArray[np.int64]) -> tuple[str | None, ...]:
    """Return the adapter [M] that speaks for each member; None: the bare base."""
    names = [p.adapter for p in personas]
    return tuple(names[int(k)] for k in personas.of_user(member))


def _ratings(folder: Path, behaviour: Behaviour, mind: Mind | None, model: LanguageModel | None) -> RatingModel:
    assert mind is not None
    assert model is not None
    lm = LMRatingModel(mind, model, Prior.load(folder / "prior.npz"), behaviour.readout)
    return MemoRatingModel(lm, len(mind.writer.catalogue))


def _exit(behaviour: Behaviour, mind: Mind | None, model: LanguageModel | None) -> ExitModel:
    if behaviour.exit == "hazard":
        return behaviour.hazard
    assert mind is not None
    assert model is not None
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


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, default=list, sort_keys=False) + "\n")
