"""Content: items whose text is like that of what you rated well. Knows the catalogue's words and the user's ratings.

Nobody else's ratings count, except that users without any get the popular list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.catalogue import Catalogue
from simenv.log import InteractionLog
from simenv.recommenders import history
from simenv.recommenders.baseline import popularity
from simenv.recommenders.ranking import cold, top
from simenv.session import Session, Slate

_WORD = re.compile(r"[^\W_]{2,}")


@final
@dataclass(frozen=True)
class Content:
    """TF-IDF of title, summary, genres, director and cast; the user is the rating-weighted mean of rated items.

    The weight of a rated item is its rating minus the user's mean (shrunk to the mean of all by `prior_weight`
    ratings), so disliked items push away (Rocchio 1971). Genres and people are whole tokens of their own, not words.
    Users without ratings get the popular list; items without text score 0, between liked and disliked.
    """

    genre_weight: float = 3.0
    """How often a genre counts, in words of the text; 0: genres are left out."""
    prior_weight: float = 2.0
    """Ratings that the prior of a user's mean is worth."""
    min_count: int = 2
    """Words, people and genres in fewer items than this are left out; they can connect nothing."""
    name: str = "content"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ContentPolicy:
        """Weigh the words; `seed` is not used."""
        mu = float(log.rating.mean()) if len(log) else 0.0
        return ContentPolicy(self._text(catalogue), mu, self.prior_weight, popularity(log))

    def _text(self, catalogue: Catalogue) -> csr_matrix:
        """Return csr float64[I, W], rows of length 1 or empty."""
        from sklearn.feature_extraction.text import TfidfTransformer

        token, row = self._tokens(catalogue)
        vocabulary, column = np.unique(np.array(token, dtype=np.str_), return_inverse=True)
        weight = np.where(np.char.startswith(vocabulary, "genre="), self.genre_weight, 1.0)
        shape = (len(catalogue), len(vocabulary))
        counts = csr_matrix((weight[column], (np.array(row, np.int64), column)), shape=shape)
        counts.eliminate_zeros()
        frequent = np.bincount(counts.indices, minlength=len(vocabulary)) >= self.min_count
        counts = csr_matrix(counts[:, np.flatnonzero(frequent)])
        if counts.nnz == 0:
            return counts
        return csr_matrix(TfidfTransformer(sublinear_tf=False).fit_transform(counts))

    def _tokens(self, catalogue: Catalogue) -> tuple[list[str], list[int]]:
        """Return all tokens and the item of each."""
        pairs = [(word, item) for item in range(len(catalogue)) for word in tokens(catalogue, item)]
        return [word for word, _ in pairs], [item for _, item in pairs]


def tokens(catalogue: Catalogue, item: int) -> list[str]:
    """Return the words of title and summary (no stop words) and one token per genre, director and cast member."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    text = f"{catalogue.title[item]} {catalogue.summary[item]}".lower()
    words = [word for word in _WORD.findall(text) if word not in ENGLISH_STOP_WORDS]
    people = [*catalogue.cast[item], *([catalogue.director[item]] if catalogue.director[item] else [])]
    genres = [f"genre={genre.lower()}" for genre in catalogue.genres[item]]
    return words + genres + [f"person={person.lower()}" for person in people]


@final
@dataclass(frozen=True, eq=False)
class ContentPolicy:
    """See Content."""

    text: csr_matrix
    """csr float64[I, W]: TF-IDF rows of length 1, or empty."""
    mu: float
    """Mean of all ratings."""
    prior_weight: float
    """Ratings that the prior of a user's mean is worth."""
    popular: NDArray[np.float64]
    """float64[I]: number of ratings, for users without any."""

    def score(self, session: Session) -> NDArray[np.floating]:
        """Return float64[B, I]: cosine with the user's vector up to the vector's length."""
        rated = history.ratings(session)
        taste = history.centred(rated, self.mu, self.prior_weight)
        score = ((taste @ self.text) @ self.text.T).toarray()
        return cold(score, history.count(rated) > 0, self.popular)

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items nearest to the user's taste."""
        return top(self.score(session), session, k)
