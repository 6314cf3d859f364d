"""From a log of known rows to a population: distil, cluster, train the world model, fine-tune, calibrate, assemble.

Each stage leaves its result in the folder, so that interrupted work goes on where it stopped. Everything is built from
the rows handed in, which must be past rows of the members: nothing else can reach what is built.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.agents.embedding import by_name
from simenv.agents.local_model import LocalModel, best_device
from simenv.agents.packing import SegmentTokenizer
from simenv.agents.persona import Personas
from simenv.agents.population import SimulatedPopulation
from simenv.agents.profile import TraitCuts
from simenv.agents.prompt import EXIT_OPTIONS, numbers
from simenv.agents.readout import Arm as ReadArm
from simenv.agents.store import Behaviour, Parts, load, save
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.randomness import derive, generator
from simenv.training.calibrate import ask, calibrate
from simenv.training.checkpoint import Checkpoint
from simenv.training.cluster import Clustering, cluster, features
from simenv.training.distil import Distiller
from simenv.training.examples import Evidence, Lesson, LessonWriter, Pages, evidence, fit_prior
from simenv.training.exit_model import comparable, fit_exit, person_periods
from simenv.training.finetune import finetune
from simenv.training.ground import Ground, TrainSettings, by_counting, prepare
from simenv.training.learn import Answers, Progress, batches, learn
from simenv.training.processes import Processes
from simenv.training.resume import begin, digest
from simenv.training.told import Told
from simenv.training.world_model import new_model, train_tokenizer

__all__ = ["Show", "TrainSettings", "train"]

_VISITORS = 100
"""Users known to their end from which on leaving is learned from them alone."""

Show = Callable[[str], Progress]
"""Given the name of a stage, returns what is called after each of its steps."""


def train(
    log: InteractionLog,
    catalogue: Catalogue,
    member: NDArray[np.int64],
    folder: str | Path,
    settings: TrainSettings | None = None,
    *,
    cut: NDArray[np.int64] | None = None,
    training_log: InteractionLog | None = None,
    distiller: Distiller | None = None,
    people: NDArray[np.floating] | None = None,
    provenance: dict[str, str] | None = None,
    show: Show | None = None,
) -> SimulatedPopulation:
    """Make a population of users `member` [M] from a log of *known* rows, save it in `folder` and return it loaded.

    log: past rows of the members and any rows of others that may be known (the past of a Split).
    cut: int64[U], `Split.cut`; rows at or after a member's cut are refused. None: no times.
    training_log: contestants' rows, kept with the population for environments. None: not kept.
    distiller: from histories to Ms and Ml; None: by counting, free and instant.
    people: [U, P], features of users such as one-hot demographics, of which the crowd learns what kinds of people make
    of genres. None: users are known by what they did alone.
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
    distiller = distiller or by_counting(settings)
    with Processes.here().first():
        finished = begin(folder, log, catalogue, member, _told(settings, distiller, people), cut, training_log)
    if finished:
        return load(folder)
    ground, profiles, memory = prepare(log, catalogue, member, settings, distiller, cut, people)
    clustering = cluster(features(profiles, settings.cluster_on, by_name(settings.embedder)), settings.cluster)
    personas = Personas.of(clustering.label, member, profiles, log.n_users)
    lessons = replace(_lessons(ground, profiles.cuts, cut), told=Told.of(member, profiles, memory))
    model, segments, answers = _base(ground, lessons, folder, show)
    personas = _adapters(ground, lessons, personas, model, segments, answers, folder, show)
    asked = ask(lessons, LocalModel(model, segments.tokenizer), _judged(ground))
    readout, rho = calibrate(asked, _arm(settings))
    activity = _activity(log)
    visitor, last = _visitors(ground, cut)
    hazard = fit_exit(log.of_users(visitor), activity, page_size=settings.page_size, last=last)
    behaviour = Behaviour(
        settings.prompt, readout, settings.choice, hazard, settings.exit, 0.0, rho, settings.arm, settings.base
    )
    parts = Parts(
        catalogue, log.users, log.scale, member, ground.crowd, lessons.prior, profiles, memory, personas,
        _user_mean(log, ground.crowd), activity, cut, behaviour, training_log,
        {"log": log.fingerprint, "settings": digest(repr(settings)), **(provenance or {})},
    )  # fmt: skip
    with Processes.here().alone() as writes:
        if writes:
            _write_curve(clustering, folder)
            save(parts, folder)
    return load(folder)


def _told(settings: TrainSettings, distiller: Distiller, people: NDArray[np.floating] | None) -> str:
    """Return what a folder's work depends on beside rows and members."""
    return repr((settings, distiller)) + ("" if people is None else digest(repr(np.asarray(people).tolist())))


def _arm(settings: TrainSettings) -> ReadArm:
    if settings.readout != "auto":
        return settings.readout
    return "fused" if settings.prompt.match else "lm"


def _lessons(ground: Ground, cuts: TraitCuts, cut: NDArray[np.int64] | None = None) -> LessonWriter:
    """Return the writer of lessons, with the fitted prior. cuts: the members' trait cuts."""
    s, log = ground.settings, ground.log
    prior = fit_prior(log, ground.folds, ground.pupils, derive(s.seed, "prior"))
    pages = None  # the embedded model always learns to leave; a given base only where it will be asked
    if log.time is not None and (s.base is None or s.exit == "answer"):
        pages = Pages.of(comparable(person_periods(log, page_size=s.page_size))[0], ground.truncated(cut))
    return LessonWriter(ground.writer, cuts, prior, pages=pages)


def _epoch(ground: Ground, lessons: LessonWriter, user: NDArray[np.int64], name: str) -> Callable[[int], list[Lesson]]:
    """Return a function that draws the lessons of an epoch from the users' known rows."""

    def draw(number: int) -> list[Lesson]:
        seed = derive(ground.settings.seed, name, number)
        limit = ground.settings.users_per_epoch
        chosen = user if len(user) <= limit else np.sort(generator(seed).choice(user, limit, replace=False))
        drawn = evidence(ground.log, ground.folds, chosen, seed, in_time=lessons.told or ())
        return [le for e in drawn for le in lessons.write(e, seed)]

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
    drawn, kept = batches(pupils, s.world.prefixes, s.seed), Checkpoint(folder / "stage" / "world.checkpoint")
    learn(model, segments, answers, drawn, s.world, show("world model"), checkpoint=kept)
    with Processes.here().alone() as writes:
        if writes:
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
        model, segments, answers, epochs, everyone, folder / "adapters", s.lora, arm=s.arm, seed=s.seed, progress=show,
        stage=folder / "stage",
    )  # fmt: skip
    single = "single" if "single" in made else None
    return personas.with_adapters({p.name: p.name if p.name in made else single for p in personas})


def _judged(ground: Ground) -> list[Evidence]:
    seed = derive(ground.settings.seed, "judges")
    return evidence(ground.log, ground.folds, ground.judges, seed, fraction=0.6)


def _visitors(ground: Ground, cut: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], Literal["left", "censored"]]:
    """Return whose visits the exit is fitted to, and how their last ones end: users known to their end, if enough."""
    user = np.concatenate([ground.pupils, ground.judges])
    whole = user[~ground.truncated(cut)[user]]
    return (whole, "left") if len(whole) >= _VISITORS else (user, "censored")


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
