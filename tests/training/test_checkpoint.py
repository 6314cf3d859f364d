"""Learning that was killed goes on from its checkpoint and ends with the same bytes; any other training is refused."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simenv.agents.packing import SegmentTokenizer
from simenv.datasets.synthetic import World
from simenv.errors import StoreError
from simenv.log import Split
from simenv.training.checkpoint import Checkpoint, Keeper, Saved
from simenv.training.examples import Lesson
from simenv.training.learn import Answers, LearnSettings, batches, learn
from simenv.training.pipeline import train

DIGITS = ("1", "2", "3", "4", "5")
HOW = LearnSettings(steps=7, rate=1e-2, warmup=2)
Model = Callable[..., Any]

KILLED = """
import math, os, pickle, signal, sys, time
from functools import partial
from simenv.training import finetune, pipeline
from simenv.training.checkpoint import Checkpoint

always = partial(Checkpoint, every=0, share=math.inf)
pipeline.Checkpoint = finetune.Checkpoint = always
folder, given = sys.argv[1:]
log, catalogue, member, settings, cut = pickle.load(open(given, "rb"))
for stage, last in (("world model", 3), ("persona-2", 2)):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        def show(name):
            def told(step, steps, loss):
                if (name, step) == (stage, last):
                    os.write(write, b"x")
                    time.sleep(600)
            return told
        pipeline.train(log, catalogue, member, folder, settings, cut=cut, training_log=log, show=show)
        os._exit(1)
    os.close(write)
    assert os.read(read, 1) == b"x", stage
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""
"""Trains in a child that is killed in the middle of a stage, twice; each goes on where the last one died."""


