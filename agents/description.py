"""Profile: one user's short-term memory (Ms) in words: three traits and a first-person description with numbers.

Turns numbers that agents/profile.py computed into sentences; computes no statistic but the user's favourite people,
which is slow and therefore left until somebody reads them. Knows nothing of the crowd's data, prompts or weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue

TRAIT = ("activity", "conformity", "diversity")
_LEVEL = {
    "activity": ("occasional", "regular", "devoted"),
    "conformity": ("independent", "balanced", "crowd-following"),
    "diversity": ("focused", "varied", "wide-ranging"),
}
_SENTENCE = {
    "activity": (
        "I drop in now and then, and a few poor suggestions are enough to send me away.",
        "I come back fairly often and put up with the odd poor suggestion before I go.",
        "I am here all the time and keep browsing even when much of what I see is weak.",
    ),
    "conformity": (
        "I judge by my own taste and often score far from what others give.",
        "My own taste and the general opinion meet about halfway in my scores.",
        "My scores stay close to what most people give.",
    ),
    "diversity": (
        "I keep to a few kinds of {noun} and seldom look beyond them.",
        "I have favourite kinds of {noun} but try others too.",
        "I go across many kinds of {noun} and like to find new ones.",
    ),
}
PERSON_DAMPING = 3.0
"""Pseudo-ratings that pull the deviation of a person's works to zero, as for genres in Taste."""
_SLIGHT = 0.05
"""Deviations below this would print as 0.0 and are not spoken of."""


class Trait(NamedTuple):
    """One of the three traits."""

    name: str
    """ "activity", "conformity" or "diversity"."""
    level: str
    """A word for low, middle or high; "unknown" where the past says nothing."""
    sentence: str
    """What it means, in the first person."""


class Liking(NamedTuple):
    """How far the ratings of some group of items lie from what crowd and severity let expect."""

    name: str
    deviation: float
    """Shrunk mean residual, rating points."""
    ratings: int
    """Rated items behind it."""


@final
@dataclass(frozen=True, eq=False)
class Profile:
    """One user's Ms. Numbers are those of `simenv.agents.profile.Profiles`; NaN: unknown."""

    count: int
    mean: float
    spread: float
    severity: float
    recent: float
    obscure: float
    trait: tuple[float, float, float]
    level: tuple[int, int, int]
    values: tuple[float, ...]
    share: tuple[float, ...]
    liked: tuple[Liking, ...]
    disliked: tuple[Liking, ...]
    item: NDArray[np.int64]
    """int64[H]: rated items, oldest first."""
    residual: NDArray[np.float32]
    """float32[H]"""
    catalogue: Catalogue
    written: str = ""
    """A description that a language model wrote; "": the one made from these numbers."""

    @property
    def traits(self) -> tuple[Trait, Trait, Trait]:
        """Activity, conformity and diversity, each with level and sentence."""
        a, c, d = (_trait(n, v, self.catalogue.noun) for n, v in zip(TRAIT, self.level, strict=True))
        return a, c, d

    @cached_property
    def people(self) -> tuple[tuple[Liking, ...], tuple[Liking, ...]]:
        """(liked, disliked) makers and cast with at least two rated items, five at most of each, strongest first."""
        return people(self.catalogue, self.item, self.residual)

    @cached_property
    def description(self) -> str:
        """Several sentences in the first person: habits, spread, severity, tastes with numbers, recent against old."""
        if self.written:
            return self.written
        noun = self.catalogue.noun
        if self.count == 0:
            return f"I have not rated any {noun} yet, so nothing is known about my taste."
        likings = [
            _likings(f"Kinds of {noun} I rate", self.liked, self.disliked, noun),
            _likings(f"People whose {noun}s I rate", *self.people, noun),
        ]
        said = [self._habit(), self._spread(), self._severity(), *likings]
        return " ".join(s for s in [*said, self._obscure(), self._recent()] if s)

    @property
    def text(self) -> str:
        """Traits and description together: the whole of Ms, well under 2,000 words."""
        lines = [f"{t.name.capitalize()}: {t.level}. {t.sentence}" for t in self.traits]
        return "\n".join([*lines, self.description])

    def to_dict(self) -> Mapping[str, Any]:
        """Return JSON-able facts: numbers, traits, likings and the description; unknown numbers are None."""
        numbers = {n: _known(getattr(self, n)) for n in ("mean", "spread", "severity", "recent", "obscure")}
        likings = {"liked": self.liked, "disliked": self.disliked, "liked_people": self.people[0]}
        return {
            "count": self.count,
            **numbers,
            "share": {f"{v:g}": round(s, 4) for v, s in zip(self.values, self.share, strict=True)},
            "traits": [{**t._asdict(), "number": _known(x)} for t, x in zip(self.traits, self.trait, strict=True)],
            **{k: [x._asdict() for x in v] for k, v in (likings | {"disliked_people": self.people[1]}).items()},
            "description": self.description,
        }

    def _habit(self) -> str:
        shares = ", ".join(
            f"{100 * s:.0f}% {v:g}" for v, s in reversed(list(zip(self.values, self.share, strict=True))) if s > 0
        )
        few = " That is very little to know me by." if self.count < 5 else ""
        top = f"{self.values[-1]:g}"
        number = counted(self.count, self.catalogue.noun)
        return f"I have rated {number}, on average {self.mean:.1f} out of {top} ({shares}).{few}"

    def _spread(self) -> str:
        if np.isnan(self.spread):
            return ""
        part = self.spread / (self.values[-1] - self.values[0])
        how = "hardly vary" if part < 0.2 else "vary as usual" if part < 0.3 else "use the whole scale"
        return f"My scores {how} (standard deviation {self.spread:.1f})."

    def _severity(self) -> str:
        off = abs(self.severity)
        if off < _SLIGHT:
            return f"I am as severe as others: I score about what the same {self.catalogue.noun}s get from them."
        way = ("harsher", "below") if self.severity < 0 else ("milder", "above")
        return f"I am {way[0]} than others: {off:.1f} {way[1]} what the same {self.catalogue.noun}s get from them."

    def _obscure(self) -> str:
        if abs(self.obscure) < 0.2:
            return ""
        better, worse = ("well-known", "obscure") if self.obscure > 0 else ("obscure", "well-known")
        noun = self.catalogue.noun
        return f"I favour {better} {noun}s over {worse} ones (by {abs(self.obscure):.1f} from one end to the other)."

    def _recent(self) -> str:
        if abs(self.recent) < _SLIGHT or self.count <= 10:
            return ""
        way = ("milder", "above") if self.recent > 0 else ("harsher", "below")
        return f"Lately I have become {way[0]}: my last ten scores ran {abs(self.recent):.1f} {way[1]} my usual."


