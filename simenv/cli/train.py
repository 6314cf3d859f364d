"""`simenv train`: from a ratings log to a population in a folder, with what a benchmark of it will need."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, final

import typer

from simenv.cli.console import one_of, out, quiet_libraries, say, table, training_bars, write_json
from simenv.cli.source import dataset, synthetic
from simenv.errors import ConfigError

if TYPE_CHECKING:
    from simenv.agents.population import SimulatedPopulation
    from simenv.cli.trial import Trial
    from simenv.training.pipeline import TrainSettings

TRIAL = "trial"
"""Folder inside a population's folder: what was held back, and how it was made."""
_PRESETS = ("compact", "plain", "words", "paper", "content", "cue-only")


@final
@dataclass(frozen=True)
class Make:
    """How a population is made, in the words of the command line; kept as JSON, for refits."""

    prompt: str = "compact"
    base: str | None = None
    personas: str = "elbow"
    arm: str = "persona"
    exit: str = "hazard"
    steps: int | None = None
    lora_steps: int | None = None
    size: str = "usual"
    page_size: int = 10
    """Ratings of the judge's log that make a page: fewer where it holds only a share of the rows."""
    seed: int = 0
    memories: int | None = None
    """Memories recalled per item; None: the preset's."""
    mix: float | None = None
    """Weight of text in recall; None: the preset's."""
    embedder: str = "tfidf"
    random_personas: bool = False
    distiller: str | None = None
    """Folder made by `simenv distil`; None: Ms and Ml are counted."""

    def settings(self) -> TrainSettings:
        """Return the settings of the pipeline."""
        from simenv.agents.prompt import preset
        from simenv.training.cluster import ClusterSettings
        from simenv.training.finetune import LoraSettings
        from simenv.training.pipeline import TrainSettings
        from simenv.training.world_model import LARGE, SMALL, WorldModelSize

        sizes = {"small": SMALL, "usual": WorldModelSize(), "large": LARGE}
        lora, usual = LoraSettings(), TrainSettings()
        if self.lora_steps is not None:
            single, own = (replace(s, steps=n) for s, n in _shares(lora, self.lora_steps))
            lora = replace(lora, single=single, persona=own)
        asked = {"memories": self.memories, "mix": self.mix}
        recall = {name: value for name, value in asked.items() if value is not None}
        method: Literal["kmeans", "random"] = "random" if self.random_personas else "kmeans"
        return TrainSettings(
            prompt=preset(self.prompt, **recall),
            base=self.base,
            size=sizes[one_of(self.size, tuple(sizes), "--size")],
            world=usual.world if self.steps is None else replace(usual.world, steps=self.steps),
            lora=lora,
            arm=cast(Any, one_of(self.arm, ("none", "single", "persona"), "--arm")),
            cluster=ClusterSettings(k=_k(self.personas), method=method, seed=self.seed),
            embedder=self.embedder,
            exit=cast(Any, one_of(self.exit, ("hazard", "answer"), "--exit")),
            page_size=self.page_size,
            seed=self.seed,
        )


def page_of(share: float) -> int:
    """Return how many ratings make a page in a log that holds a random share of the rows; ten in the whole log."""
    return max(1, round(10 * share))


