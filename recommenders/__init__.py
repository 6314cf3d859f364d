"""The recommenders on trial.

Each is a frozen dataclass of settings; `fit(log, catalogue, seed=...)` returns a policy, whose
`recommend(session, k, seed=...)` returns a Slate. Your own class needs these two methods and a `name`, no base class;
`simenv.testing.recommender.RecommenderContract` tests it. This room knows nothing of the users' side.

Default settings were chosen by precision at 10 and mean held-out rating on a per-user temporal split of MovieLens
latest-small, a few values each; tune them on your own data before you compare with them.
"""

from simenv.recommenders.adversarial import InvertedMF, NoisyMF, PopularTimesMean, TasteMF
from simenv.recommenders.bandit import LinUCB, Thompson
from simenv.recommenders.baseline import BestRated, LongTail, Popular, Random
from simenv.recommenders.biased_mf import BiasedMF
from simenv.recommenders.content import Content
from simenv.recommenders.contextual import ContextualGreedy
from simenv.recommenders.exploring import Exploring
from simenv.recommenders.factorisation import ALS, BPR
from simenv.recommenders.learned import Learned, RankerForm
from simenv.recommenders.learned_environment import EnvironmentForm
from simenv.recommenders.neighbours import ItemKNN
from simenv.recommenders.oracle import Oracle
from simenv.recommenders.ranking import top
from simenv.recommenders.refit import RefitLoop
from simenv.recommenders.registry import KNOWN, by_name
from simenv.recommenders.scores import Scores, from_scores

__all__ = [
    "ALS",
    "BPR",
    "KNOWN",
    "BestRated",
    "BiasedMF",
    "Content",
    "ContextualGreedy",
    "EnvironmentForm",
    "Exploring",
    "InvertedMF",
    "ItemKNN",
    "Learned",
    "LinUCB",
    "LongTail",
    "NoisyMF",
    "Oracle",
    "Popular",
    "PopularTimesMean",
    "Random",
    "RankerForm",
    "RefitLoop",
    "Scores",
    "TasteMF",
    "Thompson",
    "by_name",
    "from_scores",
    "top",
]
