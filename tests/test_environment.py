"""One user at a time: the contract with Gymnasium, the rules for bad slates, endings, and the page in words."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence

import simenv.registration
from simenv.catalogue import Catalogue
from simenv.environment import SlateEnv
from simenv.errors import ActionError, ConfigError, UnknownIdError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.play import play
from simenv.protocols import Population
from simenv.registration import SLATE_ID, resolve
from simenv.rendering import label, stars
from simenv.scale import RatingScale
from simenv.session import Session, Slate, take_rows
from simenv.stage import Setting
from simenv.testing.environment import EnvironmentContract, ScriptedPopulation, played
from simenv.testing.logs import log_of, tiny_catalogue, tiny_log

STAYING = ScriptedPopulation(p_leave=0.0)


class FirstFree:
    """Shows the available items of lowest number."""

    name = "first free"

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        free = session.available()
        order = np.argsort(~free, axis=1, kind="stable")[:, :k]
        return Slate.certain(np.where(np.take_along_axis(free, order, axis=1), order, -1))


class FitsToFirstFree:
    name = "fitted"

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> FirstFree:
        assert len(log) > 0
        return FirstFree()


class TestScripted(EnvironmentContract):
    def population(self) -> Population:
        return ScriptedPopulation()


class TestWithLogAndCatalogue(EnvironmentContract):
    def population(self) -> Population:
        return ScriptedPopulation()

    def setting(self) -> Setting:
        population = ScriptedPopulation()
        catalogue = tiny_catalogue(population.items)
        return {"slate_size": 4, "max_pages": 3, "training_log": log_of(population), "catalogue": catalogue}


class TestCandidates(EnvironmentContract):
    def population(self) -> Population:
        return ScriptedPopulation(users=Index(tuple("abcdefgh"), "user"))

    def setting(self) -> Setting:
        return {"slate_size": 3, "max_pages": 5, "candidates": 7, "training_log": log_of(self.population())}


class TestRepeatsAnsweredInText(EnvironmentContract):
    def population(self) -> Population:
        return ScriptedPopulation(p_leave=0.1)

    def setting(self) -> Setting:
        return {"slate_size": 3, "max_pages": 6, "repeats": "answer", "observation": "text", "reward": "satisfaction"}


class TestSmallCatalogueRunsOut(EnvironmentContract):
    def population(self) -> Population:
        items = Index(tuple(range(5)), "item")
        return ScriptedPopulation(items=items, scale=RatingScale((0.0, 1.0)), p_leave=0.02)

    def setting(self) -> Setting:
        return {"slate_size": 2, "max_pages": 40, "reward": "consumed"}


BAD_ACTIONS: list[tuple[Any, str]] = [
    ([0, 1, 30], r"place 2 shows item number 30, but there are 0\.\.29"),
    ([0, -2, 1], r"place 1 shows item number -2"),
    ([0, 1], r"expected an action of shape \(3,\), 3 places per user; got shape \(2,\)"),
    ([[0, 1, 2]], r"got shape \(1, 3\)"),
    (4, r"got shape \(\)"),
    ([0.1, 0.2, 0.3], r"whole item numbers, 3 per user; got dtype float64.*argsort"),
    ([True, False, True], r"got dtype bool"),
    (["i000", "i001", "i002"], r"got dtype <U4"),
]


@pytest.mark.parametrize(("action", "words"), BAD_ACTIONS)
def test_bad_actions_say_what_is_wrong(action: Any, words: str) -> None:
    env = SlateEnv(STAYING, slate_size=3)
    env.reset(seed=0)
    with pytest.raises(ActionError, match=words):
        env.step(action)
    assert env.session.page[0] == 0, "a refused action must not cost a page"


def test_bad_candidate_positions_say_candidate() -> None:
    env = SlateEnv(STAYING, slate_size=3, candidates=5)
    env.reset(seed=0)
    with pytest.raises(ActionError, match=r"place 0 shows candidate number 5, but there are 0\.\.4"):
        env.step([5, 0, 1])


BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"slate_size": 0}, "slate_size must be at least 1; got 0"),
    ({"max_pages": 0}, "max_pages must be at least 1"),
    ({"candidates": 5}, "5 candidates cannot fill 10 places"),
    ({"repeats": "ask"}, '"drop" or "answer"; got \'ask\''),
    ({"reward": "clicks"}, "reward 'clicks' is unknown; names are rating, expected, consumed, satisfaction"),
    ({"observation": "image"}, '"history", "text"; got \'image\''),
    ({"history": 0}, "history must be at least 1"),
    ({"render_mode": "rgb_array"}, 'None, "ansi" or "human"'),
    ({"training_log": tiny_log(3, 4)}, "training_log and population number different users"),
    ({"catalogue": tiny_catalogue(tiny_log(3, 4).items)}, "catalogue and population number different items"),
]


@pytest.mark.parametrize(("setting", "words"), BAD_SETTINGS)
def test_bad_settings_say_what_is_wrong(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SlateEnv(STAYING, **setting)


def test_a_population_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="simulates nobody"):
        SlateEnv(replace(STAYING, member=np.zeros(0, np.int64)))


def test_stepping_without_a_visit_is_refused() -> None:
    env = SlateEnv(STAYING, slate_size=3, max_pages=1)
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step([0, 1, 2])
    env.reset(seed=0)
    env.step([0, 1, 2])
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step([3, 4, 5])


def test_duplicates_repeats_and_known_items_are_dropped_and_counted() -> None:
    log = log_of(STAYING)
    env = SlateEnv(STAYING, slate_size=5, training_log=log)
    env.reset(seed=0, options={"user_id": 103})
    past = [int(i) for i in log.history(2)[0]]
    new = [i for i in range(30) if i not in past]
    observation, _, _, _, info = env.step([new[0], new[0], past[0], -1, new[1]])
    assert observation["slate"].tolist() == [new[0], -1, -1, -1, new[1]]
    assert (info["duplicates"], info["masked"], info["repeats"]) == (1, 1, 0)
    observation, _, _, _, info = env.step([new[0], past[1], past[1], new[2], new[1]])
    assert observation["slate"].tolist() == [-1, -1, -1, new[2], -1]
    assert (info["duplicates"], info["masked"], info["repeats"]) == (1, 1, 2)


def test_repeats_can_be_answered_by_the_same_luck() -> None:
    env = SlateEnv(STAYING, slate_size=3, repeats="answer")
    env.reset(seed=0)
    first = env.step([4, 5, 6])
    again = env.step([4, 5, 6])
    assert again[4]["repeats"] == 3
    assert again[0]["slate"].tolist() == [4, 5, 6]
    np.testing.assert_array_equal(first[4]["ratings"], again[4]["ratings"])


def test_an_empty_page_is_legal_and_worth_nothing() -> None:
    for reward in ("rating", "expected", "consumed", "satisfaction"):
        env = SlateEnv(STAYING, slate_size=3, reward=reward)
        env.reset(seed=0)
        _, value, terminated, truncated, info = env.step([-1, -1, -1])
        assert (value, terminated, truncated, info["stop_reason"]) == (0.0, False, False, "")
        assert env.session.page[0] == 1


def test_the_three_endings() -> None:
    env = SlateEnv(replace(STAYING, p_leave=1.0), slate_size=3, max_pages=1)
    env.reset(seed=0)
    assert env.step([0, 1, 2])[2:4] == (True, False), "the user leaves although the page is the last: terminated"
    env = SlateEnv(STAYING, slate_size=3, max_pages=2)
    env.reset(seed=0)
    assert env.step([0, 1, 2])[2:4] == (False, False)
    *_, terminated, truncated, info = env.step([3, 4, 5])
    assert (terminated, truncated, info["stop_reason"]) == (False, True, "page_cap")
    few = replace(STAYING, items=Index((7, 8, 9), "item"))
    env = SlateEnv(few, slate_size=3, max_pages=5)
    env.reset(seed=0)
    *_, terminated, truncated, info = env.step([0, 1, 2])
    assert (terminated, truncated, info["stop_reason"]) == (True, False, "exhausted")


def test_with_repeats_answered_the_catalogue_never_runs_out() -> None:
    env = SlateEnv(replace(STAYING, items=Index((7, 8, 9), "item")), slate_size=3, max_pages=9, repeats="answer")
    env.reset(seed=0)
    assert [env.step([0, 1, 2])[4]["stop_reason"] for _ in range(9)] == [""] * 8 + ["page_cap"]


def test_the_user_is_chosen_by_raw_id_and_keeps_the_luck_of_the_seed() -> None:
    env = SlateEnv(STAYING, slate_size=3)
    info = env.reset(seed=0, options={"user_id": 105})[1]
    assert (info["user_id"], info["user_index"]) == (105, 4)
    key = env._visits.state.key[0]
    env.reset(seed=0)
    assert env._visits.state.key[0] == key
    with pytest.raises(UnknownIdError, match="unknown user 999"):
        env.reset(options={"user_id": 999})
    some = SlateEnv(replace(STAYING, member=np.array([1, 3])), slate_size=3)
    with pytest.raises(UnknownIdError, match="user 101 is known but not simulated here; 2 are, such as 102, 104"):
        some.reset(options={"user_id": 101})
    with pytest.raises(ConfigError, match="reset option 'user' is unknown; options are user_id"):
        env.reset(options={"user": 101})


def test_reset_reaches_all_members_and_only_them() -> None:
    env = SlateEnv(replace(STAYING, member=np.array([1, 3, 6])), slate_size=3)
    assert {env.reset(seed=s)[1]["user_index"] for s in range(40)} == {1, 3, 6}


def test_candidates_are_unseen_seeded_and_new_on_each_page() -> None:
    log = log_of(STAYING)
    env = SlateEnv(STAYING, slate_size=2, candidates=6, training_log=log, max_pages=50)
    observation, info = env.reset(seed=4)
    past = set(log.history(info["user_index"])[0].tolist())
    shown: set[int] = set()
    pages = []
    over = False
    while not over:
        offer = [int(i) for i in observation["candidate"] if i >= 0]
        assert not set(offer) & (past | shown)
        assert len(offer) == min(6, 30 - len(past | shown)) == len(set(offer))
        pages.append(offer)
        observation, _, terminated, truncated, info = env.step([0, 1])
        shown |= {int(i) for i in observation["slate"] if i >= 0}
        assert sorted(i for i in observation["slate"] if i >= 0) == sorted(offer[:2])
        over = terminated or truncated
    assert info["stop_reason"] == "exhausted"
    assert shown | past == set(range(30))
    assert pages[0] != pages[1]
    assert env.reset(seed=4)[0]["candidate"].tolist() == pages[0]


def test_action_masks_are_what_fills_a_place() -> None:
    log = log_of(STAYING)
    env = SlateEnv(STAYING, slate_size=3, training_log=log)
    observation, _ = env.reset(seed=0)
    mask = env.action_masks().reshape(3, 30)
    np.testing.assert_array_equal(mask, np.tile(observation["seen"] == 0, (3, 1)))
    free = np.flatnonzero(mask[0])
    assert env.step(free[:3])[4]["masked"] == 0


def test_observation_knows_the_log_and_the_visit_only() -> None:
    log = log_of(STAYING)
    env = SlateEnv(STAYING, slate_size=3, training_log=log, history=4)
    observation, _ = env.reset(seed=0, options={"user_id": 101})
    item, rating = log.history(0)
    assert observation["recent_item"].tolist() == item[-4:].tolist()
    np.testing.assert_allclose(observation["recent_rating"], (rating[-4:] - 1) / 4)
    free = np.flatnonzero(observation["seen"] == 0)[:3]
    observation, _, _, _, info = env.step(free)
    given_now = [int(i) for i, r in zip(free, info["rated"], strict=True) if r]
    assert observation["recent_item"].tolist() == [*item.tolist(), *given_now][-4:]
    np.testing.assert_array_equal(observation["rating"] >= 0, info["rated"])
    other = SlateEnv(STAYING, slate_size=3, history=4)
    bare, _ = other.reset(seed=0, options={"user_id": 101})
    assert not bare["user"].any()
    assert not bare["seen"].any()


def test_diagnostics_are_kept_from_the_observation_and_only_on_request() -> None:
    env = SlateEnv(STAYING, slate_size=3)
    env.reset(seed=0)
    assert not {"rating_probs", "exit_prob", "support"} & env.step([0, 1, 2])[4].keys()
    env = SlateEnv(STAYING, slate_size=3, diagnostics=True)
    env.reset(seed=0)
    info = env.step([0, -1, 2])[4]
    np.testing.assert_allclose(info["rating_probs"].sum(axis=1), [1, 0, 1], rtol=1e-6)
    assert info["exit_prob"] == 0.0


def test_a_custom_reward_is_used_and_a_broken_one_refused() -> None:
    env = SlateEnv(STAYING, slate_size=3, reward=lambda response, slate, scale: np.full(len(slate.item), 2.5))
    env.reset(seed=0)
    assert env.step([0, 1, 2])[1] == 2.5
    env = SlateEnv(STAYING, slate_size=3, reward=lambda response, slate, scale: response.rating)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="the reward must return 1 finite numbers, one per user"):
        env.step([0, 1, 2])


def test_playing_again_meets_the_same_users_and_luck() -> None:
    population = ScriptedPopulation()
    env = SlateEnv(population, slate_size=3, max_pages=4, training_log=log_of(population))
    policy = FirstFree()
    for episode in range(6):
        env.reset(seed=0 if episode == 0 else None)
        over = False
        while not over:
            *_, terminated, truncated, _ = env.step(policy.recommend(env.session, 3, seed=0).item[0])
            over = terminated or truncated
    mine, again = env.record.to_frame(), env.play(FitsToFirstFree()).to_frame()
    assert mine["visit"].nunique() == 6
    order = ["visit", "page", "place"]
    columns = [*order, "user", "item", "rating", "consumed", "p_exit", "exit"]
    mine, again = (f.sort_values(order)[columns].reset_index(drop=True) for f in (mine, again))
    assert mine.equals(again)
    assert env.record.seed == 0


def test_a_visit_that_broke_off_is_cut_for_the_others_too() -> None:
    env = SlateEnv(STAYING, slate_size=2, max_pages=5)
    for pages in (5, 2, 1):
        env.reset(seed=0 if pages == 5 else None)
        for page in range(pages):
            env.step([2 * page, 2 * page + 1])
    for record in (env.record, env.play(FirstFree())):
        assert record.shown().pages.tolist() == [5, 2, 1]


def test_playing_again_meets_the_same_candidates() -> None:
    env = SlateEnv(STAYING, slate_size=2, max_pages=3, candidates=4)
    for _ in range(3):
        env.reset(seed=9)
        for _ in range(3):
            env.step([0, 1])
    record = env.play(FirstFree())
    for mine, other in zip(env.record.pages[:1], record.pages[:1], strict=True):
        assert mine.candidate is not None
        assert other.candidate is not None
        np.testing.assert_array_equal(mine.candidate[0], other.candidate[0])
    assert (record.to_frame()["n_candidate"] == 4).all()


def test_the_environment_agrees_with_play() -> None:
    log, policy = log_of(STAYING), FirstFree()
    env = SlateEnv(STAYING, slate_size=4, max_pages=3, training_log=log, reward="expected")
    _, info = env.reset(seed=11)
    worth = [env.step(policy.recommend(env.session, 4, seed=0).item[0])[1] for _ in range(3)]
    user, key = np.array([info["user_index"]]), env._visits.state.key
    pages = play(policy, STAYING, log, user, slate_size=4, max_pages=3, key=key).pages
    want = [float(STAYING.scale.expectation(p.response.p_rating).mean()) for p in pages]
    np.testing.assert_allclose(worth, want)


def test_nothing_played_and_nothing_kept_say_so() -> None:
    env = SlateEnv(STAYING, slate_size=3)
    with pytest.raises(ConfigError, match="step the environment first"):
        env.play(FirstFree())
    assert env.record.pages == ()
    env = SlateEnv(STAYING, slate_size=3, keep_record=False)
    env.reset(seed=0)
    env.step([0, 1, 2])
    with pytest.raises(ConfigError, match="keep_record=True"):
        env.record


class TestNames:
    def test_spec_survives_json(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        found = [EntryPoint("folder", f"{__name__}:STAYING", simenv.registration.GROUP)]
        monkeypatch.setattr(simenv.registration, "entry_points", lambda group: found)
        monkeypatch.setattr(EntryPoint, "load", lambda self: lambda path: STAYING)
        env = gymnasium.make(SLATE_ID, population=str(tmp_path), slate_size=3, candidates=5)
        assert env.spec is not None
        text = env.spec.to_json()
        assert json.loads(text)["kwargs"] == {"population": str(tmp_path), "slate_size": 3, "candidates": 5}
        again = EnvSpec.from_json(text)
        check_env(gymnasium.make(again).unwrapped)

    def test_unknown_names_and_foreign_objects_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="'nowhere' is neither a folder that exists nor a known name; names are "):
            SlateEnv("nowhere")
        with pytest.raises(ConfigError, match="got dict"):
            resolve({})  # type: ignore[arg-type]

    def test_a_name_may_carry_an_argument(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[tuple[str, ...]] = []

        def load(*argument: str) -> ScriptedPopulation:
            calls.append(argument)
            return STAYING

        monkeypatch.setattr(
            simenv.registration, "entry_points", lambda group: [EntryPoint("toy", "x:y", simenv.registration.GROUP)]
        )
        monkeypatch.setattr(EntryPoint, "load", lambda self: load)
        assert resolve("toy") is STAYING
        assert resolve("toy:small") is STAYING
        assert calls == [(), ("small",)]

    @pytest.mark.parametrize(
        "code",
        [
            "import gymnasium, simenv; gymnasium.spec('simenv/Slate-v0')",
            "import simenv; assert 'gymnasium' not in sys.modules; import gymnasium, simenv.environment; "
            "gymnasium.spec('simenv/Slate-v0')",
        ],
    )
    def test_gymnasium_knows_the_id(self, code: str) -> None:
        code = f"import sys; {code}; assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)

    def test_the_id_with_its_module_needs_no_import(self) -> None:
        env = gymnasium.make(f"simenv.environment:{SLATE_ID}", population=STAYING, slate_size=3)
        assert env.spec is not None
        assert env.spec.id == SLATE_ID

    def test_registering_twice_warns_nobody(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            simenv.registration.register()


class TestPage:
    def env(self, **setting: Any) -> SlateEnv:
        population = replace(STAYING, p_leave=0.0)
        return SlateEnv(
            population,
            slate_size=3,
            catalogue=tiny_catalogue(population.items),
            training_log=log_of(population),
            **setting,
        )

    def test_a_page_names_titles_answers_and_what_follows(self) -> None:
        env = self.env(render_mode="ansi", max_pages=2)
        observation, _ = env.reset(seed=1, options={"user_id": 104})
        text = env.render()
        assert text is not None
        assert text.startswith("User 104 arrives. ")
        assert "ratings known from the past" in text
        free = np.flatnonzero(observation["seen"] == 0)
        info = env.step([free[0], -1, free[1]])[4]
        text = env.render()
        assert text is not None
        lines = text.splitlines()
        assert lines[0] == "User 104, page 1 of 2"
        for place, item in ((0, free[0]), (2, free[1])):
            assert label(env.catalogue, int(item)) in lines[place + 1]
            want = stars(float(info["ratings"][place]), STAYING.scale) if info["rated"][place] else "skipped"
            assert lines[place + 1].endswith(want)
        assert "(empty)" in lines[2]
        assert "mood" in lines[4]
        assert lines[5].strip() == "The user stays for another page."
        env.step([-1, -1, free[2]])
        assert "this was the last page" in str(env.render())

    def test_human_prints_each_page_and_render_returns_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        env = self.env(render_mode="human")
        env.reset(seed=1)
        env.step([0, 1, 2])
        assert capsys.readouterr().out.count("User ") == 2
        assert env.render() is None

    def test_the_text_observation_hides_the_mood(self) -> None:
        env = self.env(observation="text")
        env.reset(seed=1)
        text = env.step([0, 1, 2])[0]["text"]
        assert "Page 1 of 10:" in text
        assert "mood" not in text

    @pytest.mark.parametrize(
        ("rating", "values", "text"),
        [
            (4.0, (1.0, 2.0, 3.0, 4.0, 5.0), "★★★★☆"),
            (2.5, tuple(np.arange(1, 11) / 2), "★★½☆☆"),
            (1.0, (0.0, 1.0), "yes"),
            (0.0, (0.0, 1.0), "no"),
            (3.0, (1.0, 3.0, 7.0), "3 of 7"),
        ],
    )
    def test_stars(self, rating: float, values: tuple[float, ...], text: str) -> None:
        assert stars(rating, RatingScale(values)) == text

    def test_long_titles_are_cut_with_a_sign(self) -> None:
        items = Index((1,), "item")
        catalogue = replace(Catalogue.bare(items), title=("very long " * 20,))
        assert len(label(catalogue, 0)) == 64
        assert label(catalogue, 0).endswith("…")


def test_episodes_differ_between_seeds() -> None:
    one, other = (played(SlateEnv(ScriptedPopulation(), slate_size=3), seed=s) for s in (1, 2))
    assert not data_equivalence(one, other, exact=True)


def test_rows_of_a_session_are_what_a_policy_gets() -> None:
    env = SlateEnv(STAYING, slate_size=3, training_log=log_of(STAYING))
    env.reset(seed=0)
    env.step(np.flatnonzero(env.action_masks()[:30])[:3])
    assert isinstance(env.session, Session)
    assert len(env.session) == len(take_rows(env.session, np.array([0]))) == 1
    assert env.session.page.tolist() == [1]
    assert env.session.shown.shape == (1, 3)
