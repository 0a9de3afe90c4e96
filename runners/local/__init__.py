"""`local:MODEL`, an inference engine of this project's own in PyTorch.

MODEL is `smollm2` (a small model out of a wheel), a folder with safetensors or GGUF, a .gguf file, or `org/name` on the
hub. Text lives here and in tokens.py; token ids in engine.py, scheduler.py and cache.py; tensors in device.py, step.py,
ops/ and models/.
"""

import asyncio
import hashlib
import math
import secrets
import time
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass
from typing import Any, cast

import torch

import m1eval
from m1eval import Likelihood, Output, Progress, Request, RunnerError, Timing, Usage, UsageError
from m1eval.model.thinking import DEFAULT, KNOWN, Form, form_of, named, opened_by, split_thinking
from m1eval.text import plural

from . import options
from .engine.block_pool import BlockPool, StateSnapshots, hash_blocks
from .engine.engine import Engine, Executor
from .engine.executor import MultiprocessExecutor, build_model_runner
from .engine.memory import GIB, Capacity, EngineConfig
from .engine.sampling import SamplingParams
from .engine.scheduler import Scheduler
from .engine.sequence import Sequence
from .layers.cache_spec import BLOCK_SIZE, LinearStateSpec
from .layers.sharding import Shard
from .models import CausalLM
from .tokenizer.model_tokenizer import ModelTokenizer
from .tokenizer.streaming import StopStringMatcher, ThinkingBudget
from .weights.config_keys import config_keys
from .weights.loader import Loaded, find, load, places

DTYPES = ("float32", "bfloat16", "float16")
MAX_THREADS, MAX_GPUS, MAX_BATCH = 1024, 1024, 2**20
"""What `threads`, `gpus` and `batch` may be at most; of more, neither PyTorch nor the machine can be asked."""


@dataclass
class _Prompt:
    token_ids: list[int]
    open_thinking: Form | None
    """The form of the thinking that it ends inside of."""


