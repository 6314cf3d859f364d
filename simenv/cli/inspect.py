"""`simenv inspect`: one simulated user: who it is, what it remembers, what it is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from simenv.cli.answers import Answers, Cache, Remote, Replay
from simenv.cli.console import bar, out, table, write_json
from simenv.cli.train import TRIAL
from simenv.errors import ConfigError, UnknownIdError

if TYPE_CHECKING:
    from simenv.agents.persona import Persona
    from simenv.agents.population import SimulatedPopulation
    from simenv.agents.rating_model import LMRatingModel
    from simenv.index import RawId


@final
@dataclass(frozen=True, eq=False)
class Look:
    """One user before one item."""

    user: RawId
    item: RawId
    what: str
    """The item in words."""
    memory: str
    """Ms: traits and description."""
    persona: Persona
    recalled: list[str]
    """Ml: entries recalled for the item, best first."""
    prompt: str
    values: tuple[float, ...]
    answer: dict[str, list[float]]
    """Source ("language model", "prior", "answer") -> probability of each value."""
    truth: float | None
    """The rating that was held out; None: there is none."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        own = {n: getattr(self, n) for n in ("user", "item", "what", "memory", "recalled", "prompt", "answer", "truth")}
        return own | {"persona": self.persona.name, "portrait": self.persona.portrait, "values": list(self.values)}


def command(
    folder: Annotated[Path, typer.Argument(help="A population made by `simenv train`.")],
    user: Annotated[str, typer.Argument(help="The user's id, as in your data.")],
    item: Annotated[
        str | None, typer.Option(help="Ask about this item. Default: the first one held out, else the best known.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Keep all of it here.")] = None,
    cache: Cache = None,
    replay: Replay = None,
    remote: Remote = None,
) -> None:
    """Look at one simulated user.

    Prints the profile (Ms: three traits and a description), the persona, the memories recalled for an item (Ml), the
    whole prompt, and the distribution over ratings: of the language model alone, of the collaborative prior alone, and
    of both together, which is the user's answer.

    \b
    simenv inspect my-users 42
    simenv inspect my-users 42 --item 1193 --json user-42.json
    """
    answers = Answers(folder, cache, replay, remote=remote)
    population = answers.load(folder)
    seen = look(
        population, folder, population.users.parse(user), None if item is None else population.items.parse(item)
    )
    write_json(json, seen.to_dict())
    show(seen)
    answers.settle()


def look(population: SimulatedPopulation, folder: Path, user: RawId, item: RawId | None = None) -> Look:
    """Return one user before one item.

    Raises:
        UnknownIdError: no such user or item, or the user is not simulated.

    """
    from simenv.agents.persona import Personas

    number = population[user].number
    held = _held_out(folder, population, number)
    chosen = _choose(population, number, held) if item is None else int(population.items.encode([item])[0])
    model = _language(population)
    mind, raw = model.mind, population.items.ids[chosen]
    if population.catalogue is None:
        raise ConfigError("this population does not know what its items are; save it with a catalogue.")
    return Look(
        user,
        raw,
        population.catalogue.describe(chosen),
        mind.profiles[int(mind.row[number])].text,
        next(p for p in Personas.load(folder) if number in p.member),
        _recalled(model, number, chosen),
        _prompt(model, number, chosen),
        population.scale.values,
        _answers(population, model, number, chosen),
        held.get(chosen),
    )


def show(seen: Look) -> None:
    """Print a look."""
    console = out()
    for title, text in (
        (f"User {seen.user}: Ms, from the past alone", seen.memory),
        (f"Persona {seen.persona.name}", seen.persona.portrait),
        (f"Asked about {seen.item}", seen.what),
        ("Ml, recalled for it", "\n".join(f"- {line}" for line in seen.recalled) or "nothing (this prompt has no Ml)"),
        ("The whole prompt", seen.prompt),
    ):
        console.print(title, style="bold underline", markup=False)
        console.print(text.strip(), markup=False)
        console.print()
    rows = []
    for place, value in enumerate(seen.values):
        shares = [p[place] for p in seen.answer.values()]
        rows.append([f"{value:g}", *(f"{s:5.1%}" for s in shares), bar(shares[-1])])
    columns = ["rating", *seen.answer, ""]
    table(columns, rows, title="The answer (the language model and the prior apart; fitted)", right=len(columns))
    means = {n: sum(v * p for v, p in zip(seen.values, q, strict=True)) for n, q in seen.answer.items()}
    said = ", ".join(f"{name} {mean:.2f}" for name, mean in means.items())
    truth = "" if seen.truth is None else f" The user really gave {seen.truth:g} (held out; measured)."
    console.print(f"Expected rating: {said}.{truth}", markup=False)


def _language(population: SimulatedPopulation) -> LMRatingModel:
    from simenv.agents.rating_model import LMRatingModel

    model: Any = population.rating_model
    while not isinstance(model, LMRatingModel):
        if not hasattr(model, "inner"):
            raise ConfigError(
                f"only users who answer by a language model can be looked into; got {type(model).__name__}."
            )
        model = model.inner
    return model


def _held_out(folder: Path, population: SimulatedPopulation, number: int) -> dict[int, float]:
    """Return the held-out ratings of a user by item number, oldest first; nothing where none were kept."""
    from simenv.cli.trial import Trial

    if not (folder / TRIAL).is_dir():
        return {}
    item, rating = Trial.load(folder / TRIAL, population)[0].future.history(number)
    return {int(i): float(r) for i, r in zip(item, rating, strict=True)}


def _choose(population: SimulatedPopulation, number: int, held: dict[int, float]) -> int:
    import numpy as np

    if held:
        return next(iter(held))
    support = _language(population).mind.crowd.item_count.astype(float)
    if population.training_log is not None:
        support[population.training_log.history(number)[0]] = -1
    if support.max() < 0:
        raise UnknownIdError("this user knows every item; name one with --item.")
    return int(np.argmax(support))


def _recalled(model: LMRatingModel, user: int, item: int) -> list[str]:
    import numpy as np

    mind = model.mind
    entry = mind.recalled(np.array([user]), np.array([item]))[0]
    return [f"rated {mind.memory.rating[e]:g}: {mind.memory.text(int(e))}" for e in entry if e >= 0]


def _prompt(model: LMRatingModel, user: int, item: int) -> str:
    import numpy as np

    prompt = model.prompts(np.array([user]), np.array([item]))[0]
    return "".join((*prompt.prefix, *prompt.suffix))


def _answers(population: SimulatedPopulation, model: LMRatingModel, user: int, item: int) -> dict[str, list[float]]:
    from dataclasses import replace

    import numpy as np

    pair = np.array([user]), np.array([item])
    arms = {"language model": replace(model.readout, arm="lm"), "prior": replace(model.readout, arm="prior")}
    alone = {name: replace(model, readout=readout).rate(*pair).p[0] for name, readout in arms.items()}
    both = population.rating_model.rate(*pair).p[0]
    return {name: [float(v) for v in p] for name, p in (alone | {"answer": both}).items()}
