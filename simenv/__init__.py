"""simenv: a population of simulated recommender users from a ratings log.

The public nouns of the world. Users come from `simenv.agents`, contestants from `simenv.recommenders`,
what turns a log into users from `simenv.training`. Importing this loads neither torch nor gymnasium.
"""

import sys

from simenv.catalogue import Catalogue
from simenv.errors import SimenvError
from simenv.index import Index
from simenv.log import InteractionLog, Split
from simenv.play import play
from simenv.protocols import Answer, Policy, Population, RatingModel, Recommender
from simenv.record import Record
from simenv.scale import RatingScale
from simenv.session import Response, Session, Slate, StopReason, UserState

if "gymnasium" in sys.modules:  # Gymnasium 1 reads no entry points: who has it loaded finds our ids registered
    from simenv.registration import register

    register()

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Catalogue",
    "Index",
    "InteractionLog",
    "Policy",
    "Population",
    "RatingModel",
    "RatingScale",
    "Recommender",
    "Record",
    "Response",
    "Session",
    "SimenvError",
    "Slate",
    "Split",
    "StopReason",
    "UserState",
    "play",
]
