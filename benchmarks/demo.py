"""The demo, recorded: `simenv demo` on one seed, with its wall time.

python benchmarks/demo.py [--seed 0]
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from recording import record

from simenv.cli.demo import Size, play_demo, summary, words
from simenv.datasets.synthetic import generate


def main(seed: Annotated[int, typer.Option(help="of the world and everything in it")] = 0) -> None:
    started, size = time.time(), Size()
    with tempfile.TemporaryDirectory() as folder:
        _, _, outcome = play_demo(Path(folder), seed, size)
    found = summary(outcome)
    print(words(found))
    values = {
        "sentence": words(found),
        "demo": json.loads(json.dumps(found)),
        "seconds": round(time.time() - started, 1),
        "result": json.loads(outcome.to_json()),
    }
    world = generate(seed, n_users=size.n_users, n_items=size.n_items)
    data = {world.name: world.log.fingerprint}
    print(record("demo", values, command="python benchmarks/demo.py", seed=seed, data=data, started=started))


if __name__ == "__main__":
    typer.run(main)
