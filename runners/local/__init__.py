"""`local:MODEL`, an inference engine of this project's own in PyTorch.

MODEL is `smollm2` (a small model out of a wheel), a folder with safetensors or GGUF, a .gguf file, or `org/name` on the
hub. Text lives here and in tokens.py, token ids in engine.py, tensors in cache.py, sampling.py and models/.
"""

import asyncio
import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Any, cast

import torch

from m1eval import Output, Progress, Request, RunnerError, Timing, Usage
from m1eval.thinking import THINK, split_thinking

from .cache import Cache
from .engine import Engine, Sequence
from .loading import Loaded, find, load
from .models import Language
from .sampling import Draw
from .tokens import ModelTokenizer, Watch

DTYPES = ("float32", "bfloat16", "float16")


@dataclass
class _Prompt:
    ids: list[int]
    opened: bool
    """Whether it ends inside a think block."""


class Runner:
    """Answers requests from weights on this machine; see the module for MODEL.

    Options: `dtype` (float32 on a CPU, bfloat16 on a GPU), `device` (the first GPU, else the CPU), `window` tokens (the
    model's), `batch` sequences at once (16 on a CPU, 64 on a GPU), `threads` of a CPU (torch's own choice), `revision`
    of a model on the hub.
    """

    loose = frozenset({"batch", "threads"})

    def __init__(
        self,
        model: str = "smollm2",
        *,
        dtype: str | None = None,
        device: str | None = None,
        window: int | None = None,
        batch: int | None = None,
        threads: int | None = None,
        revision: str | None = None,
    ) -> None:
        self.model, self.revision, self.threads = model, revision, threads
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        on_gpu = self.device.type != "cpu"
        self.dtype = dtype or ("bfloat16" if on_gpu else "float32")
        if self.dtype not in DTYPES:
            raise RunnerError(f"local: no dtype '{self.dtype}'; there are {', '.join(DTYPES)}")
        self.batch = batch or (64 if on_gpu else 16)
        self.chunk = 4096 if on_gpu else 512
        self.concurrency = 2 * self.batch  # so that a place that falls free is taken at once
        self.window = window
        self.tokenizer: ModelTokenizer | None = None
        self._loaded: Loaded | None = None
        self._engine: Engine | None = None

    async def start(self, progress: Progress) -> None:
        """Find, read and check the model, and start its engine; RunnerError in one line if that cannot be."""
        if self.threads:
            torch.set_num_threads(self.threads)
        await asyncio.to_thread(self._load, progress)

    def _load(self, progress: Progress) -> None:
        dtype: torch.dtype = getattr(torch, self.dtype)
        source = find(self.model, self.revision, progress)
        self._loaded = load(source, dtype=dtype, device=self.device, progress=progress)
        self.tokenizer = self._loaded.tokenizer
        model = cast(Language, self._loaded.model)
        self.window = self.window or model.window
        if self.window > model.window:
            raise RunnerError(f"local: a window of {self.window} is more than the model's {model.window}")
        cache = Cache(model.memory, slots=self.batch, window=self.window, dtype=dtype, device=self.device)
        self._engine = Engine(model, cache, batch=self.batch, chunk=self.chunk)

    async def generate(self, request: Request) -> Output:
        """Answer one request together with all others that are under way.

        New tokens are counted with the one that ended the answer; a prompt must leave room for one. ValueError for a
        request that cannot be answered, RunnerError for one that shows that none can. `request.progress` is told from
        the engine's thread.
        """
        began = time.monotonic()
        if self._engine is None or self.tokenizer is None or self.window is None:
            raise RuntimeError("the runner is not started")
        if request.think_budget is not None:
            raise RunnerError("local cannot cap thinking yet: leave out --think")
        prompt = await asyncio.to_thread(self._prompt, request)
        if len(prompt.ids) >= self.window:
            said = f"prompt has {len(prompt.ids)} tokens, the window is {self.window}"
            return Output(finish_reason="refused_context", error=said, usage=Usage(prompt=len(prompt.ids)))
        sequence, watch = self._sequence(request, prompt)
        self._engine.submit(sequence)
        await asyncio.wrap_future(sequence.future)
        return self._output(sequence, watch, prompt.opened, began)

    async def aclose(self) -> None:
        """Stop the engine and give the memory back."""
        engine, self._engine, self._loaded = self._engine, None, None
        if engine:
            await asyncio.to_thread(engine.close)

    def describe(self) -> dict[str, Any]:
        """What decides the results: the weights, the numbers they are computed in, the template."""
        about: dict[str, Any] = {"model": self.model, "device": str(self.device), "dtype": self.dtype}
        about |= {"window": self.window, "torch": torch.__version__}
        if self._loaded:
            model, tokenizer, source = self._loaded
            about["architecture"] = type(model).__module__.rpartition(".")[2]
            about["parameters"] = sum(parameter.numel() for parameter in model.parameters())
            about["source"] = source.name
            if tokenizer.template:
                text = "\n".join(tokenizer.template.sources.values())
                about["template"] = hashlib.sha256(text.encode()).hexdigest()
        return about

    def _prompt(self, request: Request) -> _Prompt:
        assert self.tokenizer is not None
        if request.messages is not None:
            text = self.tokenizer.render(request.messages, request.tools)
            ids = self.tokenizer.encode(text)
        elif request.prompt is not None:
            text = request.prompt
            ids = self.tokenizer.encode_raw(text)
        else:
            ids = request.token_ids or []
            text = self.tokenizer.decode(ids[-16:])
        size = cast(Language, self._loaded.model if self._loaded else None).vocab_size
        if not ids or min(ids) < 0 or max(ids) >= size:
            raise ValueError(f"the prompt is empty, or has token ids outside of 0 to {size - 1}")
        return _Prompt(ids, text.rstrip().endswith(THINK[0]))

    def _sequence(self, request: Request, prompt: _Prompt) -> tuple[Sequence, Watch | None]:
        assert self.tokenizer is not None
        assert self.window is not None
        sampling = request.sampling
        if sampling.max_tokens is not None and sampling.max_tokens < 1:
            raise ValueError(f"max_tokens is {sampling.max_tokens}: nothing can be generated")
        watch = Watch(self.tokenizer.answer, sampling.stop, opened=prompt.opened) if sampling.stop else None
        room = self.window - len(prompt.ids)
        sequence = Sequence(
            prompt=prompt.ids,
            limit=min(room, sampling.max_tokens or room),
            draw=Draw.of(sampling, secrets.randbits(63) if sampling.seed is None else sampling.seed),
            ends=self.tokenizer.ends,
            watch=watch,
            progress=request.progress,
        )
        return sequence, watch

    def _output(self, sequence: Sequence, watch: Watch | None, opened: bool, began: float) -> Output:
        assert self.tokenizer is not None
        assert sequence.finish is not None
        drawn = sequence.tokens
        ended = drawn[-1] in sequence.ends
        cut = watch.text if watch else None
        text = self.tokenizer.answer(drawn[:-1] if ended else drawn) if cut is None else cut
        split = split_thinking(text, opened=opened, truncated=sequence.finish == "length")
        thought = len(drawn) if split.unfinished else self._thought(drawn, split.reasoning)
        return Output(
            text=split.text,
            reasoning=split.reasoning,
            unfinished_thinking=split.unfinished,
            finish_reason=sequence.finish,
            usage=Usage(prompt=len(sequence.prompt), reasoning=thought, answer=len(drawn) - thought),
            timing=Timing(
                queue=sequence.started - sequence.submitted,
                first_token=sequence.first - sequence.started,
                total=time.monotonic() - began,
            ),
        )

    def _thought(self, drawn: list[int], reasoning: str) -> int:
        """How many of the new tokens were thinking: up to the closing tag, or as many as the text of it takes."""
        assert self.tokenizer is not None
        if not reasoning:
            return 0
        end = self.tokenizer.thinking_end()
        if end in drawn:
            return len(drawn) - drawn[::-1].index(end)
        return min(len(self.tokenizer.encode(reasoning)), len(drawn))