def people(
    catalogue: Catalogue, item: NDArray[np.int64], residual: NDArray[np.float32], top: int = 5
) -> tuple[tuple[Liking, ...], tuple[Liking, ...]]:
    """Return (liked, disliked) people of items [H] with residuals [H]; those with two rated items or more."""
    found: dict[str, list[float]] = defaultdict(list)
    for number, own in zip(item.tolist(), residual.tolist(), strict=True):
        for name in makers(catalogue, number):
            found[name].append(own)
    made = [Liking(n, sum(r) / (len(r) + PERSON_DAMPING), len(r)) for n, r in found.items() if len(r) > 1]
    liked = sorted((x for x in made if x.deviation >= _SLIGHT), key=lambda x: (-x.deviation, x.name))
    disliked = sorted((x for x in made if x.deviation <= -_SLIGHT), key=lambda x: (x.deviation, x.name))
    return tuple(liked[:top]), tuple(disliked[:top])


def makers(catalogue: Catalogue, item: int) -> tuple[str, ...]:
    """Return the people of one item, each once: the director (author, brand), then the cast."""
    director = catalogue.director[item]
    return tuple(dict.fromkeys(((director,) if director else ()) + catalogue.cast[item]))


def counted(count: int, noun: str) -> str:
    """Return "1 film", "2 films"."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _trait(name: str, level: int, noun: str) -> Trait:
    if level < 0:
        return Trait(name, "unknown", "My ratings say nothing about this yet.")
    return Trait(name, _LEVEL[name][level], _SENTENCE[name][level].format(noun=noun))


def _likings(opening: str, liked: Sequence[Liking], disliked: Sequence[Liking], noun: str) -> str:
    parts = []
    for way, found in (("above", liked), ("below", disliked)):
        if found:
            each = ", ".join(f"{x.name} ({x.deviation:+.1f} over {counted(x.ratings, noun)})" for x in found)
            parts.append(f"{opening} {way} what is expected of me: {each}.")
    return " ".join(parts)


def _known(x: float) -> float | None:
    return None if np.isnan(x) else round(float(x), 4)
