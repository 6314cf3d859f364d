"""LocalModel: any transformers causal LM in this process, with one LoRA per persona.

Fast path: a user's prefix once, its key/values kept; a page's suffixes against them, pages of like length together
(agents/engine.py). A small base keeps one merged copy per adapter; a large one mixes adapters in a batch (peft's
adapter_names). `score_plainly` is the reference: one whole prompt at a time.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

from simenv.agents.decoder import Decoder
from simenv.agents.engine import DecoderEngine, Engine, PrefixStore, TransformersEngine
from simenv.agents.language_model import Prompt
from simenv.agents.packing import ChatForm, Ragged, SegmentTokenizer, encode_prefixes
from simenv.agents.side_by_side import Job, side_by_side
from simenv.agents.writing import continued, ends
from simenv.errors import ConfigError

_SMALL = 20_000_000
"""Bases of fewer parameters keep one merged copy per adapter, and stay in float32: it costs them nothing, and one
population then answers alike on every machine."""
_BASE = "__base__"
_LINES = 16
"""Suffixes of one user in one forward pass, at most: more are cut into several pages."""
_SHARED, _SPLIT = 512, 4
"""Suffix tokens from which on one forward pass becomes several, and how many: never as many as there are cores, since
answers would then differ in their last bits from machine to machine."""
_Key = tuple[str | None, tuple[str, ...]]
"""Adapter and prefix."""


def small(model: Any) -> bool:
    """Return whether a model is one of the small ones; see _SMALL."""
    return bool(sum(p.numel() for p in model.parameters()) < _SMALL)


def wants_bf16(model: Any, device: torch.device) -> bool:
    """Return whether to compute in bfloat16: a large model, and hardware that does (CPUs: AVX512-BF16 or AMX)."""
    if small(model):
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


@contextmanager
def peft_at_work() -> Iterator[None]:
    """Keep torch's random state (peft draws weights before it loads them); hide a notice meant for peft's authors."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def best_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@final
