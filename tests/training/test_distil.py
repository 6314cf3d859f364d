"""Distilling: the past goes in, the future is refused, and nothing of it can be seen in what comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simenv.agents.crowd import Crowd
from simenv.agents.memory import Memory
from simenv.agents.profile import Profiles, TraitCuts
from simenv.errors import DataError, LeakageError
from simenv.log import InteractionLog
from simenv.testing.logs import tiny_catalogue, tiny_log
from simenv.training.cluster import ClusterSettings, cluster, features
from simenv.training.distil import Distiller, StatisticalDistiller

USER = np.array([3, 0, 11])


def distilled(log: InteractionLog, seed_of_future: int | None = None) -> tuple[Profiles, Memory]:
    """Distil the first 60 % of a log whose later ratings may be replaced."""
    split = log.split("user_time")
    if seed_of_future is not None:
        late = log.time >= split.cut[log.user]  # type: ignore[operator, index]
        rating = log.rating.copy()
        rating[late] = np.random.default_rng(seed_of_future).integers(1, 6, late.sum())
        assert not np.array_equal(rating, log.rating)
        split = replace(log, rating=rating).split("user_time")
    catalogue = tiny_catalogue(log.items)
    crowd = Crowd.fit(split.past, catalogue)
    return StatisticalDistiller().distil(split.past, catalogue, crowd, USER, cut=split.cut)


def test_it_is_a_distiller() -> None:
    assert isinstance(StatisticalDistiller(), Distiller)


def test_profiles_in_the_order_asked_and_memory_of_all() -> None:
    log = tiny_log()
    profiles, memory = distilled(log)
    past = log.split("user_time").past
    assert profiles.count.tolist() == past.count[USER].tolist()
    assert len(memory) == len(past)
    assert memory.recall(USER, np.zeros((3, 1), np.int64), 2).shape == (3, 1, 2)


def test_cuts_come_from_all_users_unless_given() -> None:
    log = tiny_log()
    past = log.split("user_time").past
    everybody = Profiles.of_log(past, np.arange(12), Crowd.fit(past, cat := tiny_catalogue(log.items)), cat)
    assert distilled(log)[0].cuts == everybody.cuts
    given = TraitCuts((1, 2), (3, 4), (5, 6))
    made, _ = StatisticalDistiller(cuts=given).distil(past, cat, Crowd.fit(past, cat), USER)
    assert made.cuts == given


@pytest.mark.parametrize("seed", [0, 1])
def test_canary_the_future_changes_no_byte(seed: int, tmp_path: Path) -> None:
    log = tiny_log(seed=seed)
    made = distilled(log), distilled(log, seed_of_future=seed + 10)
    for n, (profiles, memory) in enumerate(made):
        profiles.save(tmp_path / f"profiles{n}")
        memory.save(tmp_path / f"memory{n}")
    for name in ("profiles", "memory"):
        one, other = ({f.name: f.read_bytes() for f in (tmp_path / f"{name}{n}").iterdir()} for n in (0, 1))
        assert one == other
        assert len(one) > 1
    assert [p.text for p in made[0][0]] == [p.text for p in made[1][0]]
    labels = [cluster(features(p), ClusterSettings(k=2, min_users=1)).label.tobytes() for p, _ in made]
    assert labels[0] == labels[1]


def test_the_canary_can_sing() -> None:
    """The same change inside the past is seen: the test above could fail."""
    log = tiny_log()
    other = replace(log, rating=np.where(log.item % 3 == 0, 6 - log.rating, log.rating).astype(np.float32))
    assert [p.text for p in distilled(log)[0]] != [p.text for p in distilled(other)[0]]


def test_rows_after_the_cut_are_refused() -> None:
    log = tiny_log()
    split = log.split("user_time")
    catalogue = tiny_catalogue(log.items)
    crowd = Crowd.fit(split.past, catalogue)
    with pytest.raises(LeakageError, match=r"build memories from split\.past"):
        StatisticalDistiller().distil(log, catalogue, crowd, USER, cut=split.cut)
    with pytest.raises(LeakageError, match="no times"):
        StatisticalDistiller().distil(replace(split.past, time=None), catalogue, crowd, USER, cut=split.cut)
    with pytest.raises(DataError, match="simulated"):
        StatisticalDistiller().distil(replace(split.past, simulated=True), catalogue, crowd, USER)


def test_users_with_one_or_no_known_rating() -> None:
    log = tiny_log()
    keep = (log.user > 1) | (np.arange(len(log)) == 0)
    past = log.take(keep)
    catalogue = tiny_catalogue(log.items)
    profiles, memory = StatisticalDistiller().distil(past, catalogue, Crowd.fit(past, catalogue), np.array([0, 1, 2]))
    assert profiles.count.tolist()[:2] == [1, 0]
    assert all(p.text and "nan" not in p.text for p in profiles)
    assert (memory.recall(np.array([1]), np.array([[4]]), 2) == -1).all()
    assert np.isfinite(features(profiles)).all()
