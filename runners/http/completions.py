"""What is asked of a server, and the asking: a request's body, one exchange, and what came of it as outputs."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from m1eval import Output, Progress, Request, RunnerError
from m1eval.thinking import Form

from . import outputs, replies, stream
from .line import Line, Reader, Reply, RequestFailed
from .parameters import LIMITS, Parameters
from .servers import Came, Refused, Sent, Servers
from .stream import Stream

LONG = 1024
"""Tokens from which on an answer is streamed: below, nobody waits long, and a stream costs both sides more."""
CHAT, RAW = "/chat/completions", "/completions"


class Completions:
    """Asks servers for completions of a model.

    `opened`: does the chat template leave a think block open; `tags`: the forms of thinking that may be meant, None for
    any known one; `streams`: None streams answers that may be long;
    `extra`: fields that are merged into each request last.
    """

    def __init__(
        self,
        model: str,
        servers: Servers,
        extra: Mapping[str, Any],
        opened: bool | None,
        streams: bool | None,
        tags: Sequence[Form] | None = None,
        clean: Callable[[str], str] = str,
    ) -> None:
        self.model, self.extra, self.opened, self.tags = model, extra, opened, tags
        self._servers = servers
        self._streams = streams
        self._auto = streams is None
        self._usage_asked = True
        own = (name for name, value in extra.items() if value is not None)
        self.parameters = Parameters({*own, *(() if self._auto else ("stream",))}, clean)

    def body(self, request: Request, own: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Path and fields of a request; `own`: fields that this kind of server has beside OpenAI's."""
        sampling = {name: getattr(request.sampling, name) for name in request.sampling.__struct_fields__}
        asked: dict[str, Any]
        body = sampling | {"model": self.model, "stop": list(request.sampling.stop) or None}
        if request.messages is not None:
            path, asked = CHAT, {"messages": request.messages, "tools": request.tools or None}
        else:
            path, asked = RAW, {"prompt": request.prompt if request.token_ids is None else request.token_ids}
        body = {
            key: value for key, value in (asked | body | (own or {}) | dict(self.extra)).items() if value is not None
        }
        if path == RAW and "max_tokens" not in body:  # servers would stop after 16
            raise RunnerError("http: raw prompts need a limit; set generation.max_tokens")
        return path, body

    async def post(self, path: str, body: dict[str, Any], request: Request, n: int = 1, *, split: bool = True) -> Came:
        """Ask for completions: what came holds up to `n` outputs, their text as it came unless it is to be split."""
        tools = _names(request.tools)
        heard = _Heard(request.progress, tools)
        limit = _limit(body)
        tags = self.tags if split else ()

        def read(reply: Reply, reader: Reader | None) -> list[Output | RequestFailed]:
            whole = reader is None or not reader.heard
            data = stream.whole(reply.body, reply.charset, tools) if whole else reader.completion()  # type: ignore[union-attr]
            stops = request.sampling.stop if self.parameters.left_out("stop") else ()
            return outputs.read(data, self.opened, n, tags=tags, tools=tools, limit=limit, stops=stops)

        while True:
            whole = body | self._streaming(limit)
            fields = self.parameters.fit(whole)
            sent = Sent("POST", path, _encoded(fields), request.prefix_key, fields)
            streams = bool(fields.get("stream"))
            try:
                came = await self._servers.persist(sent, request.progress, read, heard.listen if streams else None)
            except Refused as error:
                self._learn(error, whole, fields)
            else:
                heard.rest([output for output in came.value if isinstance(output, Output)])
                return came

    def _learn(self, error: Refused, whole: dict[str, Any], sent: Mapping[str, Any]) -> None:
        """Learn from a refusal; it is raised where there is nothing to learn, or RunnerError where the user must."""
        if self.parameters.learn(error.error, whole, sent):
            return
        if self._auto and "stream" in str(error.error).lower() and self._streamed_otherwise(sent):
            return
        if not self._servers.answered and (name := self.parameters.refuses_own(error.error, sent)):
            raise RunnerError(
                f"http: the server refuses {name}, which extra_body asks for ({error}); take it out"
            ) from None
        raise error

    def _streamed_otherwise(self, sent: Mapping[str, Any]) -> bool:
        """Whether there is another way to be answered, streamed or not, than the one that was refused."""
        if "stream" in sent:  # one without usage, or no stream at all, is better than no answer
            self._usage_asked, self._streams = False, self._streams if "stream_options" in sent else False
            return True
        if self._streams is False or self.parameters.left_out("stream"):
            return False
        self._streams = True  # some models are served as streams alone, however short the answer
        return True

    def _streaming(self, limit: int) -> dict[str, Any]:
        """The fields that ask for a stream, where the answer may be long and the user does not say by `extra`."""
        if "stream" in self.extra or self._streams is False or (self._streams is None and 0 < limit < LONG):
            return {}
        usage = self._usage_asked and "stream_options" not in self.extra
        return {"stream": True} | ({"stream_options": {"include_usage": True}} if usage else {})

    async def told(self, path: str, asked: Mapping[str, Any], request: Request, field: str) -> Any:
        """A field of what an endpoint beside OpenAI's says; None if it is not there."""

        def read(reply: Reply, _: Reader | None) -> Any:
            data = replies.parsed(reply.body, reply.charset) if reply.status == 200 else None
            return data.get(field) if isinstance(data, dict) else None

        sent = Sent("POST", path, _encoded(asked), request.prefix_key)
        return (await self._servers.persist(sent, request.progress, read)).value


class _Heard:
    """Tells of the tokens of an answer as they come, and of the rest when it is there."""

    def __init__(self, progress: Progress, tools: frozenset[str]) -> None:
        self._progress, self._tools = progress, tools
        self._counted = 0

    def listen(self, line: Line) -> Stream:
        """A reader for the next try; what came in the one before counts no more."""

        def told(tokens: int) -> None:
            line.pace.flowing += not self._counted
            self._counted += tokens
            line.pace.streamed(tokens)
            self._progress.tokens(output=tokens)

        self._progress.tokens(output=-self._counted)
        self._counted = 0
        return Stream(told, self._tools)

    def rest(self, outputs: list[Output]) -> None:
        """The answers are there, with their true counts."""
        prompt = outputs[0].usage.prompt if outputs else 0
        written = sum(output.usage.output for output in outputs)
        self._progress.tokens(prompt=prompt, output=written - self._counted)


def _limit(body: Mapping[str, Any]) -> int:
    """The most tokens of the answer; 0 if there is no limit, also where what the user gave in its place is none."""
    for name in reversed(LIMITS):
        if type(most := body.get(name)) is int and most > 0:
            return most
    return 0


def _names(tools: list[dict[str, Any]]) -> frozenset[str]:
    """The names of the tools that are offered."""
    if not tools:
        return frozenset()
    functions = (tool.get("function", tool) for tool in tools if isinstance(tool, dict))
    names = (function.get("name") for function in functions if isinstance(function, dict))
    return frozenset(name for name in names if isinstance(name, str))


def _encoded(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body, enc_hook=str)
    except UnicodeEncodeError:  # half an emoji, which only escapes can carry
        return json.dumps(body, default=str).encode()
