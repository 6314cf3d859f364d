"""LocalChat: a Hugging Face instruct model in this process. Greedy, one conversation at a time.

Nothing holds it to a schema: malformed answers are the caller's to count. Loads torch; import it only when asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from simenv.agents.local_model import best_device, wants_bf16
from simenv.errors import ConfigError
from simenv.training.llm.chat import Message, RefusedError, Reply


@final
class LocalChat:
    """A causal language model with a chat template."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        """Take a model and its tokenizer; name: what its answers are kept under.

        Raises:
            ConfigError: the tokenizer has no chat template.

        """
        if not tokenizer.chat_template:
            raise ConfigError(
                f"{name} has no chat template: it was not taught to follow instructions. Take an instruct model."
            )
        self.model, self.tokenizer, self._name = model.eval(), tokenizer, name
        self._one = threading.Lock()

    @classmethod
    def load(cls, name: str | Path) -> LocalChat:
        """Load a model by folder or Hugging Face name; a large one in bfloat16 where the hardware computes it.

        Raises:
            ConfigError: there is no such model, or it has no chat template.

        """
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(name))
            model = AutoModelForCausalLM.from_pretrained(str(name), dtype="auto")
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"the model {str(name)!r} cannot be loaded ({reason}). Give a folder or a name."
            ) from error
        device = best_device()
        dtype = torch.bfloat16 if wants_bf16(model, device) else torch.float32
        return cls(model.to(device=device, dtype=dtype), tokenizer, Path(name).name)

    @property
    def name(self) -> str:
        """The model's name; answers are greedy."""
        return f"{self._name} greedy"

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any], *, max_tokens: int) -> Reply:
        """Return the most probable continuation, up to max_tokens.

        Raises:
            RefusedError: conversation and answer do not fit the model's context.

        """
        ids = self._ids(messages)
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and len(ids) + max_tokens > limit:
            raise RefusedError(
                f"{len(ids)} tokens and an answer of up to {max_tokens} exceed the model's {limit}; take fewer words."
            )
        row = torch.tensor([ids], device=self.model.device)
        with self._one, torch.inference_mode():
            made = self.model.generate(
                input_ids=row,
                attention_mask=torch.ones_like(row),
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
            )
        written = made[0, len(ids) :]
        text = self.tokenizer.decode(written, skip_special_tokens=True)
        return Reply(text, len(ids), len(written), cut_off=len(written) >= max_tokens)

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the conversation's tokens; where a template knows no system turn, it opens the first user turn."""
        turns = [{"role": m.role, "content": m.text} for m in messages]
        try:
            return self._templated(turns)
        except Exception as error:  # templates raise their own errors
            if turns[0]["role"] != "system" or len(turns) < 2:
                raise RefusedError(f"the chat template takes no such conversation ({error}).") from error
        opening = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
        return self._templated([opening, *turns[2:]])

    def _templated(self, turns: list[dict[str, str]]) -> list[int]:
        text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return [int(i) for i in self.tokenizer(text, add_special_tokens=False)["input_ids"]]
