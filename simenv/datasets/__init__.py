"""Reading data into (InteractionLog, Catalogue): one door, `load`, before the loaders of each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from simenv.datasets import coat, frames, movielens
from simenv.datasets.dataset import Dataset
from simenv.datasets.files import members
from simenv.datasets.tables import Source

__all__ = ["Dataset", "coat", "frames", "load", "movielens"]


def load(source: Source, **options: Any) -> Dataset:
    """Return the dataset behind a name, a path or a frame; the kind is told by what is there.

    source: "ml-100k", "ml-1m", "ml-latest-small" (fetched once where no such path exists); a folder or zip of
        MovieLens or Coat; any table of ratings as a file or DataFrame.
    options: as the loader of that kind takes them: `movielens.load`, `coat.load`, `frames.load`.

    Raises:
        DataError: nothing there, or something wrong in it, with the remedy.
        TypeError: an option the loader does not know.

    """
    if isinstance(source, pd.DataFrame):
        return frames.load(source, **options)
    if not Path(source).expanduser().exists() and str(source) in movielens.MD5:
        return movielens.load(source, **options)
    found = {m.name for m in members(source)}
    if any(layout <= found for layout in movielens.SIGNATURES):
        return movielens.load(source, **options)
    if {"train.ascii", "test.ascii"} <= found:
        return coat.load(source, **options)
    return frames.load(source, **options)
