"""THE prompt: as the golden files show it; presets keep their word; every number of the compact form is one token."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simenv.agents.crowd import Crowd
from simenv.agents.cues import Cues, Taste, cues
from simenv.agents.embedding import Tfidf
from simenv.agents.memory import ItemSpace, Memory
from simenv.agents.profile import Profiles
from simenv.agents.prompt import PRESET, PromptSettings, PromptWriter, crowd_word, numbers, preset
from simenv.agents.rating_model import Mind
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.scale import RatingScale
from simenv.testing.logs import tiny_catalogue, tiny_log
from simenv.training.world_model import train_tokenizer

GOLDEN = Path(__file__).parents[1] / "golden"
NUMBER = re.compile(r"[+-]?\d+\.\d|\d+%")
HALVES = RatingScale(tuple(n / 2 for n in range(1, 11)))


def golden() -> Callable[[], dict[str, str]]:
    spec = importlib.util.spec_from_file_location("make_prompts", GOLDEN / "make_prompts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Callable[[], dict[str, str]] = module.prompts
    return made


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return golden()()


@pytest.mark.parametrize("name", PRESET)
def test_golden(made: dict[str, str], name: str) -> None:
    wanted = (GOLDEN / f"prompt_{name}.txt").read_text(encoding="utf-8")
    assert made[name] == wanted, "the prompt changed: look, then run tests/golden/make_prompts.py"


def test_no_golden_file_is_left_over() -> None:
    assert {f.stem for f in GOLDEN.glob("prompt_*.txt")} == {f"prompt_{name}" for name in PRESET}


def mind(log: InteractionLog, chosen: PromptSettings) -> Mind:
    catalogue, user = tiny_catalogue(log.items), np.arange(log.n_users)
    crowd = Crowd.fit(log, catalogue)
    space = ItemSpace.of(crowd, catalogue, Tfidf(), mix=chosen.mix)
    return Mind(
        user,
        crowd,
        Taste.of(crowd, *log.padded(user)),
        Profiles.of_log(log, user, crowd, catalogue),
        Memory.of(log, crowd, catalogue, space),
        PromptWriter(catalogue, log.scale, chosen),
        (None,) * len(user),
    )


def suffixes(m: Mind, user: int) -> list[tuple[str, ...]]:
    """All of a user's suffixes, the expected rating left at 3."""
    item = np.arange(len(m.writer.catalogue))
    own = np.full(len(item), user)
    entry, known = m.recalled(own, item), cues(m.crowd, m.taste, own, item)
    return [m.writer.suffix(int(i), known, n, 3.0, m.remember(entry[n])) for n, i in enumerate(item)]


def others_changed(log: InteractionLog, user: int) -> InteractionLog:
    swapped = np.where(log.user == user, log.rating, 6 - log.rating)
    return replace(log, rating=swapped)


def test_content_shows_nothing_of_other_users() -> None:
    """Its suffixes stay the same to the letter when all others change their minds; those of other presets do not."""
    log = tiny_log()
    for name, chosen in PRESET.items():
        before, after = suffixes(mind(log, chosen), 2), suffixes(mind(others_changed(log, 2), chosen), 2)
        assert (before == after) == (name == "content"), name
    text = "".join("".join(s) for s in suffixes(mind(log, PRESET["content"]), 2))
    assert "Crowd" not in text
    assert "Match" not in text
    assert "Rated" in text


def test_paper_recalls_one_entry_by_text_and_shows_no_match() -> None:
    chosen = PRESET["paper"]
    assert (chosen.memories, chosen.mix, chosen.match, chosen.crowd) == (1, 1.0, False, True)
    log = tiny_log()
    m = mind(log, chosen)
    item = np.arange(30)
    recalled = m.recalled(np.full(30, 2), item)
    assert recalled.shape == (30, 1)
    own = np.flatnonzero(log.user == 2)
    for n in item[recalled[:, 0] >= 0]:
        likeness = m.memory.space.text[log.item[own]] @ m.memory.space.text[n]
        likeness[log.item[own] == n] = -1
        assert likeness[recalled[n, 0] - own[0]] == pytest.approx(likeness.max())
    text = "".join("".join(s) for s in suffixes(m, 2))
    assert "Match" not in text
    assert "Crowd" in text


