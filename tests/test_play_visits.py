"""Lives played: visits follow visits, recommenders know the earlier ones, and one visit is what it always was."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from simenv.agents.boredom import Boredom
from simenv.agents.choice import Choice
from simenv.agents.grown_memory import GrownMemory
from simenv.agents.life import Life
from simenv.agents.population import SimulatedPopulation
from simenv.agents.return_time import Newcomers, ReturnTime
from simenv.agents.synthetic import true_population
from simenv.datasets.synthetic import generate
from simenv.errors import ConfigError
from simenv.play import play
from simenv.record import Record
from simenv.session import Session, Slate

WORLD = generate(1, n_users=40, n_items=150, median_history=25, max_history=40)
PLAIN = true_population(WORLD).with_(catalogue=WORLD.catalogue)
SOON = ReturnTime(edge=(0.02, 60.0), log_rate=(-2.0,), frailty=0.5)
LIVES = PLAIN.with_(life=Life(Boredom(), GrownMemory(), SOON))
EVERYBODY = np.arange(40)


class First:
    """Shows the available items of lowest number; notes the sessions it saw."""

    def __init__(self) -> None:
        self.seen: list[Session] = []

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        self.seen.append(session)
        order = np.argsort(~session.available(), axis=1, kind="stable")[:, :k]
        free = np.take_along_axis(session.available(), order, axis=1)
        return Slate.certain(np.where(free, order, -1))


def lives(population: SimulatedPopulation = LIVES, user: np.ndarray = EVERYBODY, **options: object) -> Record:
    settings: dict[str, object] = {"slate_size": 3, "max_pages": 3, "visits": 4} | options
    return play(First(), population, WORLD.log, user, **settings)  # type: ignore[arg-type]


def test_one_visit_is_what_it_always_was() -> None:
    one = lives(PLAIN, visits=1).to_frame()
    assert "day" not in one
    first = lives(PLAIN.with_(life=Life(returning=SOON))).to_frame()
    assert one.equals(first[first["visit"] < 40].drop(columns="day").reset_index(drop=True))


def test_visits_follow_each_other_and_thin_out() -> None:
    frame = lives().to_frame()
    by_visit = frame.groupby("visit").first()
    number = by_visit.index.to_numpy() // 40
    assert [int((number == n).sum()) for n in range(4)] == sorted(int((number == n).sum()) for n in range(4))[::-1]
    assert (number == 0).sum() == 40
    assert 3 < (number == 3).sum() < 40
    for _, days in by_visit.assign(row=by_visit.index % 40).groupby("row")["day"]:
        assert (np.diff(days) > 0.02).all()
    assert (by_visit["user"].to_numpy() == WORLD.log.users.decode(by_visit.index.to_numpy() % 40)).all()
    assert lives().interactions().simulated


def test_a_policy_knows_earlier_visits_as_the_past() -> None:
    policy = First()
    eager = LIVES.with_(choice=Choice(1.0, 50.0, 0.0), exit=replace(cast(Any, PLAIN.exit), page_logit=(9.0,)))
    record = play(policy, eager, WORLD.log, EVERYBODY, slate_size=3, max_pages=1, visits=2)
    first, second = policy.seen
    assert (second.page == 0).all()
    assert second.shown.shape[1] == 0
    shown = {int(u): row for u, row in zip(record.pages[0].user, record.pages[0].slate.item, strict=True)}
    for n, user in enumerate(second.user):
        known = second.past_item[n][second.past_item[n] >= 0].tolist()
        before = first.past_item[first.user == user][0]
        assert known == [*before[before >= 0].tolist(), *shown[int(user)].tolist()]
        assert (~np.isnan(second.past_rating[n])).sum() == len(known)
        assert not set(record.pages[1].slate.item[n]) & set(known)


def test_what_was_shown_and_not_rated_may_be_shown_again() -> None:
    policy = First()
    shy = LIVES.with_(choice=Choice(1.0, -50.0, 0.0), exit=replace(cast(Any, PLAIN.exit), page_logit=(9.0,)))
    record = play(policy, shy, WORLD.log, EVERYBODY, slate_size=3, max_pages=1, visits=2)
    back = np.isin(record.pages[0].user, record.pages[1].user)
    np.testing.assert_array_equal(record.pages[0].slate.item[back], record.pages[1].slate.item)


def test_company_does_not_matter() -> None:
    whole, rows = lives().to_frame(), np.array([31, 4, 17])
    part = lives(user=rows).to_frame()
    for n, user in enumerate(rows):
        a = whole[whole["visit"] % 40 == user].assign(visit=lambda f: f["visit"] // 40)
        b = part[part["visit"] % 3 == n].assign(visit=lambda f: f["visit"] // 3)
        assert a.reset_index(drop=True).equals(b.reset_index(drop=True))
        assert len(b)


def test_days_end_it() -> None:
    frame = lives(days=5.0).to_frame()
    assert 0 < frame["day"].max() <= 5
    every = lives().to_frame()
    assert frame.equals(every[every["day"] <= 5].reset_index(drop=True))
    late = LIVES.with_(life=Life(returning=SOON, newcomers=Newcomers(1.0, 10.0)))
    some = lives(late, days=5.0).to_frame()
    assert 5 < some["user"].nunique() < 35


def test_users_who_do_not_return_are_named() -> None:
    with pytest.raises(ConfigError, match="not told when to come back"):
        lives(PLAIN)
    with pytest.raises(ConfigError, match="needs visits with dates"):
        lives(PLAIN, visits=1, days=3.0)
    with pytest.raises(ConfigError, match="a population with return_visit"):
        play(First(), Closed(PLAIN), WORLD.log, EVERYBODY, visits=2)


class Closed:
    """A population without return_visit."""

    def __init__(self, inner: SimulatedPopulation) -> None:
        self.users, self.items, self.scale, self.begin = inner.users, inner.items, inner.scale, inner.begin
        self.member, self.assumption, self.respond = inner.member, inner.assumption, inner.respond
