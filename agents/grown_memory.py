"""Grown memory: what users remember of simulated visits, and how a language model reads it beside what is real.

It lives in UserState and nowhere else: never in a saved population, never in what users are fitted to. All of it is
tagged simulated. Off unless a population is given one; that reading it makes users truer is an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, final, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.agents.memory import Memory
from simenv.agents.rating_model import LMRatingModel, MemoRatingModel
from simenv.errors import ConfigError
from simenv.protocols import Answer, RatingModel
from simenv.session import UserState

Ints = NDArray[np.int64]
Ratings = NDArray[np.float32]


@runtime_checkable
class RecallingModel(Protocol):
    """A rating model that is told what users remember of simulated visits. Implement it to plug in your own."""

    def rate_recalling(self, user: Ints, item: Ints, row: Ints, memory_item: Ints, memory_rating: Ratings) -> Answer:
        """Return the answers of users [N] for items [N].

        row: int64[N], whose memory each pair is answered with. memory_item, memory_rating: [B, M], newest last, -1 and
        NaN padded at the front.
        """
        ...


@final
@dataclass(frozen=True)
class GrownMemory:
    """How memories grow: each rating given in a simulated visit is kept, the oldest are forgotten first."""

    capacity: int = 50
    """M, simulated entries a user keeps."""
    recall: bool = False
    """True: the language model recalls them beside the real ones, by the same likeness, which costs a scoring call a
    page, as no answer can be kept. False: they are kept in UserState for whoever looks, and change no answer."""

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ConfigError(f"capacity must be at least 1; got {self.capacity}. No memory at all: memory=None.")

    def begin(self, state: UserState) -> UserState:
        """Return users [B] without any simulated memory."""
        shape = len(state.user), self.capacity
        return replace(
            state, memory_item=np.full(shape, -1, np.int64), memory_rating=np.full(shape, np.nan, np.float32)
        )

    def grow(self, state: UserState, item: Ints, rating: Ratings) -> UserState:
        """Return users who also remember what they rated on a page: item [B, K], rating [B, K], NaN: not rated."""
        assert state.memory_item is not None
        assert state.memory_rating is not None
        rated = ~np.isnan(rating)
        items = np.concatenate([state.memory_item, np.where(rated, item, -1)], axis=1)
        ratings = np.concatenate([state.memory_rating, rating], axis=1)
        order = np.argsort(items >= 0, axis=1, kind="stable")[:, -self.capacity :]
        return replace(
            state,
            memory_item=np.take_along_axis(items, order, axis=1),
            memory_rating=np.take_along_axis(ratings, order, axis=1),
        )

    @property
    def assumption(self) -> dict[str, str]:
        """Both settings by name, for reports."""
        return {"memory.capacity": f"assumed {self.capacity:g}", "memory.recall": f"assumed {self.recall}"}


@final
@dataclass(frozen=True, eq=False)
class Recalling:
    """A rating model that is told what each row of a batch remembers."""

    model: RecallingModel

    @classmethod
    def of(cls, model: RatingModel) -> Recalling:
        """Return the rating model as one that reads grown memories.

        Raises:
            ConfigError: its answers do not come from prompts that hold memories, so there is nothing to read them.

        """
        if isinstance(model, RecallingModel):
            return cls(model)
        inner = model.inner if isinstance(model, MemoRatingModel) else model
        if not isinstance(inner, LMRatingModel):
            raise ConfigError(
                f"recall=True needs users whose language model reads memories; {type(inner).__name__} gives the same "
                "answer to the same pair. Load the population without a table, or use GrownMemory(recall=False)."
            )
        if inner.mind.writer.settings.memories == 0:
            raise ConfigError("recall=True needs prompts that hold memories, and these hold none (memories=0).")
        return cls(RecallingLM(model, inner))

    def __call__(self, state: UserState, row: Ints, item: Ints) -> Answer:
        """Return the answers for items [N] of the users at rows [N] of the state."""
        assert state.memory_item is not None
        assert state.memory_rating is not None
        return self.model.rate_recalling(state.user[row], item, row, state.memory_item, state.memory_rating)


@final
@dataclass(frozen=True, eq=False)
class RecallingLM:
    """The language model's own answers, with memories that differ from row to row of a batch."""

    plain: RatingModel
    """Answers for users who remember nothing simulated, perhaps kept."""
    lm: LMRatingModel

    def rate_recalling(self, user: Ints, item: Ints, row: Ints, memory_item: Ints, memory_rating: Ratings) -> Answer:
        """Return the answers of users [N] for items [N]; see `RecallingModel`."""
        grown = np.asarray((memory_item >= 0).any(axis=1))[row]
        if not grown.any():
            return self.plain.rate(user, item)
        own, first, number = np.unique(row[grown], return_index=True, return_inverse=True)
        model = self._of_rows(user[grown][first], memory_item[own], memory_rating[own])
        said = model.rate(number.ravel(), item[grown])
        return said if grown.all() else _merged(grown, said, self.plain.rate(user[~grown], item[~grown]))

    def _of_rows(self, user: Ints, memory_item: Ints, memory_rating: Ratings) -> LMRatingModel:
        """Return a model whose users are numbered by row: the same persons, each row with memories of its own."""
        row, place = np.nonzero(memory_item >= 0)
        memory = by_row(self.lm.mind.memory, user)
        memory = memory.with_entries(row, memory_item[row, place], memory_rating[row, place])
        return replace(self.lm, mind=replace(self.lm.mind, row=self.lm.mind.rows(user), memory=memory))


