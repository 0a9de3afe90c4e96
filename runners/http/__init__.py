"""`--model http:MODEL --base-url http://host:port/v1`: any server that speaks OpenAI's chat and text completions.

Made for long answers and unreliable lines: one keep-alive pool a server, as many requests at once as raise its
throughput, an hour of patience for one answer, bounded retries with backoff, and one clear line for whatever goes
wrong. Keys come from the environment and never leave it.
"""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

import m1eval
from m1eval import Output, Progress, Request, RunnerError, Timing, UsageError, secrets
from m1eval.credentials import register_option
from m1eval.text import plural

from . import context_length, cut_prompts, options, proxies, responses, thinking_budget
from .completions import COMPLETIONS_PATH, Completions
from .endpoint import Endpoint, RequestFailed, Timeouts
from .limiter import AdaptiveLimiter
from .parameters import TOKEN_LIMITS
from .pool import BadRequest, ContextLengthExceeded, EndpointPool, Exchange, HttpRequest, make_clean
from .thinking_continuation import ThinkingContinuation

__all__ = ["RequestFailed", "Runner"]

_YES_NO_AUTO = {"auto": None, "yes": True, "true": True, "no": False, "false": False}
_NO_MODEL_LIST = ("404", "405", "501")
"""Statuses of a server that has no list of models at all, as many have none."""
_AZURE_KEY_VARIABLE = "AZURE_OPENAI_API_KEY"


