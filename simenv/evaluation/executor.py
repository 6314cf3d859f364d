"""Executors: where the parts of a long job are computed: here, in processes of this machine, or on a Ray cluster.

A job is sent once to each worker, as bytes, with the folders modules are imported from; a part is some words that say
what to do. Which worker does a part, and when, must not matter to the job. Knows nothing of benchmarks.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar, final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError, SimenvError, WorkerError

P = TypeVar("P")
R = TypeVar("R")
Job = Callable[[Any], Any]

_AGAIN = (
    "Run it again: finished parts are kept where a folder was given. If memory ran out (the system's log says so), "
    "take fewer workers, so that each has more of it."
)


class Executor(Protocol):
    """Computes parts."""

    def map(self, job: Callable[[P], R], part: Sequence[P]) -> Iterator[tuple[P, R]]:
        """Yield every part with job(part) as soon as it is done, in any order.

        Raises:
            ConfigError: the job cannot be sent to where it should be done.
            WorkerError: a worker died.

        """
        ...


@final
@dataclass(frozen=True)
class Here:
    """One part after another, in this process."""

    def map(self, job: Callable[[P], R], part: Sequence[P]) -> Iterator[tuple[P, R]]:
        """See `Executor`."""
        return ((p, job(p)) for p in part)


@final
@dataclass(frozen=True)
class Processes:
    """Processes of this machine: fresh interpreters, never forks, since a fork after OpenMP may hang."""

    workers: int
    """How many; each holds a copy of all that the job holds. 1: this process, and no other."""
    threads: int | None = None
    """Threads of a worker's matrix libraries; None: those of this machine, divided."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"at least one worker is needed; got {self.workers}.")

    def map(self, job: Callable[[P], R], part: Sequence[P]) -> Iterator[tuple[P, R]]:
        """See `Executor`."""
        from joblib import Parallel, delayed, parallel_config

        if self.workers == 1:
            yield from Here().map(job, part)
            return
        with TemporaryDirectory(prefix="simenv-job-") as folder:
            parcel = Parcel.of(job, Path(folder) / "job")
            with parallel_config("loky", n_jobs=self.workers, inner_max_num_threads=self.threads):
                work = Parallel(return_as="generator_unordered", batch_size=1, max_nbytes=None)
                try:
                    yield from work(delayed(_do)(parcel, p) for p in part)
                except BrokenProcessPool as error:
                    raise WorkerError(f"a worker process died. {_AGAIN}") from error


@final
@dataclass(frozen=True)
class Ray:
    """A Ray cluster, or one that is begun here; dead workers are replaced and their parts done again by Ray."""

    address: str | None = None
    """Where a cluster runs ("auto", "ray://host:10001"); None: the one this process belongs to, or a new local one."""
    workers: int | None = None
    """Processors of a new local cluster; None: all of this machine."""
    gpus: float | None = None
    """GPUs of one worker; None: one where the cluster has any."""
    retries: int = 3
    """How often a part is done again after its worker died."""

    def map(self, job: Callable[[P], R], part: Sequence[P]) -> Iterator[tuple[P, R]]:
        """See `Executor`."""
        ray = self._library()
        begun = not ray.is_initialized()
        if begun:
            self._begin(ray)
        try:
            yield from self._done(ray, job, part)
        finally:
            if begun:
                ray.shutdown()

    def _library(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise ConfigError("Ray is not installed: pip install 'simenv-personas[ray]'.") from error
        return ray

    def _begin(self, ray: Any) -> None:
        address = self.address or os.environ.get("RAY_ADDRESS")  # Ray's own way of naming a cluster
        own: dict[str, Any] = {} if address else {"num_cpus": self.workers, "include_dashboard": False}
        try:
            ray.init(address=address, logging_level="error", log_to_driver=False, **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"no Ray cluster answers at {address or 'this machine'}: {error}") from error

    def _done(self, ray: Any, job: Callable[[P], R], part: Sequence[P]) -> Iterator[tuple[P, R]]:
        gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0)) if self.gpus is None else self.gpus
        work = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=self.retries)(_do_sent)
        sent = ray.put(np.frombuffer(_bytes(job), np.uint8))  # an array is read where it lies, not copied for each part
        name, path = uuid4().hex, tuple(sys.path)
        waiting = [work.remote(name, path, sent, p) for p in part]
        while waiting:
            ready, waiting = ray.wait(waiting)
            for one in ready:
                yield self._result(ray, one)

    @staticmethod
    def _result(ray: Any, one: Any) -> Any:
        try:
            return ray.get(one)
        except ray.exceptions.RayTaskError as error:
            # Ray's own words hold the whole story of the worker; ours are one sentence.
            if isinstance(error.cause, SimenvError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            words = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise WorkerError(f"a Ray worker died, and so did those after it ({words}). {_AGAIN}") from error


@final
@dataclass(frozen=True)
class Parcel:
    """A job in a file, for workers of this machine."""

    file: Path
    name: str
    path: tuple[str, ...]
    """Folders that modules are imported from, as in the sending process."""

    @classmethod
    def of(cls, job: Job, file: Path) -> Parcel:
        """Write a job.

        Raises:
            ConfigError: something in it cannot be sent.

        """
        file.write_bytes(_bytes(job))
        return cls(file, uuid4().hex, tuple(sys.path))


def _bytes(job: Job) -> bytes:
    import cloudpickle  # also sends what was defined in a script or a notebook

    try:
        return bytes(cloudpickle.dumps(job))
    except Exception as error:  # whatever objects raise when they are asked to become bytes
        raise ConfigError(
            f"this cannot be sent to workers ({type(error).__name__}: {error}). Recommenders and users must be objects "
            "that pickle takes; users that are too heavy are given as a function build(n) that loads them, such as "
            "simenv.agents.store.Stored(folder)."
        ) from error


_AT_HAND: dict[str, Job] = {}
"""The job a worker is at; one at a time."""


def _do(parcel: Parcel, part: P) -> tuple[P, Any]:
    """Do a part in a worker of this machine."""
    return part, _job(parcel.name, parcel.path, parcel.file.read_bytes)(part)


def _do_sent(name: str, path: tuple[str, ...], data: NDArray[np.uint8], part: P) -> tuple[P, Any]:
    """Do a part in a Ray worker."""
    return part, _job(name, path, lambda: data)(part)


def _job(name: str, path: Sequence[str], read: Callable[[], Any]) -> Job:
    if name not in _AT_HAND:
        sys.path[:] = [*path, *(p for p in sys.path if p not in path)]
        _AT_HAND.clear()
        _AT_HAND[name] = pickle.loads(read())  # written by the process that asks, a moment ago
    return _AT_HAND[name]
