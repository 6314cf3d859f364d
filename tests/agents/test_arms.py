"""Arms: what is exchanged or hidden is, everything else stays to the letter, and no one keeps their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.agents.arms import asked, conformity, derangement, disturbed, language_model, parts, shown_average
from simenv.agents.cues import FEATURE, cues
from simenv.agents.language_model import ScriptedModel
from simenv.agents.local_model import LocalModel
from simenv.agents.opaque import opaque
from simenv.agents.population import SimulatedPopulation
from simenv.agents.prompt import PRESET, PromptSettings
from simenv.agents.rating_model import LMRatingModel, MemoRatingModel
from simenv.agents.readout import Readout
from simenv.agents.synthetic import checkerboard
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.index import Index

USER = np.repeat(np.arange(12), 5)
ITEM = np.tile(np.array([0, 7, 19, 33, 58]), 12)


def model(population: SimulatedPopulation) -> LMRatingModel:
    lm = language_model(population)
    assert lm is not None
    return lm


def rebuilt(population: SimulatedPopulation, lm: LMRatingModel) -> SimulatedPopulation:
    return replace(population, rating_model=MemoRatingModel(lm, len(population.items)))


def with_prompt(population: SimulatedPopulation, prompt: PromptSettings) -> SimulatedPopulation:
    lm = model(population)
    writer = replace(lm.mind.writer, settings=prompt)
    return rebuilt(population, replace(lm, mind=replace(lm.mind, writer=writer)))


def with_readout(population: SimulatedPopulation, readout: Readout) -> SimulatedPopulation:
    return rebuilt(population, replace(model(population), readout=readout))


def texts(population: SimulatedPopulation) -> list[str]:
    return [p.text for p in asked(population, USER, ITEM)]


def prefixes(population: SimulatedPopulation) -> list[tuple[str, ...]]:
    return [p.prefix for p in asked(population, USER, ITEM)]


def suffixes(population: SimulatedPopulation) -> list[tuple[str, ...]]:
    return [p.suffix for p in asked(population, USER, ITEM)]


def prior(population: SimulatedPopulation) -> NDArray[np.float32]:
    return parts(population)["prior alone"].rating_model.rate(USER, ITEM).p


def expected_in_prompt(population: SimulatedPopulation) -> list[str]:
    return [re.findall(r"In all (\S+)\.", t)[0] for t in texts(population)]


@given(n=st.integers(2, 60), seed=st.integers(0, 9))
def test_a_derangement_leaves_no_one_alone(n: int, seed: int) -> None:
    other = derangement(n, seed)
    assert sorted(other) == list(range(n))
    assert (other != np.arange(n)).all()
    np.testing.assert_array_equal(other, derangement(n, seed))


def test_parts_read_one_source_each(tiny_population: SimulatedPopulation) -> None:
    """The prior asks no model; the language model alone is the pool with exponents one and zero."""
    silent = rebuilt(tiny_population, replace(model(tiny_population), model=ScriptedModel(lambda *_: 1 / 0)))
    p = parts(silent)["prior alone"].rating_model.rate(USER, ITEM).p
    row = model(tiny_population).mind.rows(USER)
    known = cues(model(tiny_population).mind.crowd, model(tiny_population).mind.taste, row, ITEM)
    np.testing.assert_allclose(p, model(tiny_population).prior_of(known), atol=1e-6)
    alone = parts(tiny_population)["language model alone"].rating_model.rate(USER, ITEM).p
    pool = with_readout(tiny_population, Readout(1.0, 0.0)).rating_model.rate(USER, ITEM).p
    np.testing.assert_allclose(alone, pool, atol=1e-6)
    assert np.abs(alone - p).max() > 0.01


def test_a_population_without_a_language_model_has_no_arms() -> None:
    simple = checkerboard()
    assert parts(simple) == {}
    assert disturbed(simple, 0) == {}
    assert asked(simple, np.array([0]), np.array([0])) == []
    assert shown_average(simple, np.array([0])) is None
    with pytest.raises(ConfigError, match="shown no crowd average"):
        conformity(simple, 0.5)


def test_arms_are_new_populations(tiny_population: SimulatedPopulation) -> None:
    """Answers remembered for the users as they are must not be given by those who are disturbed; nor their results."""
    found = {"as is": tiny_population, **parts(tiny_population), **disturbed(tiny_population, 0)}
    found |= {f"{s:+g}": conformity(tiny_population, s) for s in (-0.5, 0.5)}
    assert len({p.fingerprint for p in found.values()}) == len(found)
    assert len({id(p.rating_model) for p in found.values()}) == len(found)
    for population in found.values():
        np.testing.assert_array_equal(population.member, tiny_population.member)
        assert population.exit is tiny_population.exit
        np.testing.assert_allclose(population.rating_model.rate(USER, ITEM).p.sum(axis=1), 1, atol=1e-5)


def test_adapters_swapped(tiny_population: SimulatedPopulation) -> None:
    swapped = disturbed(tiny_population, 0)["adapter swapped"]
    own, other = model(tiny_population).mind.adapter, model(swapped).mind.adapter
    assert set(own) == set(other) == {"persona-1", "persona-2"}
    assert all(a != b for a, b in zip(own, other, strict=True))
    assert texts(swapped) == texts(tiny_population)
    assert isinstance(model(swapped).model, LocalModel)
    assert np.abs(swapped.rating_model.rate(USER, ITEM).p - tiny_population.rating_model.rate(USER, ITEM).p).max() > 0


def test_personas_swapped(tiny_population: SimulatedPopulation) -> None:
    swapped = disturbed(tiny_population, 3)["persona swapped"]
    other = derangement(12, 3)
    assert suffixes(swapped) == suffixes(tiny_population)
    assert prefixes(swapped) == [model(tiny_population).mind.prefix(int(other[u])) for u in USER]
    adapter = model(tiny_population).mind.adapter
    assert model(swapped).mind.adapter == tuple(adapter[o] for o in other)
    np.testing.assert_array_equal(prior(swapped), prior(tiny_population))


def test_recalled_texts_swapped(tiny_population: SimulatedPopulation) -> None:
    """What is recalled is what the other would recall; the rest of the prompt, and the prior, stay."""
    swapped, lm = disturbed(tiny_population, 3)["recalled texts swapped"], model(tiny_population)
    other = derangement(12, 3)
    wanted = [lm.mind.remember(e) for e in lm.mind.recalled(other[USER], ITEM)]
    got, own = suffixes(swapped), suffixes(tiny_population)
    assert [list(s[: len(w)]) for s, w in zip(got, wanted, strict=True)] == wanted
    rest = len(own[0]) - len(lm.mind.remember(lm.mind.recalled(USER, ITEM)[0]))
    assert [s[-rest:] for s in got] == [s[-rest:] for s in own]
    assert prefixes(swapped) == prefixes(tiny_population)
    np.testing.assert_array_equal(prior(swapped), prior(tiny_population))
    memory, real = model(swapped).mind.memory, lm.mind.memory
    for m in range(12):
        entries = [set(zip(x.item[x.user == u], x.rating[x.user == u], strict=True)) for x, u in
                   ((memory, m), (real, other[m]))]  # fmt: skip
        assert entries[0] == entries[1]
        assert memory.offset[m] == real.offset[other[m]]
        own_time = memory.time[memory.user == m] if memory.time is not None else np.zeros(0)
        assert (np.diff(own_time) >= 0).all()


def test_memories_swapped(tiny_population: SimulatedPopulation) -> None:
    """Besides the texts, what neighbours say is the other's, for prompt and prior; severity and factors stay."""
    found, lm = disturbed(tiny_population, 3), model(tiny_population)
    swapped, texts_alone = model(found["memory swapped"]).mind, model(found["recalled texts swapped"]).mind
    other = derangement(12, 3)
    np.testing.assert_array_equal(swapped.memory.item, texts_alone.memory.item)
    own, got = (cues(lm.mind.crowd, m.taste, USER, ITEM) for m in (lm.mind, swapped))
    for name in ("similar items, 10", "similar items, 40"):
        at = FEATURE.index(name)
        want = cues(lm.mind.crowd, lm.mind.taste, other[USER], ITEM).feature[:, at]
        np.testing.assert_allclose(got.feature[:, at], want, atol=1e-6)
    same = [FEATURE.index(n) for n in ("user offset", "factors", "genres", "genres chosen", "log known")]
    np.testing.assert_array_equal(got.feature[:, same], own.feature[:, same])
    assert np.abs(prior(found["memory swapped"]) - prior(tiny_population)).max() > 1e-4
    assert prefixes(found["memory swapped"]) == prefixes(tiny_population)


