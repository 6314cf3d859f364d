"""One pass for many prompts and questions equals one pass for each, in both families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from simenv.training.personal.backbone import DecoderOnly, Front, backbone_of
from simenv.training.personal.base import Base, Kind

Bases = Callable[[Kind], Base]
PROMPTS = ([5, 30, 31, 32, 33, 34], [5, 40], [5, 50, 51, 52])
CUES = ([60, 61], [62], [63, 64, 65])
KINDS: tuple[Kind, ...] = ("decoder", "encoder-decoder")


def front(model: Any, prompts: Any) -> Front:
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    return Front(model.get_input_embeddings()(ids), mask)


@pytest.mark.parametrize("kind", KINDS)
class TestBackbone:
    @torch.inference_mode()
    def test_rows_and_cues_do_not_touch_each_other(self, kind: Kind, tiny_base: Bases) -> None:
        model = tiny_base(kind).model
        backbone = backbone_of(model)
        together = backbone.logits(front(model, PROMPTS), CUES)
        assert together.shape == (3, 3, model.config.vocab_size)
        for n, prompt in enumerate(PROMPTS):
            for k, cue in enumerate(CUES):
                alone = backbone.logits(front(model, [prompt]), [cue])[0, 0]
                torch.testing.assert_close(together[n, k], alone, atol=1e-5, rtol=1e-5)

    @torch.inference_mode()
    def test_states_do_not_feel_padding(self, kind: Kind, tiny_base: Bases) -> None:
        model = tiny_base(kind).model
        for pool in ("last", "mean"):
            backbone = backbone_of(model, pool)
            together = backbone.state(front(model, PROMPTS))
            for n, prompt in enumerate(PROMPTS):
                alone = backbone.state(front(model, [prompt]))[0]
                torch.testing.assert_close(together[n], alone, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_decoder_says_what_transformers_says(tiny_base: Bases) -> None:
    model = tiny_base("decoder").model
    mine = backbone_of(model).logits(front(model, PROMPTS), CUES)
    theirs = model(input_ids=torch.tensor([PROMPTS[0] + CUES[2]])).logits[0, -1]
    torch.testing.assert_close(mine[0, 2], theirs, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_an_encoder_decoder_says_what_transformers_says(tiny_base: Bases) -> None:
    model = tiny_base("encoder-decoder").model
    mine = backbone_of(model).logits(front(model, PROMPTS), CUES)
    start = model.config.decoder_start_token_id
    decoded = torch.tensor([[start, *CUES[0]]])
    theirs = model(input_ids=torch.tensor([PROMPTS[0]]), decoder_input_ids=decoded).logits[0, -1]
    torch.testing.assert_close(mine[0, 0], theirs, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_pools_differ(tiny_base: Bases) -> None:
    model = tiny_base("decoder").model
    one, mean = (DecoderOnly(model, pool).state(front(model, PROMPTS[:1])) for pool in ("last", "mean"))
    assert not torch.allclose(one, mean)
    model_states = model(input_ids=torch.tensor([PROMPTS[0]]), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(mean[0], model_states[0].mean(dim=0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one[0], model_states[0, -1], atol=1e-5, rtol=1e-5)
