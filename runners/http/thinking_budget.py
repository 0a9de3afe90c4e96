"""A thinking budget at a server: its own parameter where it has one, else a forced end and a continuation.

Continuation is the method of Qwen3 (technical report, section 4.3; its documentation on thinking budgets): the prompt
is rendered by the server's own template, the first request is limited to the budget, and if it is truncated inside its
thinking, a closing text is appended and a second request writes the answer. The forced end of a server's own sampler
and this one are different interventions: the record says which it was.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from m1eval.model.thinking import DEFAULT, KNOWN, Form, form_of, opened_by

SERVER_FIELDS: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "vllm": lambda budget: {"thinking_token_budget": budget},
    "sglang": lambda budget: {"custom_params": {"thinking_budget": budget}},
    "qwen": lambda budget: {"enable_thinking": True, "thinking_budget": budget},
    "openrouter": lambda budget: {"reasoning": {"max_tokens": budget}},
    "nim": lambda budget: {"nvext": {"max_thinking_tokens": budget}},
    "template": lambda budget: {"chat_template_kwargs": {"thinking_budget": budget}},
}
"""Request fields by kind of server: vLLM with a reasoning parser (from 0.19), SGLang with --enable-strict-thinking,
Alibaba's and SiliconFlow's Qwen, OpenRouter, NVIDIA's NIM, and chat templates with such a variable (Seed-OSS)."""

METHODS = ("auto", "continue", *SERVER_FIELDS)
_HOSTS = {"openrouter.ai": "openrouter", "aliyuncs.com": "qwen", "siliconflow.cn": "qwen", "siliconflow.com": "qwen"}


class Prompt(NamedTuple):
    """A prompt as the server's template renders it, as text or as token ids."""

    content: str | list[int]
    form: Form | None
    """The form of the think block that it leaves open."""


def resolve_method(method: str, host: str) -> str:
    """The method that `auto` means at this host."""
    if method != "auto":
        return method
    return next((way for end, way in _HOSTS.items() if f".{host}".endswith(f".{end}")), "continue")


def with_form(content: str | list[int], tail: str, tags: Sequence[Form] | None, think_open: bool | None) -> Prompt:
    """A prompt with the form of thinking that its `tail` opens; `think_open`: it is known to leave a block open."""
    form = opened_by(tail, tags or KNOWN)
    return Prompt(content, form or ((tags[0] if tags else DEFAULT) if think_open else None))


def thinking_form(text: str, prompt: Prompt, tags: Sequence[Form] | None) -> Form:
    """The form of thinking in an output or, where it shows none, the expected one."""
    return prompt.form or form_of(text, tags or KNOWN, None)


def is_thinking(text: str, prompt: Prompt, form: Form) -> bool:
    """Whether an output that was truncated here was still thinking."""
    has_opened = prompt.form is not None or form.opens.match(text.lstrip()) is not None
    return has_opened and not form.ends(text)


def is_within(budget: int, tokens: int) -> bool:
    """Whether a server has kept its budget, with a margin for its closing text and for estimated counts."""
    return tokens <= budget + 64 + budget // 2


def closing_text(text: str, form: Form, end: str | None) -> str:
    """The text that ends the thinking `text`: `end`, or the form's own; a block that was not opened is left empty."""
    end = form.forced_end if end is None else end
    if text.strip():
        return end
    if form.force and form.force in end:
        return end[end.index(form.force) :]
    match = form.closes.search(end)
    return f"\n{end[match.start() if match else 0 :]}"
