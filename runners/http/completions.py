"""What is asked of a server, and the asking: a request's body, one exchange, and what came of it as outputs."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from m1eval import Output, Progress, Request, RunnerError
from m1eval.thinking import Form

from . import outputs, responses, stream
from .endpoint import Endpoint, HttpResponse, RequestFailed, ResponseReader
from .parameters import TOKEN_LIMITS, Parameters
from .pool import BadRequest, EndpointPool, Exchange, HttpRequest
from .stream import CompletionReader

STREAM_FROM = 1024
"""Tokens from which on an answer is streamed: below, nobody waits long, and a stream costs both sides more."""
CHAT_PATH, COMPLETIONS_PATH = "/chat/completions", "/completions"


class Completions:
    """Asks servers for completions of a model.

    `opened`: does the chat template leave a think block open; `tags`: the forms of thinking that may be meant, None for
    any known one; `streams`: None streams answers that may be long;
    `extra`: fields that are merged into each request last.
    """

    def __init__(
        self,
        model: str,
        pool: EndpointPool,
        extra: Mapping[str, Any],
        opened: bool | None,
        stream: bool | None,
        tags: Sequence[Form] | None = None,
        clean: Callable[[str], str] = str,
    ) -> None:
        self.model, self.extra, self.opened, self.tags = model, extra, opened, tags
        self._pool = pool
        self._stream = stream
        self._auto_stream = stream is None
        self._include_usage = True
        user_fields = (name for name, value in extra.items() if value is not None)
        self.parameters = Parameters({*user_fields, *(() if self._auto_stream else ("stream",))}, clean)

    def body(self, request: Request, server_fields: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Path and fields of a request; `own`: fields that this kind of server has beside OpenAI's."""
        sampling = {name: getattr(request.sampling, name) for name in request.sampling.__struct_fields__}
        prompt_fields: dict[str, Any]
        body = sampling | {"model": self.model, "stop": list(request.sampling.stop) or None}
        if request.messages is not None:
            path, prompt_fields = CHAT_PATH, {"messages": request.messages, "tools": request.tools or None}
        else:
            path, prompt_fields = (
                COMPLETIONS_PATH,
                {"prompt": request.prompt if request.token_ids is None else request.token_ids},
            )
        body = {
            key: value
            for key, value in (prompt_fields | body | (server_fields or {}) | dict(self.extra)).items()
            if value is not None
        }
        if path == COMPLETIONS_PATH and "max_tokens" not in body:  # servers would stop after 16
            raise RunnerError("http: raw prompts need a limit; set generation.max_tokens")
        return path, body

    async def post(
        self, path: str, body: dict[str, Any], request: Request, n: int = 1, *, split: bool = True
    ) -> Exchange:
        """Ask for completions: what came holds up to `n` outputs, their text as it came unless it is to be split."""
        tools = _tool_names(request.tools)
        counter = _TokenCounter(request.progress, tools)
        limit = _token_limit(body)
        tags = self.tags if split else ()

        def read(reply: HttpResponse, reader: ResponseReader | None) -> list[Output | RequestFailed]:
            all_fields = reader is None or not reader.is_stream
            data = stream.read_body(reply.body, reply.charset, tools) if all_fields else reader.completion()  # type: ignore[union-attr]
            stops = request.sampling.stop if self.parameters.is_dropped("stop") else ()
            return outputs.parse(data, self.opened, n, tags=tags, tools=tools, limit=limit, stops=stops)

        while True:
            whole = body | self._stream_fields(limit)
            fields = self.parameters.apply(whole)
            http_request = HttpRequest("POST", path, _encode(fields), request.prefix_key, fields)
            is_stream = bool(fields.get("stream"))
            try:
                exchange = await self._pool.request(
                    http_request, request.progress, read, counter.new_reader if is_stream else None
                )
            except BadRequest as error:
                self._learn(error, whole, fields)
            else:
                counter.finish([output for output in exchange.value if isinstance(output, Output)])
                return exchange

    def _learn(self, error: BadRequest, body: dict[str, Any], fields: Mapping[str, Any]) -> None:
        """Learn from a refusal; it is raised where there is nothing to learn, or RunnerError where the user must."""
        if self.parameters.learn(error.error, body, fields):
            return
        if self._auto_stream and "stream" in str(error.error).lower() and self._switch_streaming(fields):
            return
        if not self._pool.has_answered and (name := self.parameters.refused_user_parameter(error.error, fields)):
            raise RunnerError(
                f"http: the server refuses {name}, which extra_body asks for ({error}); take it out"
            ) from None
        raise error

    def _switch_streaming(self, fields: Mapping[str, Any]) -> bool:
        """Whether there is another way to be answered, streamed or not, than the one that was refused."""
        if "stream" in fields:  # one without usage, or no stream at all, is better than no answer
            self._include_usage, self._stream = False, self._stream if "stream_options" in fields else False
            return True
        if self._stream is False or self.parameters.is_dropped("stream"):
            return False
        self._stream = True  # some models are served as streams alone, however short the answer
        return True

    def _stream_fields(self, limit: int) -> dict[str, Any]:
        """The fields that ask for a stream, where the answer may be long and the user does not say by `extra`."""
        if "stream" in self.extra or self._stream is False or (self._stream is None and 0 < limit < STREAM_FROM):
            return {}
        usage = self._include_usage and "stream_options" not in self.extra
        return {"stream": True} | ({"stream_options": {"include_usage": True}} if usage else {})

    async def fetch_field(self, path: str, body: Mapping[str, Any], request: Request, field: str) -> Any:
        """A field of what an endpoint beside OpenAI's says; None if it is not there."""

        def read(reply: HttpResponse, _: ResponseReader | None) -> Any:
            data = responses.parse_json(reply.body, reply.charset) if reply.status == 200 else None
            return data.get(field) if isinstance(data, dict) else None

        http_request = HttpRequest("POST", path, _encode(body), request.prefix_key)
        return (await self._pool.request(http_request, request.progress, read)).value