def test_hidden_cues_are_not_there() -> None:
    m = mind(tiny_log(), PRESET["compact"])
    known = cues(m.crowd, m.taste, np.array([2]), np.array([5]))
    seen = {hide: "".join(m.writer.suffix(5, known, 0, 3.0, (), hide)) for hide in ((False, False), (True, False))}
    seen |= {hide: "".join(m.writer.suffix(5, known, 0, 3.0, (), hide)) for hide in ((False, True), (True, True))}
    for (crowd, match), text in seen.items():
        assert ("Crowd" in text) != crowd
        assert ("Match" in text) != match


def test_without_neighbours_there_is_a_word_and_no_zero() -> None:
    m = mind(tiny_log(), PRESET["compact"])
    known = cues(m.crowd, m.taste, np.array([2]), np.array([5]))
    alone = replace(known, similar=np.zeros(1, np.float32), similar_weight=np.zeros(1, np.float32))
    assert " Match none " in "".join(m.writer.suffix(5, alone, 0, 3.0))


def test_the_most_similar_memory_stands_next_to_the_item() -> None:
    m = mind(tiny_log(), PRESET["compact"])
    entry = m.recalled(np.array([2]), np.array([5]))[0]
    said = m.remember(entry)
    title = m.writer.catalogue.title
    assert [s.split(" ", 1)[1].rsplit(" ", 1)[0] for s in said] == [title[m.memory.item[e]] for e in entry[::-1]]
    suffix = m.writer.suffix(5, cues(m.crowd, m.taste, np.array([2]), np.array([5])), 0, 3.0, said)
    assert suffix[: len(said)] == tuple(said)
    assert suffix[len(said)].startswith("Film: Dark Story 5 (1985)")
    assert suffix[-1] == m.writer.question


@pytest.mark.parametrize(("count", "word"), [(0, "nobody"), (1, "a few"), (9, "a few"), (10, "some"), (50, "many")])
def test_crowd_words(count: int, word: str) -> None:
    assert crowd_word(count) == word
    assert crowd_word(1e9) == "a crowd"


def test_presets_by_name() -> None:
    assert preset("words", memories=1) == replace(PRESET["words"], memories=1)
    with pytest.raises(ConfigError, match=r"unknown prompt preset 'wordy'; known: compact, plain"):
        preset("wordy")
    with pytest.raises(ConfigError, match=r"memories must be >= 0 and mix in 0..1; got -1"):
        preset("words", memories=-1)


def tokenizer_of(scale: RatingScale) -> Any:
    texts = [t for s in suffixes(mind(tiny_log(), PRESET["compact"]), 2) for t in s]
    return train_tokenizer(texts, numbers(scale), 700)


TOKENIZERS = {len(scale): tokenizer_of(scale) for scale in (RatingScale(), HALVES)}


def written(scale: RatingScale, segments: tuple[str, ...]) -> tuple[Counter[str], Counter[str]]:
    """Count the numbers in segments, and the number tokens the tokenizer makes of them."""
    tokenizer, known = TOKENIZERS[len(scale)], set(numbers(scale))
    tokens = [t for s in segments for t in tokenizer.convert_ids_to_tokens(tokenizer(s)["input_ids"])]
    found = Counter(n for s in segments for n in NUMBER.findall(s))
    return found, Counter(t for t in tokens if t in known and NUMBER.fullmatch(t))


real = st.floats(-6, 6, width=32)