def _shares(lora: Any, steps: int) -> tuple[tuple[Any, int], tuple[Any, int]]:
    return (lora.single, steps), (lora.persona, max(1, steps // 3))


def _k(text: str) -> int | Literal["elbow"]:
    if text == "elbow":
        return "elbow"
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f'--personas is a number of at least 1, or "elbow"; got {text!r}.')
    return int(text)


def command(
    data: Annotated[str, typer.Argument(help="Ratings: a file, folder or zip; a name such as ml-100k; or synthetic.")],
    folder: Annotated[Path, typer.Argument(help="Where the population goes. Interrupted work there goes on.")],
    users: Annotated[
        int | None, typer.Option(help="Users to simulate, drawn at random. Default: all eligible.")
    ] = None,
    min_ratings: Annotated[int, typer.Option(help="Eligible are users with at least so many ratings ...")] = 100,
    max_ratings: Annotated[int, typer.Option(help="... and at most so many.")] = 200,
    split: Annotated[str, typer.Option(help="What is past: user_time, global_time or random.")] = "user_time",
    fraction: Annotated[float, typer.Option(help="Share of each history that is past.")] = 0.6,
    share: Annotated[
        float, typer.Option(help="Share of the past that users are made from; recommenders get the rest. 1: both all.")
    ] = 0.5,
    prompt: Annotated[str, typer.Option(help=f"What prompts hold: {', '.join(_PRESETS)}.")] = "compact",
    memories: Annotated[int | None, typer.Option(help="Memories recalled per item; else as the preset says.")] = None,
    mix: Annotated[
        float | None, typer.Option(help="Recall by text (1), by what the crowd rates alike (0), or in between.")
    ] = None,
    embedder: Annotated[str, typer.Option(help="Of texts: tfidf, glove:FOLDER, or st:NAME.")] = "tfidf",
    random_personas: Annotated[bool, typer.Option(help="Deal personas at random: the control arm.")] = False,
    distiller: Annotated[
        Path | None, typer.Option(help="Take Ms and Ml from a folder made by `simenv distil`. Default: by counting.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Hugging Face name or path of a causal language model. Default: a small one, trained here."),
    ] = None,
    personas: Annotated[str, typer.Option(help="Number of personas, or elbow.")] = "elbow",
    arm: Annotated[str, typer.Option(help="LoRA adapters: none, single or persona.")] = "persona",
    exit: Annotated[str, typer.Option(help="Users leave by a fitted hazard, or by their own answer.")] = "hazard",
    steps: Annotated[int | None, typer.Option(help="Training steps of the small model.")] = None,
    lora_steps: Annotated[
        int | None, typer.Option(help="Steps of the single adapter; a third for each persona.")
    ] = None,
    size: Annotated[str, typer.Option(help="Size of the small model: small, usual or large.")] = "usual",
    metadata: Annotated[str | None, typer.Option(help="MovieLens: CSV of summary, cast and director.")] = None,
    items: Annotated[str | None, typer.Option(help="Own table: file that describes the items.")] = None,
    user_column: Annotated[str | None, typer.Option(help="Own table: name of the column.")] = None,
    item_column: Annotated[str | None, typer.Option(help="Own table: name of the column.")] = None,
    rating_column: Annotated[str | None, typer.Option(help="Own table: name of the column.")] = None,
    time_column: Annotated[str | None, typer.Option(help="Own table: name of the column.")] = None,
    separator: Annotated[str | None, typer.Option(help="Own table: what stands between columns.")] = None,
    duplicates: Annotated[str | None, typer.Option(help="Own table, pairs rated twice: error, last or all.")] = None,
    noun: Annotated[str | None, typer.Option(help='Own table: what one item is called, such as "book".')] = None,
    seed: Annotated[int, typer.Option(help="Draws users, rows and weights.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Keep the table of personas here.")] = None,
) -> None:
    """Make simulated users from a ratings log.

    Each user's history is cut in time. From a part of the past come profiles, memories, personas and a small language
    model with one adapter per persona; the other part is kept for recommenders to learn from, so that judge and
    contestants do not know the same rows. What lies after the cut is never read; benchmarks compare with it.

    \b
    simenv train ml-100k my-users --min-ratings 100 --max-ratings 200
    simenv train ratings.csv my-users --user-column reader --item-column isbn --noun book --min-ratings 20
    simenv train ml-1m films --metadata movies.csv --users 500 --prompt words
    simenv train ml-1m films --base microsoft/Phi-3-mini-4k-instruct --prompt paper       (wants a GPU)
    torchrun --nproc-per-node 4 --no-python simenv train ml-1m films --base ...     (four GPUs at once)
    simenv train synthetic:300x200 toy --size small --steps 100 --min-ratings 40               (a minute)
    """
    from simenv.cli.trial import Cut, Trial
    from simenv.training.processes import Processes

    own = {"user": user_column, "item": item_column, "rating": rating_column, "time": time_column, "items": items}
    own |= {"separator": separator, "duplicates": duplicates, "noun": noun, "metadata": metadata}
    made = dataset(data, seed, {k: v for k, v in own.items() if v is not None})
    kinds = ("user_time", "global_time", "random")
    how = Cut(users, min_ratings, max_ratings, cast(Any, one_of(split, kinds, "--split")), fraction, share, seed)
    make = Make(
        prompt, base, personas, arm, exit, steps, lora_steps, size, page_of(share), seed,
        memories, mix, embedder, random_personas, None if distiller is None else str(distiller.resolve()),
    )  # fmt: skip
    trial = Trial.of(made.log, how)
    say(f"{made.name}: {len(made.log)} ratings. {made.note} {trial.note}.")
    population = run(trial, made.catalogue, make, folder, made.name)
    invented = synthetic(data, seed)
    if not Processes.here().writes:
        return
    about = {"data": made.name, "make": asdict(make), "cut": asdict(how)}
    trial.save(folder / TRIAL, about | {"synthetic": None if invented is None else asdict(invented)})
    rows = personas_of(folder)
    write_json(json, {"personas": rows, "users": len(population), "note": trial.note} | about)
    table(("persona", "portrait", "users"), [(r["name"], r["portrait"], str(r["users"])) for r in rows], right=2)
    out().print(f"\n{len(population)} users live in {folder}. Next: simenv benchmark {folder}", soft_wrap=True)


def run(trial: Trial, catalogue: Any, make: Make, folder: Path, data: str) -> SimulatedPopulation:
    """Train the population of a trial with progress bars."""
    from simenv.training.pipeline import train
    from simenv.training.processes import Processes

    quiet_libraries()
    origin = {"data": data, "cut": trial.note}
    settings, told = make.settings(), None
    if make.distiller is not None:
        from simenv.training.ground import by_counting
        from simenv.training.llm.folder import FolderDistiller

        told = FolderDistiller.load(make.distiller, by_counting(settings))
        origin |= {"distiller": f"{told.account['model']} {told.account['written'][:16]}"}
    with training_bars() if Processes.here().writes else nullcontext() as show:
        return train(
            trial.judge,
            catalogue,
            trial.member,
            folder,
            settings,
            cut=trial.cut,
            training_log=trial.contestants,
            distiller=told,
            provenance=origin,
            show=show,
        )


def personas_of(folder: Path) -> list[dict[str, Any]]:
    """Return name, portrait, adapter and size of each persona of a population."""
    from simenv.agents.persona import Personas

    return [
        {"name": p.name, "users": len(p), "portrait": p.portrait, "adapter": p.adapter} for p in Personas.load(folder)
    ]
