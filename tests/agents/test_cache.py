"""CachedModel: the same bits whether asked or found, every segment counts, safe between processes, loud in replay."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.agents import answer_file
from simenv.agents.answer_file import AnswerFile
from simenv.agents.cache import CachedModel, _framed
from simenv.agents.language_model import Prompt
from simenv.agents.manifest import MANIFEST, digest
from simenv.agents.speaker import identities, speaker, weights_elsewhere
from simenv.agents.store import load
from simenv.errors import CacheMissError, ConfigError, SimenvError, StoreError
from simenv.play import episode_key
from simenv.session import Slate

OPTIONS = ("1", "2", "3")
WHO: dict[str | None, str] = {None: "base", "a": "first", "b": "second"}


@dataclass
class Noisy:
    """Answers by everything asked, and, as batches do, a little otherwise each time."""

    noise: float = 1e-6
    asked: list[Prompt] = field(default_factory=list)
    calls: int = 0

    def score(
        self, prompts: Sequence[Prompt], options: Sequence[str], *, adapters: Sequence[str | None]
    ) -> NDArray[np.float32]:
        self.calls += 1
        self.asked += prompts
        what = [repr((q.prefix, q.suffix, a)) for q, a in zip(prompts, adapters, strict=True)]
        said = [[-1 - blake2b((w + o).encode()).digest()[0] / 300 for o in options] for w in what]
        return np.array(said, np.float32).reshape(len(prompts), len(options)) - np.float32(self.noise * self.calls)

    def write(
        self, prompts: Sequence[Prompt], *, adapters: Sequence[str | None], max_tokens: int, seed: int
    ) -> list[str]:
        return [f"{seed}{q.suffix[-1]}" for q in prompts]


def opened(path: Path, inner: Noisy | None, name: str = "ours") -> CachedModel:
    return CachedModel(inner, AnswerFile(path, writable=inner is not None), WHO, name)


def prompt(*suffix: str, prefix: tuple[str, ...] = ("You rate films.\n",)) -> Prompt:
    return Prompt(prefix, suffix or ("Film.", " Rating:"))


def ask(model: CachedModel, prompts: Sequence[Prompt], adapter: str | None = None) -> NDArray[np.float32]:
    return model.score(prompts, OPTIONS, adapters=[adapter] * len(prompts))


MANY = [prompt(f"Film {n}.", " Rating:") for n in range(1200)]


class TestAnswers:
    def test_found_and_asked_are_the_same_bits_in_any_batch(self, tmp_path: Path) -> None:
        inner = Noisy()
        model = opened(tmp_path / "c", inner)
        first = ask(model, MANY)
        order = np.random.default_rng(0).permutation(len(MANY))
        again = np.concatenate([ask(model, [MANY[n] for n in part]) for part in np.array_split(order, 7)])
        np.testing.assert_array_equal(again, first[order])
        assert (inner.calls, len(inner.asked)) == (1, 1200)
        assert (model.hits, model.misses) == (1200, 1200)
        assert first.dtype == np.float32
        assert first.flags.writeable
        np.testing.assert_array_equal(first, Noisy().score(MANY, OPTIONS, adapters=[None] * 1200))

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=5))
    def test_each_prompt_is_asked_once_in_one_call_a_step(self, steps: list[list[int]]) -> None:
        inner = Noisy(noise=0)
        with TemporaryDirectory() as folder:
            model = opened(Path(folder) / "c", inner)
            for step in steps:
                before, wanted = inner.calls, [MANY[n] for n in step]
                said = ask(model, wanted)
                assert inner.calls - before <= 1
                np.testing.assert_array_equal(said, Noisy(0).score(wanted, OPTIONS, adapters=[None] * len(step)))
            model.file.close()
        assert len(inner.asked) == len({n for step in steps for n in step}) == model.misses
        assert model.hits + model.misses == sum(map(len, steps))

    def test_another_run_finds_the_same_bits(self, tmp_path: Path) -> None:
        first = ask(opened(tmp_path / "c", Noisy()), MANY)
        later = Noisy(noise=0.5)
        np.testing.assert_array_equal(ask(opened(tmp_path / "c", later), MANY), first)
        np.testing.assert_array_equal(ask(opened(tmp_path / "c", None), MANY), first)
        assert later.calls == 0

    def test_who_was_first_is_right_for_all(self, tmp_path: Path) -> None:
        """Two processes miss the same prompt at once: both go on with what stands in the file."""
        quick = opened(tmp_path / "c", Noisy(noise=0.25))

        class Slow(Noisy):
            def score(self, *asked: Any, **adapters: Any) -> NDArray[np.float32]:
                ask(quick, MANY[:5])
                return super().score(*asked, **adapters)

        said = ask(opened(tmp_path / "c", Slow(noise=0.5)), MANY[:9])
        np.testing.assert_array_equal(said[:5], Noisy(0.25).score(MANY[:5], OPTIONS, adapters=[None] * 5))
        np.testing.assert_array_equal(said[5:], Noisy(0.5).score(MANY[5:9], OPTIONS, adapters=[None] * 4))
        np.testing.assert_array_equal(ask(quick, MANY[:9]), said)

    def test_text_is_written_anew(self, tmp_path: Path) -> None:
        model = opened(tmp_path / "c", Noisy())
        assert model.write([prompt()], adapters=[None], max_tokens=3, seed=4) == ["4 Rating:"]
        assert len(model.file) == 0

    def test_lengths_and_adapters_are_checked(self, tmp_path: Path) -> None:
        model = opened(tmp_path / "c", Noisy())
        with pytest.raises(ConfigError, match="2 prompts need as many adapters; got 1"):
            model.score(MANY[:2], OPTIONS, adapters=[None])
        with pytest.raises(ConfigError, match=r"unknown adapter 'z'; known are \['a', 'b'\]"):
            ask(model, MANY[:1], "z")


class TestKeys:
    BASE = prompt("ab", "c", prefix=("x", "y"))

    @pytest.mark.parametrize(
        ("other", "options", "adapter"),
        [
            (prompt("a", "bc", prefix=("x", "y")), OPTIONS, "a"),
            (prompt("abc", prefix=("x", "y")), OPTIONS, "a"),
            (prompt("ab", "c", prefix=("xy",)), OPTIONS, "a"),
            (prompt("y", "ab", "c", prefix=("x",)), OPTIONS, "a"),
            (prompt("ab", "c", "", prefix=("x", "y")), OPTIONS, "a"),
            (BASE, ("2", "1", "3"), "a"),
            (BASE, ("1", "2"), "a"),
            (BASE, OPTIONS, "b"),
            (BASE, OPTIONS, None),
        ],
    )
    def test_each_part_counts(
        self, tmp_path: Path, other: Prompt, options: tuple[str, ...], adapter: str | None
    ) -> None:
        inner = Noisy()
        model = opened(tmp_path / "c", inner)
        ask(model, [self.BASE], "a")
        model.score([other], options, adapters=[adapter])
        assert inner.calls == 2
        ask(model, [Prompt(("x", "y"), ("ab", "c"))], "a")
        assert inner.calls == 2

    def test_other_weights_find_nothing_and_equal_ones_everything(self, tmp_path: Path) -> None:
        ask(opened(tmp_path / "c", Noisy()), MANY[:3], "a")
        file, inner = AnswerFile(tmp_path / "c", writable=True), Noisy()
        ask(CachedModel(inner, file, {"renamed": WHO["a"]}), MANY[:3], "renamed")
        assert inner.calls == 0
        ask(CachedModel(inner, file, {"a": "trained again"}), MANY[:3], "a")
        assert len(inner.asked) == 3

    @given(st.lists(st.text("1:;ab\ud800é", max_size=4), max_size=4), st.lists(st.text("1:;ab\ud800é", max_size=4)))
    def test_framing_is_one_to_one(self, one: list[str], other: list[str]) -> None:
        assert (_framed(one) == _framed(other)) == (one == other)


class TestReplay:
    def test_a_miss_says_how_many_of_whom_and_what_to_do(self, tmp_path: Path) -> None:
        ask(opened(tmp_path / "c", Noisy()), MANY[:10])
        model = opened(tmp_path / "c", None, "my-users")
        words = (
            r"replay of my-users: 5 of the 12 prompts of this step are not among the 10 answers in .*c\. Repeat exactly"
        )
        with pytest.raises(CacheMissError, match=words):
            ask(model, [*MANY[3:15], MANY[14]])
        assert issubclass(CacheMissError, SimenvError)
        with pytest.raises(CacheMissError, match="texts are not recorded"):
            model.write([prompt()], adapters=[None], max_tokens=3, seed=4)

    def test_it_changes_nothing_and_leaves_nothing_beside(self, tmp_path: Path) -> None:
        model = opened(tmp_path / "c", Noisy())
        ask(model, MANY)
        model.settle()
        before = (tmp_path / "c").read_bytes()
        replayed = opened(tmp_path / "c", None)
        ask(replayed, MANY)
        assert [f.name for f in tmp_path.iterdir()] == ["c"]
        assert (tmp_path / "c").read_bytes() == before
        with pytest.raises(StoreError, match="readonly"):
            replayed.file.put({b"k" * 16: b"v"})

    def test_what_a_killed_recording_left_is_found(self, tmp_path: Path) -> None:
        model = opened(tmp_path / "c", Noisy())
        said = ask(model, MANY)
        (tmp_path / "moved").mkdir()
        for file in tmp_path.glob("c*"):
            shutil.copy(file, tmp_path / "moved")
        assert (tmp_path / "moved" / "c-wal").stat().st_size > 0
        np.testing.assert_array_equal(ask(opened(tmp_path / "moved" / "c", None), MANY), said)


class TestFile:
    def test_settled_it_is_one_small_file_without_words(self, tmp_path: Path) -> None:
        model = opened(tmp_path / "c", Noisy())
        for start in range(0, 1200, 100):
            ask(model, MANY[start : start + 100])
        words = model.settle()
        assert words.startswith("0 answers found in ")
        assert words.endswith("1,200 computed and kept; it holds 1,200 in 0.06 MB.")
        assert [f.name for f in tmp_path.iterdir()] == ["c"]
        content = (tmp_path / "c").read_bytes()
        assert len(content) / 1200 < 55
        assert b"Film" not in content
        assert b"Rating" not in content
        assert opened(tmp_path / "c", None).settle() == f"0 answers found in {tmp_path / 'c'}."

    def test_an_empty_file_is_begun(self, tmp_path: Path) -> None:
        (tmp_path / "c").touch()
        assert ask(opened(tmp_path / "c", Noisy()), MANY[:2]).shape == (2, 3)

    @pytest.mark.parametrize("writable", [True, False])
    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda p: p.write_text("no database, but long enough to be taken for one" * 99), "it is no SQLite file"),
            (lambda p: _sql(p, "CREATE TABLE shop (id)"), "is no answer cache of simenv"),
            (lambda p: _sql(p, "PRAGMA application_id=7"), "is no answer cache of simenv"),
            (lambda p: _sql(_recorded(p), "PRAGMA user_version=9"), "has version 9; this simenv reads 1"),
            (lambda p: p.mkdir(), "is no file; give|unable to open"),
        ],
    )
    def test_foreign_files_are_refused_and_left_alone(
        self, tmp_path: Path, make: Callable[[Path], Any], words: str, writable: bool
    ) -> None:
        make(tmp_path / "c")
        before = (tmp_path / "c").read_bytes() if (tmp_path / "c").is_file() else b""
        with pytest.raises(StoreError, match=words):
            AnswerFile(tmp_path / "c", writable=writable)
        assert before == ((tmp_path / "c").read_bytes() if (tmp_path / "c").is_file() else b"")

    def test_an_empty_or_missing_file_cannot_be_replayed(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="is no file; give the file that `simenv benchmark --cache` left"):
            AnswerFile(tmp_path / "c", writable=False)
        (tmp_path / "c").touch()
        with pytest.raises(StoreError, match="is no answer cache"):
            AnswerFile(tmp_path / "c", writable=False)
        with pytest.raises(StoreError, match=r"cannot be used \(unable to open"):
            AnswerFile(tmp_path / "nowhere" / "c", writable=True)

    def test_a_changed_bit_is_seen(self, tmp_path: Path) -> None:
        path = _recorded(tmp_path / "c")
        with sqlite3.connect(path) as connection:
            key, value = connection.execute("SELECT key, value FROM answer LIMIT 1").fetchone()
        content, place = bytearray(path.read_bytes()), path.read_bytes().index(value)
        content[place + 2] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(StoreError, match="an answer differs from its checksum"):
            AnswerFile(path, writable=False).get([key])

    def test_a_cut_file_is_damaged(self, tmp_path: Path) -> None:
        path = _recorded(tmp_path / "c")
        path.write_bytes(path.read_bytes()[:-9000])
        with pytest.raises(StoreError, match=r"cannot be used .* copy it again or record it anew"):
            ask(opened(path, None), MANY)

    def test_a_file_held_by_another(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(answer_file, "_WAIT", 0.05)
        path = _recorded(tmp_path / "c")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"has been held by another process for 0\.05 seconds"):
            ask(opened(path, Noisy()), [prompt("new")])
        other.close()


class TestTogether:
    def test_processes_forks_and_all_write_at_once_and_agree(self, tmp_path: Path) -> None:
        """Three forks of a process that had the file open, a fresh one; everybody asks the same in another order."""
        done = subprocess.run([sys.executable, "-c", _CROWD, str(tmp_path / "c")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said = done.stdout.split()
        assert len(said) == 4
        assert len(set(said)) == 1
        file = AnswerFile(tmp_path / "c", writable=False)
        assert len(file) == 501

    def test_nothing_is_open_while_a_process_forks(self, tmp_path: Path) -> None:
        model = opened(tmp_path / "c", Noisy())
        ask(model, MANY[:2])
        assert model.file._connection is not None
        child = os.fork()
        if child == 0:
            os._exit(0 if model.file._connection is None and ask(model, MANY[:3]).shape == (3, 3) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert model.file._connection is None
        ask(model, MANY[:3])
        assert (model.hits, model.misses) == (3, 2)  # the third prompt was the child's miss

    def test_threads_take_turns(self, tmp_path: Path) -> None:
        model, said = opened(tmp_path / "c", Noisy(0)), {}

        def work(n: int) -> None:
            said[n] = ask(model, MANY[n::4] + MANY[:50])

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for n in range(4):
            asked = MANY[n::4] + MANY[:50]
            np.testing.assert_array_equal(said[n], Noisy(0).score(asked, OPTIONS, adapters=[None] * len(asked)))


class TestSpeaker:
    FILES: ClassVar = {"model/w": "1", "model/t": "2", "adapters/a/w": "3", "adapters/ab/w": "4", "crowd.npz": "5"}

    def test_identity_follows_weights_tokenizer_and_adapter_alone(self) -> None:
        base = identities(self.FILES, None, ["a", "ab"])
        assert len(set(base.values())) == 3
        changed: dict[str, set[str | None]] = {"model/w": {None, "a", "ab"}, "model/t": {None, "a", "ab"}}
        changed |= {"adapters/a/w": {"a"}, "adapters/ab/w": {"ab"}, "crowd.npz": set()}
        for name, touched in changed.items():
            other = identities(self.FILES | {name: "9"}, None, ["a", "ab"])
            assert {k for k in base if base[k] != other[k]} == touched, name
        assert identities(self.FILES, "elsewhere", ["a"])["a"] != base["a"]

    def test_weights_that_lie_elsewhere(self, tmp_path: Path) -> None:
        assert weights_elsewhere(None) == ""
        (tmp_path / "w").write_text("one")
        one = weights_elsewhere(str(tmp_path))
        (tmp_path / "w").write_text("two")
        assert weights_elsewhere(str(tmp_path)) not in (one, "")
        file = AnswerFile(tmp_path / "c", writable=True)
        file.sign("id", "ours", one)
        file.sign("id", "ours", one)
        assert file.sources == {"id": ("ours", one)}
        with pytest.raises(StoreError, match="the same name with other weights"):
            file.sign("id", "ours", weights_elsewhere(str(tmp_path)))

    def test_a_replay_of_other_weights_is_refused_at_once(self, tmp_path: Path) -> None:
        AnswerFile(tmp_path / "c", writable=True).sign("else", "their-users", "")
        with pytest.raises(
            StoreError, match=r"was not recorded from the weights of my-users: .* of their-users\. Give"
        ):
            speaker(tmp_path / "my-users", self.FILES, None, ["a"], replay=tmp_path / "c")


SLATES = np.array([[0, 5, 9, -1], [1, 2, 3, 4], [7, 8, 30, 31]])


def played(population: Any) -> list[Any]:
    """Return every field of two pages."""
    user = np.array([0, 4, 7])
    state, out = population.begin(user, episode_key(3, user)), []
    for slate in (SLATES, SLATES[::-1]):
        answer, state = population.respond(state, Slate.certain(slate))
        out += [answer.p_rating, answer.rating, answer.consumed, answer.exit, answer.p_exit, answer.off_scale]
    return out


@pytest.fixture
def bare(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny population without its weights."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "bare"))
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "adapters")
    return folder


class TestPopulation:
    def test_draws_do_not_depend_on_hits(self, tiny_folder: Path, bare: Path, tmp_path: Path) -> None:
        file = tmp_path / "c"
        cold = load(tiny_folder, cache=file)
        runs = [played(cold), played(load(tiny_folder, cache=file)), played(load(bare, replay=file))]
        for run in runs[1:]:
            for one, other in zip(runs[0], run, strict=True):
                np.testing.assert_array_equal(one, other)
        plain = played(load(tiny_folder))
        for one, other in zip(runs[0], plain, strict=True):
            np.testing.assert_allclose(np.asarray(one, float), np.asarray(other, float), atol=1e-5)

    def test_the_fingerprint_is_that_of_the_population(self, tiny_folder: Path, bare: Path, tmp_path: Path) -> None:
        told = load(tiny_folder).fingerprint
        assert told
        assert load(tiny_folder, cache=tmp_path / "c").fingerprint == told
        assert load(bare, replay=tmp_path / "c").fingerprint == told

    def test_part_of_a_file_is_copied_without_weights(self, tiny_folder: Path, bare: Path, tmp_path: Path) -> None:
        big, small = tmp_path / "big", tmp_path / "small"
        whole = load(tiny_folder, cache=big)
        whole.rating_model.rate(np.repeat(whole.member, 60), np.tile(np.arange(60), 12))
        said = played(load(bare, replay=big, cache=small))
        counts = [len(AnswerFile(p, writable=False)) for p in (big, small)]
        assert counts[0] == 720 > counts[1] > 0
        for one, other in zip(said, played(load(bare, replay=small)), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_without_a_replay_weights_are_wanted_and_all_else_with_one(
        self, tiny_folder: Path, bare: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(StoreError, match=r"is incomplete: (model|adapters)"):
            load(bare)
        with pytest.raises(StoreError, match=r"is incomplete: (model|adapters)"):
            load(bare, cache=tmp_path / "c")
        load(tiny_folder, cache=tmp_path / "c")
        (bare / "member.npz").write_bytes(b"else")
        with pytest.raises(StoreError, match=r"member\.npz is damaged"):
            load(bare, replay=tmp_path / "c")

    def test_a_replay_loads_no_library_of_weights(self, tiny_folder: Path, bare: Path, tmp_path: Path) -> None:
        population = load(tiny_folder, cache=tmp_path / "c")
        said = population.rating_model.rate(np.array([0, 1]), np.array([5, 5])).p
        code = f"""import sys, json, numpy as np
