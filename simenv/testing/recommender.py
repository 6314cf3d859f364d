"""RecommenderContract: what every recommender promises. Inherit it to test your own; plain asserts, for pytest.

    class TestMine(RecommenderContract):
        recommender = Mine

Knows recommenders by protocol only.
"""

# ruff: noqa: D102 (the names of the tests say what is promised)

from __future__ import annotations

import copy
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.log import InteractionLog
from simenv.protocols import Policy, Recommender
from simenv.session import Response, Session, Slate, take_rows
from simenv.testing.logs import tiny_catalogue, tiny_log

_K = 5


class RecommenderContract:
    """Override `recommender`; override `log` and `catalogue` if yours needs another world."""

    def recommender(self) -> Recommender:
        """Return a new, unfitted recommender; called many times."""
        raise NotImplementedError("override recommender(self) and return yours")

    def log(self) -> InteractionLog:
        """Return the log it is fitted on: at least 6 users, 12 items."""
        return tiny_log()

    def catalogue(self) -> Catalogue:
        """Return the catalogue of the log's items."""
        return tiny_catalogue(self.log().items)

    def policy(self, log: InteractionLog | None = None, seed: int = 0) -> Policy:
        """Return the recommender fitted on `log`; None: on `self.log()`."""
        return self.recommender().fit(self.log() if log is None else log, self.catalogue(), seed=seed)

    def session(self) -> Session:
        """Return all users in mid-visit: their past, and one answered page in which some places were rated."""
        log = self.log()
        start = Session.begin(np.arange(log.n_users), log)
        return start.after(*_answered(start))

    def test_has_a_name_and_the_two_methods(self) -> None:
        recommender = self.recommender()
        assert isinstance(recommender, Recommender), "needs `name` and fit(log, catalogue, *, seed)"
        assert isinstance(recommender.name, str), "name must be text"
        assert recommender.name.strip(), "name must not be empty"
        assert isinstance(self.policy(), Policy), "fit must return something with recommend(session, k, *, seed)"

    def test_shows_k_distinct_items_that_were_not_seen(self) -> None:
        session = self.session()
        slate = self.policy().recommend(session, _K, seed=1)
        _check(slate, session, _K)
        assert (slate.item >= 0).all(), "places are empty although items are left"

    def test_shows_nothing_twice_until_all_is_shown(self) -> None:
        policy, session = self.policy(), self.session()
        for page in range(-(-session.n_items // _K) + 1):
            slate = policy.recommend(session, _K, seed=page)
            _check(slate, session, _K)
            session = session.after(slate, _response(slate))
        assert session.seen().all(), "some items were never shown"

    def test_pads_when_more_places_than_items(self) -> None:
        session = self.session()
        size = session.n_items + 3
        slate = self.policy().recommend(session, size, seed=1)
        _check(slate, session, size)

    def test_respects_candidates(self) -> None:
        log = self.log()
        half = np.arange(0, log.n_items, 2)
        candidate = np.tile(np.append(half, -1), (log.n_users, 1))
        session = Session.begin(np.arange(log.n_users), log, candidate)
        _check(self.policy().recommend(session, _K, seed=1), session, _K)

    def test_serves_users_unseen_at_fit_time(self) -> None:
        log = self.log()
        new = np.arange(0, log.n_users, 2)
        others = log.of_users(np.setdiff1d(np.arange(log.n_users), new))
        session = Session.begin(new, log)
        slate = self.policy(others).recommend(session, _K, seed=1)
        _check(slate, session, _K)

    def test_serves_users_without_any_history(self) -> None:
        log = self.log()
        nothing = log.take(np.zeros(len(log), bool))
        session = Session.begin(np.arange(log.n_users), nothing)
        _check(self.policy().recommend(session, _K, seed=1), session, _K)

    def test_same_seed_same_slate(self) -> None:
        session = self.session()
        first, second = (self.policy(seed=3).recommend(session, _K, seed=4) for _ in range(2))
        _same(first, second)

    def test_asking_twice_changes_nothing(self) -> None:
        session, policy = self.session(), self.policy()
        first = policy.recommend(session, _K, seed=4)
        policy.recommend(session, _K + 1, seed=9)
        _same(first, policy.recommend(session, _K, seed=4))

    def test_batch_order_and_size_do_not_matter(self) -> None:
        session, policy = self.session(), self.policy()
        whole = policy.recommend(session, _K, seed=5)
        turned = np.arange(len(session))[::-1]
        _same(take_rows(whole, turned), policy.recommend(take_rows(session, turned), _K, seed=5))
        for row in range(len(session)):
            one = np.array([row])
            _same(take_rows(whole, one), policy.recommend(take_rows(session, one), _K, seed=5))

    def test_leaves_its_input_alone(self) -> None:
        log, session = self.log(), self.session()
        before = _arrays(log), _arrays(session)
        self.policy(log).recommend(session, _K, seed=1)
        for old, new in zip(before, (_arrays(log), _arrays(session)), strict=True):
            for name in old:
                np.testing.assert_array_equal(old[name], new[name], err_msg=f"{name} was changed in place")

    def test_a_second_fit_leaves_the_first_policy_alone(self) -> None:
        recommender, session = self.recommender(), self.session()
        policy = recommender.fit(self.log(), self.catalogue(), seed=0)
        first = policy.recommend(session, _K, seed=1)
        half = self.log().take(np.arange(0, len(self.log()), 2))
        recommender.fit(half, self.catalogue(), seed=7)
        _same(first, policy.recommend(session, _K, seed=1))

    def test_can_be_copied_compared_and_printed(self) -> None:
        recommender = self.recommender()
        assert copy.deepcopy(recommender) == recommender, "a copy must equal its original (a frozen dataclass does)"
        text = repr(recommender)
        assert type(recommender).__name__ in text, "repr must name the class"
        assert " at 0x" not in text, "repr must show settings, not an address"
        assert len(text) < 1000, "repr must not print data"
        session, policy = self.session(), self.policy()
        _same(policy.recommend(session, _K, seed=1), copy.deepcopy(policy).recommend(session, _K, seed=1))


def _answered(session: Session) -> tuple[Slate, Response]:
    """Return a page of three free items per user, and answers to it."""
    free = session.available()
    item = np.stack([np.flatnonzero(row)[[0, 2, 4]] for row in free])
    slate = Slate.certain(item)
    return slate, _response(slate)


def _response(slate: Slate) -> Response:
    """Return answers: every other place consumed, of these the even items rated 5, others 1, multiples of 3 unrated."""
    item, shape = slate.item, slate.item.shape
    consumed = (item >= 0) & (np.arange(shape[1]) % 2 == 0)
    rating = np.where(item % 2 == 0, 5.0, 1.0).astype(np.float32)
    rating[~consumed | (item % 3 == 0)] = np.nan
    nothing = np.zeros(shape, np.float32)
    left = np.zeros(len(item), bool)
    return Response(consumed, rating, left, nothing[..., None], nothing, np.zeros(len(item)), nothing)


def _check(slate: Slate, session: Session, k: int) -> None:
    """Assert that the slate is well formed, shows only available items, none twice, and leaves no place needlessly."""
    slate.check(session.n_items, k)
    assert slate.item.shape == (len(session), k), f"expected items [B, K] = {(len(session), k)}; got {slate.item.shape}"
    assert slate.item.dtype == np.int64, f"items must be int64; got {slate.item.dtype}"
    free = session.available()
    for row, shown in enumerate(slate.item):
        items = shown[shown >= 0]
        assert len(set(items.tolist())) == len(items), f"an item stands twice in {shown}"
        assert free[row, items].all(), f"{items[~free[row, items]]} was seen before or is no candidate"
        assert len(items) == min(k, int(free[row].sum())), f"{len(items)} places filled, {free[row].sum()} items free"
        assert (shown[: len(items)] >= 0).all(), f"empty places must come last; got {shown}"


def _same(first: Slate, second: Slate) -> None:
    np.testing.assert_array_equal(first.item, second.item, err_msg="slates differ")
    np.testing.assert_array_equal(first.propensity, second.propensity, err_msg="propensities differ")


def _arrays(thing: InteractionLog | Session) -> dict[str, NDArray[np.generic]]:
    held = {field.name: getattr(thing, field.name) for field in fields(thing)}
    return {name: value.copy() for name, value in held.items() if isinstance(value, np.ndarray)}
