"""Arms of a population: parts of it alone, and users who answer with something of another's or with something hidden.

All is done by exchanging what a Mind knows; no weight, prompt format or number of behaviour is touched. The language
model's own sensitivity is hidden by the pool with the prior, so disturb `parts(population)["language model alone"]`
too. Knows nothing of truth: what a disturbance costs is `simenv.evaluation.fidelity.disturbance`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simenv.agents.cues import FEATURE, cues
from simenv.agents.language_model import Prompt
from simenv.agents.memory import Memory
from simenv.agents.opaque import opaque
from simenv.agents.population import SimulatedPopulation
from simenv.agents.prior import Prior
from simenv.agents.profile import Profiles
from simenv.agents.rating_model import LMRatingModel, MemoRatingModel, Mind
from simenv.agents.written import renamer
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.randomness import generator

Ints = NDArray[np.int64]
_CROWD = ("item offset", "item offset x spread", "log count")
_MATCH = ("similar items, 10", "similar items, 40", "factors", "support")
_PAIRS = 4096
"""Pairs over which a hidden cue's average is taken."""


def parts(population: SimulatedPopulation) -> dict[str, SimulatedPopulation]:
    """Return the same users read from one source alone: "prior alone" and "language model alone".

    {}: the population does not answer by a language model.
    """
    lm = language_model(population)
    if lm is None:
        return {}
    prior, alone = (replace(lm, readout=replace(lm.readout, arm=arm)) for arm in ("prior", "lm"))
    return {name: _with(population, name, m) for name, m in (("prior alone", prior), ("language model alone", alone))}


def disturbed(population: SimulatedPopulation, seed: int) -> dict[str, SimulatedPopulation]:
    """Return the same users with something exchanged or hidden, by name; only what the answers can depend on.

    "adapter swapped": that of another persona. "persona swapped": another member's Ms and adapter. "recalled
    texts swapped": another member's Ml is recalled. "memory swapped": so is what neighbours in it say of the item, in
    the prompt and for the prior. "user swapped": all evidence (profile, memory and cues, so the prior as well) is
    another member's; the adapter stays. Members are exchanged in one circle drawn by `seed`: no one keeps their own.

    "crowd average hidden": the prompt's line on the crowd is left out. "taste match hidden": so is that on the match.
    The prior is denied the same: the cues behind the line are held at their average over pairs as they occur, in the
    pool and in the expected rating that the prompt gives. Else the number hidden here would be read off there. (How
    much opinions on an item differ stays: it widens answers and moves none.)

    "opaque titles": titles and people are codes, in items, memories, profiles and summaries; years and genres stay.

    {}: the population does not answer by a language model. Where the prior alone is read, only what it
    sees is disturbed.
    """
    lm = language_model(population)
    if lm is None:
        return {}
    found = {name: make(lm, seed) for name, (can, make) in _ARMS.items() if can(lm)}
    return {name: _with(population, name, made) for name, made in found.items()}


def conformity(population: SimulatedPopulation, shift: float) -> SimulatedPopulation:
    """Return the same users shown a crowd average moved by `shift` rating points (never off the scale's ends).

    Only the printed number moves; the prior, and what the prompt says of it, do not. `shown_average` gives what is
    printed before and after, to the decimal.

    Raises:
        ConfigError: the prompts show no crowd average (`shown_average` gives None).

    """
    lm = language_model(population)
    if lm is None or not _prompted(lm) or not lm.mind.writer.settings.crowd:
        raise ConfigError("these users are shown no crowd average that could be moved; take prompts with crowd=True.")
    low, high = lm.scale.values[0], lm.scale.values[-1]
    crowd = lm.mind.crowd
    moved = np.clip(crowd.item_mean + np.float32(shift), low, high).astype(np.float32)
    return _with(population, f"crowd average {shift:+g}", _thinking(lm, crowd=replace(crowd, item_mean=moved)))


def shown_average(population: SimulatedPopulation, item: Ints) -> NDArray[np.float64] | None:
    """Return float64[N]: the crowd average that prompts print of items [N], one decimal; None: they print none."""
    lm = language_model(population)
    if lm is None or not _prompted(lm) or not lm.mind.writer.settings.crowd:
        return None
    return np.array([float(f"{x:.1f}") for x in lm.mind.crowd.item_mean[item]], np.float64)


