"""Who speaks for a population: base and adapters of its folder, with a cache before them, or a replay without weights.

Weights are loaded, and their libraries with them, only where an answer may have to be computed. Knows no users.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simenv.agents.answer_file import AnswerFile
from simenv.agents.cache import CachedModel
from simenv.agents.language_model import LanguageModel
from simenv.agents.manifest import digest
from simenv.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from simenv.agents.remote_client import RemoteSettings
    from simenv.agents.remote_model import RemoteModel

SERVED = "served"
"""How the signature of answers from a server begins (`RemoteModel.served`)."""


def speaker(
    folder: Path,
    files: Mapping[str, str],
    base: str | None,
    adapters: Iterable[str],
    *,
    cache: Path | None = None,
    replay: Path | None = None,
    remote: str | RemoteSettings | None = None,
) -> LanguageModel:
    """Return what answers the prompts of a population.

    files: hash by name of the folder's files. base: name or path of weights that lie elsewhere; None: below `model/`.
    cache: file in which answers are kept. replay: file that answers alone, so that nothing is loaded; given both, what
    is asked is copied from the one into the other, which leaves a file that holds one benchmark and nothing else.
    remote: a server that has base and adapters; only the tokenizer is then read here. Its answers never stand in one
    file with answers computed in this process.

    Raises:
        StoreError: a file that is none of ours; a replay that was recorded from others; a cache of other weights.
        ConfigError: a replay and a server.
        RemoteError: the server does not answer.

    """
    names = list(adapters)
    identity, who = identities(files, base, names), folder.resolve().name
    whole = _digest(sorted(identity.items(), key=repr))
    if replay is not None and remote is not None:
        raise ConfigError("a replay asks no server; leave out one of the two.")
    if replay is None and cache is None:
        return _load(folder, base, names) if remote is None else _connect(folder, base, names, remote)
    if replay is not None:
        recorded = AnswerFile(replay, writable=False)
        _was_recorded(recorded, whole, who)
        weights = recorded.sources[whole][1]
        model: LanguageModel = CachedModel(None, recorded, identity, who, served=_told(weights))
        if cache is None:
            return model
    elif remote is not None:
        model = asked = _connect(folder, base, names, remote)
        weights = asked.served
    else:
        model, weights = _load(folder, base, names), weights_elsewhere(base)
    assert cache is not None
    file = AnswerFile(cache, writable=True)
    file.sign(whole, who, weights)
    return CachedModel(model, file, identity, who, served=_told(weights))


def identities(files: Mapping[str, str], base: str | None, adapters: Iterable[str]) -> dict[str | None, str]:
    """Return what tells each adapter of a population from all others, and the bare base (None): hashes of its files.

    files, base: as in `speaker`. Of weights that lie elsewhere only the name is in it; see `weights_elsewhere`.
    """
    root = _digest(base, _below("model/", files))
    own = {name: _below(f"adapters/{name}/", files) for name in adapters}
    return {None: root} | {name: _digest(root, part) for name, part in own.items()}


def weights_elsewhere(base: str | None) -> str:
    """Return what tells the weights of a base outside a population's folder from others of the same name.

    A local folder: its files' hashes. A Hugging Face name: its commit, "" where that is not known. None: "".
    """
    if base is None:
        return ""
    if Path(base).is_dir():
        files = sorted(f for f in Path(base).rglob("*") if f.is_file())
        return _digest([[str(f.relative_to(base)), digest(f)] for f in files])
    from transformers import AutoConfig

    return str(getattr(AutoConfig.from_pretrained(base), "_commit_hash", None) or "")


def _load(folder: Path, base: str | None, adapters: Iterable[str]) -> LanguageModel:
    from simenv.agents.local_model import LocalModel  # brings torch, which takes seconds

    return LocalModel.load(base or folder / "model", {name: folder / "adapters" / name for name in adapters})


def _connect(folder: Path, base: str | None, adapters: Iterable[str], remote: str | RemoteSettings) -> RemoteModel:
    from transformers import AutoTokenizer

    from simenv.agents.remote_model import RemoteModel

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(base or folder / "model"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the tokenizer of {base or folder / 'model'} cannot be loaded ({str(error).splitlines()[0]}): options are "
            "found with it also where a server has the weights."
        ) from error
    return RemoteModel.connect(remote, tokenizer, adapters)


def _told(weights: str) -> str:
    """Return how a server computed the answers that are signed so; "": none did."""
    return weights if weights.startswith(SERVED) else ""


def _was_recorded(file: AnswerFile, identity: str, who: str) -> None:
    known = file.sources
    if identity not in known:
        others = ", ".join(sorted({name for name, _ in known.values()})) or "nobody"
        raise StoreError(
            f"{file.path} was not recorded from the weights of {who}: it holds answers of {others}. Give the file that "
            "was published with this population."
        )


def _below(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(folder): found for name, found in files.items() if name.startswith(folder)}


def _digest(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()
