"""The remote door against a real server: do served users answer as users in this process do, and how fast.

`python benchmarks/remote.py PYTHON`: PYTHON is the interpreter of an environment that has vLLM. Users are trained on an
invented world and served with one LoRA per persona; a tiny random Phi-3 with two adapters stands for the fused layers
of Phi-3-Mini. Everything is float32, so that differences are rounding alone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recording import plain, record

from simenv.agents.language_model import Prompt
from simenv.agents.local_model import LocalModel
from simenv.agents.population import SimulatedPopulation
from simenv.agents.remote_client import RemoteSettings
from simenv.agents.remote_dialect import Dialect
from simenv.agents.remote_model import RemoteModel
from simenv.agents.store import load
from simenv.datasets.synthetic import World, generate
from simenv.session import Slate
from simenv.training.cluster import ClusterSettings
from simenv.training.finetune import LoraSettings, attach
from simenv.training.learn import LearnSettings
from simenv.training.pipeline import TrainSettings, train
from simenv.training.world_model import SMALL

RUNS = Path("runs/remote")
SEED = 0
TOLERANCE = 1e-4
"""Largest difference of a log-probability that counts as the same, fixed beforehand: float32 in another order."""
DIGITS = ("1", "2", "3", "4", "5")
DIALECTS = {
    "token ids, exact": Dialect(),
    "token ids, the 20 most likely": Dialect(exact=False),
    "token ids, the 5 most likely": Dialect(exact=False, top=5),
    "text, the 20 most likely": Dialect(False, False, True, 20, "<s>"),
}
Asked = tuple[list[Prompt], list[str | None]]


@dataclass(frozen=True)
class Family:
    """A base and adapters on disk."""

    base: Path
    adapters: Mapping[str, Path]


def world_of() -> World:
    return generate(SEED, n_users=300, n_items=150, median_history=40)


def users(folder: Path) -> SimulatedPopulation:
    """Return the trained users, made if they are not there."""
    world = world_of()
    split = world.log.split("user_time", 0.7)
    short = LearnSettings(steps=40, rate=5e-4, prefixes=4, warmup=5)
    settings = TrainSettings(
        size=SMALL,
        world=LearnSettings(steps=200, prefixes=8, warmup=20),
        lora=LoraSettings(single=short, persona=short),
        cluster=ClusterSettings(k=4, min_users=5),
    )
    member = np.arange(60)
    return train(split.past, world.catalogue, member, folder, settings, cut=split.cut, training_log=split.past)


def phi(folder: Path, tokenizer: Any) -> Family:
    """Make a random Phi-3 of two blocks with two random adapters."""
    from transformers import Phi3Config, Phi3ForCausalLM

    shutil.rmtree(folder, ignore_errors=True)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(SEED)
    config = Phi3Config(vocab_size=len(tokenizer), pad_token_id=0, max_position_embeddings=2048, **shape)
    base = Phi3ForCausalLM(config)
    base.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    for number in (1, 2):
        model = attach(base, LoraSettings(rank=8, alpha=16))
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.data.normal_(0, 0.1)
        model.save_pretrained(str(folder / f"persona-{number}"), save_embedding_layers=False)
        base = model.unload()
    return Family(folder / "model", {f"persona-{n}": folder / f"persona-{n}" for n in (1, 2)})


@contextmanager
def serving(python: str, family: Family, log: Path) -> Iterator[tuple[str, int]]:
    """Serve a family with vLLM while inside; gives the address and the session of its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--host 127.0.0.1 --port {port} --model {family.base} --served-model-name base --dtype float32"
    flags += " --enforce-eager --max-model-len 2048 --enable-prompt-tokens-details --enable-lora --max-loras 4"
    flags += " --max-cpu-loras 64 --max-lora-rank 8 --block-size 32 --lora-modules"
    modules = [f"{name}={path}" for name, path in family.adapters.items()]
    command = [python, "-m", "vllm.entrypoints.openai.api_server", *flags.split(), *modules]
    own = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as said:
        server = subprocess.Popen(command, stdout=said, stderr=said, env=os.environ | own, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, server, log)
            yield url, server.pid
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(60)


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if server.poll() is not None:
            sys.exit(f"the server ended with {server.returncode}; see {log}")
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2)
            return
        except OSError:
            time.sleep(1)
    sys.exit("the server did not come up in five minutes")


