"""Life beyond one visit: what carries over from page to page and from visit to visit, each part switchable.

A population without a Life answers as it always did, bit for bit. Reads and returns UserState, purely; all luck is
hashed from the episode key. Knows no rating models, no prompts and no recommenders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from simenv.agents.boredom import Boredom
from simenv.agents.grown_memory import GrownMemory, Recalling
from simenv.agents.manifest import MANIFEST, digest, read
from simenv.agents.return_time import Loyalty, Newcomers, ReturnTime
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.protocols import RatingModel
from simenv.randomness import Purpose, counter_hash, uniform
from simenv.session import UserState

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FILES = "life.json", "loyalty.npz"
"""What a population's folder holds of it; the second where loyalties are known, neither where there is no Life."""
_PARTS: Mapping[str, Any] = {
    "boredom": Boredom, "memory": GrownMemory, "returning": ReturnTime, "newcomers": Newcomers,
}  # fmt: skip


@final
@dataclass(frozen=True, eq=False)
class Life:
    """Which of it is on. None: off."""

    boredom: Boredom | None = None
    memory: GrownMemory | None = None
    returning: ReturnTime | None = None
    loyalty: Loyalty | None = None
    """What users' own pasts say about coming back; None: nothing is known of anybody. Used with `returning` alone."""
    newcomers: Newcomers | None = None
    """None: everybody is there from the first day. Used with `returning` alone."""

    def begin(self, state: UserState, n_kinds: int) -> UserState:
        """Return users [B] before the first page of their first visit; n_kinds: G, for boredom."""
        n = len(state.user)
        if self.memory is not None:
            state = self.memory.begin(state)
        if self.boredom is not None:
            state = replace(state, exposure=np.zeros((n, n_kinds)))
        return state if self.returning is None else self._arrived(state, self.returning)

    def _arrived(self, state: UserState, returning: ReturnTime) -> UserState:
        n, key, user = len(state.user), state.key, state.user
        day = np.zeros(n)
        if self.newcomers is not None:
            day = self.newcomers.day(uniform(key, user, purpose=Purpose.ARRIVAL))
        loyalty = self._known(user).draw(user, uniform(key, user, purpose=Purpose.LOYALTY), returning.frailty)
        state = replace(state, visit=np.zeros(n, np.int64), day=day, loyalty=loyalty)
        if self.boredom is None:
            return state
        shape = n, self.boredom.capacity
        return replace(state, seen_item=np.full(shape, -1, np.int64), seen_day=np.zeros(shape))

    def bored(self, state: UserState, item: Ints, kinds: Floats) -> tuple[Floats | None, Floats | None]:
        """Return (rating points lost [B, K], exposure after the page); (None, None): nobody is ever bored."""
        if self.boredom is None:
            return None, None
        assert state.exposure is not None
        seen, age = np.full((len(item), 0), -1, np.int64), np.zeros((len(item), 0))
        if state.seen_item is not None and state.seen_day is not None and state.day is not None:
            seen, age = state.seen_item, state.day[:, None] - state.seen_day
        shown = np.concatenate([state.shown, item], axis=1)
        return self.boredom.loss(item, kinds, state.exposure, self.boredom.fresh(item, shown, seen, age))

    def after(self, state: UserState, item: Ints, rating: NDArray[np.float32], exposure: Floats | None) -> UserState:
        """Return users [B] after a page, with what `bored` said of it and the ratings [B, K] they gave."""
        state = state if exposure is None else replace(state, exposure=exposure)
        return state if self.memory is None else self.memory.grow(state, item, rating)

    def days_away(self, state: UserState, activity: Floats) -> Floats:
        """Return float64[B]: days until users whose visit is over come back; inf: never. activity: [B]."""
        u = uniform(state.key, state.user, purpose=Purpose.RETURN)
        return self._returning.draw(u, self._ratio(state, activity))

    def p_return(self, state: UserState, days: float, activity: Floats) -> Floats:
        """Return float64[B]: probability of being back within `days`."""
        return self._returning.p_return(np.full(len(state.user), float(days)), self._ratio(state, activity))

    def _ratio(self, state: UserState, activity: Floats) -> Floats:
        assert state.loyalty is not None
        assert state.visit is not None
        visits = self._known(state.user).visits[state.user] + state.visit
        return self._returning.ratio(state.utility, activity, visits) * state.loyalty

    def _known(self, user: Ints) -> Loyalty:
        return self.loyalty or Loyalty.unknown(int(user.max(initial=-1)) + 1)

    @property
    def _returning(self) -> ReturnTime:
        if self.returning is None:
            raise ConfigError(
                "these users were not told when to come back: give the population life=Life(returning=ReturnTime(...));"
                " simenv.training.return_model.fit_return estimates one from a log with times."
            )
        return self.returning

    def again(self, state: UserState, days: Floats, frailty_sd: float) -> UserState:
        """Return users [B] before the first page of the visit that follows after `days` [B] away.

        The new visit has luck of its own, hashed from that of the last; what was felt, fades.
        """
        assert state.visit is not None
        assert state.day is not None
        key = counter_hash(state.key, state.user, int(Purpose.VISIT))
        n, zero = len(state.user), np.zeros(len(state.user))
        none = np.zeros(n, np.int64)
        fresh = replace(
            state,
            key=key,
            page=none,
            utility=self._returning.carry * self._returning.fade(days) * state.utility,
            best=zero,
            repeat=zero.copy(),
            fatigue=none.copy(),
            frailty=frailty_sd * ndtri(uniform(key, state.user, purpose=Purpose.FRAILTY)),
            shown=np.empty((n, 0), np.int64),
            visit=state.visit + 1,
            day=state.day + days,
        )
        return fresh if self.boredom is None else self._less_bored(state, fresh, days, self.boredom)

    def _less_bored(self, before: UserState, fresh: UserState, days: Floats, boredom: Boredom) -> UserState:
        assert before.exposure is not None
        assert before.seen_item is not None
        assert before.seen_day is not None
        assert before.day is not None
        filled = before.shown >= 0
        day = np.broadcast_to(before.day[:, None], filled.shape)
        item = np.concatenate([before.seen_item, before.shown], axis=1)
        when = np.concatenate([before.seen_day, day], axis=1)
        order = np.argsort(item >= 0, axis=1, kind="stable")[:, -boredom.capacity :]
        return replace(
            fresh,
            exposure=before.exposure * boredom.fade(days)[:, None],
            seen_item=np.take_along_axis(item, order, axis=1),
            seen_day=np.take_along_axis(when, order, axis=1),
        )

    @property
    def assumption(self) -> dict[str, str]:
        """The numbers of all parts that are on, by name with their tags."""
        parts = (getattr(self, name) for name in _PARTS)
        said = {k: v for part in parts if part is not None for k, v in part.assumption.items()}
        return said if self.loyalty is None else said | {"return.loyalty": f"fitted {self.loyalty.fingerprint}"}

    def check(self, n_users: int, catalogue: Catalogue | None, model: RatingModel) -> None:
        """Raise ConfigError where a part cannot live in a population of these users, items and answers."""
        if self.boredom is not None and self.boredom.kind and catalogue is None:
            raise ConfigError("boredom by kind needs the items' genres: give the population its catalogue, or kind=0.")
        if self.returning is None and (self.loyalty is not None or self.newcomers is not None):
            raise ConfigError("loyalty and newcomers mean nothing unless users come back: give Life its `returning`.")
        if self.loyalty is not None and len(self.loyalty.returns) != n_users:
            raise ConfigError(f"loyalty speaks of {len(self.loyalty.returns)} users, the population of {n_users}.")
        if self.memory is not None and self.memory.recall:
            Recalling.of(model)

    def check_table(self) -> None:
        """Raise ConfigError where answers depend on more than the pair, so that a table cannot hold them."""
        if self.memory is not None and self.memory.recall:
            raise ConfigError("memories that are recalled change answers, which a table holds once: recall=False.")

    def save(self, folder: Path) -> None:
        """Write the files into a folder."""
        content = {n: asdict(getattr(self, n)) for n in _PARTS if getattr(self, n) is not None}
        (folder / FILES[0]).write_text(json.dumps(content, indent=1) + "\n")
        if self.loyalty is not None:
            np.savez(folder / FILES[1], **vars(self.loyalty))

    @classmethod
    def load(cls, folder: Path) -> Life:
        """Read what `save` wrote."""
        raw = json.loads((folder / FILES[0]).read_text())
        parts: dict[str, Any] = {n: _made(_PARTS[n], value) for n, value in raw.items()}
        if (folder / FILES[1]).exists():
            with np.load(folder / FILES[1], allow_pickle=False) as data:
                parts["loyalty"] = Loyalty(**{f.name: data[f.name] for f in fields(Loyalty)})
        return cls(**parts)


def save_life(life: Life | None, folder: str | Path) -> None:
    """Give the users saved in a folder a Life, in the place of the one they have; None: take it from them.

    All other files stay as they are, but they count as other users from now on: a table must be compiled anew.

    Raises:
        StoreError: no such folder, or not one of simenv's.

    """
    folder = Path(folder)
    manifest = read(folder)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
        manifest["file"].pop(name, None)
    if life is not None:
        life.save(folder)
        manifest["file"] |= {name: digest(folder / name) for name in FILES if (folder / name).exists()}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def _made(kind: Any, value: Mapping[str, Any]) -> Any:
    known = {f.name for f in fields(kind)}
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in value.items() if n in known})
