"""`--model http:MODEL --base-url http://host:port/v1`: any server that speaks OpenAI's chat and text completions.

Made for long answers and unreliable connections: one keep-alive pool per server, as many requests in flight as raise
its throughput, a timeout of an hour for one answer, bounded retries with backoff, and one clear line per error. Keys
come from the environment and are never stored.
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
from m1eval.option_names import option, runner_option
from m1eval.text import plural

from . import context_length, cut_prompts, options, proxies, responses, thinking_budget
from .completions import COMPLETIONS_PATH, Completions
from .endpoint import Endpoint, HttpRequest, Timeouts
from .error_policy import ErrorPolicy
from .exceptions import BadRequest, ContextLengthExceeded, RequestFailed
from .limiter import AdaptiveLimiter
from .parameters import TOKEN_LIMITS
from .pool import EndpointPool, Exchange, make_clean
from .thinking_continuation import ThinkingContinuation

__all__ = ["RequestFailed", "Runner"]

_YES_NO_AUTO = {"auto": None, "yes": True, "true": True, "no": False, "false": False}
_NO_MODEL_LIST = ("404", "405", "501")
"""Statuses of a server without a list of models, which is optional."""
_AZURE_KEY_VARIABLE = "AZURE_OPENAI_API_KEY"


class Runner(m1eval.Runner):
    """A model behind one server or several; all but `model` may be left out.

    `base_url`: default $OPENAI_BASE_URL; several are separated by commas. `api_key_env`: the variable that holds the
    key. `headers` may name variables too (`{"api-key": "$AZURE_KEY"}`). `extra_body`: fields merged into each request
    last, null removes one. `timeout`: seconds for a whole answer; `read_timeout`: between two tokens of a streamed one.
    `retries` after the first attempt, the first after `backoff` seconds or less, each later one after up to twice as
    long. `patience`: seconds that a server may be unreachable. `concurrency`: fixes the requests in flight at each
    server; default: as many as raise its throughput. `stream`: auto streams answers that may be long. `n`: answers to
    one prompt in one request. `thinking`: whether the chat template leaves a think block open. `think_by`: how
    `--think` is enforced, `think_end` the text that ends thinking where one request continues another. `think_tags`:
    the model's form of thinking, by name or as `OPEN,CLOSE`; default: any known one that opens the output.
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
            raise UsageError(f"http: which model? {option('model', 'http:NAME')}, as the server calls it")
        think_end = None if think_end is None else options.text("think_end", think_end)
        tags = options.think_tags(think_tags, think_end)
        listed = base_url if isinstance(base_url, list | tuple) else [base_url or ""]
        urls = ",".join(options.text("base_url", url) for url in listed)
        addresses = options.parse_addresses(urls or os.environ.get("OPENAI_BASE_URL", ""))
        method = options.one_of("think_by", think_by, {name: name for name in thinking_budget.METHODS})
        self._think_method = thinking_budget.resolve_method(method, urlsplit(addresses[0].url).hostname or "")
        self.context_window = None if window is None else options.tokens("window", window)
        self.max_n, self._model = options.integer("n", n, 1), model
        self._clean = make_clean(secrets.redact)
        times = {"timeout": timeout, "connect_timeout": connect_timeout, "read_timeout": read_timeout}
        timeouts = Timeouts(*(options.seconds(name, value) for name, value in times.items()))
        key, variable = _api_key(options.text("api_key_env", api_key_env), addresses)
        fixed = None if concurrency is None else options.integer("concurrency", concurrency, 1)
        endpoints = _endpoints(addresses, key, options.parse_mapping("headers", headers), timeouts, fixed)
        key_hint = f"the key in ${variable} is refused" if key else f"set ${variable} to a key"
        policy = ErrorPolicy(endpoints, self._clean, key_hint, model)
        tries = options.integer("retries", retries, 0), options.seconds("backoff", backoff, zero=True)
        patience = options.seconds("patience", patience, zero=True)
        self._pool = EndpointPool(endpoints, policy, self._clean, *tries, patience)
        self._opened = options.one_of("thinking", thinking, _YES_NO_AUTO)
        streams = options.one_of("stream", stream, _YES_NO_AUTO)
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
        """Current limit of requests in flight, over all servers."""
        return self._pool.concurrency

    @property
    def base_url(self) -> str:  # type: ignore[override]
        """The first server's address, by which prices are found."""
        return self._pool.endpoints[0].url

    async def start(self, progress: Progress) -> None:
        """Check that each server is reachable, accepts the key and has the model; RunnerError if not."""
        urls = ", ".join(endpoint.url for endpoint in self._pool.endpoints)
        progress.status(f"connecting to {urls}")
        entries = await asyncio.gather(*(self._look_up_model(endpoint, progress) for endpoint in self._pool.endpoints))
        self._model_entry = entries[0]
        windows = [window for entry in entries if (window := responses.context_window(entry))]
        self.context_window = self.context_window or (min(windows) if windows else None)

    async def _look_up_model(self, endpoint: Endpoint, progress: Progress) -> dict[str, Any]:
        """The model's entry in a server's list; where there is none, the first request shows whether it exists."""
        try:
            listing, reason = await self._pool.probe(endpoint, HttpRequest("GET", "/models"), progress)
        except RequestFailed as error:
            raise RunnerError(f"http: {error}; is the server up, and is {option('base_url')} right?") from None
        if reason and not reason.startswith(_NO_MODEL_LIST):
            self._notes.append(self._clean(f"{endpoint.url} does not list its models: {reason}"))
        entries = responses.parse_models(listing)
        entry = responses.find_model(self._model, entries)
        if entries and entry is None:
            close = get_close_matches(self._model, entries, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            names = f"(models: {', '.join(list(entries)[:10])}{', …' if len(entries) > 10 else ''})"
            self._pool.policy.remedy = self._clean(f"{hint}{names}")
            if not (isinstance(listing, dict) and (listing.get("has_more") or listing.get("nextPageToken"))):
                note = f"{endpoint.url} lists no model '{self._model}'; {hint}it is asked anyway"
                self._notes.append(self._clean(note))
        return entry or {}

    def describe(self) -> dict[str, Any]:
        """The servers' addresses, the first one's entry of the model, its refused parameters and cuts; no keys."""
        plain = {key: value for key, value in self._model_entry.items() if isinstance(value, str | int | float | dict)}
        urls = [endpoint.display_url for endpoint in self._pool.endpoints]
        description: dict[str, Any] = {"base_url": urls[0] if len(urls) == 1 else urls}
        description["server_model"] = secrets.redact_tree(plain)
        if adjustments := self._completions.parameters.record:
            description["parameters"] = adjustments
        if self._cut_prompt:
            description["cut_prompt"] = self._cut_prompt._asdict()
        return description

    @property
    def notes(self) -> list[str]:  # type: ignore[override]
        """Notes on the server for a reader of the results."""
        cut = [f"{self._pool.endpoints[0].display_url} {self._cut_prompt}"] if self._cut_prompt else []
        return [*self._notes, *self._completions.parameters.notes, *cut]

    def recall(self, described: Mapping[str, Any]) -> None:
        """Take over the refused parameters and the cut prompt from an earlier part's `describe()`."""
        if isinstance(adjustments := described.get("parameters"), Mapping):
            self._completions.parameters.recall(adjustments)
        if isinstance(cut := described.get("cut_prompt"), Mapping):
            self._cut_prompt = cut_prompts.restore(cut)

    async def generate(self, request: Request) -> Output:
        """One answer, after retries; RequestFailed when there is none, RunnerError when no request would get one."""
        [output] = await self.generate_n(request, 1)
        if isinstance(output, RequestFailed):
            raise output
        return output

    async def generate_n(self, request: Request, n: int) -> list[Output | RequestFailed]:
        """Up to `n` answers to one prompt, as many as the server gives in one request, which prefills it once."""
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
            exchange = await self._post(path, body, request, n, metadata)
        except BadRequest as error:
            if self._budget_fields(request) and "think" in str(error):
                raise RunnerError(
                    f"http: {error}; or end thinking by {runner_option('think_by', 'continue')}"
                ) from None
            if n == 1:
                raise
            self.max_n, self._single_only = 1, True  # this server gives one at a time
            return await self.generate_n(request, 1)
        except ContextLengthExceeded as refusal:
            timing = Timing(total=time.monotonic() - begin)
            return [Output(finish_reason="refused_context", error=str(refusal), timing=timing) for _ in range(n)]
        outputs: list[Output | RequestFailed] = exchange.value
        if len(outputs) < n:  # this server ignores `n`
            self.max_n = 1
        timing = Timing(queue=exchange.queued, first_token=exchange.first_token, total=time.monotonic() - begin)
        for number, output in enumerate(outputs):
            if isinstance(output, Output):
                output.retries = exchange.retries
                output.metadata |= metadata | self._budget_metadata(request, output)
                output.metadata |= {"choice": number, "choices": len(outputs)} if n > 1 else {}
                output.timing = timing
        self._detect_cut(request, outputs[0])
        return outputs

    def _detect_cut(self, request: Request, output: Output | RequestFailed) -> None:
        """Note a prompt that the server must have cut."""
        if isinstance(output, Output) and (cut := cut_prompts.detect(request, output.usage)):
            output.metadata["cut_prompt"] = cut._asdict()
            self._cut_prompt = self._cut_prompt or cut

    async def _post(
        self, path: str, body: dict[str, Any], request: Request, n: int, changes: dict[str, Any]
    ) -> Exchange:
        """Ask; again with a lower token limit where the prompt fits the window but the answer does not.

        Without the numbers for that, without a limit: chat then fills the window. A changed limit goes into `changes`.
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
                if is_number and 0 < tokens_left < body[name] and "max_tokens" not in changes:
                    body[name] = tokens_left
                    changes["max_tokens"] = f"{tokens_left}, what the server's window leaves next to the prompt"
                elif path == COMPLETIONS_PATH:
                    raise
                else:
                    del body[name]
                    changes["max_tokens"] = "left to the server, whose window is too small for it"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    def _budget_fields(self, request: Request) -> dict[str, Any]:
        """The request fields in which this kind of server takes the thinking budget."""
        to_fields = thinking_budget.SERVER_FIELDS.get(self._think_method)
        if request.think_budget is None or to_fields is None or self._opened is False:
            return {}
        return to_fields(request.think_budget)

    def _budget_metadata(self, request: Request, output: Output) -> dict[str, Any]:
        """The record of a budget that the server enforces; RunnerError if it ignored it."""
        budget = request.think_budget
        if budget is None or self._opened is False:
            return {}
        tokens = output.usage.reasoning
        if not thinking_budget.is_within(budget, tokens):
            raise RunnerError(
                f"http: the server did not keep the thinking budget ({plural(tokens, 'token')}, not {budget:,}): "
                f"see that it is set up for think_by={self._think_method}, or {runner_option('think_by', 'continue')}"
            )
        return {"thinking": {"budget": budget, "by": self._think_method, "tokens": tokens}}


def _api_key(name: str, addresses: Sequence[options.Address]) -> tuple[str, str]:
    """The key and the variable it is in; Azure's own where the usual one is not set."""
    key = os.environ.get(name, "").strip()
    if not key and name == "OPENAI_API_KEY" and any(address.azure for address in addresses):
        return os.environ.get(_AZURE_KEY_VARIABLE, "").strip(), _AZURE_KEY_VARIABLE
    return key, name


def _endpoints(
    addresses: list[options.Address], key: str, user_headers: Mapping[str, Any], timeouts: Timeouts, fixed: int | None
) -> list[Endpoint]:
    """The servers with their headers, limiters and proxies."""
    server_proxies = [proxies.find(address.url) for address in addresses]
    headers = options.Headers(key, user_headers, addresses, [proxy.login for proxy in server_proxies if proxy])
    return [
        Endpoint(address, headers.for_address(address), timeouts, AdaptiveLimiter(fixed), proxy)
        for address, proxy in zip(addresses, server_proxies, strict=True)
    ]
