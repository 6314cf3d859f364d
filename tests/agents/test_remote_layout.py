"""Adapters lie as serving engines load them: modules by name, plain LoRA, one matrix pair per module, no path of here.

What vLLM's `PEFTHelper` reads and refuses (0.32): docs/serving.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import Phi3Config, Phi3ForCausalLM

from simenv.training.finetune import LoraSettings, _save, attach

MODULES = {
    "llama": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "phi3": {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"},
}
REFUSED = (
    "use_dora", "lora_bias", "modules_to_save", "alora_invocation_tokens", "layer_replication", "use_bdlora",
    "use_qalora", "rank_pattern", "alpha_pattern", "trainable_token_indices",
)  # fmt: skip


@pytest.fixture(scope="module")
def phi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of a tiny Phi-3, saved as training saves it."""
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = Phi3ForCausalLM(Phi3Config(vocab_size=64, pad_token_id=0, **shape))
        folder = tmp_path_factory.mktemp("phi") / "persona-1"
        _save(attach(base, LoraSettings(rank=4, alpha=8)), folder)
    return folder


def adapters(family: str, phi: Path, tiny_folder: Path) -> list[Path]:
    return [phi] if family == "phi3" else sorted((tiny_folder / "adapters").iterdir())


@pytest.mark.parametrize("family", MODULES)
def test_the_configuration_holds_nothing_an_engine_refuses(family: str, phi: Path, tiny_folder: Path) -> None:
    for folder in adapters(family, phi, tiny_folder):
        said: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
        assert said["peft_type"] == "LORA"
        assert set(said["target_modules"]) == MODULES[family]
        assert isinstance(said["target_modules"], list)
        assert 1 <= said["r"] <= 512
        assert said["lora_alpha"] > 0
        assert said["bias"] == "none"
        assert said["init_lora_weights"] is True
        assert {name: said[name] for name in REFUSED if said.get(name)} == {}
        assert "/" not in str(said["base_model_name_or_path"])


@pytest.mark.parametrize("family", MODULES)
def test_weights_are_one_pair_for_each_module_of_each_block(family: str, phi: Path, tiny_folder: Path) -> None:
    own = MODULES[family]
    for folder in adapters(family, phi, tiny_folder):
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            shape = {name: tuple(file.get_tensor(name).shape) for name in file.keys()}  # noqa: SIM118
        blocks = {name.split(".layers.")[1].split(".")[0] for name in shape}
        start = "base_model.model.model.layers"
        part = {m: "mlp" if m in ("gate_proj", "up_proj", "gate_up_proj", "down_proj") else "self_attn" for m in own}
        modules = [f"{start}.{n}.{part[m]}.{m}" for n in blocks for m in own]
        assert set(shape) == {f"{m}.lora_{side}.weight" for m in modules for side in "AB"}
        assert all(shape[f"{m}.lora_A.weight"][0] == rank == shape[f"{m}.lora_B.weight"][1] for m in modules)


def test_nothing_else_lies_there(phi: Path, tiny_folder: Path) -> None:
    for folder in (phi, *adapters("llama", phi, tiny_folder)):
        assert {f.name for f in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
