"""Persona LoRA by RAFT: the same lessons as the world model's, from the past of a persona's own members (peft).

Arms: none (the base), single (one adapter for all), persona (one each, warm-started from the single one). Several
processes, started by `torchrun` or `accelerate launch`, train one adapter together (training/processes.py).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model

from simenv.agents.local_model import peft_at_work
from simenv.agents.packing import SegmentTokenizer
from simenv.randomness import generator
from simenv.training.checkpoint import Checkpoint
from simenv.training.examples import Lesson
from simenv.training.learn import Answers, LearnSettings, Progress, batches, learn
from simenv.training.processes import Processes

Arm = Literal["none", "single", "persona"]

_NAMES = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
    "gpt2": ("c_attn", "c_proj", "c_fc"),
}
"""Modules by name, not "all-linear": adapters saved by name load in other engines (vLLM) as they are."""


@final
@dataclass(frozen=True)
class LoraSettings:
    """The adapters' shape and how they learn."""

    rank: int = 8
    """Rank; the paper's 256 is meant for a 3.8-billion-parameter base."""
    alpha: int = 16
    """Scale: alpha / rank multiplies the update."""
    single: LearnSettings = field(default_factory=lambda: LearnSettings(steps=120, rate=5e-4, warmup=20))
    """Training of the single adapter."""
    persona: LearnSettings = field(default_factory=lambda: LearnSettings(steps=40, rate=2e-4, warmup=5))
    """Training of each persona's adapter, from the single one."""


def attach(base: Any, settings: LoraSettings) -> PeftModel:
    """Return the base with a fresh LoRA on every linear layer of its blocks; only the LoRA is trainable."""
    names = _NAMES.get(base.config.model_type, _NAMES["llama"])
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(names),
        fan_in_fan_out=base.config.model_type == "gpt2",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, config)


def limited(lessons: Sequence[Lesson], rows: int, seed: int) -> list[Lesson]:
    """Return the lessons with only `rows` of their targets, drawn at random; all of them where there are no more.

    With one seed, fewer rows are a part of more rows. Lessons of which no target is left are dropped.
    """
    size = np.array([len(lesson.place) for lesson in lessons], np.int64)
    drawn = np.zeros(int(size.sum()), bool)
    drawn[generator(seed, "limited rows").permutation(len(drawn))[:rows]] = True
    parts = np.split(drawn, np.cumsum(size)[:-1]) if len(lessons) else []
    return [_only(lesson, np.flatnonzero(part)) for lesson, part in zip(lessons, parts, strict=True) if part.any()]


def _only(lesson: Lesson, kept: NDArray[np.int64]) -> Lesson:
    suffix = [lesson.suffix[n] for n in kept]
    return replace(lesson, suffix=suffix, place=lesson.place[kept], expected=lesson.expected[kept])


def finetune(
    base: Any,
    segments: SegmentTokenizer,
    answers: Answers,
    epochs: Mapping[str, Callable[[int], list[Lesson]]],
    everyone: Callable[[int], list[Lesson]],
    folder: Path,
    settings: LoraSettings,
    *,
    arm: Arm = "persona",
    seed: int = 0,
    progress: Callable[[str], Progress] | None = None,
    stage: Path | None = None,
) -> dict[str, Path]:
    """Train adapters and save each in a folder of its own (safetensors); return {name: folder}.

    epochs: lessons of each persona's members by persona name; everyone: of all members. A folder that is already
    complete is kept, so that interrupted work resumes. stage: where checkpoints lie while an adapter is learned; None:
    in `folder`.
    """
    if arm == "none":
        return {}
    show = progress or (lambda name: lambda step, steps, loss: None)

    def train(name: str, warm: Path | None, epoch: Callable[[int], list[Lesson]], how: LearnSettings) -> Path:
        if not (folder / name / "adapter_model.safetensors").exists():
            model = _begun(base, warm, settings, seed)
            kept = Checkpoint((stage or folder) / f"{name}.checkpoint")
            learn(model, segments, answers, batches(epoch, how.prefixes, seed), how, show(name), checkpoint=kept)
            with Processes.here().alone() as writes:
                if writes:
                    _save(model, folder / name)
            model.unload()
        return folder / name

    single = train("single", None, everyone, settings.single)
    if arm == "single":
        return {"single": single}
    return {name: train(name, single, epoch, settings.persona) for name, epoch in epochs.items()}


def _begun(base: Any, warm: Path | None, lora: LoraSettings, seed: int) -> PeftModel:
    """Return the base with the LoRA that training begins with: a fresh one, or another's."""
    with peft_at_work():
        torch.manual_seed(seed)
        return attach(base, lora) if warm is None else PeftModel.from_pretrained(base, str(warm), is_trainable=True)


def _save(model: PeftModel, folder: Path) -> None:
    """Write an adapter in one move, so that a killed run leaves none, and in one byte order (peft keeps sets)."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(str(part), save_embedding_layers=False)  # never trained here; "auto" asks the hub
    config = json.loads((part / "adapter_config.json").read_text())
    config["target_modules"] = sorted(config["target_modules"])
    (part / "README.md").unlink(missing_ok=True)  # a form to fill in, with a path of this machine
    (part / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    part.rename(folder)
