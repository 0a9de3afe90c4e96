"""Mapping of a server's errors to exceptions: try again, give up on this request, or end the run."""

from collections.abc import Callable, Sequence
from typing import NoReturn

from m1eval import RunnerError
from m1eval.option_names import option

from . import context_length, echoes, errors, parameters, refusals, responses
from .endpoint import Endpoint, HttpRequest, HttpResponse
from .errors import ServerError
from .exceptions import BadRequest, ContextLengthExceeded, FailureKind, RequestFailed, RetryableError

_PARAMETER_STATUSES = {0, 400, 403, 404, 422, 500, 501, 503}
"""Statuses with which servers reject a parameter; 0: an error in place of an answer."""


class ErrorPolicy:
    """Raises the right exception for each error; RunnerError where no other request would fare better.

    `clean` makes a server's words safe to show, `key_hint` says what to do about a wrong key.
    """

    def __init__(self, endpoints: Sequence[Endpoint], clean: Callable[[str], str], key_hint: str, model: str) -> None:
        self._endpoints, self._clean, self._key_hint, self._model = endpoints, clean, key_hint, model
        self.fatal_error: RunnerError | None = None
        self.remedy = f"see {option('base_url')}"
        """Advice where the model does not exist."""
        self.has_answered = self.accepts_n = False
        """Whether a request has been answered, and one for several answers."""

    def fatal(self, reason: str) -> RunnerError:
        """The error that ends the run, which all waiting requests get too."""
        error = self.fatal_error = RunnerError(f"http: {self._clean(reason)}")
        for endpoint in self._endpoints:
            endpoint.limiter.close(error)
        return error

    def raise_reported(self, endpoint: Endpoint, request: HttpRequest, error: ServerError) -> NoReturn:
        """Raise for an error in place of an answer, with status 200 or in a stream."""
        status, message = errors.http_status(error), self._clean(f"the server reports {error}")
        if self._is_key_refused(endpoint, status) and not refusals.is_out_of_credit(status, error):
            raise self.fatal(f"{endpoint.url}: {self._key_hint} ({message})")
        self._raise_known(endpoint, request, status, error, message)
        if status and not refusals.is_retryable(status):
            raise BadRequest(message, echoes.remove_echoes(error, request.payload))
        kind: FailureKind = "overloaded" if refusals.is_overload(status, error) else "malformed"
        raise RetryableError(message, kind, responses.retry_after({}, error.message))

    def raise_for_status(self, endpoint: Endpoint, request: HttpRequest, response: HttpResponse) -> None:
        """Raise for a response with an error status; not where the server just lacks an endpoint beyond OpenAI's."""
        status, url = response.status, endpoint.url
        is_completion = request.path == "/completions" or request.path.startswith("/chat")
        if not is_completion and status in {404, 405, 501}:
            return
        error = errors.parse(responses.decode_text(response.body))
        message = self._clean(f"{status} {error}")
        if status == 407:
            self._raise_proxy_login(endpoint, message)
        is_firewall = error.page and 400 <= status < 500 and status not in refusals.PERMANENT_STATUSES
        if is_firewall and (self.has_answered or (endpoint.has_succeeded and status not in {404, 405})):
            raise RetryableError(message)
        if self._is_key_refused(endpoint, status) and not refusals.is_out_of_credit(status, error):
            raise self.fatal(f"{url}: {self._key_hint} ({message})")
        self._raise_known(endpoint, request, status, error, message)
        if refusals.is_retryable(status):
            wait = responses.retry_after(response.headers, error.message)
            raise RetryableError(message, "overloaded" if status in refusals.OVERLOAD_STATUSES else "malformed", wait)
        if status == 404 or (not self.has_answered and (status == 405 or (status == 501 and error.page))):
            raise self.fatal(f"{url}{request.path} or model '{self._model}' is not there ({message}); {self.remedy}")
        if 300 <= status < 400:
            target = self._clean(response.headers.get("location", "elsewhere"))
            raise self.fatal(f"{url}{request.path} has moved to {target}; give the new {option('base_url')}")
        if status == 413:
            message += f": the request has {len(request.payload):,} bytes, and a proxy or the server takes fewer"
        if status in {400, 422, 501}:
            raise BadRequest(message, echoes.remove_echoes(error, request.payload))
        raise RequestFailed(message)

    def raise_at_start(self, endpoint: Endpoint, status: int, error: ServerError) -> None:
        """Raise for an error that no later request will get around: a wrong key, or a proxy's login."""
        message = self._clean(f"{status} {error}")
        if status == 407:
            self._raise_proxy_login(endpoint, message)
        if status in {401, 403} and refusals.is_key_refused(status, error):
            raise self.fatal(f"{endpoint.url}: {self._key_hint} ({message})")

    @staticmethod
    def _is_key_refused(endpoint: Endpoint, status: int) -> bool:
        """Whether a status means a wrong key; 403 may be about one request once others were answered."""
        return status == 401 or (status == 403 and not endpoint.has_succeeded)

    def _raise_known(
        self, endpoint: Endpoint, request: HttpRequest, status: int, error: ServerError, message: str
    ) -> None:
        """Raise for errors that mean the same whatever their status and the way they came."""
        message = self._clean(message)
        with_echoes = error
        if status not in refusals.OVERLOAD_STATUSES:
            error = echoes.remove_echoes(error, request.payload)
        if refusals.is_out_of_credit(status, error):
            what = "nothing is left on the account"
            raise self.fatal(f"{endpoint.url}: {what} ({message}); the same command continues the run")
        if status in {0, 400} and not self.has_answered and refusals.mentions_wrong_key(error):
            raise self.fatal(f"{endpoint.url}: {self._key_hint} ({message})")
        if context_length.exceeded(status, with_echoes, request.payload):
            raise ContextLengthExceeded(message, with_echoes)
        if status in _PARAMETER_STATUSES and request.body and parameters.find_adjustments(error, request.body):
            raise BadRequest(message, error)
        by_words = status in _PARAMETER_STATUSES - {0} and not self.has_answered
        if status < 500 and refusals.is_model_missing(error, by_words=by_words):
            raise self.fatal(f"{endpoint.url}: model '{self._model}' is not there ({message}); {self.remedy}")
        if status in {500, 501} and request.n > 1 and not self.accepts_n:
            raise BadRequest(message, error)

    def _raise_proxy_login(self, endpoint: Endpoint, message: str) -> NoReturn:
        remedy = "HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
        raise self.fatal(f"{endpoint.url}: the proxy wants a login ({message}); {remedy}")
