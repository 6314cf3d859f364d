"""From a log to a population: reproducible, resumable, every arm and exit, own and given bases, in environments."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simenv.agents.exit import CombinedExit, ExitHazard
from simenv.agents.local_model import LocalModel
from simenv.agents.persona import Personas
from simenv.agents.population import SimulatedPopulation
from simenv.agents.prompt import PRESET, preset
from simenv.agents.rating_model import LMRatingModel, MemoRatingModel
from simenv.agents.store import load
from simenv.catalogue import Catalogue
from simenv.datasets.synthetic import World
from simenv.environment import SlateEnv
from simenv.errors import ConfigError, LeakageError, StoreError
from simenv.index import Index
from simenv.log import InteractionLog, Split
from simenv.scale import RatingScale
from simenv.session import Slate
from simenv.training.finetune import LoraSettings
from simenv.training.learn import LearnSettings
from simenv.training.pipeline import Show, TrainSettings, train
from simenv.vector import SlateVectorEnv

MEMBER = np.arange(12)
SLATE = Slate.certain(np.array([[0, 5, 9], [1, 2, 3], [7, 8, -1]]))
KEY = np.array([1, 2, 3], np.uint64)
ONE_STEP = LoraSettings(rank=2, alpha=4, single=LearnSettings(steps=1, rate=1e-1, prefixes=1, warmup=1))


@pytest.fixture
def made(tiny_world: World, tiny_split: Split, tiny_settings: TrainSettings, tmp_path: Path) -> Callable[..., Any]:
    """Train with some settings changed, as `tiny_folder` was."""

    def run(folder: str = "made", show: Show | None = None, users: int = 60, **changes: Any) -> SimulatedPopulation:
        log = tiny_split.past.take(tiny_split.past.user < users)
        where, settings = tmp_path / folder, replace(tiny_settings, **changes)
        return train(
            log, tiny_world.catalogue, MEMBER, where, settings, cut=tiny_split.cut, training_log=log, show=show
        )

    return run


def model(population: SimulatedPopulation) -> LMRatingModel:
    memo = population.rating_model
    assert isinstance(memo, MemoRatingModel)
    assert isinstance(memo.inner, LMRatingModel)
    return memo.inner


def content(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def alive(population: SimulatedPopulation) -> None:
    """Users answer two pages: distributions, ratings on the scale, probabilities of leaving."""
    state = population.begin(np.array([0, 4, 11]), KEY)
    for _ in range(2):
        said, state = population.respond(state, SLATE)
        shown = SLATE.item >= 0
        np.testing.assert_allclose(said.p_rating[shown].sum(axis=1), 1, atol=1e-5)
        assert set(said.rating[said.consumed].tolist()) <= set(population.scale.values)
        assert ((said.p_exit > 0) & (said.p_exit < 1)).all()


def stops(at: str, step: int = 1) -> Show:
    """Die in a stage, like a process that is killed."""

    def show(name: str) -> Callable[[int, int, float], None]:
        def told(number: int, steps: int, loss: float) -> None:
            if name == at and number >= step:
                raise KeyboardInterrupt

        return told

    return show


def silent(name: str) -> Callable[[int, int, float], None]:
    raise AssertionError(f"{name} was trained again")


def test_the_same_seed_gives_the_same_bytes(made: Callable[..., Any], tiny_folder: Path, tmp_path: Path) -> None:
    made()
    assert content(tmp_path / "made") == content(tiny_folder)


def test_another_seed_gives_others(made: Callable[..., Any], tiny_population: SimulatedPopulation) -> None:
    other = made(seed=1).rating_model.rate(np.array([0, 1]), np.array([3, 4]))
    assert np.abs(other.p - tiny_population.rating_model.rate(np.array([0, 1]), np.array([3, 4])).p).max() > 1e-4


@pytest.mark.parametrize("at", ["world model", "single", "persona-2"])
def test_interrupted_work_goes_on(made: Callable[..., Any], tiny_folder: Path, tmp_path: Path, at: str) -> None:
    """However far it came, the result is that of a run in one piece."""
    with pytest.raises(KeyboardInterrupt):
        made(show=stops(at))
    assert not (tmp_path / "made" / "population.json").exists()
    stages: list[str] = []

    def show(name: str) -> Callable[[int, int, float], None]:
        stages.append(name)
        return lambda step, steps, loss: None

    made(show=show)
    everything = ["world model", "single", "persona-1", "persona-2"]
    assert stages == everything[everything.index(at) :]
    assert content(tmp_path / "made") == content(tiny_folder)


def test_a_finished_folder_is_loaded(
    made: Callable[..., Any], tiny_folder: Path, tiny_population: SimulatedPopulation, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "made")
    assert made(show=silent).provenance == tiny_population.provenance


def test_a_folder_of_something_else_is_refused(made: Callable[..., Any], tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "made")
    with pytest.raises(StoreError, match="belongs to other data or settings"):
        made(seed=1)
    with pytest.raises(StoreError, match="belongs to other data or settings"):
        made(prompt=preset("plain"))
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="is not empty and was not begun by this training"):
        made("strange")
    assert (strange / "thesis.txt").read_text() == "mine"


def test_other_data_is_refused(
    tiny_folder: Path, tiny_world: World, tiny_split: Split, tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    log, catalogue = tiny_split.past, tiny_world.catalogue
    renamed = replace(catalogue, title=("Another title", *catalogue.title[1:]))
    given: dict[str, Any] = {"cut": tiny_split.cut, "training_log": log}
    wrong: list[tuple[InteractionLog, Catalogue, Any, dict[str, Any]]] = [
        (log.take(np.arange(1, len(log))), catalogue, MEMBER, given),
        (log, renamed, MEMBER, given),
        (log, catalogue, MEMBER[1:], given),
        (log, catalogue, MEMBER, given | {"training_log": None}),
        (log, catalogue, MEMBER, given | {"cut": None}),
    ]
    for past, items, member, how in wrong:
        with pytest.raises(StoreError, match="belongs to other data or settings"):
            train(past, items, member, folder, tiny_settings, **how)
    train(log, catalogue, MEMBER, folder, tiny_settings, **given, show=silent)


@pytest.mark.parametrize(("arm", "adapters"), [("none", {None}), ("single", {"single"})])
def test_arms(made: Callable[..., Any], tmp_path: Path, arm: str, adapters: set[str | None]) -> None:
    population = made(arm=arm)
    assert {p.adapter for p in Personas.load(tmp_path / "made")} == adapters
    assert set(model(population).mind.adapter) == adapters
    found = tmp_path / "made" / "adapters"
    assert ({f.name for f in found.iterdir()} if found.exists() else set()) == adapters - {None}
    alive(population)


def test_persona_arm(tiny_population: SimulatedPopulation, tiny_folder: Path) -> None:
    assert {f.name for f in (tiny_folder / "adapters").iterdir()} == {"single", "persona-1", "persona-2"}
    personas, mind = Personas.load(tiny_folder), model(tiny_population).mind
    assert [mind.adapter[m] for m in MEMBER] == [personas[int(k)].name for k in personas.of_user(MEMBER)]
    alive(tiny_population)


def test_random_clusters_are_the_control(
    made: Callable[..., Any], tiny_folder: Path, tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    alive(made(cluster=replace(tiny_settings.cluster, method="random")))
    real, dealt = Personas.load(tiny_folder), Personas.load(tmp_path / "made")
    assert sorted(map(len, dealt)) == sorted(map(len, real))
    assert (dealt.label != real.label).any()


def test_a_persona_may_leave_in_its_own_words(made: Callable[..., Any]) -> None:
    population = made(exit="answer", arm="single")
    assert isinstance(population.exit, CombinedExit)
    assert "own stay/leave answer" in population.assumption["exit.base"]
    alive(population)
    hazard = population.with_(exit=population.exit.hazard)
    assert isinstance(hazard.exit, ExitHazard)
    state = population.begin(np.array([0, 4, 11]), KEY)
    one, other = population.respond(state, SLATE)[0], hazard.respond(state, SLATE)[0]
    np.testing.assert_array_equal(one.rating, other.rating)
    assert (one.p_exit != other.p_exit).all()


def test_a_vector_step_equals_single_steps(tiny_folder: Path) -> None:
    """Three users side by side and one after the other, each with a population that remembers no answers yet."""
    setting: dict[str, Any] = {"slate_size": 4, "max_pages": 3, "diagnostics": True}
    many = SlateVectorEnv(load(tiny_folder), 3, autoreset_mode="Disabled", **setting)
    singles = [SlateEnv(load(tiny_folder), **setting) for _ in range(3)]
    together, _ = many.reset(seed=5)
    alone = [env.reset(seed=5 + i)[0] for i, env in enumerate(singles)]
    pages = np.random.default_rng(0).permutation(60)[:24].reshape(2, 3, 4)
    over = np.zeros(3, bool)
    for page in pages:
        for name in together:
            for i in np.flatnonzero(~over):
                np.testing.assert_allclose(together[name][i], alone[i][name], atol=1e-5)
        together, reward, terminated, truncated, info = many.step(page)
        for i in np.flatnonzero(~over):
            alone[i], one, ended, cut_off, said = singles[i].step(page[i])
            assert one == pytest.approx(float(reward[i]), abs=1e-4)
            assert (ended, cut_off) == (terminated[i], truncated[i])
            np.testing.assert_allclose(said["rating_probs"], info["rating_probs"][i], atol=1e-5)
            assert said["exit_prob"] == pytest.approx(float(info["exit_prob"][i]), abs=1e-5)
        over |= terminated | truncated
        if over.any():
            break


@pytest.fixture(scope="module")
def given_base(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Callable[..., Any], tiny_tokenizer: Any) -> Path:
    folder = tmp_path_factory.mktemp("base")
    for part in (tiny_llama(7), tiny_tokenizer):
        part.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize(("name", "exit"), [("words", "answer"), ("paper", "hazard"), ("content", "hazard")])
def test_a_given_base(made: Callable[..., Any], given_base: Path, tmp_path: Path, name: str, exit: str) -> None:
    before = content(given_base)
    given: dict[str, Any] = {"base": str(given_base), "prompt": PRESET[name], "exit": exit, "lora": ONE_STEP}
    population = made(users=12, arm="single", cluster_on="both", **given)
    alive(population)
    assert not (tmp_path / "made" / "model").exists()
    assert content(given_base) == before
    lm = model(population)
    assert isinstance(lm.model, LocalModel)
    prompts = lm.prompts(np.array([0, 1]), np.array([3, 4]))
    served = lm.model.score(prompts, lm.scale.symbols, adapters=["single"] * 2)
    bare = LocalModel.load(given_base).score(prompts, lm.scale.symbols, adapters=[None] * 2)
    assert np.abs(served - bare).max() > 1e-4
    assert prompts[0].prefix[0].startswith("You are a person" if name != "content" else "Rated")


@pytest.mark.data
@pytest.mark.parametrize("name", ["content", "plain"])
def test_a_public_base(made: Callable[..., Any], stories: Path, name: str) -> None:
    """Its tokenizer has no token for stay and leave, which the hazard does not need; and it has 512 positions."""
    alive(made(users=12, base=str(stories), prompt=PRESET[name], arm="single", lora=ONE_STEP))
    with pytest.raises(ConfigError, match="'stay', 'leave'"):
        made("leaving", base=str(stories), prompt=PRESET["plain"], arm="none", exit="answer")
    with pytest.raises(ConfigError, match=r"a prompt has \d+ tokens and the model 512 positions"):
        made("long", base=str(stories), prompt=PRESET["words"], arm="none")


def halves(log: InteractionLog) -> InteractionLog:
    scale = RatingScale(tuple(n / 2 for n in range(1, 11)))
    rating = log.rating - 0.5 * (np.arange(len(log)) % 2).astype(np.float32)
    return InteractionLog.of(log.users, log.items, log.user, log.item, rating, None, scale)


def test_half_stars_without_times(tiny_world: World, tiny_settings: TrainSettings, tmp_path: Path) -> None:
    """Letters stand for half stars; what only visits can tell stays assumed, and learning to leave is refused."""
    log = halves(tiny_world.log)
    settings = replace(tiny_settings, arm="none")
    population = train(log, tiny_world.catalogue, MEMBER, tmp_path / "half", settings)
    assert population.cut is None
    assert population.scale.symbols == tuple("ABCDEFGHIJ")
    assert population.assumption["exit.page_logit"].startswith("assumed")
    alive(population)
    with pytest.raises(ConfigError, match='exit="answer" is learned from visits and this log has no times'):
        train(log, tiny_world.catalogue, MEMBER, tmp_path / "none", replace(settings, exit="answer"))


def test_a_member_without_a_past(
    tiny_world: World, tiny_split: Split, tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    """Someone new is simulated, too: by the crowd and the persona alone."""
    log = tiny_split.past
    past = log.take(log.user != 3)
    population = train(past, tiny_world.catalogue, MEMBER, tmp_path / "new", replace(tiny_settings, arm="single"))
    alive(population)
    said = population.rating_model.rate(np.array([3, 3]), np.array([1, 2]))
    np.testing.assert_allclose(said.p.sum(axis=1), 1, atol=1e-5)
    assert population.user_mean[3] == pytest.approx(float(past.rating.mean()), abs=1e-5)


def test_the_future_is_refused_before_anything_is_trained(
    tiny_world: World, tiny_split: Split, tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    with pytest.raises(LeakageError, match="at or after their user's cut"):
        train(
            tiny_world.log, tiny_world.catalogue, MEMBER, tmp_path / "x", tiny_settings, cut=tiny_split.cut, show=silent
        )


def test_too_few_users(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    users, items = Index((1, 2, 3), "user"), Index(tuple(range(10)), "item")
    user, item = np.repeat(np.arange(3), 8), np.tile(np.arange(8), 3)
    log = InteractionLog.of(users, items, user, item, 1 + (user + item) % 5, None, RatingScale())
    catalogue = Catalogue.bare(items)
    with pytest.raises(ConfigError, match="only 3 users have five or more known ratings"):
        train(log, catalogue, np.array([0]), tmp_path / "few", tiny_settings)


def test_training_leaves_the_worlds_luck_alone(made: Callable[..., Any]) -> None:
    """NumPy's own generator and torch's are the caller's."""
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    wanted = np.random.random(), torch.rand(1).item()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    made(arm="single")
    assert (np.random.random(), torch.rand(1).item()) == wanted  # noqa: NPY002
