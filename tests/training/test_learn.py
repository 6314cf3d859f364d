"""The training loop: its loss is what serving would measure, it falls on what can be learned, and errors have words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from simenv.agents.language_model import Prompt
from simenv.agents.local_model import LocalModel
from simenv.agents.packing import SegmentTokenizer
from simenv.agents.prompt import EXIT_OPTIONS
from simenv.errors import ConfigError
from simenv.training.examples import Lesson
from simenv.training.finetune import LoraSettings, attach
from simenv.training.lean import Lean
from simenv.training.learn import Answers, LearnSettings, batches, learn
from simenv.training.speed import Speed, Work

DIGITS = ("1", "2", "3", "4", "5")
Model = Callable[..., Any]


def toy(exit: bool = False) -> list[Lesson]:
    """Those who like comedy rate everything 5, the others 1; who is in a bad mood leaves."""
    made = []
    for likes, place, expected in (("Comedy", 4, 4.5), ("Drama", 0, 1.5)):
        suffix: list[tuple[str, ...]] = [(f"Film: {title} Story.", " Rating:") for title in ("Dark", "Sunny", "Comedy")]
        prefix = (f"Likes {likes}.\n",)
        made.append(Lesson(prefix, suffix, np.full(3, place), np.full(3, expected, np.float32)))
        if exit:
            leaving: list[tuple[str, ...]] = [(f" Mood {mood}", " Next:") for mood in ("-0.5", "+0.5")]
            made.append(Lesson(prefix, leaving, np.array([1, 0]), np.full(2, np.nan, np.float32), exit=True))
    return made


def answers(segments: SegmentTokenizer) -> Answers:
    rating = segments.answer_ids(" Rating:", DIGITS)
    return Answers(rating, segments.answer_ids(" Next:", EXIT_OPTIONS), (1.0, 2.0, 3.0, 4.0, 5.0))


def always(lessons: list[Lesson]) -> Iterator[list[Lesson]]:
    while True:
        yield lessons


def plainly(model: Any, tokenizer: Any, lessons: list[Lesson]) -> float:
    """Mean surprise at the true answers, one prompt at a time through the serving path."""
    local, loss = LocalModel(model, tokenizer), []
    for le in lessons:
        options = EXIT_OPTIONS if le.exit else DIGITS
        prompts = [Prompt(le.prefix, s) for s in le.suffix]
        logp = local.score_plainly(prompts, options, adapters=[None] * len(prompts))
        loss += (-logp[np.arange(len(prompts)), le.place]).tolist()
    return float(np.mean(loss))


@pytest.mark.parametrize("exit", [False, True])
def test_the_loss_is_what_serving_measures(tiny_llama: Model, tiny_tokenizer: Any, exit: bool) -> None:
    model, segments = tiny_llama(), SegmentTokenizer(tiny_tokenizer)
    wanted = plainly(model, tiny_tokenizer, toy(exit))
    (loss,) = learn(model, segments, answers(segments), always(toy(exit)), LearnSettings(steps=1, teacher=0))
    assert loss == pytest.approx(wanted, abs=1e-4)


def test_the_teacher_adds_the_squared_gap(tiny_llama: Model, tiny_tokenizer: Any) -> None:
    """Of ratings alone: exit lessons have none."""
    model, segments, lessons = tiny_llama(), SegmentTokenizer(tiny_tokenizer), toy(exit=True)
    local, gap = LocalModel(model, tiny_tokenizer), []
    for le in (x for x in lessons if not x.exit):
        p = np.exp(local.score_plainly([Prompt(le.prefix, s) for s in le.suffix], DIGITS, adapters=[None] * 3))
        gap += ((p @ np.arange(1, 6) / p.sum(axis=1) - le.expected) ** 2).tolist()
    wanted = plainly(model, tiny_tokenizer, lessons) + 3 * float(np.mean(gap))
    (loss,) = learn(model, segments, answers(segments), always(lessons), LearnSettings(steps=1, teacher=3))
    assert loss == pytest.approx(wanted, abs=1e-3)


def test_a_learnable_toy_is_learned(tiny_llama: Model, tiny_tokenizer: Any) -> None:
    model, segments = tiny_llama(hidden=32), SegmentTokenizer(tiny_tokenizer)
    told: list[tuple[int, int, float]] = []
    how = LearnSettings(steps=60, rate=1e-2, warmup=3, teacher=0, decay=0)
    losses = learn(model, segments, answers(segments), always(toy(exit=True)), how, lambda *step: told.append(step))
    assert len(losses) == 60
    assert losses[-1] < 0.1 * losses[0]
    assert [(step, steps) for step, steps, _ in told] == [(n + 1, 60) for n in range(60)]
    assert [loss for _, _, loss in told] == losses


def test_a_teacher_is_followed(tiny_llama: Model, tiny_tokenizer: Any) -> None:
    """With answers of chance and a strong teacher, the expected rating goes to where the teacher is."""
    segments, rng = SegmentTokenizer(tiny_tokenizer), np.random.default_rng(0)

    def noisy() -> Iterator[list[Lesson]]:
        while True:
            yield [replace(le, place=rng.integers(0, 5, len(le.place))) for le in toy()]

    model = tiny_llama(hidden=32)
    learn(
        model, segments, answers(segments), noisy(), LearnSettings(steps=60, rate=1e-2, warmup=3, teacher=20, decay=0)
    )
    local = LocalModel(model, tiny_tokenizer)
    for le in toy():
        p = np.exp(local.score([Prompt(le.prefix, s) for s in le.suffix], DIGITS, adapters=[None] * 3))
        np.testing.assert_allclose(p @ np.arange(1, 6) / p.sum(axis=1), le.expected, atol=0.6)


def test_the_same_lessons_give_the_same_weights(tiny_llama: Model, tiny_tokenizer: Any) -> None:
    segments, made = SegmentTokenizer(tiny_tokenizer), []
    for _ in range(2):
        model = tiny_llama()
        learn(model, segments, answers(segments), batches(lambda n: toy(), 1, 0), LearnSettings(steps=4))
        made.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


def test_nothing_to_train(tiny_llama: Model, tiny_tokenizer: Any) -> None:
    model, segments = tiny_llama(), SegmentTokenizer(tiny_tokenizer)
    model.requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameter of the model requires a gradient; attach a LoRA"):
        learn(model, segments, answers(segments), always(toy()), LearnSettings(steps=1))


def test_a_loss_that_is_no_number(tiny_llama: Model, tiny_tokenizer: Any) -> None:
    model, segments = tiny_llama(), SegmentTokenizer(tiny_tokenizer)
    next(model.parameters()).data.fill_(float("nan"))
    with pytest.raises(ConfigError, match=r"the loss became nan at step 0; lower the learning rate \(0.002\)"):
        learn(model, segments, answers(segments), always(toy()), LearnSettings(steps=1))


def test_warm_up_may_be_none(tiny_llama: Model, tiny_tokenizer: Any) -> None:
    model, segments = tiny_llama(), SegmentTokenizer(tiny_tokenizer)
    assert len(learn(model, segments, answers(segments), always(toy()), LearnSettings(steps=2, warmup=0))) == 2


@pytest.mark.parametrize("exit", [False, True])
@pytest.mark.parametrize("lora", [False, True])
def test_the_lean_way_and_the_plain_one_learn_the_same(
    tiny_llama: Model, tiny_tokenizer: Any, exit: bool, lora: bool
) -> None:
    segments, made = SegmentTokenizer(tiny_tokenizer), []
    for plain in (False, True):
        model = tiny_llama()
        if lora:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = attach(model, LoraSettings(rank=2, alpha=4))
        how = LearnSettings(steps=6, rate=1e-3, warmup=2)
        losses = learn(model, segments, answers(segments), always(toy(exit)), how, plain=plain)
        made.append((losses, [p.detach().clone() for p in model.parameters() if p.requires_grad]))
    np.testing.assert_allclose(made[0][0], made[1][0], rtol=2e-5)
    for a, b in zip(made[0][1], made[1][1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_small_models_take_the_lean_way(
    tiny_llama: Model, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, segments, real = [], SegmentTokenizer(tiny_tokenizer), Lean.logits

    def watched(self: Lean, prefix: Any, page: Any) -> torch.Tensor:
        taken.append(len(page))
        return real(self, prefix, page)

    monkeypatch.setattr(Lean, "logits", watched)
    for plain in (True, False):
        learn(tiny_llama(), segments, answers(segments), always(toy()), LearnSettings(steps=2, warmup=1), plain=plain)
    assert taken == [2, 2]


def test_models_of_two_precisions_learn_in_one_process(
    tiny_llama: Model, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 the loss is off by what eight bits leave out."""
    segments, how = SegmentTokenizer(tiny_tokenizer), LearnSettings(steps=1, teacher=0)
    (exact,) = learn(tiny_llama(), segments, answers(segments), always(toy()), how, plain=True)
    monkeypatch.setattr("simenv.training.learn.wants_bf16", lambda model, device: True)
    (rough,) = learn(tiny_llama(), segments, answers(segments), always(toy()), how, plain=True)
    assert rough == pytest.approx(exact, rel=0.02)
    assert rough != exact