def test_users_swapped(tiny_population: SimulatedPopulation) -> None:
    """All evidence is the other's, prior included; the adapter stays."""
    swapped = disturbed(tiny_population, 3)["user swapped"]
    other = derangement(12, 3)
    assert texts(swapped) == [p.text for p in asked(tiny_population, other[USER], ITEM)]
    assert model(swapped).mind.adapter == model(tiny_population).mind.adapter
    wanted = parts(tiny_population)["prior alone"].rating_model.rate(other[USER], ITEM).p
    np.testing.assert_array_equal(prior(swapped), wanted)


def test_the_crowd_average_is_hidden_from_both(tiny_population: SimulatedPopulation) -> None:
    """Another crowd average, said by many or by nobody, changes not a letter and no probability."""
    tiny_population = with_prompt(tiny_population, replace(PRESET["compact"], total=True))
    hidden, lm = disturbed(tiny_population, 0)["crowd average hidden"], model(tiny_population)
    assert all("Crowd" in t for t in texts(tiny_population))
    assert not any("Crowd" in t for t in texts(hidden))
    assert all("Match" in t for t in texts(hidden))
    crowd = model(hidden).mind.crowd
    assert np.ptp(crowd.factor[:, 0]) == 0 < np.ptp(lm.mind.crowd.factor[:, 0])
    np.testing.assert_array_equal(crowd.factor[:, 1:], lm.mind.crowd.factor[:, 1:])
    loud = replace(crowd, item_offset=crowd.item_offset[::-1] + np.float32(1), item_count=crowd.item_count[::-1] * 9)
    told = rebuilt(hidden, replace(model(hidden), mind=replace(model(hidden).mind, crowd=loud)))
    assert texts(told) == texts(hidden)
    np.testing.assert_allclose(prior(told), prior(hidden), atol=1e-6)
    seen = rebuilt(tiny_population, replace(lm, mind=replace(lm.mind, crowd=loud)))
    assert np.abs(prior(seen) - prior(tiny_population)).max() > 0.01  # the check can fail
    assert expected_in_prompt(seen) != expected_in_prompt(tiny_population)


