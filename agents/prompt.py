"""THE prompt, for training and for serving: Ms as prefix; Ml, item, cues and question as suffix.

A change of one blank here is a change of model; tests/golden holds what it looks like. Knows no tokens or weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.cues import Cues
from simenv.agents.profile import Profiles
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.scale import RatingScale

_LEVEL = {-1: "unknown", 0: "low", 1: "middle", 2: "high"}
_CROWD = ((1, "nobody"), (10, "a few"), (50, "some"), (200, "many"), (np.inf, "a crowd"))


@final
@dataclass(frozen=True)
class PromptSettings:
    """What a prompt holds. The presets below name the usual combinations."""

    profile: Literal["numbers", "words"] = "numbers"
    """How Ms is written: compactly, for small models trained here, or in sentences, for pretrained ones."""
    memories: int = 3
    """Ml entries recalled per item (k); 0: none."""
    reasons: bool = False
    """Write why the user rated a recalled item so, not only the rating."""
    mix: float = 0.05
    """Recall by text similarity (1) or collaborative similarity (0), or in between."""
    crowd: bool = True
    """Show the item's crowd average and how many stand behind it (the conformity dial)."""
    match: bool = True
    """Show the taste match: what similar items and like-minded people say about this user and item."""
    total: bool = False
    """Say too what rating the prior expects. It holds all cues in one number, so that a model that is shown it reads
    little else of Ms and Ml; without it the pool is as good (docs/log.md)."""
    genres: bool = True
    """Show the item's genres."""
    summary: bool = False
    """Show the item's summary."""
    cast: bool = False
    """Show director and cast."""
    describe: bool = True
    """Show Ms, who the user is; False: the task and what is recalled alone."""

    @property
    def collaborative(self) -> bool:
        """Whether anything of what others rated is shown."""
        return self.crowd or self.match or (self.memories > 0 and self.mix < 1)

    def __post_init__(self) -> None:
        if self.memories < 0 or not 0 <= self.mix <= 1:
            raise ConfigError(f"memories must be >= 0 and mix in 0..1; got {self.memories} and {self.mix}.")


PRESET = {
    "compact": PromptSettings(),
    "plain": PromptSettings(memories=0),
    "words": PromptSettings(profile="words", reasons=True, memories=3, summary=True, cast=True),
    "paper": PromptSettings("words", memories=1, reasons=True, mix=1.0, match=False, summary=True, cast=True),
    "content": PromptSettings(memories=3, mix=1.0, crowd=False, match=False),
    "cue-only": PromptSettings(memories=0, genres=False, total=True),
}
"""compact: the embedded default. plain: the same without Ml. words: for pretrained models. paper: Thakur et al. 2025
(k = 1 by text, crowd average, no taste match). content: no collaborative cue at all. cue-only: nothing but numbers."""


def numbers(scale: RatingScale) -> list[str]:
    """Return every number and symbol the compact prompt may write, for tokenizers that make each one token."""
    top = int(np.ceil(scale.values[-1] * 10))
    plain = [f"{v / 10:.1f}" for v in range(top + 1)]
    signed = [f"{v / 10:+.1f}" for v in range(-25, 26)]
    return [*plain, *signed, *(f"{v}%" for v in range(0, 101, 5)), *scale.symbols, *EXIT_OPTIONS]


EXIT_OPTIONS = ("stay", "leave")
"""The two answers at the end of a page."""


def _plain(x: float) -> str:
    return " unknown" if np.isnan(x) else f" {max(float(x), 0.0):.1f}"


def _signed(x: float) -> str:
    value = min(max(round(float(x), 1), -2.5), 2.5)
    return f" {value + 0.0:+.1f}"


def crowd_word(count: float) -> str:
    """Return how many stand behind an average, in words."""
    return next(word for limit, word in _CROWD if count < limit)