def test_speed_is_told_at_the_end(tiny_llama: Model, tiny_tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    model, segments = tiny_llama(), SegmentTokenizer(tiny_tokenizer)
    with caplog.at_level("INFO", "simenv.training.learn"):
        learn(model, segments, answers(segments), always(toy()), LearnSettings(steps=3))
    (told,) = caplog.messages
    assert told.startswith("3 steps in ")
    for unit in (" examples/s", " tokens/s", " GFLOP/s", "% of this machine's matrix products"):
        assert unit in told


def test_speed_of_known_work() -> None:
    once = Speed(steps=1, examples=20, tokens=300, flops=4e9, seconds=2.0, waited=0.5)
    assert once.plus(once).text(rate=8e9) == (
        "2 steps in 4.0 s: 10 examples/s, 150 tokens/s, 2.0 GFLOP/s (25% of this machine's matrix products), 25% of "
        "the time waiting for lessons"
    )


def test_work_counts_weights(tiny_llama: Model) -> None:
    """Two blocks of width 16: four matrices of attention, three of width 40 in the feed-forward part."""
    model, block = tiny_llama(), 2 * (4 * 16 * 16 + 3 * 16 * 40)
    head = model.config.vocab_size * 16
    assert Work.of(model).flops(10, 3) == 6 * (10 * block + 3 * head)
    assert Work.of(attach(model, LoraSettings(rank=2))).flops(10, 3) == 4 * (10 * block + 3 * head)