class LocalModel:
    """A base and its adapters, ready to score and write."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        adapters: Mapping[str, Path] | None = None,
        *,
        merge: bool | None = None,
        rows_per_batch: int = 256,
        tokens_per_batch: int | None = None,
        prefix_bytes: int | None = None,
    ) -> None:
        """Take a base model, its tokenizer and adapter folders by name.

        merge: keep one merged copy per adapter (True) or mix adapters in a batch (False); None: by size of the base.
        rows_per_batch: texts written side by side.
        tokens_per_batch: suffix tokens of one forward pass, padding included; None: what fits a core's cache, or
        65,536 on a GPU.
        prefix_bytes: memory for key/values of prefixes met lately; None: 256 MB, or two fifths of what a GPU has free.
        """
        self.tokenizer = tokenizer
        self.segments = SegmentTokenizer(tokenizer, ChatForm.of(tokenizer))
        self.names = tuple(adapters or {})
        self.rows_per_batch = rows_per_batch
        self.merged = small(model) if merge is None else merge
        self._models: dict[str, Any] = _load_adapters(model.eval(), adapters or {}, self.merged)
        self.device = next(model.parameters()).device
        gpu = self.device.type == "cuda"
        self.tokens_per_batch = tokens_per_batch or (65_536 if gpu else 2_048)
        free = int(0.4 * torch.cuda.mem_get_info(self.device)[0]) if gpu else 256_000_000
        self.kept = PrefixStore(free if prefix_bytes is None else prefix_bytes)
        self._engines = {name: self._engine(model) for name, model in self._models.items()}

    def _engine(self, model: Any) -> Engine:
        decoder = Decoder.of(model) if self.merged or not self.names else None
        if decoder is not None:
            return DecoderEngine(decoder)
        return TransformersEngine(model, _BASE if self.names and not self.merged else None)

    @classmethod
    def load(cls, name: str | Path, adapters: Mapping[str, Path] | None = None, **options: Any) -> LocalModel:
        """Load a base by Hugging Face name or local folder; a large one in bfloat16 where the hardware computes it.

        Raises:
            ConfigError: there is no such model, or it cannot be fetched.

        """
        device = best_device()
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(name))
            model = AutoModelForCausalLM.from_pretrained(str(name), dtype="auto")
        except (OSError, ValueError) as error:  # the latter: a folder that holds something else
            raise ConfigError(
                f"the base model {str(name)!r} cannot be loaded: it is no folder with a model, and no name that can be "
                f"fetched from here ({str(error).splitlines()[0]}). Give a local folder, or a Hugging Face name."
            ) from error
        dtype = torch.bfloat16 if wants_bf16(model, device) else torch.float32
        return cls(model.to(device=device, dtype=dtype), tokenizer, adapters, **options)

    @property
    def base(self) -> Any:
        """The base model without adapters (only where copies are merged, or none is loaded)."""
        return self._models[_BASE]

    def score(
        self, prompts: Sequence[Prompt], options: Sequence[str], *, adapters: Sequence[str | None]
    ) -> NDArray[np.float32]:
        """Return float32[N, O] log-probabilities over the full vocabulary; see `LanguageModel.score`."""
        self._check(prompts, adapters)
        out = np.empty((len(prompts), len(options)), np.float32)
        asked: dict[str, dict[_Key, list[int]]] = {}
        for n, (prompt, adapter) in enumerate(zip(prompts, adapters, strict=True)):
            asked.setdefault(prompt.suffix[-1], {}).setdefault((adapter, prompt.prefix), []).append(n)
        for question, pages in asked.items():
            for rows, scored in self._score(list(pages.items()), prompts, *self.segments.answer_ids(question, options)):
                out[rows] = scored
        return out

    def forget(self) -> None:
        """Let go of the key/values of all prefixes."""
        self.kept = PrefixStore(self.kept.limit)

    def score_plainly(
        self, prompts: Sequence[Prompt], options: Sequence[str], *, adapters: Sequence[str | None]
    ) -> NDArray[np.float32]:
        """Return what `score` returns, one whole prompt at a time and without key/value reuse: the reference."""
        self._check(prompts, adapters)
        rows = []
        for prompt, adapter in zip(prompts, adapters, strict=True):
            glue, option = self.segments.answer_ids(prompt.suffix[-1], options)
            ids = self.segments.prefix_ids(prompt.prefix) + self.segments.suffix_ids(prompt.suffix, glue)
            model, extra = self._pick([adapter])
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([ids], device=self.device), **extra).logits[0, -1]
            rows.append(logits.float().log_softmax(-1)[option].cpu().numpy())
        return np.stack(rows).astype(np.float32)

    def write(
        self,
        prompts: Sequence[Prompt],
        *,
        adapters: Sequence[str | None],
        max_tokens: int,
        seed: int,
        greedy: bool = False,
        options: Sequence[str] = (),
    ) -> list[str]:
        """Return continuations: sampled, reproducible by seed on one machine; or greedy, in batches and without luck.

        options: begin where `score` reads these, behind the blank it may put after the question; (): right behind it.
        """
        self._check(prompts, adapters)
        glue = {q: self.segments.answer_ids(q, options)[0] if options else [] for q in {p.suffix[-1] for p in prompts}}
        suffix = [self.segments.suffix_ids(p.suffix, glue[p.suffix[-1]]) for p in prompts]
        if greedy:
            return self._write_greedily(prompts, adapters, suffix, max_tokens)
        texts = []
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            for prompt, adapter, asked in zip(prompts, adapters, suffix, strict=True):
                model, extra = self._pick([adapter])
                row = torch.tensor([self.segments.prefix_ids(prompt.prefix) + asked], device=self.device)
                made = model.generate(
                    input_ids=row,
                    attention_mask=torch.ones_like(row),
                    max_new_tokens=max_tokens,
                    do_sample=True,
                    **extra,
                )
                texts.append(self.tokenizer.decode(made[0, row.shape[1] :], skip_special_tokens=True))
        return texts

    def _write_greedily(
        self, prompts: Sequence[Prompt], adapters: Sequence[str | None], suffix: list[list[int]], max_tokens: int
    ) -> list[str]:
        """Return greedy continuations, prompts of one adapter and one prefix side by side."""
        texts, step = [""] * len(prompts), self.rows_per_batch
        order = sorted(range(len(prompts)), key=lambda n: (adapters[n] or "", prompts[n].prefix, len(suffix[n])))
        for name in dict.fromkeys(adapters[n] for n in order):
            own = [n for n in order if adapters[n] == name]
            model, extra = self._pick([name])
            end = ends(model, self.tokenizer)
            for batch in (own[start : start + step] for start in range(0, len(own), step)):
                known = {p: row for row, p in enumerate(dict.fromkeys(prompts[n].prefix for n in batch))}
                ids = [self.segments.prefix_ids(p) for p in known]
                row = torch.tensor([known[prompts[n].prefix] for n in batch], device=self.device)
                asked = Ragged.of([suffix[n] for n in batch], self.device, left=True)
                for_prefix, for_suffix = ({k: v * size for k, v in extra.items()} for size in (len(ids), len(batch)))
                with torch.inference_mode():
                    cache = encode_prefixes(model, Ragged.of(ids, self.device, left=False), **for_prefix)
                    made = continued(model, cache, row, asked, max_tokens, end, **for_suffix)
                for n, answer in zip(batch, made, strict=True):
                    texts[n] = self.tokenizer.decode(answer, skip_special_tokens=True)
        return texts

    def _check(self, prompts: Sequence[Prompt], adapters: Sequence[str | None]) -> None:
        if len(adapters) != len(prompts):
            raise ConfigError(f"{len(prompts)} prompts need as many adapters; got {len(adapters)}.")
        unknown = {a for a in adapters if a is not None} - set(self.names)
        if unknown:
            raise ConfigError(f"unknown adapter {sorted(unknown)[0]!r}; loaded are {list(self.names) or 'none'}.")

    def _score(
        self, pages: Sequence[tuple[_Key, list[int]]], prompts: Sequence[Prompt], glue: list[int], option: list[int]
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Yield (positions, scores) of pages that share a question, some pages at a time."""
        self.segments.learn(segment for _, rows in pages for n in rows for segment in prompts[n].suffix)
        suffix = {n: self.segments.suffix_ids(prompts[n].suffix, glue) for _, rows in pages for n in rows}
        ready = [(key, sorted(rows, key=lambda n: len(suffix[n]))) for key, rows in pages]
        cut = [(key, rows[k : k + _LINES]) for key, rows in ready for k in range(0, len(rows), _LINES)]
        jobs = (self._job(engine, batch, suffix, option) for engine, batch in self._batches(cut, suffix))
        yield from side_by_side(jobs, self._workers)

    def _job(
        self, engine: Engine, batch: list[tuple[_Key, list[int]]], suffix: Mapping[int, list[int]], option: list[int]
    ) -> Job[tuple[list[int], NDArray[np.float32]]]:
        """Return the work of one forward pass, its prefixes computed."""
        with torch.inference_mode():
            kept = self._prefixes(engine, [key for key, _ in batch])
        names = [name for name, _ in (key for key, _ in batch)]

        def work() -> tuple[list[int], NDArray[np.float32]]:
            with torch.inference_mode():  # holds for one thread
                logits = engine.logits(kept, [[suffix[n] for n in rows] for _, rows in batch], names)
                return [n for _, rows in batch for n in rows], _logp(logits, option)

        return work

    @property
    def _workers(self) -> int:
        """Forward passes side by side: one per core for small models on a CPU, one at a time for large ones."""
        return torch.get_num_threads() if self._side_by_side else 1

    @property
    def _side_by_side(self) -> bool:
        return self.merged and self.device.type == "cpu"

    def _batches(
        self, pages: Sequence[tuple[_Key, list[int]]], suffix: Mapping[int, list[int]]
    ) -> Iterator[tuple[Engine, list[tuple[_Key, list[int]]]]]:
        """Yield pages for one forward pass: of one set of weights, of like length, up to a number of tokens."""
        engines = dict.fromkeys(self._engine_of(name) for (name, _), _ in pages)
        total = sum(len(rows) * len(suffix[rows[-1]]) for _, rows in pages)
        limit = min(self.tokens_per_batch, max(total // (_SPLIT if self._side_by_side else 1) + 1, _SHARED))
        for engine in engines:
            own = [p for p in pages if self._engine_of(p[0][0]) is engine]
            own.sort(key=lambda page: (len(suffix[page[1][-1]]), len(page[1])))
            batch: list[tuple[_Key, list[int]]] = []
            tokens = 0
            for key, rows in own:
                size = len(rows) * len(suffix[rows[-1]])
                if batch and tokens + size > limit:
                    yield engine, batch
                    batch, tokens = [], 0
                batch.append((key, rows))
                tokens += size
            if batch:
                yield engine, batch

    def _prefixes(self, engine: Engine, keys: list[_Key]) -> list[Any]:
        """Return what is kept of prefixes, computing those not met lately."""
        return self.kept.take(
            keys,
            lambda missing: engine.encode(
                [self.segments.prefix_ids(keys[n][1]) for n in missing], [keys[n][0] for n in missing]
            ),
        )

    def _engine_of(self, name: str | None) -> Engine:
        return self._engines[(name or _BASE) if self.merged else _BASE]

    def _pick(self, names: Sequence[str | None]) -> tuple[Any, dict[str, Any]]:
        """Return the model for rows of these adapters, and what its forward wants beside the tensors."""
        if self.merged:
            return self._models[names[0] or _BASE], {}
        extra = {"adapter_names": [name or _BASE for name in names]} if self.names else {}
        return self._models[_BASE], extra


def _logp(logits: torch.Tensor, option: list[int]) -> NDArray[np.float32]:
    """Return float32[N, O]: log-probabilities of options over the full vocabulary."""
    wide = logits.float()
    return np.asarray((wide[:, option] - wide.logsumexp(dim=-1, keepdim=True)).cpu().numpy(), np.float32)


def _load_adapters(base: Any, adapters: Mapping[str, Path], merged: bool) -> dict[str, Any]:
    from peft import PeftModel  # the slowest import of all

    if not adapters:
        return {_BASE: base}
    with peft_at_work():
        if merged:
            copies = {
                name: PeftModel.from_pretrained(copy.deepcopy(base), str(path)).merge_and_unload().eval()
                for name, path in adapters.items()
            }
            return {_BASE: base, **copies}
        (first, path), *others = adapters.items()
        model = PeftModel.from_pretrained(base, str(path), adapter_name=first)
        for name, folder in others:
            model.load_adapter(str(folder), adapter_name=name)
    return {_BASE: model.eval()}
