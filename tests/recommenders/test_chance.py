"""Random and Exploring: luck that belongs to the user, and propensities that are true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simenv.errors import ConfigError
from simenv.recommenders import BestRated, Exploring, Popular, Random
from simenv.recommenders.exploring import propensity
from simenv.session import Session, take_rows
from simenv.testing.logs import tiny_catalogue, tiny_log

LOG = tiny_log(6, 8)
CATALOGUE = tiny_catalogue(LOG.items)
MANY = 20_000


def crowd(candidate: list[int] | None = None) -> Session:
    """MANY users without history, of whom the log knows nothing: only numbers to draw for."""
    nothing = LOG.take(np.zeros(len(LOG), bool))
    one = Session.begin(np.zeros(1, np.int64), nothing, None if candidate is None else np.array([candidate]))
    return replace(take_rows(one, np.zeros(MANY, np.int64)), user=np.arange(MANY))


@pytest.mark.parametrize(
    "recommender", [Random(), *(Exploring(Popular(), epsilon=e) for e in (0.2, 0.7, 1.0))], ids=repr
)
@pytest.mark.parametrize("candidate", [None, [1, 2, 5, 7]])
def test_propensities_are_the_frequencies(recommender: Random | Exploring, candidate: list[int] | None) -> None:
    session = crowd(candidate)
    slate = recommender.fit(LOG, CATALOGUE, seed=0).recommend(session, 4, seed=0)
    for place in range(4):
        said = {}
        for item in np.unique(slate.item[:, place]):
            at = slate.item[:, place] == item
            (said[item],) = np.unique(slate.propensity[at, place])
            assert abs(at.mean() - said[item]) < 5 * np.sqrt(said[item] / MANY)
        assert sum(said.values()) == pytest.approx(1.0), "some item was never drawn, or propensities are off"


def test_luck_changes_with_seed_page_and_user() -> None:
    policy = Random().fit(LOG, CATALOGUE, seed=0)
    session = Session.begin(np.zeros(2, np.int64), LOG.take(np.zeros(len(LOG), bool)))
    shown = policy.recommend(session, 8, seed=0).item
    np.testing.assert_array_equal(shown[0], shown[1])
    for other in (
        policy.recommend(session, 8, seed=1),
        policy.recommend(replace(session, page=session.page + 1), 8, seed=0),
        policy.recommend(replace(session, user=session.user + 1), 8, seed=0),
        Random().fit(LOG, CATALOGUE, seed=1).recommend(session, 8, seed=0),
    ):
        assert (other.item != shown).any()


def test_propensity_by_hand() -> None:
    """Three available items, two places, epsilon 1/2: the other place is kept or free with probability 1/2 each."""
    base = np.array([[0, 1]] * 4)
    item = np.array([[0, 1], [0, 2], [1, 0], [2, 1]])
    mean = (1 / 3 + 1 / 2) / 2
    own, swapped, new = 0.5 + 0.5 * mean, 0.25 / 3, 0.5 * mean
    want = [[own, own], [own, new], [swapped, swapped], [new, own]]
    np.testing.assert_allclose(propensity(base, item, np.full(4, 3), 0.5), want)


def test_empty_places_stay_empty_with_propensity_one() -> None:
    session = crowd([3, 4, -1])
    slate = Exploring(BestRated(), 0.5).fit(LOG, CATALOGUE, seed=0).recommend(session, 5, seed=0)
    assert (slate.item[:, 2:] == -1).all()
    assert (slate.item[:, :2] >= 0).all()
    slate.check(LOG.n_items, 5)


def test_what_draws_itself_is_refused() -> None:
    policy = Exploring(Random()).fit(LOG, CATALOGUE, seed=0)
    with pytest.raises(ConfigError, match="needs a deterministic recommender"):
        policy.recommend(Session.begin(np.arange(3), LOG), 2, seed=0)


@pytest.mark.parametrize("epsilon", [0.0, -0.1, 1.1, float("nan")])
def test_epsilon_out_of_range_is_refused(epsilon: float) -> None:
    with pytest.raises(ConfigError, match=r"epsilon must lie in \(0, 1\]"):
        Exploring(Popular(), epsilon)


def test_names() -> None:
    assert Exploring(Popular()).name == "popular+explore"
    assert Exploring(Popular(), name="logging").name == "logging"
