"""Greedy writing in batches is what `generate` writes for one prompt, stops at an end, and begins where it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Phi3Config, Phi3ForCausalLM

from simenv.agents.language_model import Prompt
from simenv.agents.local_model import LocalModel
from simenv.agents.writing import ends
from simenv.training.finetune import LoraSettings, attach

DIGITS = ("1", "2", "3", "4", "5")
WORDS = ["Dark", "Sunny", " Story", " 3.4", " +0.2", ";", " Comedy", "\n", " Crowd", "."]


def asked(n: int = 14) -> list[Prompt]:
    rng = np.random.default_rng(0)

    def text(most: int) -> tuple[str, ...]:
        return tuple(rng.choice(WORDS, rng.integers(1, most)).tolist())

    prefixes = [text(15) for _ in range(4)]
    return [Prompt(prefixes[rng.integers(4)], (*text(9), " Rating:")) for _ in range(n)]


def wild(model: Any) -> Any:
    """Give a random model opinions that differ from prompt to prompt."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for weight in model.parameters():
            weight.data.mul_(12) if weight.dim() > 1 else None
    return model.eval()


def generated(model: LocalModel, prompts: list[Prompt], tokens: int, glue: list[int] | None = None) -> list[str]:
    """The reference: one prompt at a time by the library's own loop."""
    texts = []
    for prompt in prompts:
        ids = model.segments.prefix_ids(prompt.prefix) + model.segments.suffix_ids(prompt.suffix, glue or [])
        row = torch.tensor([ids])
        with torch.inference_mode():
            made = model.base.generate(
                input_ids=row, attention_mask=torch.ones_like(row), max_new_tokens=tokens, do_sample=False
            )
        texts.append(model.tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True))
    return texts


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_batches_write_what_generate_writes(tiny_llama: Callable[..., Any], tiny_tokenizer: Any, rows: int) -> None:
    model = LocalModel(wild(tiny_llama()), tiny_tokenizer, rows_per_batch=rows)
    prompts = asked()
    wanted = generated(model, prompts, 6)
    assert len(set(wanted)) > 5
    assert model.write(prompts, adapters=[None] * 14, max_tokens=6, seed=0, greedy=True) == wanted


def test_the_same_for_phi3(tiny_tokenizer: Any) -> None:
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Phi3Config(vocab_size=len(tiny_tokenizer), pad_token_id=0, eos_token_id=None, **shape)
    model = LocalModel(wild(Phi3ForCausalLM(config)), tiny_tokenizer)
    wanted = generated(model, asked(), 5)
    assert model.write(asked(), adapters=[None] * 14, max_tokens=5, seed=0, greedy=True) == wanted


def test_the_first_token_is_the_most_probable(tiny_llama: Callable[..., Any], tiny_tokenizer: Any) -> None:
    """What is written and what is scored come from the same place."""
    model = LocalModel(wild(tiny_llama()), tiny_tokenizer)
    prompts, words = asked(40), [tiny_tokenizer.decode([i]) for i in range(len(tiny_tokenizer))]
    said = model.write(prompts, adapters=[None] * 40, max_tokens=1, seed=0, greedy=True, options=DIGITS)
    score = model.score(prompts, DIGITS, adapters=[None] * 40)
    for text, logp in zip(said, score, strict=True):
        if text in DIGITS:
            assert text == DIGITS[int(logp.argmax())]
        else:
            assert text in words
            assert np.exp(logp).max() <= 0.5 + 1e-6


def test_an_end_stops_it_and_is_not_written(tiny_llama: Callable[..., Any], tiny_tokenizer: Any) -> None:
    model = LocalModel(wild(tiny_llama()), tiny_tokenizer)
    prompts = asked()
    how: dict[str, Any] = {"adapters": [None] * 14, "seed": 0, "greedy": True}
    free, first = (model.write(prompts, max_tokens=n, **how) for n in (4, 1))
    ids: dict[str, list[int]] = {}
    for i in range(len(tiny_tokenizer)):
        ids.setdefault(tiny_tokenizer.decode([i]), []).append(i)
    place = next(n for n, text in enumerate(first) if len(ids[text]) == 1)  # half a letter has many ids and one look
    model.base.generation_config.eos_token_id = ids[first[place]]
    assert ends(model.base, tiny_tokenizer) == ids[first[place]]
    cut = model.write(prompts, max_tokens=4, **how)
    assert cut[place] == ""
    kept = [n for n, text in enumerate(free) if first[place] not in text]
    assert kept
    assert [cut[n] for n in kept] == [free[n] for n in kept]


def test_it_begins_behind_the_blank_where_options_are_given(
    tiny_llama: Callable[..., Any], tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LocalModel(wild(tiny_llama()), tiny_tokenizer)
    blank = tiny_tokenizer(" Comedy", add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(type(model.segments), "answer_ids", lambda self, question, options: (blank, [1, 2]))
    how = {"adapters": [None] * 14, "max_tokens": 3, "seed": 0, "greedy": True}
    assert model.write(asked(), options=DIGITS, **how) == generated(model, asked(), 3, blank)  # type: ignore[arg-type]
    assert model.write(asked(), **how) == generated(model, asked(), 3) != generated(model, asked(), 3, blank)  # type: ignore[arg-type]


@pytest.mark.parametrize("merge", [True, False])
def test_each_adapter_writes_its_own(
    tiny_llama: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path, merge: bool
) -> None:
    for n, name in enumerate("ab"):
        with torch.random.fork_rng():
            torch.manual_seed(n)
            lora = attach(wild(tiny_llama()), LoraSettings(rank=3, alpha=6))
            for key, weight in lora.named_parameters():
                weight.data.normal_(0, 2.0) if "lora_" in key else None
            lora.save_pretrained(str(tmp_path / name), save_embedding_layers=False)
    folders = {n: tmp_path / n for n in "ab"}
    model = LocalModel(wild(tiny_llama()), tiny_tokenizer, folders, merge=merge)
    prompts, names = asked(), [(None, "a", "b")[n % 3] for n in range(14)]
    mixed = model.write(prompts, adapters=names, max_tokens=4, seed=0, greedy=True)
    alone = [
        model.write([p], adapters=[a], max_tokens=4, seed=0, greedy=True)[0]
        for p, a in zip(prompts, names, strict=True)
    ]
    bare = model.write(prompts, adapters=[None] * 14, max_tokens=4, seed=0, greedy=True)
    assert mixed == alone
    assert [a == b for a, b in zip(mixed, bare, strict=True)].count(False) >= 5
    assert all(mixed[n] == bare[n] for n in range(0, 14, 3))
