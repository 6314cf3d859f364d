"""The canary: whatever the future holds, no byte of what is built from the past changes. And the canary can sing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv.agents.embedding import by_name
from simenv.agents.memory import Memory
from simenv.agents.prompt import PRESET
from simenv.datasets.synthetic import World
from simenv.errors import LeakageError
from simenv.log import InteractionLog, Split
from simenv.training.cluster import cluster, features
from simenv.training.ground import TrainSettings, prepare
from simenv.training.pipeline import _epoch, _lessons, train

MEMBER = np.arange(12)
Cut = Callable[[InteractionLog], Split]
CUTS: dict[str, Cut] = {
    "every user in time": lambda log: log.split("user_time", 0.6),
    "members in time, others whole": lambda log: log.split("user_time", 0.6, users=MEMBER),
    "all at one moment": lambda log: log.split("global_time", 0.6),
    "at random": lambda log: log.split("random", 0.6, seed=2),
}


def future(log: InteractionLog, split: Split) -> NDArray[np.bool_]:
    """Which events [E] of the log are the split's future."""
    names = ("user", "item")
    late = set(zip(*(getattr(split.future, n).tolist() for n in names), strict=True))
    return np.array([pair in late for pair in zip(*(getattr(log, n).tolist() for n in names), strict=True)])


def another_future(log: InteractionLog, cut: Cut) -> InteractionLog:
    """Return the log with items and ratings of all future events dealt anew; who acts when stays."""
    late = np.flatnonzero(future(log, cut(log)))
    rng = np.random.default_rng(0)
    item, rating = log.item.copy(), log.rating.copy()
    item[late], rating[late] = rng.permutation(item[late]), rng.permutation(6 - rating[late])
    return replace(log, item=item, rating=rating)


def leaked(split: Split, n: int = 1) -> InteractionLog:
    """The past with n events of members' future in it."""
    p, f = split.past, split.future
    rows = np.flatnonzero(np.isin(f.user, MEMBER))[:n]
    user, item, rating, time = (
        np.concatenate([getattr(p, c), getattr(f, c)[rows]]) for c in ("user", "item", "rating", "time")
    )
    return InteractionLog.of(p.users, p.items, user, item, rating, time, p.scale)


def arrays(thing: Any) -> dict[str, bytes]:
    """Bytes of every array and the text of every number of a dataclass."""
    out = {}
    for f in fields(thing):
        value = getattr(thing, f.name)
        if isinstance(value, np.ndarray):
            out[f.name] = value.tobytes()
        elif isinstance(value, (int, float, str, tuple)):
            out[f.name] = repr(value).encode()
    return out


def built(past: InteractionLog, world: World, settings: TrainSettings) -> dict[str, Any]:
    """Everything that is known before a weight is trained, by name."""
    ground, profiles, memory = prepare(past, world.catalogue, MEMBER, settings)
    lessons = _lessons(ground, profiles.cuts)
    clusters = cluster(features(profiles, "both", by_name("tfidf")), settings.cluster)
    drawn = _epoch(ground, lessons, ground.pupils, "world")(0)
    made: dict[str, Any] = {
        "crowd": arrays(ground.crowd),
        "folds": [arrays(c) for c in ground.folds.crowd],
        "space": arrays(ground.space),
        "users": (ground.pupils.tolist(), ground.judges.tolist()),
        "memory": arrays(memory),
        "reasons": [memory.text(e) for e in range(len(memory))],
        "profiles": arrays(profiles),
        "words": [p.text for p in profiles],
        "clusters": clusters.label.tobytes() + clusters.centre.tobytes(),
        "prior": arrays(lessons.prior),
        "prompts": [(le.prefix, le.suffix, le.place.tobytes(), le.expected.tobytes(), le.exit) for le in drawn],
    }
    return made


@pytest.fixture(scope="module")
def settings(tiny_settings: TrainSettings) -> TrainSettings:
    return replace(tiny_settings, prompt=PRESET["words"])


@pytest.mark.parametrize("kind", CUTS)
def test_another_future_changes_nothing(tiny_world: World, settings: TrainSettings, kind: str) -> None:
    cut, log = CUTS[kind], tiny_world.log
    other = another_future(log, cut)
    assert other.fingerprint != log.fingerprint
    assert cut(other).past.fingerprint == cut(log).past.fingerprint
    assert cut(other).future.fingerprint != cut(log).future.fingerprint
    assert built(cut(log).past, tiny_world, settings) == built(cut(other).past, tiny_world, settings)


def test_the_canary_sings(tiny_world: World, settings: TrainSettings) -> None:
    """One event of the future let in on purpose shows in everything that is built."""
    split = CUTS["every user in time"](tiny_world.log)
    honest, spoiled = built(split.past, tiny_world, settings), built(leaked(split), tiny_world, settings)
    silent = {name for name in honest if honest[name] == spoiled[name]}
    assert silent <= {"users", "clusters"}  # coarse: one event need not move anyone to another group
    many = built(leaked(split, 60), tiny_world, settings)
    assert honest["clusters"] != many["clusters"]


def test_trained_weights_do_not_know_the_future(
    tiny_world: World, tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    """To the last byte of the folder; with the event let in, world model and adapters differ, too."""
    cut, log = CUTS["every user in time"], tiny_world.log
    split, other = cut(log), cut(another_future(log, cut))
    folders = {}
    for name, past in {"honest": split.past, "other": other.past, "spoiled": leaked(split)}.items():
        folders[name] = tmp_path / name
        train(past, tiny_world.catalogue, MEMBER, folders[name], tiny_settings)
    files = [f.relative_to(folders["honest"]) for f in folders["honest"].rglob("*") if f.is_file()]
    honest, same, spoiled = ({str(f): (folder / f).read_bytes() for f in files} for folder in folders.values())
    assert honest == same
    told = {name for name in honest if honest[name] != spoiled[name]}
    assert {n for n in honest if n.endswith(".safetensors")} | {"prior.npz"} <= told
    assert {"crowd", "profiles", "memory"} <= {n.split("/")[0] for n in told}


def test_one_event_at_the_cut_is_refused(
    tiny_world: World, tiny_settings: TrainSettings, tmp_path: Path, tiny_split: Split
) -> None:
    """The first event that is no past; the last one that is, passes."""
    ground, _, _ = prepare(tiny_split.past, tiny_world.catalogue, MEMBER, tiny_settings)
    of = (ground.crowd, tiny_world.catalogue, ground.space)
    Memory.of(tiny_split.past, *of).check(tiny_split.cut)
    spoiled = leaked(tiny_split)
    assert len(spoiled) == len(tiny_split.past) + 1
    with pytest.raises(LeakageError, match=r"1 memory entries lie at or after their user's cut.*build memories from"):
        Memory.of(spoiled, *of).check(tiny_split.cut)
    with pytest.raises(LeakageError, match=r"build memories from split\.past"):
        train(spoiled, tiny_world.catalogue, MEMBER, tmp_path / "no", tiny_settings, cut=tiny_split.cut)


def test_answers_do_not_know_the_future(tiny_world: World, tiny_split: Split, tiny_population: Any) -> None:
    """What a population remembers is its members' past and nothing else."""
    memory = tiny_population.rating_model.inner.mind.memory
    own = tiny_split.past.of_users(MEMBER)
    for name in ("user", "item", "rating", "time"):
        np.testing.assert_array_equal(getattr(memory, name), getattr(own, name))
    future = {(u, i) for u, i in zip(tiny_split.future.user.tolist(), tiny_split.future.item.tolist(), strict=True)}
    assert not future & set(zip(memory.user.tolist(), memory.item.tolist(), strict=True))
