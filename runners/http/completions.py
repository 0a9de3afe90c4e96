"""Chat and text completions: a request's body, one exchange, and its outputs."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from m1eval import Output, Progress, Request, RunnerError
from m1eval.model.thinking import Form

from . import outputs, responses, stream
from .endpoint import Endpoint, HttpRequest, HttpResponse, ResponseReader
from .exceptions import BadRequest, RequestFailed
from .parameters import TOKEN_LIMITS, Parameters
from .pool import EndpointPool, Exchange
from .stream import CompletionReader

STREAM_FROM = 1024
"""Token limit from which on an answer is streamed: shorter ones come soon, and a stream costs both sides more."""
CHAT_PATH, COMPLETIONS_PATH = "/chat/completions", "/completions"


class Completions:
    """Client for completions of a model.

    `opened`: whether the chat template leaves a think block open; `tags`: the possible forms of thinking, None for any
    known one; `stream`: None streams answers that may be long; `extra`: fields merged into each request last.
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
        """Path and fields of a request; `server_fields`: those of this kind of server beyond OpenAI's."""
        sampling = {name: getattr(request.sampling, name) for name in request.sampling.__struct_fields__}
        path = COMPLETIONS_PATH
        fields: dict[str, Any] = {"prompt": request.prompt if request.token_ids is None else request.token_ids}
        if request.messages is not None:
            path, fields = CHAT_PATH, {"messages": request.messages, "tools": request.tools or None}
        fields |= sampling | {"model": self.model, "stop": list(request.sampling.stop) or None}
        fields |= (server_fields or {}) | dict(self.extra)
        body = {name: value for name, value in fields.items() if value is not None}
        if path == COMPLETIONS_PATH and "max_tokens" not in body:  # servers would stop after 16
            raise RunnerError("http: raw prompts need a limit; set generation.max_tokens")
        return path, body

    async def post(
        self, path: str, body: dict[str, Any], request: Request, n: int = 1, *, split: bool = True
    ) -> Exchange:
        """Request completions; the value is up to `n` outputs, their text unsplit if not `split`."""
        tools = _tool_names(request.tools)
        counter = _TokenCounter(request.progress, tools)
        limit = _token_limit(body)
        tags = self.tags if split else ()

        def read(response: HttpResponse, reader: ResponseReader | None) -> list[Output | RequestFailed]:
            if reader is not None and reader.is_stream:
                data = reader.completion()
            else:
                data = stream.read_body(response.body, response.charset, tools)
            stops = request.sampling.stop if self.parameters.is_dropped("stop") else ()
            return outputs.parse(data, self.opened, n, tags=tags, tools=tools, limit=limit, stops=stops)

        while True:
            original = body | self._stream_fields(limit)
            fields = self.parameters.apply(original)
            http_request = HttpRequest("POST", path, _encode(fields), request.prefix_key, fields)
            new_reader = counter.new_reader if fields.get("stream") else None
            try:
                exchange = await self._pool.request(http_request, request.progress, read, new_reader)
            except BadRequest as error:
                self._learn(error, original, fields)
            else:
                counter.finish([output for output in exchange.value if isinstance(output, Output)])
                return exchange

    def _learn(self, error: BadRequest, body: dict[str, Any], fields: Mapping[str, Any]) -> None:
        """Adjust the next request to a refusal; raises it, or RunnerError where only the user can help."""
        if self.parameters.learn(error.error, body, fields):
            return
        if self._auto_stream and "stream" in str(error.error).lower() and self._switch_streaming(fields):
            return
        if not self._pool.policy.has_answered and (name := self.parameters.refused_user_parameter(error.error, fields)):
            raise RunnerError(
                f"http: the server refuses {name}, which extra_body asks for ({error}); take it out"
            ) from None
        raise error

    def _switch_streaming(self, fields: Mapping[str, Any]) -> bool:
        """Switch between streamed and whole answers after a refusal of one; whether there is another way left."""
        if "stream" in fields:  # without usage, then without a stream
            self._include_usage, self._stream = False, self._stream if "stream_options" in fields else False
            return True
        if self._stream is False or self.parameters.is_dropped("stream"):
            return False
        self._stream = True  # some models only stream, however short the answer
        return True

    def _stream_fields(self, limit: int) -> dict[str, Any]:
        """The fields that ask for a stream, where the answer may be long and `extra` does not decide."""
        if "stream" in self.extra or self._stream is False or (self._stream is None and 0 < limit < STREAM_FROM):
            return {}
        usage = self._include_usage and "stream_options" not in self.extra
        return {"stream": True} | ({"stream_options": {"include_usage": True}} if usage else {})

    async def fetch_field(self, path: str, body: Mapping[str, Any], request: Request, field: str) -> Any:
        """One field of the JSON from an endpoint beyond OpenAI's; None if it does not exist."""

        def read(response: HttpResponse, _: ResponseReader | None) -> Any:
            data = responses.parse_json(response.body, response.charset) if response.status == 200 else None
            return data.get(field) if isinstance(data, dict) else None

        http_request = HttpRequest("POST", path, _encode(body), request.prefix_key)
        return (await self._pool.request(http_request, request.progress, read)).value


class _TokenCounter:
    """Reports the tokens of an answer as they arrive, and corrects the count at its end."""

    def __init__(self, progress: Progress, tools: frozenset[str]) -> None:
        self._progress, self._tools = progress, tools
        self._num_tokens = 0

    def new_reader(self, endpoint: Endpoint) -> CompletionReader:
        """A reader for the next attempt; the tokens of the previous one are taken back."""

        def on_tokens(tokens: int) -> None:
            endpoint.limiter.streaming += not self._num_tokens
            self._num_tokens += tokens
            endpoint.limiter.on_tokens(tokens)
            self._progress.tokens(output=tokens)

        self._progress.tokens(output=-self._num_tokens)
        self._num_tokens = 0
        return CompletionReader(on_tokens, self._tools)

    def finish(self, outputs: list[Output]) -> None:
        """Correct the count by the server's usage."""
        prompt = outputs[0].usage.prompt if outputs else 0
        num_output = sum(output.usage.output for output in outputs)
        self._progress.tokens(prompt=prompt, output=num_output - self._num_tokens)


def _token_limit(body: Mapping[str, Any]) -> int:
    """Maximum number of tokens of the answer; 0 without a limit or with an invalid one."""
    for name in reversed(TOKEN_LIMITS):
        if type(limit := body.get(name)) is int and limit > 0:
            return limit
    return 0


def _tool_names(tools: list[dict[str, Any]]) -> frozenset[str]:
    """The names of the offered tools."""
    if not tools:
        return frozenset()
    functions = (tool.get("function", tool) for tool in tools if isinstance(tool, dict))
    names = (function.get("name") for function in functions if isinstance(function, dict))
    return frozenset(name for name in names if isinstance(name, str))


def _encode(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body, enc_hook=str)
    except UnicodeEncodeError:  # a lone surrogate, which only JSON escapes can carry
        return json.dumps(body, default=str).encode()
