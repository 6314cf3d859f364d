"""Where the right answer is known: the checkerboard, counts by hand, the libraries' own ranking."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from simenv.errors import ConfigError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.protocols import Recommender
from simenv.recommenders import ALS, BPR, BestRated, BiasedMF, Content, ItemKNN, LongTail, Oracle, Popular
from simenv.recommenders import history as taste
from simenv.recommenders.biased_mf import ridge
from simenv.recommenders.factorisation import ALSPolicy
from simenv.recommenders.neighbours import similarity
from simenv.scale import RatingScale
from simenv.session import Response, Session, Slate
from simenv.testing.logs import checkerboard_log, tiny_catalogue, tiny_log

BOARD = checkerboard_log()
USERS = np.arange(BOARD.n_users)
PERSONAL = [
    ItemKNN(),
    ItemKNN(form="liked"),
    ALS(factors=4),
    ALS(factors=4, like=4.0),
    BPR(factors=4, learning_rate=0.1, iterations=100),
    BiasedMF(factors=2, regularization=0.5),
    Content(),
]


def small_log() -> InteractionLog:
    """Item 0: two ratings of 5; item 1: 4, 4, 4; item 2: 1; item 3: none."""
    users, items = Index((1, 2, 3), "user"), Index((10, 11, 12, 13), "item")
    user, item, rating = [0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 1, 2], [5, 4, 5, 4, 4, 1]
    return InteractionLog.of(users, items, user, item, rating, None, RatingScale())


def fresh(log: InteractionLog, n: int = 1) -> Session:
    return Session.begin(np.arange(n), log.take(np.zeros(len(log), bool)))


def own_side(slate: Slate, user: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int, int], np.dtype]:
    return np.asarray((slate.item + user[:, None]) % 2 == 0)


@pytest.mark.parametrize("recommender", PERSONAL, ids=repr)
def test_the_checkerboard_is_understood(recommender: Recommender) -> None:
    policy = recommender.fit(BOARD, tiny_catalogue(BOARD.items), seed=0)
    slate = policy.recommend(Session.begin(USERS, BOARD), 4, seed=0)
    assert own_side(slate, USERS)[:, :2].all(), "an item of the user's own side was left out"
    assert not own_side(slate, USERS)[:, 2:].any()


@pytest.mark.parametrize("recommender", PERSONAL, ids=repr)
def test_so_it_is_for_users_unseen_at_fit_time(recommender: Recommender) -> None:
    new = np.array([2, 7, 12, 17])
    others = BOARD.of_users(np.setdiff1d(USERS, new))
    policy = recommender.fit(others, tiny_catalogue(BOARD.items), seed=0)
    slate = policy.recommend(Session.begin(new, BOARD), 2, seed=0)
    assert own_side(slate, new).all()


@pytest.mark.parametrize("recommender", PERSONAL, ids=repr)
def test_what_is_rated_in_the_visit_counts(recommender: Recommender) -> None:
    """A user without history rates items 0 and 1: first one way, then the other; the next page follows."""
    others = BOARD.of_users(USERS[2:])
    policy = recommender.fit(others, tiny_catalogue(BOARD.items), seed=0)
    start = Session.begin(np.array([0, 1]), others)
    shown = Slate.certain(np.array([[0, 1], [0, 1]]))
    rating = np.array([[5, 1], [1, 5]], np.float32)
    blank, none = np.zeros((2, 2), np.float32), np.zeros(2)
    answer = Response(np.ones((2, 2), bool), rating, none.astype(bool), blank[..., None], blank, none, blank)
    slate = policy.recommend(start.after(shown, answer), 3, seed=0)
    assert own_side(slate, np.array([0, 1])).all()


def test_popular_counts_and_long_tail_counts_backwards() -> None:
    log = small_log()
    catalogue = tiny_catalogue(log.items)
    assert Popular().fit(log, catalogue, seed=0).recommend(fresh(log), 4, seed=0).item.tolist() == [[1, 0, 2, 3]]
    assert LongTail().fit(log, catalogue, seed=0).recommend(fresh(log), 4, seed=0).item.tolist() == [[2, 0, 1, 3]]


def test_best_rated_is_the_posterior_mean() -> None:
    log = small_log()
    mu = 23 / 6
    score = BestRated(weight=2).fit(log, tiny_catalogue(log.items), seed=0).score
    np.testing.assert_allclose(score, [(10 + 2 * mu) / 4, (12 + 2 * mu) / 5, (1 + 2 * mu) / 3, mu], rtol=1e-6)


def test_als_ranks_as_implicit_does() -> None:
    log = tiny_log(30, 40, seed=5)
    policy = ALS(factors=6, regularization=0.5, iterations=5).fit(log, tiny_catalogue(log.items), seed=0)
    user = np.arange(log.n_users)
    session = Session.begin(user, log)
    rows = taste.liked(taste.ratings(session), "own_mean").astype(np.float32)
    with threadpool_limits(1, "blas"):
        item, score = policy.model.recommend(user, rows, N=40, filter_already_liked_items=False, recalculate_user=True)
    mine = np.take_along_axis(policy.score(session), item, axis=1)
    np.testing.assert_allclose(mine, score, rtol=1e-4, atol=1e-5)
    unseen = replace(session, past_item=np.full_like(session.past_item, -1))
    assert (policy.recommend(unseen, 3, seed=0).item >= 0).all()


def test_als_solves_the_normal_equations_of_hu_koren_volinsky() -> None:
    log = tiny_log(30, 40, seed=5)
    setting = ALS(factors=3, regularization=0.7, confidence=4.0, iterations=4)
    policy: ALSPolicy = setting.fit(log, tiny_catalogue(log.items), seed=0)
    session = Session.begin(np.array([3]), log)
    y = policy.model.item_factors.astype(float)
    p = taste.liked(taste.ratings(session), "own_mean").toarray()[0]
    c = np.where(p > 0, 4.0, 1.0)
    x = np.linalg.solve(y.T @ (c[:, None] * y) + 0.7 * np.eye(3), y.T @ (c * p))
    np.testing.assert_allclose(policy.score(session)[0], y @ x, rtol=1e-3, atol=1e-4)


def test_same_seed_same_factors_other_seed_others() -> None:
    log, catalogue = tiny_log(), tiny_catalogue(tiny_log().items)
    for recommender in (ALS(factors=4), BPR(factors=4)):
        session = Session.begin(np.arange(log.n_users), log)
        one, two, three = (recommender.fit(log, catalogue, seed=s).score(session) for s in (1, 1, 2))
        np.testing.assert_array_equal(one, two)
        assert (one != three).any()


def test_implicit_libraries_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    log = tiny_log()
    for recommender in (ALS(factors=4), BPR(factors=4)):
        recommender.fit(log, tiny_catalogue(log.items), seed=0)
    assert capfd.readouterr() == ("", "")


def test_similarity_is_the_plain_shrunk_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = taste.centred(tiny_log().matrix().astype(float), 3.0, 2.0)
    dense, rated = columns.toarray(), tiny_log().matrix().toarray() != 0
    monkeypatch.setattr("simenv.recommenders.neighbours._BLOCK_CELLS", 200)
    near = similarity(columns, 4, 3.0).toarray().T
    for i in range(dense.shape[1]):
        plain = np.zeros(dense.shape[1])
        for j in range(dense.shape[1]):
            n = (rated[:, i] & rated[:, j]).sum()
            length = np.linalg.norm(dense[:, i]) * np.linalg.norm(dense[:, j])
            if i != j and length > 0:
                plain[j] = dense[:, i] @ dense[:, j] / length * n / (n + 3.0)
        kept = np.argsort(-plain, kind="stable")[:4]
        want = np.zeros_like(plain)
        want[kept] = np.maximum(plain[kept], 0)
        np.testing.assert_allclose(near[i], want, atol=1e-12)


def test_ridge_is_the_plain_regression() -> None:
    draw = np.random.default_rng(0)
    dense = np.where(draw.random((6, 9)) < 0.6, draw.normal(size=(6, 9)), 0.0)
    dense[2] = 0
    other = draw.normal(size=(9, 4))
    solved = ridge(csr_matrix(dense), other, 1.5)
    for row, mine in zip(dense, solved, strict=True):
        at = np.flatnonzero(row)
        x = np.concatenate([np.ones((len(at), 1)), other[at, 1:]], axis=1)
        plain = np.linalg.solve(x.T @ x + 1.5 * np.eye(4), x.T @ (row[at] - other[at, 0]))
        np.testing.assert_allclose(mine, plain, atol=1e-10)


def test_mf_predicts_held_out_ratings_better_than_the_mean() -> None:
    policy = BiasedMF(factors=2, regularization=0.5).fit(BOARD, tiny_catalogue(BOARD.items), seed=0)
    score = policy.score(Session.begin(USERS, BOARD))
    u, i = np.nonzero(BOARD.matrix().toarray() == 0)
    truth = np.where((u + i) % 2 == 0, 5, 1)
    assert np.abs(score[u, i] - truth).mean() < 0.5


def test_the_oracle_follows_the_truth() -> None:
    truth = np.random.default_rng(1).normal(size=(BOARD.n_users, BOARD.n_items))
    session = fresh(BOARD, 5)
    catalogue = tiny_catalogue(BOARD.items)
    shown = Oracle(truth).fit(BOARD, catalogue, seed=0).recommend(session, 20, seed=0).item
    np.testing.assert_array_equal(shown, np.argsort(-truth[:5], axis=1))
    worst = Oracle(-truth, name="anti-oracle").fit(BOARD, catalogue, seed=0).recommend(session, 20, seed=0).item
    np.testing.assert_array_equal(worst, shown[:, ::-1])


def test_the_oracle_of_another_world_is_refused() -> None:
    with pytest.raises(ConfigError, match="knows 3 users and 20 items, but the log has 20 and 20"):
        Oracle(np.zeros((3, 20))).fit(BOARD, tiny_catalogue(BOARD.items), seed=0)
    with pytest.raises(ConfigError, match=r"needs expected ratings \[U, I\]; got shape \(3,\)"):
        Oracle(np.zeros(3))


def test_oracles_of_different_truths_differ() -> None:
    assert Oracle(np.zeros((2, 2))) == Oracle(np.zeros((2, 2))) != Oracle(np.ones((2, 2)))


def test_content_needs_no_text() -> None:
    """Items without any text score nothing; with text on half of them, disliked ones come after these."""
    catalogue = tiny_catalogue(BOARD.items)
    blank = ("",) * len(catalogue)
    nothing: tuple[tuple[str, ...], ...] = ((),) * len(catalogue)
    bare = replace(catalogue, title=blank, summary=blank, director=blank, cast=nothing, genres=nothing)
    policy = Content().fit(BOARD, bare, seed=0)
    assert (policy.score(Session.begin(USERS, BOARD)) == 0).all()


def test_content_reads_genres_people_and_words_apart() -> None:
    catalogue = tiny_catalogue(BOARD.items)
    blank = ("",) * len(catalogue)
    empty: tuple[tuple[str, ...], ...] = ((),) * len(catalogue)
    only = {
        "genres": replace(catalogue, title=blank, summary=blank, director=blank, cast=empty),
        "director": replace(catalogue, title=blank, summary=blank, cast=empty, genres=empty),
        "summary": replace(catalogue, title=blank, director=blank, cast=empty, genres=empty),
    }
    for name, part in only.items():
        slate = Content().fit(BOARD, part, seed=0).recommend(Session.begin(USERS, BOARD), 2, seed=0)
        assert own_side(slate, USERS).all(), name
    silent = Content(genre_weight=0).fit(BOARD, only["genres"], seed=0)
    assert silent.text.nnz == 0
