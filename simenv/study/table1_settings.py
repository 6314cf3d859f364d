"""What a reproduction of the paper's table of ratings is made of: its eleven rows as nine arrangements, and settings.

Thakur, Agrawal, Mukund 2025, "Personas within Parameters" (arXiv 2509.09689). Knows no weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, final

from simenv.agents.prompt import PromptSettings, preset
from simenv.errors import ConfigError
from simenv.log import SplitKind
from simenv.training.finetune import LoraSettings
from simenv.training.learn import LearnSettings
from simenv.training.world_model import WorldModelSize

Form = Literal["Ms", "Ms+Ml", "Ml"]
"""Which memories a prompt shows: the profile, both, or the recalled entry alone."""
FORMS: tuple[Form, ...] = ("Ms", "Ms+Ml", "Ml")
Arm = Literal["own", "world"]
"""Whose rows are known: "own": the past of the simulated users alone; "world": other users' rows of any time too."""
Adapter = Literal["none", "single", "persona"]
EMBEDDED = "embedded"
"""What the embedded model is called where other bases have a name."""


@final
@dataclass(frozen=True)
class Arrangement:
    """One line of the table for one base; the printed rows it stands for differ in their base alone."""

    number: tuple[int, ...]
    """Printed rows it stands for."""
    adapter: Adapter
    memories: Form
    rows: int | None
    """Training rows asked for: in all for a single adapter, at most so many for each persona's; None: no adapter."""
    printed: str
    """What the paper prints: base, RMSE / MAE / share of unrelated answers."""

    @property
    def name(self) -> str:
        """The printed rows, as in "row 5" or "rows 0, 3"."""
        return f"row{'s' if len(self.number) > 1 else ''} {', '.join(map(str, self.number))}"

    @property
    def words(self) -> str:
        """Adapter in words."""
        return {"none": "none", "single": f"one, {self.rows} rows", "persona": "one per persona"}[self.adapter]


_LORA = LearnSettings(rate=2e-4, warmup=20, prefixes=4, teacher=0.0)
PAPER_LORA = LoraSettings(rank=256, alpha=32, single=_LORA)
"""The paper's rank and scale. Its learning rate is not known: 2e-4 with 16 rows a step, as Dettmers et al. 2023."""
EMBEDDED_LORA = LoraSettings(single=replace(LoraSettings().single, teacher=0.0))
"""The library's own shape: the embedded model is 64 wide, where rank 256 would be no low rank at all."""


@final
@dataclass(frozen=True)
class Table1Settings:
    """How the table is made."""

    users: int | None = None
    """Users to simulate, drawn at random among those eligible (the paper: 200); None: all of these."""
    min_ratings: int = 100
    max_ratings: int = 200
    split: SplitKind = "user_time"
    """How each user's history is cut; the paper cuts in time."""
    fraction: float = 0.6
    """Share of each history that is past."""
    prompt: PromptSettings = field(default_factory=lambda: preset("paper"))
    """The prompt with both memories; the other forms leave parts of it out."""
    rows: tuple[int, int] = (5200, 2100)
    """Training rows of the single adapters of rows 5, 7 and of rows 6, 8; a row is one prompt and its rating."""
    persona_rows: int = 5200
    """Most training rows of a persona's adapter (the paper: 2,000 to 5,000 a cluster)."""
    epochs: float = 3.0
    """Times an adapter sees its rows; the paper does not say."""
    personas: int | Literal["elbow"] = 4
    """Number of personas; the elbow gave the paper 4."""
    world: LearnSettings = field(default_factory=LearnSettings)
    """Pre-training of the embedded model."""
    size: WorldModelSize = field(default_factory=WorldModelSize)
    """Shape of the embedded model."""
    lora: LoraSettings | None = None
    """Shape of adapters, and in `single` how all of them learn (its steps follow from rows and epochs); None:
    PAPER_LORA for a base given by name, EMBEDDED_LORA for the embedded one."""
    answer_tokens: int | None = None
    """Tokens a model may write as its answer; None: one where it was taught to answer by one token, else 8."""
    limit: int | None = None
    """Held-out pairs asked, drawn at random; None: all. Every line and yardstick gets the same ones."""
    embedder: str = "tfidf"
    """Of items and profiles; the paper used text-embedding-ada-002."""

    def __post_init__(self) -> None:
        if min(self.rows) < 1 or self.persona_rows < 1 or self.epochs <= 0:
            raise ConfigError(f"rows and epochs must be above 0; got {self.rows}, {self.persona_rows}, {self.epochs}.")
        if self.prompt.memories < 1 or not self.prompt.describe:
            raise ConfigError("the table compares Ms with Ml, so its prompt must show both: memories >= 1, describe.")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit is a number of held-out pairs, at least 1; got {self.limit}.")
        if self.answer_tokens is not None and self.answer_tokens < 1:
            raise ConfigError(f"answer_tokens must be at least 1; got {self.answer_tokens}.")

    def form(self, memories: Form) -> PromptSettings:
        """Return what prompts of a form hold."""
        if memories == "Ms":
            return replace(self.prompt, memories=0)
        return self.prompt if memories == "Ms+Ml" else replace(self.prompt, describe=False)

    def lora_of(self, base: str | None) -> LoraSettings:
        """Return the adapters' settings for a base; None: the embedded one."""
        return self.lora or (EMBEDDED_LORA if base is None else PAPER_LORA)

    def tokens_of(self, base: str | None, adapter: Adapter) -> int:
        """Return how many tokens an answer may have."""
        return self.answer_tokens or (1 if base is None or adapter != "none" else 8)


def arrangements(settings: Table1Settings, only: tuple[int, ...] | None = None) -> tuple[Arrangement, ...]:
    """Return the table's arrangements. only: the printed rows wanted (0..10); None: all.

    Raises:
        ConfigError: there is no such row.

    """
    more, fewer = settings.rows
    each = settings.persona_rows
    table = (
        Arrangement((0, 3), "none", "Ms", None, "LLaMA-3-8B 1.158 / .847 / 0 %; Phi-3-Mini 1.203 / .863 / 4.23 %"),
        Arrangement((1, 4), "none", "Ms+Ml", None, "LLaMA-3-8B 1.221 / .883 / 0 %; Phi-3-Mini 1.315 / .952 / 2.93 %"),
        Arrangement((2,), "none", "Ml", None, "LLaMA-3-8B 1.229 / .888 / 0 %"),
        Arrangement((5,), "single", "Ms", more, "Phi-3-Mini 1.312 / .940 / 1.30 %"),
        Arrangement((6,), "single", "Ms", fewer, "Phi-3-Mini 1.180 / .848 / 1.93 %"),
        Arrangement((7,), "single", "Ms+Ml", more, "Phi-3-Mini 1.150 / .834 / 1.15 %"),
        Arrangement((8,), "single", "Ms+Ml", fewer, "Phi-3-Mini 1.337 / 1.042 / 3.01 %"),
        Arrangement((9,), "persona", "Ms", each, "Phi-3-Mini 1.292 / .937 / 2.29 %"),
        Arrangement((10,), "persona", "Ms+Ml", each, "Phi-3-Mini 1.171 / .881 / 1.77 %"),
    )
    wanted = set(range(11)) if only is None else set(only)
    unknown = sorted(wanted - set(range(11)))
    if unknown or not wanted:
        raise ConfigError(f"the paper's table has rows 0 to 10; got {unknown[0] if unknown else 'none'}.")
    return tuple(a for a in table if wanted & set(a.number))
