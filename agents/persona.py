"""Personas: kinds of users, each with members, a portrait in words and (later) a LoRA adapter. Knows no weights.

Portraits compare the members' mean profile with everybody's; they come from profiles, so from the past only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.description import counted
from simenv.agents.profile import Profiles
from simenv.errors import ConfigError, StoreError, UnknownIdError

_FORMAT = 1
_NOTICED = 0.25
"""Standard deviations of the users from which a difference of means is spoken of."""


@final
@dataclass(frozen=True, eq=False)
class Persona:
    """A kind of user."""

    name: str
    """Fit for a folder and an adapter: letters, digits, hyphens."""
    member: NDArray[np.int64]
    """int64[M]: user numbers, ascending."""
    portrait: str
    """What sets the members apart from all users, in words and numbers."""
    adapter: str | None = None
    """Name of the LoRA adapter that speaks for them; None: the base model does."""

    def __len__(self) -> int:
        return len(self.member)


@final
@dataclass(frozen=True, eq=False)
class Personas:
    """All kinds of users of a population; every member belongs to one."""

    persona: tuple[Persona, ...]
    n_users: int
    """Size U of the user index."""

    def __post_init__(self) -> None:
        names = [p.name for p in self.persona]
        if len(set(names)) != len(names):
            raise ConfigError(f"personas need different names; got {names}.")
        member = np.concatenate([p.member for p in self.persona]) if self.persona else np.empty(0, np.int64)
        if len(np.unique(member)) != len(member):
            raise ConfigError("a user belongs to two personas; a population needs one persona per user.")
        if len(member) and not 0 <= member.min() <= member.max() < self.n_users:
            raise ConfigError(f"members are user numbers 0..{self.n_users - 1}; got {member.min()}..{member.max()}.")

    @classmethod
    def of(cls, label: NDArray[np.int64], user: NDArray[np.int64], profiles: Profiles, n_users: int) -> Personas:
        """Return one persona per label 0..K-1 of users [B], whose profiles [B] make the portraits.

        Raises:
            ConfigError: lengths differ, or a label has no user.

        """
        if not len(label) == len(user) == len(profiles):
            raise ConfigError(f"label, user and profiles differ in length: {len(label)}, {len(user)}, {len(profiles)}.")
        k = int(label.max(initial=-1)) + 1
        if label.min(initial=0) < 0 or (np.bincount(label, minlength=k) == 0).any():
            raise ConfigError("labels must be 0..K-1 with at least one user each.")
        chosen = [label == c for c in range(k)]
        made = (Persona(f"persona-{c + 1}", np.sort(user[r]), portrait(profiles, r)) for c, r in enumerate(chosen))
        return cls(tuple(made), n_users)

    def __len__(self) -> int:
        return len(self.persona)

    def __iter__(self) -> Iterator[Persona]:
        return iter(self.persona)

    def __getitem__(self, number: int) -> Persona:
        return self.persona[number]

    @cached_property
    def label(self) -> NDArray[np.int64]:
        """int64[U]: persona of each user; -1: belongs to none (not a member of the population)."""
        out = np.full(self.n_users, -1, np.int64)
        for number, persona in enumerate(self.persona):
            out[persona.member] = number
        return out

    def of_user(self, user: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return int64[N]: the persona of users [N].

        Raises:
            UnknownIdError: a user belongs to no persona.

        """
        user = np.asarray(user, np.int64)
        inside = (user >= 0) & (user < self.n_users)
        found = np.where(inside, self.label[np.where(inside, user, 0)], -1) if self.n_users else np.full(len(user), -1)
        if (found < 0).any():
            raise UnknownIdError(f"user number {user[found < 0][0]} belongs to no persona; cluster it or leave it out.")
        return found.astype(np.int64)

    def with_adapters(self, adapter: Mapping[str, str | None]) -> Personas:
        """Return the personas with adapters set by persona name; others keep theirs.

        Raises:
            ConfigError: no persona of such a name.

        """
        unknown = set(adapter) - {p.name for p in self.persona}
        if unknown:
            raise ConfigError(f"no persona is called {sorted(unknown)[0]!r}; the names are {[p.name for p in self]}.")
        new = (replace(p, adapter=adapter.get(p.name, p.adapter)) for p in self.persona)
        return replace(self, persona=tuple(new))

    def save(self, folder: Path) -> None:
        """Write personas.json (names, portraits, adapters, sizes) and personas.npz (members) into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        rows = [{"name": p.name, "size": len(p), "portrait": p.portrait, "adapter": p.adapter} for p in self.persona]
        text = json.dumps({"format": _FORMAT, "personas": rows}, indent=2, ensure_ascii=False)
        (folder / "personas.json").write_text(text + "\n", encoding="utf-8")
        np.savez(folder / "personas.npz", label=self.label)

    @classmethod
    def load(cls, folder: Path) -> Personas:
        """Read what `save` wrote.

        Raises:
            StoreError: a file is missing, of another version, or the two do not fit each other.

        """
        for name in ("personas.json", "personas.npz"):
            if not (folder / name).is_file():
                raise StoreError(f"{name} is missing in {folder}; save personas with Personas.save.")
        try:
            data: dict[str, Any] = json.loads((folder / "personas.json").read_text(encoding="utf-8"))
            rows = [(p["name"], int(p["size"]), p["portrait"], p["adapter"]) for p in data["personas"]]
            version = data["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"personas.json in {folder} is damaged ({error}); save the personas again.") from error
        if version != _FORMAT:
            raise StoreError(f"personas.json has format {version}; this version reads {_FORMAT}.")
        with np.load(folder / "personas.npz", allow_pickle=False) as arrays:
            label = arrays["label"]
        made = [Persona(n, np.flatnonzero(label == i), p, a) for i, (n, _, p, a) in enumerate(rows)]
        if [len(p) for p in made] != [size for _, size, _, _ in rows]:
            raise StoreError(f"personas.json and personas.npz in {folder} name different members; save them again.")
        return cls(tuple(made), len(label))


def portrait(profiles: Profiles, rows: NDArray[np.bool_]) -> str:
    """Return what sets the users at bool[B] rows apart from all B users, numbers of both side by side."""
    noun = profiles.catalogue.noun
    size, gap, kinds = int(rows.sum()), profiles.trait[:, 1], profiles.trait[:, 2]
    head = f"{counted(size, 'user')} of {len(profiles)} ({100 * size / len(profiles):.0f}%)."
    said = [
        _contrast(profiles.count, rows, f"rate many {noun}s", f"rate few {noun}s", ".0f"),
        _contrast(profiles.mean, rows, "give high ratings", "give low ratings", ".2f"),
        _contrast(profiles.spread, rows, "use much of the scale", "use little of the scale", ".2f"),
        _contrast(profiles.severity, rows, "are milder than the crowd", "are harsher than the crowd", "+.2f"),
        _contrast(gap, rows, "go their own way (gap to the crowd)", "follow the crowd (gap to it)", ".2f"),
        _contrast(kinds, rows, "range over many kinds", "keep to few kinds", ".1f"),
        _contrast(profiles.obscure, rows, f"favour well-known {noun}s", f"favour obscure {noun}s", "+.2f"),
        _contrast(profiles.recent, rows, "became milder lately", "became harsher lately", "+.2f"),
    ]
    kept = [s for s in said if s]
    habits = (
        f"Compared with all users (figure in brackets) they {'; '.join(kept)}."
        if kept
        else "They rate as all users do."
    )
    return " ".join(s for s in (head, habits, *_tastes(profiles, rows)) if s)


def _contrast(number: NDArray[Any], rows: NDArray[np.bool_], more: str, less: str, form: str) -> str:
    known = np.isfinite(number.astype(np.float64))
    own, everyone = number[rows & known].astype(np.float64), number[known].astype(np.float64)
    if len(own) == 0 or abs(own.mean() - everyone.mean()) < _NOTICED * max(everyone.std(), 1e-6):
        return ""
    words = more if own.mean() > everyone.mean() else less
    return f"{words}: {format(own.mean(), form)} ({format(everyone.mean(), form)})"


def _tastes(profiles: Profiles, rows: NDArray[np.bool_]) -> list[str]:
    """Return the kinds they rate and choose unlike all users, at most three each way."""
    deviation = profiles.genre.astype(np.float64)
    mass = profiles.genre_count / np.maximum(profiles.genre_count.sum(axis=1, keepdims=True), 1)
    lines = []
    for number, form, words in (
        (deviation, "{:+.2f} against {:+.2f}", ("They rate higher", "They rate lower")),
        (mass, "{:.1%} against {:.1%} of their ratings", ("They choose more", "They choose less")),
    ):
        own, everyone, spread = number[rows].mean(axis=0), number.mean(axis=0), number.std(axis=0)
        z = (own - everyone) / np.where(spread > 1e-9, spread, np.inf)
        for sign, opening in zip((1, -1), words, strict=True):
            top = [g for g in np.argsort(-sign * z, kind="stable")[:3] if sign * z[g] >= _NOTICED]
            if top:
                each = [f"{profiles.genre_name[g]} ({form.format(own[g], everyone[g])})" for g in top]
                lines.append(f"{opening}: {', '.join(each)}.")
    return lines
