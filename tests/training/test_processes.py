"""Two processes that learn together end where one does alone; both are as launchers start them, joined by gloo."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from simenv.agents.packing import SegmentTokenizer
from simenv.training.examples import Lesson
from simenv.training.finetune import LoraSettings, finetune
from simenv.training.learn import Answers, LearnSettings
from simenv.training.processes import Processes

DIGITS = ("1", "2", "3", "4", "5")
RATE = 5e-3

TOGETHER = """
import os, socket, sys
from pathlib import Path
import peft, torch
sys.path.insert(0, str(Path(sys.argv[1])))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
child = os.fork()
rank = 0 if child else 1
os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
torch.set_num_threads(1)
import test_processes
test_processes.tune(Path(sys.argv[2]), Path(sys.argv[3]), rank)
torch.distributed.destroy_process_group()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(0)
"""
"""Does to itself what `torchrun --nproc-per-node 2` does."""


def lessons(epoch: int) -> list[Lesson]:
    """Five of unequal size and kind, so that no process has half of the targets or of those with a teacher."""
    rng = np.random.default_rng(epoch)
    made = []
    for n, size in enumerate((1, 5, 2, 4, 3)):
        suffix: list[tuple[str, ...]] = [(f"Film: {n} Story {i}.", " Rating:") for i in range(size)]
        expected = rng.uniform(1, 5, size).astype(np.float32) if n % 2 else np.full(size, np.nan, np.float32)
        made.append(Lesson((f"Likes {epoch} {n}.\n",), suffix, rng.integers(0, 5, size), expected))
    return made


def tune(base: Path, folder: Path, rank: int = 0) -> None:
    """Train the single adapter and a persona's, and write each loss; the persona has one lesson, too few for two."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base))
    model, segments = AutoModelForCausalLM.from_pretrained(str(base)), SegmentTokenizer(tokenizer)
    answers = Answers(segments.answer_ids(" Rating:", DIGITS), ([], []), (1.0, 2.0, 3.0, 4.0, 5.0))
    how = LearnSettings(steps=4, rate=RATE, prefixes=3, warmup=2)
    told: list[tuple[str, int, float]] = []

    def show(name: str) -> Callable[[int, int, float], None]:
        return lambda step, steps, loss: told.append((name, step, loss))

    lora = LoraSettings(rank=2, alpha=4, single=how, persona=how)
    epochs = {"persona-1": lambda n: lessons(n)[1:2]}
    finetune(model, segments, answers, epochs, lessons, folder / "adapters", lora, progress=show)
    folder.joinpath(f"told-{rank}.json").write_text(json.dumps(told))


def test_two_processes_learn_what_one_does(tiny_llama: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path) -> None:
    base, alone, both = tmp_path / "base", tmp_path / "alone", tmp_path / "both"
    model = tiny_llama()
    model.get_input_embeddings().weight.data.mul_(20)  # an untrained base has logits too small to move
    for part in (model, tiny_tokenizer):
        part.save_pretrained(str(base))
    for folder in (alone, both):
        folder.mkdir()
    subprocess.run(
        [sys.executable, "-c", TOGETHER, str(Path(__file__).parent), str(base), str(both)], check=True, timeout=300
    )
    tune(base, alone)
    wanted, found, other = (json.loads(f.read_text()) for f in (alone / "told-0.json", *sorted(both.glob("*.json"))))
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in wanted], rtol=1e-4)
    assert other == []  # one of them tells
    for name in ("single", "persona-1"):
        a, b = (load_file(folder / "adapters" / name / "adapter_model.safetensors") for folder in (alone, both))
        assert a.keys() == b.keys()
        far = max(float((a[key] - b[key]).abs().max()) for key in a)
        assert far < 0.05 * RATE, (name, far)
    assert sorted(f.name for f in (both / "adapters").iterdir()) == ["persona-1", "single"]


def test_alone_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    one, done = Processes.here(), []
    assert (one.count, one.writes) == (1, True)
    assert one.share([1, 2, 3]) == [1, 2, 3]
    weight = torch.nn.Parameter(torch.ones(2))
    one.add_gradients([weight])
    assert weight.grad is None
    with one.first():
        done.append("first")
    with one.alone() as writes:
        done.append("alone" if writes else "never")
    assert done == ["first", "alone"]


def test_parts_of_a_batch_make_it_up() -> None:
    parts = [Processes(3, rank).share(list(range(8))) for rank in range(3)]
    assert sorted(n for part in parts for n in part) == list(range(8))
    assert [list(Processes(3, rank).share([7])) for rank in range(3)] == [[7], [], []]
