"""Words of a language model in profiles, memories, lessons and files: what stands where, and what may know what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simenv.agents.arms import disturbed, language_model
from simenv.agents.crowd import Crowd
from simenv.agents.memory import Memory
from simenv.agents.profile import Profiles
from simenv.agents.prompt import PromptWriter, preset
from simenv.agents.rating_model import MemoRatingModel
from simenv.agents.store import load
from simenv.agents.written import Notes, Stage
from simenv.datasets.synthetic import World
from simenv.errors import ConfigError, DataError, LeakageError, StoreError
from simenv.log import InteractionLog, Split
from simenv.testing.logs import tiny_catalogue, tiny_log
from simenv.testing.reader import answer, material
from simenv.training.distil import Distiller, StatisticalDistiller
from simenv.training.examples import LessonWriter, evidence, fit_prior
from simenv.training.ground import TrainSettings, prepare
from simenv.training.llm.asker import Asker, UndoneError
from simenv.training.llm.budget import Budget, Limit, Price
from simenv.training.llm.chat import Message, Reply
from simenv.training.llm.distiller import LLMDistiller, Outcome, Told, tell
from simenv.training.llm.folder import ABOUT, LEDGER, WRITTEN, FolderDistiller, leaks, save
from simenv.training.llm.ledger import Ledger
from simenv.training.llm.local import LocalChat
from simenv.training.llm.story import LLMSettings, Stories
from simenv.training.llm.why import write
from simenv.training.pipeline import train
from simenv.training.told import Told as Lessons

USER = np.array([3, 0, 11])


class Reader:
    """A ChatModel in this process that answers from the material alone; keeps what it was asked."""

    name = "reader"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any], *, max_tokens: int) -> Reply:
        self.asked.append("\n".join(m.text for m in messages))
        told = material(messages[1].text)
        if "ratings" in told:
            return Reply(json.dumps(answer(told["ratings"], told["profile so far"])), 100, 50)
        cites = [r["item"] for r in told["remembered"][:1]]
        return Reply(json.dumps({"reason": f"Rated {told['rated']['rating']:g} as ever.", "cites": cites}), 100, 20)


def asker(folder: Path, model: Any = None) -> Asker:
    ledger = Ledger(folder / LEDGER)
    return Asker(model or Reader(), ledger, Budget(Limit(), Price(), ledger.spent))


def cut(log: InteractionLog, another_future: int | None = None) -> Split:
    """The first 60 %, with a future that may be dealt anew."""
    split = log.split("user_time")
    if another_future is None:
        return split
    late = np.flatnonzero(log.time >= split.cut[log.user])  # type: ignore[operator, index]
    order = np.random.default_rng(another_future).permutation(late)
    item, rating = log.item.copy(), log.rating.copy()
    item[late], rating[late] = item[order], rating[order]
    assert not np.array_equal(item, log.item)
    return replace(log, item=item, rating=rating).split("user_time")


def made(split: Split, folder: Path, user: Any = USER) -> tuple[Outcome, Asker, Stories]:
    catalogue = tiny_catalogue(split.past.items)
    stories = Stories.of(split.past, catalogue, Crowd.fit(split.past, catalogue), LLMSettings(), split.cut)
    a = asker(folder)
    return tell(stories, list(user), a, concurrency=2), a, stories


class TestDistiller:
    @pytest.fixture
    def distilled(self, tmp_path: Path) -> Iterator[tuple[Profiles, Memory, Outcome]]:
        split = cut(tiny_log(n_items=60))
        outcome, a, stories = made(split, tmp_path)
        distiller = LLMDistiller(a)
        assert isinstance(distiller, Distiller)
        before = len(a.model.asked)  # type: ignore[attr-defined]
        yield *distiller.distil(split.past, stories.catalogue, stories.crowd, USER, cut=split.cut), outcome
        assert len(a.model.asked) == before  # type: ignore[attr-defined]
        a.ledger.close()

    def test_ms_is_the_last_stage_of_each_user_in_the_order_asked(self, distilled: Any) -> None:
        profiles, _, outcome = distilled
        for row, user in enumerate(USER.tolist()):
            last = outcome.told[user].stage[-1]
            assert last.known == profiles.count[row]
            assert profiles[row].description == last.description
            assert profiles.level[row].tolist() == list(last.level)
            assert profiles[row].text.splitlines()[-1] == last.description
            assert profiles[row].traits[0].level == ("occasional", "regular", "devoted")[last.level[0]]
        assert len({profiles[row].description for row in range(3)}) == 3

    def test_ml_has_the_reason_of_its_own_row_and_the_rating(self, distilled: Any) -> None:
        _, memory, outcome = distilled
        for user in USER.tolist():
            for place, reason in enumerate(outcome.told[user].reason):
                entry = int(memory.start[user]) + place
                assert memory.reason(entry) == f"I gave it {memory.rating[entry]:g}. {reason}"
        other = int(memory.start[5])
        assert "mark" not in memory.reason(other)  # nobody was asked about user 5: reasons by counting

    def test_words_survive_files_order_and_growth(self, distilled: Any, tmp_path: Path) -> None:
        profiles, memory, _ = distilled
        profiles.save(tmp_path / "p.npz")
        memory.save(tmp_path / "m.npz")
        again = Profiles.load(tmp_path / "p.npz", profiles.catalogue)
        assert [p.text for p in again] == [p.text for p in profiles]
        assert again.written == profiles.written
        assert [p.text for p in profiles.take(np.array([2, 0]))] == [profiles[2].text, profiles[0].text]
        assert (
            Profiles.stack([profiles.take(np.array([0])), profiles.take(np.array([1, 2]))]).written == profiles.written
        )
        back = Memory.load(tmp_path / "m.npz", memory.crowd, memory.catalogue)
        grown = back.with_entries([0, 3], [1, 2], [5, 4])
        assert [grown.reason(int(grown.start[u + 1]) - 1) for u in (0, 3)] == [
            "I gave it 5 just now.",
            "I gave it 4 just now.",
        ]
        for user in (0, 3, 5, 11):
            n = int(memory.start[user + 1] - memory.start[user])
            for place in range(n):
                want = memory.reason(int(memory.start[user]) + place)
                assert grown.reason(int(grown.start[user]) + place) == want

    def test_what_is_counted_stays_as_it_was(self, distilled: Any, tmp_path: Path) -> None:
        profiles, memory, _ = distilled
        plain = replace(profiles, written=())
        assert plain[0].description.startswith("I have rated")
        plain.save(tmp_path / "p.npz")
        assert Profiles.load(tmp_path / "p.npz", plain.catalogue).written == ()
        split = cut(tiny_log(n_items=60))
        counted, _ = StatisticalDistiller().distil(split.past, memory.catalogue, memory.crowd, USER, cut=split.cut)
        np.testing.assert_array_equal(counted.genre, profiles.genre)
        assert [p.text for p in counted] == [p.text for p in plain]


class TestTime:
    def test_canary_another_future_changes_no_question_and_no_word(self, tmp_path: Path) -> None:
        asked, words = [], []
        for n, future in enumerate((None, 1, 2)):
            outcome, a, stories = made(split := cut(tiny_log(n_items=60), future), tmp_path / str(n))
            save(tmp_path / str(n), outcome, split.past, USER, a, stories.settings)
            asked.append(sorted(a.model.asked))  # type: ignore[attr-defined]
            words.append((tmp_path / str(n) / WRITTEN).read_bytes())
        assert asked[0] == asked[1] == asked[2]
        assert words[0] == words[1] == words[2]

    def test_the_canary_can_sing(self, tmp_path: Path) -> None:
        log = tiny_log(n_items=60)
        other = replace(log, rating=(6 - log.rating).astype(np.float32))
        told = [made(cut(x), tmp_path / str(n))[0].told for n, x in enumerate((log, other))]
        assert told[0] != told[1]

    def test_late_rows_are_refused(self, tmp_path: Path) -> None:
        log = tiny_log()
        split = cut(log)
        a, catalogue = asker(tmp_path), tiny_catalogue(log.items)
        crowd = Crowd.fit(split.past, catalogue)
        with pytest.raises(LeakageError, match=r"build memories from split\.past"):
            LLMDistiller(a).distil(log, catalogue, crowd, USER, cut=split.cut)
        with pytest.raises(DataError, match="simulated"):
            LLMDistiller(a).distil(replace(split.past, simulated=True), catalogue, crowd, USER)
        assert a.model.asked == []  # type: ignore[attr-defined]

    def test_a_named_future_is_found_and_the_folder_refused(self, tmp_path: Path) -> None:
        split = cut(tiny_log(n_items=60))
        outcome, a, stories = made(split, tmp_path)
        assert leaks(outcome, split.past, split.future, stories.catalogue) == []
        late = int(split.future.history(3)[0][0])
        title = stories.catalogue.title[late]
        own = outcome.told[3]
        for spoiled in (
            replace(own, reason=(f"as {title} will be", *own.reason[1:])),
            replace(own, stage=(replace(own.stage[0], description=f"I wait for {title}."), *own.stage[1:])),
        ):
            bad = Outcome({**outcome.told, 3: spoiled}, {})
            found = leaks(bad, split.past, split.future, stories.catalogue)
            assert [(x.user, x.title) for x in found] == [(3, title)]
        save(tmp_path, bad, split.past, USER, a, stories.settings, found=found)
        with pytest.raises(LeakageError, match="names what its users rated after the cut"):
            FolderDistiller.load(tmp_path)


class TestLessons:
    """A target stands in neither the profile nor the memories it is predicted from: also in written ones."""

    def test_stages_and_reasons_that_know_no_target(
        self, tmp_path: Path, tiny_world: World, tiny_settings: Any
    ) -> None:
        split = tiny_world.log.split("user_time", 0.7)
        member = np.arange(12)
        distiller = LLMDistiller(asker(tmp_path), LLMSettings(batch=3))
        words = replace(tiny_settings, prompt=preset("words"))
        ground, profiles, memory = prepare(split.past, tiny_world.catalogue, member, words, distiller, split.cut)
        told = Lessons.of(member, profiles, memory)
        prior = fit_prior(ground.log, ground.folds, ground.pupils, 0, epochs=1)
        writer = PromptWriter(tiny_world.catalogue, split.past.scale, words.prompt)
        lessons = LessonWriter(writer, profiles.cuts, prior, told=told)
        everyone, stages, reasons = np.arange(20), 0, 0
        for e in evidence(ground.log, ground.folds, everyone, 5, in_time=told or ()):
            written = lessons.profiles(e).written
            suffixes = lessons.suffixes(e)
            for b, user in enumerate(e.contexts.user.tolist()):
                size = int(e.taste.count[b])
                item, _ = ground.log.history(user)
                if user >= 12:
                    assert written[b] == ()
                    continue
                np.testing.assert_array_equal(e.contexts.item[b, :size], item[:size])  # cut in time
                assert written[b][-1].known == size - size % 3
                assert written[b] == profiles.written[user][: len(written[b])]
                stages += 1
                later = {memory.written(int(memory.start[user]) + n) for n in range(size - size % 3, len(item))}
                sooner = {memory.written(int(memory.start[user]) + n) for n in range(size - size % 3)}
                text = "".join(x for n in np.flatnonzero(e.contexts.row == b) for x in suffixes[n])
                assert not any(reason in text for reason in later)
                reasons += sum(reason in text for reason in sooner)
        assert stages == 12
        assert reasons > 12

    def test_random_contexts_show_nothing_written(self, tmp_path: Path, tiny_world: World, tiny_settings: Any) -> None:
        split = tiny_world.log.split("user_time", 0.7)
        ground, profiles, memory = prepare(
            split.past, tiny_world.catalogue, np.arange(12), tiny_settings, LLMDistiller(asker(tmp_path)), split.cut
        )
        prior = fit_prior(ground.log, ground.folds, ground.pupils, 0, epochs=1)
        lessons = LessonWriter(ground.writer, profiles.cuts, prior, told=Lessons.of(np.arange(12), profiles, memory))
        drawn = evidence(ground.log, ground.folds, np.arange(12), 5)  # not told whom to cut in time
        loose = [(e, b) for e in drawn for b in range(len(e.contexts.user)) if not e.contexts.first[b]]  # type: ignore[index]
        assert loose
        assert all(lessons.profiles(e).written[b] == () for e, b in loose)


class TestFolder:
    def test_a_population_is_trained_from_it_and_speaks_its_words(
        self, tmp_path: Path, tiny_world: World, tiny_settings: TrainSettings
    ) -> None:
        split = tiny_world.log.split("user_time", 0.7)
        member = np.arange(12)
        past = split.past.of_users(member)
        size = replace(tiny_settings.size, positions=2048)
        settings = replace(tiny_settings, prompt=preset("words"), size=size)
        stories = Stories.of(past, tiny_world.catalogue, Crowd.fit(split.past, tiny_world.catalogue), LLMSettings())
        a = asker(tmp_path)
        outcome = tell(stories, range(12), a)
        save(tmp_path, outcome, past, member, a, stories.settings, about={"cut": "as told"})
        a.ledger.close()
        distiller = FolderDistiller.load(tmp_path)
        assert repr(distiller) == repr(FolderDistiller.load(tmp_path))
        population = train(
            split.past, tiny_world.catalogue, member, tmp_path / "users", settings, cut=split.cut, distiller=distiller
        )
        mind = load(tmp_path / "users").rating_model.inner.mind  # type: ignore[attr-defined]
        pair = np.array([4]), np.array([int(split.future.history(4)[0][0])])
        prompt = population.rating_model.inner.prompts(*pair)[0].text  # type: ignore[attr-defined]
        assert outcome.told[4].stage[-1].description in prompt
        assert sum(reason in prompt for reason in outcome.told[4].reason) == 3
        assert mind.profiles[4].description == outcome.told[4].stage[-1].description
        with pytest.raises(DataError, match=r"distilled from other rows; cut the log as it was cut there: as told"):
            prepare(tiny_world.log, tiny_world.catalogue, member, settings, distiller)

    def test_what_is_not_whole_is_refused(self, tmp_path: Path) -> None:
        split = cut(tiny_log(n_items=60))
        outcome, a, stories = made(split, tmp_path)
        with pytest.raises(StoreError, match="no finished distillation"):
            FolderDistiller.load(tmp_path)
        rest = Outcome({u: t for u, t in outcome.told.items() if u != 3}, {3: "no answer"})
        save(tmp_path, rest, split.past, USER, a, stories.settings)
        with pytest.raises(DataError, match=r"1 users of .* are undone, such as 104"):
            FolderDistiller.load(tmp_path)
        save(tmp_path, outcome, split.past, USER, a, stories.settings)
        text = (tmp_path / WRITTEN).read_text()
        (tmp_path / WRITTEN).write_text(text.replace("of late", "of lately"))
        with pytest.raises(StoreError, match="was changed after it was written"):
            FolderDistiller.load(tmp_path)
        short = {**outcome.told, 3: Told(outcome.told[3].stage, outcome.told[3].reason[:-1])}
        save(tmp_path, Outcome(short, {}), split.past, USER, a, stories.settings)
        with pytest.raises(DataError, match=r"known rows and .* written reasons"):
            FolderDistiller.load(tmp_path).distil(split.past, stories.catalogue, stories.crowd, USER)

    def test_the_account_holds_no_time_and_no_key(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
        split = cut(tiny_log(n_items=60))
        outcome, a, stories = made(split, tmp_path)
        account = save(tmp_path, outcome, split.past, USER, a, stories.settings)
        assert (account["told"], account["calls"], account["undone"]) == (3, {"accepted": a.count["accepted"]}, {})
        assert account["spent"]["prompt"] == 100 * a.count["accepted"]
        assert b"very-secret" not in (tmp_path / ABOUT).read_bytes() + (tmp_path / LEDGER).read_bytes()


class TestServing:
    def test_a_reason_cites_what_was_put_before_it_and_is_paid_once(self, tmp_path: Path, tiny_population: Any) -> None:
        a, raw = asker(tmp_path), tiny_population.users.ids[2]
        items = [tiny_population.items.ids[i] for i in (5, 9)]
        first = write(tiny_population, raw, items, a, ratings=[2, 5])
        memory = tiny_population.rating_model.inner.mind.memory
        for reason, rating in zip(first, (2, 5), strict=True):
            assert reason.text == f"Rated {rating} as ever."
            assert len(reason.entry) == 1
            assert memory.user[reason.entry[0]] == 2
        asked = material(a.model.asked[0].split("Why?\n")[1])  # type: ignore[attr-defined]
        assert asked["profile"] == tiny_population.rating_model.inner.mind.profiles[2].text
        assert asked["remembered"][0]["said"] == memory.reason(first[0].entry[0])
        assert write(tiny_population, raw, items, a, ratings=[2, 5]) == first
        assert len(a.model.asked) == 2  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ('{"reason": "So.", "cites": [4]}', "numbers from 1 to 3"),
            ('{"reason": "So.", "cites": []}', "name at least one"),
            ('{"reason": "As in {title}, so here.", "cites": [1]}', "name nothing that is not given"),
        ],
    )
    def test_what_it_may_not_cite(self, tmp_path: Path, tiny_population: Any, said: str, words: str) -> None:
        memory = tiny_population.rating_model.inner.mind.memory
        foreign = next(i for i in range(60) if i != 5 and i not in memory.item[memory.user == 2])

        class Liar(Reader):
            def ask(self, messages: Sequence[Message], schema: Mapping[str, Any], *, max_tokens: int) -> Reply:
                return Reply(said.replace("{title}", tiny_population.catalogue.title[foreign]), 1, 1)

        a = asker(tmp_path, Liar())
        with pytest.raises(UndoneError, match=words):
            write(tiny_population, tiny_population.users.ids[2], [tiny_population.items.ids[5]], a)
        assert a.count["malformed"] == 3


class TestDisturbed:
    """Users whose written words are exchanged or hidden: notes go with their entries, and names become codes."""

    @pytest.fixture
    def spoken(self, tiny_population: Any) -> Any:
        """The population with a reason for each entry, and a description, that name what they are about."""
        lm = language_model(tiny_population)
        assert lm is not None
        mind, title = lm.mind, tiny_population.catalogue.title
        text = tuple(f"Because of {title[i]}." for i in mind.memory.item.tolist())
        memory = replace(mind.memory, notes=Notes(text, np.arange(len(text))))
        first = [title[int(own.item[0])] for own in mind.profiles]
        written = tuple((Stage(1, (0, 1, 2), f"I begin with {t}."),) for t in first)
        told = replace(lm, mind=replace(mind, memory=memory, profiles=replace(mind.profiles, written=written)))
        return tiny_population.with_(rating_model=MemoRatingModel(told, len(title)))

    def test_a_note_stays_with_its_entry(self, spoken: Any) -> None:
        memory = language_model(disturbed(spoken, 0)["memory swapped"]).mind.memory  # type: ignore[union-attr]
        own = language_model(spoken).mind.memory  # type: ignore[union-attr]
        assert not np.array_equal(memory.item, own.item)
        for entry in range(len(memory)):
            said = f"I gave it {memory.rating[entry]:g}. Because of {spoken.catalogue.title[memory.item[entry]]}."
            assert memory.reason(entry) == said

    def test_hidden_titles_are_hidden_in_words_too(self, spoken: Any) -> None:
        mind = language_model(disturbed(spoken, 0)["opaque titles"]).mind  # type: ignore[union-attr]
        coded = mind.writer.catalogue.title
        assert not set(coded) & set(spoken.catalogue.title)
        for entry in range(0, len(mind.memory), 7):
            assert mind.memory.reason(entry).endswith(f"Because of {coded[mind.memory.item[entry]]}.")
        for own in mind.profiles:
            assert own.description == f"I begin with {coded[int(own.item[0])]}."


TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE


class TestLocal:
    """A random model writes nonsense: it must be asked in its own form, and nonsense must be counted."""

    def chat(self, tokenizer: Any, llama: Any, template: str = TEMPLATE) -> LocalChat:
        import copy

        own = copy.deepcopy(tokenizer)
        own.chat_template = template
        return LocalChat(llama(), own, "tiny")

    def test_tokens_are_counted_and_answers_repeat(self, tiny_tokenizer: Any, tiny_llama: Any) -> None:
        talk = [Message("system", "Rated films."), Message("user", "Likes Comedy")]
        chat = self.chat(tiny_tokenizer, tiny_llama)
        reply = chat.ask(talk, {}, max_tokens=7)
        text = "<system>Rated films.<user>Likes Comedy<assistant>"
        assert reply.prompt_tokens == len(tiny_tokenizer(text, add_special_tokens=False)["input_ids"])
        assert reply.written_tokens == 7
        assert reply.cut_off
        assert chat.ask(talk, {}, max_tokens=7) == reply
        folded = self.chat(tiny_tokenizer, tiny_llama, NO_SYSTEM).ask(talk, {}, max_tokens=7)
        merged = "<user>Rated films.\n\nLikes Comedy<assistant>"
        assert folded.prompt_tokens == len(tiny_tokenizer(merged, add_special_tokens=False)["input_ids"])

    def test_nonsense_is_counted_and_stands_for_nobody(
        self, tiny_tokenizer: Any, tiny_llama: Any, tmp_path: Path
    ) -> None:
        log = tiny_log(2, 9)
        catalogue = tiny_catalogue(log.items)
        settings = LLMSettings(batch=1, words=20)
        stories = Stories.of(log, catalogue, Crowd.fit(log, catalogue), settings)
        a = asker(tmp_path, self.chat(tiny_tokenizer, tiny_llama))
        a.model.model.config.max_position_embeddings = 100_000  # type: ignore[attr-defined]
        a.patience = replace(a.patience, repairs=1)
        outcome = tell(stories, range(2), a, concurrency=2)
        assert outcome.told == {}
        assert set(outcome.undone) == {0, 1}
        assert (a.count["malformed"], a.ledger.outcomes) == (4, {"malformed": 4})

    def test_what_does_not_fit_and_what_takes_no_instructions(self, tiny_tokenizer: Any, tiny_llama: Any) -> None:
        from simenv.training.llm.chat import RefusedError

        chat = self.chat(tiny_tokenizer, tiny_llama)
        with pytest.raises(RefusedError, match="exceed the model's"):
            chat.ask([Message("user", "word " * 3000)], {}, max_tokens=7)
        with pytest.raises(ConfigError, match="has no chat template"):
            LocalChat(tiny_llama(), tiny_tokenizer, "tiny")
