"""`simenv reproduce arms`: what knowing the person adds, by the way it is told to the language model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from simenv.cli.console import one_of, out, quiet_libraries, say, write_json
from simenv.cli.source import dataset

if TYPE_CHECKING:
    from simenv.datasets.annotators import Annotations
    from simenv.training.personal.experiment import ExperimentSettings


def command(
    data: Annotated[
        str,
        typer.Argument(help="StudEmo, Learning With Disagreements, GoEmotions or Unhealthy; or any ratings."),
    ],
    folder: Annotated[Path, typer.Argument(help="Where finished arms go. A stopped run goes on.")],
    arms: Annotated[str, typer.Option(help="Arms with commas between, or all.")] = "all",
    base: Annotated[
        str | None, typer.Option(help="Hugging Face name or folder, causal or T5-like. Default: our own, made here.")
    ] = None,
    kind: Annotated[str, typer.Option(help="Our own base: decoder or encoder-decoder.")] = "decoder",
    task: Annotated[str | None, typer.Option(help="Which data set of a folder, as MD-Agreement.")] = None,
    least: Annotated[int, typer.Option(help="Leave out users with fewer judgements.")] = 1,
    users: Annotated[int | None, typer.Option(help="At most so many users.")] = None,
    examples: Annotated[int, typer.Option(help="n of Q-nS.")] = 4,
    epochs: Annotated[int | None, typer.Option(help="Epochs of tuning at most.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps in which our own base reads texts. Default: 300.")] = None,
    rank: Annotated[int, typer.Option(help="Rank of a LoRA; 0: tune all weights.")] = 0,
    four_bit: Annotated[bool, typer.Option("--four-bit", help="Load the base in 4 bits (GPU, bitsandbytes).")] = False,
    text_tokens: Annotated[int, typer.Option(help="Tokens of a text that are read.")] = 192,
    seed: Annotated[int, typer.Option(help="Draws parts, weights, lessons and the bootstrap.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Keep the numbers here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Keep the page here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Keep the report as text here.")] = None,
) -> None:
    """Run the arms of "Personalized Large Language Models" (Wozniak et al. 2024) on labels by person.

    \b
    Q-0S, Q-nS         the base asked as it is: the text alone; with n of the person's own labels
    LM, LM-P, LM-V     tuned to write the label: text alone; id as text; id as a learned vector
    CLS, CLS-P, CLS-V  a classification head: the same three

    F1-macro by arm, what each personal arm gains over its twin that knows nobody, users never trained on, late against
    early labels, beside majorities and logistic regression on words. Intervals resample users. Ratings are such labels.

    \b
    simenv reproduce arms studemo-folder runs/studemo
    simenv reproduce arms lewidi-folder runs/md --task MD-Agreement --least 20
    simenv reproduce arms ml-100k runs/ratings --users 300
    simenv reproduce arms goemotions-folder runs/flan --base google/flan-t5-base --rank 16     (wants a GPU)
    """
    from simenv.evaluation.terminal import progress_bar
    from simenv.training.personal import report as words
    from simenv.training.personal.experiment import Experiment
    from simenv.training.personal.findings import Findings

    quiet_libraries()
    how = settings(
        arms, one_of(kind, ("decoder", "encoder-decoder"), "--kind"), examples, epochs, rank, four_bit, steps
    )
    known = judgements(data, task, seed).of_busy_users(least, users)
    say(f"{known.name}: {len(known)} judgements. {known.note}")
    experiment = Experiment(known, replace(how, text_tokens=text_tokens), folder, base, seed)
    with progress_bar() as progress:
        found = Findings(experiment, experiment.run(progress))
    done = words.report(found)
    done.print(out())
    write_json(json, words.to_dict(found))
    for path in (html, markdown):
        if path is not None:
            done.save(path)


def judgements(source: str, task: str | None, seed: int) -> Annotations:
    """Return what stands at a path or behind a name: labels by annotator, else ratings."""
    from simenv.datasets import annotators_files
    from simenv.datasets.annotators import of_ratings

    found = annotators_files.load(source, task=task) if Path(source).expanduser().exists() else None
    return of_ratings(dataset(source, seed, {})) if found is None else found


def settings(
    arms: str, kind: str, examples: int, epochs: int | None, rank: int, four_bit: bool, steps: int | None
) -> ExperimentSettings:
    """Return the experiment's settings from options."""
    from simenv.training.personal.arm import ARMS
    from simenv.training.personal.base import EmbeddedSettings, PeftSettings
    from simenv.training.personal.experiment import ExperimentSettings
    from simenv.training.personal.tune import TuneSettings

    names = tuple(ARMS) if arms == "all" else tuple(part.strip() for part in arms.split(","))
    tune = TuneSettings() if epochs is None else TuneSettings(epochs=epochs)
    own = EmbeddedSettings(kind=cast(Any, kind))
    own = own if steps is None else replace(own, steps=steps)
    return ExperimentSettings(
        names, tune=tune, embedded=own, peft=PeftSettings(rank=rank, four_bit=four_bit), examples=examples
    )
