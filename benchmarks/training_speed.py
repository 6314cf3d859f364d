"""Training speed: what each way of computing a step is worth, as ratios measured in one run.

python benchmarks/training_speed.py [--steps N]

Lessons are those of an invented log of MovieLens 100K's size (943 users, 1,682 items), in the usual prompt. Three ways
take turns, step by step on the same batches, so that whatever else the machine does strikes all alike: every prompt
whole; the library's forward pass, a prefix once for all its suffixes; training/lean.py. All three learn the same: the
largest gap between their losses stands beside the times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer
from recording import record

from simenv.agents.packing import Ragged, SegmentTokenizer
from simenv.agents.prompt import EXIT_OPTIONS, numbers
from simenv.datasets.synthetic import generate
from simenv.randomness import derive
from simenv.training import stream
from simenv.training.checkpoint import Checkpoint, Keeper
from simenv.training.examples import Lesson, LessonWriter, Pages, evidence, fit_prior
from simenv.training.exit_model import comparable, person_periods
from simenv.training.finetune import LoraSettings, attach
from simenv.training.ground import Ground, TrainSettings, by_counting, prepare
from simenv.training.learn import Answers, Course, LearnSettings, Way, shared_prefix
from simenv.training.processes import Processes
from simenv.training.speed import Speed, matmul_rate
from simenv.training.stream import Batches
from simenv.training.world_model import LARGE, SMALL, WorldModelSize, new_model, train_tokenizer

SHAPES = {"small": SMALL, "usual": WorldModelSize(), "large": LARGE}
MEMBERS = 100


@dataclass(frozen=True, eq=False)
class School:
    """What lessons are drawn from."""

    ground: Ground
    writer: LessonWriter
    fingerprint: str

    @classmethod
    def of(cls) -> School:
        """Return the invented log's."""
        world, settings = generate(0, n_users=943, n_items=1682, median_history=65), TrainSettings()
        count = world.log.count
        member = np.flatnonzero((count >= 100) & (count <= 200))[:MEMBERS]
        split = world.log.split("user_time", 0.6, users=member)
        ground, profiles, _ = prepare(split.past, world.catalogue, member, settings, by_counting(settings), split.cut)
        prior = fit_prior(ground.log, ground.folds, ground.pupils, derive(0, "prior"))
        pages = Pages.of(comparable(person_periods(ground.log, page_size=10))[0], ground.truncated(split.cut))
        return cls(ground, LessonWriter(ground.writer, profiles.cuts, prior, pages=pages), world.log.fingerprint)

    def epoch(self, number: int) -> list[Lesson]:
        """Draw the lessons of an epoch of the world model."""
        g, seed = self.ground, derive(0, "world", number)
        return [le for e in evidence(g.log, g.folds, g.pupils, seed) for le in self.writer.write(e, seed)]

    def answers(self, segments: SegmentTokenizer) -> Answers:
        """Return the tokens that answers can be."""
        w = self.writer.writer
        leave = segments.answer_ids(w.exit_question, EXIT_OPTIONS)
        return Answers(segments.answer_ids(w.question, w.scale.symbols), leave, w.scale.values)


def whole_prompts(model: Any, prefix: Sequence[Sequence[int]], page: Sequence[Sequence[Sequence[int]]]) -> torch.Tensor:
    """Return next-token logits [N, V] of prompts side by side, each with a prefix of its own."""
    asked = [[*own, *line] for own, lines in zip(prefix, page, strict=True) for line in lines]
    rows = Ragged.of(asked, model.device, left=True)
    made = model(input_ids=rows.ids, attention_mask=rows.mask, position_ids=rows.position, logits_to_keep=1)
    return made.logits[:, -1]  # type: ignore[no-any-return]


def courses(
    school: School, size: WorldModelSize, tokenizer: Any, lessons: list[Lesson], lora: bool
) -> dict[str, Course]:
    """Return the same training three times over."""
    ways: dict[str, Callable[[Any], Way] | None] = {
        "whole prompts": lambda model: partial(whole_prompts, model),
        "shared prefix": lambda model: partial(shared_prefix, model),
        "lean": None,
    }
    made = {}
    for name, way in ways.items():
        segments, model = SegmentTokenizer(tokenizer), new_model(size, tokenizer, 0)
        if lora:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = attach(model, LoraSettings())
        how = LoraSettings().single if lora else LearnSettings()
        drawn = Batches(lambda n: lessons, how.prefixes, 0)
        made[name] = Course(model, segments, school.answers(segments), drawn, how, Processes())
        if way is not None:
            made[name].way = way(model)
    return made


