"""Actor: a trained network as plain arrays, to be kept without pickles and asked without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError, StoreError

Layer = tuple[NDArray[np.float64], NDArray[np.float64]]


@final
@dataclass(frozen=True, eq=False)
class Actor:
    """A network with tanh between its layers; its output, clipped to -1..1, is the action.

    Asked row by row, so that an answer does not depend on the batch.
    """

    layer: tuple[Layer, ...]
    """Weights [out, in] and biases [out] of each layer."""
    about: Mapping[str, str] = field(default_factory=dict)
    """How it was trained."""

    def __post_init__(self) -> None:
        sizes = [w.shape for w, _ in self.layer]
        fits = all(b.shape == (w.shape[0],) for w, b in self.layer)
        if not sizes or not fits or any(a[0] != b[1] for a, b in pairwise(sizes)):
            raise ConfigError(f"layers do not fit each other: weights of shapes {sizes}.")

    @classmethod
    def of(cls, model: Any, about: Mapping[str, str] | None = None) -> Actor:
        """Return the mean action of a Stable-Baselines3 actor-critic with an MLP and tanh (PPO, A2C) as an Actor.

        Raises:
            ConfigError: another kind of network.

        """
        from torch import nn

        policy = model.policy
        parts = [*policy.mlp_extractor.policy_net, policy.action_net]
        if not all(isinstance(p, nn.Linear if n % 2 == 0 else nn.Tanh) for n, p in enumerate(parts)):
            raise ConfigError('only the "MlpPolicy" with tanh becomes an Actor; wrap others in Learned.')
        linear = [p for p in parts if isinstance(p, nn.Linear)]
        arrays = [tuple(np.asarray(t.detach().cpu().numpy(), np.float64) for t in (p.weight, p.bias)) for p in linear]
        return cls(tuple((w, b) for w, b in arrays), dict(about or {}))

    def predict(self, observation: Any, *, deterministic: bool = True) -> tuple[NDArray[np.float64], None]:
        """Return (actions float64[B, F], None) for observations [B, D]; it knows no chance, so always deterministic."""
        value = np.asarray(observation, np.float64)
        for number, (weight, bias) in enumerate(self.layer):
            value = (weight @ value[..., None])[..., 0] + bias
            value = np.tanh(value) if number + 1 < len(self.layer) else value
        return np.clip(value, -1.0, 1.0), None

    def save(self, path: str | Path) -> Path:
        """Write it as one .npz without pickles and return the path."""
        path = Path(path)
        if path.suffix != ".npz":
            raise ConfigError(f"an actor is kept as .npz; got {path.name!r}.")
        arrays = {f"{n}-{kind}": a for n, pair in enumerate(self.layer) for kind, a in zip("wb", pair, strict=True)}
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, about=np.array(json.dumps(dict(self.about), sort_keys=True)), **arrays)  # type: ignore[arg-type]
        return path

    @classmethod
    def load(cls, path: str | Path) -> Actor:
        """Read what `save` wrote.

        Raises:
            StoreError: no such file, or something else in it.

        """
        try:
            with np.load(path, allow_pickle=False) as held:
                layer = tuple((held[f"{n}-w"], held[f"{n}-b"]) for n in range((len(held.files) - 1) // 2))
                return cls(layer, json.loads(str(held["about"])))
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(f"{path} holds no actor ({error}); save one with Actor.save.") from error
