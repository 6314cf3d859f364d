"""Arms learn who is who where they are told, and cannot where they are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from simenv.datasets.annotators import Annotations
from simenv.errors import ConfigError
from simenv.training.personal.arm import ARMS
from simenv.training.personal.base import Base, Kind
from simenv.training.personal.carry import Lessons, carry_out, fit_strangers, own_examples, trained
from simenv.training.personal.partition import Partition, PartitionSettings, partition
from simenv.training.personal.plain import Answers
from simenv.training.personal.tune import TuneSettings, lessons, log_loss, prompts, tune

Bases = Callable[[Kind], Base]
FAST = TuneSettings(epochs=15, patience=15, rate=1e-2, person_rate=1e-1, batch=8, forget=0.0)
THIRD = 2
"""Number of user 11, of whom nothing is learned here."""


@pytest.fixture(scope="session")
def parts(quarrel: Annotations) -> Partition:
    """Users 7 and 9 known, 11 new with five labels to show; a third of the texts held out."""
    held = quarrel.item % 3 == 0
    third = quarrel.user == THIRD
    early = np.flatnonzero(~held & ~third)
    rows = {"train": early[::2], "valid": early[1::2], "test": np.flatnonzero(held & ~third)}
    return Partition(**rows, context=np.flatnonzero(~held & third)[:5], new=np.flatnonzero(held & third),
                     late=None, text_disjoint=True, kind="by hand")  # fmt: skip


def asked(name: str, base: Base, data: Annotations, parts: Partition, settings: TuneSettings = FAST) -> Answers:
    source = Lessons(base.writer(data, 32, 8), parts.train, parts.valid, settings)
    return carry_out(ARMS[name], base, source, parts, 2, 0)


def of_user(said: Answers, data: Annotations, parts: Partition, user: int) -> float:
    """Return the mean probability that a user "likes", over the test rows."""
    return float(said.test[0][data.user[parts.test] == user, 1].mean())


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
class TestLearning:
    @pytest.mark.parametrize("name", ["LM-P", "LM-V", "CLS-P", "CLS-V"])
    def test_told_who_reads_it_knows_what_they_say(
        self, name: str, kind: Kind, tiny_base: Bases, quarrel: Annotations, parts: Partition
    ) -> None:
        said = asked(name, tiny_base(kind), quarrel, parts)
        assert of_user(said, quarrel, parts, 0) > 0.85
        assert of_user(said, quarrel, parts, 1) < 0.15

    @pytest.mark.parametrize("name", ["LM", "CLS"])
    def test_not_told_it_cannot(
        self, name: str, kind: Kind, tiny_base: Bases, quarrel: Annotations, parts: Partition
    ) -> None:
        said = asked(name, tiny_base(kind), quarrel, parts, replace(FAST, epochs=4))
        assert of_user(said, quarrel, parts, 0) == pytest.approx(of_user(said, quarrel, parts, 1), abs=1e-6)
        assert all(np.allclose(p.sum(axis=1), 1, atol=1e-5) for p in said.test)


class TestHonesty:
    def test_labels_of_tested_rows_reach_nothing(
        self, tiny_base: Bases, quarrel: Annotations, parts: Partition
    ) -> None:
        """The canary: with other test labels every answer is the same to the bit."""
        other = quarrel.value.copy()
        for rows in (parts.test, parts.new):
            other[rows] = 1 - other[rows]
        short = replace(FAST, epochs=2)
        for name in ("Q-nS", "CLS-V"):
            one, two = (asked(name, tiny_base("decoder"), data, parts, short)
                        for data in (quarrel, replace(quarrel, value=other)))  # fmt: skip
            for a, b in zip(
                (*one.test, *one.new, *(one.fitted or [])), (*two.test, *two.new, *(two.fitted or [])), strict=True
            ):
                assert a.tobytes() == b.tobytes()

    def test_the_base_stays_as_it_is(self, tiny_base: Bases, quarrel: Annotations, parts: Partition) -> None:
        base = tiny_base("decoder")
        before = {n: p.clone() for n, p in base.model.named_parameters()}
        asked("CLS-P", base, quarrel, parts, replace(FAST, epochs=1))
        assert all(torch.equal(p, before[n]) for n, p in base.model.named_parameters())

    def test_examples_are_the_users_own_and_never_tested(
        self, tiny_base: Bases, quarrel: Annotations, parts: Partition
    ) -> None:
        shown = own_examples(tiny_base("decoder").writer(quarrel, 9, 9), parts, 3, 0)
        assert set(shown) == {0, 1, 2}
        for user, rows in shown.items():
            assert len(rows) == 3
            assert set(quarrel.user[rows].tolist()) == {user}
            assert not set(rows.tolist()) & {*parts.test.tolist(), *parts.new.tolist()}

    def test_new_users_are_strangers(self, tiny_base: Bases, quarrel: Annotations, parts: Partition) -> None:
        """Whose the new rows are has no say: given to a user who was trained on, they are answered the same."""
        base, short = tiny_base("decoder"), replace(FAST, epochs=2)
        user = quarrel.user.copy()
        user[parts.new] = 0
        for name in ("CLS-P", "CLS-V"):
            said = asked(name, base, quarrel, parts, short)
            moved = asked(name, base, replace(quarrel, user=user), parts, short)
            assert all(a.tobytes() == b.tobytes() for a, b in zip(said.new, moved.new, strict=True))


class TestStrangers:
    def test_a_fitted_vector_finds_its_reader(self, tiny_base: Bases, quarrel: Annotations, parts: Partition) -> None:
        """User 11 says yes, as 7 does: five labels tell, and nobody else changes."""
        said = asked("CLS-V", tiny_base("decoder"), quarrel, parts)
        assert said.fitted is not None
        assert said.fitted[0][:, 1].mean() > max(0.7, said.new[0][:, 1].mean() + 0.1)

    def test_only_the_new_users_vectors_move(self, tiny_base: Bases, quarrel: Annotations, parts: Partition) -> None:
        base = tiny_base("decoder")
        source = Lessons(base.writer(quarrel, 32, 8), parts.train, parts.valid, replace(FAST, epochs=1))
        model, _ = trained(ARMS["LM-V"], base, source, 0)
        assert model.vectors is not None
        assert not model.vectors.own[THIRD].any()
        before = {n: p.clone() for n, p in model.named_parameters()}
        fit_strangers(model, source.writer, parts.context, FAST)
        moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert moved == {"vectors.own"}
        assert torch.equal(model.vectors.own[:2], before["vectors.own"][:2])
        assert model.vectors.own[THIRD].any()
        assert all(p.requires_grad for p in model.parameters())

    def test_an_arm_without_vectors_has_nothing_to_fit(
        self, tiny_base: Bases, quarrel: Annotations, parts: Partition
    ) -> None:
        base = tiny_base("decoder")
        source = Lessons(base.writer(quarrel, 32, 8), parts.train, parts.valid, replace(FAST, epochs=0))
        model, _ = trained(ARMS["CLS-P"], base, source, 0)
        with pytest.raises(ConfigError, match="CLS-P has no vectors"):
            fit_strangers(model, source.writer, parts.context, FAST)


class TestTuning:
    def test_the_best_epoch_is_kept(self, tiny_base: Bases, quarrel: Annotations, parts: Partition) -> None:
        """A rate that ruins the model: what stays is the start, whose loss is the first of the list."""
        base = tiny_base("decoder")
        how = replace(FAST, rate=3.0, clip=1e9, epochs=3, patience=9)
        source = Lessons(base.writer(quarrel, 32, 8), parts.train, parts.valid, how)
        model, losses = trained(ARMS["CLS"], base, source, 0)
        assert losses[0] == min(losses) < max(losses)
        kept = tune(model, lambda _: prompts(source.writer, ARMS["CLS"], parts.train),
                    prompts(source.writer, ARMS["CLS"], parts.valid), replace(how, epochs=0), 0)  # fmt: skip
        assert kept == [pytest.approx(losses[0])]

    def test_patience_ends_it(self, tiny_base: Bases, quarrel: Annotations, parts: Partition) -> None:
        base = tiny_base("decoder")
        how = replace(FAST, rate=3.0, clip=1e9, epochs=9, patience=2)
        _, losses = trained(ARMS["CLS"], base, Lessons(base.writer(quarrel, 32, 8), parts.train, parts.valid, how), 0)
        assert len(losses) == 3

    def test_lessons_forget_tokens_and_readers(self, tiny_base: Bases, quarrel: Annotations) -> None:
        writer, rows = tiny_base("decoder").writer(quarrel, 32, 8), np.arange(100)
        how = TuneSettings(stranger=0.5, forget=0.5)
        one, again, next_one = (lessons(writer, ARMS["CLS-P"], rows, how, 0, epoch) for epoch in (0, 0, 1))
        assert one.tokens == again.tokens != next_one.tokens
        assert 25 < (one.user == -1).sum() < 75
        whole = prompts(writer, ARMS["CLS-P"], rows)
        assert sum(map(len, one.tokens)) < 0.9 * sum(map(len, whole.tokens))
        assert np.array_equal(one.value, quarrel.value[rows])

    def test_losses_count_given_labels_only(self) -> None:
        p = [np.array([[0.25, 0.75], [0.5, 0.5]]), np.array([[0.1, 0.9], [0.2, 0.8]])]
        assert log_loss(p, np.array([[1, -1], [-1, 0]])) == pytest.approx(-(np.log(0.75) + np.log(0.2)) / 2)

    def test_without_validation_rows_there_is_no_best_epoch(
        self, tiny_base: Bases, quarrel: Annotations, parts: Partition
    ) -> None:
        base = tiny_base("decoder")
        with pytest.raises(ConfigError, match="no validation rows"):
            trained(ARMS["CLS"], base, Lessons(base.writer(quarrel, 32, 8), parts.train, parts.train[:0], FAST), 0)


def test_a_partition_of_the_quarrel_works_end_to_end(quarrel: Annotations, tiny_base: Bases) -> None:
    found = partition(quarrel, PartitionSettings(new_users=0.0), 0)
    said = asked("Q-0S", tiny_base("decoder"), quarrel, found)
    assert len(said.test[0]) == len(found.test)
    assert said.told["outside the classes"]["test"] > 0.5  # it was never taught to answer
