"""Every shipped recommender keeps the contract; broken ones are caught by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from simenv.catalogue import Catalogue
from simenv.log import InteractionLog
from simenv.protocols import Recommender
from simenv.recommenders import (
    ALS,
    BPR,
    BestRated,
    BiasedMF,
    Content,
    Exploring,
    ItemKNN,
    LongTail,
    Oracle,
    Popular,
    Random,
    from_scores,
)
from simenv.session import Session, Slate
from simenv.testing.logs import tiny_log
from simenv.testing.recommender import RecommenderContract


def truth(log: InteractionLog) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.random.default_rng(0).normal(size=(log.n_users, log.n_items))


class TestRandom(RecommenderContract):
    def recommender(self) -> Recommender:
        return Random()


class TestPopular(RecommenderContract):
    def recommender(self) -> Recommender:
        return Popular()


class TestBestRated(RecommenderContract):
    def recommender(self) -> Recommender:
        return BestRated()


class TestLongTail(RecommenderContract):
    def recommender(self) -> Recommender:
        return LongTail()


class TestItemKNN(RecommenderContract):
    def recommender(self) -> Recommender:
        return ItemKNN(neighbours=5)


class TestItemKNNLiked(RecommenderContract):
    def recommender(self) -> Recommender:
        return ItemKNN(form="liked", shrink=0.0)


class TestALS(RecommenderContract):
    def recommender(self) -> Recommender:
        return ALS(factors=4, iterations=3)


class TestALSAboveFour(RecommenderContract):
    def recommender(self) -> Recommender:
        return ALS(factors=4, iterations=3, like=4.0)


class TestBPR(RecommenderContract):
    def recommender(self) -> Recommender:
        return BPR(factors=4, iterations=5)


class TestBiasedMF(RecommenderContract):
    def recommender(self) -> Recommender:
        return BiasedMF(factors=3, iterations=3)


class TestContent(RecommenderContract):
    def recommender(self) -> Recommender:
        return Content()


class TestContentWithoutText(RecommenderContract):
    def recommender(self) -> Recommender:
        return Content()

    def catalogue(self) -> Catalogue:
        return Catalogue.bare(self.log().items)


class TestOracle(RecommenderContract):
    def recommender(self) -> Recommender:
        return Oracle(truth(self.log()))


class TestScores(RecommenderContract):
    def recommender(self) -> Recommender:
        log = self.log()
        u, i = np.indices((log.n_users, log.n_items)).reshape(2, -1)
        frame = pd.DataFrame({"user": log.users.decode(u), "item": log.items.decode(i), "score": truth(log).ravel()})
        return from_scores(frame)


class TestScoresForSome(RecommenderContract):
    def recommender(self) -> Recommender:
        log = self.log()
        frame = pd.DataFrame({"user": log.users.ids[0], "item": log.items.ids, "score": range(log.n_items)})
        return from_scores(frame, missing="popular")


class TestExploring(RecommenderContract):
    def recommender(self) -> Recommender:
        return Exploring(Popular(), epsilon=0.5)


class TestExploringAlways(RecommenderContract):
    def recommender(self) -> Recommender:
        return Exploring(BestRated(), epsilon=1.0)


class _Broken(RecommenderContract):
    """A contract around one of the broken recommenders below."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def recommender(self) -> Recommender:
        return Faulty(self.fault)


@dataclass(frozen=True)
class Faulty:
    fault: str
    name: str = "faulty"

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> FaultyPolicy:
        if self.fault == "changes input":
            log.rating[:] = 3
        return FaultyPolicy(self.fault, np.bincount(log.user, minlength=log.n_users) > 0, [0])


@dataclass(frozen=True)
class FaultyPolicy:
    fault: str
    known: np.ndarray[tuple[int], np.dtype[np.bool_]]
    asked: list[int]

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        self.asked[0] += 1
        item = np.full((len(session), k), -1, np.int64)
        for row, free in enumerate(session.available()):
            order = np.arange(session.n_items)
            if self.fault == "batch":
                order = np.roll(order, row)
            if self.fault == "state":
                order = np.roll(order, self.asked[0])
            if self.fault != "seen":
                order = order[free[order]] if self.fault != "candidates" else order[~session.seen()[row][order]]
            if self.fault == "known only" and not self.known[session.user[row]]:
                order = order[:0]
            item[row, : len(order[:k])] = order[:k]
        if self.fault == "repeats":
            item[:, 1] = item[:, 0]
        return Slate.certain(item.astype(np.int32) if self.fault == "small numbers" else item)


FAULTS = {
    "seen": "test_shows_k_distinct_items_that_were_not_seen",
    "repeats": "test_shows_k_distinct_items_that_were_not_seen",
    "candidates": "test_respects_candidates",
    "batch": "test_batch_order_and_size_do_not_matter",
    "state": "test_asking_twice_changes_nothing",
    "known only": "test_serves_users_unseen_at_fit_time",
    "changes input": "test_leaves_its_input_alone",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_contract_catches(fault: str) -> None:
    contract = _Broken(fault)
    with pytest.raises(AssertionError):
        getattr(contract, FAULTS[fault])()


@pytest.mark.parametrize("test", sorted({*FAULTS.values()}))
def test_the_contract_lets_a_sound_one_pass(test: str) -> None:
    getattr(_Broken("none"), test)()


def test_tiny_log_is_what_it_says() -> None:
    log = tiny_log(5, 9, seed=2)
    assert (log.n_users, log.n_items) == (5, 9)
    assert (log.count >= 3).all()
    assert (log.count <= 6).all()
    assert tiny_log(5, 9, seed=2).fingerprint == log.fingerprint != tiny_log(5, 9, seed=3).fingerprint
