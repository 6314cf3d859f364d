"""The source paper's table in Python: ratings by a base, its adapters and memories, written and read, and yardsticks.

    python examples/reproduce_table1.py                             the embedded model on an invented world, minutes
    python examples/reproduce_table1.py --base FOLDER --rows 0,7    any causal language model: a folder or a hub's name

`simenv reproduce table1` does the same from the command line, with real data; this shows how to change what it does not
ask about: here the adapters' rank.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

from simenv.agents.prompt import preset
from simenv.datasets import Dataset
from simenv.datasets.synthetic import generate
from simenv.study.table1 import Table1, Table1Settings, table1
from simenv.study.table1_report import report
from simenv.training.finetune import LoraSettings
from simenv.training.world_model import SMALL


def main(
    base: str | None = None,
    rows: tuple[int, ...] | None = None,
    *,
    size: tuple[int, int] = (200, 120),
    users: int = 40,
    steps: int = 150,
    train_rows: tuple[int, int] = (600, 250),
    folder: str | None = None,
) -> list[Table1]:
    world = generate(0, n_users=size[0], n_items=size[1])
    data = Dataset(world.log, world.catalogue, world.name)
    usual = Table1Settings()
    how = replace(
        usual,
        users=users,
        min_ratings=34,  # yardsticks are tuned on users with twenty known ratings
        prompt=preset("paper", summary=False, cast=False),  # an invented film has no plot worth reading
        rows=train_rows,
        personas=2,
        size=SMALL,
        world=replace(usual.world, steps=steps, warmup=min(50, steps // 3)),
        lora=LoraSettings(rank=4, alpha=8, single=replace(usual.lora_of(base).single, warmup=5)),
    )
    home = Path(folder or mkdtemp())
    tables = [table1(data, [base], how, arm=arm, folder=home, rows=rows) for arm in ("own", "world")]
    done = report(tables)
    done.print()
    print(f"\nThe page: {done.save(home / 'table1.html')}")
    return tables


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="folder or hub name of a causal language model; none: the embedded one")
    parser.add_argument("--rows", help="printed rows, such as 0,7; none: all")
    given = parser.parse_args()
    main(given.base, tuple(int(n) for n in given.rows.split(",")) if given.rows else None)
