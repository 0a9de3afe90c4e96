"""A thinking budget at a server: by its own means where it has one, else by ending the thinking and going on.

Going on is the way of Qwen3 (technical report, section 4.3; its documentation on thinking budgets): the prompt is
rendered by the server's own template, the first request may write as many tokens as the budget has, and if it is cut
inside its thinking, a closing text is put after it and a second request writes the answer. The forced end of a server's
own sampler and this one are different interventions: the record says which it was.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from m1eval.thinking import THINK

END = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now."
    "\n</think>\n\n"
)
"""Qwen3's words."""

OWN: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "vllm": lambda most: {"thinking_token_budget": most},
    "sglang": lambda most: {"custom_params": {"thinking_budget": most}},
    "qwen": lambda most: {"enable_thinking": True, "thinking_budget": most},
    "openrouter": lambda most: {"reasoning": {"max_tokens": most}},
    "nim": lambda most: {"nvext": {"max_thinking_tokens": most}},
    "template": lambda most: {"chat_template_kwargs": {"thinking_budget": most}},
}
"""What each kind of server takes: vLLM with a reasoning parser (0.19 and later), SGLang with --enable-strict-thinking,
Alibaba's and SiliconFlow's Qwen, OpenRouter, NVIDIA's NIM, and chat templates with such a variable (Seed-OSS)."""

WAYS = ("auto", "continue", *OWN)
_HOSTS = {"openrouter.ai": "openrouter", "aliyuncs.com": "qwen", "siliconflow.cn": "qwen", "siliconflow.com": "qwen"}


class Prompt(NamedTuple):
    """A prompt as the server's template renders it, as text or as token ids."""

    given: str | list[int]
    opened: bool
    """Whether it ends inside a think block."""


def way(chosen: str, host: str) -> str:
    """The way that `auto` stands for at this host."""
    if chosen != "auto":
        return chosen
    return next((way for end, way in _HOSTS.items() if f".{host}".endswith(f".{end}")), "continue")


def opened(tail: str) -> bool:
    """Whether a rendered prompt with this end leaves a think block open."""
    return tail.rstrip().endswith(THINK[0])


def in_thinking(text: str, prompt: Prompt) -> bool:
    """Whether an output that was cut here was still thinking."""
    begun = prompt.opened or text.lstrip().startswith(THINK[0])
    return begun and THINK[1] not in text


def kept(most: int, counted: int) -> bool:
    """Whether a server of its own means has kept the budget, with room for its closing words and for an estimate."""
    return counted <= most + 64 + most // 2


def closing(text: str, end: str) -> str:
    """What ends the thinking `text`; a block that was not even begun is left empty."""
    return end if text.strip() else end[end.index(f"\n{THINK[1]}") :] if f"\n{THINK[1]}" in end else f"\n{THINK[1]}\n\n"
