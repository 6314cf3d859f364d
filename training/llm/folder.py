"""A distillation as a folder: the ledger of answers, what was written of each user, and how it was made.

`written.jsonl` depends on answers alone: no time, no order of arrival. FolderDistiller makes a training stand on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.agents.memory import Memory
from simenv.agents.profile import Profiles
from simenv.agents.written import Stage
from simenv.catalogue import Catalogue
from simenv.errors import DataError, LeakageError, StoreError
from simenv.log import InteractionLog
from simenv.training.distil import StatisticalDistiller
from simenv.training.llm.asker import Asker
from simenv.training.llm.distiller import Outcome, Told, worded
from simenv.training.llm.naming import Naming
from simenv.training.llm.story import LLMSettings

LEDGER, WRITTEN, ABOUT = "answers.sqlite", "written.jsonl", "distil.json"
_FORMAT, _VERSION = "simenv-distillation", 1


@final
@dataclass(frozen=True)
class Leak:
    """A title of a user's future that was named."""

    user: int
    title: str


def leaks(outcome: Outcome, past: InteractionLog, future: InteractionLog, catalogue: Catalogue) -> list[Leak]:
    """Return which titles of the users' own held-out rows stand in what was written of them, their past's left aside.

    For looking afterwards: nothing is chosen by it.
    """
    naming, found = Naming(catalogue), []
    for user, told in outcome.told.items():
        known, later = (log.history(user)[0].tolist() for log in (past, future))
        found += [Leak(user, title) for title in naming.of(told.text, later, known)]
    return found


def save(
    folder: Path,
    outcome: Outcome,
    past: InteractionLog,
    user: NDArray[np.int64],
    asker: Asker,
    settings: LLMSettings,
    *,
    found: Sequence[Leak] = (),
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write what is told of users beside the ledger, and return the account of it.

    found: `leaks`; about: JSON-able, such as where the data came from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [_line(past, int(u), outcome.told[int(u)]) for u in user if int(u) in outcome.told]
    text = "".join(lines)
    _replace(folder / WRITTEN, text)
    account = {
        "format": _FORMAT,
        "version": _VERSION,
        "model": asker.model.name,
        "settings": asdict(settings),
        "past": past.of_users(user).fingerprint,
        "users": len(user),
        "told": len(lines),
        "undone": {str(past.users.ids[u]): why for u, why in sorted(outcome.undone.items())},
        "leaks": [{"user": str(past.users.ids[leak.user]), "title": leak.title} for leak in found],
        "calls": asker.ledger.outcomes,
        "spent": asdict(asker.ledger.spent),
        "written": hashlib.sha256(text.encode()).hexdigest(),
        "about": dict(about or {}),
    }
    _replace(folder / ABOUT, json.dumps(account, indent=1, ensure_ascii=False) + "\n")
    return account


def _line(past: InteractionLog, user: int, told: Told) -> str:
    stages = [[s.known, list(s.level), s.description] for s in told.stage]
    content = {"user": past.users.ids[user], "stages": stages, "reasons": list(told.reason)}
    return json.dumps(content, ensure_ascii=False, default=str) + "\n"


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


@final
@dataclass(frozen=True, eq=False)
class FolderDistiller:
    """A Distiller that takes Ms and Ml from a folder made by `simenv distil`; costs nothing."""

    folder: Path
    account: Mapping[str, Any]
    line: tuple[Mapping[str, Any], ...]
    """What was written of each user."""
    base: StatisticalDistiller = field(default_factory=StatisticalDistiller)
    """Makes the numbers that stand beside the words."""

    @classmethod
    def load(cls, folder: str | Path, base: StatisticalDistiller | None = None) -> FolderDistiller:
        """Read a finished distillation.

        Raises:
            StoreError: there is none, or its files do not belong together.
            DataError: users stayed undone.
            LeakageError: it names what its users rated after the cut.

        """
        folder = Path(folder)
        try:
            account = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            text = (folder / WRITTEN).read_text(encoding="utf-8")
            own = account["format"] == _FORMAT and account["version"] == _VERSION
            whole = account["written"] == hashlib.sha256(text.encode()).hexdigest()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{folder} holds no finished distillation ({error}); make one with simenv distil."
            ) from error
        if not own or not whole:
            raise StoreError(f"{folder} was changed after it was written, or by another version; distil again.")
        if account["undone"]:
            raise DataError(
                f"{len(account['undone'])} users of {folder} are undone, such as {next(iter(account['undone']))}; run "
                "simenv distil again with the same options, or with another model: what is done costs nothing more."
            )
        if account["leaks"]:
            raise LeakageError(f"{folder} names what its users rated after the cut: {account['leaks'][:3]}.")
        lines = tuple(json.loads(line) for line in text.splitlines())
        return cls(folder, account, lines, base or StatisticalDistiller())

    def __repr__(self) -> str:
        """Return what distinguishes the result: the words' hash, and the base."""
        return f"FolderDistiller({self.account['written']!r}, {self.base!r})"

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
            DataError: the folder was made from other rows than these users' past.
            LeakageError: the past holds a row at or after its user's cut.

        """
        if past.of_users(user).fingerprint != self.account["past"]:
            raise DataError(
                f"{self.folder} was distilled from other rows; cut the log as it was cut there: "
                f"{self.account['about'].get('cut', 'see its distil.json')}."
            )
        told = {int(past.users.encode([row["user"]])[0]): _told(row) for row in self.line}
        return worded(*self.base.distil(past, catalogue, crowd, user, cut=cut), user, told)


def _told(row: Mapping[str, Any]) -> Told:
    stages = (Stage(k, (a, c, d), text) for k, (a, c, d), text in row["stages"])
    return Told(tuple(stages), tuple(row["reasons"]))