def race(ways: dict[str, Course], steps: int) -> dict[str, object]:
    """Return how fast each way is when they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rates = []
    for step in range(steps + 1):
        for name, course in ways.items():
            begin = time.perf_counter()
            course.step()
            if step:  # the first one warms up
                seconds[name].append(time.perf_counter() - begin)
            else:
                course.speed = Speed()
        rates.append(matmul_rate.__wrapped__(torch.device("cpu"), seconds=0.02))
    rate, losses = float(np.median(rates)), np.array([course.loss for course in ways.values()])
    first = np.array(seconds["whole prompts"])
    return {
        "matmul_gflops": rate / 1e9,
        "largest_gap_of_losses": float(np.abs(losses - losses[0]).max()),
        "way": {name: _told(course.speed, np.array(seconds[name]), first, rate) for name, course in ways.items()},
    }


def _told(speed: Speed, seconds: Any, first: Any, rate: float) -> dict[str, float]:
    step = float(np.median(seconds))
    each = {"examples": speed.examples, "tokens": speed.tokens, "flops": speed.flops}
    per = {name: value / speed.steps / step for name, value in each.items()}
    return {
        "milliseconds_per_step": 1000 * step,
        "times_as_fast_as_whole_prompts": float(np.median(first / seconds)),
        "examples_per_second": per["examples"],
        "tokens_per_second": per["tokens"],
        "gflops": per["flops"] / 1e9,
        "share_of_matmul_rate": per["flops"] / rate,
    }


def ahead(school: School, tokenizer: Any, steps: int) -> dict[str, object]:
    """Return what writing lessons costs, one epoch after another and ahead in a thread, in turns."""
    begin = time.perf_counter()
    lessons = school.epoch(0)
    made: dict[str, object] = {"seconds_per_epoch": time.perf_counter() - begin, "lessons_per_epoch": len(lessons)}
    made["steps_taken_of_each_epoch"] = 50
    cores = stream._cores
    for name, own in (("in turn", lambda: 1), ("ahead", lambda: 2)):
        stream._cores = own
        segments = SegmentTokenizer(tokenizer)
        small = Batches(
            lambda n: school.epoch(n)[:400], 8, 0
        )  # an epoch has 250 steps; the fewer are taken, the more it costs
        how = LearnSettings(steps=steps)
        model = new_model(WorldModelSize(), tokenizer, 0)
        course = Course(model, segments, school.answers(segments), small, how, Processes())
        for _ in range(steps):
            course.step()
        made[name] = {
            "share_of_time_waiting": course.speed.waited / course.speed.seconds,
            "seconds": course.speed.seconds,
        }
    stream._cores = cores
    return made


def checkpointing(course: Course) -> dict[str, float]:
    """Return what a checkpoint costs."""
    with TemporaryDirectory() as folder:
        keeper = Keeper(Checkpoint(Path(folder) / "model.checkpoint"), course.request())
        cost = []
        for _ in range(5):
            keeper.keep(course.saved())
            cost.append(keeper.cost)
        size = keeper.how.file.stat().st_size
    wait = max(keeper.how.every, float(np.median(cost)) / keeper.how.share)
    return {
        "milliseconds": 1000 * float(np.median(cost)),
        "mib": size / 2**20,
        "seconds_between": wait,
        "share_of_time": float(np.median(cost)) / wait,
    }


def main(
    steps: Annotated[int, typer.Option(help="Steps of each way, beside one to warm up.")] = 20,
) -> None:
    started, school = time.time(), School.of()
    lessons = school.epoch(0)
    words = [school.ground.writer.item(i) for i in range(len(school.ground.catalogue))]
    words += [text for le in lessons[:2000] for text in (*le.prefix, *(t for s in le.suffix for t in s))]
    values: dict[str, object] = {"threads": torch.get_num_threads(), "steps": steps}
    for shape, size in SHAPES.items():
        tokenizer = train_tokenizer(words, numbers(school.ground.log.scale), size.vocabulary)
        for what in ("all weights", "a LoRA"):
            ways = courses(school, size, tokenizer, lessons, lora=what == "a LoRA")
            values[f"{shape}, {what}"] = found = race(ways, steps)
            print(f"{shape}, {what}: {found}", flush=True)
            if (shape, what) == ("usual", "all weights"):
                lean = ways["lean"].speed
                values["per_step"] = {"examples": lean.examples / lean.steps, "tokens": lean.tokens / lean.steps}
                values["parameters"] = sum(p.numel() for p in ways["lean"].model.parameters())
                values["checkpoint"] = checkpointing(ways["lean"])
    tokenizer = train_tokenizer(words, numbers(school.ground.log.scale), WorldModelSize().vocabulary)
    values["lessons"] = ahead(school, tokenizer, steps=150)
    data = {"synthetic 943 x 1682": school.fingerprint}
    command = "python benchmarks/training_speed.py" + (f" --steps {steps}" if steps != 20 else "")
    print(record("training-speed", values, command=command, seed=0, data=data, started=started))


if __name__ == "__main__":
    typer.run(main)
