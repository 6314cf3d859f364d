"""The canary keeps silent over an honest build, and sings of every leak that is let in on purpose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv.agents.arms import asked
from simenv.agents.store import load
from simenv.datasets.synthetic import World
from simenv.errors import ConfigError, DataError
from simenv.evaluation.fidelity.canary import Make, canary, other_ratings
from simenv.index import Index
from simenv.log import InteractionLog, Split
from simenv.scale import RatingScale
from simenv.training.pipeline import TrainSettings, train

MEMBER = np.arange(12)
Ints = NDArray[np.int64]


def cut(log: InteractionLog) -> Split:
    return log.split("user_time", 0.7, users=MEMBER)


def prompts(folder: Path, user: Ints, item: Ints) -> list[str]:
    return [p.text for p in asked(load(folder), user, item)]


def trained(world: World, settings: TrainSettings, folder: Path, past_of: Callable[[InteractionLog], Split]) -> Make:
    def make(log: InteractionLog, n: int) -> Path:
        split = past_of(log)
        where = folder / str(n)
        train(split.past, world.catalogue, MEMBER, where, settings, training_log=split.past)
        return where

    return make


def leaking(rows: Callable[[Split], InteractionLog]) -> Callable[[InteractionLog], Split]:
    """A way to cut that lets some of the future in."""

    def split(log: InteractionLog) -> Split:
        honest = cut(log)
        late = rows(honest)
        p = honest.past
        user, item, rating, time = (
            np.concatenate([getattr(p, c), getattr(late, c)]) for c in ("user", "item", "rating", "time")
        )
        return replace(honest, past=InteractionLog.of(p.users, p.items, user, item, rating, time, p.scale))

    return split


def test_an_honest_pipeline_passes(tiny_world: World, tiny_settings: TrainSettings, tmp_path: Path) -> None:
    found = canary(trained(tiny_world, tiny_settings, tmp_path, cut), tiny_world.log, cut, prompts=prompts)
    assert found.exact
    assert found.files >= 15
    assert found.prompts == found.held == len(cut(tiny_world.log).future) > 50
    assert found.changed > 0.6 * found.held


def test_a_pipeline_that_reads_one_event_too_many_is_caught(
    tiny_world: World, tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    leaky = leaking(lambda s: s.future.take(np.arange(5)))
    make = trained(tiny_world, replace(tiny_settings, arm="single"), tmp_path, leaky)
    found = canary(make, tiny_world.log, cut, prompts=prompts)
    assert not found.exact
    assert {"crowd/similarity.npy", "prior.npz", "profiles/mean.npy", "memory/rating.npy", "member.npz"} <= set(
        found.differing
    )
    assert any(n.endswith(".safetensors") for n in found.differing)
    assert found.differing_prompts
    assert found.same_split


def written(folder: Path, text: Callable[[InteractionLog], str], name: str = "built.json") -> Make:
    """A builder that is a text."""

    def make(log: InteractionLog, n: int) -> Path:
        path = folder / str(n) / name
        path.parent.mkdir(parents=True)
        path.write_text(text(log))
        return folder / str(n)

    return make


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        (lambda log: json.dumps(cut(log).past.rating.tolist()), False),
        (lambda log: str(log.count.tolist()), False),
        (lambda log: str(sorted(cut(log).future.item.tolist())), False),  # that they were rated, not how
        (lambda log: f"{log.rating.mean():.4f}", True),
        (lambda log: str(np.bincount(log.scale.encode(log.rating)).tolist()), True),
        (lambda log: str((cut(log).future.rating > 4).sum()), True),
        (lambda log: str(cut(log).future.rating[3]), True),
    ],
)
def test_what_is_read_of_the_future_shows(
    tiny_world: World, tmp_path: Path, text: Callable[[InteractionLog], str], leaks: bool
) -> None:
    """Even the sum of all held-out ratings alone."""
    found = [canary(written(tmp_path / str(s), text), tiny_world.log, cut, seed=s) for s in range(3)]
    assert any(f.differing == ("built.json",) for f in found) == leaks
    assert all(f.exact for f in found) != leaks


def test_a_split_that_looks_at_ratings_is_caught(tiny_world: World, tmp_path: Path) -> None:
    def peeking(log: InteractionLog) -> Split:
        return log.split("user_time", 0.7, users=MEMBER[[log.rating[log.user == u].mean() > 3 for u in MEMBER]])

    found = canary(written(tmp_path, lambda log: "nothing"), tiny_world.log, peeking)
    assert not found.same_split
    assert not found.exact
    assert found.differing == ()


def test_a_file_too_many_and_files_that_may_differ(tiny_world: World, tmp_path: Path) -> None:
    def make(log: InteractionLog, n: int) -> Path:
        folder = written(tmp_path, lambda log: "same")(log, n)
        (folder / "trial").mkdir()
        (folder / "trial" / "future.txt").write_text(str(log.rating.tolist()))
        if n:
            (folder / "extra.txt").write_text("!")
        return folder

    found = canary(make, tiny_world.log, cut, ignore=["trial/*"])
    assert found.differing == ("extra.txt",)
    assert found.files == 2


def test_prompts_are_compared_one_by_one(tiny_world: World, tmp_path: Path) -> None:
    """The eighth pair's prompt holds its own rating, though no file says so."""
    seen: list[list[float]] = []

    def make(log: InteractionLog, n: int) -> Path:
        seen.append(cut(log).future.rating.tolist())
        return written(tmp_path, lambda log: "same")(log, n)

    def read(folder: Path, user: Ints, item: Ints) -> list[str]:
        secret = seen[int(folder.name)][7]
        return [f"{u} {i} {secret if n == 7 else ''}" for n, (u, i) in enumerate(zip(user, item, strict=True))]

    found = canary(make, tiny_world.log, cut, prompts=read)
    assert seen[0][7] != seen[1][7]
    assert found.differing == ()
    assert found.differing_prompts == (7,)
    assert not found.exact


