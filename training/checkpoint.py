"""A checkpoint of learning: one safetensors file, written in one move, from which learning goes on to the same bytes.

It says which training it belongs to, and is refused by any other. Knows no lessons and no loss.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from simenv.errors import StoreError

_SAMPLE = 4096
"""Numbers of each weight that tell one model from another."""


@final
@dataclass(frozen=True)
class Checkpoint:
    """Where learning keeps how far it came, and how often."""

    file: Path
    """Written whole or not at all; removed when learning is done."""
    every: float = 60.0
    """Seconds between two, at least."""
    share: float = 0.005
    """Largest share of the time that goes into writing: a slow one makes the next wait longer."""


@final
@dataclass(frozen=True, eq=False)
class Saved:
    """How far learning came."""

    step: int
    """Steps done."""
    place: tuple[int, int]
    """Epoch and batch that come next."""
    loss: list[float]
    """Of each step."""
    tensor: Mapping[str, Tensor]
    """Weights ("weight NAME") and what the optimiser remembers ("KEY NUMBER")."""


@final
@dataclass
class Keeper:
    """Writes checkpoints when it is time to, and finds the one that was left."""

    how: Checkpoint
    request: Mapping[str, str]
    """What this training is, by name; a checkpoint of another one is refused."""
    cost: float = 0.0
    """Seconds that the last one took to write."""
    last: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() - self.last >= max(self.how.every, self.cost / self.how.share)

    def find(self) -> Saved | None:
        """Return what was saved, or None.

        Raises:
            StoreError: the file is damaged, or belongs to another training.

        """
        if not self.how.file.exists():
            return None
        try:
            with safe_open(self.how.file, "pt") as stored:
                note = json.loads(stored.metadata()["note"])
                tensor = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{self.how.file} is no checkpoint ({error}); delete it to begin anew.") from error
        self._same(note["request"])
        return Saved(note["step"], (note["place"][0], note["place"][1]), tensor.pop("loss").tolist(), tensor)

    def keep(self, saved: Saved) -> None:
        """Write a checkpoint in one move."""
        begin = time.monotonic()
        note = {"request": dict(self.request), "step": saved.step, "place": list(saved.place)}
        whole = {name: t.detach().contiguous().cpu() for name, t in saved.tensor.items()}
        content = save(whole | {"loss": torch.tensor(saved.loss, dtype=torch.float64)}, {"note": json.dumps(note)})
        self._part.parent.mkdir(parents=True, exist_ok=True)
        with self._part.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        self._part.replace(self.how.file)
        self.last = time.monotonic()
        self.cost = self.last - begin

    def remove(self) -> None:
        """Delete the checkpoint, and what was left of one half written."""
        for path in (self.how.file, self._part):
            path.unlink(missing_ok=True)

    @property
    def _part(self) -> Path:
        return self.how.file.with_name(f"{self.how.file.name}.part")

    def _same(self, found: Mapping[str, str]) -> None:
        names = dict.fromkeys([*self.request, *found])
        other = [n for n in names if found.get(n) != self.request.get(n)]
        if other:
            told = "; ".join(f"{n}: {found.get(n)} there, {self.request.get(n)} here" for n in other)
            raise StoreError(
                f"{self.how.file} belongs to another training ({told}); go on with what it was begun with, or delete "
                "it to begin anew."
            )


def fingerprint(parameters: Iterable[tuple[str, Tensor]]) -> str:
    """Return sixteen hex digits of names, shapes and the first numbers of weights."""
    told = hashlib.blake2b(digest_size=8)
    for name, weight in parameters:
        told.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        told.update(weight.detach().flatten()[:_SAMPLE].float().cpu().numpy().tobytes())
    return told.hexdigest()


def capture(weight: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return weights and everything the optimiser remembers, as a checkpoint holds them."""
    state: Mapping[int, Mapping[str, Any]] = optimiser.state_dict()["state"]
    memory = {f"{key} {number}": value for number, own in state.items() for key, value in own.items()}
    return {f"weight {name}": value for name, value in weight.items()} | memory


def restore(saved: Saved, weight: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
    """Put back what `capture` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in saved.tensor.items():
        key, _, rest = name.partition(" ")
        if key == "weight":
            with torch.no_grad():
                weight[rest].copy_(value)
        else:
            state.setdefault(int(rest), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