def by_row(memory: Memory, user: Ints) -> Memory:
    """Return the memories of users [B] as those of rows 0..B-1; one user may stand in several rows."""
    entry = memory.entries(user)
    row, place = np.nonzero(entry >= 0)
    kept = entry[row, place]
    return replace(
        memory,
        user=row,
        item=memory.item[kept],
        rating=memory.rating[kept],
        residual=memory.residual[kept],
        simulated=memory.simulated[kept],
        time=None if memory.time is None else memory.time[kept],
        offset=memory.offset[user],
        notes=None if memory.notes is None else memory.notes.take(kept),
    )


def remembered(state: UserState, memory: Memory | None = None) -> pd.DataFrame:
    """Return what users remember, oldest first within a row, with its source.

    Columns: row (of the batch), user, item (numbers), rating, source ("real" or "simulated"). memory: the real one;
    None: simulated entries alone.
    """
    frames = []
    if memory is not None:
        real = by_row(memory, state.user)
        source = np.where(real.simulated, "simulated", "real")
        frames.append(_frame(state, real.user, real.item, real.rating, source))
    if state.memory_item is not None and state.memory_rating is not None:
        row, place = np.nonzero(state.memory_item >= 0)
        grown = state.memory_item[row, place], state.memory_rating[row, place]
        frames.append(_frame(state, row, *grown, np.full(len(row), "simulated")))
    none = np.zeros(0, np.int64)
    frames = frames or [_frame(state, none, none, none.astype(np.float32), none.astype(str))]
    return pd.concat(frames, ignore_index=True).sort_values("row", kind="stable", ignore_index=True)


def _frame(state: UserState, row: Ints, item: Ints, rating: Ratings, source: NDArray[np.str_]) -> pd.DataFrame:
    columns = {"row": row, "user": state.user[row], "item": item, "rating": rating, "source": source.astype(object)}
    return pd.DataFrame(columns)


def _merged(where: NDArray[np.bool_], yes: Answer, no: Answer) -> Answer:
    """Return one answer [N] of two: `yes` where bool[N] says so."""
    parts = []
    for name in ("p", "off_scale", "support"):
        a, b = getattr(yes, name), getattr(no, name)
        out = np.empty((len(where), *a.shape[1:]), a.dtype)
        out[where], out[~where] = a, b
        parts.append(out)
    return Answer(*parts)
