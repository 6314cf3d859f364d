"""Claims: what profiles say of users, in one form for all who write them: trait levels, genres liked and disliked.

Numbers are read as they stand, texts by the words for genres in them. Knows nothing of what is true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.profile import Profiles

Ints = NDArray[np.int64]
_WORDS: Mapping[str, str] = {
    "animation": r"animat\w*|cartoons?",
    "children's": r"children\w*|kids|famil(?:y|ies)",
    "comedy": r"comed\w+|humou?r\w*|funny",
    "crime": r"crimes?|gangsters?|heists?",
    "documentary": r"documentar\w+",
    "fantasy": r"fantas\w+|magical",
    "film-noir": r"noir",
    "musical": r"musicals?",
    "mystery": r"myster\w+|whodunits?|detectives?",
    "romance": r"roman(?:ce|tic)\w*",
    "sci-fi": r"sci-fi|science[ -]fiction",
    "thriller": r"thrillers?|suspense\w*",
    "adventure": r"adventur\w+",
    "horror": r"horror|scary",
}
"""Other words for a genre; every other genre is looked for by its own name, its plural too."""
_AGAINST = re.compile(
    r"\b(?:dislik\w+|avers\w+|avoid\w*|poorly|low(?:er)? (?:rating|score|interest)\w*|less interest\w*|"
    r"lack of interest|disfavo\w+|below|hat(?:e|es|ed|red)|(?:do|does|did) not|don't|doesn't|unappeal\w+|"
    r"disappoint\w+|critical of|negative\w*|tends? to give low)\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"(?<=[.;!?])\s+|,?\s+\b(?:but|while|whereas|however|although|though|conversely)\b", re.IGNORECASE)


@final
@dataclass(frozen=True, eq=False)
class Claims:
    """What one writer says of N users. G genres, in the order of the catalogue's vocabulary."""

    kind: str
    """"counted", "written" (by a language model), "published" or "nobody" (the same for all)."""
    opinion: NDArray[np.int8]
    """int8[N, G]: 1 liked, -1 disliked, 0 not spoken of."""
    level: NDArray[np.int8]
    """int8[N, 3]: activity, conformity, diversity: 0 low, 1 middle, 2 high, -1 nothing said."""
    note: str = ""
    """What it was made from."""


def counted(profiles: Profiles, note: str = "") -> Claims:
    """Return what counted profiles say: their liked and disliked genres, and their levels."""
    opinion = np.zeros((len(profiles), len(profiles.genre_name)), np.int8)
    for chosen, sign in ((profiles.liked, 1), (profiles.disliked, -1)):
        row, place = np.nonzero(chosen >= 0)
        opinion[row, chosen[row, place]] = sign
    return Claims("counted", opinion, profiles.level, note)


def texts(
    text: Sequence[str], vocabulary: Sequence[str], kind: str, level: NDArray[np.int8] | None = None, note: str = ""
) -> Claims:
    """Return what texts [N] say of genres; level: int8[N, 3] where it is known otherwise."""
    opinion = np.array([said(t, vocabulary) for t in text], np.int8).reshape(len(text), len(vocabulary))
    return Claims(kind, opinion, np.full((len(text), 3), -1, np.int8) if level is None else level, note)


def everybody(opinion: NDArray[np.int8], users: int, note: str = "") -> Claims:
    """Return the claim that all users are alike; opinion: int8[G]."""
    return Claims("nobody", np.tile(opinion, (users, 1)), np.full((users, 3), -1, np.int8), note)


def said(text: str, vocabulary: Sequence[str]) -> list[int]:
    """Return for each genre whether a text speaks for it (1), against it (-1) or neither, by clauses.

    A clause with a word of refusal speaks against the genres it names, any other for them; the majority counts.
    """
    clauses = [(c, -1 if _AGAINST.search(c) else 1) for c in _CLAUSE.split(text) if c]
    pattern = [re.compile(rf"\b(?:{_of(genre)})\b", re.IGNORECASE) for genre in vocabulary]
    return [int(np.sign(sum(sign for c, sign in clauses if p.search(c)))) for p in pattern]


def _of(genre: str) -> str:
    return _WORDS.get(genre.lower(), re.escape(genre.lower()) + "s?")
