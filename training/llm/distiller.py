"""LLMDistiller: a language model reads histories batch by batch and writes Ms and Ml.

Users are asked about side by side, each user's batches one after another. A user for whom no usable answer is had stays
undone and is named; nothing stands in for what was not written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.agents.memory import Memory
from simenv.agents.profile import Profiles
from simenv.agents.written import Notes, Stage
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError, DataError
from simenv.log import InteractionLog
from simenv.training.distil import StatisticalDistiller
from simenv.training.llm.asker import Asker, StoppedError, UndoneError
from simenv.training.llm.form import SCHEMA, Answer, MalformedError, read
from simenv.training.llm.naming import Naming
from simenv.training.llm.story import LLMSettings, Stories

Show = Callable[[int, int], None]
"""Called with batches done and batches in all."""


@final
@dataclass(frozen=True)
class Told:
    """What was written of one user."""

    stage: tuple[Stage, ...]
    """After each batch."""
    reason: tuple[str, ...]
    """[H]: one per known row."""

    @property
    def text(self) -> str:
        """All of its words."""
        return "\n".join((*(s.description for s in self.stage), *self.reason))


@final
@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a distillation."""

    told: Mapping[int, Told]
    """By user number; users without a known row are told in no words."""
    undone: Mapping[int, str]
    """User number -> why no usable answer was had."""


def tell(
    stories: Stories, user: Sequence[int], asker: Asker, *, concurrency: int = 8, show: Show | None = None
) -> Outcome:
    """Have Ms and Ml of users written; `concurrency` users at a time.

    Raises:
        BudgetError: the budget is at its end; what was answered is kept, and another run goes on there.
        StoppedError: the server gave no answer for too long.
        ConfigError: no question will be answered.

    """
    if concurrency < 1:
        raise ConfigError(f"at least one user is asked about at a time; got {concurrency}.")
    stories.prepare()
    naming = Naming(stories.catalogue)
    progress = _Progress(sum(len(stories.ends(u)) for u in user), show)
    with ThreadPoolExecutor(concurrency) as pool:
        work = {pool.submit(_user, stories, u, asker, naming, progress): u for u in user}
        try:
            _finish(work, asker)
        except BaseException:
            asker.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    told: dict[int, Told] = {}
    undone: dict[int, str] = {}
    for done, u in work.items():
        error = done.exception()
        if error is None:
            told[u] = done.result()
        else:
            undone[u] = str(error)
    return Outcome(told, undone)


def _finish(work: Mapping[Future[Told], int], asker: Asker) -> None:
    """Wait for all users; raise the first error that is not one user's own."""
    waiting = set(work)
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_EXCEPTION)
        errors = [e for d in done if (e := d.exception()) is not None and not isinstance(e, UndoneError)]
        first = next((e for e in errors if not isinstance(e, StoppedError)), errors[0] if errors else None)
        if first is not None:
            raise first


@final
class _Progress:
    def __init__(self, total: int, show: Show | None) -> None:
        self._done, self._total, self._show, self._lock = 0, total, show, threading.Lock()

    def step(self) -> None:
        with self._lock:
            self._done += 1
            if self._show is not None:
                self._show(self._done, self._total)


def _user(stories: Stories, user: int, asker: Asker, naming: Naming, progress: _Progress) -> Told:
    stage: list[Stage] = []
    reason: list[str] = []
    for number, end in enumerate(stories.ends(user)):
        known, size = stories.known(user, end), end - len(reason)
        answer = asker.ask(
            stories.question(user, number, stage[-1] if stage else None),
            SCHEMA,
            lambda text, size=size, known=known: _accepted(text, size, stories.settings, naming, known),  # type: ignore[misc]
            max_tokens=stories.settings.max_tokens,
            rule=stories.settings.names,
        )
        stage.append(Stage(end, answer.level, answer.description))
        reason.extend(answer.reason)
        progress.step()
    return Told(tuple(stage), tuple(reason))


def _accepted(text: str, size: int, settings: LLMSettings, naming: Naming, known: Sequence[int]) -> Answer:
    answer = read(text, size, settings.words)
    if settings.names == "refuse":
        foreign = naming.foreign(answer.text, known)
        if foreign:
            raise MalformedError(
                f"it names {', '.join(map(repr, foreign[:3]))}, which this person has not rated here; name "
                "nothing that is in none of the batches."
            )
    return answer


@final
@dataclass(frozen=True, eq=False)
class LLMDistiller:
    """A Distiller that asks as it goes. For work in several sittings, `simenv distil` and `FolderDistiller`."""

    asker: Asker
    settings: LLMSettings = field(default_factory=LLMSettings)
    base: StatisticalDistiller = field(default_factory=StatisticalDistiller)
    """Makes the numbers: cues, recall and the compact prompt go on resting on what was counted."""
    concurrency: int = 8

    def __repr__(self) -> str:
        """Return what distinguishes the result: model, settings and base."""
        return f"LLMDistiller({self.asker.model.name!r}, {self.settings!r}, {self.base!r})"

    def distil(
        self,
        past: InteractionLog,
        catalogue: Catalogue,
        crowd: Crowd,
        user: NDArray[np.int64],
        *,
        cut: NDArray[np.int64] | None = None,
    ) -> tuple[Profiles, Memory]:
        """Return the profiles of users [B] and the memory of all users of the past; see `Distiller.distil`.

        Raises:
            LeakageError: the past holds a row at or after its user's cut.
            DataError: a user stayed undone.

        """
        stories = Stories.of(past, catalogue, crowd, self.settings, cut)
        outcome = tell(stories, [int(u) for u in user], self.asker, concurrency=self.concurrency)
        if outcome.undone:
            first, why = next(iter(outcome.undone.items()))
            raise DataError(
                f"{len(outcome.undone)} of {len(user)} users stayed undone, first user {past.users.ids[first]!r}: {why}"
            )
        return worded(*self.base.distil(past, catalogue, crowd, user, cut=cut), user, outcome.told)


def worded(
    profiles: Profiles, memory: Memory, user: NDArray[np.int64], told: Mapping[int, Told]
) -> tuple[Profiles, Memory]:
    """Return the profiles of users [B], and a memory, in the words that were written of these users.

    Raises:
        DataError: a user with known rows is not told of, or not each row has its reason.

    """
    text: list[str] = []
    place = np.full(len(memory), -1, np.int64)
    for u in map(int, user):
        rows = slice(memory.start[u], memory.start[u + 1])
        reasons = told[u].reason if u in told else ()
        if len(reasons) != rows.stop - rows.start:
            raise DataError(
                f"user number {u} has {rows.stop - rows.start} known rows and {len(reasons)} written reasons."
            )
        place[rows] = np.arange(len(text), len(text) + len(reasons))
        text.extend(reasons)
    written = tuple(told[int(u)].stage if int(u) in told else () for u in user)
    return replace(profiles, written=written), replace(memory, notes=Notes(tuple(text), place))