@given(
    scale=st.sampled_from([RatingScale(), HALVES]),
    near=real,
    like=real,
    weight=st.sampled_from([0.0, 0.01, 2.0]),
    part=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_every_cue_is_one_token(scale: RatingScale, near: float, like: float, weight: float, part: float) -> None:
    value = scale.values[0] + part * (scale.values[-1] - scale.values[0])
    one = {"item_mean": value, "item_count": 3, "similar": near, "similar_weight": weight, "likeminded": like}
    one["spread"] = 1.0
    known = Cues(**{k: np.array([v], np.float32) for k, v in one.items()}, feature=np.zeros((1, 1), np.float32))
    writer = PromptWriter(tiny_catalogue(tiny_log().items), scale, replace(PRESET["compact"], total=True))
    found, tokens = written(scale, writer.suffix(3, known, 0, value)[1:])
    assert sum(found.values()) == (4 if weight > 0 else 3)
    assert tokens == found


@given(
    mean=real,
    spread=st.floats(0, 3),
    severity=real,
    genre=st.lists(real, min_size=4, max_size=4),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_every_number_of_a_profile_is_one_token(
    mean: float, spread: float, severity: float, genre: list[float], seed: int
) -> None:
    log = tiny_log()
    catalogue = tiny_catalogue(log.items)
    profiles = Profiles.of_log(log, np.array([2]), Crowd.fit(log, catalogue), catalogue)
    share = np.random.default_rng(seed).dirichlet(np.ones(5))
    changed = replace(
        profiles,
        mean=np.array([np.clip(mean, 1, 5)]),
        spread=np.array([spread]),
        severity=np.array([severity]),
        share=share[None].astype(np.float32),
        genre=np.array([genre]),
        liked=np.array([[0, 1, -1, -1, -1]]),
        disliked=np.array([[2, 3, -1, -1, -1]]),
    )
    found, tokens = written(log.scale, PromptWriter(catalogue, log.scale, PRESET["compact"]).prefix(changed, 0))
    assert sum(found.values()) == 4 + 5 + 4
    assert tokens == found


@given(page=st.integers(1, 200), utility=real, best=real, repeat=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_every_mood_is_one_token(page: int, utility: float, best: float, repeat: float) -> None:
    log = tiny_log()
    writer = PromptWriter(tiny_catalogue(log.items), log.scale, PRESET["compact"])
    found, tokens = written(log.scale, writer.exit_suffix(page, utility, best, repeat)[1:])
    assert sum(found.values()) == 3
    assert tokens == found


@pytest.mark.parametrize("scale", [RatingScale(), HALVES, RatingScale((0.0, 1.0))])
def test_numbers_are_listed_once_each_and_with_the_symbols(scale: RatingScale) -> None:
    listed = numbers(scale)
    assert set(scale.symbols) <= set(listed)
    assert {"stay", "leave", "+0.0", "-2.5", "0%", "100%", f"{scale.values[-1]:.1f}"} <= set(listed)
    assert "-0.0" not in listed


def test_a_shy_zero_has_no_sign_of_its_own() -> None:
    writer = PromptWriter(tiny_catalogue(tiny_log().items), RatingScale(), PRESET["compact"])
    assert " Mood +0.0 best +0.0" in writer.exit_suffix(1, -0.01, -0.0, 0.0)


def test_unknown_people_say_so() -> None:
    """A user without any rating has a prefix without NaN and without invented numbers."""
    log = tiny_log()
    empty = log.take(log.user != 2)
    catalogue = tiny_catalogue(log.items)
    profiles = Profiles.of_log(empty, np.array([2, 3]), Crowd.fit(empty, catalogue), catalogue)
    for name in ("plain", "words"):
        writer = PromptWriter(catalogue, log.scale, PRESET[name])
        text = "".join(writer.prefix(profiles, 0))
        assert "nan" not in text.lower()
        assert text != "".join(writer.prefix(profiles, 1))
    assert "mean unknown spread unknown" in "".join(
        PromptWriter(catalogue, log.scale, PRESET["plain"]).prefix(profiles, 0)
    )


@pytest.mark.parametrize("profile", ["words", "numbers"])
def test_without_a_description_the_prefix_is_the_same_for_everybody(profile: Any) -> None:
    """Ml alone: the task and what is recalled, and nothing of Ms; suffixes stay as they were."""
    shown = preset("paper", profile=profile)
    with_ms, without = mind(tiny_log(), shown), mind(tiny_log(), replace(shown, describe=False))
    prefixes = {without.prefix(u) for u in range(12)}
    assert len(prefixes) == 1
    assert len({with_ms.prefix(u) for u in range(12)}) == 12
    text = "".join(next(iter(prefixes)))
    assert text
    assert not re.search(r"average|mean|Activity|Likes", text)
    if profile == "words":
        assert with_ms.prefix(0)[0] == text
    assert suffixes(with_ms, 3) == suffixes(without, 3)
