"""Contracts that plug-ins can be tested against, and tiny logs to test with.

    from simenv.testing import EnvironmentContract, RecommenderContract, VectorEqualsSingles

Looked up when asked for: the contract of recommenders needs no Gymnasium.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simenv.testing.environment import EnvironmentContract
    from simenv.testing.population import CountingPopulation, ScriptedPopulation
    from simenv.testing.recommender import RecommenderContract
    from simenv.testing.vector import VectorEqualsSingles

_HOME = {
    "EnvironmentContract": "environment",
    "VectorEqualsSingles": "vector",
    "RecommenderContract": "recommender",
    "ScriptedPopulation": "population",
    "CountingPopulation": "population",
}
__all__ = [
    "CountingPopulation",
    "EnvironmentContract",
    "RecommenderContract",
    "ScriptedPopulation",
    "VectorEqualsSingles",
]


def __getattr__(name: str) -> Any:
    """Return a contract by name."""
    if name not in _HOME:
        raise AttributeError(f"simenv.testing has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"simenv.testing.{_HOME[name]}"), name)
