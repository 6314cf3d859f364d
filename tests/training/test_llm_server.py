"""Asking a real server process on this machine: what it may do wrong, what is paid, and that killing costs nothing."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simenv.agents.crowd import Crowd
from simenv.errors import ConfigError, StoreError
from simenv.testing.chat_server import Answer, ChatServer, Hang, Raw, Say, Status
from simenv.testing.logs import tiny_catalogue, tiny_log
from simenv.testing.reader import obedient
from simenv.training.llm.asker import Asker, Patience, StoppedError, UndoneError
from simenv.training.llm.budget import Budget, BudgetError, Limit, Price
from simenv.training.llm.chat import Message, RefusedError
from simenv.training.llm.distiller import Outcome, tell
from simenv.training.llm.estimate import estimate
from simenv.training.llm.folder import LEDGER, WRITTEN, save
from simenv.training.llm.form import SCHEMA, MalformedError
from simenv.training.llm.ledger import Ledger
from simenv.training.llm.remote import OpenAIChat
from simenv.training.llm.story import LLMSettings, Stories

Behave = Callable[[dict[str, Any], int], Answer]
FILMS = ", ".join(f"Sunny Story {n}" for n in range(0, 20, 2))
"""Ten of them: nobody has rated all."""
TALK = [Message("system", "Be brief."), Message("user", "Well?")]


def good(body: dict[str, Any], before: int) -> Answer:
    return Say(obedient(body))


def stories(n_users: int = 6, n_items: int = 60) -> Stories:
    log = tiny_log(n_users, n_items)
    catalogue = tiny_catalogue(log.items)
    return Stories.of(log, catalogue, Crowd.fit(log, catalogue), LLMSettings(words=100))


def asker(folder: Path, url: str, *, limit: Limit | None = None, timeout: float = 20.0, **patience: Any) -> Asker:
    ledger, price = Ledger(folder / LEDGER), Price(1.0, 4.0)
    patient = Patience(**({"wait": 0.01, "retries": 3} | patience))
    budget = Budget(limit or Limit(), price, ledger.spent)
    return Asker(OpenAIChat("tiny", url, timeout=timeout), ledger, budget, patient)


def told(s: Stories, a: Asker, concurrency: int = 4) -> Outcome:
    try:
        return tell(s, range(s.past.n_users), a, concurrency=concurrency)
    finally:
        a.ledger.close()


def questions(s: Stories) -> int:
    return sum(len(s.ends(u)) for u in range(s.past.n_users))


class TestBadServer:
    def test_everything_it_can_do_wrong_is_survived_and_counted(self, tmp_path: Path) -> None:
        """Each kind of trouble strikes some questions once; the result is that of a good server."""
        s, trouble = stories(), Counter[str]()
        wrong: list[tuple[str, Callable[[dict[str, Any]], Answer]]] = [
            ("429", lambda b: Status(429, {"retry-after": "0.05"})),
            ("5xx", lambda b: Status(500)),
            ("5xx", lambda b: Status(503, error="overloaded")),
            ("timeout", lambda b: Hang()),
            ("timeout", lambda b: Hang(headers=True)),
            ("broken", lambda b: Raw(b'{"choices": [{"mess', promised=500)),
            ("broken", lambda b: Raw(b'{"choices": [{"mess')),
            ("broken", lambda b: Raw(b'{"choices": []}')),
            ("broken", lambda b: Raw(b'"fine"')),
            ("malformed", lambda b: Say(obedient(b)[:-40])),
            ("malformed", lambda b: Say(obedient(b), finish="length")),
            ("malformed", lambda b: Say('{"rating": 5}')),
            ("malformed", lambda b: Say(None)),
            ("malformed", lambda b: Say(obedient(b).replace("of late", f"as in {FILMS}"))),
        ]
        with ChatServer(good) as server:
            want = told(s, asker(tmp_path / "good", server.url))
        struck, one = set[str](), threading.Lock()

        def behave(body: dict[str, Any], before: int) -> Answer:
            first = json.dumps(body["messages"][1])
            with one:
                if len(body["messages"]) > 2 or first in struck or not wrong:
                    return good(body, before)
                struck.add(first)
                kind, what = wrong.pop()
                trouble[kind] += 1
                return what(body)

        with ChatServer(behave) as server:
            a = asker(tmp_path / "bad", server.url, timeout=2.0)
            got = told(s, a)
            assert not wrong  # each struck
            assert len(server.asked) == questions(s) + 14
        assert got.told == want.told
        assert got.undone == {}
        assert a.count == trouble | {"accepted": questions(s)}
        assert trouble == {"429": 1, "5xx": 2, "timeout": 2, "broken": 4, "malformed": 5}

    def test_a_malformed_answer_is_asked_for_again_with_what_was_wrong(self, tmp_path: Path) -> None:
        with ChatServer(lambda b, n: Say("no" if len(b["messages"]) == 2 else '{"a": 1}')) as server:
            a = asker(tmp_path, server.url)
            assert a.ask(TALK, SCHEMA, _yes, max_tokens=50) == '{"a": 1}'
            again = server.asked[1]["messages"]
        assert [m["role"] for m in again] == ["system", "user", "assistant", "user"]
        assert again[2]["content"] == "no"
        assert "it says no" in again[3]["content"]

    def test_what_never_fits_stays_undone_and_the_others_are_told(self, tmp_path: Path) -> None:
        s = stories()
        bad = s.question(3, 0, None)[1].text

        def behave(body: dict[str, Any], before: int) -> Answer:
            return Say("{}") if body["messages"][1]["content"] == bad else good(body, before)

        with ChatServer(behave) as server:
            a = asker(tmp_path, server.url, repairs=1)
            outcome = tell(s, range(6), a)
        assert set(outcome.told) == {0, 1, 2, 4, 5}
        assert list(outcome.undone) == [3]
        assert "2 malformed answers" in outcome.undone[3]
        assert "missing" in outcome.undone[3]
        assert (a.count["malformed"], a.count["undone"]) == (2, 1)
        account = save(tmp_path, outcome, s.past, np.arange(6), a, s.settings)
        assert list(account["undone"]) == ["104"]
        assert (tmp_path / WRITTEN).read_text().count("\n") == 5  # no line stands in for the sixth

    def test_a_dead_server_ends_the_work(self, tmp_path: Path) -> None:
        s = stories(20)
        with ChatServer(lambda b, n: Status(500)) as server:
            a = asker(tmp_path, server.url, retries=1, give_up=3)
            with pytest.raises(
                StoppedError, match="3 questions in a row had no answer; the last: no answer in 2 tries"
            ):
                told(s, a)
            assert 6 <= len(server.asked) <= 6 + 4 * 2  # others may be under way
        with pytest.raises(UndoneError, match="connection failed"):
            asker(tmp_path / "b", server.url, retries=0).ask(TALK, SCHEMA, _yes, max_tokens=50)

    @pytest.mark.parametrize(
        ("answer", "error", "words"),
        [
            (Status(401, error="bad key"), ConfigError, "answered 401.*bad key.*OPENAI_API_KEY"),
            (Status(404, error="no model tiny"), ConfigError, "no model tiny"),
            (Status(429, error_code="insufficient_quota"), ConfigError, "no quota left"),
            (Status(400, error="response_format is unknown"), RefusedError, "take form object or text"),
        ],
    )
    def test_what_will_not_get_better_is_not_tried_again(
        self, answer: Answer, error: type[Exception], words: str
    ) -> None:
        with ChatServer(lambda b, n: answer) as server:
            with pytest.raises(error, match=words):
                OpenAIChat("tiny", server.url).ask(TALK, SCHEMA, max_tokens=50)
            assert len(server.asked) == 1

    def test_a_server_that_asks_for_time_gets_it(self, tmp_path: Path) -> None:
        with ChatServer(lambda b, n: Status(429, {"retry-after": "0.6"}) if n == 0 else Say('{"a": 1}')) as server:
            start = time.monotonic()
            asker(tmp_path, server.url).ask(TALK, SCHEMA, _yes, max_tokens=50)
            assert time.monotonic() - start >= 0.6


def _yes(text: str) -> str:
    if text == "no":
        raise MalformedError("it says no.")
    return text


class TestRequest:
    @pytest.mark.parametrize("form", ["schema", "object", "text"])
    def test_fields(self, form: Any) -> None:
        with ChatServer(lambda b, n: Say("x", usage=(12, 3))) as server:
            chat = OpenAIChat("tiny", server.url, form=form, temperature=None, extra={"top_k": 1},
                              limit_field="max_completion_tokens")  # fmt: skip
            reply = chat.ask(TALK, SCHEMA, max_tokens=50)
            (body,) = server.asked
        assert (reply.prompt_tokens, reply.written_tokens, reply.counted) == (12, 3, True)
        assert body["messages"] == [{"role": m.role, "content": m.text} for m in TALK]
        assert (body["max_completion_tokens"], body["top_k"], "temperature" in body) == (50, 1, False)
        shape: Any = body.get("response_format")
        if form == "schema":
            assert shape["json_schema"] == {"name": "answer", "strict": True, "schema": SCHEMA}
        else:
            assert shape == ({"type": "json_object"} if form == "object" else None)

    def test_uncounted_tokens_are_estimated_and_said_to_be(self, tmp_path: Path) -> None:
        with ChatServer(lambda b, n: Say("four" * 10, count=False)) as server:
            a = asker(tmp_path, server.url)
            a.ask(TALK, SCHEMA, str, max_tokens=50)
        assert (a.ledger.spent.estimated, a.ledger.spent.written) == (1, 10)

    def test_a_key_is_wanted_only_where_no_server_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(ConfigError, match="no key: set OPENAI_API_KEY"):
            OpenAIChat("tiny").ask(TALK, SCHEMA, max_tokens=1)

    def test_another_model_schema_or_rule_is_another_question(self, tmp_path: Path) -> None:
        with ChatServer(lambda b, n: Say(f'{{"n": {n}}}')) as server:
            a = asker(tmp_path, server.url)
            for _ in range(2):
                a.ask(TALK, SCHEMA, str, max_tokens=50)
            a.ask(TALK, {**SCHEMA, "title": "other"}, str, max_tokens=50)
            a.ask(TALK, SCHEMA, str, max_tokens=50, rule="other")
            a.model = OpenAIChat("other", server.url)
            a.ask(TALK, SCHEMA, str, max_tokens=50)
            assert (len(server.asked), a.count["from the ledger"]) == (4, 1)


class TestMoney:
    def test_the_estimate_and_what_was_spent(self, tmp_path: Path) -> None:
        s = stories()
        with ChatServer(good) as server:
            a = asker(tmp_path, server.url)
            before = estimate(s, range(6), a)
            assert (before.questions, before.answered) == (questions(s), 0)
            assert not server.asked
            told(s, a)
            a = asker(tmp_path, server.url)
            after, spent = estimate(s, range(6), a), a.ledger.spent
            counted = [sum(len(m["content"]) for m in b["messages"]) // 4 + 1 for b in server.asked]
        assert (after.answered, after.prompt, after.written, after.most) == (questions(s), 0, 0, 0)
        assert spent.prompt == sum(counted)
        assert 0.8 < before.prompt / spent.prompt < 1.5  # what is assumed of texts not yet written is near
        assert before.most > spent.prompt + spent.written

    @pytest.mark.parametrize("limit", [Limit(tokens=12_000), Limit(cost=0.02)])
    def test_the_guard_is_never_passed_and_more_money_goes_on(self, tmp_path: Path, limit: Limit) -> None:
        s = stories()
        with ChatServer(good) as server:
            a = asker(tmp_path, server.url, limit=limit)
            with pytest.raises(BudgetError, match="nothing that was answered is paid twice"):
                told(s, a)
            first = len(server.asked)
            a = asker(tmp_path, server.url)
            spent = a.ledger.spent
            assert 0 < first < questions(s)
            assert spent.prompt + spent.written <= (limit.tokens or 1e9)
            assert a.budget.price.of(spent.prompt, spent.written) <= (limit.cost or 1e9)
            told(s, a)
            assert len(server.asked) == questions(s)  # each once, over both runs

    def test_money_without_prices_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="needs the server's prices"):
            Budget(Limit(cost=1.0), Price(), Ledger(tmp_path / LEDGER).spent)

    def test_calls_that_were_never_answered_count_at_their_most(self, tmp_path: Path) -> None:
        with ChatServer(lambda b, n: Hang()) as server:
            a = asker(tmp_path, server.url, timeout=0.2, retries=1)
            with pytest.raises(UndoneError, match=r"no whole answer within 0\.2 seconds"):
                a.ask(TALK, SCHEMA, str, max_tokens=50)
        spent = a.ledger.spent
        assert (spent.open_calls, spent.prompt, spent.open_written) == (2, 0, 100)
        with pytest.raises(BudgetError, match=r"110 of 105|1\d\d of 105"):
            Budget(Limit(tokens=105), Price(), spent).reserve(1, 1)


class TestLedger:
    def test_one_process_at_a_time_and_no_other_file(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path / "a.sqlite")
        with pytest.raises(StoreError, match="in use by another distillation"):
            Ledger(tmp_path / "a.sqlite")
        ledger.close()
        Ledger(tmp_path / "a.sqlite").close()
        (tmp_path / "text").write_text("not a database at all" * 100)
        with pytest.raises(StoreError, match="holds no answers of simenv"):
            Ledger(tmp_path / "text")
        with sqlite3.connect(tmp_path / "other") as base:
            base.execute("CREATE TABLE mine (x)")
        base.close()
        with pytest.raises(StoreError, match="holds no answers of simenv"):
            Ledger(tmp_path / "other")


CONCURRENCY, KILLS = 4, 3
NURSERY = """
import os, sys
from pathlib import Path
import numpy as np
import openai
from simenv.agents.crowd import Crowd
from simenv.testing.logs import tiny_catalogue, tiny_log
from simenv.training.llm.asker import Asker
from simenv.training.llm.budget import Budget, Limit, Price
from simenv.training.llm.distiller import tell
from simenv.training.llm.folder import LEDGER, save
from simenv.training.llm.ledger import Ledger
from simenv.training.llm.remote import OpenAIChat
from simenv.training.llm.story import LLMSettings, Stories