@final
@dataclass(frozen=True)
class PromptWriter:
    """Writes prompts for one catalogue and scale."""

    catalogue: Catalogue
    scale: RatingScale
    settings: PromptSettings

    @property
    def question(self) -> str:
        """The last segment of a rating prompt; the answer is one symbol of the scale."""
        return "\nRating:" if self.settings.profile == "words" else " Rating:"

    @property
    def exit_question(self) -> str:
        """The last segment of an exit prompt; the answer is one of EXIT_OPTIONS."""
        return " Do you stay or leave? Answer:" if self.settings.profile == "words" else " Next:"

    def prefix(self, profiles: Profiles, row: int) -> tuple[str, ...]:
        """Return task and Ms of the user at `row` of profiles."""
        words, described = self.settings.profile == "words", self.settings.describe
        if words:
            return (self._task(), profiles[row].text + "\n") if described else (self._task(),)
        return self._numbers(profiles, row) if described else (f"Rates {self.catalogue.noun}s.\n",)

    def _task(self) -> str:
        legend = self.scale.legend()
        low, high = self.scale.symbols[0], self.scale.symbols[-1]
        return (
            f"You are a person who rates {self.catalogue.noun}s. Answer as this person would, in one word and nothing "
            f"else: a rating from {low} (worst) to {high} (best){'; ' + legend if legend else ''}, or one of the words "
            "you are offered.\n"
        )

    def _numbers(self, profiles: Profiles, row: int) -> tuple[str, ...]:
        p, noun = profiles, self.catalogue.noun
        share = "".join(f" {round(float(s) * 20) * 5}%" for s in p.share[row])
        liked, disliked = (self._genres(p, row, chosen[row]) for chosen in (p.liked, p.disliked))
        activity, conformity, diversity = (_LEVEL[int(level)] for level in p.level[row])
        return (
            f"Rated {crowd_word(p.count[row])} {noun}s,",
            f" mean{_plain(p.mean[row])} spread{_plain(p.spread[row])}",
            f" against crowd{_signed(p.severity[row])} lately{_signed(p.recent[row])}.",
            f" Activity {activity}, conformity {conformity}, diversity {diversity}.",
            f" Gives{share}.",
            f" Likes{liked or ' nothing'}.",
            f" Dislikes{disliked or ' nothing'}.\n",
        )

    def _genres(self, profiles: Profiles, row: int, chosen: NDArray[np.int64]) -> str:
        return ",".join(f" {profiles.genre_name[g]}{_signed(profiles.genre[row, g])}" for g in chosen if g >= 0)

    def item(self, item: int) -> str:
        """Return the segment that describes an item."""
        c, s = self.catalogue, self.settings
        line = f"{c.noun.capitalize()}: {c.title[item]}" + (f" ({c.year[item]})" if c.year[item] else "")
        if s.genres and c.genres[item]:
            line += ", " + ", ".join(c.genres[item])
        line += "."
        if s.cast and (c.director[item] or c.cast[item]):
            people = ([c.director[item]] if c.director[item] else []) + list(c.cast[item][:4])
            line += " By and with " + ", ".join(people) + "."
        if s.summary and c.summary[item]:
            line += f" {c.summary[item]}"
        return line

    def memory(self, item: int, place: int, reason: str = "") -> str:
        """Return the segment of one recalled entry; place: position of its rating on the scale."""
        title, symbol = self.catalogue.title[item], self.scale.symbols[place]
        if self.settings.profile == "words":
            return f"{title}: {reason or f'I gave it {symbol}.'}\n"
        return f"Rated {title} {symbol}{': ' + reason if reason else ''};"

    def suffix(
        self,
        item: int,
        cues: Cues,
        n: int,
        expected: float,
        memories: Sequence[str] = (),
        hide: tuple[bool, bool] = (False, False),
    ) -> tuple[str, ...]:
        """Return Ml, item, cues and question for pair n of `cues`.

        expected: the prior's expected rating, part of the taste match.
        hide: leave out (crowd, match), as training does at random.
        """
        s = self.settings
        parts = [*memories, self.item(item)]
        if s.crowd and not hide[0]:
            parts.append(f" Crowd{_plain(cues.item_mean[n])} by {crowd_word(cues.item_count[n])}.")
        if s.match and not hide[1]:
            near = _signed(cues.similar[n]) if cues.similar_weight[n] > 0 else " none"
            parts += [f" Match{near}", f"{_signed(cues.likeminded[n])}."]  # apart: few texts to read into tokens
            parts += [f" In all{_plain(expected)}."] if s.total else []
        return (*parts, self.question)

    def exit_suffix(self, page: int, utility: float, best: float, repeat: float) -> tuple[str, ...]:
        """Return the end-of-page question: pages answered, running satisfaction, best of the page, share repeated."""
        if self.settings.profile == "words":
            return (
                f"You have seen {page} page{'s' if page > 1 else ''} of {self.catalogue.noun}s.",
                f" Against your usual rating they were{_signed(utility)}, the best of the last page{_signed(best)}.",
                f" {round(float(repeat) * 100)}% of the last page you had seen before.",
                self.exit_question,
            )
        return (
            f"Page {min(page, 30)}.",
            f" Mood{_signed(utility)} best{_signed(best)}",
            f" repeats {round(float(repeat) * 20) * 5}%.",
            self.exit_question,
        )


def preset(name: str, **changes: object) -> PromptSettings:
    """Return a named preset, changed where asked.

    Raises:
        ConfigError: no such preset; the message lists them.

    """
    if name not in PRESET:
        raise ConfigError(f"unknown prompt preset {name!r}; known: {', '.join(PRESET)}.")
    return replace(PRESET[name], **changes)  # type: ignore[arg-type]