def asked(population: Any, n_users: int, n_items: int) -> Asked:
    """Return the population's own prompts for so many users and items."""
    rating = population.rating_model.inner
    user = np.repeat(population.member[:n_users], n_items)
    item = np.tile(np.linspace(0, len(population.items) - 1, n_items).astype(np.int64), n_users)
    return rating.prompts(user, item), [rating.mind.adapter[r] for r in rating.mind.rows(user)]


def agreement(url: str, local: LocalModel, what: Asked) -> dict[str, object]:
    """Return, for each way to ask, how far served log-probabilities are from those computed here, one by one."""
    plain = local.score_plainly(what[0], DIGITS, adapters=what[1])
    other = local.score_plainly(what[0], DIGITS, adapters=[None] * len(what[0]))
    fast = local.score(what[0], DIGITS, adapters=what[1])
    out: dict[str, object] = {
        "prompts": len(what[0]),
        "adapters": sorted({a or "base" for a in what[1]}),
        "tolerance": TOLERANCE,
        "in this process, fast against plain": float(np.abs(fast - plain).max()),
        "what an adapter changes, at most": float(np.abs(other - plain).max()),
    }
    for name, dialect in DIALECTS.items():
        model = _connect(url, local, dialect=dialect)
        said = model.score(what[0], DIGITS, adapters=what[1])
        off = np.abs(_off(said) - _off(plain)).max()
        listed = said[np.abs(said - plain) <= TOLERANCE].size
        out[name] = {
            "largest difference of a log-probability": float(np.abs(said - plain).max()),
            "options that agree": listed / said.size,
            "options not listed": model.tally.options,
            "largest difference of the off-scale mass": float(off),
            "bound of that, as reported": model.tally.largest,
            "prompts cut into other tokens": model.tally.other_tokens,
        }
    return out


def _off(logp: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(1 - np.exp(logp.astype(np.float64)).sum(axis=1))


def _connect(url: str, local: LocalModel, **how: Any) -> RemoteModel:
    return RemoteModel.connect(RemoteSettings(url, **how), local.tokenizer, local.names)


def visits(here: SimulatedPopulation, there: SimulatedPopulation, pages: int = 5) -> dict[str, object]:
    """Return how alike the same visits of all members are, here and served: the same pages, the same luck."""
    key = np.arange(len(here.member), dtype=np.uint64)
    states = [p.begin(p.member, key) for p in (here, there)]
    same: dict[str, list[NDArray[np.bool_]]] = {"consumed": [], "rating": [], "exit": []}
    gap = 0.0
    for page in range(pages):
        item = (np.arange(10)[None, :] * 7 + np.arange(len(key))[:, None] * 3 + page * 11) % len(here.items)
        (one, states[0]), (two, states[1]) = (
            p.respond(s, Slate.certain(item)) for p, s in zip((here, there), states, strict=True)
        )
        gap = max(gap, float(np.abs(one.p_rating - two.p_rating).max()))
        for name, found in same.items():
            found.append(np.equal(np.nan_to_num(getattr(one, name)), np.nan_to_num(getattr(two, name))))
    answers = {f"same {name}": float(np.concatenate([f.ravel() for f in v]).mean()) for name, v in same.items()}
    return {"users": len(key), "pages": pages, "places": 10, **answers, "largest difference of a probability": gap}


def throughput(url: str, session: int, local: LocalModel, what: Asked) -> dict[str, object]:
    """Return what prompts cost: here, and served with so many requests under way and so many prompts in each.

    Prompts a second are of the better of two runs; CPU milliseconds a prompt of both, which other work on the machine
    changes less.
    """
    out: dict[str, object] = {
        "prompts": len(what[0]),
        "here, fast": _cost(local.score, what, session),
        "here, one by one": _cost(local.score_plainly, (what[0][:100], what[1][:100]), session),
    }
    for concurrency, batch in ((1, 1), (8, 1), (8, 16), (32, 16)):
        model = _connect(url, local, concurrency=concurrency, batch=batch)
        cost = _cost(model.score, what, session)
        cost["tokens from the prefix cache"] = model.tally.cached / model.tally.tokens
        out[f"served, {concurrency} requests of up to {batch}"] = cost
    return out


def _cost(score: Callable[..., Any], what: Asked, session: int) -> dict[str, float]:
    rate, here, there = 0.0, time.process_time(), _cpu_of(session)
    for _ in range(2):
        started = time.perf_counter()
        score(what[0], DIGITS, adapters=what[1])
        rate = max(rate, len(what[0]) / (time.perf_counter() - started))
    each = 1000 / (2 * len(what[0]))
    spent = {"this process": time.process_time() - here, "the server": _cpu_of(session) - there}
    return {"prompts a second": rate, **{f"CPU ms a prompt, {who}": each * seconds for who, seconds in spent.items()}}


def _cpu_of(session: int) -> float:
    """Return the CPU seconds spent so far by the living processes of a session."""
    spent = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            part = file.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        spent += int(part[11]) + int(part[12]) if int(part[3]) == session else 0
    return spent / os.sysconf("SC_CLK_TCK")


def versions_there(python: str) -> dict[str, str]:
    names = ("vllm", "vllm-cpu", "torch", "transformers")
    code = "import importlib.metadata as m, sys\nhave = {d.name.lower() for d in m.distributions()}\n"
    code += "print(*[f'{n}={m.version(n)}' for n in sys.argv[1:] if n in have])"
    said = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True).stdout
    return dict(pair.split("=", 1) for pair in said.split())


