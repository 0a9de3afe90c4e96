"""`--model http:MODEL --base-url http://host:port/v1`: any server that speaks OpenAI's chat and text completions.

Made for long answers and unreliable lines: one keep-alive pool, an hour of patience for one answer, bounded retries
with backoff, and one clear line for whatever goes wrong. Keys come from the environment and never leave it.
"""

import asyncio
import base64
import itertools
import json
import os
import random
import time
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from m1eval import Output, Progress, Request, RunnerError, Timing, UsageError
from m1eval.report.words import short

from . import replies
from .line import Line, Reply, RequestFailed, TryAgain

LONGEST_WAIT = 120.0
"""Seconds before the next try, whatever the server asks for."""

_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
_CHAT, _RAW = "/chat/completions", "/completions"
_T = TypeVar("_T")


class _Overlong(Exception):
    """The server refuses the prompt for its length."""


class Runner:
    """A model behind a server; all but `model` may be left out.

    `base_url`: default $OPENAI_BASE_URL. `api_key_env`: the variable that holds the key. `headers` may name variables
    too (`{"api-key": "$AZURE_KEY"}`). `extra_body`: fields merged into each request last, null removes one.
    `timeout`: seconds for a whole answer. `retries` after the first try, the first after `backoff` seconds or less,
    each later one after up to twice as long. `thinking`: whether the chat template leaves a think block open.
    """

    tokenizer = None
    loose = frozenset(
        {"base_url", "api_key_env", "timeout", "connect_timeout", "retries", "backoff", "concurrency", "headers"}
    )

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        timeout: float = 3600.0,
        connect_timeout: float = 10.0,
        retries: int = 5,
        backoff: float = 1.0,
        concurrency: int = 16,
        thinking: str | bool = "auto",
        window: int | None = None,
        headers: str | dict[str, str] | None = None,
        extra_body: str | dict[str, Any] | None = None,
    ) -> None:
        if not model:
            raise UsageError("http: which model? --model http:NAME, as the server calls it")
        opened = {"auto": None, "yes": True, "true": True, "no": False, "false": False}
        if str(thinking).lower() not in opened:
            raise UsageError(f"http: thinking is auto, yes or no, not {thinking}")
        self.window, self.concurrency = window, concurrency
        self._model, self._opened = model, opened[str(thinking).lower()]
        self._retries, self._backoff = retries, backoff
        self._extra = _mapping("extra_body", extra_body)
        self._key_name, self._key = api_key_env, os.environ.get(api_key_env, "").strip()
        url, login = _address(base_url or os.environ.get("OPENAI_BASE_URL", ""))
        sent = {"authorization": f"Bearer {self._key}"} if self._key else {}
        if login:
            sent["authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        own = _mapping("headers", headers)
        sent |= {name.lower(): os.path.expandvars(str(value)) for name, value in own.items()}
        secrets = {self._key, login.partition(":")[2], *(value.split()[-1] for value in sent.values() if value.strip())}
        self._secrets = sorted((secret for secret in secrets if len(secret) > 3), key=len, reverse=True)
        sent |= {"content-type": "application/json", "user-agent": "m1eval"}
        self._line = Line(url, sent, timeout, connect_timeout, concurrency)
        self._entry: dict[str, Any] = {}
        self._lost = 0

    async def start(self, progress: Progress) -> None:
        """See that the server is there, takes the key and has the model; RunnerError if not."""
        progress.status(f"connecting to {self._line.url}")
        try:
            listed, _, _ = await self._persist("GET", "/models", b"", progress, replies.models, patient=False)
        except RequestFailed as error:
            raise RunnerError(f"http: {error}; is the server up, and is --base-url right?") from None
        entry = next((listed[name] for name in listed if f"/{name}".endswith(f"/{self._model}")), None)
        if listed and entry is None:
            close = get_close_matches(self._model, listed, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            names = f"(models: {', '.join(list(listed)[:10])}{', …' if len(listed) > 10 else ''})"
            raise RunnerError(self._clean(f"server at {self._line.url} has no model '{self._model}'; {hint}{names}"))
        self._entry = entry or {}
        self.window = self.window or replies.window(self._entry)

    def describe(self) -> dict[str, Any]:
        """The server's address and what it says of the model; no keys."""
        plain = {key: value for key, value in self._entry.items() if isinstance(value, str | int | float | dict)}
        return {"base_url": self._line.url, "server_model": json.loads(self._redact(json.dumps(plain)))}

    async def generate(self, request: Request) -> Output:
        """Ask, and again where that may help; RequestFailed when it does not, RunnerError when no request would do."""
        if request.think_budget is not None:
            raise RunnerError("http cannot cap thinking yet")
        begin = time.monotonic()
        path, body = self._body(request)
        metadata = {}
        try:
            try:
                output, tries, queued = await self._post(path, body, request.progress)
            except _Overlong:
                if path == _RAW or body.pop("max_tokens", None) is None:
                    raise
                # Some refuse a prompt that fits if max_tokens after it does not; without it, they fill their window.
                metadata["max_tokens"] = "left to the server, whose window is too small for it"
                output, tries, queued = await self._post(path, body, request.progress)
        except _Overlong as refusal:
            timing = Timing(total=time.monotonic() - begin)
            return Output(finish_reason="refused_context", error=str(refusal), timing=timing)
        output.retries, output.metadata = tries, metadata
        output.timing = Timing(queue=queued, total=time.monotonic() - begin)
        request.progress.tokens(prompt=output.usage.prompt, output=output.usage.output)
        return output

    async def aclose(self) -> None:
        """Close the connections."""
        await self._line.aclose()

    def _body(self, request: Request) -> tuple[str, dict[str, Any]]:
        sampling = {name: getattr(request.sampling, name) for name in request.sampling.__struct_fields__}
        asked: dict[str, Any]
        body = sampling | {"model": self._model, "stop": list(request.sampling.stop) or None}
        if request.messages is not None:
            path, asked = _CHAT, {"messages": request.messages, "tools": request.tools or None}
        else:
            path, asked = _RAW, {"prompt": request.prompt if request.token_ids is None else request.token_ids}
        body = {key: value for key, value in (asked | body | self._extra).items() if value is not None}
        if path == _RAW and "max_tokens" not in body:  # servers would stop after 16
            raise RunnerError("http: raw prompts need a limit; set generation.max_tokens")
        return path, body

    async def _post(self, path: str, body: dict[str, Any], progress: Progress) -> tuple[Output, int, float]:
        def read(data: Any) -> Output:
            return replies.output(data, self._opened)

        return await self._persist("POST", path, json.dumps(body).encode(), progress, read)

    async def _persist(
        self,
        method: str,
        path: str,
        payload: bytes,
        progress: Progress,
        read: Callable[[Any], _T],
        patient: bool = True,
    ) -> tuple[_T, int, float]:
        """What `read` makes of the reply, how many tries failed before it, and the seconds waited for a place.

        Not `patient`: try again only if the server is there and says that it is busy.
        """
        queued = 0.0
        for failed in itertools.count():
            try:
                reply = await self._line.ask(method, path, payload)
                self._lost = 0
                queued += reply.queued
                return read(self._accepted(reply, path)), failed, queued
            except RequestFailed as error:
                raise RequestFailed(self._clean(str(error))) from None
            except TryAgain as again:
                reason = self._clean(str(again))
                if failed >= self._retries or not (patient or again.kind == "busy"):
                    raise self._failure(again, f"{self._line.url}: {reason}", failed + 1) from None
                wait = min(LONGEST_WAIT, max(again.wait, self._backoff * 2**failed * random.uniform(0.5, 1)))
            progress.retry(reason, wait)
            await asyncio.sleep(wait)
        raise AssertionError  # count() has no end

    def _failure(self, again: TryAgain, reason: str, tries: int) -> Exception:
        """The error of a request that failed for good; a whole round of them without a line ends the run."""
        self._lost += again.kind == "lost"
        if self._lost >= self.concurrency and tries > 1:
            return RunnerError(f"http: {reason}; the server is gone, the same command continues the run")
        return RequestFailed(reason + (f" ({tries} tries)" if tries > 1 else ""))

    def _accepted(self, reply: Reply, path: str) -> Any:
        """The JSON of a good reply, and the right error for any other."""
        status, url = reply.status, self._line.url
        if 200 <= status < 300:
            return replies.parsed(reply.body)
        if path == "/models" and status in {404, 405, 501}:
            return None
        words = replies.words(reply.body)
        said = self._clean(f"{status} {words}")
        if status in {401, 403}:
            key = f"the key in ${self._key_name} is refused" if self._key else f"set ${self._key_name} to a key"
            raise RunnerError(f"http: {url}: {key} ({said})")
        if status != 429 and replies.OVERLONG.search(words):
            raise _Overlong(said)
        if status in _AGAIN:
            raise TryAgain(said, "busy", replies.asked_wait(reply.headers))
        if status == 404:
            raise RunnerError(f"http: {url}{path} or model '{self._model}' is not there ({said}); see --base-url")
        if 300 <= status < 400:
            target = self._clean(reply.headers.get("location", "elsewhere"))
            raise RunnerError(f"http: {url}{path} has moved to {target}; give the new --base-url")
        raise RequestFailed(said)

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _clean(self, text: str) -> str:
        """One line of at most 300 characters, without secrets."""
        return short(" ".join(self._redact(text).split()), 300)


def _mapping(name: str, value: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """An option given as a mapping or as JSON."""
    try:
        found = json.loads(value) if isinstance(value, str) else value or {}
    except ValueError as error:
        raise UsageError(f"http: {name} is not JSON: {error}") from None
    if not isinstance(found, Mapping):
        raise UsageError(f'http: {name} is not a JSON object, such as {{"key": "value"}}')
    return dict(found)


def _address(url: str) -> tuple[str, str]:
    """The server's address without its credentials, and they (`user:password`)."""
    if not url:
        raise UsageError("http: which server? --base-url http://host:port/v1, or set OPENAI_BASE_URL")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("http: the base URL has not the form http://host:port/v1")
    login, _, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")), unquote(login)
