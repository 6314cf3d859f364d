"""RAFT examples: a target never stands in what it is predicted from, and what is hidden is hidden."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd, CrowdSettings
from simenv.agents.embedding import Tfidf
from simenv.agents.memory import ItemSpace
from simenv.agents.profile import Profiles
from simenv.agents.prompt import PRESET, PromptSettings, PromptWriter
from simenv.catalogue import Catalogue
from simenv.datasets.synthetic import World
from simenv.log import InteractionLog
from simenv.training.examples import Contexts, Evidence, Folds, LessonWriter, Pages, draw_contexts, evidence, fit_prior
from simenv.training.exit_model import person_periods

EVERYONE = np.arange(60)


@pytest.fixture(scope="module")
def log(tiny_world: World) -> InteractionLog:
    return tiny_world.log


def folds_of(log: InteractionLog, catalogue: Catalogue, mix: float = 0.3) -> Folds:
    space = ItemSpace.of(Crowd.fit(log, catalogue), catalogue, Tfidf(), mix=mix)
    return Folds.fit(log, catalogue, CrowdSettings(factors=3, sweeps=2), space, seed=1)


@pytest.fixture(scope="module")
def folds(tiny_world: World) -> Folds:
    return folds_of(tiny_world.log, tiny_world.catalogue)


def writer_of(world: World, folds: Folds, chosen: PromptSettings, **how: object) -> LessonWriter:
    log, catalogue = world.log, world.catalogue
    cuts = Profiles.of_log(log, EVERYONE, folds.crowd[0], catalogue).cuts
    prior = fit_prior(log, folds, EVERYONE, 3, epochs=1)
    return LessonWriter(PromptWriter(catalogue, log.scale, chosen), cuts, prior, **how)  # type: ignore[arg-type]


def rows(c: Contexts, b: int) -> tuple[Counter[tuple[int, float]], Counter[tuple[int, float]]]:
    """One user's context and targets as (item, rating)."""
    known = c.item[b] >= 0
    context = Counter(zip(c.item[b, known].tolist(), c.rating[b, known].tolist(), strict=True))
    own = c.row == b
    return context, Counter(zip(c.target[own].tolist(), c.answer[own].tolist(), strict=True))


@pytest.mark.parametrize("fraction", [None, 0.6])
def test_a_target_never_stands_in_its_context(log: InteractionLog, fraction: float | None) -> None:
    for seed in range(5):
        c = draw_contexts(log, EVERYONE, seed, fraction=fraction)
        for b, u in enumerate(EVERYONE):
            context, target = rows(c, b)
            item, rating = log.history(int(u))
            assert not {i for i, _ in context} & {i for i, _ in target}  # here nobody rates an item twice
            assert context + target == Counter(zip(item.tolist(), rating.tolist(), strict=True))


def test_contexts_are_oldest_first_and_targets_are_bounded(log: InteractionLog) -> None:
    c = draw_contexts(log, EVERYONE, 0, targets=4)
    assert np.bincount(c.row).max() == 4
    for b, u in enumerate(EVERYONE):
        known = c.item[b, c.item[b] >= 0]
        place = {item: n for n, item in enumerate(log.history(int(u))[0].tolist())}
        order = [place[i] for i in known.tolist()]
        assert order == sorted(order)
        assert (c.item[b, len(known) :] == -1).all()
        assert np.isnan(c.rating[b, len(known) :]).all()


def test_validation_is_cut_in_time(log: InteractionLog) -> None:
    c = draw_contexts(log, EVERYONE, 0, fraction=0.6)
    for b, u in enumerate(EVERYONE):
        item = log.history(int(u))[0]
        cut = round(len(item) * 0.6)
        assert c.item[b, :cut].tolist() == item[:cut].tolist()
        assert set(c.target[c.row == b].tolist()) == set(item[cut:].tolist())


def test_draws_belong_to_seed_and_user(log: InteractionLog) -> None:
    """Whoever else is drawn, a user's split is the same; another seed gives another."""
    whole, part = draw_contexts(log, EVERYONE, 3), draw_contexts(log, np.array([41, 7]), 3)
    assert rows(part, 0) == rows(whole, 41)
    assert rows(part, 1) == rows(whole, 7)
    other = draw_contexts(log, EVERYONE, 4)
    assert sum(rows(whole, b) != rows(other, b) for b in range(60)) > 50


