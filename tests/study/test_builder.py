"""The builder trains each seed once, on the past alone, for the users who are asked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simenv.datasets.synthetic import World
from simenv.log import InteractionLog, Split
from simenv.study.builder import builder


def test_it_trains_once_for_the_users_of_the_future(
    tmp_path: Path, tiny_world: World, tiny_split: Split, tiny_settings: Any
) -> None:
    asked = replace(tiny_split, future=tiny_split.future.of_users(np.arange(12)))
    nothing = tiny_world.log.take(np.zeros(len(tiny_world.log), bool))
    build = builder(tiny_world.catalogue, tmp_path, tiny_settings)
    first = build(nothing, asked, 1)  # the log is not read
    assert first.member.tolist() == list(range(12))
    assert first.cut is not None
    assert [p.name for p in tmp_path.iterdir()] == ["kmeans-1"]
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "kmeans-1").rglob("*")}
    again = build(nothing, asked, 1)
    assert again.fingerprint == first.fingerprint
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "kmeans-1").rglob("*")} == stamps


def test_ratings_after_the_cut_change_nothing(
    tmp_path: Path, tiny_world: World, tiny_split: Split, tiny_settings: Any
) -> None:
    future = tiny_split.future
    other = replace(tiny_split, future=replace(future, rating=np.float32(6) - future.rating))
    log: InteractionLog = tiny_world.log
    answers = []
    for name, split in (("a", tiny_split), ("b", other)):
        build = builder(tiny_world.catalogue, tmp_path / name, tiny_settings, member=np.arange(8), random_personas=True)
        population = build(log, split, 0)
        assert (tmp_path / name / "random-0").is_dir()
        answers.append(population.rating_model.rate(np.arange(8), np.arange(8)).p)
    np.testing.assert_array_equal(answers[0], answers[1])
