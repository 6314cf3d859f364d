"""LMRatingModel, its memory of answers and the persona's stay/leave answer: what is asked, of whom, and read how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.agents.exit import CombinedExit
from simenv.agents.exit_answer import ExitAnswer
from simenv.agents.language_model import Prompt, ScriptedModel, UniformModel
from simenv.agents.prompt import EXIT_OPTIONS, PRESET, PromptWriter
from simenv.agents.rating_model import LMRatingModel, MemoRatingModel, Mind
from simenv.agents.readout import Readout
from simenv.errors import ConfigError, UnknownIdError
from simenv.protocols import Answer, RatingModel
from simenv.scale import RatingScale

USER = np.array([3, 0, 3, 11, 7], np.int64)
ITEM = np.array([9, 9, 4, 30, 59], np.int64)


@final
@dataclass
class Listener:
    """Answers by prompt and adapter alone, and writes down what it was asked."""

    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def score(
        self, prompts: Sequence[Prompt], options: Sequence[str], *, adapters: Sequence[str | None]
    ) -> NDArray[np.float32]:
        """Return log-probabilities made from the bytes of the prompt."""
        self.asked += [(p.text, a) for p, a in zip(prompts, adapters, strict=True)]
        seeds = [sum(p.text.encode()) + len(a or "") for p, a in zip(prompts, adapters, strict=True)]
        p = [np.random.default_rng(s).dirichlet(np.ones(len(options) + 1))[:-1] for s in seeds]
        return np.asarray(np.log(np.array(p).reshape(len(prompts), len(options))), np.float32)

    def write(
        self, prompts: Sequence[Prompt], *, adapters: Sequence[str | None], max_tokens: int, seed: int
    ) -> list[str]:
        """Say nothing."""
        raise NotImplementedError


@pytest.fixture(scope="module")
def trained(tiny_population: Any) -> LMRatingModel:
    memo = tiny_population.rating_model
    assert isinstance(memo, MemoRatingModel)
    assert isinstance(memo.inner, LMRatingModel)
    return memo.inner


def test_each_member_speaks_through_its_persona(trained: LMRatingModel) -> None:
    listener = Listener()
    replace(trained, model=listener).rate(USER, ITEM)
    mind = trained.mind
    assert [a for _, a in listener.asked] == [mind.adapter[u] for u in USER]
    assert set(mind.adapter) == {"persona-1", "persona-2"}
    assert [t for t, _ in listener.asked] == [p.text for p in trained.prompts(USER, ITEM)]


def test_a_prompt_is_of_its_user_and_item(trained: LMRatingModel) -> None:
    catalogue, memory = trained.mind.writer.catalogue, trained.mind.memory
    for prompt, user, item in zip(trained.prompts(USER, ITEM), USER, ITEM, strict=True):
        assert prompt.prefix == trained.mind.prefix(int(user))
        assert f"Film: {catalogue.title[item]} (" in "".join(prompt.suffix)
        own = {catalogue.title[i] for i in memory.item[memory.start[user] : memory.start[user + 1]] if i != item}
        recalled = [s[len("Rated ") :].rsplit(" ", 1)[0] for s in prompt.suffix if s.startswith("Rated ")]
        assert set(recalled) <= own
        assert prompt.suffix[-1] == " Rating:"


@pytest.mark.parametrize("cut", range(6))
def test_order_and_split_of_the_batch(trained: LMRatingModel, cut: int) -> None:
    """Empty batches included."""
    model, order = replace(trained, model=Listener()), np.random.default_rng(cut).permutation(5)
    whole = model.rate(USER, ITEM)
    for part in (order[:cut], order[cut:]):
        some = model.rate(USER[part], ITEM[part])
        np.testing.assert_allclose(some.p, whole.p[part], atol=1e-5)
        np.testing.assert_array_equal(some.support, whole.support[part])


def test_strangers_are_refused(trained: LMRatingModel) -> None:
    for call in (trained.rate, trained.prompts):
        with pytest.raises(UnknownIdError, match="user number 40 is not simulated here"):
            call(np.array([0, 40]), np.array([1, 1]))


def test_arms(trained: LMRatingModel) -> None:
    listener = Listener()
    model = replace(trained, model=listener, readout=Readout(arm="prior"))
    prior = model.rate(USER, ITEM)
    assert listener.asked == []
    assert not prior.off_scale.any()
    alone = replace(model, readout=Readout(arm="lm"), model=UniformModel(100)).rate(USER, ITEM)
    np.testing.assert_allclose(alone.p, 0.2, atol=1e-6)
    np.testing.assert_allclose(alone.off_scale, 0.95, atol=1e-6)
    blind = replace(model, readout=Readout(0.5, 1.0), model=UniformModel(100)).rate(USER, ITEM)
    np.testing.assert_allclose(blind.p, prior.p, atol=1e-5)
    np.testing.assert_array_equal(alone.support, trained.mind.crowd.item_count[ITEM])


def test_scripted_answers_are_read_as_they_are(trained: LMRatingModel) -> None:
    script = {"1": 0.1, "2": 0.1, "3": 0.2, "4": 0.1, "5": 0.4}
    model = replace(
        trained, readout=Readout(arm="lm"), model=ScriptedModel(lambda text, option, adapter: script[option])
    )
    said = model.rate(USER, ITEM)
    np.testing.assert_allclose(said.p, np.tile(np.array(list(script.values())) / 0.9, (5, 1)), atol=1e-6)
    np.testing.assert_allclose(said.off_scale, 0.1, atol=1e-6)
    mad = replace(model, model=ScriptedModel(lambda text, option, adapter: 0.5))
    with pytest.raises(ConfigError, match="sum to more than 1"):
        mad.rate(USER, ITEM)


@final
@dataclass
class Counted:
    """A rating model that counts the pairs it is asked for."""

    pairs: list[tuple[int, int]] = field(default_factory=list)

    @property
    def scale(self) -> RatingScale:
        """1 to 5."""
        return RatingScale()

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Answer by numbers of user and item."""
        self.pairs += list(zip(user.tolist(), item.tolist(), strict=True))
        p = np.stack([user + 1, item + 1, user + item + 1, user * 0 + 1, item * 0 + 1], axis=1).astype(np.float32)
        return Answer(p / p.sum(axis=1, keepdims=True), (user / 10).astype(np.float32), item.astype(np.float32))