def test_nobody_to_draw(log: InteractionLog) -> None:
    c = draw_contexts(log, np.zeros(0, np.int64), 0)
    assert len(c.user) == len(c.row) == len(c.target) == len(c.answer) == 0


def shuffled(log: InteractionLog, chosen: NDArray[np.bool_]) -> InteractionLog:
    rating = log.rating.copy()
    rating[chosen] = np.random.default_rng(0).permutation(rating[chosen])
    return replace(log, rating=rating)


def same(a: object, b: object) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))  # type: ignore[arg-type]


def test_a_folds_numbers_do_not_know_that_fold(log: InteractionLog, folds: Folds, tiny_world: World) -> None:
    for f in range(len(folds.crowd)):
        other = folds_of(shuffled(log, folds.fold[log.user] == f), tiny_world.catalogue)
        np.testing.assert_array_equal(other.fold, folds.fold)
        assert same(other.crowd[f], folds.crowd[f])
        np.testing.assert_array_equal(other.space[f].similarity, folds.space[f].similarity)
        assert not any(same(other.crowd[g], folds.crowd[g]) for g in range(5) if g != f)


def test_every_user_is_in_one_fold(folds: Folds) -> None:
    parts = dict(folds.parts(EVERYONE))
    assert sorted(u for own in parts.values() for u in own.tolist()) == EVERYONE.tolist()
    assert all((folds.fold[own] == f).all() for f, own in parts.items())
    assert max(map(len, parts.values())) - min(map(len, parts.values())) <= 1


def test_evidence_is_made_against_the_folds_own_crowd(log: InteractionLog, folds: Folds) -> None:
    for e in evidence(log, folds, EVERYONE, 5):
        f = int(folds.fold[e.contexts.user[0]])
        assert e.crowd is folds.crowd[f]
        assert (folds.fold[e.contexts.user] == f).all()
        np.testing.assert_array_equal(e.cues.item_mean, e.crowd.item_mean[e.contexts.target])
        c = e.contexts
        np.testing.assert_allclose(e.spread, e.taste.spread[c.row] * e.crowd.item_spread[c.target], rtol=1e-6)


@pytest.mark.parametrize("name", ["compact", "words", "paper"])
def test_answers_do_not_reach_their_own_prompts(tiny_world: World, folds: Folds, name: str) -> None:
    """Whatever a fold's targets are rated, their prompts and what the prior expects stay the same."""
    log, catalogue = tiny_world.log, tiny_world.catalogue
    lessons = writer_of(tiny_world, folds, PRESET[name])
    e = next(iter(evidence(log, folds, EVERYONE, 5)))
    c = e.contexts
    asked = {(int(c.user[b]), int(i)) for b, i in zip(c.row, c.target, strict=True)}
    hit = np.array([(u, i) in asked for u, i in zip(log.user.tolist(), log.item.tolist(), strict=True)])
    other = folds_of(replace(log, rating=np.where(hit, 6 - log.rating, log.rating)), catalogue)
    changed = replace(log, rating=np.where(hit, 6 - log.rating, log.rating))
    again = next(iter(evidence(changed, other, EVERYONE, 5)))
    assert (again.contexts.answer == 6 - c.answer).all()
    assert lessons.suffixes(again) == lessons.suffixes(e)
    np.testing.assert_array_equal(lessons.expected(again), lessons.expected(e))
    for b in range(len(c.user)):
        before, after = (lessons.writer.prefix(lessons.profiles(x), b) for x in (e, again))
        assert before == after


@pytest.mark.parametrize(("name", "k"), [("compact", 3), ("paper", 1), ("plain", 0)])
def test_memories_come_from_the_context(tiny_world: World, folds: Folds, name: str, k: int) -> None:
    lessons, catalogue = writer_of(tiny_world, folds, PRESET[name]), tiny_world.catalogue
    found = 0
    for e in evidence(tiny_world.log, folds, EVERYONE, 6):
        c = e.contexts
        for n, suffix in enumerate(lessons.suffixes(e)):
            words = name == "paper"
            recalled = [s for s in suffix if (s.endswith("\n") if words else s.startswith("Rated "))]
            context, _ = rows(c, int(c.row[n]))
            own = {(catalogue.title[i], f"I gave it {r:g}") for i, r in context}
            rated = {f"Rated {catalogue.title[i]} {r:g};" for i, r in context}
            assert all(any(s.startswith(f"{t}: {r}") for t, r in own) if words else s in rated for s in recalled), (
                recalled
            )
            assert len(recalled) <= k
            found += len(recalled)
    assert (found > 0) == (k > 0)


