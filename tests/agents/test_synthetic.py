from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit

from simenv.agents.exit import DECAY, ExitHazard
from simenv.agents.synthetic import LatentTaste, checkerboard, true_exit, true_population
from simenv.datasets.invented import TONES
from simenv.datasets.synthetic import PAGE, SHARES, Behaviour, World, _leaves, generate
from simenv.errors import ConfigError
from simenv.session import Slate
from simenv.testing.logs import checkerboard_log


@pytest.fixture(scope="module")
def world() -> World:
    return generate(0, n_users=600, n_items=400)


def test_the_seed_decides_every_byte() -> None:
    one, two, other = (generate(s, n_users=40, n_items=50) for s in (5, 5, 6))
    assert one.log.fingerprint == two.log.fingerprint != other.log.fingerprint
    assert one.catalogue.to_frame().equals(two.catalogue.to_frame())
    assert not one.catalogue.to_frame().equals(other.catalogue.to_frame())
    np.testing.assert_array_equal(one.truth.mu, two.truth.mu)


def test_ratings_look_like_movielens(world: World) -> None:
    rating, count = world.log.rating, world.log.count
    np.testing.assert_allclose(np.bincount(rating.astype(int))[1:] / len(rating), SHARES, atol=0.01)
    assert rating.std() == pytest.approx(1.12, abs=0.05)
    assert count.min() >= 20
    assert 60 <= np.median(count) <= 80
    assert count.max() <= 300
    best_possible = np.sqrt(np.mean((rating - world.truth.expected[world.log.user, world.log.item]) ** 2))
    assert 0.8 < best_possible < 0.95


def test_popularity_has_a_long_tail(world: World) -> None:
    count = np.sort(np.bincount(world.log.item, minlength=400))[::-1]
    assert count[:40].sum() > 2 * count[-120:].sum()
    assert (count > 0).all()


def test_an_item_is_rated_once_and_no_two_ratings_share_a_second(world: World) -> None:
    log = world.log
    assert len(np.unique(log.user * 400 + log.item)) == len(log)
    assert log.time is not None
    assert (np.diff(log.time)[np.diff(log.user) == 0] > 0).all()


def test_ratings_follow_the_truth(world: World) -> None:
    """Probability integral transform: observed minus stated frequency of each value, on average and by location."""
    log, truth = world.log, world.truth
    p = truth.p(log.user, log.item)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    hit = log.rating[:, None] == truth.scale.array
    for part in np.array_split(np.argsort(truth.mu[log.user, log.item]), 5):
        np.testing.assert_allclose(hit[part].mean(axis=0), p[part].mean(axis=0), atol=0.025)
    np.testing.assert_allclose(p @ truth.scale.array, truth.expected[log.user, log.item], atol=1e-4)


def test_the_dial_of_selection() -> None:
    def lift(selection: float, popularity: float) -> float:
        w = generate(1, n_users=150, n_items=200, selection=selection, selection_popularity=popularity)
        mu = w.truth.mu
        return float(np.mean(mu[w.log.user, w.log.item] - mu.mean(axis=1)[w.log.user]))

    none, some, much = lift(0, 0), lift(1, 0), lift(3, 0)
    assert abs(none) < 0.03
    assert 0.2 < some < much


def test_without_selection_every_item_is_as_likely() -> None:
    w = generate(2, n_users=400, n_items=100, selection=0, selection_popularity=0)
    count = np.bincount(w.log.item, minlength=100)
    share = len(w.log) / 400 / 100
    sd = np.sqrt(400 * share * (1 - share))
    assert np.abs(count - 400 * share).max() < 5 * sd
    assert np.std(count) < 1.3 * sd


def test_selection_changes_neither_catalogue_nor_tastes() -> None:
    one, two = (generate(4, n_users=30, n_items=40, selection=s) for s in (0.0, 2.0))
    assert one.catalogue.to_frame().equals(two.catalogue.to_frame())
    np.testing.assert_array_equal(one.truth.mu, two.truth.mu)


def test_the_words_carry_the_taste(world: World) -> None:
    """Genres and tone explain a good share of the items' latent vectors, people more of it."""
    catalogue, vector = world.catalogue, world.truth.vector
    genre = np.array([[g in row for g in catalogue.vocabulary] for row in catalogue.genres], float)
    tone = np.array([[f" {t} " in f" {s} " for t in TONES] for s in catalogue.summary], float)
    assert (tone.sum(axis=1) == 1).all()

    def r2(x: np.ndarray) -> float:
        x = np.column_stack([np.ones(len(x)), x])
        left = vector - x @ np.linalg.lstsq(x, vector, rcond=None)[0]
        return float(1 - left.var() / vector.var())

    assert r2(genre) > 0.25
    assert r2(np.column_stack([genre, tone])) > r2(genre) + 0.1