def part(name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a part of the result, computed once: a run that was killed goes on behind it."""
    file = RUNS / f"{name}.json"
    if not file.exists():
        file.write_text(json.dumps(plain(compute(), name)))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _trained(here: SimulatedPopulation) -> tuple[Path, dict[str, Path]]:
    rating: Any = here.rating_model
    names = sorted({a for a in rating.inner.mind.adapter if a})
    return RUNS / "users" / "model", {n: RUNS / "users" / "adapters" / n for n in names}


def _of_trained(python: str, here: SimulatedPopulation, local: LocalModel) -> dict[str, Any]:
    some = asked(here, 10, 20)
    some[1][::6] = [None] * len(some[1][::6])
    with serving(python, Family(*_trained(here)), RUNS / "server.log") as (url, session):
        return {
            "agreement, trained users": agreement(url, local, some),
            "visits": visits(here, load(RUNS / "users", remote=url)),
            "throughput": throughput(url, session, local, asked(here, 20, 20)),
            "load of the machine": os.getloadavg()[0],
        }


def _of_fused(python: str, here: SimulatedPopulation, tokenizer: Any) -> dict[str, Any]:
    fused = phi(RUNS / "phi", tokenizer)
    prompts, _ = asked(here, 10, 20)
    names = [(None, *fused.adapters)[n % 3] for n in range(len(prompts))]
    local = LocalModel.load(fused.base, fused.adapters)
    with serving(python, fused, RUNS / "server.log") as (url, _):
        return {"agreement, random Phi-3": agreement(url, local, (prompts, names))}


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 1:
        sys.exit(__doc__)
    started, (python,) = time.time(), arguments
    warnings.filterwarnings("ignore", message="the server lists only")
    RUNS.mkdir(parents=True, exist_ok=True)
    here = users(RUNS / "users")
    local = LocalModel.load(*_trained(here))
    values: dict[str, Any] = {"server": versions_there(python) | {"dtype": "float32", "device": "CPU"}}
    values |= part("trained", lambda: _of_trained(python, here, local))
    values |= part("fused", lambda: _of_fused(python, here, local.tokenizer))
    command, data = "python benchmarks/remote.py PYTHON", {world_of().name: world_of().log.fingerprint}
    print(record("remote", values, command=command, seed=SEED, data=data, started=started))


if __name__ == "__main__":
    main(sys.argv[1:])