def asked(population: SimulatedPopulation, user: Ints, item: Ints) -> list[Prompt]:
    """Return the prompts of members [N] for items [N]; []: the population does not answer by a language model."""
    lm = language_model(population)
    return [] if lm is None else lm.prompts(np.asarray(user, np.int64), np.asarray(item, np.int64))


def language_model(population: SimulatedPopulation) -> LMRatingModel | None:
    """Return the rating model that writes prompts, without its memory of answers; None: there is none."""
    model = population.rating_model
    inner = model.inner if isinstance(model, MemoRatingModel) else model
    return inner if isinstance(inner, LMRatingModel) else None


def derangement(n: int, seed: int) -> Ints:
    """Return int64[n]: who stands in for each of n >= 2, never oneself; one circle through all, drawn by seed."""
    order = generator(seed, "derangement").permutation(n)
    other = np.empty(n, np.int64)
    other[order] = np.roll(order, 1)
    return other


def _with(population: SimulatedPopulation, name: str, model: LMRatingModel) -> SimulatedPopulation:
    """Return the population with another model, nothing remembered, and a fingerprint of its own."""
    told = dict(population.provenance)
    if "population" in told:
        told["population"] += f", {name}"
    memo = MemoRatingModel(model, len(population.items))
    return replace(population, rating_model=memo, provenance=told | {"arm": name})


def _thinking(lm: LMRatingModel, **changes: Any) -> LMRatingModel:
    return replace(lm, mind=replace(lm.mind, **changes))


def _adapter_swapped(lm: LMRatingModel, seed: int) -> LMRatingModel:
    names = list(dict.fromkeys(lm.mind.adapter))
    other = dict(zip(names, (names[i] for i in derangement(len(names), seed)), strict=True))
    return _thinking(lm, adapter=tuple(other[a] for a in lm.mind.adapter))


def _persona_swapped(lm: LMRatingModel, seed: int) -> LMRatingModel:
    mind, other = lm.mind, _other(lm.mind, seed)
    return _thinking(lm, profiles=mind.profiles.take(other), adapter=tuple(mind.adapter[o] for o in other))


def _texts_swapped(lm: LMRatingModel, seed: int) -> LMRatingModel:
    return _thinking(lm, memory=_exchanged(lm.mind, _other(lm.mind, seed)))


def _memory_swapped(lm: LMRatingModel, seed: int) -> LMRatingModel:
    mind, other = lm.mind, _other(lm.mind, seed)
    own, its = mind.taste.take(np.arange(len(other))), mind.taste.take(other)
    return _thinking(lm, memory=_exchanged(mind, other), taste=replace(own, item=its.item, residual=its.residual))


def _user_swapped(lm: LMRatingModel, seed: int) -> LMRatingModel:
    mind, other = lm.mind, _other(lm.mind, seed)
    taste = mind.taste.take(other)
    return _thinking(lm, profiles=mind.profiles.take(other), memory=_exchanged(mind, other), taste=taste)


def _crowd_hidden(lm: LMRatingModel, seed: int) -> LMRatingModel:
    crowd = lm.mind.crowd
    factor = crowd.factor.copy()
    factor[:, 0] = np.average(factor[:, 0], weights=crowd.item_count)  # an item's bias is a part of its average
    return _thinking(_hiding(lm, _CROWD, seed, crowd=False), crowd=replace(crowd, factor=factor))


def _match_hidden(lm: LMRatingModel, seed: int) -> LMRatingModel:
    return _hiding(lm, _MATCH, seed, match=False)


def _hiding(lm: LMRatingModel, columns: tuple[str, ...], seed: int, **line: bool) -> LMRatingModel:
    writer = lm.mind.writer
    changed = replace(writer, settings=replace(writer.settings, **line))  # type: ignore[arg-type]
    return replace(_thinking(lm, writer=changed), prior=_blind(lm, columns, seed))


def _opaque_titles(lm: LMRatingModel, seed: int) -> LMRatingModel:
    mind = lm.mind
    coded = opaque(mind.writer.catalogue, seed)
    memory, profiles = _worded(mind, coded)
    return _thinking(
        lm,
        writer=replace(mind.writer, catalogue=coded),
        memory=replace(memory, catalogue=coded),
        profiles=replace(profiles, catalogue=coded),
    )


