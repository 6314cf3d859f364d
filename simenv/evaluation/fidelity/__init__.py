"""How far a simulator can be believed: its answers beside what users really did, with the trivial yardsticks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simenv.evaluation.fidelity.card import Card
    from simenv.evaluation.fidelity.light import Criterion, Light
    from simenv.evaluation.fidelity.study import Fidelity

__all__ = ["Card", "Criterion", "Fidelity", "Light"]
_HOME = {"Card": "card", "Criterion": "light", "Light": "light", "Fidelity": "study"}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: whoever needs one measure of this folder need not load all of them.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