def work(folder, url, concurrency):
    log = tiny_log(50, 60)
    catalogue = tiny_catalogue(log.items)
    stories = Stories.of(log, catalogue, Crowd.fit(log, catalogue), LLMSettings(words=100))
    ledger = Ledger(folder / LEDGER)
    asker = Asker(OpenAIChat("tiny", url), ledger, Budget(Limit(), Price(), ledger.spent))
    outcome = tell(stories, range(50), asker, concurrency=concurrency)
    save(folder, outcome, log, np.arange(50), asker, stories.settings)

for line in sys.stdin:
    folder, url, concurrency = line.split()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work(Path(folder), url, int(concurrency))
            code = 0
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Nursery:
    """Starts workers, each a process of its own; what is slow to import is imported once."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(self, folder: Path, url: str) -> int:
        """Return the process number of a worker."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{folder} {url} {CONCURRENCY}\n")
        self._process.stdin.flush()
        return self._line()

    def end(self) -> int:
        """Wait for the worker and return its exit code."""
        return self._line()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


class TestKilled:
    """Promise: an accepted answer is never asked for again; at a kill, at most the calls under way are."""

    @pytest.fixture
    def nursery(self) -> Iterator[Nursery]:
        nursery = Nursery()
        yield nursery
        nursery.close()

    def test_three_times_in_fifty_users(self, tmp_path: Path, nursery: Nursery) -> None:
        s = stories(50)
        total, whole, torn = questions(s), tmp_path / "whole", tmp_path / "torn"
        with ChatServer(good) as server:
            a = asker(whole, server.url)
            outcome = tell(s, range(50), a)
            save(whole, outcome, s.past, np.arange(50), a, s.settings)
            assert len(server.asked) == total
        with ChatServer(good, delay=0.005) as server:
            paid: list[set[str]] = [set()]
            for kill in range(1, KILLS + 1):
                before = len(server.asked)
                worker = nursery.start(torn, server.url)
                wait_for(lambda n=kill * total // 4: len(server.asked) >= n)  # type: ignore[misc]
                os.kill(worker, signal.SIGKILL)
                assert nursery.end() == -signal.SIGKILL
                time.sleep(0.1)  # requests already sent arrive
                assert not paid[-1] & keys(server.asked[before:])
                paid.append(accepted(torn))
                assert len(paid[-2]) < len(paid[-1]) < total  # it worked, and was not done
            before = len(server.asked)
            nursery.start(torn, server.url)
            assert nursery.end() == 0
            assert not paid[-1] & keys(server.asked[before:])
            asked = Counter(json.dumps(b, sort_keys=True) for b in server.asked)
        assert (torn / WRITTEN).read_bytes() == (whole / WRITTEN).read_bytes()
        assert len(asked) == total  # the very same questions
        assert sum(asked.values()) - total <= KILLS * CONCURRENCY
        ledger = Ledger(torn / LEDGER)
        assert ledger.outcomes["accepted"] == total
        assert ledger.outcomes.get("open", 0) <= KILLS * CONCURRENCY
        assert sum(asked.values()) <= sum(ledger.outcomes.values())  # no call went out that was not entered first


def wait_for(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.002)


def accepted(folder: Path) -> set[str]:
    """Return the keys of the accepted answers, as the next run will find them."""
    ledger = Ledger(folder / LEDGER)
    rows = ledger._base.execute("SELECT key FROM answer").fetchall()
    ledger.close()
    return {key for (key,) in rows}


def keys(bodies: list[dict[str, Any]]) -> set[str]:
    """Return what the answers to requests are kept under."""
    a = Asker(OpenAIChat("tiny"), None, None)  # type: ignore[arg-type]
    talks = ([Message(m["role"], m["content"]) for m in b["messages"]] for b in bodies)
    return {a.key(talk, SCHEMA, "refuse") for talk in talks}
