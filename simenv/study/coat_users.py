"""Simulated users of the Coat study: trained on the judge's rows, asked about the candidates.

Knows populations; nothing of true values.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simenv.agents.arms import language_model, parts
from simenv.agents.population import SimulatedPopulation
from simenv.agents.prior import Prior
from simenv.agents.prompt import preset
from simenv.agents.rating_model import MemoRatingModel
from simenv.errors import ConfigError
from simenv.evaluation.decision import population_judge
from simenv.log import InteractionLog
from simenv.randomness import derive, generator
from simenv.study.coat_field import Field
from simenv.study.coat_judges import folds
from simenv.training.examples import Evidence, evidence
from simenv.training.ground import prepare
from simenv.training.pipeline import TrainSettings, train

Floats = NDArray[np.float64]
OURS = "simenv"


def recipe() -> TrainSettings:
    """Return the usual recipe with fewer steps, for 3,480 rows."""
    usual = TrainSettings()
    lora = usual.lora
    lora = replace(lora, single=replace(lora.single, steps=60), persona=replace(lora.persona, steps=20))
    return replace(usual, world=replace(usual.world, steps=400), lora=lora)


def usual(field: Field, how: TrainSettings, weight: Floats, scratch: Path) -> dict[str, Floats]:
    """Return the expected ratings [U, I] of the usual users, of their parts alone, and with a weighted prior.

    weight: inverse propensities [E] of the judge's rows. NaN off the candidates.
    """
    population = _trained(field, field.judge, how, scratch)
    told = {OURS: population} | {f"{OURS}, {name}": part for name, part in parts(population).items()}
    told[f"{OURS}, propensity-weighted prior"] = reweighted(field, population, how, weight)
    return {name: asked(p, field.drawn.user, field.drawn.item) for name, p in told.items()}


def reweighted(
    field: Field, population: SimulatedPopulation, how: TrainSettings, weight: Floats, epochs: int = 8
) -> SimulatedPopulation:
    """Return the users with their prior fitted again on lessons drawn by the inverse propensity of their targets.

    The same cues and the same contexts; a target stands for all pairs that are chosen as rarely.
    """
    lm = language_model(population)
    if lm is None:
        raise ConfigError("only users who answer by a language model have a prior to fit again.")
    ground, _, _ = prepare(field.judge, field.dataset.catalogue, population.member, how, people=_people(field))
    seed, table = derive(how.seed, "weighted prior"), np.zeros((field.judge.n_users, field.judge.n_items))
    table[field.judge.user, field.judge.item] = weight
    drawn = [e for n in range(epochs) for e in evidence(field.judge, ground.folds, ground.pupils, derive(seed, n))]
    feature, spread, rating = (np.concatenate(x) for x in zip(*map(_lesson, drawn), strict=True))
    mean = np.concatenate([np.full(len(e.contexts.row), e.crowd.mean) for e in drawn])
    own = np.concatenate([table[e.contexts.user[e.contexts.row], e.contexts.target] for e in drawn])
    pick = generator(seed, "pick").choice(len(own), len(own), p=own / own.sum())
    prior = Prior.fit(feature[pick], spread[pick], rating[pick], mean[pick], field.judge.scale)
    changed = MemoRatingModel(replace(lm, prior=prior), len(population.items))
    return population.with_(rating_model=changed)


def _lesson(e: Evidence) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    return e.cues.feature, e.spread, e.contexts.answer


def reduced(field: Field, how: TrainSettings, prompt: str, scratch: Path) -> Floats:
    """Return the same of users who are shown less: "content" (nothing of others), "cue-only" (numbers alone)."""
    population = _trained(field, field.judge, replace(how, prompt=preset(prompt)), scratch)
    return asked(population, field.drawn.user, field.drawn.item)


def crossed(field: Field, how: TrainSettings, scratch: Path, number: int) -> tuple[Floats, Floats]:
    """Return (table [U, I], unseen [E]) of populations that each did without a fold of the judge's rows.

    table: their mean on the candidates; unseen: what the one that did without a row says of it.
    """
    fold, rows, tables = folds(field, number), field.judge, []
    unseen = np.full(len(rows), np.nan)
    for f in range(number):
        population = _trained(field, rows.take(fold != f), replace(how, seed=derive(how.seed, "fold", f)), scratch)
        tables.append(asked(population, field.drawn.user, field.drawn.item))
        out = fold == f
        unseen[out] = asked(population, rows.user[out], rows.item[out])[rows.user[out], rows.item[out]]
    return np.mean(tables, axis=0), unseen


def asked(population: SimulatedPopulation, user: NDArray[np.int64], item: NDArray[np.int64]) -> Floats:
    """Return float64[U, I]: expected ratings of pairs [N]; NaN elsewhere."""
    out = np.full((len(population.users), len(population.items)), np.nan)
    out[user, item] = population_judge(population)(user, item)
    return out


def _trained(field: Field, log: InteractionLog, how: TrainSettings, scratch: Path) -> SimulatedPopulation:
    """Return a population of everybody, its seed that of the split; the folder is taken away again."""
    shutil.rmtree(scratch, ignore_errors=True)
    settings = replace(how, seed=derive(field.seed, "users", how.seed) % 2**31)
    return train(log, field.dataset.catalogue, np.arange(log.n_users), scratch, settings, people=_people(field))


def _people(field: Field) -> Floats | None:
    """Return what is known of users, as the content ridge knows it too; None: nothing."""
    return field.features.user if field.features.user.shape[1] else None
