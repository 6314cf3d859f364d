"""A visit in words: the page a person reads, and the text form of an observation. Knows visits, not Gymnasium."""

from __future__ import annotations

import string

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.rules import STOPS
from simenv.scale import RatingScale
from simenv.session import StopReason, take_rows
from simenv.slates import recent
from simenv.visits import Visits

WIDTH = 64
"""Characters of an item's line before the answer; longer ones are cut with an ellipsis."""
_LINE = WIDTH + 40
_SIGNS = "★☆½·…▮▯"
_MOODS = ((0.25, "delighted"), (0.05, "pleased"), (-0.05, "even"), (-0.25, "bored"), (-np.inf, "annoyed"))
_ENDS = {
    None: "stays for another page",
    StopReason.LEFT: "leaves",
    StopReason.EXHAUSTED: "has seen everything there is",
    StopReason.PAGE_CAP: "would stay, but this was the last page",
    StopReason.VISIT_CAP: "would come again, but this was the last visit",
}


def label(catalogue: Catalogue, item: int) -> str:
    """Return title (year) and genres of an item in at most WIDTH characters."""
    year = f" ({catalogue.year[item]})" if catalogue.year[item] else ""
    genres = f" · {', '.join(catalogue.genres[item])}" if catalogue.genres[item] else ""
    line = " ".join((catalogue.title[item] + year + genres).split())
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def stars(rating: float, scale: RatingScale) -> str:
    """Return a rating as people write it: stars on scales up to 5 in steps of 1 or 1/2, yes or no, else "3 of 7"."""
    low, high = scale.values[0], scale.values[-1]
    if scale.values == (0.0, 1.0):
        return "yes" if rating else "no"
    if high == 5 and low >= 0 and all(float(2 * v).is_integer() for v in scale.values):
        full, half = int(rating), rating != int(rating)
        return "★" * full + "½" * half + "☆" * (5 - full - half)
    return f"{rating:g} of {high:g}"


def arrival(visits: Visits, row: int) -> str:
    """Return how a visit begins: who comes, and the latest ratings that a recommender may know."""
    user = visits.population.users.ids[int(visits.session.user[row])]
    return f"User {user} arrives. " + _known(visits, row, 5)


def page(visits: Visits, row: int) -> str:
    """Return the last page of a visit as a person likes to read it, with the mood that only the user knows."""
    user = visits.population.users.ids[int(visits.session.user[row])]
    head = f"User {user}, page {visits.session.page[row]} of {visits.rules.max_pages}"
    mood = f"  mood {_mood(float(visits.state.utility[row]), visits.population.scale)}"
    end = f"  The user {_ENDS[STOPS[int(visits.stop[row])]]}."
    return "\n".join([head, *_places(visits, row), mood, end])


def rendered(visits: Visits, row: int) -> str:
    """Return the arrival before the first page, the last page afterwards."""
    return page(visits, row) if visits.session.page[row] else arrival(visits, row)


def public_text(visits: Visits, row: int, history: int) -> str:
    """Return what a recommender may know, in words: the last `history` ratings, and the last page with its answers."""
    text = _known(visits, row, history)
    if not visits.session.page[row]:
        return text
    head = f"Page {visits.session.page[row]} of {visits.rules.max_pages}:"
    return "\n".join([text, head, *_places(visits, row)])


def alphabet(catalogue: Catalogue) -> str:
    """Return every character that `public_text` may use."""
    words = [*catalogue.title, *(g for row in catalogue.genres for g in row), catalogue.noun]
    return "".join(sorted({*string.printable, *_SIGNS, *"".join(words)}))


def longest(slate_size: int, history: int) -> int:
    """Return an upper limit for the length of `public_text`."""
    return _LINE * (slate_size + history + 2)


def _known(visits: Visits, row: int, history: int) -> str:
    scale = visits.population.scale
    one = take_rows(visits.session, np.array([row]))
    item, rating = (part[0] for part in recent(one, history))
    rated: NDArray[np.float32] = one.past_rating[~np.isnan(one.past_rating)]
    if not len(rated) and (item < 0).all():
        return "Nothing is known of the past."
    head = f"{len(rated)} ratings known from the past" + (f", {rated.mean():.1f} on average" if len(rated) else "")
    lines = [
        _line("-", label(visits.catalogue, int(i)), stars(float(r), scale))
        for i, r in zip(item, rating, strict=True)
        if i >= 0
    ]
    return "\n".join([f"{head}. Latest:", *lines])


def _places(visits: Visits, row: int) -> list[str]:
    lines = []
    for place, item in enumerate(visits.slate.item[row]):
        rating, taken = float(visits.response.rating[row, place]), bool(visits.response.consumed[row, place])
        said = "taken, not rated" if np.isnan(rating) else stars(rating, visits.population.scale)
        text = label(visits.catalogue, int(item)) if item >= 0 else "(empty)"
        lines.append(_line(str(place + 1), text, "" if item < 0 else said if taken else "skipped"))
    return lines


def _line(number: str, text: str, answer: str) -> str:
    return f"  {number:>2}  {text:<{WIDTH}}  {answer}".rstrip()


def _mood(utility: float, scale: RatingScale) -> str:
    """Return a bar of ten and a word for the running satisfaction (rating points above the user's own mean)."""
    share = utility / ((scale.values[-1] - scale.values[0]) / 2)
    full = int(np.clip(round(5 + 5 * share), 0, 10))
    word = next(name for limit, name in _MOODS if share >= limit)
    return f"{'▮' * full}{'▯' * (10 - full)} {word} ({utility:+.2f})"
