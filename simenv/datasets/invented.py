"""An invented catalogue: titles, people, genres and summaries whose words carry the item's latent nature.

Text only; who likes what is `simenv.datasets.synthetic`'s business. All names and phrases are made up here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.index import Index
from simenv.randomness import generator

# Genre: (protagonists, deeds, title nouns). The order is that of falling frequency.
GENRES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "Drama": (
        ("a schoolteacher", "an ageing pianist", "a fisherman's widow", "two brothers"),
        ("faces an old family debt", "learns to forgive", "comes home after many years", "keeps a promise too long"),
        ("Harvest", "Silence", "Promise", "Orchard", "Winter"),
    ),
    "Comedy": (
        ("a hapless waiter", "a wedding planner", "three flatmates", "a failed inventor"),
        ("must feed two hundred guests", "pretends to be a count", "loses the wrong suitcase", "starts a rival bakery"),
        ("Suitcase", "Picnic", "Parrot", "Holiday", "Neighbours"),
    ),
    "Thriller": (
        ("a night-shift clerk", "a court stenographer", "a double agent", "a translator"),
        (
            "overhears a plan to kill",
            "is followed by a stranger",
            "has one hour to find the leak",
            "trusts the wrong man",
        ),
        ("Witness", "Deadline", "Cipher", "Shadow", "Alibi"),
    ),
    "Action": (
        ("a retired commando", "a getaway driver", "a lone bodyguard", "a disgraced pilot"),
        ("storms a hijacked train", "outruns a private army", "takes back the harbour", "fights through forty floors"),
        ("Strike", "Blade", "Bullet", "Fury", "Convoy"),
    ),
    "Romance": (
        ("a bookseller", "a ballet dancer", "a lighthouse keeper", "two pen friends"),
        ("falls for a stranger on the ferry", "writes letters that go astray", "meets a first love again", "elopes"),
        ("Kiss", "Letters", "Heart", "Waltz", "Garden"),
    ),
    "Crime": (
        ("a safe-cracker", "a tired inspector", "a bookmaker's son", "a bank clerk"),
        ("plans one last robbery", "takes a bribe", "breaks with the syndicate", "hides the stolen diamonds"),
        ("Heist", "Syndicate", "Confession", "Vault", "Ransom"),
    ),
    "Adventure": (
        ("a young cartographer", "a band of sailors", "an orphan stowaway", "a mountain guide"),
        (
            "crosses an uncharted desert",
            "hunts for a sunken galleon",
            "climbs the forbidden peak",
            "follows a torn map",
        ),
        ("Voyage", "Island", "Compass", "Caravan", "Summit"),
    ),
    "Science Fiction": (
        ("a starship cook", "a cloned engineer", "the last android", "a time courier"),
        ("wakes on a dying space station", "receives a signal from a dead moon", "meets itself", "repairs the orbit"),
        ("Orbit", "Nebula", "Machine", "Signal", "Colony"),
    ),
    "Horror": (
        ("a gravedigger", "a group of students", "a new tenant", "a country doctor"),
        ("opens the sealed cellar", "hears scratching in the walls", "wakes something in the marsh", "cannot leave"),
        ("Crypt", "Cellar", "Scream", "Scarecrow", "Fog"),
    ),
    "Fantasy": (
        ("a goose girl", "an exiled wizard", "a reluctant knight", "a talking fox"),
        ("bargains with a dragon", "breaks the curse of the glass king", "steals a spell", "guards the last unicorn"),
        ("Dragon", "Throne", "Sorcerer", "Crown", "Spell"),
    ),
    "Mystery": (
        ("a village vicar", "a deaf detective", "a museum curator", "a crossword setter"),
        (
            "finds a body in the library",
            "solves a forty-year-old disappearance",
            "doubts the only clue",
            "reopens a case",
        ),
        ("Riddle", "Clue", "Portrait", "Locked Room", "Secret"),
    ),
    "Animation": (
        ("a brave hedgehog", "a paper boat", "a clockwork bear", "a lost penguin"),
        ("sets out to find the sea", "befriends a thundercloud", "saves the toy shop", "learns to sing"),
        ("Lantern", "Balloon", "Hedgehog", "Moonbeam", "Kite"),
    ),
    "Western": (
        ("a weary sheriff", "a horse thief", "a railway surveyor", "a saloon owner"),
        ("waits for the noon train", "defends a dry valley", "rides after the rustlers", "buries the hatchet"),
        ("Canyon", "Saddle", "Gallows", "Prairie", "Outlaw"),
    ),
    "Documentary": (
        ("a film crew", "a beekeeper", "a choir of miners", "a polar scientist"),
        ("records one year on the river", "follows the last herd", "tells of the great strike", "measures the ice"),
        ("River", "Archive", "Census", "Harbour", "Glacier"),
    ),
}
TONES = ("bleak", "tender", "absurd", "stately", "breakneck", "dreamlike", "gritty", "heart-warming")
"""The word that opens a summary; each stands for a direction of taste."""

_ADJECTIVES = (
    "Silent Golden Broken Hidden Crimson Distant Restless Paper Northern Forgotten Second Empty Burning Velvet Pale "
    "Crooked Iron Gentle Borrowed Midnight Savage Sleeping Hollow Scarlet Wandering"
)
_PLACES = (
    "Aldmoor Brenwick Calder Dunmere Estria Farrow Galen Hollin Istra Jarrow Kelmar Lorne Morven Narrowdale Orsk "
    "Penrith Quill Ravena Solway Tarn Umber Varda Westry Yarrow Zell"
)
_FIRST = (
    "Ada Bruno Celia Dario Edith Felix Greta Hugo Ines Jonas Karin Leo Mira Nils Olga Pavel Quentin Rosa Stellan Tilda "
    "Ugo Vera Wim Xenia Yara Zoltan Anouk Boris Clea Dunja Emil Flora Gideon Hanna Ivo Jutta Kaspar Lotte Marek Nadia"
)
_LAST = (
    "Abend Barlow Corvin Dresk Elling Farrant Gault Harrow Imber Jessop Kestrel Lund Marlowe Norrin Oster Pell Quist "
    "Rask Sorrel Thane Ullman Varga Wend Yates Zorn Ashby Brandt Calloway Devlin Ekman Fairley Grieg Holm Ivers Jarl "
    "Kolb Lisle Moreau Nash Orlov Pryce Rigby Stroud Tamm Urban Vance Wilde Yorke Zeller Amory Blount Crane Dorn Esker"
)


@final
@dataclass(frozen=True, eq=False)
class Cast:
    """Who and what an item is made of, as numbers: the link between its words and its latent vector."""

    genre: NDArray[np.bool_]
    """bool[I, G]: one to three genres."""
    actor: NDArray[np.int64]
    """int64[I, 3]: leading people, 0..n_actors-1."""
    director: NDArray[np.int64]
    """int64[I]: 0..n_directors-1."""
    tone: NDArray[np.int64]
    """int64[I]: position in TONES."""
    year: NDArray[np.int64]
    """int64[I]"""
    n_actors: int
    n_directors: int


def draw_cast(seed: int, n_items: int, n_genres: int) -> Cast:
    """Return the make-up of n_items films: frequent genres and busy people are drawn more often (Zipf-like)."""
    rng = generator(seed, "cast")
    n_actors, n_directors = min(max(24, n_items // 4), 1200), min(max(12, n_items // 7), 800)
    weight = 1.0 / np.sqrt(1.0 + np.arange(n_genres))
    score = np.log(weight) + rng.gumbel(size=(n_items, n_genres))
    rank = np.argsort(np.argsort(-score, axis=1), axis=1)
    genre = rank < rng.choice([1, 2, 3], size=n_items, p=[0.4, 0.4, 0.2])[:, None]
    actor = _people(rng, genre, n_actors, 3)
    director = _people(rng, genre, n_directors, 1)[:, 0]
    # Years thin out backwards: half of the catalogue is younger than ten years.
    year = 2000 - np.minimum(rng.exponential(14.0, n_items), 75).astype(np.int64)
    return Cast(genre, actor, director, rng.integers(0, len(TONES), n_items), year, n_actors, n_directors)


def _people(rng: np.random.Generator, genre: NDArray[np.bool_], n: int, k: int) -> NDArray[np.int64]:
    """Return int64[I, k] distinct people per item; each is six times as likely in a home genre."""
    home = rng.integers(0, genre.shape[1], n)
    busy = -0.7 * np.log1p(rng.permutation(n))
    chosen = np.empty((len(genre), k), np.int64)
    for start in range(0, len(genre), 1024):
        rows = slice(start, start + 1024)
        score = busy + np.log(6.0) * genre[rows][:, home] + rng.gumbel(size=(len(genre[rows]), n))
        chosen[rows] = np.argsort(-score, axis=1)[:, :k]
    return chosen


def catalogue_of(seed: int, cast: Cast, items: Index) -> Catalogue:
    """Return the catalogue that puts `cast` into words; titles are distinct."""
    rng = generator(seed, "words")
    genres = [tuple(list(GENRES)[g] for g in np.flatnonzero(row)) for row in cast.genre]
    names = [f"{a} {b}" for a, b in product(_FIRST.split(), _LAST.split())]
    order = rng.permutation(len(names))
    actors = [names[i] for i in order[: cast.n_actors]]
    directors = [names[i] for i in order[cast.n_actors : cast.n_actors + cast.n_directors]]
    return Catalogue(
        items,
        _titles(rng, genres),
        tuple(int(y) for y in cast.year),
        tuple(genres),
        tuple(tuple(actors[a] for a in row) for row in cast.actor),
        tuple(directors[d] for d in cast.director),
        tuple(_summary(rng, TONES[t], g) for t, g in zip(cast.tone, genres, strict=True)),
        "film",
    )


def _pick(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _titles(rng: np.random.Generator, genres: list[tuple[str, ...]]) -> tuple[str, ...]:
    times: dict[str, int] = {}
    titles = []
    for row in genres:
        noun = _pick(rng, GENRES[_pick(rng, row)][2])
        adjective, place = _pick(rng, _ADJECTIVES.split()), _pick(rng, _PLACES.split())
        title = _pick(rng, (f"The {adjective} {noun}", f"The {noun} of {place}", f"{adjective} {noun}"))
        times[title] = times.get(title, 0) + 1
        titles.append(title if times[title] == 1 else f"{title} {times[title]}")
    return tuple(titles)


def _summary(rng: np.random.Generator, tone: str, genres: tuple[str, ...]) -> str:
    """Return one sentence: the tone, a protagonist of one genre, a deed of another (or the same) genre."""
    who = _pick(rng, GENRES[genres[0]][0])
    deed = _pick(rng, GENRES[genres[-1]][1])
    article = "An" if tone[0] in "aeiou" else "A"
    return f"{article} {tone} {genres[-1].lower()} story in {_pick(rng, _PLACES.split())}: {who} {deed}."
