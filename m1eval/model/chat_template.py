"""Chat templates: a model's own Jinja2, rendered as in Hugging Face transformers, in a sandbox with limits."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from m1eval.errors import RunnerError
from m1eval.sandbox.template import LimitedEnvironment, TemplateLimitError
from m1eval.types import Message

_QUESTION, _ANSWER = "Where?", "Quux answers"


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks the text that a model is trained on; here it is only its content.

    As in transformers, which compiles it to a call block, variables set inside are not visible outside.
    """

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


class ChatTemplate:
    """Renders messages to the text of a prompt. `sources` by name: `default`, and optionally `tool_use`.

    RunnerError naming `where` if a template cannot be compiled, or does not end for a short conversation.
    """

    def __init__(self, sources: Mapping[str, str], specials: Mapping[str, str], where: str = "the model") -> None:
        self.sources, self.specials = dict(sources), dict(specials)
        if "default" not in self.sources:
            raise RunnerError(f"{where}: among its chat templates ({', '.join(self.sources)}) none is called default")
        self._environment = LimitedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        self._environment.filters["tojson"] = self._environment.guarded("tojson", _tojson)
        self._environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
        self._compiled: dict[str, jinja2.Template] = {}
        for name, source in self.sources.items():
            try:
                self._compiled[name] = self._environment.compiled(source)
            except jinja2.TemplateError as error:
                line = f" in line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
                reason = " ".join((error.message or "").split())
                raise RunnerError(f"{where}: the chat template '{name}' is broken{line}: {reason}") from error
        try:
            self._text("default", [{"role": "user", "content": _QUESTION}])
        except TemplateLimitError as error:
            raise RunnerError(f"{where}: the chat template does not end: {error}") from error
        except Exception:  # noqa: BLE001 - a template may refuse a conversation, for any reason of its own
            pass

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The prompt, generation prompt included; ValueError if the template refuses the messages or has no tools."""
        name = "tool_use" if tools and "tool_use" in self.sources else "default"
        if tools and "tools" not in self.sources[name]:
            raise ValueError("the model's chat template has no place for tools: choose a model that is made for them")
        try:
            return self._text(name, messages, tools)
        except Exception as error:
            raise ValueError(f"the model's chat template refuses the messages: {error}") from error

    def after_answer(self) -> str | None:
        """The text that the template writes after a finished answer; None if that cannot be determined.

        Where nothing follows the last answer, the text between an answer and the next question.
        """
        turns = [
            {"role": "user", "content": _QUESTION},
            {"role": "assistant", "content": _ANSWER},
            {"role": "user", "content": _QUESTION},
        ]
        for messages in (turns[:2], turns):
            try:
                text = self._text("default", messages, generate=False)
            except Exception:  # noqa: BLE001 - a template may refuse a conversation, for any reason of its own
                return None
            _, marker, rest = text.rpartition(_ANSWER)
            if not marker:
                return None
            if rest.strip():
                return rest
        return None

    def _text(
        self, name: str, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), *, generate: bool = True
    ) -> str:
        variables = {
            "messages": [_plain(message) for message in messages],
            "tools": list(tools) or None,
            "documents": None,
            "add_generation_prompt": generate,
        }
        return self._environment.render(self._compiled[name], variables | self.specials)


def _plain(message: Message) -> Message:
    """The message as templates expect it: the arguments of tool calls as objects, where OpenAI has JSON in a string."""
    if not message.get("tool_calls"):
        return message
    calls = [{**call, "function": _parsed(call["function"])} for call in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def _parsed(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with suppress(ValueError):  # a malformed call by the model stays as it was written
            arguments = json.loads(arguments)
    return {**function, "arguments": arguments}


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without the HTML escapes of Jinja's own filter; the arguments are in the order of transformers."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