def test_the_taste_match_is_hidden_from_both(tiny_population: SimulatedPopulation) -> None:
    tiny_population = with_prompt(tiny_population, replace(PRESET["compact"], total=True))
    hidden = disturbed(tiny_population, 0)["taste match hidden"]
    assert all("Match" in t and "In all" in t for t in texts(tiny_population))
    assert not any("Match" in t or "In all" in t for t in texts(hidden))
    assert all("Crowd" in t for t in texts(hidden))
    crowd = model(hidden).mind.crowd
    for population, moves in ((hidden, False), (tiny_population, True)):
        lm = model(population)
        alike = replace(crowd, similarity=crowd.similarity[::-1].copy() + np.float32(0.1), factor=crowd.factor[::-1])
        told = rebuilt(population, replace(lm, mind=replace(lm.mind, crowd=alike)))
        assert (np.abs(prior(told) - prior(population)).max() > 1e-4) == moves


def test_a_hidden_cue_is_held_at_its_average(tiny_population: SimulatedPopulation) -> None:
    """The prior is right on average without it, and all other cues still count."""
    lm = model(tiny_population)
    for name, columns in (
        ("crowd average hidden", ["item offset", "item offset x spread", "log count"]),
        ("taste match hidden", ["similar items, 10", "similar items, 40", "factors", "support"]),
    ):
        blind, weight = model(disturbed(tiny_population, 0)[name]).prior.weight, lm.prior.weight
        at = [FEATURE.index(c) for c in columns]
        rest = [d for d in range(len(FEATURE)) if d not in at]
        assert (blind[at] == 0).all()
        assert (weight[at] != 0).all()
        np.testing.assert_array_equal(blind[rest], weight[rest])
        rng, count = np.random.default_rng(1), lm.mind.crowd.item_count
        item = rng.choice(60, 20_000, p=count / count.sum())
        seen = cues(lm.mind.crowd, lm.mind.taste, rng.integers(12, size=20_000), item).feature
        assert blind[-1] - weight[-1] == pytest.approx(float(seen[:, at].mean(axis=0) @ weight[at]), abs=0.02)


def test_opaque_titles(tiny_population: SimulatedPopulation) -> None:
    catalogue = model(tiny_population).mind.writer.catalogue
    worded = with_prompt(tiny_population, PRESET["words"])
    for population in (tiny_population, worded):
        coded = disturbed(population, 0)["opaque titles"]
        names = {*catalogue.title, *catalogue.director, *(c for cast in catalogue.cast for c in cast)} - {""}
        said = "\n".join(texts(population))
        assert sum(n in said for n in names) > 30
        assert not [n for n in names if n in "\n".join(texts(coded))]
        assert all(
            re.search(r"Film: T\d{4} \(", t) and any(g in t for g in catalogue.genres[i])
            for t, i in zip(texts(coded), ITEM, strict=True)
        )
        np.testing.assert_array_equal(prior(coded), prior(population))
        own, other = suffixes(population), suffixes(coded)
        assert [len(s) for s in own] == [len(s) for s in other]
        assert [s[-3:] for s in own] == [s[-3:] for s in other]  # crowd, match and question


