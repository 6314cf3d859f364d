"""`simenv distil`: a language model reads the users' past and writes who they are and why they rated as they did."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from simenv.cli.console import one_of, out, quiet_libraries, say, table, write_json
from simenv.cli.source import dataset
from simenv.errors import ConfigError, DataError, LeakageError

if TYPE_CHECKING:
    from simenv.cli.trial import Trial
    from simenv.training.llm.asker import Asker
    from simenv.training.llm.chat import ChatModel
    from simenv.training.llm.estimate import Estimate
    from simenv.training.llm.story import Stories

_FORMS = ("schema", "object", "text")


def command(
    data: Annotated[str, typer.Argument(help="Ratings, as for `simenv train`.")],
    folder: Annotated[Path, typer.Option("--out", help="Where answers and words go. Interrupted work there goes on.")],
    model: Annotated[str | None, typer.Option(help="Model on a server, as the server calls it.")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Its address, such as http://localhost:8000/v1. Default: OpenAI's.")
    ] = None,
    local: Annotated[
        str | None, typer.Option(help="Instead: an instruct model in this process, by folder or Hugging Face name.")
    ] = None,
    form: Annotated[
        str, typer.Option(help="How structure is asked for: schema; object or text for servers that know less.")
    ] = "schema",
    temperature: Annotated[float, typer.Option(help="Below 0: not sent, for models that refuse it.")] = 0.0,
    limit_field: Annotated[
        str, typer.Option(help="max_tokens, or max_completion_tokens for the newest hosted models.")
    ] = "max_tokens",
    key_variable: Annotated[str, typer.Option(help="Environment variable with the key.")] = "OPENAI_API_KEY",
    extra: Annotated[str | None, typer.Option(help="Further fields of each request, as a JSON object.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one answer.")] = 120.0,
    concurrency: Annotated[int, typer.Option(help="Users asked about at a time.")] = 8,
    retries: Annotated[int, typer.Option(help="Further tries after 429, 5xx, time-outs, lost connections.")] = 6,
    repairs: Annotated[int, typer.Option(help="Times a malformed answer is asked for again.")] = 2,
    batch: Annotated[int, typer.Option(help="Ratings per question, 10 at most.")] = 10,
    words: Annotated[int, typer.Option(help="Words of a profile's description, at most.")] = 2000,
    first: Annotated[
        str, typer.Option(help="Profile before the first batch: counted (by statistics, from that batch) or nothing.")
    ] = "counted",
    crowd: Annotated[bool, typer.Option(help="Show the crowd's mean rating of each item.")] = True,
    names: Annotated[
        str, typer.Option(help="Answers naming a title that is not in the user's past: refuse, or count.")
    ] = "refuse",
    prompt_price: Annotated[float, typer.Option(help="Price of a million tokens of prompts.")] = 0.0,
    answer_price: Annotated[float, typer.Option(help="Price of a million tokens of answers.")] = 0.0,
    max_cost: Annotated[float | None, typer.Option(help="Spend no more into this folder, all runs together.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The same, in tokens of prompts and answers.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would ask and cost; ask nothing.")] = False,
    users: Annotated[int | None, typer.Option(help="As for `simenv train`.")] = None,
    min_ratings: Annotated[int, typer.Option(help="As for `simenv train`.")] = 100,
    max_ratings: Annotated[int, typer.Option(help="As for `simenv train`.")] = 200,
    split: Annotated[str, typer.Option(help="As for `simenv train`.")] = "user_time",
    fraction: Annotated[float, typer.Option(help="As for `simenv train`.")] = 0.6,
    share: Annotated[float, typer.Option(help="As for `simenv train`.")] = 0.5,
    metadata: Annotated[str | None, typer.Option(help="MovieLens: CSV of summary, cast and director.")] = None,
    items: Annotated[str | None, typer.Option(help="Own table: file that describes the items.")] = None,
    user_column: Annotated[str | None, typer.Option(help="Own table: name of the column.")] = None,
    item_column: Annotated[str | None, typer.Option(help="Own table: name of the column.")] = None,
    rating_column: Annotated[str | None, typer.Option(help="Own table: name of the column.")] = None,
    time_column: Annotated[str | None, typer.Option(help="Own table: name of the column.")] = None,
    separator: Annotated[str | None, typer.Option(help="Own table: what stands between columns.")] = None,
    duplicates: Annotated[str | None, typer.Option(help="Own table, pairs rated twice: error, last or all.")] = None,
    noun: Annotated[str | None, typer.Option(help='Own table: what one item is called, such as "book".')] = None,
    seed: Annotated[int, typer.Option(help="Draws users and rows, as for `simenv train`.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Keep the account here.")] = None,
) -> None:
    """Have a language model write Ms and Ml: who each user is, and why each item was rated so.

    It reads the known part of each history, ten ratings at a time, and rewrites the user's profile after each batch.
    Every accepted answer is kept at once: stopped at any point, the same command goes on and pays for none twice. What
    the model cannot answer in the asked form stays undone and is named; nothing stands in for it. Then give the folder,
    and the same options on users and rows, to `simenv train --distiller FOLDER --prompt words`.

    \b
    simenv distil ml-100k --out runs/told --model qwen3:8b --base-url http://localhost:11434/v1 --dry-run
    simenv distil ml-100k --out runs/told --model gpt-5-mini --max-cost 5 --prompt-price 0.25 --answer-price 2 \\
        --limit-field max_completion_tokens --temperature -1
    simenv distil ratings.csv --out told --local Qwen/Qwen3-4B-Instruct-2507 --min-ratings 20
    """
    from simenv.cli.trial import Cut, Trial
    from simenv.training.llm.asker import Asker, Patience
    from simenv.training.llm.budget import Budget, Limit, Price
    from simenv.training.llm.estimate import estimate
    from simenv.training.llm.folder import LEDGER
    from simenv.training.llm.ledger import Ledger
    from simenv.training.llm.story import LLMSettings

    own = {"user": user_column, "item": item_column, "rating": rating_column, "time": time_column, "items": items}
    own |= {"separator": separator, "duplicates": duplicates, "noun": noun, "metadata": metadata}
    kinds = ("user_time", "global_time", "random")
    how = Cut(users, min_ratings, max_ratings, cast(Any, one_of(split, kinds, "--split")), fraction, share, seed)
    begin, named = one_of(first, ("counted", "nothing"), "--first"), one_of(names, ("refuse", "count"), "--names")
    settings = LLMSettings(batch, words, cast(Any, begin), crowd, cast(Any, named))
    writer = _writer(
        model, local, base_url=base_url, form=one_of(form, _FORMS, "--form"), timeout=timeout,
        temperature=None if temperature < 0 else temperature, key_variable=key_variable, extra=_object(extra),
        limit_field=one_of(limit_field, ("max_tokens", "max_completion_tokens"), "--limit-field"),
    )  # fmt: skip
    made = dataset(data, seed, {k: v for k, v in own.items() if v is not None})
    trial, price = Trial.of(made.log, how), Price(prompt_price, answer_price)
    say(f"{made.name}: {len(made.log)} ratings. {made.note} {trial.note}.")
    about = {"data": made.name, "cut": trial.note, "options": asdict(how)}
    with closing(Ledger(folder / LEDGER)) as ledger:
        budget = Budget(Limit(max_cost, max_tokens), price, ledger.spent)
        asker = Asker(writer, ledger, budget, Patience(retries=retries, repairs=repairs, seed=seed))
        stories = _stories(trial, made.catalogue, settings)
        left = estimate(stories, trial.member.tolist(), asker)
        _announce(left, price)
        if dry_run:
            write_json(json, asdict(left))
            return
        try:
            account = _written(stories, trial, asker, folder, concurrency, about)
        finally:
            _spent(asker, price)
    write_json(json, account)
    _judge(account)
    out().print(f"\n{account['told']} users are told of in {folder}. Next: simenv train ... --distiller {folder}")


def _writer(model: str | None, local: str | None, **server: Any) -> ChatModel:
    if (model is None) == (local is None):
        raise ConfigError("name either a --model on a server, or a --local one; not both.")
    if model is not None:
        from simenv.training.llm.remote import OpenAIChat

        return OpenAIChat(model, **server)
    quiet_libraries()
    from simenv.training.llm.local import LocalChat

    return LocalChat.load(cast(str, local))


def _object(text: str | None) -> Mapping[str, Any]:
    from json import JSONDecodeError, loads

    try:
        found = {} if text is None else loads(text)
    except JSONDecodeError as error:
        raise ConfigError(f"--extra is a JSON object; got {text!r} ({error}).") from error
    if not isinstance(found, dict):
        raise ConfigError(f"--extra is a JSON object; got {text!r}.")
    return found


def _stories(trial: Trial, catalogue: Any, settings: Any) -> Stories:
    from simenv.agents.crowd import Crowd
    from simenv.training.llm.story import Stories

    crowd = Crowd.fit(trial.judge, catalogue)
    return Stories.of(trial.judge.of_users(trial.member), catalogue, crowd, settings, trial.cut)


def _announce(left: Estimate, price: Any) -> None:
    rows = [
        ("users and their known ratings (measured)", f"{left.users:,} and {left.ratings:,}"),
        ("questions, of which answered already (measured)", f"{left.questions:,}, {left.answered:,}"),
        ("tokens of prompts to come (assumed)", f"{left.prompt:,}"),
        ("tokens of answers to come (assumed)", f"{left.written:,}"),
        ("tokens at most, if nothing is asked twice (assumed)", f"{left.most:,}"),
    ]
    if price.prompt or price.written:
        rows.append(("cost to come, at the prices given (assumed)", f"{left.cost(price):.4f}"))
    table(("before the start", ""), rows)


def _written(
    stories: Stories, trial: Trial, asker: Asker, folder: Path, concurrency: int, about: dict[str, Any]
) -> dict[str, Any]:
    """Ask, look whether the future is named, and write the folder; return its account."""
    from simenv.evaluation.terminal import progress_bar
    from simenv.training.llm.distiller import tell
    from simenv.training.llm.folder import leaks, save

    with progress_bar() as progress:
        outcome = tell(
            stories, trial.member.tolist(), asker, concurrency=concurrency,
            show=lambda done, total: progress(done, total, "batches"),
        )  # fmt: skip
    found = leaks(outcome, stories.past, trial.future, stories.catalogue)
    return save(folder, outcome, stories.past, trial.member, asker, stories.settings, found=found, about=about)


def _spent(asker: Asker, price: Any) -> None:
    """Print what was done and spent."""
    spent = asker.ledger.spent
    rows = [(name, f"{n:,}") for name, n in asker.ledger.outcomes.items()]
    rows += [("answers taken from the ledger in this run", f"{asker.count['from the ledger']:,}")]
    rows += [("tokens of prompts", f"{spent.prompt:,}"), ("tokens of answers", f"{spent.written:,}")]
    if spent.estimated:
        rows.append(("calls whose tokens the server did not count (estimated)", f"{spent.estimated:,}"))
    if price.prompt or price.written:
        rows.append(("cost", f"{price.of(spent.prompt, spent.written):.4f}"))
    if spent.open_calls:
        rows.append(("calls without an answer, charged or not", f"{spent.open_calls:,}"))
        rows.append(("their tokens at most", f"{spent.open_prompt + spent.open_written:,}"))
    table(("calls by how they ended, all runs (measured)", ""), rows)


def _judge(account: dict[str, Any]) -> None:
    """Raise where the result cannot be used."""
    if account["undone"]:
        first, why = next(iter(account["undone"].items()))
        raise DataError(
            f"{len(account['undone'])} of {account['users']} users stayed undone, such as {first}: {why} Run it again, "
            "or with another model; what is done costs nothing more."
        )
    if account["leaks"]:
        leak = account["leaks"][0]
        raise LeakageError(
            f"{len(account['leaks'])} titles of held-out rows are named, such as {leak['title']!r} of user "
            f"{leak['user']}; distil with --names refuse."
        )