from pathlib import Path
from simenv.agents.store import load
p = load({str(bare)!r}, replay=Path({str(tmp_path / "c")!r}))
said = p.rating_model.rate(np.array([0, 1]), np.array([5, 5])).p
print(json.dumps([said.tolist(), [m for m in ("torch", "transformers", "peft", "tokenizers") if m in sys.modules]]))"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == [said.tolist(), []]

    def test_leaving_by_own_answer_is_recorded_too(self, tiny_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(tiny_folder, tmp_path / "own"))
        behaviour = json.loads((folder / "behaviour.json").read_text()) | {"exit": "answer"}
        (folder / "behaviour.json").write_text(json.dumps(behaviour))
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["file"]["behaviour.json"] = digest(folder / "behaviour.json")
        (folder / MANIFEST).write_text(json.dumps(manifest))
        said = played(load(folder, cache=tmp_path / "c"))
        shutil.rmtree(folder / "model")
        for one, other in zip(said, played(load(folder, replay=tmp_path / "c")), strict=True):
            np.testing.assert_array_equal(one, other)
        with pytest.raises(CacheMissError, match=r"replay of own: 1 of the 1 prompts"):
            load(folder, replay=tmp_path / "c").rating_model.rate(np.array([1]), np.array([50]))


def _sql(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def _recorded(path: Path) -> Path:
    model = opened(path, Noisy())
    ask(model, MANY)
    model.settle()
    return path


_CROWD = '''
import hashlib, os, subprocess, sys
from simenv.agents.answer_file import AnswerFile

CHILD = """
import hashlib, os, random, sys
from simenv.agents.answer_file import AnswerFile

def work(path, file=None):
    file = file or AnswerFile(path, writable=True)
    keys = [n.to_bytes(16, "big") for n in range(500)]
    random.Random(os.getpid()).shuffle(keys)
    said = {}
    for start in range(0, 500, 25):
        part = keys[start : start + 50]
        found = file.get(part)
        said |= found | file.put({k: os.urandom(12) for k in part if k not in found})
    text = b"".join(said[k] for k in sorted(said))
    os.write(1, (hashlib.sha256(text).hexdigest() + chr(10)).encode())
"""
exec(CHILD)
path = sys.argv[1]
file = AnswerFile(path, writable=True)
file.put({b"f" * 16: b"first"})
fresh = [subprocess.Popen([sys.executable, "-c", CHILD + "work(sys.argv[1])", path])]
forks = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        work(path, file)
        os._exit(0)
    forks.append(child)
bad = sum(os.waitpid(child, 0)[1] != 0 for child in forks) + sum(p.wait() != 0 for p in fresh)
sys.exit(bad)
'''
