"""A population's folder: it comes back whole, or is refused with words that say why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simenv.agents import manifest
from simenv.agents.store import MANIFEST, check, load
from simenv.errors import StoreError
from simenv.log import Split
from simenv.session import Slate

PAIRS = np.arange(12).repeat(5), np.tile(np.arange(0, 60, 13), 12)


@pytest.fixture
def copied(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "moved"))


def test_a_moved_folder_gives_identical_answers(tiny_population: Any, copied: Path) -> None:
    back = load(copied)
    tiny_population.forget()  # prefixes that were computed in other company differ in their last bits
    said, again = (p.rating_model.rate(*PAIRS) for p in (tiny_population, back))
    for name in ("p", "off_scale", "support"):
        np.testing.assert_array_equal(getattr(said, name), getattr(again, name))
    for name in ("member", "user_mean", "activity", "cut"):
        np.testing.assert_array_equal(getattr(tiny_population, name), getattr(back, name))
    for name in ("choice", "exit", "rho", "provenance", "assumption", "users", "items", "scale"):
        assert getattr(tiny_population, name) == getattr(back, name), name
    key = np.array([1, 2, 3], np.uint64)
    slate = Slate.certain(np.array([[0, 5, 9], [1, 2, 3], [7, 8, -1]]))
    one, _ = tiny_population.respond(tiny_population.begin(np.array([0, 4, 7]), key), slate)
    two, _ = back.respond(back.begin(np.array([0, 4, 7]), key), slate)
    np.testing.assert_array_equal(one.rating, two.rating)
    np.testing.assert_array_equal(one.p_exit, two.p_exit)


def test_what_is_kept_beside(tiny_population: Any, tiny_split: Split, tiny_world: Any) -> None:
    kept = tiny_population.training_log
    assert kept.fingerprint == tiny_split.past.fingerprint
    assert tiny_population.provenance["log"] == tiny_split.past.fingerprint
    assert tiny_population.catalogue.to_frame().equals(tiny_world.catalogue.to_frame())
    assert tiny_population.catalogue.noun == tiny_world.catalogue.noun
    np.testing.assert_array_equal(tiny_population.cut, tiny_split.cut)


def test_every_file_is_named_and_none_is_a_pickle(tiny_folder: Path) -> None:
    named = set(check(tiny_folder)["file"])
    found = {str(f.relative_to(tiny_folder)) for f in tiny_folder.rglob("*") if f.is_file()}
    assert found - named == {MANIFEST, "stage/request.json"}
    assert {Path(n).suffix for n in named} <= {".npy", ".npz", ".json", ".parquet", ".safetensors", ".jinja"}
    for file in tiny_folder.rglob("*.npy"):
        assert np.load(file, allow_pickle=False).dtype != object
    for file in tiny_folder.rglob("*.npz"):
        with np.load(file, allow_pickle=False) as data:
            assert all(data[n].dtype != object for n in data.files)


def test_no_file_names_this_machine(tiny_folder: Path) -> None:
    for file in (f for f in tiny_folder.rglob("*") if f.is_file()):
        assert str(tiny_folder.parent).encode() not in file.read_bytes(), file.name


FILES = ["member.npz", "behaviour.json", "model/model.safetensors", "adapters/persona-1/adapter_model.safetensors"]


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file(copied: Path, name: str) -> None:
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(bytes(data))
    with pytest.raises(StoreError, match=rf"{Path(name).name} is damaged: its hash differs"):
        load(copied)


MAPPED = ["crowd/similarity.npy", "memory/rating.npy", "profiles/mean.npy"]


@pytest.mark.parametrize("name", MAPPED)
def test_a_damaged_file_that_is_mapped_is_found_before_the_first_answer(copied: Path, name: str) -> None:
    data = bytearray((copied / name).read_bytes())
    data[-3] ^= 1
    (copied / name).write_bytes(bytes(data))
    population = load(copied)
    with pytest.raises(StoreError, match=rf"{Path(name).name} is damaged: its hash differs"):
        population.rating_model.rate(*PAIRS)
    with pytest.raises(StoreError, match=f"{Path(name).name} is damaged"):
        check(copied)


@pytest.mark.parametrize("name", MAPPED)
def test_a_mapped_file_that_is_cut_short(copied: Path, name: str) -> None:
    (copied / name).write_bytes((copied / name).read_bytes()[:-8])
    with pytest.raises(StoreError, match=f"{Path(name).name} is damaged or missing"):
        load(copied)


def test_nothing_is_read_of_the_stores_before_somebody_is_asked(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    whole = manifest.digest

    def digest(file: Path) -> str:
        hashed.append(file.parent.name)
        return whole(file)

    monkeypatch.setattr(manifest, "digest", digest)
    population = load(copied)
    asked: Any = population.rating_model
    memory, profiles = asked.inner.mind.memory, asked.inner.mind.profiles
    for array in (memory.item, memory.rating, memory.start, profiles.share, asked.inner.mind.crowd.similarity):
        assert isinstance(array.base, np.memmap)
    assert not asked.inner.mind.taste._block
    assert not {"crowd", "memory", "profiles"} & set(hashed)
    asked.rate(*PAIRS)
    assert {"crowd", "memory", "profiles"} <= set(hashed)
    count = len(hashed)
    asked.inner.rate(*PAIRS)
    assert len(hashed) == count, "checked once"


@pytest.mark.parametrize("name", [*FILES, *MAPPED])
def test_a_missing_file(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(StoreError, match=f"is incomplete: {name} is missing"):
        load(copied)


def edited(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / MANIFEST).read_text()) | changes
        (folder / MANIFEST).write_text(json.dumps(content))

    return edit


def written(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / MANIFEST).write_bytes(content)

    return write


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda folder: (folder / MANIFEST).unlink(),
            "is no saved population: it has no population.json. Make one with",
        ),
        (lambda folder: shutil.rmtree(folder), "is no saved population"),
        (edited(format="else"), "was not written by simenv"),
        (edited(version=99), "has format version 99; this simenv reads 3"),
        (edited(version=None), "has format version None"),
        (written(b"[1, 2]"), "was not written by simenv"),
        (written(b'{"format": "simenv-pop'), "is damaged"),
        (written(b"\xff\xfe\x00"), "is damaged"),
    ],
)
def test_a_folder_that_is_none(copied: Path, spoil: Callable[[Path], None], words: str) -> None:
    spoil(copied)
    with pytest.raises(StoreError, match=words):
        load(copied)
