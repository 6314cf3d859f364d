"""SimulatedPopulation: a rating model, a choice model and an exit model answer slates together.

Pure and without hidden state: all luck is hashed from the episode key (simenv.randomness), so answers do not depend on
the order, size or split of the batch. Knows no prompts, no weights, no recommender.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from simenv.agents.boredom import kinds_of
from simenv.agents.choice import Choice
from simenv.agents.exit import DECAY, ExitModel
from simenv.agents.forgetting import forget
from simenv.agents.grown_memory import Recalling
from simenv.agents.life import Life
from simenv.agents.luck import PageLuck, page_luck
from simenv.agents.table import TableRatingModel, compile_table
from simenv.agents.user_agent import UserAgent
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError, UnknownIdError
from simenv.index import Index, RawId
from simenv.log import InteractionLog
from simenv.protocols import Answer, RatingModel
from simenv.randomness import Purpose, shared_luck, uniform
from simenv.scale import RatingScale
from simenv.session import Response, Slate, UserState, changed

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class SimulatedPopulation:
    """The users who answer.

    A repeated item (shown before in this visit, or twice on one page) is answered by the same draws as the first time:
    the same rating, and the same willingness to take it; nothing is suppressed. It counts in `UserState.repeat`,
    through which the exit model may punish it. An empty place (-1) is not consumed, its rating and p_rating are NaN,
    its support and off_scale 0, and it counts in no average.
    """

    rating_model: RatingModel
    choice: Choice
    exit: ExitModel
    users: Index
    items: Index
    member: NDArray[np.int64]
    """int64[M]: numbers of the users that are simulated."""
    user_mean: Floats
    """float64[U]: each user's mean rating in the past the population was built from; the zero of satisfaction."""
    activity: Floats
    """float64[U]: standardised trait, an input of the exit model."""
    rho: float = 0.0
    """In [0, 1]: share of the luck of ratings that a user keeps through one visit (a Gaussian copula over the quantiles
    of the rating distributions). 0: every pair on its own; each rating alone keeps its distribution for any rho."""
    decay: float = DECAY
    """In [0, 1): weight of the past in the running utility; assumed. A visit begins at 0, the user's own mean."""
    cut: NDArray[np.int64] | None = None
    """int64[U], Unix seconds: nothing at or after a user's cut was used to build this; None: no times."""
    rho_tag: str = "assumed"
    """Origin of `rho`: "fitted" or "assumed"."""
    catalogue: Catalogue | None = None
    """What the items are; None: unknown. For rendering and reports; the answers do not need it."""
    training_log: InteractionLog | None = None
    """What a recommender may know of the users' past (contestants' rows); None: not kept with the population."""
    persona: tuple[str, ...] = ()
    """[U]: name of each user's persona, "" for users who are not simulated; (): no personas. For diagnostics."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """What it was made from: log fingerprint, split, settings, base model."""
    life: Life | None = None
    """What carries over within a visit and from one to the next; None: nothing, each visit stands alone."""

    def __post_init__(self) -> None:
        n = len(self.users)
        if self.user_mean.shape != (n,) or self.activity.shape != (n,):
            raise ConfigError(
                f"user_mean and activity need one number for each of {n} users; "
                f"got shapes {self.user_mean.shape} and {self.activity.shape}."
            )
        if len(self.member) and (self.member.min() < 0 or self.member.max() >= n):
            raise ConfigError(f"members are user numbers 0..{n - 1}; got {self.member.min()}..{self.member.max()}.")
        if not 0 <= self.rho <= 1 or not 0 <= self.decay < 1:
            raise ConfigError(f"rho must lie in [0, 1] and decay in [0, 1); got {self.rho} and {self.decay}.")
        if not np.isfinite(self.user_mean[self.member]).all() or not np.isfinite(self.activity[self.member]).all():
            raise ConfigError("a member has no user_mean or activity (NaN): give one, or take the user out of member.")
        if self.life is not None:
            self.life.check(len(self.users), self.catalogue, self.rating_model)

    @property
    def scale(self) -> RatingScale:
        """The rating model's scale."""
        return self.rating_model.scale

    @property
    def assumption(self) -> dict[str, str]:
        """Each behavioural number by name, with "fitted" or "assumed" and its value."""
        own = {"population.rho": f"{self.rho_tag} {self.rho:g}", "population.decay": f"assumed {self.decay:g}"}
        lived = {} if self.life is None else self.life.assumption
        return {**self.choice.assumption, **self.exit.assumption, **own, **lived}

    def with_(self, **changes: Any) -> SimulatedPopulation:
        """Return the population with some fields replaced, as in `population.with_(exit=population.exit.scaled(2))`."""
        return replace(self, **changes)

    def compile(
        self,
        folder: str | Path,
        items: NDArray[np.int64] | None = None,
        show: Callable[[int, int], None] | None = None,
    ) -> SimulatedPopulation:
        """Return the population with its answers in a table, made in `folder` (a second call goes on there).

        items: item numbers [C] that may be shown; None: all. show: called with (users done, users in all).
        Ratings come from the table, off by less than 1 / 65,535 in each probability; choice and exit stay as they are.
        """
        if self.life is not None:
            self.life.check_table()
        item = np.arange(len(self.items)) if items is None else items
        compile_table(self.rating_model, self.member, item, folder, told=self.fingerprint, show=show)
        return self.with_table(folder)

    def with_table(self, folder: str | Path) -> SimulatedPopulation:
        """Return the population with its answers from the table that `compile` made of it in `folder`.

        Its fingerprint is another one, since its answers are rounded.

        Raises:
            StoreError: no table there, not finished, or of another population.

        """
        table = TableRatingModel.load(folder, self.scale, told=self.fingerprint)
        told = self.provenance.get("population")
        provenance = self.provenance if told is None else {**self.provenance, "population": f"{told}, table"}
        return self.with_(rating_model=table, provenance=provenance)

    def with_exit_slope(self, factor: float) -> SimulatedPopulation:
        """Return the population with the satisfaction slopes of its exit multiplied, for the 0-2x sweep."""
        return replace(self, exit=self.exit.scaled(factor))

    @property
    def fingerprint(self) -> str:
        """What distinguishes this population from others, for resumable benchmarks; "" when built in memory only."""
        told = self.provenance.get("population", "")
        behaviour = repr((sorted(self.assumption.items()), self.member.tolist(), self.decay))
        return hashlib.blake2b((told + behaviour).encode(), digest_size=8).hexdigest() if told else ""

    def __len__(self) -> int:
        return len(self.member)

    def __getitem__(self, raw: RawId) -> UserAgent:
        """Return a read-only view of one simulated user by raw id.

        Raises:
            UnknownIdError: no such user, or the user is not simulated here.

        """
        number = self.users.encode([raw])
        self._check(number)
        return UserAgent(self, raw, int(number[0]))

    def begin(self, user: NDArray[np.int64], key: NDArray[np.uint64]) -> UserState:
        """Return users [B] before their first page.

        Raises:
            UnknownIdError: a user is not a member.

        """
        user, key = np.asarray(user, np.int64), np.asarray(key, np.uint64)
        if key.shape != user.shape:
            raise ConfigError(f"one episode key per user is needed: {len(user)} users, keys of shape {key.shape}.")
        self._check(user)
        frailty = self.exit.frailty_sd * ndtri(uniform(key, user, purpose=Purpose.FRAILTY))
        zero = np.zeros(len(user))
        none = np.empty((len(user), 0), np.int64)
        count = np.zeros(len(user), np.int64)
        state = UserState(user, key, count, zero, zero.copy(), zero.copy(), count.copy(), frailty, none)
        return state if self.life is None else self.life.begin(state, self._kinds.shape[1])

    def return_visit(self, state: UserState) -> tuple[UserState, Floats]:
        """Return users [B] whose visit is over before their next one, and the days [B] until then; inf: gone for good.

        How satisfied the visit left them decides how soon; what they felt fades in the meantime. The rows of those who
        never come back mean nothing: leave them out. A new visit has luck of its own, the same whatever was shown.

        Raises:
            ConfigError: the population was not told when users return (`life`).

        """
        life = self.life or Life()
        days = life.days_away(state, self.activity[state.user])
        return life.again(state, days, self.exit.frailty_sd), days

    def p_return(self, state: UserState, days: float) -> Floats:
        """Return float64[B]: the probability that users whose visit ends now are back within `days`.

        Retention without the luck of it; for rewards and reports, never for recommenders.

        Raises:
            ConfigError: the population was not told when users return (`life`).

        """
        return (self.life or Life()).p_return(state, days, self.activity[state.user])

    def forget(self) -> None:
        """Let go of what is kept of earlier questions to save time: answers depend on none of them, to the bit."""
        forget(self.rating_model, self.exit)

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        """Return what the users [B] do with the slate [B, K], and what they then know. One rating-model call.

        Raises:
            ActionError: the slate names items that do not exist.

        """
        slate.check(len(self.items))
        luck, mean = page_luck(state, slate.item), self.user_mean[state.user]
        answer, expected = self._rate(state, slate.item)
        lost, exposure = (None, None) if self.life is None else self.life.bored(state, slate.item, self._kinds)
        felt = expected if lost is None else expected - lost
        consumed = self.choice.consume(felt, mean, luck.look, luck.take)
        drawn = self.scale.sample(answer.p, self._shared(luck))
        rating = np.where(consumed, drawn, np.nan).astype(np.float32)
        after = self._felt(state, slate.item, felt - mean[:, None])
        if self.life is not None:
            after = self.life.after(after, slate.item, rating, exposure)
        p_exit = self.exit.p_exit(after, self.activity[state.user])
        return Response(
            consumed, rating, luck.leave < p_exit, answer.p, answer.off_scale, p_exit, answer.support
        ), after

    def _rate(self, state: UserState, item: NDArray[np.int64]) -> tuple[Answer, Floats]:
        """Return answers [B, K, ...] and mean ratings [B, K]: NaN at empty places, off_scale and support 0 there."""
        where = np.flatnonzero(item >= 0)
        if len(where) == item.size:
            said = self._said(state, where // item.shape[1], item.ravel())
            p = said.p.astype(np.float32).reshape(*item.shape, len(self.scale))
            off, support = said.off_scale.astype(np.float32), said.support.astype(np.float32)
            return Answer(p, off.reshape(item.shape), support.reshape(item.shape)), self.scale.expectation(p)
        p = np.full((item.size, len(self.scale)), np.nan, np.float32)
        off, support = np.zeros(item.size, np.float32), np.zeros(item.size, np.float32)
        if len(where):
            said = self._said(state, where // item.shape[1], item.ravel()[where])
            p[where], off[where], support[where] = said.p, said.off_scale, said.support
        p = p.reshape(*item.shape, len(self.scale))
        return Answer(p, off.reshape(item.shape), support.reshape(item.shape)), self.scale.expectation(p)

    def _said(self, state: UserState, row: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return the answers [N] of the users at rows [N] of the state for items [N]."""
        reads = self.life is not None and self.life.memory is not None and self.life.memory.recall
        return self._recalling(state, row, item) if reads else self.rating_model.rate(state.user[row], item)

    @cached_property
    def _recalling(self) -> Recalling:
        """The rating model, told what each row of a batch remembers."""
        return Recalling.of(self.rating_model)

    @cached_property
    def _kinds(self) -> Floats:
        """float64[I, G]; see `kinds_of`."""
        return np.zeros((len(self.items), 0)) if self.catalogue is None else kinds_of(self.catalogue)

    def _shared(self, luck: PageLuck) -> Floats:
        """Return the quantile [B, K] at which each rating is drawn."""
        return luck.rating if self.rho == 0 else shared_luck(luck.rating, luck.mood[:, None], self.rho)

    def _felt(self, state: UserState, item: NDArray[np.int64], gap: Floats) -> UserState:
        """Return what users know after a page [B, K] whose items lie `gap` [B, K] above their own means."""
        filled = item >= 0
        count, shown = np.add.reduce(filled, axis=1), np.concatenate([state.shown, item], axis=1)
        number, holes = np.maximum(count, 1), not (filled.all() and filled.size)
        page = np.add.reduce(np.where(filled, gap, 0.0) if holes else gap, axis=1) / number
        best = np.maximum.reduce(np.where(filled, gap, -np.inf) if holes else gap, axis=1, initial=-np.inf)
        utility = self.decay * state.utility + (1 - self.decay) * page
        return changed(
            state,
            page=state.page + 1,
            utility=np.where(count > 0, utility, state.utility) if holes else utility,
            best=np.where(count > 0, best, state.best) if holes else best,
            repeat=np.add.reduce(_repeated(shown, item) & filled, axis=1) / number,
            fatigue=state.fatigue + count,
            shown=shown,
        )

    @cached_property
    def _is_member(self) -> NDArray[np.bool_]:
        mask = np.zeros(len(self.users), bool)
        mask[self.member] = True
        return mask

    def _check(self, user: NDArray[np.int64]) -> None:
        if len(user) and user.min() >= 0 and user.max() < len(self.users) and self._is_member[user].all():
            return
        inside = (user >= 0) & (user < len(self.users))
        bad = user[~(inside & self._is_member[np.where(inside, user, 0)])] if len(self.users) else user
        if len(bad):
            raw = repr(self.users.ids[bad[0]]) if 0 <= bad[0] < len(self.users) else f"number {bad[0]}"
            known = ", ".join(repr(i) for i in self.users.decode(self.member[:3]))
            raise UnknownIdError(
                f"user {raw} is not simulated here ({len(bad)} such in all); "
                f"the population has {len(self.member)} members, such as {known}: see population.member."
            )


def _repeated(shown: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return bool[B, K]: shown before; `shown` [B, T] ends with this page, so each item stands in it at least once."""
    if not item.size:
        return np.zeros(item.shape, bool)
    first = (item[:, :, None] == shown[:, None, :]).argmax(axis=2)
    return np.asarray(first < np.arange(shown.shape[1] - item.shape[1], shown.shape[1]))