pair = st.tuples(st.integers(0, 4), st.integers(0, 6))


@given(calls=st.lists(st.lists(pair, max_size=8), max_size=6))
@settings(max_examples=60, deadline=None)
def test_answers_are_remembered_and_never_asked_twice(calls: list[list[tuple[int, int]]]) -> None:
    inner = Counted()
    memo: RatingModel = MemoRatingModel(inner, 7)
    for asked in calls:
        user, item = np.array(asked, np.int64).reshape(-1, 2).T
        got, wanted = memo.rate(user, item), Counted().rate(user, item)
        assert got.p.shape == (len(asked), 5)
        np.testing.assert_array_equal(got.p, wanted.p)
        np.testing.assert_array_equal(got.off_scale, wanted.off_scale)
        np.testing.assert_array_equal(got.support, wanted.support)
    assert len(inner.pairs) == len(set(inner.pairs))
    assert set(inner.pairs) == {p for asked in calls for p in asked}


def leaving(mind: Mind, model: Any) -> ExitAnswer:
    return ExitAnswer(
        replace(mind, writer=PromptWriter(mind.writer.catalogue, mind.writer.scale, PRESET["plain"])), model
    )


def test_the_stay_or_leave_answer(trained: LMRatingModel, tiny_population: Any) -> None:
    state = tiny_population.begin(np.array([5, 2]), np.array([7, 8], np.uint64))
    state = replace(state, page=np.array([3, 40]), utility=np.array([0.44, -1.0]), best=np.array([1.0, 0.2]))
    listener = Listener()
    logit = leaving(trained.mind, listener).logit(state, np.zeros(2))
    said = [text for text, _ in listener.asked]
    assert said[0].endswith("Page 3. Mood +0.4 best +1.0 repeats 0%. Next:")
    assert said[1].endswith("Page 30. Mood -1.0 best +0.2 repeats 0%. Next:")
    assert [t.startswith("".join(trained.mind.prefix(u))) for t, u in zip(said, (5, 2), strict=True)] == [True, True]
    assert [a for _, a in listener.asked] == [trained.mind.adapter[5], trained.mind.adapter[2]]
    wants = {"stay": 0.2, "leave": 0.6}
    assert tuple(wants) == EXIT_OPTIONS
    fixed = leaving(trained.mind, ScriptedModel(lambda text, option, adapter: wants[option]))
    np.testing.assert_allclose(fixed.logit(state, np.zeros(2)), np.log(3), atol=1e-6)
    hazard = replace(tiny_population.exit, slope_utility=0.0, slope_best=0.0, slope_repeat=0.0, slope_activity=0.0)
    calm = replace(state, frailty=np.zeros(2))
    np.testing.assert_allclose(CombinedExit(fixed, hazard).p_exit(calm, np.zeros(2)), 0.75, atol=1e-6)
    assert logit.shape == (2,)


def test_trained_answers_depend_on_user_and_item(tiny_population: Any, tiny_folder: Path) -> None:
    """The real model, through the folder: finite, on the scale, different for different pairs."""
    said = tiny_population.rating_model.rate(USER, ITEM)
    np.testing.assert_allclose(said.p.sum(axis=1), 1, atol=1e-5)
    assert (said.p > 0).all()
    assert ((said.off_scale >= 0) & (said.off_scale < 1)).all()
    assert len(np.unique(said.p[:, 0])) == 5