def rows(rating: list[float], item: list[int], time: list[int]) -> InteractionLog:
    n = len(rating)
    users, items = Index((0,), "user"), Index(tuple(range(9)), "item")
    return InteractionLog.of(users, items, [0] * n, item, rating, time, RatingScale())


def test_only_held_out_ratings_get_other_values(tiny_world: World) -> None:
    log = tiny_world.log
    split = cut(log)
    other = other_ratings(log, split, 0)
    for name in ("user", "item", "time"):
        np.testing.assert_array_equal(getattr(other, name), getattr(log, name))
    assert cut(other).past.fingerprint == split.past.fingerprint
    wanted = np.bincount(log.scale.encode(split.future.rating), minlength=5)[::-1]
    np.testing.assert_array_equal(np.bincount(log.scale.encode(cut(other).future.rating), minlength=5), wanted)
    assert other.rating.sum() != log.rating.sum()
    assert other_ratings(log, split, 1).fingerprint != other.fingerprint


def test_twins_are_left_alone() -> None:
    """A random split may keep one of two equal rows: which one was held out cannot be told, and does not matter."""
    log = rows([5, 5, 1, 2], [3, 3, 4, 5], [7, 7, 8, 9])
    split = Split(log.take(np.array([0, 2])), log.take(np.array([1, 3])), "random", "", None)
    other = other_ratings(log, split, 0)
    assert other.rating.tolist() == [5, 5, 1, 4]


def test_what_would_test_nothing_is_refused(tiny_world: World, tmp_path: Path) -> None:
    log = tiny_world.log
    nothing = Split(log, log.take(np.zeros(0, np.int64)), "random", "", None)
    with pytest.raises(DataError, match="nothing is held out"):
        other_ratings(log, nothing, 0)
    flat = rows([5, 3, 3], [0, 1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="the one value that stays"):
        other_ratings(flat, flat.split("user_time", 0.4), 0)
    with pytest.raises(ConfigError, match="both builds lie in"):
        canary(lambda log, n: tmp_path, log, cut)

    def empty(log: InteractionLog, n: int) -> Path:
        (tmp_path / str(n)).mkdir()
        return tmp_path / str(n)

    with pytest.raises(DataError, match="hold no file to compare"):
        canary(empty, log, cut)
