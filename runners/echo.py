"""`--model echo:SCRIPT`: answers by script instead of by a model; for tests, documentation and trying things out.

`echo` repeats the last message. A script is one or several of `gold` (a perfect answer), `wrong`, `truncated` (cut in
the middle of its thinking, with the right answer as a draft in it), `garbled` (text that no grader can use) and `error`
(the request fails), separated by commas: each (sample, repeat) gets one of them, always the same one.
"""

import asyncio
import hashlib
from typing import Any

import m1eval
from m1eval import Output, Request, Timing, Usage, UsageError, split_thinking
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.model.thinking import DEFAULT, parse_forms
from m1eval.text import parse_tokens, unknown_name
from m1eval.yaml_file import number_or_none

PARTS = ("gold", "wrong", "truncated", "garbled", "error")
LONGEST = 86_400
"""Seconds of latency at most."""
GARBLED = "\\boxed{\\frac{1}{ </think <thi \ufffd\u200b\x00 }{{ %% undefined $"


class Runner(m1eval.Runner):
    """Deterministic answers; `latency` seconds each, `window` tokens of prompt at most (0: any)."""

    unpinned_options = frozenset({"latency", "concurrency"})

    def __init__(
        self,
        model: str = "",
        *,
        latency: float = 0.0,
        window: int | str = 0,
        concurrency: int = 64,
        think_tags: Any = None,
    ) -> None:
        self._script = model.split(",") if model else []
        for part in self._script:
            if part not in PARTS:
                raise UsageError(f"echo: {unknown_name('part', part, PARTS)}")
        try:
            self._tags = None if think_tags is None else parse_forms(think_tags)
        except ValueError as error:
            raise UsageError(f"echo: think_tags: {error}") from None
        self._latency = _number("latency", latency)
        if self._latency > LONGEST:
            raise UsageError(f"echo: latency is at most {LONGEST} seconds, not {str(latency)[:40]!r}")
        self.context_window = _window(window)
        self.concurrency = int(_number("concurrency", concurrency, 1))
        self.tokenizer: CharacterTokenizer = CharacterTokenizer()

    async def generate(self, request: Request) -> Output:
        """Answer by the script."""
        messages = request.messages or [{"role": "user", "content": request.prompt or ""}]
        prompt = self.tokenizer.count(messages)
        if self.context_window and prompt > self.context_window:
            error = f"prompt has {prompt} tokens, the window is {self.context_window}"
            return Output(finish_reason="refused_context", error=error, usage=Usage(prompt=prompt))
        if self._latency:
            await asyncio.sleep(self._latency)
        raw, truncated = self._answer(request, str(messages[-1].get("content") or ""))
        split = split_thinking(raw, opened=False, truncated=truncated, tags=self._tags)
        thoughts, answer = (-(-len(part) // 4) for part in (split.reasoning, split.text))
        request.progress.tokens(prompt=prompt, output=thoughts + answer)
        return Output(
            text=split.text,
            reasoning=split.reasoning,
            unfinished_thinking=split.unfinished,
            finish_reason="length" if truncated else "stop",
            usage=Usage(prompt=prompt, reasoning=thoughts, answer=answer),
            timing=Timing(total=self._latency),
        )

    def _answer(self, request: Request, last: str) -> tuple[str, bool]:
        """The text, and whether it is cut."""
        if not self._script:
            return last, False
        gold = (request.sample.gold if request.sample else None) or ""
        key = f"{request.sample.id if request.sample else ''}\0{request.repeat}"
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
        part = self._script[number % len(self._script)]
        if part == "error":
            raise ConnectionError("echo was told to fail")
        if part == "truncated":
            begin = (self._tags or (DEFAULT,))[0].open
            return f"{begin}Perhaps it is {gold}, but let me", True
        return {"gold": gold, "wrong": "\\boxed{-987654321}", "garbled": GARBLED}[part], False

    async def aclose(self) -> None:
        """Do nothing: echo holds no resources."""


def _number(name: str, value: object, least: int = 0) -> float:
    """An option that of at least `least`; a whole one where that is 1."""
    number = number_or_none(value)
    if number is None or number < least or (least and not number.is_integer()):
        kind = f"a whole number of at least {least}" if least else "a number of seconds, 0 or more"
        raise UsageError(f"echo: {name} must be {kind}, not {str(value)[:40]!r}")
    return number


def _window(value: object) -> int | None:
    """The window in tokens; 0 is any."""
    try:
        return parse_tokens(value) or None
    except ValueError as error:
        raise UsageError(f"echo: window: {error}") from None