class Runner(m1eval.Runner):
    """A model behind one server or several; all but `model` may be left out.

    `base_url`: default $OPENAI_BASE_URL; several are separated by commas. `api_key_env`: the variable that holds the
    key. `headers` may name variables too (`{"api-key": "$AZURE_KEY"}`). `extra_body`: fields merged into each request
    last, null removes one. `timeout`: seconds for a whole answer; `read_timeout`: between two tokens of a streamed one.
    `retries` after the first try, the first after `backoff` seconds or less, each later one after up to twice as long.
    `patience`: seconds that a server may be away. `concurrency`: fixes the requests in flight at each server; default:
    as many as raise its throughput. `stream`: auto streams answers that may be long. `n`: answers to one prompt that
    one request asks for. `thinking`: whether the chat template leaves a think block open. `think_by`: how `--think` is
    kept, `think_end` the text that ends thinking where requests continue one another. `think_tags`: the model's form of
    thinking, by name or as `OPEN,CLOSE`; default: any known one that opens the output.
    """

    tokenizer = None
    unpinned_options = frozenset(
        {"base_url", "api_key_env", "timeout", "connect_timeout", "read_timeout", "retries", "backoff", "patience"}
        | {"concurrency", "headers", "stream", "n"}
    )

    def __init__(
        self,
        model: str,
        *,
        base_url: str | Sequence[str] | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        timeout: float = 3600.0,
        connect_timeout: float = 10.0,
        read_timeout: float = 300.0,
        retries: int = 8,
        backoff: float = 1.0,
        patience: float = 300.0,
        concurrency: int | None = None,
        stream: str | bool = "auto",
        n: int = 1,
        thinking: str | bool = "auto",
        think_by: str = "auto",
        think_end: str | None = None,
        think_tags: Any = None,
        window: int | None = None,
        headers: str | dict[str, str] | None = None,
        extra_body: str | dict[str, Any] | None = None,
    ) -> None:
        if not model:
            raise UsageError("http: which model? --model http:NAME, as the server calls it")
        think_end = None if think_end is None else options.text("think_end", think_end)
        tags = options.think_tags(think_tags, think_end)
        listed = base_url if isinstance(base_url, list | tuple) else [base_url or ""]
        urls = ",".join(options.text("base_url", url) for url in listed)
        found = options.parse_addresses(urls or os.environ.get("OPENAI_BASE_URL", ""))
        chosen = options.one_of("think_by", think_by, {way: way for way in thinking_budget.METHODS})
        self._think_method = thinking_budget.resolve_method(chosen, urlsplit(found[0].url).hostname or "")
        self.context_window = None if window is None else options.tokens("window", window)
        self.max_n, self._model = options.integer("n", n, 1), model
        fixed = None if concurrency is None else options.integer("concurrency", concurrency, 1)
        limits = Timeouts(
            options.seconds("timeout", timeout),
            options.seconds("connect_timeout", connect_timeout),
            options.seconds("read_timeout", read_timeout),
        )
        tries = options.integer("retries", retries, 0), options.seconds("backoff", backoff, zero=True)
        away = options.seconds("patience", patience, zero=True)
        key, named = _api_key(options.text("api_key_env", api_key_env), azure=any(address.azure for address in found))
        ways = [proxies.find(address.url) for address in found]
        logins = [way.login for way in ways if way]
        sent = options.Headers(key, options.parse_mapping("headers", headers), found, logins)
        lines = [
            Endpoint(address, sent.for_address(address), limits, AdaptiveLimiter(fixed), way)
            for address, way in zip(found, ways, strict=True)
        ]
        denied = f"the key in ${named} is refused" if key else f"set ${named} to a key"
        self._clean = make_clean(secrets.redact)
        self._pool = EndpointPool(lines, self._clean, denied, model, *tries, away)
        self._opened, streams = (
            options.one_of("thinking", thinking, _YES_NO_AUTO),
            options.one_of("stream", stream, _YES_NO_AUTO),
        )
        extra = options.extra_body(extra_body)
        register_option("extra_body", extra)
        self._completions = Completions(model, self._pool, extra, self._opened, streams, tags, self._clean)
        self._continuation = ThinkingContinuation(self._completions, self.base_url, think_end)
        self._model_entry: dict[str, Any] = {}
        self._notes: list[str] = []
        self._single_only = False
        self._cut_prompt: cut_prompts.CutPrompt | None = None

    @property
    def concurrency(self) -> int:  # type: ignore[override]
        """Requests that the servers are given at once by now."""
        return self._pool.concurrency

    @property
    def base_url(self) -> str:  # type: ignore[override]
        """Where the model is, for those who know its prices."""
        return self._pool.endpoints[0].url

    async def start(self, progress: Progress) -> None:
        """See that each server is there, takes the key and has the model; RunnerError if not."""
        urls = ", ".join(line.url for line in self._pool.endpoints)
        progress.status(f"connecting to {urls}")
        entries = await asyncio.gather(*(self._look_up_model(line, progress) for line in self._pool.endpoints))
        self._model_entry = entries[0]
        windows = [window for entry in entries if (window := responses.context_window(entry))]
        self.context_window = self.context_window or (min(windows) if windows else None)

    async def _look_up_model(self, endpoint: Endpoint, progress: Progress) -> dict[str, Any]:
        """What a server says of the model; where it says nothing or lists others, the first request decides."""
        try:
            listing, why = await self._pool.probe(endpoint, HttpRequest("GET", "/models"), progress)
        except RequestFailed as error:
            raise RunnerError(f"http: {error}; is the server up, and is --base-url right?") from None
        if why and not why.startswith(_NO_MODEL_LIST):
            self._notes.append(self._clean(f"{endpoint.url} does not list its models: {why}"))
        entries = responses.parse_models(listing)
        entry = responses.find_model(self._model, entries)
        if entries and entry is None:
            close = get_close_matches(self._model, entries, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            names = f"(models: {', '.join(list(entries)[:10])}{', …' if len(entries) > 10 else ''})"
            self._pool.remedy = self._clean(f"{hint}{names}")
            if not (isinstance(listing, dict) and (listing.get("has_more") or listing.get("nextPageToken"))):
                self._notes.append(
                    self._clean(f"{endpoint.url} lists no model '{self._model}'; {hint}it is asked anyway")
                )
        return entry or {}

    def describe(self) -> dict[str, Any]:
        """The servers' addresses, what the first says of the model, what it refuses and cuts; no keys."""
        plain = {key: value for key, value in self._model_entry.items() if isinstance(value, str | int | float | dict)}
        urls = [line.display_url for line in self._pool.endpoints]
        about: dict[str, Any] = {"base_url": urls[0] if len(urls) == 1 else urls}
        about["server_model"] = secrets.redact_tree(plain)
        if learnt := self._completions.parameters.record:
            about["parameters"] = learnt
        if self._cut_prompt:
            about["cut_prompt"] = self._cut_prompt._asdict()
        return about

    @property
    def notes(self) -> list[str]:  # type: ignore[override]
        """What a reader of the results must know of the server."""
        cut = [f"{self._pool.endpoints[0].display_url} {self._cut_prompt}"] if self._cut_prompt else []
        return [*self._notes, *self._completions.parameters.notes, *cut]

    def recall(self, described: Mapping[str, Any]) -> None:
        """Go on as an earlier part of the run, which described itself so: what its server refused is not sent.

        That it cut a prompt is not forgotten.
        """
        if isinstance(learnt := described.get("parameters"), Mapping):
            self._completions.parameters.recall(learnt)
        if isinstance(cut := described.get("cut_prompt"), Mapping):
            self._cut_prompt = cut_prompts.restore(cut)

    async def generate(self, request: Request) -> Output:
        """Ask, and again where that may help; RequestFailed when it does not, RunnerError when no request would do."""
        [output] = await self.generate_n(request, 1)
        if isinstance(output, RequestFailed):
            raise output
        return output

    async def generate_n(self, request: Request, n: int) -> list[Output | RequestFailed]:
        """As many answers to one prompt as the server gives in one request, at most `n`; its prompt is read once."""
        if request.think_budget is not None and self._think_method == "continue" and self._opened is not False:
            self._continuation.context_window = self.context_window
            return [await self._continuation.answer(request, request.think_budget)]
        begin = time.monotonic()
        n = 1 if self._single_only else n
        path, body = self._completions.body(request, self._budget_fields(request))
        if n > 1:
            body["n"] = n
        metadata: dict[str, Any] = {}
        try:
            came = await self._post(path, body, request, n, metadata)
        except BadRequest as error:
            if self._budget_fields(request) and "think" in str(error):
                raise RunnerError(f"http: {error}; or end thinking by -o think_by=continue") from None
            if n == 1:
                raise
            self.max_n, self._single_only = 1, True  # this server takes one at a time
            return await self.generate_n(request, 1)
        except ContextLengthExceeded as refusal:
            timing = Timing(total=time.monotonic() - begin)
            return [Output(finish_reason="refused_context", error=str(refusal), timing=timing) for _ in range(n)]
        outputs: list[Output | RequestFailed] = came.value
        if len(outputs) < n:  # this server ignores what it was asked for
            self.max_n = 1
        timing = Timing(queue=came.queued, first_token=came.first_token, total=time.monotonic() - begin)
        for number, output in enumerate(outputs):
            if isinstance(output, Output):
                output.retries = came.retries
                output.metadata |= metadata | self._budget_metadata(request, output)
                output.metadata |= {"choice": number, "choices": len(outputs)} if n > 1 else {}
                output.timing = timing
        self._detect_cut(request, outputs[0])
        return outputs

    def _detect_cut(self, request: Request, output: Output | RequestFailed) -> None:
        """Note it where the server cannot have read the whole prompt."""
        if isinstance(output, Output) and (cut := cut_prompts.detect(request, output.usage)):
            output.metadata["cut_prompt"] = cut._asdict()
            self._cut_prompt = self._cut_prompt or cut

    async def _post(
        self, path: str, body: dict[str, Any], request: Request, n: int, metadata: dict[str, Any]
    ) -> Exchange:
        """Ask; where the prompt fits the window and the tokens of the answer do not, again for as many as are left.

        Without the numbers for that, without a limit: chat then fills the window.
        """
        while True:
            try:
                return await self._completions.post(path, body, request, n)
            except ContextLengthExceeded as refusal:
                name = next((name for name in TOKEN_LIMITS if name in body), None)
                if name is None:
                    raise
                counts = context_length.token_counts(refusal.error)
                tokens_left = counts.window - counts.prompt if counts else 0
                if counts and tokens_left < 1:
                    raise
                is_number = isinstance(body[name], int)  # extra_body may hold anything
                if is_number and 0 < tokens_left < body[name] and "max_tokens" not in metadata:
                    body[name] = tokens_left
                    metadata["max_tokens"] = f"{tokens_left}, what the server's window leaves beside the prompt"
                elif path == COMPLETIONS_PATH:
                    raise
                else:
                    del body[name]
                    metadata["max_tokens"] = "left to the server, whose window is too small for it"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    def _budget_fields(self, request: Request) -> dict[str, Any]:
        """The fields by which this kind of server takes the thinking budget."""
        if (
            request.think_budget is None
            or self._think_method not in thinking_budget.SERVER_FIELDS
            or self._opened is False
        ):
            return {}
        return thinking_budget.SERVER_FIELDS[self._think_method](request.think_budget)

    def _budget_metadata(self, request: Request, output: Output) -> dict[str, Any]:
        """What a server of its own means made of the thinking budget; RunnerError if it ignored it."""
        most = request.think_budget
        if most is None or self._opened is False:
            return {}
        if not thinking_budget.is_within(most, output.usage.reasoning):
            took = plural(output.usage.reasoning, "token")
            raise RunnerError(
                f"http: the server did not keep the thinking budget ({took}, not {most:,}): "
                f"see that it is set up for think_by={self._think_method}, or -o think_by=continue"
            )
        return {"thinking": {"budget": most, "by": self._think_method, "tokens": output.usage.reasoning}}


def _api_key(name: str, *, azure: bool) -> tuple[str, str]:
    """The key and the variable it is in; Azure's own where the usual one is not set."""
    key = os.environ.get(name, "").strip()
    if azure and not key and name == "OPENAI_API_KEY":
        return os.environ.get(_AZURE_KEY_VARIABLE, "").strip(), _AZURE_KEY_VARIABLE
    return key, name
