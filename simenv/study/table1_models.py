"""Bases and adapters of the table: pre-trained or found, fine-tuned or found, and what they answer.

Every folder is named by a hash of all it depends on. Knows no measures.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.local_model import LocalModel, best_device
from simenv.agents.packing import SegmentTokenizer
from simenv.agents.prompt import numbers
from simenv.agents.readout import Readout
from simenv.study.table1_cohort import Cohort
from simenv.study.table1_settings import EMBEDDED, Arrangement
from simenv.training.checkpoint import Checkpoint
from simenv.training.examples import Lesson
from simenv.training.finetune import finetune
from simenv.training.learn import Answers, Progress, batches, learn
from simenv.training.resume import digest
from simenv.training.world_model import new_model, train_tokenizer

_ADAPTER = "single"
"""Where `finetune` leaves the adapter inside its folder."""
Show = Callable[[str], Progress]
_WHOLE = 64 * 2**20
"""Bytes up to which a file of a given base is hashed; larger ones count by name and size."""
_GIVEN = {"rows_per_batch": 32, "tokens_per_batch": 4096}
"""Batches of a base given by name: key/values of billions of parameters take gigabytes."""


@final
@dataclass(frozen=True)
class Base:
    """A base model of the table."""

    name: str
    """As reports print it."""
    place: str
    """Hugging Face name or folder."""
    key: str
    """What it is: for the embedded one a hash of all it was trained from."""
    given: bool
    """True: by name or folder; False: the embedded one, trained here."""

    @property
    def asked(self) -> str | None:
        """As the caller gave it; None: the embedded one."""
        return self.place if self.given else None

    def load(self, adapters: Mapping[str, Path] | None = None) -> LocalModel:
        """Return it loaded, with adapters."""
        if self.given:
            gc.collect()  # the one before, which may fill the card
        return LocalModel.load(self.place, adapters, **(_GIVEN if self.given else {}))


@final
@dataclass(frozen=True, eq=False)
class Plan:
    """Adapters of an arrangement for a base: who learns which, and what each is called on disk."""

    member: Mapping[str, NDArray[np.int64]]
    """User numbers whose rows each adapter learns, by its name; empty: no adapter."""
    home: Mapping[str, Path]
    """Folder of each adapter, by its name."""
    speaker: tuple[str | None, ...]
    """[M]: whose adapter speaks for each member; None: the bare base."""

    @property
    def key(self) -> str:
        """What the answers depend on beside base and pairs."""
        return digest(repr((sorted((name, home.name) for name, home in self.home.items()), self.speaker)))


def shown(name: str | None) -> str:
    """Return what reports call a base: the embedded one, a folder's own name, or the name on the hub."""
    if name is None:
        return EMBEDDED
    return Path(name).name if Path(name).is_dir() else name


def base_of(cohort: Cohort, name: str | None, folder: Path, show: Show) -> Base:
    """Return a base by name; None: the embedded one, trained in the folder or found there."""
    if name is not None:
        return Base(shown(name), name, _identity(name), True)
    s = cohort.settings
    key = digest(repr((cohort.key, asdict(s.size), asdict(s.world))))
    home = folder / f"base-{key}"
    if not home.exists():
        _pretrain(cohort, home, show)
    return Base(EMBEDDED, str(home), key, False)


def _identity(name: str) -> str:
    """Return what a given base is: the name on the hub, or a hash over a folder's files."""
    folder, told = Path(name), hashlib.blake2b(digest_size=8)
    if not folder.is_dir():
        return digest(name)
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        size = file.stat().st_size
        told.update(f"{file.relative_to(folder)} {size}".encode())
        told.update(file.read_bytes() if size <= _WHOLE else b"")
    return told.hexdigest()


def _pretrain(cohort: Cohort, home: Path, show: Show) -> None:
    """Train the embedded model from nothing and leave it in its folder, in one move."""
    s, scale, epoch = cohort.settings, cohort.future.scale, cohort.pretraining()
    first = epoch(0) + epoch(1) + epoch(2)  # so that every form of the prompt is among the texts
    items = [cohort.writer("Ms").item(i) for i in range(len(cohort.ground.catalogue))]
    prompts = [text for x in first for text in (*x.prefix, *(t for suffix in x.suffix for t in suffix))]
    tokenizer = train_tokenizer(items + prompts, numbers(scale), s.size.vocabulary)
    segments = SegmentTokenizer(tokenizer)
    model = new_model(s.size, tokenizer, cohort.seed).to(best_device())
    steps = batches(epoch, s.world.prefixes, cohort.seed)
    kept = Checkpoint(home.with_name(f"{home.name}.checkpoint"))
    learn(model, segments, _answers(cohort, segments), steps, s.world, show("pre-training"), checkpoint=kept)
    part = home.with_name(f"{home.name}.part")
    for piece in (tokenizer, model):
        piece.save_pretrained(str(part))
    part.rename(home)


