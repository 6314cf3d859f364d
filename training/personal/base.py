"""The language model that all arms of an experiment start from: one by name, or our own, trained on texts alone.

Our own never sees a label or a user before an arm is tuned. It is small: what it shows is what knowing the person adds,
not what a large model could do. Knows no arms.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    T5Config,
    T5ForConditionalGeneration,
)

from simenv.agents.local_model import best_device, peft_at_work, wants_bf16
from simenv.datasets.annotators import Annotations
from simenv.errors import ConfigError
from simenv.randomness import derive, generator
from simenv.training.personal.backbone import Pool
from simenv.training.personal.wording import EMBEDDED, INSTRUCT, Wording, Writer, corpus
from simenv.training.world_model import WorldModelSize, new_model, train_tokenizer

Kind = Literal["decoder", "encoder-decoder"]


@final
@dataclass(frozen=True)
class EmbeddedSettings:
    """Our own model: a Llama-type decoder or a T5, from random weights."""

    kind: Kind = "decoder"
    size: WorldModelSize = WorldModelSize(vocabulary=4096, positions=1024)  # noqa: RUF009 - frozen
    steps: int = 300
    """Steps of next-token learning on the training texts; 0: none. A T5 gets none."""
    rate: float = 2e-3
    block: int = 128
    """Tokens of one piece of text in these steps."""
    batch: int = 16


@final
@dataclass(frozen=True)
class PeftSettings:
    """How a large base is tuned."""

    rank: int = 0
    """Rank of a LoRA on all linear layers; 0: all weights are tuned."""
    alpha: int = 32
    four_bit: bool = False
    """Load the base in 4 bits (NF4, double quantisation; Dettmers et al. 2023); wants a GPU and bitsandbytes."""

    def __post_init__(self) -> None:
        if self.four_bit and not self.rank:
            raise ConfigError("weights in 4 bits cannot be tuned themselves; give the LoRA a rank, such as 16.")


@final
@dataclass(frozen=True, eq=False)
class Base:
    """A language model, its tokenizer, and how prompts are worded for it."""

    name: str
    """As reports call it."""
    model: Any
    tokenizer: Any
    wording: Wording
    peft: PeftSettings = PeftSettings()
    pool: Pool = "last"
    """What a classification head reads of a decoder."""

    def writer(self, data: Annotations, text_tokens: int, example_tokens: int) -> Writer:
        """Return what writes this base's prompts."""
        end = self.tokenizer.eos_token_id
        closing = (int(end),) if self.model.config.is_encoder_decoder and end is not None else ()
        return Writer(data, self.tokenizer, self.wording, text_tokens, example_tokens, closing)

    def tunable(self, seed: int) -> Any:
        """Return a model for one arm to change: a copy, or the base in a new LoRA (then `release` it)."""
        if not self.peft.rank:
            return copy.deepcopy(self.model)
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=self.peft.rank, lora_alpha=self.peft.alpha, target_modules="all-linear")
        with peft_at_work():
            torch.manual_seed(seed)
            return get_peft_model(self.model, config)

    def release(self, model: Any) -> None:
        """Take a LoRA off the base again; a copy is left alone."""
        if self.peft.rank:
            model.unload()


def load(name: str | Path, peft: PeftSettings | None = None) -> Base:
    """Return a base by Hugging Face name or folder, causal or encoder-decoder.

    Raises:
        ConfigError: there is no such model, or 4 bits are wanted where they cannot be had.

    """
    how = peft or PeftSettings()
    try:
        config = AutoConfig.from_pretrained(str(name))
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        tokenizer = AutoTokenizer.from_pretrained(str(name))
        model = kind.from_pretrained(str(name), dtype="auto", **_quantised(how))
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(
            f"the base model {str(name)!r} cannot be loaded ({str(error).splitlines()[0]}). Give a local folder or a "
            "Hugging Face name; 4 bits want a GPU and bitsandbytes."
        ) from error
    device = best_device()
    if not how.four_bit:
        model = model.to(device=device, dtype=torch.bfloat16 if wants_bf16(model, device) else torch.float32)
    return Base(Path(name).name, model.eval(), tokenizer, INSTRUCT, how)


def _quantised(how: PeftSettings) -> dict[str, Any]:
    if not how.four_bit:
        return {}
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": config}


def embedded(data: Annotations, rows: NDArray[np.int64], settings: EmbeddedSettings, seed: int) -> Base:
    """Return our own base for these rows' texts: its tokenizer, and weights that know the texts and nothing else.

    Only texts and users of the given rows (the training part) are looked at, and no label of theirs.
    """
    options = [option for label in data.labels for option in label.options]
    tokenizer = train_tokenizer(corpus(data, rows), options, settings.size.vocabulary)
    if settings.kind == "encoder-decoder":
        return Base("embedded T5", _new_t5(settings.size, tokenizer, derive(seed, "t5")), tokenizer, EMBEDDED)
    model = new_model(settings.size, tokenizer, derive(seed, "decoder"))
    texts = [data.text[i] for i in np.unique(data.item[rows])]
    if settings.steps:
        _read(model, tokenizer, texts, settings, seed)
    return Base("embedded decoder", model.eval(), tokenizer, EMBEDDED, pool="mean")


def _new_t5(size: WorldModelSize, tokenizer: Any, seed: int) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = T5Config(
            vocab_size=len(tokenizer),
            d_model=size.hidden,
            d_kv=size.hidden // size.heads,
            d_ff=4 * size.hidden,
            num_layers=size.layers,
            num_heads=size.heads,
            dropout_rate=0.0,
            decoder_start_token_id=tokenizer.pad_token_id,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=None,
        )
        return T5ForConditionalGeneration(config).eval()


def _read(model: Any, tokenizer: Any, texts: Sequence[str], settings: EmbeddedSettings, seed: int) -> None:
    """Learn to continue the texts, in place: next-token cross-entropy on blocks of the texts put end to end."""
    device = best_device()
    model.to(device).train()
    ids = [t for row in tokenizer(list(texts), verbose=False)["input_ids"] for t in (tokenizer.bos_token_id, *row)]
    length = min(settings.block, len(ids) - 1)
    stream, rng = np.array(ids, np.int64), generator(seed, "reading")
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=0.05, betas=(0.9, 0.98))
    peak = max(1, settings.steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / peak, max(0.02, 1 - s / settings.steps))
    )
    for _ in range(settings.steps):
        start = rng.integers(0, len(stream) - length, settings.batch)
        block = torch.from_numpy(stream[start[:, None] + np.arange(length)]).to(device)
        loss = model(input_ids=block, labels=block, use_cache=False).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
