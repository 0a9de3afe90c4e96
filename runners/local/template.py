"""Chat templates: a model's own Jinja2, rendered as Hugging Face transformers does it, in a sandbox."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from m1eval import Message


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks what a model is trained on; here it is just its content."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """Messages to the text of a prompt. `sources` by name: `default`, and where there is one `tool_use`."""

    def __init__(self, sources: Mapping[str, str], specials: Mapping[str, str]) -> None:
        self.sources, self.specials = dict(sources), dict(specials)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _tojson
        environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
        self._compiled = {name: environment.from_string(source) for name, source in self.sources.items()}

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The prompt, generation prompt included; ValueError if the template refuses the messages or has no tools."""
        name = "tool_use" if tools and "tool_use" in self.sources else "default"
        if tools and "tools" not in self.sources[name]:
            raise ValueError("the model's chat template has no place for tools: choose a model that is made for them")
        try:
            return self._compiled[name].render(
                messages=[_plain(message) for message in messages],
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=True,
                **self.specials,
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise ValueError(f"the model's chat template refuses the messages: {error}") from error


def _plain(message: Message) -> Message:
    """The message as templates expect it: the arguments of tool calls as objects, where OpenAI has JSON in a string."""
    if not message.get("tool_calls"):
        return message
    calls = [{**call, "function": _parsed(call["function"])} for call in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def _parsed(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with suppress(ValueError):  # a model's own broken call in the history is shown as it wrote it
            arguments = json.loads(arguments)
    return {**function, "arguments": arguments}


def _tojson(value: Any, indent: int | None = None, **options: Any) -> str:
    """JSON without the HTML escapes of Jinja's own filter."""
    return json.dumps(value, indent=indent, **{"ensure_ascii": False, **options})


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