def text(suffixes: list[tuple[str, ...]]) -> list[str]:
    return ["".join(s) for s in suffixes]


@pytest.mark.parametrize("hide", [0.0, 0.5, 1.0])
def test_hiding(tiny_world: World, folds: Folds, hide: float) -> None:
    lessons = writer_of(tiny_world, folds, PRESET["compact"], hide=hide)
    said = [
        t for e in evidence(tiny_world.log, folds, EVERYONE, 6) for le in lessons.write(e, 0) for t in text(le.suffix)
    ]
    for cue in (" Crowd ", " Match "):
        assert np.mean([cue in t for t in said]) == pytest.approx(1 - hide, abs=0.06)
    both = np.mean([" Crowd " in t and " Match " in t for t in said])
    assert both == pytest.approx((1 - hide) ** 2, abs=0.06)  # one without the other occurs, too


def test_each_target_is_taught_once(tiny_world: World, folds: Folds) -> None:
    lessons = writer_of(tiny_world, folds, PRESET["compact"], hide=0.0, per_prefix=5)
    for e in evidence(tiny_world.log, folds, EVERYONE, 6):
        made, c = lessons.write(e, 0), e.contexts
        assert max(len(le.suffix) for le in made) <= 5
        place, expected = lessons.writer.scale.encode(c.answer), lessons.expected(e)
        wanted = Counter(zip(text(lessons.suffixes(e)), place.tolist(), expected.tolist(), strict=True))
        taught = Counter(
            (t, int(p), float(x)) for le in made for t, p, x in zip(text(le.suffix), le.place, le.expected, strict=True)
        )
        assert taught == wanted
        prefixes = {lessons.writer.prefix(lessons.profiles(e), b) for b in range(len(c.user))}
        assert {le.prefix for le in made} <= prefixes
        assert not any(le.exit for le in made)


def test_exit_lessons_have_no_teacher(tiny_world: World, folds: Folds) -> None:
    table = person_periods(tiny_world.log)
    cut_off = np.arange(tiny_world.log.n_users) < 10
    kept = Pages.of(table, cut_off)
    last = np.append(np.diff(table.user) != 0, True)
    assert len(kept.page) == int((~table.censored & ~(last & cut_off[table.user])).sum())
    pages = Pages.of(table, np.zeros(tiny_world.log.n_users, bool))
    assert len(pages.page) == int((~table.censored).sum())
    lessons = writer_of(tiny_world, folds, PRESET["compact"], pages=pages)
    made = [le for e in evidence(tiny_world.log, folds, EVERYONE, 6) for le in lessons.write(e, 0)]
    leaving = [le for le in made if le.exit]
    assert leaving
    for le in leaving:
        assert np.isnan(le.expected).all()
        assert set(le.place.tolist()) <= {0, 1}
        assert all(s[-1] == lessons.writer.exit_question for s in le.suffix)
    assert sum(int(le.place.sum()) for le in leaving) == int(pages.left.sum())  # few enough pages that all are taught
    assert all(np.isfinite(le.expected).all() for le in made if not le.exit)


def test_the_prior_is_better_than_the_mean(tiny_world: World, folds: Folds) -> None:
    """On splits it was not fitted on."""
    prior = fit_prior(tiny_world.log, folds, EVERYONE[:40], 3)
    fresh = evidence(tiny_world.log, folds, EVERYONE[40:], 99, fraction=0.6)

    def error(of: Callable[[Evidence], NDArray[np.floating]]) -> float:
        return float(np.mean(np.concatenate([(of(e) - e.contexts.answer) ** 2 for e in fresh])))

    assert error(lambda e: prior.expected(e.cues.feature, e.crowd.mean)) < 0.95 * error(
        lambda e: np.full(len(e.contexts.answer), e.crowd.mean)
    )
