"""Where parts are computed must not matter to what comes out; what goes wrong there is said in words."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simenv.errors import ConfigError, DataError, WorkerError
from simenv.evaluation.benchmark import Benchmark, Outcome
from simenv.evaluation.executor import Executor, Here, Processes, Ray
from simenv.session import Slate

SMALL = Benchmark(pages=2, slate_size=3, session_pages=5, resamples=100, rated_places=3, batch=7)
pytestmark = pytest.mark.skipif("CI" in os.environ, reason="workers now and then end unnoticed: a wait for ever")
WORKERS = Processes(2, threads=1)


def run(world: Any, executor: Executor | None, settings: Benchmark = SMALL, **options: Any) -> Outcome:
    everything: dict[str, Any] = {"future": world.future, "shared": world.log, "truth": world.population()}
    everything |= options
    return settings.run(
        world.recommenders(), world.population(), world.log, world.catalogue, executor=executor, **everything
    )


@pytest.fixture(scope="module")
def here(world: Any) -> Outcome:
    return run(world, None)


def test_processes_give_the_same_result_to_the_bit(world: Any, here: Outcome) -> None:
    there = run(world, WORKERS)
    assert there.to_json() == here.to_json()
    assert there.report.to_json() == here.report.to_json()
    for name, numbers in here.per_user.items():
        for key, value in numbers.items():
            np.testing.assert_array_equal(there.per_user[name][key], value, err_msg=f"{name}, {key}")


def test_batches_change_nothing_where_users_answer_one_by_one(world: Any, here: Outcome) -> None:
    """Metamorphic: 4 batches of 7, 7, 7, 3 users, and a single one; exposure is summed, all else stands in a row."""
    whole = run(world, None, replace(SMALL, batch=24))
    settings = [o.result["settings"] | {"batch": 0} for o in (whole, here)]
    assert settings[0] == settings[1]
    for part in ("headline", "values", "pairs", "sweep", "uncertainty", "agreement"):
        assert whole.result[part] == here.result[part], part


def test_records_are_those_of_one_process(world: Any, tmp_path: Path) -> None:
    settings = replace(SMALL, records=True)
    for name, executor, batch in (("here", None, 24), ("there", WORKERS, 7)):
        run(world, executor, replace(settings, batch=batch), folder=tmp_path / name)
    for arm in ("pages", "session"):
        one, two = (sorted((tmp_path / n / "records").glob(f"fair-0-{arm}-*.parquet")) for n in ("here", "there"))
        pd.testing.assert_frame_equal(pd.read_parquet(one[0]), pd.read_parquet(two[0]))


@dataclass(frozen=True)
class Counted:
    """Notes who was asked to forget, and how often."""

    inner: Any
    asked: list[int]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def forget(self) -> None:
        self.asked.append(len(self.asked))


def test_every_part_begins_with_nothing_remembered(world: Any) -> None:
    users = Counted(world.population(), [])
    SMALL.run(world.recommenders(), users, world.log, world.catalogue)
    assert len(users.asked) == 2 * 4, "before and after each of 4 batches"


@dataclass(frozen=True)
class Trouble:
    """Falls over on the user numbered 20: raises, dies each time, or dies once and leaves a file."""

    how: str
    name: str = "trouble"

    def fit(self, log: Any, catalogue: Any, *, seed: int) -> Trouble:
        return self

    def recommend(self, session: Any, k: int, *, seed: int) -> Any:
        if 20 in session.user:
            self.fall()
        return Slate.certain(np.argsort(session.seen(), axis=1, kind="stable")[:, :k])

    def fall(self) -> None:
        if self.how == "raises":
            raise DataError("user 20 has no taste.")
        if self.how == "dies" or not Path(self.how).exists():
            Path(self.how).touch() if self.how != "dies" else None
            os._exit(13)


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [("raises", DataError, "user 20 has no taste"), ("dies", WorkerError, "a worker process died.*fewer workers")],
)
def test_what_goes_wrong_in_a_worker_is_said(
    world: Any, tmp_path: Path, how: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        SMALL.run([Trouble(how)], world.population(), world.log, world.catalogue, folder=tmp_path, executor=WORKERS)
    kept = {p.name for p in (tmp_path / "parts").glob("*/*.npz")}
    assert "14-21.npz" not in kept, "the part that fell over"


def test_what_cannot_be_sent_is_said_before_anything_runs(world: Any) -> None:
    users = Counted(world.population(), [])
    object.__setattr__(users, "lock", threading.Lock())
    with pytest.raises(ConfigError, match=r"cannot be sent to workers.*build\(n\)"):
        SMALL.run(world.recommenders(), users, world.log, world.catalogue, executor=WORKERS)


def test_progress_ends_at_the_total(world: Any) -> None:
    said: list[tuple[int, int, str]] = []
    run(world, WORKERS, progress=lambda *a: said.append(a))
    assert [s[0] for s in said] == sorted(s[0] for s in said)
    assert said[-1] == (3 * 11 * 4, 3 * 11 * 4, "done")


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers(workers: int) -> None:
    with pytest.raises(ConfigError, match="at least one worker"):
        Processes(workers)


def test_here_is_lazy() -> None:
    done: list[int] = []
    parts = Here().map(done.append, [1, 2])
    assert next(iter(parts)) == (1, None)
    assert done == [1]


class TestRay:
    """On a cluster of two workers begun here; skipped where Ray is not installed."""

    def test_same_bits_and_a_worker_that_dies_once(self, world: Any, here: Outcome, tmp_path: Path) -> None:
        ray = pytest.importorskip("ray")
        ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
        try:
            assert run(world, Ray()).to_json() == here.to_json()
            mortal = [Trouble(str(tmp_path / "died once"))]
            out = SMALL.run(mortal, world.population(), world.log, world.catalogue, executor=Ray())
            assert (tmp_path / "died once").exists()
            assert out.to_json() == SMALL.run(mortal, world.population(), world.log, world.catalogue).to_json()
            with pytest.raises(DataError, match=r"^user 20 has no taste\.$"):
                SMALL.run([Trouble("raises")], world.population(), world.log, world.catalogue, executor=Ray())
            with pytest.raises(WorkerError, match="a Ray worker died, and so did those after it"):
                SMALL.run([Trouble("dies")], world.population(), world.log, world.catalogue, executor=Ray(retries=1))
            assert ray.is_initialized(), "a cluster that was there before is left alone"
        finally:
            ray.shutdown()
