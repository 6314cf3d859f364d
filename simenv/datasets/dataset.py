"""Dataset: what a loader hands over. Knows nothing of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import pandas as pd

from simenv.catalogue import Catalogue
from simenv.errors import DataError
from simenv.log import InteractionLog


@final
@dataclass(frozen=True, eq=False)
class Dataset:
    """A log, what its items are, and what a reader of results should know about both."""

    log: InteractionLog
    catalogue: Catalogue
    """Shares the item index of `log`; items without any event may stand in it."""
    name: str
    """Short name for reports, such as "ml-1m"."""
    demographics: pd.DataFrame | None = None
    """One row per user of `log.users`, in that order: column user (raw id) and what is known of the person;
    None: nothing is known."""
    random_exposure: InteractionLog | None = None
    """Ratings of items that were drawn uniformly at random for the user, disjoint from `log`, same indices;
    None: the data has no such part."""
    note: str = ""
    """What was assumed, guessed or dropped while reading, in sentences."""

    def __post_init__(self) -> None:
        if self.log.items.ids != self.catalogue.items.ids:
            raise DataError("log and catalogue of a dataset must share one item index; build both from the same Index.")
        extra = self.random_exposure
        if extra is not None and (extra.items.ids, extra.users.ids) != (self.log.items.ids, self.log.users.ids):
            raise DataError("random_exposure must share the user and item index of the log.")
        if self.demographics is not None and list(self.demographics["user"]) != list(self.log.users.ids):
            raise DataError("demographics must have one row per user of log.users, in that order.")
