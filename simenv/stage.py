"""What all environments have in common: their settings, and what they show besides Gymnasium's interface."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, TypedDict

import numpy as np
from numpy.typing import NDArray

from simenv.actions import ActionForm, ActionKind, action_form
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.features import Features
from simenv.log import InteractionLog
from simenv.play import play
from simenv.protocols import Policy, Population, Recommender
from simenv.record import Record
from simenv.registration import register, resolve
from simenv.rewards import Reward
from simenv.rules import Rules
from simenv.session import Session
from simenv.slates import Repeats
from simenv.spaces import Form, ObservationKind
from simenv.visits import Visits

register()


class Setting(TypedDict, total=False):
    """The arguments that all environments take."""

    slate_size: int
    """K, places of a page. Default 10; for Item-v0 1."""
    max_pages: int
    """Pages after which a visit is truncated. Default 10."""
    reward: str | Reward
    """Name or function, see `SlateEnv`. Default "rating"."""
    observation: ObservationKind
    """"numeric" (default), "flat", "history" or "text", see `SlateEnv`."""
    show_user: bool
    """True: the observation says which user it is. Default False."""
    training_log: InteractionLog | None
    """What the agent may know of the past. None: `population.training_log` if there is one, else an empty log."""
    catalogue: Catalogue | None
    """Titles and genres. None: `population.catalogue` if there is one, else the ids stand as titles."""
    candidates: int | None
    """C, items on offer per page, drawn evenly from those not seen; None: the whole catalogue."""
    repeats: Repeats
    """"drop" (default) or "answer", see `SlateEnv`."""
    history: int
    """H, ratings remembered in the observation. Default 20."""
    item_feature: NDArray[np.floating] | None
    """float[I, F] in -1..1: features of one's own; None: those of `simenv.features.Features.item`."""
    protos: int
    """P, points of an action of Proto-v0; divides K. Default 1."""
    visits: int
    """Visits of a user in one episode. Default 1; above it users must be such as come back, see `SlateEnv`."""
    days: float | None
    """Days after which no visit of an episode begins. Default None: however long it takes."""
    day_discount: float
    """What a reward is worth one day later. Default 1."""
    diagnostics: bool
    """True: add what only the simulator knows to the info. Default False."""
    name: str
    """How the record calls the agent. Default "policy"."""
    keep_record: bool
    """False forgets pages, for runs of millions of steps; `record` and `play` then raise. Default True."""


RENDER_MODES = ("ansi", "human")


class Stage:
    """Visits and the forms of what goes in and out, and the nouns a plain loop needs."""

    kind: ClassVar[ActionKind] = "slate"
    _visits: Visits
    _form: Form
    _action: ActionForm
    _seed_of_record: int = -1

    def _open(
        self, population: Population | str, n: int, render_mode: str | None, setting: dict[str, Any] | Setting
    ) -> None:
        if render_mode not in (None, *RENDER_MODES):
            raise ConfigError(f'render_mode must be None, "ansi" or "human"; got {render_mode!r}.')
        given: dict[str, Any] = dict(setting)
        unknown = sorted(set(given) - set(Setting.__annotations__))
        if unknown:
            known = ", ".join(Setting.__annotations__)
            raise ConfigError(f"argument {unknown[0]!r} is unknown; arguments are population, {known}, render_mode.")
        look = {k: given.pop(k) for k in ("history", "show_user", "diagnostics") if k in given}
        log, catalogue, own = (given.pop(k, None) for k in ("training_log", "catalogue", "item_feature"))
        observation, protos = given.pop("observation", "numeric"), given.pop("protos", 1)
        given.setdefault("slate_size", 1 if self.kind == "item" else 10)
        self._visits = Visits(resolve(population), Rules(**given), n, log, catalogue)
        self._features = Features(self._visits.log, self._visits.catalogue, own)
        self._action = action_form(self.kind, self._visits, self._features, protos)
        drafts = self.kind == "item" and self._visits.rules.slate_size > 1
        self._form = Form(self._visits, self._features, observation, drafts=drafts, **look)

    @property
    def population(self) -> Population:
        """The users who answer."""
        return self._visits.population

    @property
    def training_log(self) -> InteractionLog:
        """What a recommender may learn from before it meets the users: the contestants' rows."""
        return self._visits.log

    @property
    def catalogue(self) -> Catalogue:
        """What can be recommended, in words."""
        return self._visits.catalogue

    @property
    def item_feature(self) -> NDArray[np.float32]:
        """float32[I, F]: where each item stands in the space of proto-actions and candidate features."""
        return self._features.item

    @property
    def layout(self) -> dict[str, slice]:
        """Where each key of the numeric observation stands in the flat one."""
        return dict(self._form.layout)

    @property
    def session(self) -> Session:
        """What a Policy may know now: `policy.recommend(env.session, k, seed=...)`, B rows."""
        return self._visits.session

    @property
    def record(self) -> Record:
        """All pages played so far, as a Record; visits are numbered from 0 in the order of their first page.

        Its `seed` is that of the first seeded reset, -1 where there was none.

        Raises:
            ConfigError: made with keep_record=False.

        """
        visits, p = self._visits, self._visits.population
        if not visits.rules.keep_record:
            raise ConfigError("keep_record=False: nothing was recorded. Make the environment with keep_record=True.")
        pages, seed = tuple(visits.diary.pages), self._seed_of_record
        return Record(p.users, p.items, p.scale, visits.rules.name, seed, pages, dict(p.assumption))

    def play(self, contestant: Recommender | Policy, *, seed: int = 0) -> Record:
        """Return what another recommender does with the very visits of `record`: same users, same luck.

        Visits that `record` holds only in part (the loop stopped in their midst) are cut after as many pages.

        contestant: a Policy, or a Recommender, which is fitted on `training_log` first. seed: of fit and policy.

        Raises:
            ConfigError: nothing has been played yet.

        """
        visits = self._visits
        if not len(visits.diary):
            raise ConfigError("no visit to play again: step the environment first (and keep_record=True).")
        if visits.rules.visits > 1:
            raise ConfigError("users who come back are played again by simenv.play(..., visits=...), not by `play`.")
        user, key = visits.diary.visits()
        record = play(
            self._fitted(contestant, seed),
            visits.population,
            visits.log,
            user,
            name=str(getattr(contestant, "name", type(contestant).__name__)),
            slate_size=visits.rules.slate_size,
            max_pages=visits.rules.max_pages,
            seed=seed,
            key=key,
            offer=visits.offer,
        )
        return visits.diary.aligned(replace(record, meta=dict(visits.population.assumption)))

    def _fitted(self, contestant: Recommender | Policy, seed: int) -> Policy:
        if isinstance(contestant, Recommender):
            return contestant.fit(self._visits.log, self._visits.catalogue, seed=seed)
        return contestant

    def _seeded(self, seed: int | None) -> None:
        """Note the seed of a reset; the first one given is the record's."""
        if seed is not None and self._seed_of_record < 0:
            self._seed_of_record = int(seed)