def _worded(mind: Mind, coded: Catalogue) -> tuple[Memory, Profiles]:
    """Return memory and profiles in whose written words the users' items and their people carry other names."""
    memory, profiles = mind.memory, mind.profiles
    if memory.notes is None and not profiles.written:
        return memory, profiles
    known = mind.writer.catalogue
    own = {int(u): renamer(known, coded, memory.item[memory.user == u].tolist()) for u in np.unique(memory.user)}
    if memory.notes is not None:
        memory = replace(memory, notes=memory.notes.map(lambda entry, text: own[int(memory.user[entry])](text)))
    member = np.empty(len(profiles), np.int64)
    member[mind.row[mind.row >= 0]] = np.flatnonzero(mind.row >= 0)
    stages = (
        tuple(replace(s, description=own[int(u)](s.description)) for s in of)
        for u, of in zip(member, profiles.written, strict=False)
    )
    return memory, replace(profiles, written=tuple(stages))


def _prompted(lm: LMRatingModel) -> bool:
    return lm.readout.arm != "prior"


def _recalls(lm: LMRatingModel) -> bool:
    return _prompted(lm) and lm.mind.writer.settings.memories > 0


def _several(lm: LMRatingModel) -> bool:
    return len(lm.mind.adapter) > 1


_Arm = tuple[Callable[[LMRatingModel], bool], Callable[[LMRatingModel, int], LMRatingModel]]
_ARMS: dict[str, _Arm] = {
    "adapter swapped": (lambda lm: _prompted(lm) and len(set(lm.mind.adapter)) > 1, _adapter_swapped),
    "persona swapped": (lambda lm: _prompted(lm) and _several(lm), _persona_swapped),
    "memory swapped": (lambda lm: _several(lm) and (_recalls(lm) or not lm.mind.crowd.blind), _memory_swapped),
    "recalled texts swapped": (lambda lm: _several(lm) and _recalls(lm), _texts_swapped),
    "user swapped": (_several, _user_swapped),
    "crowd average hidden": (lambda lm: lm.mind.writer.settings.crowd, _crowd_hidden),
    "taste match hidden": (lambda lm: lm.mind.writer.settings.match, _match_hidden),
    "opaque titles": (_prompted, _opaque_titles),
}
"""Name -> (whether the answers can depend on it, how it is made)."""


def _other(mind: Mind, seed: int) -> Ints:
    return derangement(len(mind.adapter), seed)


def _exchanged(mind: Mind, other: Ints) -> Memory:
    """Return memories in which the member at position m has the entries of the member at other[m]."""
    memory, member = mind.memory, np.empty(len(other), np.int64)
    number = np.flatnonzero(mind.row >= 0)
    member[mind.row[number]] = number
    source = np.arange(memory.n_users)
    source[member] = member[other]
    owner = np.empty_like(source)
    owner[source] = np.arange(len(source))
    user = owner[memory.user]
    order = np.argsort(user, kind="stable")
    columns = {n: getattr(memory, n)[order] for n in ("item", "rating", "residual", "simulated")}
    time = None if memory.time is None else memory.time[order]
    notes = None if memory.notes is None else memory.notes.take(order)
    return replace(memory, user=user[order], time=time, offset=memory.offset[source], notes=notes, **columns)


def _blind(lm: LMRatingModel, columns: tuple[str, ...], seed: int) -> Prior:
    """Return the prior with some cues held at their average over pairs of members and items as often as rated."""
    mind, rng = lm.mind, generator(seed, "hidden cues")
    count = mind.crowd.item_count.astype(np.float64)
    item = rng.choice(len(count), _PAIRS, p=count / count.sum())
    seen = cues(mind.crowd, mind.taste, rng.integers(len(mind.adapter), size=_PAIRS), item).feature
    hidden = [FEATURE.index(name) for name in columns]
    weight = lm.prior.weight.copy()
    weight[-1] += weight[hidden] @ seen[:, hidden].mean(axis=0, dtype=np.float64)
    weight[hidden] = 0.0
    return replace(lm.prior, weight=weight)
