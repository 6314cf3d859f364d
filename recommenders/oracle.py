"""The contestant that knows the truth; only possible where the truth is made, in a synthetic world."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.recommenders.ranking import top
from simenv.session import Session, Slate


@final
@dataclass(frozen=True)
class Oracle:
    """Items in the order of what the user would truly give them.

    The worst possible contestant is `Oracle(-expected, name="anti-oracle")`.
    """

    expected: NDArray[np.floating] = field(repr=False, compare=False)
    """float[U, I]: true expected rating of every pair, on any monotone scale; NaN: never show."""
    name: str = "oracle"
    """How reports call it."""
    fingerprint: str = field(init=False)
    """Sixteen hex digits of the truth, by which two oracles are compared."""

    def __post_init__(self) -> None:
        if np.ndim(self.expected) != 2:
            raise ConfigError(f"Oracle needs expected ratings [U, I]; got shape {np.shape(self.expected)}.")
        digest = hashlib.blake2b(np.ascontiguousarray(self.expected, np.float64).tobytes(), digest_size=8)
        object.__setattr__(self, "fingerprint", digest.hexdigest())

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> OraclePolicy:
        """Learn nothing; check that the truth is about the users and items of the log.

        Raises:
            ConfigError: it is about another number of users or items.

        """
        if self.expected.shape != (log.n_users, log.n_items):
            raise ConfigError(
                f"Oracle knows {self.expected.shape[0]} users and {self.expected.shape[1]} items, but the log has "
                f"{log.n_users} and {log.n_items}; use the truth of the same world."
            )
        return OraclePolicy(self.expected)


@final
@dataclass(frozen=True, eq=False)
class OraclePolicy:
    """See Oracle."""

    expected: NDArray[np.floating]
    """float[U, I]"""

    def score(self, session: Session) -> NDArray[np.floating]:
        """Return the true expected ratings [B, I]."""
        return np.asarray(self.expected[session.user])

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items each user would truly like best."""
        return top(self.score(session), session, k)
