"""RemoteModel against an HTTP server on the loopback, which has the tiny model's weights and misbehaves on demand."""

from __future__ import annotations

import json
import pickle
import shutil
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from simenv.agents.answer_file import AnswerFile
from simenv.agents.cache import CachedModel
from simenv.agents.language_model import PartialAnswerError, Prompt
from simenv.agents.local_model import LocalModel
from simenv.agents.remote_client import KEY, RemoteSettings
from simenv.agents.remote_dialect import Dialect
from simenv.agents.remote_model import RemoteModel
from simenv.agents.store import load
from simenv.cli import app
from simenv.cli.train import Make
from simenv.cli.trial import Trial
from simenv.errors import ConfigError, RemoteError, StoreError
from simenv.log import Split

DIGITS = ("1", "2", "3", "4", "5")
LEEWAY = 1e-4
"""Tolerance of a log-probability: the same weights in float32, batched otherwise."""
SOON = {"retry-after-ms": "1"}


@dataclass
class Served:
    """An OpenAI-compatible server: what it has, what it can, how it fails, what it saw."""

    model: LocalModel
    exact: bool = True
    by_id: bool = True
    several: bool = True
    adds_opening: bool = False
    most: int = 500
    faults: list[str] = field(default_factory=list)
    """Consumed one a request."""
    hates: str = ""
    """Text; a prompt that holds it is always refused."""
    seen: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    crowd: int = 0
    under_way: list[bool] = field(default_factory=list)
    peak: int = 0
    mixed: bool = False
    """Whether prompts of the base and of an adapter were ever under way together."""
    url: str = ""
    turn: threading.Lock = field(default_factory=threading.Lock)

    def usual(self) -> None:
        """Forget, and do everything right again."""
        self.exact = self.by_id = self.several = True
        self.adds_opening, self.most, self.hates = False, 500, ""
        for kept in (self.faults, self.seen, self.keys):
            kept.clear()
        self.peak, self.mixed = 0, False

    def names(self) -> list[dict[str, Any]]:
        return [{"id": "base"}, *({"id": n, "parent": "base"} for n in self.model.names)]

    def logp(self, model: str, ids: list[int]) -> NDArray[np.float32]:
        chosen, extra = self.model._pick([None if model == "base" else model])
        with self.turn, torch.inference_mode():
            logits = chosen(input_ids=torch.tensor([ids]), **extra).logits[0, -1]
        return np.asarray(logits.float().log_softmax(-1).numpy(), np.float32)

    def ids_of(self, prompt: Any) -> list[int]:
        if not isinstance(prompt, str):
            return list(prompt)
        tokenizer = self.model.tokenizer
        start = [tokenizer.bos_token_id] if self.adds_opening else []
        return start + list(tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        asked = body["prompt"]
        prompts = asked if isinstance(asked[0], list | str) and not isinstance(asked, str) else [asked]
        if not self.by_id and not isinstance(prompts[0], str):
            return 422, {"error": "prompt must be text"}
        if len(prompts) > 1 and not self.several:
            return 400, {"error": "one prompt at a time"}
        if body["model"] not in [m["id"] for m in self.names()]:
            return 404, {"error": "no such model"}
        rows = [self.ids_of(p) for p in prompts]
        if self.hates and any(self.hates in self.model.tokenizer.decode(r) for r in rows):
            return 400, {"error": "I will not answer that"}
        choices = [self.choice(n, body, ids) for n, ids in enumerate(rows)]
        choices.reverse()  # order is told by `index` alone
        return 200, {"choices": choices, "usage": {"prompt_tokens": sum(map(len, rows))}}

    def choice(self, index: int, body: dict[str, Any], ids: list[int]) -> dict[str, Any]:
        made: list[int] = []
        while len(made) < body["max_tokens"]:
            logp = self.logp(body["model"], ids + made)
            made.append(int(logp.argmax()))
        answer = {"index": index, "text": self.model.tokenizer.decode(made)}
        if "logprobs" not in body:
            return answer
        best = np.argsort(-logp, kind="stable")[: min(body["logprobs"], self.most)].tolist()
        if self.exact and "logprob_token_ids" in body:
            best = [best[0], *body["logprob_token_ids"]]
        told = self.exact and body.get("return_tokens_as_token_ids")
        name = (lambda i: f"token_id:{i}") if told else (lambda i: self.model.tokenizer.decode([i]))
        top = {name(i): float(logp[i]) for i in reversed(best)}  # of tokens that read alike the likeliest stays
        return answer | {"logprobs": {"top_logprobs": [top]}}


class Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send(200, {"data": self.server.served.names()})

    def do_POST(self) -> None:
        served: Served = self.server.served
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with served.turn:
            served.seen.append(body)
            served.keys.add(self.headers["Authorization"])
            served.crowd += 1
            served.peak = max(served.peak, served.crowd)
            served.under_way.append(body["model"] == "base")
            served.mixed |= len(set(served.under_way)) > 1
            fault = served.faults.pop(0) if served.faults else ""
        try:
            self.answer(fault, *(served.complete(body) if not fault.isdigit() else (int(fault), {"error": "busy"})))
        except BrokenPipeError:  # who hung up did not want it
            pass
        finally:
            with served.turn:
                served.crowd -= 1
                served.under_way.remove(body["model"] == "base")

    def answer(self, fault: str, status: int, reply: Any) -> None:
        if fault == "hang":
            time.sleep(1)
        if fault == "nothing":
            reply = {"choices": []}
        if fault == "null":
            for choice in reply["choices"]:
                choice["logprobs"] = None
        if fault == "cut":
            self.raw(200, json.dumps(reply).encode()[:-30])
        elif fault == "drop":
            self.connection.close()
        else:
            self.send(status, reply)

    def send(self, status: int, reply: Any) -> None:
        self.raw(status, json.dumps(reply).encode())

    def raw(self, status: int, data: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **SOON}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def running(tiny_folder: Path) -> Iterator[Served]:
    names = [f.name for f in sorted((tiny_folder / "adapters").iterdir())]
    served = Served(LocalModel.load(tiny_folder / "model", {n: tiny_folder / "adapters" / n for n in names}))
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads, http.served = True, served  # type: ignore[attr-defined]
    served.url = f"http://127.0.0.1:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield served
    http.shutdown()
    http.server_close()


@pytest.fixture
def server(running: Served) -> Served:
    running.usual()
    return running


@pytest.fixture(scope="module")
def asked(running: Served, tiny_folder: Path) -> tuple[list[Prompt], list[str | None]]:
    """Twenty real prompts of four users, each user's adapter or, for every fifth prompt, the bare base."""
    mind: Any = load(tiny_folder).rating_model
    user, item = np.arange(4).repeat(5), np.tile(np.arange(0, 50, 10), 4)
    prompts = mind.inner.prompts(user, item)
    adapters: list[str | None] = [mind.inner.mind.adapter[r] for r in mind.inner.mind.rows(user)]
    adapters[::5] = [None] * 4
    return prompts, adapters


def connect(server: Served, **how: Any) -> RemoteModel:
    settings = RemoteSettings(server.url, **({"timeout": 20, "retries": 2} | how))
    return RemoteModel.connect(settings, server.model.tokenizer, server.model.names)


def score(model: Any, asked: tuple[list[Prompt], list[str | None]]) -> NDArray[np.float32]:
    said: NDArray[np.float32] = model.score(asked[0], DIGITS, adapters=asked[1])
    return said


class TestAgreement:
    @pytest.mark.parametrize(
        ("can", "dialect"),
        [
            ({}, Dialect()),
            ({"exact": False}, Dialect(exact=False)),
            ({"exact": False, "several": False, "most": 5}, Dialect(exact=False, several=False)),
            ({"exact": False, "by_id": False}, Dialect(False, False, True, 20, "<s>")),
            ({"exact": False, "by_id": False, "adds_opening": True, "several": False}, Dialect(False, False, False)),
        ],
    )
    def test_the_dialect_is_found(self, server: Served, can: dict[str, Any], dialect: Dialect) -> None:
        for name, value in can.items():
            setattr(server, name, value)
        assert connect(server).dialect == dialect

    @pytest.mark.parametrize(
        "dialect", [Dialect(), Dialect(exact=False, top=500), Dialect(False, False, True, 500, "<s>")], ids=str
    )
    def test_remote_scores_are_local_scores(self, server: Served, asked: Any, dialect: Dialect) -> None:
        server.exact, server.by_id = dialect.exact, dialect.ids
        model = connect(server, dialect=dialect, batch=3, concurrency=3)
        said, local = score(model, asked), score(server.model, asked)
        np.testing.assert_allclose(said, local, atol=LEEWAY)
        assert said.dtype == np.float32
        np.testing.assert_allclose(1 - np.exp(said).sum(axis=1), 1 - np.exp(local).sum(axis=1), atol=LEEWAY)
        assert np.abs(local[0] - score(server.model, (asked[0][:1], [server.model.names[0]]))[0]).max() > 10 * LEEWAY
        assert (model.tally.prompts, model.tally.options, model.tally.other_tokens) == (20, 0, 0)

    def test_the_order_of_prompts_changes_nothing(self, server: Served, asked: Any) -> None:
        model, order = connect(server, batch=4), np.random.default_rng(0).permutation(20)
        turned = [asked[0][n] for n in order], [asked[1][n] for n in order]
        np.testing.assert_array_equal(score(model, asked)[order], score(model, turned))

    def test_no_prompts(self, server: Served) -> None:
        assert connect(server).score([], DIGITS, adapters=[]).shape == (0, 5)

    def test_what_the_server_does_not_list_is_bounded_counted_and_said(self, server: Served, asked: Any) -> None:
        server.exact = False
        model = connect(server, dialect=Dialect(exact=False, top=60))
        with pytest.warns(UserWarning, match="only its 60 most likely tokens"):
            said = score(model, asked)
        local = score(server.model, asked)
        listed = np.abs(said - local) < LEEWAY
        assert 0 < model.tally.options == (~listed).sum() < listed.size
        less = np.exp(said.astype(np.float64)).sum(axis=1) - np.exp(local.astype(np.float64)).sum(axis=1)
        assert (less > -LEEWAY).all()
        assert less.max() <= model.tally.largest + LEEWAY < 1
        assert model.tally.bounded == (~listed).any(axis=1).sum()
        assert f"{model.tally.options} options of {model.tally.bounded} prompts" in str(model.tally)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            score(model, asked)  # said once is enough

    def test_a_server_that_never_lists_an_option(self, server: Served, asked: Any) -> None:
        server.exact = False
        model = connect(server, dialect=Dialect(exact=False, top=1))
        with pytest.raises(ConfigError, match=r"none of \['1', '2', '3', '4', '5'\] was ever among the 1 tokens"):
            score(model, asked)

    def test_text_that_is_cut_otherwise_is_counted(self, server: Served, asked: Any) -> None:
        server.exact = server.by_id = False
        model = connect(server, dialect=Dialect(False, False, False, 500, ""))
        score(model, asked)
        assert model.tally.other_tokens == 20
        assert "20 prompts were cut into other tokens than in training" in str(model.tally)


class TestDispatch:
    def test_neighbours_share_adapter_and_prefix_and_the_crowd_is_bounded(self, server: Served, asked: Any) -> None:
        model = connect(server, batch=4, concurrency=2)
        server.seen.clear()
        server.peak = 0
        score(model, asked)
        assert server.peak <= 2
        assert sum(len(body["prompt"]) for body in server.seen) == 20
        assert max(len(body["prompt"]) for body in server.seen) <= 4
        wanted = Counter(name or "base" for name in asked[1])
        assert Counter(body["model"] for body in server.seen for _ in body["prompt"]) == wanted
        own = [tuple(ids[:20]) for body in server.seen if body["model"] != "base" for ids in body["prompt"]]
        runs = 1 + sum(a != b for a, b in pairwise(own))
        assert runs <= len(set(own)) + 2  # two requests at a time may overtake each other

    def test_base_and_adapters_are_never_under_way_together(self, server: Served, asked: Any) -> None:
        """vLLM on a CPU mixes them up in a batch."""
        score(connect(server, batch=1, concurrency=8), asked)
        assert not server.mixed
        assert server.peak > 1

    def test_a_copy_for_another_process_asks_for_itself(self, server: Served, asked: Any) -> None:
        model = connect(server)
        copy = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(score(copy, asked), score(model, asked))
        assert copy.client is not model.client
        assert copy.tally == model.tally

    def test_only_our_key_is_sent(self, server: Served, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "private")
        score(connect(server), asked)
        assert server.keys == {"Bearer none"}
        server.keys.clear()
        monkeypatch.setenv(KEY, "ours")
        score(connect(server), asked)
        assert server.keys == {"Bearer ours"}


class TestFailure:
    def test_all_of_it_is_survived_and_counted(self, server: Served, asked: Any) -> None:
        model = connect(server, batch=2, concurrency=2, timeout=0.4)
        server.faults += ["429", "500", "cut", "hang", "nothing", "null", "drop", "503", "cut"]
        said = score(model, asked)
        np.testing.assert_allclose(said, score(server.model, asked), atol=LEEWAY)
        assert server.faults == []
        assert model.tally.prompts == 20
        assert model.tally.retried >= 9

    def test_a_refused_prompt_costs_its_neighbours_nothing(self, server: Served, asked: Any) -> None:
        prompts, adapters = list(asked[0]), asked[1]
        prompts[7] = Prompt(prompts[7].prefix, ("Likes Comedy Story low.", *prompts[7].suffix))
        model = connect(server, batch=5)
        server.hates = "Comedy Story low"
        with pytest.raises(PartialAnswerError, match=r"19 of 20 prompts; 1 stayed .*I will not answer") as told:
            score(model, (prompts, adapters))
        assert sorted(told.value.answered) == [n for n in range(20) if n != 7]
        refused = sum("Comedy Story low" in server.model.tokenizer.decode(i) for b in server.seen for i in b["prompt"])
        assert refused == 2  # with its neighbours, then alone

    def test_a_rerun_goes_on_where_the_server_failed(self, server: Served, asked: Any, tmp_path: Path) -> None:
        who = {name: str(name) for name in (None, *server.model.names)}
        prompts, adapters = list(asked[0]), asked[1]
        prompts[7] = Prompt(prompts[7].prefix, ("Likes Comedy Story low.", *prompts[7].suffix))
        file = AnswerFile(tmp_path / "kept.db", writable=True)
        server.hates = "Comedy Story low"
        with pytest.raises(PartialAnswerError, match="run the same again to go on"):
            score(CachedModel(connect(server), file, who), (prompts, adapters))
        assert len(file) == 19
        server.hates = ""
        again = CachedModel(connect(server), file, who)
        server.seen.clear()
        said = score(again, (prompts, adapters))
        assert [len(body["prompt"]) for body in server.seen] == [1]
        np.testing.assert_allclose(said, score(server.model, (prompts, adapters)), atol=LEEWAY)

    def test_a_dead_server_is_given_up_early(self, server: Served, asked: Any) -> None:
        model = connect(server, batch=1, concurrency=2, retries=1)
        server.seen.clear()
        server.faults += ["503"] * 400
        with pytest.raises(PartialAnswerError, match=r"answered 0 of 20 prompts; 20 stayed .*503.*busy"):
            score(model, asked)
        assert len(server.seen) <= 8  # two at a time, each twice, and two more that had begun

    def test_no_server_at_all(self, server: Served) -> None:
        with pytest.raises(RemoteError, match=r"no connection to http://127\.0\.0\.1:9/v1"):
            RemoteModel.connect(RemoteSettings("http://127.0.0.1:9", retries=0), server.model.tokenizer)

    def test_a_busy_server_does_not_lower_the_dialect(self, server: Served) -> None:
        server.faults += ["429"] * 3
        with pytest.raises(RemoteError, match="429"):
            connect(server)

    def test_a_server_without_probabilities(self, server: Served) -> None:
        server.faults += ["null"] * 100
        with pytest.raises(ConfigError, match=r"gives no log-probabilities .* it said: the server gave no"):
            connect(server)

    def test_names_that_are_unknown(self, server: Served, asked: Any) -> None:
        model = connect(server)
        with pytest.raises(ConfigError, match="unknown adapter 'nobody'; served are"):
            score(model, (asked[0][:1], ["nobody"]))
        model.base = None
        with pytest.raises(ConfigError, match="the bare base is not known"):
            score(model, (asked[0][:1], [None]))
        with pytest.raises(ConfigError, match="20 prompts need as many adapters; got 1"):
            score(model, (asked[0], [None]))
        with pytest.raises(ConfigError, match="does not serve nobody"):
            RemoteModel.connect(server.url, server.model.tokenizer, ["nobody"])


class TestWriting:
    def test_greedy_is_what_the_model_writes_here(self, server: Served, asked: Any) -> None:
        how: dict[str, Any] = {"adapters": asked[1][:6], "max_tokens": 4, "seed": 0, "greedy": True}
        remote = connect(server).write(asked[0][:6], **how)
        assert remote == server.model.write(asked[0][:6], **how)
        assert all(len(text) >= 4 for text in remote)

    def test_luck_hangs_on_seed_and_prompt(self, server: Served, asked: Any) -> None:
        model = connect(server)

        def seeds(seed: int, order: list[int]) -> dict[int, int]:
            server.seen.clear()
            model.write([asked[0][n] for n in order], adapters=[None] * len(order), max_tokens=1, seed=seed)
            by_prompt = {tuple(b["prompt"]): b["seed"] for b in server.seen}
            ids = {
                n: model.segments.prefix_ids(asked[0][n].prefix) + model.segments.ids(asked[0][n].suffix) for n in order
            }
            return {n: by_prompt[tuple(i)] for n, i in ids.items()}

        one = seeds(1, [0, 1, 2])
        assert one == seeds(1, [2, 0, 1])
        assert len({*one.values(), *seeds(2, [0, 1, 2]).values()}) == 6


@pytest.fixture
def published(tiny_folder: Path, tmp_path: Path) -> Path:
    """A population without weights: the tokenizer alone is left of the model."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "users"))
    (folder / "model" / "model.safetensors").unlink()
    shutil.rmtree(folder / "adapters")
    return folder


class TestPopulation:
    PAIRS = np.arange(12).repeat(3), np.tile(np.array([0, 20, 41]), 12)

    def test_users_on_a_server_answer_as_users_here(
        self, server: Served, published: Path, tiny_population: Any
    ) -> None:
        served = load(published, remote=server.url)
        here, there = (p.rating_model.rate(*self.PAIRS) for p in (tiny_population, served))
        np.testing.assert_allclose(there.p, here.p, atol=LEEWAY)
        np.testing.assert_allclose(there.off_scale, here.off_scale, atol=LEEWAY)
        assert served.fingerprint != tiny_population.fingerprint
        assert served.provenance["population"].endswith(", served (token ids, exact)")

    def test_kept_answers_replay_without_a_server(self, server: Served, published: Path, tmp_path: Path) -> None:
        first = load(published, remote=server.url, cache=tmp_path / "kept.db")
        said = first.rating_model.rate(*self.PAIRS)
        again = load(published, replay=tmp_path / "kept.db")
        np.testing.assert_array_equal(again.rating_model.rate(*self.PAIRS).p, said.p)
        assert again.fingerprint == first.fingerprint

    def test_answers_of_a_server_and_of_this_process_do_not_mix(
        self, server: Served, tiny_folder: Path, tmp_path: Path
    ) -> None:
        load(tiny_folder, remote=server.url, cache=tmp_path / "kept.db")
        with pytest.raises(StoreError, match="other weights than those at hand"):
            load(tiny_folder, cache=tmp_path / "kept.db")
        with pytest.raises(ConfigError, match="a replay asks no server"):
            load(tiny_folder, remote=server.url, replay=tmp_path / "kept.db")

    def test_a_benchmark_and_its_replay(
        self, server: Served, published: Path, tiny_split: Split, tmp_path: Path
    ) -> None:
        member, past = np.arange(12), tiny_split.past
        make = asdict(Make(size="small", steps=2, lora_steps=3, personas="2"))
        trial = Trial(past, past, tiny_split.future.of_users(member), member, tiny_split.cut, True, "tiny")
        trial.save(published / "trial", {"data": "tiny", "make": make, "synthetic": None})
        words = ["benchmark", published, "--recommenders", "random", "--pages", 1, "--slate", 2, "--no-shared"]
        words += ["--users", 3]
        kept = tmp_path / "kept.db"
        done = CliRunner().invoke(app, [str(w) for w in (*words, "--remote", server.url, "--cache", kept)])
        assert done.exit_code == 0, done.output
        assert "The server answered " in done.stderr
        result = json.loads((published / "benchmark" / "result.json").read_text())
        assert result["provenance"]["answers"] == "served (token ids, exact)"
        done = CliRunner().invoke(app, [str(w) for w in (*words, "--replay", kept)])
        assert "is, byte for byte, that in" in " ".join(done.stderr.split())
        refits = [*words, "--remote", server.url, "--refits", 2]
        assert "leave out --refits" in CliRunner().invoke(app, [str(w) for w in refits]).stderr

    def test_inspect(self, server: Served, published: Path, tiny_population: Any, tmp_path: Path) -> None:
        words = ["inspect", published, tiny_population.users.ids[3], "--remote", server.url]
        done = CliRunner().invoke(app, [str(w) for w in (*words, "--json", tmp_path / "seen.json")])
        assert done.exit_code == 0, done.output
        seen = json.loads((tmp_path / "seen.json").read_text())
        item = tiny_population.items.encode([seen["item"]])
        here = tiny_population.rating_model.inner.rate(np.array([3]), item).p[0]
        np.testing.assert_allclose(seen["answer"]["answer"], here, atol=LEEWAY)

    def test_a_server_that_is_away_is_one_sentence(self, published: Path, tiny_population: Any) -> None:
        words = ["inspect", published, tiny_population.users.ids[3], "--remote", "nowhere"]
        done = CliRunner().invoke(app, [str(w) for w in words])
        assert done.exit_code == 2
        assert "simenv: a server's address is like http://localhost:8000/v1; got 'nowhere'" in done.stderr


@pytest.mark.data
def test_a_tokenizer_with_pieces(server: Served, stories: Path) -> None:
    """SentencePiece opens segments with a blank: by token ids nothing is lost, as text the difference is counted."""
    here, server.model = server.model, LocalModel.load(stories)
    prompts = [Prompt(("Once upon a time",), (f" there was a {w}.", " Rating:")) for w in ("cat", "dog")]
    try:
        local = server.model.score(prompts, DIGITS, adapters=[None, None])
        for dialect in (Dialect(), Dialect(exact=False, top=512), Dialect(False, False, True, 512, "<s>")):
            server.exact, server.most = dialect.exact, 512
            model = RemoteModel.connect(RemoteSettings(server.url, dialect=dialect), server.model.tokenizer)
            said = model.score(prompts, DIGITS, adapters=[None, None])
            assert model.tally.options == 0
            assert model.tally.other_tokens == (0 if dialect.ids else 2)
            if dialect.ids:
                np.testing.assert_allclose(said, local, atol=LEEWAY)
    finally:
        server.model = here