def test_codes_stand_for_one_thing_each() -> None:
    items = Index((1, 2, 3), "item")
    catalogue = Catalogue(
        items,
        title=("Heat", "Ann Lee", "It"),
        year=(1995, 2001, 0),
        genres=(("Crime",), (), ()),
        cast=(("Al Roe", "Ann Lee"), (), ("Al Roe",)),
        director=("Ann Lee", "", ""),
        summary=("In Heat, Al Roe (not al roe, nor Alice) heats Heatwave.", "Ann Lee lives.", ""),
    )
    coded = opaque(catalogue, 4)
    assert sorted(coded.title) == ["T0000", "T0001", "T0002"]
    assert coded.cast[0][0] == coded.cast[2][0] != coded.cast[0][1] == coded.director[0]
    assert coded.director[1] == ""
    assert coded.summary[0] == f"In {coded.title[0]}, {coded.cast[0][0]} (not al roe, nor Alice) heats Heatwave."
    assert coded.summary[1] == f"{coded.title[1]} lives."
    assert (coded.genres, coded.year, coded.noun, coded.items) == (catalogue.genres, catalogue.year, "film", items)
    assert any(opaque(catalogue, seed).title != coded.title for seed in range(5))


ALL = [
    "adapter swapped", "persona swapped", "memory swapped", "recalled texts swapped", "user swapped",
    "crowd average hidden", "taste match hidden", "opaque titles",
]  # fmt: skip
Change = Callable[[SimulatedPopulation], SimulatedPopulation]


def one_voice(population: SimulatedPopulation) -> SimulatedPopulation:
    lm = model(population)
    return rebuilt(population, replace(lm, mind=replace(lm.mind, adapter=("single",) * 12)))


@pytest.mark.parametrize(
    ("change", "absent"),
    [
        (lambda p: p, set()),
        (one_voice, {"adapter swapped"}),
        (lambda p: with_prompt(p, PRESET["plain"]), {"recalled texts swapped"}),
        (lambda p: with_prompt(p, PRESET["paper"]), {"taste match hidden"}),
        (lambda p: with_prompt(p, PRESET["content"]), {"taste match hidden", "crowd average hidden"}),
        (
            lambda p: with_readout(p, Readout(arm="prior")),
            {"adapter swapped", "persona swapped", "recalled texts swapped", "opaque titles"},
        ),
    ],
)
def test_only_what_can_matter_is_disturbed(
    tiny_population: SimulatedPopulation, change: Change, absent: set[str]
) -> None:
    found = disturbed(change(tiny_population), 0)
    assert list(found) == [n for n in ALL if n not in absent]


def test_every_disturbance_reaches_the_answers(tiny_population: SimulatedPopulation) -> None:
    own = tiny_population.rating_model.rate(USER, ITEM).p
    for name, population in disturbed(tiny_population, 0).items():
        assert np.abs(population.rating_model.rate(USER, ITEM).p - own).max() > 1e-6, name


@pytest.mark.parametrize("shift", [-0.5, 0.3, 9.0])
def test_only_the_shown_average_moves(tiny_population: SimulatedPopulation, shift: float) -> None:
    moved = conformity(tiny_population, shift)
    before, after = (shown_average(p, ITEM) for p in (tiny_population, moved))
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after, np.clip(before + shift, 1, 5), atol=0.1001)
    printed = [float(re.findall(r"Crowd (\S+) by", t)[0]) for t in texts(moved)]
    assert printed == after.tolist()
    blanked = [[re.sub(r"Crowd \S+ by", "Crowd by", t) for t in texts(p)] for p in (tiny_population, moved)]
    assert blanked[0] == blanked[1]
    np.testing.assert_array_equal(prior(moved), prior(tiny_population))


def test_no_average_shown_none_moved(tiny_population: SimulatedPopulation) -> None:
    for population in (
        with_prompt(tiny_population, PRESET["content"]),
        with_readout(tiny_population, Readout(arm="prior")),
    ):
        assert shown_average(population, ITEM) is None
        with pytest.raises(ConfigError, match="shown no crowd average"):
            conformity(population, 0.5)


def test_a_seed_deals_the_same(tiny_population: SimulatedPopulation) -> None:
    one, same, other = (disturbed(tiny_population, s) for s in (1, 1, 2))
    for name in ALL:
        assert texts(one[name]) == texts(same[name])
    changed: list[Any] = [n for n in ALL if texts(one[n]) != texts(other[n])]
    assert {"persona swapped", "memory swapped", "user swapped", "opaque titles"} <= set(changed)
