"""The loop that speed is held against: one whole prompt at a time, the adapter switched per call, text parsed.

What peers do around a local model, on the same weights and prompts as the engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from simenv.agents.language_model import Prompt
from simenv.agents.local_model import LocalModel, peft_at_work


def load_naive(folder: Path, adapters: Mapping[str, Path]) -> tuple[Any, LocalModel]:
    """Return (model with switchable adapters, the tokens of its prompts)."""
    plain = LocalModel.load(folder)
    if not adapters:
        return plain.base, plain
    (first, path), *others = adapters.items()
    with peft_at_work():
        model = PeftModel.from_pretrained(plain.base, str(path), adapter_name=first)
        for name, other in others:
            model.load_adapter(str(other), adapter_name=name)
    return model.eval(), plain


def answer_naively(
    model: Any, tokens: LocalModel, prompts: Sequence[Prompt], adapters: Sequence[str | None], options: Sequence[str]
) -> list[int | None]:
    """Return the option written for each prompt; None: something else was written."""
    out = []
    for prompt, adapter in zip(prompts, adapters, strict=True):
        if adapter is not None:
            model.set_adapter(adapter)
        text = "".join((*prompt.prefix, *prompt.suffix))
        ids = tokens.tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            made = model.generate(**ids, max_new_tokens=2, do_sample=False)
        found = re.findall(
            "|".join(map(re.escape, options)), tokens.tokenizer.decode(made[0, ids["input_ids"].shape[1] :])
        )
        out.append(options.index(found[0]) if found else None)
    return out
