"""LoRA by RAFT: arms, warm starts, folders that are whole or absent, and the way back through serving."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from simenv.agents.language_model import Prompt
from simenv.agents.local_model import LocalModel
from simenv.agents.packing import SegmentTokenizer
from simenv.training.examples import Lesson
from simenv.training.finetune import Arm, LoraSettings, attach, finetune, limited
from simenv.training.learn import Answers, LearnSettings, batches, learn

DIGITS = ("1", "2", "3", "4", "5")
STEPS = LearnSettings(steps=3, rate=1e-2, prefixes=2, warmup=1, teacher=0)
LORA = LoraSettings(rank=2, alpha=4, single=STEPS, persona=STEPS)
PROMPTS = [
    Prompt((f"Likes {g}.\n",), (f"Film: {t} Story.", " Rating:")) for g in ("Comedy", "Drama") for t in ("A", "B")
]


def lessons(high: str = "Comedy") -> list[Lesson]:
    """Those who like `high` rate 5, the others 1."""
    made = []
    for likes in ("Comedy", "Drama"):
        suffix = [p.suffix for p in PROMPTS[:2]]
        place = np.full(2, 4 if likes == high else 0)
        made.append(Lesson((f"Likes {likes}.\n",), suffix, place, np.full(2, np.nan, np.float32)))
    return made


@dataclass
class Bench:
    """A base with its tokenizer, and where adapters go."""

    model: Any
    tokenizer: Any
    folder: Path

    @property
    def segments(self) -> SegmentTokenizer:
        """A fresh one."""
        return SegmentTokenizer(self.tokenizer)

    @property
    def answers(self) -> Answers:
        """Of ratings; there are no exit lessons."""
        return Answers(self.segments.answer_ids(" Rating:", DIGITS), ([], []), (1.0, 2.0, 3.0, 4.0, 5.0))

    def tune(self, arm: Arm, seed: int = 0, told: list[str] | None = None) -> dict[str, Path]:
        """Train two personas who want opposite things, and everybody."""
        epochs: dict[str, Callable[[int], list[Lesson]]] = {
            "persona-1": lambda n: lessons("Comedy"),
            "persona-2": lambda n: lessons("Drama"),
        }
        everyone = lambda n: lessons("Comedy") + lessons("Drama")  # noqa: E731

        def show(name: str) -> Callable[[int, int, float], None]:
            return lambda step, steps, loss: told.append(name) if told is not None else None

        where = self.folder / "adapters"
        return finetune(
            self.model, self.segments, self.answers, epochs, everyone, where, LORA, arm=arm, seed=seed, progress=show
        )


@pytest.fixture
def bench(tiny_llama: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path) -> Bench:
    return Bench(tiny_llama(), tiny_tokenizer, tmp_path)


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arm", "names"), [("none", set()), ("single", {"single"}), ("persona", {"persona-1", "persona-2"})]
)
def test_arms(bench: Bench, arm: Arm, names: set[str]) -> None:
    told: list[str] = []
    made = bench.tune(arm, told=told)
    assert set(made) == names
    wanted = [] if arm == "none" else ["single"] * 3 + [n for n in sorted(names - {"single"}) for _ in range(3)]
    assert told == wanted
    assert all((f / "adapter_model.safetensors").exists() for f in made.values())


def test_only_the_lora_learns(bench: Bench) -> None:
    before = {n: p.detach().clone() for n, p in bench.model.named_parameters()}
    bench.tune("persona")
    after = dict(bench.model.named_parameters())
    assert list(after) == list(before)  # and the base is handed back as it was
    assert all(torch.equal(before[n], p) for n, p in after.items())
    model = attach(bench.model, LORA)
    free = [n for n, p in model.named_parameters() if p.requires_grad]
    assert free
    assert all("lora_" in n for n in free)
    assert sum("lora_A" in n for n in free) == 2 * 7  # seven linear layers in each of two blocks


def test_a_fresh_lora_changes_nothing(bench: Bench) -> None:
    wanted = LocalModel(bench.model, bench.tokenizer).score(PROMPTS, DIGITS, adapters=[None] * 4)
    model = attach(bench.model, LORA)
    model.save_pretrained(str(bench.folder / "fresh"), save_embedding_layers=False)
    served = LocalModel(model.unload(), bench.tokenizer, {"fresh": bench.folder / "fresh"})
    np.testing.assert_allclose(served.score(PROMPTS, DIGITS, adapters=["fresh"] * 4), wanted, atol=1e-6)


def test_personas_start_from_the_single_adapter(bench: Bench) -> None:
    """Without a step of their own they are the single adapter."""
    still = LoraSettings(rank=2, alpha=4, single=STEPS, persona=LearnSettings(steps=0))
    epochs = {"persona-1": lambda n: lessons()}
    made = finetune(
        bench.model, bench.segments, bench.answers, epochs, lambda n: lessons(), bench.folder / "adapters", still
    )
    one = load_file(str(made["persona-1"] / "adapter_model.safetensors"))
    single = load_file(str(bench.folder / "adapters" / "single" / "adapter_model.safetensors"))
    assert all(torch.equal(one[k], single[k]) for k in single)


def test_learn_save_load_merge(bench: Bench) -> None:
    """The loss falls on what each persona can learn; served merged or mixed, each says what it was taught."""
    bench.model.get_input_embeddings().weight.data.mul_(20)  # an untrained base has logits too small to move
    how = LearnSettings(steps=25, rate=3e-2, prefixes=2, warmup=2, teacher=0)
    folders = {}
    for high in ("Comedy", "Drama"):
        torch.manual_seed(0)
        model = attach(bench.model, LORA)
        losses = learn(model, bench.segments, bench.answers, batches(lambda n, h=high: lessons(h), 2, 0), how)  # type: ignore[misc]
        assert losses[-1] < 0.3 * losses[0]
        folders[high] = bench.folder / high
        model.save_pretrained(str(folders[high]), save_embedding_layers=False)
        model.unload()
    merged, mixed = (LocalModel(bench.model, bench.tokenizer, folders, merge=m) for m in (True, False))
    for high in folders:
        said = merged.score(PROMPTS, DIGITS, adapters=[high] * 4)
        np.testing.assert_allclose(mixed.score(PROMPTS, DIGITS, adapters=[high] * 4), said, atol=1e-4)
        best = [4 if p.prefix == (f"Likes {high}.\n",) else 0 for p in PROMPTS]
        assert said.argmax(axis=1).tolist() == best


def test_finished_adapters_are_kept_and_others_made(bench: Bench) -> None:
    made = bench.tune("persona")
    kept, lost = weights(made["persona-1"]), weights(made["persona-2"])
    for file in made["persona-2"].iterdir():
        file.unlink()
    made["persona-2"].rmdir()
    told: list[str] = []
    again = bench.tune("persona", told=told)
    assert told == ["persona-2"] * 3
    assert (weights(again["persona-1"]), weights(again["persona-2"])) == (kept, lost)


def test_half_an_adapter_is_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies while it saves leaves no folder that could be taken for an adapter."""
    from peft import PeftModel

    real = PeftModel.save_pretrained

    def dies(self: Any, path: str, **options: Any) -> None:
        real(self, path, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(PeftModel, "save_pretrained", dies)
    with pytest.raises(KeyboardInterrupt):
        bench.tune("single")
    assert not (bench.folder / "adapters" / "single").exists()
    monkeypatch.undo()
    bench.model = type(bench.model)(bench.model.config).eval()
    made = bench.tune("single")
    assert (made["single"] / "adapter_model.safetensors").exists()
    assert [f.name for f in (bench.folder / "adapters").iterdir()] == ["single"]


def test_adapters_are_the_same_bytes_for_the_same_seed(
    bench: Bench, tiny_llama: Callable[..., Any], tmp_path: Path
) -> None:
    made = bench.tune("single", seed=4)
    twin = Bench(tiny_llama(), bench.tokenizer, tmp_path / "twin").tune("single", seed=4)
    other = Bench(tiny_llama(), bench.tokenizer, tmp_path / "other").tune("single", seed=5)
    files = sorted(f.name for f in made["single"].iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    assert all((made["single"] / n).read_bytes() == (twin["single"] / n).read_bytes() for n in files)
    assert weights(other["single"]) != weights(made["single"])
    config = json.loads((made["single"] / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"])


@pytest.mark.data
def test_a_public_model_learns(stories: Path, tmp_path: Path) -> None:
    """Load, attach, learn, save, load again: merged and mixed agree, and the lesson was learned."""
    loaded = LocalModel.load(stories)
    bench = Bench(loaded.base, loaded.tokenizer, tmp_path)
    model = attach(loaded.base, LoraSettings(rank=4, alpha=8))
    how = LearnSettings(steps=12, rate=2e-2, prefixes=2, warmup=2, teacher=0)
    losses = learn(model, loaded.segments, bench.answers, batches(lambda n: lessons(), 2, 0), how)
    assert losses[-1] < 0.5 * losses[0]
    model.save_pretrained(str(tmp_path / "taught"), save_embedding_layers=False)
    said = [
        LocalModel.load(stories, {"taught": tmp_path / "taught"}, merge=m).score(
            PROMPTS, DIGITS, adapters=["taught"] * 4
        )
        for m in (True, False)
    ]
    tolerance = 1e-4 if next(loaded.base.parameters()).dtype == torch.float32 else 0.2
    np.testing.assert_allclose(said[0], said[1], atol=tolerance)
    untaught = LocalModel.load(stories).score(PROMPTS, DIGITS, adapters=[None] * 4)
    place = [4, 4, 0, 0]
    assert said[0][np.arange(4), place].mean() > untaught[np.arange(4), place].mean() + 1


def taught(*size: int) -> list[Lesson]:
    """Lessons of so many targets; every target has a suffix, place and expectation of its own."""
    made, n = [], 0
    for b, m in enumerate(size):
        own = np.arange(n, n + m)
        made.append(Lesson((f"user {b}",), [(f"item {i}",) for i in own], own, own.astype(np.float32)))
        n += m
    return made


@given(size=st.lists(st.integers(1, 20), max_size=8), rows=st.integers(0, 200), seed=st.integers(0, 5))
def test_so_many_rows_are_drawn_and_stay_whole(size: list[int], rows: int, seed: int) -> None:
    drawn = limited(taught(*size), rows, seed)
    kept = [
        (x.prefix, s, int(p), float(e)) for x in drawn for s, p, e in zip(x.suffix, x.place, x.expected, strict=True)
    ]
    whole = [
        (x.prefix, s, int(p), float(e))
        for x in taught(*size)
        for s, p, e in zip(x.suffix, x.place, x.expected, strict=True)
    ]
    assert len(kept) == len(set(kept)) == min(rows, sum(size))
    assert set(kept) <= set(whole)
    assert all(x.suffix for x in drawn)


def test_fewer_rows_are_a_part_of_more_and_luck_has_a_seed() -> None:
    def places(rows: int, seed: int = 0) -> set[int]:
        return {int(p) for x in limited(taught(16, 16, 8), rows, seed) for p in x.place}

    assert places(10) < places(25) < places(40) == set(range(40))
    assert places(10) == places(10) != places(10, seed=1)
