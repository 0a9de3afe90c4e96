"""A thinking budget enforced by a second request that continues the first; `thinking_budget.py` has the rules."""

import time
from typing import Any

import msgspec

from m1eval import Output, Request, RunnerError, Timing, Usage
from m1eval.model.thinking import DEFAULT, split_thinking
from m1eval.option_names import runner_option

from . import thinking_budget
from .completions import Completions
from .exceptions import ContextLengthExceeded, RequestFailed


class ThinkingContinuation:
    """Answers in one request or two; `think_end` is inserted where thinking must end. `context_window` is in tokens."""

    def __init__(self, completions: Completions, base_url: str, think_end: str | None) -> None:
        self._completions, self._base_url, self._think_end = completions, base_url, think_end
        self.context_window: int | None = None
        self._uses_token_ids = False  # as vLLM renders them

    async def answer(self, request: Request, budget: int) -> Output:
        """Answer within a thinking budget in tokens."""
        begin = time.monotonic()
        try:
            prompt = await self._render(request)
            text, outputs, forced = await self._generate(request, prompt, budget)
        except ContextLengthExceeded as refusal:
            timing = Timing(total=time.monotonic() - begin)
            return Output(finish_reason="refused_context", error=str(refusal), timing=timing)
        last = outputs[-1]
        is_truncated = last.finish_reason == "length"
        tags = prompt.form or self._completions.tags
        split = split_thinking(text, opened=prompt.form is not None, truncated=is_truncated, tags=tags)
        total = sum(output.usage.output for output in outputs)
        reasoning_share = len(split.reasoning) / max(1, len(split.reasoning) + len(split.text))
        reasoning = outputs[0].usage.output if forced and budget else round(total * reasoning_share)
        prompts = {name: sum(getattr(output.usage, name) for output in outputs) for name in ("prompt", "cached")}
        usage = Usage(
            **prompts, reasoning=reasoning, answer=total - reasoning
        )  # both prompts are prefilled and paid for
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
            metadata={"thinking": {"budget": budget, "by": "continue", "forced": forced, "tokens": reasoning}},
        )

    async def _generate(
        self, request: Request, prompt: thinking_budget.Prompt, budget: int
    ) -> tuple[str, list[Output], bool]:
        """The whole text, the output of each request, and whether the end of thinking was forced."""
        limit = request.sampling.max_tokens or self.context_window
        if limit is None:
            raise RunnerError("http: a thinking budget needs a limit for the whole answer; set generation.max_tokens")
        text, outputs, forced = "", [], False
        if budget:
            first = await self._complete(request, prompt.content, min(budget, limit))
            outputs.append(first)
            text = first.text
            if first.finish_reason != "length" or budget >= limit:
                return text, outputs, False
        form = thinking_budget.thinking_form(text, prompt, self._completions.tags)
        if self._think_end is not None and not form.ends(self._think_end):
            raise RunnerError(f"http: think_end must contain {form.close}, which ends this model's thinking")
        if forced := thinking_budget.is_thinking(text, prompt, form) or not budget:
            opening = "" if prompt.form or text else form.open if form.force else f"{form.open}\n"
            text += opening + thinking_budget.closing_text(text, form, self._think_end)
        continued_prompt = await self._extend(prompt.content, text)
        outputs.append(await self._complete(request, continued_prompt, max(1, limit - budget)))
        return text + outputs[-1].text, outputs, forced

    async def _complete(self, request: Request, prompt: str | list[int], limit: int) -> Output:
        """One raw completion, its text unsplit."""
        content: dict[str, Any] = {"prompt": prompt} if isinstance(prompt, str) else {"token_ids": prompt}
        if self.context_window and not isinstance(prompt, str):  # llama.cpp, which takes text, does this itself
            limit = max(1, min(limit, self.context_window - len(prompt)))
        sampling = msgspec.structs.replace(request.sampling, max_tokens=limit)
        raw = Request(**content, sampling=sampling, prefix_key=request.prefix_key, progress=request.progress)
        path, body = self._completions.body(raw)
        body.pop("chat_template_kwargs", None)
        exchange = await self._completions.post(path, body, raw, split=False)
        output: Output = exchange.value[0]
        if output.reasoning:  # some servers split raw completions too
            form = (self._completions.tags or (DEFAULT,))[0]
            is_closed = output.text or output.finish_reason != "length"
            output.text = f"{form.open}{output.reasoning}{form.close if is_closed else ''}{output.text}"
        output.retries = exchange.retries
        output.timing = Timing(queue=exchange.queued, first_token=exchange.first_token)
        return output

    async def _render(self, request: Request) -> thinking_budget.Prompt:
        """The prompt as the server's template renders it: from llama.cpp as text, from vLLM as token ids."""
        if request.messages is None:
            content = request.prompt if request.token_ids is None else request.token_ids
            tail = content if isinstance(content, str) else ""
            return thinking_budget.with_form(content or "", tail, self._completions.tags, self._completions.opened)
        arguments = self._completions.extra.get("chat_template_kwargs")
        body: dict[str, Any] = {"model": self._completions.model, "messages": request.messages}
        body |= {"tools": request.tools or None, "chat_template_kwargs": arguments, "add_generation_prompt": True}
        body = {key: value for key, value in body.items() if value is not None}
        if not self._uses_token_ids:
            text = await self._completions.fetch_field("//apply-template", body, request, "prompt")
            if isinstance(text, str):
                return thinking_budget.with_form(text, text, self._completions.tags, self._completions.opened)
        ids = await self._completions.fetch_field("//tokenize", body, request, "tokens")
        if isinstance(ids, list):
            self._uses_token_ids = True
            tail_body = {"model": self._completions.model, "tokens": ids[-16:]}
            tail = await self._completions.fetch_field("//detokenize", tail_body, request, "prompt")
            return thinking_budget.with_form(ids, str(tail), self._completions.tags, self._completions.opened)
        methods = ", ".join(thinking_budget.SERVER_FIELDS)
        raise RunnerError(
            f"http: {self._base_url} cannot render prompts, which a thinking budget by continuation needs; if it can "
            f"limit thinking by itself, {runner_option('think_by', methods.replace(', ', '|'))}"
        )

    async def _extend(self, prompt: str | list[int], text: str) -> str | list[int]:
        if isinstance(prompt, str):
            return prompt + text
        body = {"model": self._completions.model, "prompt": text, "add_special_tokens": False}
        ids = await self._completions.fetch_field("//tokenize", body, Request(), "tokens")
        if not isinstance(ids, list):
            raise RequestFailed("the server no longer tokenizes text")
        return [*prompt, *ids]
