"""From a log of known rows to a population: distil, cluster, train the world model, fine-tune, calibrate, assemble.

Each stage leaves its result in the folder, so that interrupted work goes on where it stopped. Everything is built from
the rows handed in, which must be past rows of the members: nothing else can reach what is built.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.choice import Choice
from simenv.agents.crowd import Crowd, CrowdSettings
from simenv.agents.embedding import by_name
from simenv.agents.local_model import LocalModel, best_device
from simenv.agents.memory import ItemSpace, Memory
from simenv.agents.packing import SegmentTokenizer
from simenv.agents.persona import Personas
from simenv.agents.population import SimulatedPopulation
from simenv.agents.profile import Profiles
from simenv.agents.prompt import EXIT_OPTIONS, PromptSettings, PromptWriter, numbers, preset
from simenv.agents.readout import Arm as ReadArm
from simenv.agents.store import Behaviour, Parts, load, save
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.randomness import derive, generator
from simenv.training.calibrate import ask, calibrate
from simenv.training.cluster import Clustering, ClusterSettings, FeatureKind, cluster, features
from simenv.training.examples import Evidence, Folds, Lesson, LessonWriter, Pages, evidence, fit_prior
from simenv.training.exit_model import fit_exit, person_periods
from simenv.training.finetune import Arm, LoraSettings, finetune
from simenv.training.learn import Answers, LearnSettings, Progress, batches, learn
from simenv.training.resume import begin, digest
from simenv.training.world_model import WorldModelSize, new_model, train_tokenizer


@final
@dataclass(frozen=True)
class TrainSettings:
    """How a population is made."""

    prompt: PromptSettings = field(default_factory=lambda: preset("compact"))
    """What prompts hold; see agents/prompt.py for the presets."""
    base: str | None = None
    """Hugging Face name or path of a causal LM; None: the embedded model, trained here from nothing."""
    size: WorldModelSize = field(default_factory=WorldModelSize)
    """Shape of the embedded model."""
    world: LearnSettings = field(default_factory=LearnSettings)
    """Training of the embedded model."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    """Training of the adapters."""
    arm: Arm = "persona"
    """"none": no adapter; "single": one for all; "persona": one each."""
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    """How members are grouped into personas; method="random" is the control arm."""
    cluster_on: FeatureKind = "numbers"
    """What of a profile is compared: its numbers, its text (the paper's way) or both."""
    readout: Literal["auto", "fused", "lm", "prior"] = "auto"
    """What answers: the pool of language model and prior, or one alone. "auto": the pool where the prompt shows the
    taste match, which rests on the same prior; else the language model alone."""
    exit: Literal["hazard", "answer"] = "hazard"
    """Leave by the fitted hazard, or by the persona's own stay/leave answer."""
    crowd: CrowdSettings = field(default_factory=CrowdSettings)
    """Item statistics."""
    choice: Choice = field(default_factory=Choice)
    """What is looked at and taken; assumed."""
    embedder: str = "tfidf"
    """Text embedder of items and profiles: "tfidf", "glove:FOLDER" or "st:NAME"."""
    page_size: int = 10
    """Ratings of the log that count as one page of a visit."""
    users_per_epoch: int = 800
    """Users whose histories are cut anew in each epoch."""
    validation: float = 0.1
    """Share of the training users kept for calibration."""
    seed: int = 0


Show = Callable[[str], Progress]
"""Given the name of a stage, returns what is called after each of its steps."""


@final
@dataclass(frozen=True, eq=False)
class Ground:
    """What every stage stands on: known rows, item statistics and who learns from whom."""

    log: InteractionLog
    catalogue: Catalogue
    member: NDArray[np.int64]
    settings: TrainSettings
    crowd: Crowd
    space: ItemSpace
    folds: Folds
    pupils: NDArray[np.int64]
    """Users the world model and the prior learn from."""
    judges: NDArray[np.int64]
    """Users kept for calibration."""

    @classmethod
    def of(
        cls, log: InteractionLog, catalogue: Catalogue, member: NDArray[np.int64], settings: TrainSettings
    ) -> Ground:
        """Return item statistics and the division of users."""
        crowd = Crowd.fit(log, catalogue, settings.crowd, seed=settings.seed)
        if not settings.prompt.collaborative:
            crowd = crowd.without_opinions()
        space = ItemSpace.of(crowd, catalogue, by_name(settings.embedder), mix=settings.prompt.mix)
        folds = Folds.fit(log, catalogue, settings.crowd, space, settings.seed, blind=crowd.blind)
        pool = _pool(log, member)
        order = generator(settings.seed, "judges").permutation(pool)
        n = int(np.clip(round(len(pool) * settings.validation), min(20, len(pool) // 2), 200))
        return cls(log, catalogue, member, settings, crowd, space, folds, np.sort(order[n:]), np.sort(order[:n]))

    def truncated(self, cut: NDArray[np.int64] | None) -> NDArray[np.bool_]:
        """Return bool[U]: whose last known visit may go on in rows that are not known."""
        member = np.isin(np.arange(self.log.n_users), self.member)
        return member if cut is None else member | (cut < np.iinfo(np.int64).max)

    @property
    def writer(self) -> PromptWriter:
        """The one prompt."""
        return PromptWriter(self.catalogue, self.log.scale, self.settings.prompt)


def _pool(log: InteractionLog, member: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return who may be learned from: users who are not simulated, or everybody where these are fewer than 100."""
    able = np.flatnonzero(log.count >= 5)
    others = np.setdiff1d(able, member)
    pool = others if len(others) >= 100 else able
    if len(pool) < 4:
        raise ConfigError(
            f"only {len(pool)} users have five or more known ratings; simenv needs at least four such users."
        )
    return pool


def train(
    log: InteractionLog,
    catalogue: Catalogue,
    member: NDArray[np.int64],
    folder: str | Path,
    settings: TrainSettings | None = None,
    *,
    cut: NDArray[np.int64] | None = None,
    training_log: InteractionLog | None = None,
    provenance: dict[str, str] | None = None,
    show: Show | None = None,
) -> SimulatedPopulation:
    """Make a population of users `member` [M] from a log of *known* rows, save it in `folder` and return it loaded.

    log: past rows of the members and any rows of others that may be known (the past of a Split).
    cut: int64[U], `Split.cut`; rows at or after a member's cut are refused. None: no times.
    training_log: contestants' rows, kept with the population for environments. None: not kept.
    Work that was interrupted goes on; a finished folder is loaded.

    Raises:
        ConfigError: too few users or ratings, or settings that contradict each other.
        LeakageError: a row lies at or after its user's cut.
        StoreError: the folder holds something else.

    """
    settings = settings or TrainSettings()
    folder, member = Path(folder), np.unique(np.asarray(member, np.int64))
    show = show or (lambda name: lambda step, steps, loss: None)
    if settings.exit == "answer" and log.time is None:
        raise ConfigError('exit="answer" is learned from visits and this log has no times; use exit="hazard".')
    if begin(folder, log, catalogue, member, repr(settings), cut, training_log):
        return load(folder)
    ground = Ground.of(log, catalogue, member, settings)
    memory = Memory.of(log.of_users(member), ground.crowd, catalogue, ground.space)
    memory.check(cut)
    lessons, profiles = _lessons(ground, cut)
    model, segments, answers = _base(ground, lessons, folder, show)
    clustering = cluster(features(profiles, settings.cluster_on, by_name(settings.embedder)), settings.cluster)
    personas = Personas.of(clustering.label, member, profiles, log.n_users)
    personas = _adapters(ground, lessons, personas, model, segments, answers, folder, show)
    asked = ask(lessons, LocalModel(model, segments.tokenizer), _judged(ground))
    readout, rho = calibrate(asked, _arm(settings))
    activity = _activity(log)
    visitors = np.concatenate([ground.pupils, ground.judges])
    last: Literal["left", "censored"] = "censored" if ground.truncated(cut)[visitors].any() else "left"
    hazard = fit_exit(log.of_users(visitors), activity, page_size=settings.page_size, last=last)
    behaviour = Behaviour(
        settings.prompt, readout, settings.choice, hazard, settings.exit, 0.0, rho, settings.arm, settings.base
    )
    parts = Parts(
        catalogue, log.users, log.scale, member, ground.crowd, lessons.prior, profiles, memory, personas,
        _user_mean(log, ground.crowd), activity, cut, behaviour, training_log,
        {"log": log.fingerprint, "settings": digest(repr(settings)), **(provenance or {})},
    )  # fmt: skip
    _write_curve(clustering, folder)
    save(parts, folder)
    return load(folder)


def _arm(settings: TrainSettings) -> ReadArm:
    if settings.readout != "auto":
        return settings.readout
    return "fused" if settings.prompt.match else "lm"


def _lessons(ground: Ground, cut: NDArray[np.int64] | None = None) -> tuple[LessonWriter, Profiles]:
    """Return the writer of lessons (with the fitted prior) and the members' profiles."""
    s, log = ground.settings, ground.log
    profiles = Profiles.of_log(log, ground.member, ground.crowd, ground.catalogue)
    prior = fit_prior(log, ground.folds, ground.pupils, derive(s.seed, "prior"))
    pages = None  # the embedded model always learns to leave; a given base only where it will be asked
    if log.time is not None and (s.base is None or s.exit == "answer"):
        pages = Pages.of(person_periods(log, page_size=s.page_size), ground.truncated(cut))
    return LessonWriter(ground.writer, profiles.cuts, prior, pages=pages), profiles


def _epoch(ground: Ground, lessons: LessonWriter, user: NDArray[np.int64], name: str) -> Callable[[int], list[Lesson]]:
    """Return a function that draws the lessons of an epoch from the users' known rows."""

    def draw(number: int) -> list[Lesson]:
        seed = derive(ground.settings.seed, name, number)
        limit = ground.settings.users_per_epoch
        chosen = user if len(user) <= limit else np.sort(generator(seed).choice(user, limit, replace=False))
        return [le for e in evidence(ground.log, ground.folds, chosen, seed) for le in lessons.write(e, seed)]

    return draw


def _base(ground: Ground, lessons: LessonWriter, folder: Path, show: Show) -> tuple[Any, SegmentTokenizer, Answers]:
    """Return the base model: loaded by name, found in the folder, or trained here."""
    s = ground.settings
    if not s.base and not (folder / "model").exists():
        _embedded(ground, lessons, folder, show)
    loaded = LocalModel.load(s.base or folder / "model")  # just trained or resumed: the same bytes either way
    loaded.base.name_or_path = s.base or "model"  # what adapters name as their base
    return loaded.base, loaded.segments, _answers(loaded.segments, lessons)


def _embedded(ground: Ground, lessons: LessonWriter, folder: Path, show: Show) -> None:
    """Train the embedded model and leave it in the folder, in one move."""
    s = ground.settings
    pupils = _epoch(ground, lessons, ground.pupils, "world")
    tokenizer = train_tokenizer(_texts(ground, pupils(0)), numbers(ground.log.scale), s.size.vocabulary)
    segments = SegmentTokenizer(tokenizer)
    answers = _answers(segments, lessons)
    model = new_model(s.size, tokenizer, s.seed).to(best_device())
    learn(model, segments, answers, batches(pupils, s.world.prefixes, s.seed), s.world, show("world model"))
    for part in (tokenizer, model):
        part.save_pretrained(str(folder / "stage" / "model"))
    (folder / "stage" / "model").rename(folder / "model")


def _answers(segments: SegmentTokenizer, lessons: LessonWriter) -> Answers:
    w = lessons.writer
    leave: tuple[list[int], list[int]] = ([], [])
    if lessons.pages is not None:
        leave = segments.answer_ids(w.exit_question, EXIT_OPTIONS)
    return Answers(segments.answer_ids(w.question, w.scale.symbols), leave, w.scale.values)


def _texts(ground: Ground, drawn: list[Lesson]) -> list[str]:
    """Return what the tokenizer is made from: every item's words, and prompts as they will be."""
    words = [ground.writer.item(i) for i in range(len(ground.catalogue))]
    prompts = [segment for le in drawn[:2000] for segment in (*le.prefix, *(x for s in le.suffix for x in s))]
    return words + prompts


def _adapters(
    ground: Ground,
    lessons: LessonWriter,
    personas: Personas,
    model: Any,
    segments: SegmentTokenizer,
    answers: Answers,
    folder: Path,
    show: Show,
) -> Personas:
    s = ground.settings
    epochs = {p.name: _epoch(ground, lessons, p.member, p.name) for p in personas}
    everyone = _epoch(ground, lessons, ground.member, "single")
    made = finetune(
        model, segments, answers, epochs, everyone, folder / "adapters", s.lora, arm=s.arm, seed=s.seed, progress=show
    )
    single = "single" if "single" in made else None
    return personas.with_adapters({p.name: p.name if p.name in made else single for p in personas})


def _judged(ground: Ground) -> list[Evidence]:
    seed = derive(ground.settings.seed, "judges")
    return evidence(ground.log, ground.folds, ground.judges, seed, fraction=0.6)


def _activity(log: InteractionLog) -> NDArray[np.float64]:
    """Return float64[U]: log of known ratings, standardised over users that have any."""
    known = np.log1p(log.count.astype(np.float64))
    able = known[log.count > 0]
    return np.asarray((known - able.mean()) / max(float(able.std()), 1e-9))


def _user_mean(log: InteractionLog, crowd: Crowd) -> NDArray[np.float64]:
    """Return float64[U]: mean known rating, with five ratings of the crowd's mean added."""
    total = np.bincount(log.user, log.rating, minlength=log.n_users)
    return np.asarray((total + 5 * crowd.mean) / (log.count + 5))


def _write_curve(clustering: Clustering, folder: Path) -> None:
    curve = [
        {"k": p.k, "inertia": p.inertia, "silhouette": None if np.isnan(p.silhouette) else p.silhouette}
        for p in clustering.curve
    ]
    content = {"k": clustering.k, "size": clustering.size.tolist(), "note": clustering.note, "curve": curve}
    (folder / "clustering.json").write_text(json.dumps(content, indent=1) + "\n")
