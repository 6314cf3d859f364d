"""Write what prompts look like, one file per preset: `python tests/golden/make_prompts.py`.

The files show a change of the prompt to whoever reviews it; tests/agents/test_prompt.py compares them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simenv.agents.crowd import Crowd
from simenv.agents.cues import FEATURE, Taste
from simenv.agents.embedding import Tfidf
from simenv.agents.language_model import UniformModel
from simenv.agents.memory import ItemSpace, Memory
from simenv.agents.prior import Prior
from simenv.agents.profile import Profiles
from simenv.agents.prompt import PRESET, PromptSettings, PromptWriter
from simenv.agents.rating_model import LMRatingModel, Mind
from simenv.agents.readout import Readout
from simenv.testing.logs import tiny_catalogue, tiny_log

FOLDER = Path(__file__).parent


def prompts() -> dict[str, str]:
    """Return {preset: text}: two rating prompts of a user and, at the end, the question of leaving."""
    return {name: _text(settings) for name, settings in PRESET.items()}


def _text(settings: PromptSettings) -> str:
    model = _model(settings)
    asked = model.prompts(np.array([2, 2]), np.array([5, 10]))
    leaving = "".join(model.mind.writer.exit_suffix(2, -0.34, 0.5, 0.1))
    return "\n-----\n".join([p.text for p in asked] + [leaving]) + "\n"


def _model(settings: PromptSettings) -> LMRatingModel:
    log = tiny_log()
    catalogue, user = tiny_catalogue(log.items), np.arange(12)
    crowd = Crowd.fit(log, catalogue)
    memory = Memory.of(log, crowd, catalogue, ItemSpace.of(crowd, catalogue, Tfidf(), mix=settings.mix))
    weight = np.array([float(name in ("item offset", "user offset", "genres")) for name in (*FEATURE, "intercept")])
    prior = Prior(weight, np.array([1.5, 2.5, 3.5, 4.5]), np.array([0.5, 0.0]), 1.0, 5.0)
    taste = Taste.of(crowd, *log.padded(user))
    writer = PromptWriter(catalogue, log.scale, settings)
    profiles = Profiles.of_log(log, user, crowd, catalogue)
    mind = Mind(user, crowd, taste, profiles, memory, writer, (None,) * 12)
    return LMRatingModel(mind, UniformModel(), prior, Readout())


if __name__ == "__main__":
    for name, text in prompts().items():
        (FOLDER / f"prompt_{name}.txt").write_text(text, encoding="utf-8")
