"""LocalModel: the fast path is the plain one, for every family, however adapters are held and batches are cut."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from simenv.agents.language_model import Prompt
from simenv.agents.local_model import LocalModel
from simenv.agents.packing import ChatForm
from simenv.errors import ConfigError
from simenv.training.finetune import LoraSettings, attach

DIGITS = ("1", "2", "3", "4", "5")
NAMES = ("a", "b", "c")
SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
FAMILIES: dict[str, Callable[[int], Any]] = {
    "llama": lambda n: LlamaForCausalLM(LlamaConfig(vocab_size=n, **SHAPE)),
    "phi3": lambda n: Phi3ForCausalLM(Phi3Config(vocab_size=n, pad_token_id=0, **SHAPE)),
    "phi3 with a window": lambda n: Phi3ForCausalLM(
        Phi3Config(vocab_size=n, pad_token_id=0, sliding_window=128, **SHAPE)
    ),
    "qwen2": lambda n: Qwen2ForCausalLM(Qwen2Config(vocab_size=n, **SHAPE)),
    "qwen3": lambda n: Qwen3ForCausalLM(Qwen3Config(vocab_size=n, head_dim=8, **SHAPE)),
    "gpt2": lambda n: GPT2LMHeadModel(GPT2Config(vocab_size=n, n_embd=16, n_layer=2, n_head=2, n_positions=256)),
}
WORDS = ["Dark", "Sunny", " Story", " 3.4", " +0.2", ";", " Comedy", "\n", " Crowd", " by many", "."]


@dataclass(frozen=True)
class Base:
    """A random base and three random adapters on disk; `fresh` gives a new copy of the base."""

    fresh: Callable[[], Any]
    adapters: dict[str, Path]


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Base:
    def fresh() -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return FAMILIES[request.param](len(tiny_tokenizer)).eval()

    return Base(fresh, random_adapters(fresh, tmp_path_factory.mktemp("adapters")))


def random_adapters(fresh: Callable[[], Any], folder: Path) -> dict[str, Path]:
    made = {}
    for n, name in enumerate(NAMES):
        with torch.random.fork_rng():
            torch.manual_seed(n)
            model = attach(fresh(), LoraSettings(rank=3, alpha=6))
            for key, weight in model.named_parameters():
                if "lora_" in key:
                    weight.data.normal_(0, 0.3)
        model.save_pretrained(str(folder / name), save_embedding_layers=False)
        made[name] = folder / name
    return made


def asked(n: int = 23, seed: int = 0) -> tuple[list[Prompt], list[str | None]]:
    """Ragged prompts: five prefixes, suffixes of one to twelve segments, two questions, adapters at random."""
    rng = np.random.default_rng(seed)

    def text(low: int, high: int) -> tuple[str, ...]:
        return tuple(rng.choice(WORDS, rng.integers(low, high)).tolist())

    prefixes = [text(1, 20) for _ in range(5)]
    prompts = [
        Prompt(prefixes[rng.integers(5)], (*text(0, 12), " Rating:" if rng.random() < 0.7 else " Next:"))
        for _ in range(n)
    ]
    return prompts, [(None, *NAMES)[rng.integers(4)] for _ in prompts]


@contextmanager
def on_cores(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("merge", [True, False])
def test_fast_is_plain(base: Base, tiny_tokenizer: Any, merge: bool) -> None:
    prompts, adapters = asked()
    model = LocalModel(base.fresh(), tiny_tokenizer, base.adapters, merge=merge)
    plain = model.score_plainly(prompts, DIGITS, adapters=adapters)
    for tokens, room, cores in ((2048, 10**9, 1), (1, 10**9, 2), (40, 5000, 1), (7, 0, 2)):
        model.tokens_per_batch, model.kept.limit = tokens, room
        with on_cores(cores):
            np.testing.assert_allclose(model.score(prompts, DIGITS, adapters=adapters), plain, atol=1e-4)
    order = np.random.default_rng(1).permutation(len(prompts))
    shuffled = model.score([prompts[i] for i in order], DIGITS, adapters=[adapters[i] for i in order])
    np.testing.assert_allclose(shuffled, plain[order], atol=1e-4)


def test_merged_is_mixed_and_adapters_differ(base: Base, tiny_tokenizer: Any) -> None:
    prompts, _ = asked(6)
    merged = LocalModel(base.fresh(), tiny_tokenizer, base.adapters, merge=True)
    mixed = LocalModel(base.fresh(), tiny_tokenizer, base.adapters, merge=False)
    bare = LocalModel(base.fresh(), tiny_tokenizer)
    said = {}
    for name in (None, *NAMES):
        said[name] = merged.score(prompts, DIGITS, adapters=[name] * 6)
        np.testing.assert_allclose(mixed.score(prompts, DIGITS, adapters=[name] * 6), said[name], atol=1e-4)
    np.testing.assert_allclose(bare.score(prompts, DIGITS, adapters=[None] * 6), said[None], atol=1e-5)
    scores = list(said.values())
    assert all(np.abs(x - y).max() > 0.01 for n, x in enumerate(scores) for y in scores[:n])


def test_scores_are_over_the_full_vocabulary(tiny_llama: Callable[..., Any], tiny_tokenizer: Any) -> None:
    model = LocalModel(tiny_llama(), tiny_tokenizer)
    prompts, _ = asked(4)
    on_scale = np.exp(model.score(prompts, DIGITS, adapters=[None] * 4)).sum(axis=1)
    assert ((on_scale > 0) & (on_scale < 0.2)).all()  # a random model mostly wants to say something else
    assert model.score([], DIGITS, adapters=[]).shape == (0, 5)


def test_the_same_prompt_with_and_without_its_prefix_split(tiny_llama: Callable[..., Any], tiny_tokenizer: Any) -> None:
    """Where the prefix ends does not matter, as long as the segments are the same."""
    model = LocalModel(tiny_llama(), tiny_tokenizer)
    segments = ("Dark", " Story", " 3.4", " Rating:")
    cut = [Prompt(segments[:n], segments[n:]) for n in range(4)]
    said = model.score(cut, DIGITS, adapters=[None] * 4)
    np.testing.assert_allclose(said, said[[0, 0, 0, 0]], atol=1e-5)


def test_unknown_adapters_and_lengths(tiny_llama: Callable[..., Any], tiny_tokenizer: Any) -> None:
    model = LocalModel(tiny_llama(), tiny_tokenizer)
    prompts, _ = asked(2)
    for call in (model.score, model.score_plainly):
        with pytest.raises(ConfigError, match="unknown adapter 'z'; loaded are none"):
            call(prompts, DIGITS, adapters=["z", None])
        with pytest.raises(ConfigError, match="2 prompts need as many adapters; got 1"):
            call(prompts, DIGITS, adapters=[None])
        with pytest.raises(ConfigError, match="not one distinct token each"):
            call(prompts, ["brilliant", "dreadful"], adapters=[None, None])


def test_writing_is_reproducible(tiny_llama: Callable[..., Any], tiny_tokenizer: Any) -> None:
    model = LocalModel(tiny_llama(), tiny_tokenizer)
    prompts, _ = asked(3)
    one = model.write(prompts, adapters=[None] * 3, max_tokens=8, seed=5)
    state = torch.random.get_rng_state()
    assert model.write(prompts, adapters=[None] * 3, max_tokens=8, seed=5) == one
    assert torch.equal(state, torch.random.get_rng_state())
    assert model.write(prompts, adapters=[None] * 3, max_tokens=8, seed=6) != one
    assert all(isinstance(text, str) for text in one)


def test_a_chat_model_is_asked_in_its_form(tiny_llama: Callable[..., Any], tiny_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[assistant]"
    prompts, _ = asked(6)
    chat = LocalModel(tiny_llama(), tokenizer)
    assert chat.segments.chat == ChatForm("[system]", "[user]", "[assistant]")
    fast = chat.score(prompts, DIGITS, adapters=[None] * 6)
    np.testing.assert_allclose(fast, chat.score_plainly(prompts, DIGITS, adapters=[None] * 6), atol=1e-4)
    plain = LocalModel(tiny_llama(), tiny_tokenizer).score(prompts, DIGITS, adapters=[None] * 6)
    assert np.abs(fast - plain).max() > 1e-3


def test_a_saved_model_is_loaded(tiny_llama: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path) -> None:
    model = tiny_llama(3)
    for part in (model, tiny_tokenizer):
        part.save_pretrained(str(tmp_path))
    prompts, _ = asked(5)
    loaded = LocalModel.load(tmp_path, tokens_per_batch=2)
    assert loaded.tokens_per_batch == 2
    wanted = LocalModel(model, tiny_tokenizer).score(prompts, DIGITS, adapters=[None] * 5)
    assert next(loaded.base.parameters()).dtype == torch.float32  # small: alike on every machine
    np.testing.assert_allclose(loaded.score(prompts, DIGITS, adapters=[None] * 5), wanted, atol=1e-5)


@pytest.mark.data
def test_a_public_model(stories: Path, tmp_path: Path) -> None:
    adapters = random_adapters(lambda: LocalModel.load(stories).base, tmp_path)
    prompts, names = asked(12)
    prompts = [p for p in prompts if p.suffix[-1] == " Rating:"]
    for merge in (True, False):
        model = LocalModel.load(stories, adapters, merge=merge, tokens_per_batch=30)
        fast = model.score(prompts, DIGITS, adapters=names[: len(prompts)])
        plain = model.score_plainly(prompts, DIGITS, adapters=names[: len(prompts)])
        np.testing.assert_allclose(fast, plain, atol=1e-4)


def test_a_base_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the base model .*nowhere' cannot be loaded: .* Give a local folder"):
        LocalModel.load(tmp_path / "nowhere")
