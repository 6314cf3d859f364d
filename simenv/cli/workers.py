"""Who computes a benchmark: this process, more processes of this machine, or a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from simenv.errors import ConfigError

if TYPE_CHECKING:
    from simenv.evaluation.executor import Executor

Shards = Annotated[
    int | None, typer.Option("--shards", help="Share the users out among so many processes; same numbers, sooner.")
]
OnRay = Annotated[bool, typer.Option("--ray", help="Share them out on Ray; --shards: workers of a cluster begun here.")]
RayAddress = Annotated[
    str | None, typer.Option("--ray-address", help="A running cluster, such as auto or ray://head:10001.")
]


def executor(shards: int | None, on_ray: bool, address: str | None) -> Executor | None:
    """Return who computes, by the options of the command line; None: this process.

    Raises:
        ConfigError: options that contradict each other.

    """
    from simenv.evaluation.executor import Processes, Ray

    if not on_ray and address is None:
        return None if shards is None else Processes(shards)
    if address is not None and shards is not None:
        raise ConfigError("a running cluster has the size it has: leave out --shards, or --ray-address.")
    return Ray(address, shards)
