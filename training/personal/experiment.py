"""The experiment: every arm and yardstick on one partition of the data, each kept when done, so that it can be resumed.

What is kept are answers (probabilities); scores are computed from them in `report`. Knows no words of reports.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from simenv.datasets.annotators import Annotations
from simenv.errors import ConfigError, StoreError
from simenv.training.personal.arm import ARMS, arms
from simenv.training.personal.base import Base, EmbeddedSettings, PeftSettings, embedded, load
from simenv.training.personal.carry import Lessons, carry_out
from simenv.training.personal.partition import Partition, PartitionSettings, partition
from simenv.training.personal.plain import PLAIN, Answers, plain
from simenv.training.personal.tune import Probability, TuneSettings

Progress = Callable[[int, int, str], None]
"""(contestants done, contestants in all, words)."""
_FORM = 1
"""Version of a kept file."""


@final
@dataclass(frozen=True)
class ExperimentSettings:
    """Everything that decides the numbers, except data, base and seed."""

    arms: tuple[str, ...] = tuple(ARMS)
    parts: PartitionSettings = field(default_factory=PartitionSettings)
    tune: TuneSettings = field(default_factory=TuneSettings)
    embedded: EmbeddedSettings = field(default_factory=EmbeddedSettings)
    peft: PeftSettings = field(default_factory=PeftSettings)
    examples: int = 4
    """n of Q-nS."""
    text_tokens: int = 192
    """Tokens of a text that are read."""
    example_tokens: int = 64

    def __post_init__(self) -> None:
        arms(self.arms)
        if self.examples < 1:
            raise ConfigError(f"Q-nS shows at least one example; got {self.examples}.")


@final
@dataclass(frozen=True, eq=False)
class Experiment:
    """One data set, one base, one seed."""

    data: Annotations
    settings: ExperimentSettings
    folder: Path
    """Where finished answers are kept."""
    base: str | None = None
    """Hugging Face name or folder; None: our own, trained on the texts of the training part."""
    seed: int = 0

    @cached_property
    def parts(self) -> Partition:
        """Who learns from what."""
        return partition(self.data, self.settings.parts, self.seed)

    @cached_property
    def model(self) -> Base:
        """The language model that the arms start from; made when an arm first needs it."""
        if self.base is not None:
            return load(self.base, self.settings.peft)
        read = np.concatenate([self.parts.train, self.parts.valid])
        return embedded(self.data, read, self.settings.embedded, self.seed)

    @property
    def base_name(self) -> str:
        """What reports call the base."""
        return f"embedded {self.settings.embedded.kind}" if self.base is None else Path(self.base).name

    @property
    def contestants(self) -> tuple[str, ...]:
        """Yardsticks, then arms."""
        return (*PLAIN, *(arm.name for arm in arms(self.settings.arms)))

    def run(self, progress: Progress | None = None) -> dict[str, Answers]:
        """Return the answers of all contestants by name; finished ones are read, not computed again."""
        out = {}
        for done, name in enumerate(self.contestants):
            if progress:
                progress(done, len(self.contestants), name)
            path = self._path(name)
            if not path.exists():
                _write(path, self._answers(name, done, progress))
            out[name] = _read(path)
        if progress:
            progress(len(out), len(out), "done")
        return out

    def _answers(self, name: str, done: int, progress: Progress | None) -> Answers:
        if name in PLAIN:
            return plain(name, self.data, self.parts)
        how, parts, total = self.settings, self.parts, len(self.contestants)
        writer = self.model.writer(self.data, how.text_tokens, how.example_tokens)

        def told(epoch: int, epochs: int, loss: float) -> None:
            if progress:
                progress(done, total, f"{name}: epoch {epoch} of {epochs}, held-out loss {loss:.4f}")

        source = Lessons(writer, parts.train, parts.valid, how.tune)
        return carry_out(ARMS[name], self.model, source, parts, how.examples, self.seed, told)

    def _path(self, name: str) -> Path:
        how = self.settings
        depends: list[object] = [_FORM, self.data.fingerprint, self.seed, how.parts]
        if name in ARMS:
            depends += [self.base or how.embedded, how.peft, how.text_tokens, how.example_tokens]
            depends += [how.tune] if ARMS[name].tuned else [how.examples]
        key = hashlib.blake2b(repr(depends).encode(), digest_size=6).hexdigest()
        return self.folder / f"{name.lower().replace(' ', '-')}-{key}.npz"


def _write(path: Path, said: Answers) -> None:
    """Keep answers in one move: a killed run leaves no half of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"told": np.array(json.dumps(said.told))}
    for name, part in (("valid", said.valid), ("test", said.test), ("new", said.new), ("fitted", said.fitted or [])):
        arrays |= {f"{name}_{n}": p for n, p in enumerate(part)}
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        np.savez_compressed(file, **arrays)
    draft.replace(path)


def _read(path: Path) -> Answers:
    try:
        with np.load(path) as kept:

            def part(name: str) -> Probability:
                return [kept[f"{name}_{n}"] for n in range(sum(key.startswith(f"{name}_") for key in kept.files))]

            told = json.loads(str(kept["told"]))
            return Answers(part("valid"), part("test"), part("new"), told, part("fitted") or None)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{path}: damaged ({error}). Delete the file; the arm is then carried out again.") from error