class _TokenCounter:
    """Tells of the tokens of an answer as they come, and of the rest when it is there."""

    def __init__(self, progress: Progress, tools: frozenset[str]) -> None:
        self._progress, self._tools = progress, tools
        self._num_tokens = 0

    def new_reader(self, endpoint: Endpoint) -> CompletionReader:
        """A reader for the next try; what came in the one before counts no more."""

        def on_tokens(tokens: int) -> None:
            endpoint.limiter.streaming += not self._num_tokens
            self._num_tokens += tokens
            endpoint.limiter.on_tokens(tokens)
            self._progress.tokens(output=tokens)

        self._progress.tokens(output=-self._num_tokens)
        self._num_tokens = 0
        return CompletionReader(on_tokens, self._tools)

    def finish(self, outputs: list[Output]) -> None:
        """The answers are there, with their true counts."""
        prompt = outputs[0].usage.prompt if outputs else 0
        num_output = sum(output.usage.output for output in outputs)
        self._progress.tokens(prompt=prompt, output=num_output - self._num_tokens)


def _token_limit(body: Mapping[str, Any]) -> int:
    """The most tokens of the answer; 0 if there is no limit, also where what the user gave in its place is none."""
    for name in reversed(TOKEN_LIMITS):
        if type(limit := body.get(name)) is int and limit > 0:
            return limit
    return 0


def _tool_names(tools: list[dict[str, Any]]) -> frozenset[str]:
    """The names of the tools that are offered."""
    if not tools:
        return frozenset()
    functions = (tool.get("function", tool) for tool in tools if isinstance(tool, dict))
    names = (function.get("name") for function in functions if isinstance(function, dict))
    return frozenset(name for name in names if isinstance(name, str))


def _encode(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body, enc_hook=str)
    except UnicodeEncodeError:  # half an emoji, which only escapes can carry
        return json.dumps(body, default=str).encode()