class Runner(m1eval.Runner):
    """Answers requests from weights on this machine; see the module for MODEL.

    Options: `dtype` (float32 on a CPU, bfloat16 on a GPU), `device` (the first GPU, else the CPU), `gpus` (1: over so
    many, one process each), `window` tokens (the model's), `batch` sequences at once (16 on a CPU, 256 on a GPU, fewer
    where their states do not fit), `chunk` tokens of prompts in a step (512 on a CPU, 32768 on a GPU), `memory` in GiB
    on each GPU for what is kept of the past (what is free), `prefix_cache` (on), `graphs` (CUDA graphs, on where there
    are any), `invariant` (off: answers that do not depend on what else is being answered, not even by a rounding, at
    some cost in speed; switches the prefix cache off, and a run then goes on only with the same `batch`, `chunk`,
    `gpus`, `graphs` and `threads`, on the same device), `think_end` (the text by which thinking is ended), `think_tags`
    (the model's form of thinking, by name or as OPEN,CLOSE; any known one that opens the output), `threads` of a CPU
    (torch's own choice), `revision` of a model on the hub, `ignore_config_keys` (none: keys of config.json, with commas
    between, to go on without although they may change what the model computes).
    """

    unpinned_options = frozenset({"batch", "gpus", "threads", "memory", "prefix_cache", "graphs"})

    def __init__(
        self,
        model: str = "smollm2",
        *,
        dtype: str | None = None,
        device: str | None = None,
        gpus: int = 1,
        window: int | None = None,
        batch: int | None = None,
        chunk: int | None = None,
        memory: float | None = None,
        prefix_cache: bool = True,
        graphs: bool | None = None,
        invariant: bool = False,
        think_end: str | None = None,
        think_tags: Any = None,
        threads: int | None = None,
        revision: str | None = None,
        ignore_config_keys: str | Sequence_[str] = (),
    ) -> None:
        self.ignored_keys = config_keys(ignore_config_keys)
        # A revision such as 0610417 is read as a number: what it was is not known any more, and it is refused.
        self.model, self.revision = model, None if revision is None else options.text("revision", revision)
        self.threads = None if threads is None else options.integer("threads", threads, MAX_THREADS)
        self.device = options.device(device)
        on_gpu, self.gpus = self.device.type != "cpu", options.integer("gpus", gpus, MAX_GPUS)
        self.dtype = dtype or ("bfloat16" if on_gpu else "float32")
        if self.dtype not in DTYPES:
            raise UsageError(f"local: no dtype '{self.dtype}'; there are {', '.join(DTYPES)}")
        self._check_gpus()
        try:
            self.think_tags = KNOWN if think_tags is None else named(think_tags)
        except ValueError as error:
            raise UsageError(f"local: think_tags: {error}") from None
        think_end = None if think_end is None else options.text("think_end", think_end)
        if think_end is not None and not any(form.ends(think_end) for form in self.think_tags):
            raise UsageError(f"local: think_end must contain {self.think_tags[0].close}")
        self.batch = options.integer("batch", (256 if on_gpu else 16) if batch is None else batch, MAX_BATCH)
        tokens = options.tokens("chunk", (32768 if on_gpu else 512) if chunk is None else chunk)
        self.chunk = -(-tokens // BLOCK_SIZE) * BLOCK_SIZE
        self.memory = None if memory is None else int(options.positive("memory", memory, "GiB") * GIB)
        self.invariant = options.boolean("invariant", invariant)
        self.prefix_cache = options.boolean("prefix_cache", prefix_cache) and not self.invariant
        self.graphs, self.think_end = on_gpu if graphs is None else options.boolean("graphs", graphs), think_end
        self.concurrency = 2 * self.batch  # so that a place that falls free is taken at once
        self.context_window = None if window is None else options.tokens("window", window)
        self.tokenizer: ModelTokenizer | None = None
        self._loaded: Loaded | None = None
        self._engine: Engine | None = None
        self._executor: MultiprocessExecutor | None = None
        self._capacity: Capacity | None = None

    @classmethod
    def pinned(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What else must be the same for a run to continue: with `invariant`, all that its answers depend on."""
        return cls("", **given)._pinned() if given.get("invariant") else {}

    def _pinned(self) -> dict[str, Any]:
        """What decides the shapes and the order of sums, and so the roundings; once started, as it came out."""
        on_gpu = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if on_gpu else self.device.type,
            "dtype": self.dtype,
            "gpus": self.gpus,
            "batch": self.batch,
            "chunk": self.chunk,
            "graphs": self.graphs,
            **({} if on_gpu else {"threads": self.threads or torch.get_num_threads()}),
        }

    async def start(self, progress: Progress) -> None:
        """Find, read and check the model, and start its engine; RunnerError in one line if that cannot be."""
        if self.threads:
            torch.set_num_threads(self.threads)
        try:
            await asyncio.to_thread(self._load, progress)
        except Exception:
            await self.aclose()
            raise

    def _check_gpus(self) -> None:
        if self.gpus > 1 and self.device.type == "cuda":
            if self.device.index:
                raise UsageError(f"local: gpus={self.gpus} takes the first ones: hide others by CUDA_VISIBLE_DEVICES")
            if self.gpus > (there := torch.cuda.device_count()):
                raise UsageError(f"local: gpus={self.gpus}, and there {'is' if there == 1 else 'are'} {there} here")

    def _load(self, progress: Progress) -> None:
        source, dtype = find(self.model, self.revision, progress), getattr(torch, self.dtype)
        if self.gpus > 1:
            self._executor = MultiprocessExecutor(
                source, dtype, self.device, self.gpus, window=self.context_window, ignored=self.ignored_keys
            )
        self._loaded = load(
            source,
            dtype=dtype,
            device=self.device,
            progress=progress,
            shard=Shard(0, self.gpus),
            window=self.context_window,
            ignored=self.ignored_keys,
        )
        self.tokenizer = self._loaded.tokenizer
        model = cast(CausalLM, self._loaded.model)
        self.context_window = self.context_window or model.window
        if self.context_window > model.window:
            raise UsageError(f"local: a window of {self.context_window} is more than the model's {model.window}")
        self._engine = self.build_engine(model, self.context_window)

    def build_engine(self, model: CausalLM, window: int) -> Engine:
        """An engine around a model in this runner's settings."""
        chunk = min(self.chunk, -(-window // BLOCK_SIZE) * BLOCK_SIZE)
        config = EngineConfig(
            dtype=getattr(torch, self.dtype),
            device=self.device,
            max_num_seqs=self.batch,
            window=window,
            chunk_size=chunk,
            cache_bytes=self.memory,
            graphs=self.graphs,
            invariant=self.invariant,
            world_size=self.gpus,
        )
        executor: Executor
        if self._executor:
            capacity, executor = self._executor.initialize(model, config), self._executor
        else:
            capacity = config.capacity(model)
            executor = build_model_runner(model, config, capacity)
        self._capacity = capacity
        has_states = any(isinstance(kind, LinearStateSpec) for kind in model.cache_specs)
        scheduler = Scheduler(
            BlockPool(capacity.num_blocks),
            StateSnapshots(capacity.num_snapshots),
            max_num_seqs=capacity.max_num_seqs,
            chunk_size=chunk,
            has_states=has_states,
            invariant=self.invariant,
        )
        return Engine(executor, scheduler, async_scheduling=self.device.type == "cuda")

    async def generate(self, request: Request) -> Output:
        """Answer one request together with all others that are under way.

        New tokens are counted with the one that ended the answer; a prompt must leave room for one. ValueError for a
        request that cannot be answered, RunnerError for one that shows that none can. `request.progress` is told from
        the engine's thread.
        """
        began = time.monotonic()
        engine, window = self._started()
        prompt = await asyncio.to_thread(self._prompt, request)
        if len(prompt.token_ids) >= window:
            said = f"prompt has {plural(len(prompt.token_ids), 'token')}, the window is {window:,}"
            return Output(finish_reason="refused_context", error=said, usage=Usage(prompt=len(prompt.token_ids)))
        sequence, stop_matcher, budget = await asyncio.to_thread(self._sequence, request, prompt, window)
        engine.submit(sequence)
        await asyncio.wrap_future(sequence.future)
        return self._output(sequence, stop_matcher, budget, prompt.open_thinking, began)

    async def loglikelihood(self, request: Request, continuation: str) -> Likelihood:
        """How likely the model would go on with this text, as multiple choice asks; ValueError if it is too long.

        The continuation is tokenized together with the prompt; its tokens are those after the prompt's own.
        """
        engine, window = self._started()
        assert self.tokenizer is not None
        before = await asyncio.to_thread(self._prompt, request)
        text = self._text(request)
        if text is None:
            ids = [*before.token_ids, *self.tokenizer.encode(continuation)]
        else:
            encode = self.tokenizer.encode_raw if request.messages is None else self.tokenizer.encode
            ids = await asyncio.to_thread(encode, text + continuation)
        count = len(ids) - len(before.token_ids)
        if count < 1 or len(ids) > window:
            raise ValueError(
                f"a continuation of {plural(count, 'token')} after {len(before.token_ids):,} cannot be scored in a "
                f"window of {window:,}"
            )
        sequence = Sequence(
            prompt_token_ids=ids,
            max_tokens=0,
            sampling_params=SamplingParams.from_sampling(request.sampling, 0),
            num_scored=count,
            block_hashes=self._block_hashes(ids),
            progress=request.progress,
        )
        engine.submit(sequence)
        await asyncio.wrap_future(sequence.future)
        total = sum(found.logprob for found in sequence.prompt_logprobs)
        return Likelihood(
            logprob=total, greedy=all(found.is_greedy for found in sequence.prompt_logprobs), tokens=count
        )

    async def bench(
        self, progress: Progress, lengths: Sequence_[int] = (), batches: Sequence_[int] = ()
    ) -> dict[str, Any]:
        """How fast the model runs here beside what the device allows; see bench.report."""
        from . import bench

        await self.start(progress)
        engine, window = self._started()
        assert self._loaded is not None
        return await asyncio.to_thread(
            bench.report,
            cast(CausalLM, self._loaded.model),
            engine,
            dtype=getattr(torch, self.dtype),
            device=self.device,
            window=window,
            lengths=lengths,
            batches=batches,
            say=progress.status,
        )

    async def aclose(self) -> None:
        """Stop the engine and give the memory back."""
        engine, self._engine, self._loaded = self._engine, None, None
        if engine:
            await asyncio.to_thread(engine.close)
        executor, self._executor = self._executor, None
        if executor:
            await asyncio.to_thread(executor.close)

    def describe(self) -> dict[str, Any]:
        """What decides the results: the weights, the numbers they are computed in, the template."""
        about: dict[str, Any] = {"model": self.model, "device": str(self.device), "dtype": self.dtype}
        about["gpus"] = self.gpus
        if self.invariant:
            batch = {"batch": self._capacity.max_num_seqs} if self._capacity else {}
            about["pinned"] = {**self._pinned(), **batch, "window": self.context_window}
        about |= {"window": self.context_window, "torch": torch.__version__}
        if self._loaded:
            model, tokenizer, source = self._loaded
            about["architecture"] = type(model).__module__.rpartition(".")[2]
            about["parameters"] = sum(math.prod(slot.shape) for slot in places(model).values())
            about["source"] = source.name
            if tokenizer.template:
                text = "\n".join(tokenizer.template.sources.values())
                about["template"] = hashlib.sha256(text.encode()).hexdigest()
        return about

    def _started(self) -> tuple[Engine, int]:
        if self._engine is None or self.context_window is None:
            raise RuntimeError("the runner is not started")
        return self._engine, self.context_window

    def _text(self, request: Request) -> str | None:
        assert self.tokenizer is not None
        if request.messages is not None:
            return self.tokenizer.render(request.messages, request.tools)
        return request.prompt

    def _prompt(self, request: Request) -> _Prompt:
        assert self.tokenizer is not None
        text = self._text(request)
        if text is None:
            ids = request.token_ids or []
        else:
            ids = self.tokenizer.encode_raw(text) if request.messages is None else self.tokenizer.encode(text)
        size = cast(CausalLM, self._loaded.model if self._loaded else None).vocab_size
        if not ids or min(ids) < 0 or max(ids) >= size:
            raise ValueError(f"the prompt is empty, or has token ids outside of 0 to {size - 1}")
        end = self.tokenizer.decode(ids[-16:]) if text is None else text
        return _Prompt(ids, opened_by(end, self.think_tags))

    def _block_hashes(self, ids: list[int]) -> list[bytes]:
        return hash_blocks(ids) if self.prefix_cache else []

    def _sequence(
        self, request: Request, prompt: _Prompt, window: int
    ) -> tuple[Sequence, StopStringMatcher | None, ThinkingBudget | None]:
        assert self.tokenizer is not None
        sampling, think_limit = request.sampling, request.think_budget
        if sampling.max_tokens is not None and sampling.max_tokens < 1:
            raise ValueError(f"max_tokens is {sampling.max_tokens}: nothing can be generated")
        if (
            think_limit is not None
            and prompt.open_thinking
            and self.think_end
            and not prompt.open_thinking.ends(self.think_end)
        ):
            raise RunnerError(
                f"local: think_end must contain {prompt.open_thinking.close}, which ends this model's thinking"
            )
        thinking: dict[str, Any] = {"opened": prompt.open_thinking, "tags": self.think_tags}
        stop_matcher = (
            StopStringMatcher(self.tokenizer.decode_output, sampling.stop, **thinking) if sampling.stop else None
        )
        budget = (
            None if think_limit is None else ThinkingBudget(self.tokenizer, think_limit, self.think_end, **thinking)
        )
        room = window - len(prompt.token_ids)
        limit = min(room, sampling.max_tokens or room)
        forced = budget.initial_tokens() if budget else []
        if len(forced) >= limit:
            raise ValueError(
                f"{limit} new tokens leave no room for an answer after the {len(forced)} that end thinking"
            )
        sequence = Sequence(
            prompt_token_ids=prompt.token_ids,
            max_tokens=limit,
            sampling_params=SamplingParams.from_sampling(
                sampling, secrets.randbits(63) if sampling.seed is None else sampling.seed
            ),
            stop_token_ids=self.tokenizer.stop_token_ids,
            stop_check=stop_matcher,
            forced_tokens=budget,
            output_token_ids=forced,
            output_logprobs=[0.0] * len(forced),
            logprobs=request.logprobs,
            block_hashes=self._block_hashes(prompt.token_ids),
            progress=request.progress,
        )
        return sequence, stop_matcher, budget

    def _output(
        self,
        sequence: Sequence,
        stop_matcher: StopStringMatcher | None,
        budget: ThinkingBudget | None,
        opened: Form | None,
        began: float,
    ) -> Output:
        assert self.tokenizer is not None
        assert sequence.finish_reason is not None
        token_ids = sequence.output_token_ids
        ends_by_token = token_ids[-1] in sequence.stop_token_ids
        finish = "stop" if stop_matcher and stop_matcher.finish() else sequence.finish_reason
        stopped_text = stop_matcher.text if stop_matcher else None
        output_ids = token_ids[:-1] if ends_by_token else token_ids
        text = self.tokenizer.decode_output(output_ids) if stopped_text is None else stopped_text
        truncated, tags = finish == "length", opened or self.think_tags
        split = split_thinking(text, opened=opened is not None, truncated=truncated, tags=tags)
        form = opened or form_of(text, self.think_tags, opened=False)
        num_thinking = len(token_ids) if split.unfinished else self._count_thinking(token_ids, split.reasoning, form)
        about = {"budget": budget.limit, "forced": budget.forced, "tokens": budget.count} if budget else None
        return Output(
            text=self.tokenizer.strip_special(split.text, text, output_ids),
            reasoning=self.tokenizer.strip_special(split.reasoning, text, output_ids),
            unfinished_thinking=split.unfinished,
            finish_reason=finish,
            logprobs=sequence.output_logprobs if sequence.logprobs else None,
            usage=Usage(
                prompt=len(sequence.prompt_token_ids),
                cached=sequence.num_cached_tokens,
                reasoning=num_thinking,
                answer=len(token_ids) - num_thinking,
            ),
            timing=Timing(
                tokenize=sequence.submitted_at - began,
                queue=sequence.started_at - sequence.submitted_at,
                first_token=sequence.first_token_at - sequence.started_at,
                total=time.monotonic() - began,
            ),
            metadata={"thinking": about} if about else {},
        )

    def _count_thinking(self, token_ids: list[int], reasoning: str, form: Form = DEFAULT) -> int:
        """How many of the new tokens were thinking: up to the closing tag, or as many as the text of it takes."""
        assert self.tokenizer is not None
        if not reasoning:
            return 0
        end = self.tokenizer.thinking_end_id(form)
        if end in token_ids:
            return len(token_ids) - token_ids[::-1].index(end)
        return min(len(self.tokenizer.encode(reasoning)), len(token_ids))
