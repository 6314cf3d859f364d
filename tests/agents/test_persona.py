"""Personas: who belongs where, portraits with the right numbers, folders that come back whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simenv.agents.crowd import Crowd
from simenv.agents.persona import Persona, Personas, portrait
from simenv.agents.profile import Profiles
from simenv.errors import ConfigError, StoreError, UnknownIdError
from simenv.testing.logs import tiny_catalogue, tiny_log

USER = np.array([0, 2, 4, 6, 1, 3, 5, 7])
LABEL = np.array([0, 0, 0, 0, 1, 1, 1, 1])


@pytest.fixture(scope="module")
def profiles() -> Profiles:
    log = tiny_log()
    catalogue = tiny_catalogue(log.items)
    return Profiles.of_log(log, USER, Crowd.fit(log, catalogue), catalogue)


def test_members(profiles: Profiles) -> None:
    made = Personas.of(LABEL, USER, profiles, 12)
    assert len(made) == 2
    assert made[0].member.tolist() == [0, 2, 4, 6]
    assert made.of_user(np.array([7, 0, 0, 3])).tolist() == [1, 0, 0, 1]
    assert made.label.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, -1, -1, -1, -1]
    assert [p.name for p in made] == ["persona-1", "persona-2"]
    assert all(p.adapter is None for p in made)


@pytest.mark.parametrize("user", [8, 12, -1])
def test_a_stranger_has_no_persona(profiles: Profiles, user: int) -> None:
    with pytest.raises(UnknownIdError, match=f"user number {user} belongs to no persona"):
        Personas.of(LABEL, USER, profiles, 12).of_user(np.array([0, user]))


def test_portrait_says_what_is_different(profiles: Profiles) -> None:
    words = Personas.of(LABEL, USER, profiles, 12)[0].portrait  # users of even number like comedies
    assert words.startswith("4 users of 8 (50%).")
    better = words.split("They rate higher: ")[1].split(".  ")[0].split("They rate lower")[0]
    worse = words.split("They rate lower: ")[1].split("They choose")[0]
    assert "Comedy" in better
    assert "Romance" in better
    assert "Horror" not in better
    assert "Horror" in worse


def test_portrait_numbers_by_hand(profiles: Profiles) -> None:
    rows = LABEL == 0
    mean = np.where(rows, 4.5, 2.5).astype(np.float32)
    words = portrait(replace(profiles, mean=mean), rows)
    assert "give high ratings: 4.50 (3.50)" in words
    assert "give low ratings: 2.50 (3.50)" in portrait(replace(profiles, mean=mean), ~rows)


def test_portrait_of_everybody_and_of_the_unknown(profiles: Profiles) -> None:
    assert portrait(profiles, np.ones(8, bool)) == "8 users of 8 (100%). They rate as all users do."
    unknown = replace(profiles, spread=np.full(8, np.nan, np.float32))
    assert "nan" not in portrait(unknown, LABEL == 0)


def test_save_and_load(tmp_path: Path, profiles: Profiles) -> None:
    made = Personas.of(LABEL, USER, profiles, 12).with_adapters({"persona-2": "two"})
    made.save(tmp_path / "personas")
    again = Personas.load(tmp_path / "personas")
    assert [(p.name, p.portrait, p.adapter) for p in again] == [(p.name, p.portrait, p.adapter) for p in made]
    np.testing.assert_array_equal(again.label, made.label)
    assert [p.adapter for p in again] == [None, "two"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("personas.json", None, "personas.json is missing"),
        ("personas.npz", None, "personas.npz is missing"),
        ("personas.json", "{", "damaged"),
        ("personas.json", '{"personas": [{}]}', "damaged"),
        ("personas.json", '{"format": 99, "personas": []}', "format 99"),
        (
            "personas.json",
            '{"format": 1, "personas": [{"name": "a", "size": 1, "portrait": "", "adapter": null}]}',
            "different members",
        ),
    ],
)
def test_damaged_folders(tmp_path: Path, profiles: Profiles, name: str, content: str | None, words: str) -> None:
    Personas.of(LABEL, USER, profiles, 12).save(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(StoreError, match=words):
        Personas.load(tmp_path)


def test_contradictions(profiles: Profiles) -> None:
    one = Persona("a", np.array([0, 1]), "")
    with pytest.raises(ConfigError, match="two personas"):
        Personas((one, Persona("b", np.array([1]), "")), 3)
    with pytest.raises(ConfigError, match="different names"):
        Personas((one, Persona("a", np.array([2]), "")), 3)
    with pytest.raises(ConfigError, match=r"0\.\.1; got 0\.\.2"):
        Personas((Persona("a", np.array([0, 2]), ""),), 2)
    with pytest.raises(ConfigError, match="differ in length"):
        Personas.of(LABEL[1:], USER, profiles, 12)
    with pytest.raises(ConfigError, match="at least one user each"):
        Personas.of(LABEL * 2, USER, profiles, 12)
    with pytest.raises(ConfigError, match="no persona is called 'c'"):
        Personas((one,), 3).with_adapters({"c": "x"})
