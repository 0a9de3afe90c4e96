"""Answering within a thinking budget by requests that continue one another; `budget.py` has the rules."""

import time
from typing import Any

import msgspec

from m1eval import Output, Request, RunnerError, Timing, Usage
from m1eval.thinking import DEFAULT, split_thinking

from . import budget
from .completions import Completions
from .line import RequestFailed
from .servers import Overlong


class Continuation:
    """Asks in one request or two; `end` is put where thinking must end, `window` in tokens where it is known."""

    def __init__(self, ask: Completions, address: str, end: str | None) -> None:
        self._ask, self._address, self._end = ask, address, end
        self.window: int | None = None
        self._in_tokens = False  # as vLLM renders them

    async def answer(self, request: Request, most: int) -> Output:
        """Answer within a budget of thinking, in one request or two."""
        begin = time.monotonic()
        try:
            prompt = await self._rendered(request)
            text, outputs, forced = await self._continued(request, prompt, most)
        except Overlong as refusal:
            timing = Timing(total=time.monotonic() - begin)
            return Output(finish_reason="refused_context", error=str(refusal), timing=timing)
        last = outputs[-1]
        cut = last.finish_reason == "length"
        split = split_thinking(text, opened=prompt.form is not None, truncated=cut, tags=prompt.form or self._ask.tags)
        total = sum(output.usage.output for output in outputs)
        thought = len(split.reasoning) / max(1, len(split.reasoning) + len(split.text))
        reasoning = outputs[0].usage.output if forced and most else round(total * thought)
        prompts = {name: sum(getattr(output.usage, name) for output in outputs) for name in ("prompt", "cached")}
        usage = Usage(**prompts, reasoning=reasoning, answer=total - reasoning)  # both prompts are read and paid for
        costs = [output.usage.cost for output in outputs if output.usage.cost is not None]
        usage.cost = sum(costs) if costs else None
        timing = outputs[0].timing
        timing.total = time.monotonic() - begin
        return Output(
            text=split.text,
            reasoning=split.reasoning,
            unfinished_thinking=split.unfinished,
            finish_reason=last.finish_reason,
            usage=usage,
            timing=timing,
            retries=sum(output.retries for output in outputs),
            metadata={"thinking": {"budget": most, "by": "continue", "forced": forced, "tokens": reasoning}},
        )

    async def _continued(self, request: Request, prompt: budget.Prompt, most: int) -> tuple[str, list[Output], bool]:
        """The whole text, the outputs it came in, and whether thinking was ended by force."""
        limit = request.sampling.max_tokens or self.window
        if limit is None:
            raise RunnerError("http: a thinking budget needs a limit of the whole; set generation.max_tokens")
        text, outputs, forced = "", [], False
        if most:
            first = await self._complete(request, prompt.given, min(most, limit))
            outputs.append(first)
            text = first.text
            if first.finish_reason != "length" or most >= limit:
                return text, outputs, False
        form = budget.form_in_use(text, prompt, self._ask.tags)
        if self._end is not None and not form.ends(self._end):
            raise RunnerError(f"http: think_end must contain {form.close}, which ends this model's thinking")
        if forced := budget.in_thinking(text, prompt, form) or not most:
            begin = "" if prompt.form or text else form.open if form.force else f"{form.open}\n"
            text += begin + budget.closing(text, form, self._end)
        more = await self._extended(prompt.given, text)
        outputs.append(await self._complete(request, more, max(1, limit - most)))
        return text + outputs[-1].text, outputs, forced

    async def _complete(self, request: Request, given: str | list[int], limit: int) -> Output:
        """One raw completion, its text as it came."""
        kind: dict[str, Any] = {"prompt": given} if isinstance(given, str) else {"token_ids": given}
        if self.window and not isinstance(given, str):  # llama.cpp, which takes text, sees to it by itself
            limit = max(1, min(limit, self.window - len(given)))
        sampling = msgspec.structs.replace(request.sampling, max_tokens=limit)
        raw = Request(**kind, sampling=sampling, prefix_key=request.prefix_key, progress=request.progress)
        path, body = self._ask.body(raw)
        body.pop("chat_template_kwargs", None)
        came = await self._ask.post(path, body, raw, split=False)
        output: Output = came.value[0]
        if output.reasoning:  # of a server that splits raw completions too
            form = (self._ask.tags or (DEFAULT,))[0]
            ended = output.text or output.finish_reason != "length"
            output.text = f"{form.open}{output.reasoning}{form.close if ended else ''}{output.text}"
        output.retries = came.failed
        output.timing = Timing(queue=came.queued, first_token=came.first_token)
        return output

    async def _rendered(self, request: Request) -> budget.Prompt:
        """The prompt by the server's template: from llama.cpp as text, from vLLM as token ids."""
        if request.messages is None:
            given = request.prompt if request.token_ids is None else request.token_ids
            tail = given if isinstance(given, str) else ""
            return budget.rendered(given or "", tail, self._ask.tags, self._ask.opened)
        asked: dict[str, Any] = {"model": self._ask.model, "messages": request.messages, "tools": request.tools or None}
        asked |= {"chat_template_kwargs": self._ask.extra.get("chat_template_kwargs"), "add_generation_prompt": True}
        asked = {key: value for key, value in asked.items() if value is not None}
        if not self._in_tokens:
            said = await self._ask.told("//apply-template", asked, request, "prompt")
            if isinstance(said, str):
                return budget.rendered(said, said, self._ask.tags, self._ask.opened)
        ids = await self._ask.told("//tokenize", asked, request, "tokens")
        if isinstance(ids, list):
            self._in_tokens = True
            end = {"model": self._ask.model, "tokens": ids[-16:]}
            tail = await self._ask.told("//detokenize", end, request, "prompt")
            return budget.rendered(ids, str(tail), self._ask.tags, self._ask.opened)
        ways = ", ".join(budget.OWN)
        raise RunnerError(
            f"http: {self._address} cannot render prompts, which a thinking budget by continuation needs; if it can "
            f"limit thinking by itself, -o think_by={ways.replace(', ', '|')}"
        )

    async def _extended(self, given: str | list[int], text: str) -> str | list[int]:
        if isinstance(given, str):
            return given + text
        asked = {"model": self._ask.model, "prompt": text, "add_special_tokens": False}
        ids = await self._ask.told("//tokenize", asked, Request(), "tokens")
        if not isinstance(ids, list):
            raise RequestFailed("the server does not tokenize text any more")
        return [*given, *ids]
