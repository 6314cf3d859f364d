"""Bases by name and our own: both families, LoRA, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from simenv.datasets.annotators import Annotations
from simenv.errors import ConfigError
from simenv.training.personal.arm import ARMS
from simenv.training.personal.base import Base, EmbeddedSettings, Kind, PeftSettings, embedded, load
from simenv.training.personal.model import PersonalModel
from simenv.training.personal.tune import probabilities, prompts
from simenv.training.personal.wording import INSTRUCT
from simenv.training.world_model import WorldModelSize

Bases = Callable[[Kind], Base]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_base: Bases) -> dict[str, Path]:
    """A folder of each family in Hugging Face layout."""
    out = {}
    for kind in ("decoder", "encoder-decoder"):
        base, folder = tiny_base(kind), tmp_path_factory.mktemp(kind)
        base.model.save_pretrained(folder)
        base.tokenizer.save_pretrained(folder)
        out[kind] = folder
    return out


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
class TestByName:
    def test_a_folder_is_loaded_as_its_family(self, kind: Kind, folders: dict[str, Path], tiny_base: Bases) -> None:
        found = load(folders[kind])
        assert found.model.config.is_encoder_decoder == (kind == "encoder-decoder")
        assert found.wording == INSTRUCT
        want = dict(tiny_base(kind).model.named_parameters())
        assert all(torch.equal(p, want[n]) for n, p in found.model.named_parameters())

    @pytest.mark.parametrize("name", ["LM-V", "CLS-P", "Q-nS"])
    def test_it_answers_with_probabilities(
        self, name: str, kind: Kind, folders: dict[str, Path], quarrel: Annotations
    ) -> None:
        base = load(folders[kind])
        writer = base.writer(quarrel, 16, 8)
        model = PersonalModel(ARMS[name], base.tunable(0), writer.questions, len(quarrel.users), 0)
        rows = np.arange(5)
        asked = prompts(writer, ARMS[name], rows, shown={0: np.array([3])})
        p, outside = probabilities(model, asked)
        assert [q.shape for q in p] == [(5, 2), (5, 2)]
        assert all(np.allclose(q.sum(axis=1), 1, atol=1e-5) for q in p)
        assert outside.shape == (5,)
        assert (np.abs(outside) < 1e-5).all() == (name == "CLS-P")

    def test_a_lora_leaves_the_base_as_it_is(self, kind: Kind, folders: dict[str, Path]) -> None:
        base = load(folders[kind], PeftSettings(rank=2, alpha=4))
        before = {n: p.clone() for n, p in base.model.named_parameters()}
        wrapped = base.tunable(0)
        free = [n for n, p in wrapped.named_parameters() if p.requires_grad]
        assert free
        assert all("lora_" in n for n in free)
        with torch.no_grad():
            for p in wrapped.parameters():
                if p.requires_grad:
                    p.add_(1.0)
        base.release(wrapped)
        after = dict(base.model.named_parameters())
        assert set(after) == set(before)
        assert all(torch.equal(p, before[n]) for n, p in after.items())


def test_encoders_end_prompts_as_they_are_used_to(folders: dict[str, Path], quarrel: Annotations) -> None:
    base = load(folders["encoder-decoder"])
    base.tokenizer.eos_token = "<s>"
    end = base.tokenizer.eos_token_id
    assert base.writer(quarrel, 8, 8).prompt(0, 0, "nobody")[-1] == end


class TestRefused:
    def test_no_model_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be loaded"):
            load(tmp_path)

    def test_four_bits_want_a_lora(self) -> None:
        with pytest.raises(ConfigError, match="give the LoRA a rank"):
            PeftSettings(four_bit=True)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="here 4 bits may work")
    def test_four_bits_want_a_gpu(self, folders: dict[str, Path]) -> None:
        with pytest.raises(ConfigError, match="4 bits want a GPU and bitsandbytes"):
            load(folders["decoder"], PeftSettings(rank=2, four_bit=True))


class TestEmbedded:
    def test_reading_learns_the_texts(self, quarrel: Annotations) -> None:
        rows = np.arange(len(quarrel))
        size = WorldModelSize(hidden=16, layers=1, heads=2, vocabulary=420, positions=256)
        losses = []
        for steps in (0, 30):
            base = embedded(quarrel, rows, EmbeddedSettings(size=size, steps=steps, rate=1e-2, block=16, batch=8), 0)
            ids = torch.tensor([base.tokenizer(quarrel.text[5])["input_ids"]])
            with torch.inference_mode():
                losses.append(float(base.model(input_ids=ids, labels=ids).loss))
        assert losses[1] < losses[0] - 0.5

    def test_texts_outside_the_rows_and_all_labels_have_no_say(self, quarrel: Annotations) -> None:
        size = WorldModelSize(hidden=16, layers=1, heads=2, vocabulary=420, positions=256)
        how = EmbeddedSettings(size=size, steps=3, block=16, batch=2)
        rows = np.flatnonzero(quarrel.item < 30)
        text = tuple(t if n < 30 else f"hidden words {n}" for n, t in enumerate(quarrel.text))
        other = replace(quarrel, text=text, value=1 - quarrel.value)
        one, two = embedded(quarrel, rows, how, 0), embedded(other, rows, how, 0)
        assert one.tokenizer.get_vocab() == two.tokenizer.get_vocab()
        assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