def content(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_killed_training_goes_on_to_the_same_bytes(
    tiny_world: World, tiny_split: Split, tiny_settings: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    log, catalogue, cut, member = tiny_split.past, tiny_world.catalogue, tiny_split.cut, np.arange(12)
    folder, given = tmp_path / "made", tmp_path / "given"
    given.write_bytes(pickle.dumps((log, catalogue, member, tiny_settings, cut)))
    subprocess.run([sys.executable, "-c", KILLED, str(folder), str(given)], check=True, timeout=300)
    assert sorted(f.name for f in (folder / "stage").iterdir()) == ["persona-2.checkpoint", "request.json"]
    told: list[tuple[str, int]] = []
    train(
        log, catalogue, member, folder, tiny_settings, cut=cut, training_log=log,
        show=lambda name: lambda step, steps, loss: told.append((name, step)),
    )  # fmt: skip
    assert told == [("persona-2", 2)]  # the first step stands in the checkpoint
    assert content(folder) == content(tiny_folder)


def lessons(epoch: int) -> list[Lesson]:
    """Five, other ones in each epoch."""
    rng = np.random.default_rng(epoch)
    made = []
    for n in range(5):
        suffix: list[tuple[str, ...]] = [(f"Film: {title} Story.", " Rating:") for title in ("Dark", "Sunny")]
        made.append(Lesson((f"Likes {epoch} {n}.\n",), suffix, rng.integers(0, 5, 2), np.full(2, 3.5, np.float32)))
    return made


class Bench:
    """A model that begins the same each time, and where its checkpoint lies."""

    def __init__(self, made: Model, tokenizer: Any, folder: Path) -> None:
        self.made, self.tokenizer, self.file = made, tokenizer, folder / "deep" / "tiny.checkpoint"
        self.steps: list[int] = []

    def answers(self, segments: SegmentTokenizer) -> Answers:
        return Answers(segments.answer_ids(" Rating:", DIGITS), ([], []), (1.0, 2.0, 3.0, 4.0, 5.0))

    def run(
        self,
        *,
        die: int | None = None,
        how: LearnSettings = HOW,
        kept: bool = True,
        seed: int = 0,
        shuffle: int = 0,
        drawn: Iterator[list[Lesson]] | None = None,
    ) -> tuple[list[float], list[torch.Tensor]]:
        """Return losses and weights; die: after so many steps, the last of which no checkpoint holds."""
        self.steps = []

        def progress(step: int, steps: int, loss: float) -> None:
            self.steps.append(step)
            if step == die:
                raise KeyboardInterrupt

        model, segments = self.made(seed), SegmentTokenizer(self.tokenizer)
        stream = batches(lessons, 2, shuffle) if drawn is None else drawn
        keep = Checkpoint(self.file, every=0, share=math.inf) if kept else None
        losses = learn(model, segments, self.answers(segments), stream, how, progress, checkpoint=keep)
        return losses, [p.detach().clone() for p in model.parameters()]


@pytest.fixture
def bench(tiny_llama: Model, tiny_tokenizer: Any, tmp_path: Path) -> Bench:
    return Bench(tiny_llama, tiny_tokenizer, tmp_path)


def same(a: tuple[list[float], list[torch.Tensor]], b: tuple[list[float], list[torch.Tensor]]) -> bool:
    return a[0] == b[0] and all(torch.equal(x, y) for x, y in zip(a[1], b[1], strict=True))


@pytest.mark.parametrize("die", [2, 3, 4, 7])
def test_it_goes_on_with_the_same_bits(bench: Bench, die: int) -> None:
    """Within an epoch (two batches each) and between two."""
    wanted = bench.run(kept=False)
    with pytest.raises(KeyboardInterrupt):
        bench.run(die=die)
    assert bench.file.exists()
    assert same(bench.run(), wanted)
    assert bench.steps == list(range(die, 8))
    assert not list(bench.file.parent.iterdir())


def test_a_stream_without_places_is_gone_through_again(bench: Bench) -> None:
    def stream() -> Iterator[list[Lesson]]:
        return cycle([lessons(0), lessons(1)[:2], lessons(2)])

    wanted = bench.run(kept=False, drawn=stream())
    with pytest.raises(KeyboardInterrupt):
        bench.run(die=3, drawn=stream())
    assert same(bench.run(drawn=stream()), wanted)
    assert bench.steps[0] == 3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"how": replace(HOW, rate=2e-2)}, r"rate: 0.01 there, 0.02 here\)"),
        ({"how": replace(HOW, steps=9)}, r"\(steps: 7 there, 9 here\)"),
        ({"seed": 1}, r"\(model: \w{16} there, \w{16} here\)"),
        ({"shuffle": 1}, r"\(lessons' seed: 0 there, 1 here\)"),
    ],
)
def test_another_training_is_refused(bench: Bench, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench.run(die=3)
    before = bench.file.read_bytes()
    with pytest.raises(StoreError, match=f"tiny.checkpoint belongs to another training .*{words}; go on with what"):
        bench.run(**changed)
    assert bench.file.read_bytes() == before


@pytest.mark.parametrize("spoil", [lambda b: b[:-40], lambda b: b"", lambda b: b"x" * 100])
def test_a_damaged_checkpoint_is_refused(bench: Bench, spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench.run(die=3)
    bench.file.write_bytes(spoil(bench.file.read_bytes()))
    with pytest.raises(StoreError, match=r"tiny.checkpoint is no checkpoint \(.*delete it to begin anew"):
        bench.run()


def test_a_checkpoint_half_written_is_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who dies while writing leaves the last whole one."""
    wanted, real, calls = bench.run(kept=False), os.fsync, []

    def dies(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(handle)

    monkeypatch.setattr("simenv.training.checkpoint.os.fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert sorted(f.name for f in bench.file.parent.iterdir()) == ["tiny.checkpoint", "tiny.checkpoint.part"]
    monkeypatch.undo()
    assert same(bench.run(), wanted)
    assert bench.steps[0] == 3
    assert not list(bench.file.parent.iterdir())


def test_writing_takes_no_more_than_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("simenv.training.checkpoint.time.monotonic", lambda: now[0])
    real = os.fsync

    def slow(handle: int) -> None:
        real(handle)
        now[0] += 2.0

    monkeypatch.setattr("simenv.training.checkpoint.os.fsync", slow)
    keeper = Keeper(Checkpoint(tmp_path / "c", every=60, share=0.01), {}, last=now[0])
    due = []
    for seconds in (59, 1, 199, 1):
        now[0] += seconds
        due.append(keeper.due)
        if due == [False, True]:
            keeper.keep(Saved(1, (0, 1), [0.5], {}))
    assert due == [False, True, False, True]  # first 60 s, then 2 s / 1 %


def test_a_checkpoint_costs_little(bench: Bench) -> None:
    """Usual settings write none in a short training."""
    assert Checkpoint(bench.file).every >= 30
    bench.run(kept=False)
    assert not bench.file.parent.exists()
