"""What SlateEnv and SlateVectorEnv have in common: their settings, and what they show besides Gymnasium's interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.protocols import Policy, Population, Recommender
from simenv.record import Record
from simenv.registration import register, resolve
from simenv.rewards import Reward
from simenv.session import Session
from simenv.slates import Repeats
from simenv.spaces import Form, ObservationKind
from simenv.visits import Rules, Visits

register()


class Setting(TypedDict, total=False):
    """The arguments both environments take; they are explained in SlateEnv."""

    slate_size: int
    max_pages: int
    reward: str | Reward
    observation: ObservationKind
    training_log: InteractionLog | None
    catalogue: Catalogue | None
    candidates: int | None
    repeats: Repeats
    history: int
    diagnostics: bool
    name: str
    keep_record: bool


class Stage:
    """Visits and their form, and the nouns a plain loop needs."""

    _visits: Visits
    _form: Form

    def _open(self, population: Population | str, n: int, setting: Setting) -> None:
        given: dict[str, Any] = dict(setting)
        observation, history = given.pop("observation", "numeric"), given.pop("history", 20)
        diagnostics = given.pop("diagnostics", False)
        log, catalogue = given.pop("training_log", None), given.pop("catalogue", None)
        self._visits = Visits(resolve(population), Rules(**given), n, log, catalogue)
        self._form = Form(self._visits, observation, history, diagnostics)

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
        return self._visits.record

    def play(self, contestant: Recommender | Policy, *, seed: int = 0) -> Record:
        """Return what another recommender does with the very visits of `record`: same users, same luck.

        Visits that `record` holds only in part (the loop stopped in their midst) are cut after as many pages.

        contestant: a Policy, or a Recommender, which is fitted on `training_log` first. seed: of fit and policy.

        Raises:
            ConfigError: nothing has been played yet.

        """
        return self._visits.play(contestant, seed=seed)

    def _slots(self) -> tuple[int, str]:
        return self._form.n_choices, "item" if self._visits.rules.candidates is None else "candidate"


def checked_options(options: Mapping[str, Any] | None, known: tuple[str, ...]) -> dict[str, Any]:
    """Return the reset options as a dict.

    Raises:
        ConfigError: an option that does not exist.

    """
    unknown = set(options or {}) - set(known)
    if unknown:
        raise ConfigError(f"reset option {sorted(unknown)[0]!r} is unknown; options are {', '.join(known)}.")
    return dict(options or {})
