"""A thinking budget at a server: by its own means where it has one, else by ending the thinking and going on.

Going on is the way of Qwen3 (technical report, section 4.3; its documentation on thinking budgets): the prompt is
rendered by the server's own template, the first request may write as many tokens as the budget has, and if it is cut
inside its thinking, a closing text is put after it and a second request writes the answer. The forced end of a server's
own sampler and this one are different interventions: the record says which it was.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from m1eval.thinking import DEFAULT, KNOWN, Form, form_of, opened_by

SERVER_FIELDS: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "vllm": lambda most: {"thinking_token_budget": most},
    "sglang": lambda most: {"custom_params": {"thinking_budget": most}},
    "qwen": lambda most: {"enable_thinking": True, "thinking_budget": most},
    "openrouter": lambda most: {"reasoning": {"max_tokens": most}},
    "nim": lambda most: {"nvext": {"max_thinking_tokens": most}},
    "template": lambda most: {"chat_template_kwargs": {"thinking_budget": most}},
}
"""What each kind of server takes: vLLM with a reasoning parser (0.19 and later), SGLang with --enable-strict-thinking,
Alibaba's and SiliconFlow's Qwen, OpenRouter, NVIDIA's NIM, and chat templates with such a variable (Seed-OSS)."""

METHODS = ("auto", "continue", *SERVER_FIELDS)
_METHOD_OF_HOST = {
    "openrouter.ai": "openrouter",
    "aliyuncs.com": "qwen",
    "siliconflow.cn": "qwen",
    "siliconflow.com": "qwen",
}


class Prompt(NamedTuple):
    """A prompt as the server's template renders it, as text or as token ids."""

    content: str | list[int]
    form: Form | None
    """The form of the thinking that it ends inside of."""


def resolve_method(method: str, host: str) -> str:
    """The way that `auto` stands for at this host."""
    if method != "auto":
        return method
    return next((way for end, way in _METHOD_OF_HOST.items() if f".{host}".endswith(f".{end}")), "continue")


def with_form(content: str | list[int], tail: str, tags: Sequence[Form] | None, think_open: bool | None) -> Prompt:
    """A prompt with this end; `opened`: it is known to leave a think block open."""
    form = opened_by(tail, tags or KNOWN)
    return Prompt(content, form or ((tags[0] if tags else DEFAULT) if think_open else None))


def thinking_form(text: str, prompt: Prompt, tags: Sequence[Form] | None) -> Form:
    """The form of thinking that an output has or, where it shows none, would have."""
    return prompt.form or form_of(text, tags or KNOWN, None)


def is_thinking(text: str, prompt: Prompt, form: Form) -> bool:
    """Whether an output that was cut here was still thinking."""
    has_opened = prompt.form is not None or form.opens.match(text.lstrip()) is not None
    return has_opened and not form.ends(text)


def is_within(budget: int, tokens: int) -> bool:
    """Whether a server of its own means has kept the budget, with room for its closing words and for an estimate."""
    return tokens <= budget + 64 + budget // 2


def closing_text(text: str, form: Form, end: str | None) -> str:
    """What ends the thinking `text`: `end`, or the form's own; a block that was not even begun is left empty."""
    end = form.end if end is None else end
    if text.strip():
        return end
    if form.force and form.force in end:
        return end[end.index(form.force) :]
    match = form.closes.search(end)
    return f"\n{end[match.start() if match else 0 :]}"
