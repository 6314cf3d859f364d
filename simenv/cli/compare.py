"""`simenv compare`: two recommenders before the same user with the same luck, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simenv.cli.answers import Answers, Cache, Remote, Replay, Table
from simenv.cli.benchmark import contestants
from simenv.cli.console import out, write_json
from simenv.cli.console import table as print_table
from simenv.cli.train import TRIAL
from simenv.errors import ConfigError

if TYPE_CHECKING:
    from simenv.agents.population import SimulatedPopulation
    from simenv.cli.trial import Trial
    from simenv.protocols import Recommender
    from simenv.record import Record


def command(
    folder: Annotated[Path, typer.Argument(help="A population made by `simenv train`.")],
    first: Annotated[str, typer.Argument(help="A recommender, as in `simenv benchmark`.")],
    second: Annotated[str, typer.Argument(help="Another.")],
    user: Annotated[str, typer.Option(help="The user's id, as in your data.")],
    pages: Annotated[int, typer.Option(help="Pages to show at most; the user may leave sooner.")] = 1,
    slate: Annotated[int, typer.Option(help="Places of a page.")] = 10,
    seed: Annotated[int, typer.Option(help="The luck of the visit.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Keep both visits here.")] = None,
    cache: Cache = None,
    replay: Replay = None,
    table: Table = False,
    remote: Remote = None,
) -> None:
    """Show what two recommenders offer one user, and what the user does with it.

    Both are fitted on the contestants' rows. The user has the same luck on both sides: what differs is due to the
    slates. A number after an item is the rating given; "-" means passed over; the expected rating stands in brackets.

    \b
    simenv compare my-users popular als --user 42
    simenv compare my-users als my_shop.ranker:Ranker --user 42 --pages 3 --slate 5
    """
    from simenv.cli.trial import Trial

    answers = Answers(folder, cache, replay, table, remote)
    population = answers.load(folder)
    number = population[population.users.parse(user)].number
    trial, about = Trial.load(folder / TRIAL, population)
    pair = contestants([first, second], about)
    if min(pages, slate) < 1:
        raise ConfigError(f"--pages and --slate must be at least 1; got {pages} and {slate}.")
    played = [_play(one, population, trial, number, pages, slate, seed) for one in pair]
    write_json(json, {"user": user, "seed": seed} | {r.policy: _plain(r) for r in played})
    for page in range(max(len(r.pages) for r in played)):
        rows = [(str(place + 1), *(_cell(population, r, page, place) for r in played)) for place in range(slate)]
        print_table(("", *(r.policy for r in played)), rows, title=f"User {user}, page {page + 1}", right=3)
    for record in played:
        out().print(_summary(record, pages), markup=False, soft_wrap=True)
    answers.settle()


def _play(
    one: Recommender, population: SimulatedPopulation, trial: Trial, user: int, pages: int, slate: int, seed: int
) -> Record:
    import numpy as np

    from simenv.catalogue import Catalogue
    from simenv.play import play
    from simenv.randomness import derive

    catalogue = population.catalogue or Catalogue.bare(population.items)
    policy = one.fit(trial.contestants, catalogue, seed=derive(seed, "fit"))
    log, who = trial.contestants, np.array([user])
    return play(policy, population, log, who, name=one.name, slate_size=slate, max_pages=pages, seed=seed)


def _cell(population: SimulatedPopulation, record: Record, page: int, place: int) -> str:
    from simenv.rendering import label

    if page >= len(record.pages):
        return ""
    slate, answer = record.pages[page].slate, record.pages[page].response
    item = int(slate.item[0, place])
    if item < 0:
        return "(empty)"
    title = label(population.catalogue, item) if population.catalogue else str(population.items.ids[item])
    said = f"{answer.rating[0, place]:g}" if answer.consumed[0, place] else "-"
    expected = float(population.scale.expectation(answer.p_rating[0, place]))
    return f"{title}  {said} ({expected:.1f})"


def _summary(record: Record, pages: int) -> str:
    shown = record.shown()
    expected, given = float(shown.mean(shown.expected)[0]), shown.mean(shown.rating)[0]
    words = f"{record.policy}: expected rating {expected:.2f} per shown place (fitted)"
    words += f", {int(shown.consumed.sum())} taken" + (f", rated {given:.2f} on average" if given == given else "")
    left = bool(record.pages[-1].response.exit[0])
    return f"{words}; {'leaves' if left else 'would stay'} after page {len(record.pages)} of {pages} (assumed)."


def _plain(record: Record) -> list[dict[str, Any]]:
    frame = record.to_frame().astype(object)
    return [{str(k): _value(v) for k, v in row.items()} for row in frame.to_dict("records")]


def _value(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
