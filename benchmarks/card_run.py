"""One call of the fidelity benchmark: what its cards share, and the folder that keeps users and finished parts."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from protocols import Protocol

from simenv import InteractionLog, Population
from simenv.agents.arms import disturbed, parts
from simenv.catalogue import Catalogue
from simenv.evaluation.fidelity.answers import drawn as sampled
from simenv.evaluation.fidelity.card import Card
from simenv.evaluation.fidelity.replay import replay
from simenv.evaluation.fidelity.study import Fidelity
from simenv.evaluation.rating import Prediction
from simenv.recommenders.registry import KNOWN, by_name
from simenv.study.builder import Build, builder
from simenv.training.pipeline import TrainSettings


@final
@dataclass(frozen=True)
class Run:
    """What all cards of one call share."""

    log: InteractionLog
    catalogue: Catalogue
    folder: Path
    settings: Fidelity
    recipe: TrainSettings

    def build(self, arm: str, catalogue: Catalogue | None = None, *, dealt: bool = False) -> Build:
        """Return how the users of an arm are trained, each seed in its folder."""
        own = catalogue or self.catalogue
        return builder(own, self.folder / "users" / arm, self.recipe, random_personas=dealt, show=_quiet)

    def card(self, arm: str, protocol: Protocol, external: dict[str, Prediction] | None = None, **others: Any) -> Card:
        """Return the card of an arm, saved beside its users."""
        place = self.folder / "cards" / arm
        usual = {"build": self.build(arm), "control": self.build(arm, dealt=True), "folder": place}
        named = {"arms": parts, "disturb": disturbed, "provenance": {"protocol": protocol.note}, "progress": _said}
        named |= {"recommenders": by_name(KNOWN)}  # they learn from the simulator's rows: the card says so
        chosen: dict[str, Any] = usual | named | {"catalogue": self.catalogue, "external": external} | others
        card = self.settings.run(log=self.log, split=protocol.split, **chosen)
        card.save(place)
        print(f"{arm}: {card.light.sentence}\n", flush=True)
        return card

    def answers(self, arm: str, protocol: Protocol) -> Prediction:
        """Return what the first seed's users of an arm say of a protocol's held-out rows."""
        population = self.build(arm)(self.log, protocol.split, self.settings.seeds[0])
        return answers(population, protocol, self.settings)


def answers(population: Population, protocol: Protocol, settings: Fidelity) -> Prediction:
    """Return a population's answers to the held-out rows."""
    future, rho = protocol.split.future, float(getattr(population, "rho", 0.0))
    said = replay(population, future.user, future.item, seed=settings.seed)
    draws = sampled(said.p, future.scale, future.user, rho, draws=settings.draws, seed=settings.seed)
    return Prediction(future.scale.expectation(said.p), said.p, draws, said.off_scale)


def value_of(card: Card) -> dict[str, Any]:
    """Return a card's numbers as JSON holds them; what is not defined is None."""
    found: dict[str, Any] = json.loads(card.to_json())
    return found


def _quiet(name: str) -> Any:
    print(f"training: {name}", flush=True)
    return lambda step, steps, loss: None


def _said(done: int, total: int, words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)