def _answers(cohort: Cohort, segments: SegmentTokenizer) -> Answers:
    w = cohort.writer("Ms+Ml")
    return Answers(segments.answer_ids(w.question, w.scale.symbols), ([], []), w.scale.values)


def plan(cohort: Cohort, base: Base, how: Arrangement, folder: Path) -> Plan:
    """Return which adapters an arrangement needs; nothing is trained."""
    s = cohort.settings
    member, speaker = _groups(cohort, how)
    lora = asdict(s.lora_of(base.asked))
    told = (cohort.key, base.key, how.memories, how.rows, lora, s.epochs)
    keys = {name: digest(repr((told, user.tolist()))) for name, user in member.items()}
    return Plan(member, {name: folder / f"adapter-{key}" for name, key in keys.items()}, speaker)


def _groups(cohort: Cohort, how: Arrangement) -> tuple[dict[str, NDArray[np.int64]], tuple[str | None, ...]]:
    if how.adapter == "none":
        return {}, (None,) * len(cohort.member)
    if how.adapter == "single":
        return {"single": cohort.member}, ("single",) * len(cohort.member)
    personas, _ = cohort.personas
    return {p.name: p.member for p in personas}, tuple(personas[k].name for k in personas.of_user(cohort.member))


def tune(cohort: Cohort, base: Base, how: Arrangement, planned: Plan, show: Show) -> int:
    """Train the adapters that are not on disk yet, and return how many rows all of them learn from."""
    rows = 0
    for name, user in planned.member.items():
        assert how.rows is not None
        lessons = cohort.rows(how.memories, user, how.rows, 4 if base.given else 16)
        rows += sum(len(x.place) for x in lessons)
        if not (planned.home[name] / _ADAPTER).exists():
            _learn_rows(cohort, base, lessons, planned.home[name], lambda _, name=name: show(name))  # type: ignore[misc]
    return rows


def _learn_rows(cohort: Cohort, base: Base, lessons: list[Lesson], home: Path, show: Show) -> None:
    """Train one adapter from the bare base: each of its rows is seen `epochs` times."""
    s, loaded = cohort.settings, base.load()
    loaded.base.name_or_path = base.name  # what the adapter names as its base
    lora = s.lora_of(base.asked)
    steps = max(1, round(s.epochs * len(lessons) / lora.single.prefixes))
    how = replace(lora, single=replace(lora.single, steps=steps, warmup=min(lora.single.warmup, steps // 3)))
    segments = loaded.segments
    answers = _answers(cohort, segments)
    finetune(
        loaded.base, segments, answers, {}, lambda n: lessons, home, how, arm="single", seed=cohort.seed, progress=show
    )


@final
@dataclass(frozen=True, eq=False)
class Said:
    """What a model answered to N pairs."""

    text: list[str]
    """As written, greedily."""
    p: NDArray[np.float32]
    """float32[N, R]: probabilities of the options, made to sum to one."""
    off_scale: NDArray[np.float32]
    """float32[N]: probability of everything else."""


def ask(cohort: Cohort, base: Base, how: Arrangement, planned: Plan) -> Said:
    """Return what a base with its adapters answers to the cohort's pairs.

    A model that was taught to answer is asked where it was taught to; one that was not, right behind the question.
    """
    symbols, taught = cohort.future.scale.symbols, not base.given or how.adapter != "none"
    model = base.load({name: home / _ADAPTER for name, home in planned.home.items()})
    prompts = cohort.prompts(how.memories)
    adapters = [planned.speaker[row] for row in np.searchsorted(cohort.member, cohort.future.user)]
    logp = model.score(prompts, symbols, adapters=adapters)
    tokens = cohort.settings.tokens_of(base.asked, how.adapter)
    place = symbols if taught else ()
    text = model.write(prompts, adapters=adapters, max_tokens=tokens, seed=0, greedy=True, options=place)
    p, off_scale = Readout(arm="lm").read(logp, np.ones_like(logp))
    return Said(text, p, off_scale)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a finished piece of work; None: there is none."""
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Keep a finished piece of work, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