def test_catalogue_is_complete(world: World) -> None:
    c = world.catalogue
    assert c.items is world.log.items
    assert len(set(c.title)) == 400
    assert 8 <= len(c.vocabulary) <= 14
    assert all(1 <= len(g) <= 3 for g in c.genres)
    assert all(len(set(row)) == 3 for row in c.cast)
    assert all(s.endswith(".") for s in c.summary)
    assert not {a for row in c.cast for a in row} & set(c.director)
    assert min(c.year) >= 1920


def test_users_of_a_group_are_alike(world: World) -> None:
    taste, group = world.truth.taste, world.truth.group
    within = np.mean([taste[group == g].var(axis=0).mean() for g in np.unique(group)])
    assert within < 0.6 * taste.var(axis=0).mean()


class StayUntil:
    """Draws by which nobody leaves before a page, and there those whose hazard is above a level; then `after`."""

    def __init__(self, page: int, level: float, after: float = 1.0) -> None:
        self.page, self.level, self.after = page, level, after

    def normal(self, size: int) -> np.ndarray:
        return np.zeros(size)

    def random(self, shape: tuple[int, int]) -> np.ndarray:
        draw = np.ones(shape)
        draw[:, self.page] = self.level
        draw[:, self.page + 1 :] = self.after
        return draw


def test_visits_end_by_the_hazard_that_the_population_uses() -> None:
    """The generator may not import agents, so its formula is compared with theirs page by page."""
    w = generate(0, n_users=12, n_items=60, behaviour=Behaviour(frailty_sd=0.0))
    population, log = true_population(w), w.log
    item = np.full((12, 30), -1)
    for u in range(12):
        item[u, : log.count[u]] = log.history(u)[0][:30]
    state = population.begin(np.arange(12), np.zeros(12, np.uint64))
    for page in range(3):
        response, state = population.respond(state, Slate.certain(item[:, PAGE * page : PAGE * (page + 1)]))
        level = np.sort(response.p_exit)
        for low, high in pairwise(level):
            leaves = _leaves(StayUntil(page, (low + high) / 2), w.truth, item)  # type: ignore[arg-type]
            np.testing.assert_array_equal(leaves[:, page], response.p_exit > (low + high) / 2)
    leaves = _leaves(StayUntil(0, 0.0), w.truth, item)  # type: ignore[arg-type]
    assert leaves[:, 0].all()
    fresh = population.begin(np.arange(12), np.zeros(12, np.uint64))
    response, _ = population.respond(fresh, Slate.certain(item[:, PAGE : 2 * PAGE]))
    for low, high in pairwise(np.sort(response.p_exit)):
        leaves = _leaves(StayUntil(0, 0.0, (low + high) / 2), w.truth, item)  # type: ignore[arg-type]
        np.testing.assert_array_equal(leaves[:, 1], response.p_exit > (low + high) / 2)
    assert Behaviour().decay == DECAY


def test_visits_are_a_day_apart_and_the_log_stops_in_the_middle_of_one(world: World) -> None:
    log = world.log
    assert log.time is not None
    last = log.time[log.indptr[1:] - 1]
    assert last.max() - last.min() < 600
    step = np.diff(log.time)[np.diff(log.user) == 0]
    assert not ((step > 600) & (step < 80_000)).any()


def test_true_population_is_the_truth(world: World) -> None:
    population = true_population(world, np.array([1, 5]))
    assert population.member.tolist() == [1, 5]
    assert isinstance(population.rating_model, LatentTaste)
    user, item = np.array([1, 5, 5]), np.array([0, 9, 300])
    np.testing.assert_allclose(population.rating_model.rate(user, item).p, world.truth.p(user, item), atol=1e-6)
    hazard = true_exit(world.truth.behaviour)
    for f in fields(ExitHazard):
        if hasattr(world.truth.behaviour, f.name):
            assert getattr(hazard, f.name) == getattr(world.truth.behaviour, f.name)
    assert expit(hazard.page_logit[0]) == pytest.approx(0.27, abs=0.01)


def test_the_checkerboard_matches_its_log() -> None:
    board, log = checkerboard(20, 20), checkerboard_log(20, 20)
    assert board.users.ids == log.users.ids
    assert board.items.ids == log.items.ids
    best = board.scale.median(board.rating_model.rate(log.user, log.item).p)
    np.testing.assert_array_equal(best, log.rating)


@pytest.mark.parametrize("sizes", [{"n_users": 0}, {"n_items": 3}, {"n_genres": 4}, {"n_genres": 15}, {"n_groups": 0}])
def test_bad_sizes_are_named(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="a synthetic world needs"):
        generate(0, **sizes)  # type: ignore[arg-type]


def test_a_tiny_world_works() -> None:
    w = generate(0, n_users=1, n_items=8)
    assert len(w.log) == 6
    assert true_population(w)[1].expected([1]).shape == (1,)
