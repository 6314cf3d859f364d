"""Protocols of recorded cards: who is simulated, what is known, and that nothing later is."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from simenv.log import InteractionLog
from simenv.testing.logs import tiny_log

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def protocols(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("protocols")


@pytest.fixture(scope="module")
def log() -> InteractionLog:
    """Return a log in which most of 90 users have 100 to 200 ratings."""
    return tiny_log(90, 310)


def pairs(log: InteractionLog) -> set[tuple[int, int]]:
    return set(zip(log.user.tolist(), log.item.tolist(), strict=True))


def test_the_untouched_half_is_the_other_half(protocols: ModuleType, log: InteractionLog) -> None:
    first, users = protocols.development_half(log), protocols.eligible(log)
    protocol = protocols.untouched_half(log)
    assert len(first) == len(users) // 2
    assert sorted([*first, *protocol.member]) == users.tolist()
    assert all(100 <= log.count[u] <= 200 for u in users)
    assert set(protocol.split.future.user) == set(protocol.member)


def test_no_later_row_of_the_first_half_is_known(protocols: ModuleType, log: InteractionLog) -> None:
    past = protocols.untouched_half(log).split.past
    for user in protocols.eligible(log):
        assert past.count[user] == round(0.6 * log.count[user])
    other = np.setdiff1d(np.arange(log.n_users), protocols.eligible(log))
    assert (past.count[other] == log.count[other]).all()


def test_users_are_drawn_the_same_each_time(protocols: ModuleType, log: InteractionLog) -> None:
    protocol = protocols.drawn(log, 20)
    assert len(protocol.member) == 20
    assert protocol.member.tolist() == protocols.drawn(log, 20).member.tolist()
    assert protocols.drawn(log, None).member.tolist() == protocols.eligible(log).tolist()
    assert len(protocol.split.past) + len(protocol.split.future) == len(log)


def test_around_one_moment_both_arms_ask_the_same(protocols: ModuleType, log: InteractionLog) -> None:
    world, strict = protocols.around_one_moment(log, without=[3, 4])
    assert world.member.tolist() == strict.member.tolist()
    assert not {3, 4} & set(world.member)
    assert len(world.member) > 10
    assert pairs(world.split.future) == pairs(strict.split.future)
    assert not pairs(world.split.past) & pairs(world.split.future)
    moment = strict.split.future.time.min()
    assert strict.split.past.time.max() < moment
    members = world.split.past.of_users(world.member)
    assert members.time.max() < moment
    assert pairs(strict.split.past) < pairs(world.split.past)
    later = set(world.split.past.user[world.split.past.time >= moment])
    assert later  # others' later rows are what the arms differ in
    assert not later & set(world.member)


def test_members_have_enough_on_both_sides_of_the_moment(protocols: ModuleType, log: InteractionLog) -> None:
    world, strict = protocols.around_one_moment(log)
    for protocol in (world, strict):
        assert protocol.split.past.count[protocol.member].min() >= protocols.KNOWN
        assert protocol.split.future.count[protocol.member].min() >= protocols.ASKED


def test_a_pilot_asks_fewer(protocols: ModuleType, log: InteractionLog) -> None:
    whole = protocols.drawn(log, 20)
    part = protocols.first_users(whole, 5)
    assert len(part.member) == 5
    assert set(part.split.future.user) == set(part.member) < set(whole.member)
    assert part.split.past is whole.split.past
    assert part.note.startswith("pilot")


def test_agreement_names_what_a_card_gets_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    agreement = importlib.import_module("truth_ladder").agreement
    keys = {"rmse": 0.9, "rps": 0.1, "c2st": None, "requirements met": 3, "colour": "amber"}
    rows = {
        "truth": {"distance": 0.0, "nll": 1.0, **keys},
        "near": {"distance": 0.1, "nll": 1.3, **keys, "colour": "green"},
        "far": {"distance": 0.5, "nll": 1.2, **keys, "colour": "red"},
    }
    found = agreement(rows)
    assert found["nll"]["inverted"] == ["far looks better than near"]
    assert found["nll"]["tau"] == pytest.approx(1 / 3)
    assert found["colour"]["inverted"] == ["near looks better than truth"]
    assert found["rmse"] == {"tau": None, "inverted": []}
    assert found["c2st"] == {"tau": None, "inverted": []}
    better = {n: r | {"requirements met": m} for (n, r), m in zip(rows.items(), (5, 4, 1), strict=True)}
    assert agreement(better)["requirements met"] == {"tau": pytest.approx(1), "inverted": []}
