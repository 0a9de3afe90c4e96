"""Parses and checks the http runner's options: addresses, keys, headers, numbers, and JSON."""

import base64
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from m1eval import UsageError, secrets
from m1eval.credentials import register_headers, register_login, register_url
from m1eval.model.thinking import KNOWN, Form, parse_forms
from m1eval.option_names import option, runner_option
from m1eval.text import parse_tokens
from m1eval.yaml_file import number_or_none

_ENDPOINTS = ("/chat/completions", "/completions", "/models")
_PUBLIC_PARAMETERS = {"api-version", "api_version"}
"""Query parameters that are not secret; the value of any other is treated as one."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)\}|([A-Za-z_]\w*))")


class Address(NamedTuple):
    """A server's address without credentials, its login (`user:password`), and the query sent with each request."""

    url: str
    login: str = ""
    query: str = ""

    @property
    def display_url(self) -> str:
        """The address with its query, secrets masked."""
        pairs = [
            (name, value if name.lower() in _PUBLIC_PARAMETERS else "***") for name, value in parse_qsl(self.query)
        ]
        return f"{self.url}?{urlencode(pairs, safe='*')}" if pairs else self.url

    @property
    def secrets(self) -> list[str]:
        """The secrets in it."""
        values = [value for name, value in parse_qsl(self.query) if name.lower() not in _PUBLIC_PARAMETERS]
        return [self.login.partition(":")[2], *values]

    @property
    def azure(self) -> bool:
        """Whether the server is an Azure deployment, which takes its key in another header."""
        return "/openai/deployments/" in f"{self.url}/" or "api-version" in self.query


def parse_addresses(urls: str) -> list[Address]:
    """The servers in a list separated by commas or spaces."""
    listed_urls = urls.replace(",", " ").split()
    for url in listed_urls:
        register_url(url)
    parsed = [_parse_address(url) for url in listed_urls]
    if not parsed:
        raise UsageError(f"http: which server? {option('base_url', 'http://host:port/v1')}, or set OPENAI_BASE_URL")
    if len({address.url for address in parsed}) < len(parsed):
        raise UsageError(f"http: {option('base_url')} names a server twice")
    return parsed


def parse_mapping(name: str, value: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """An option given as a mapping or as JSON."""
    try:
        fields = json.loads(value, object_pairs_hook=_reject_duplicates) if isinstance(value, str) else value or {}
    except ValueError as error:
        raise UsageError(f"http: {name} is not JSON: {error}") from None
    if not isinstance(fields, Mapping):
        raise UsageError(f'http: {name} is not a JSON object, such as {{"key": "value"}}')
    return dict(fields)


def extra_body(value: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields that are merged into each request; `n` must be given as an option instead."""
    fields = parse_mapping("extra_body", value)
    n = number_or_none(fields.get("n"))
    if n is not None and n > 1:
        n = int(n)
        raise UsageError(
            f"http: extra_body: n={n} would throw all answers but one away; write {runner_option('n', n)} instead"
        )
    return fields


def one_of(name: str, value: object, allowed: Mapping[str, Any]) -> Any:
    """The value of a word."""
    if (word := str(value).lower()) not in allowed:
        words = [word for word in allowed if word not in {"true", "false"}]
        raise UsageError(f"http: {name} is {', '.join(words[:-1])} or {words[-1]}, not {value}")
    return allowed[word]


def text(name: str, value: object) -> str:
    """An option that is a text."""
    if not isinstance(value, str):
        raise UsageError(f"http: {name} is a text, not {_brief(value)}; quote it if it is to be one: '\"…\"'")
    return value


def think_tags(value: Any, think_end: str | None) -> tuple[Form, ...] | None:
    """The forms of thinking in an option, None for any known one, checked against the text that ends thinking."""
    try:
        forms = None if value is None else parse_forms(value)
    except ValueError as error:
        raise UsageError(f"http: think_tags: {error}") from None
    if think_end is not None and not any(form.ends(think_end) for form in forms or KNOWN):
        closing = forms[0].close if forms else "</think>"
        raise UsageError(f"http: think_end must contain {closing}")
    return forms


def integer(name: str, value: object, minimum: int) -> int:
    """An option that is an integer of at least `minimum`."""
    number = number_or_none(value)
    if number is None or not number.is_integer() or number < minimum:
        raise UsageError(f"http: {name} must be a whole number of at least {minimum}, not {_brief(value)}")
    return int(number)


def tokens(name: str, value: object) -> int:
    """An option that is a number of tokens, such as 8192 or 32k."""
    try:
        return parse_tokens(value, minimum=1)
    except ValueError as error:
        raise UsageError(f"http: {name}: {error}") from None


def seconds(name: str, value: object, *, zero: bool = False) -> float:
    """An option in seconds: positive, or also 0 if `zero`."""
    number = number_or_none(value)
    if number is None or number < 0 or (number == 0 and not zero):
        raise UsageError(
            f"http: {name} must be a number of seconds{', 0 or more' if zero else ' above 0'}, not {_brief(value)}"
        )
    return number


class Headers:
    """The headers of each request; the secrets in them are registered, so that they are never shown.

    `key` is sent as a bearer token, to Azure deployments as `api-key`. `$NAME` in a value of `user_headers` is replaced
    by that environment variable, `$$` by a dollar sign. `proxy_logins`: `user:password`.
    """

    def __init__(
        self, key: str, user_headers: Mapping[str, Any], addresses: list[Address], proxy_logins: Sequence[str] = ()
    ) -> None:
        if not _one_line(key):
            raise UsageError("http: the key has a line break or another control character in it; set it again")
        self._key, self._user_headers = key, _fill_variables(user_headers)
        secrets.register(key)
        register_headers(user_headers)
        register_headers(self._user_headers)
        for login in filter(None, [*proxy_logins, *(address.login for address in addresses)]):
            register_login(login)
        for value in (value for address in addresses for value in address.secrets):
            secrets.register(value)

    def for_address(self, address: Address) -> dict[str, str]:
        """The headers for a server at this address."""
        token = self._key.startswith("ey") and self._key.count(".") == 2  # a JWT of Entra
        bearer = {"api-key": self._key} if address.azure and not token else {"authorization": f"Bearer {self._key}"}
        basic = {"authorization": f"Basic {_base64(address.login)}"} if address.login else {}
        headers = (bearer if self._key else {}) | basic | self._user_headers
        return {"content-type": "application/json", "user-agent": "m1eval"} | headers


def _parse_address(url: str) -> Address:
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise UsageError(f"http: the address {_mask(url)} has no port between 1 and 65535, or no such host") from None
    if not parts.scheme or "://" not in url:
        raise UsageError(f"http: the address {_mask(url)} has no scheme; write http://{_mask(url)}, or https://")
    if parts.scheme.lower() not in {"http", "https"} or not host:
        raise UsageError(f"http: the address {_mask(url)} has not the form http://host:port/v1")
    if port == 0:
        raise UsageError(f"http: the address {_mask(url)} has no port between 1 and 65535")
    login, _, place = parts.netloc.rpartition("@")
    path = parts.path.rstrip("/")
    for endpoint in _ENDPOINTS:  # the whole URL was pasted
        path = path.removesuffix(endpoint)
    return Address(urlunsplit((parts.scheme.lower(), place, path, "", "")), unquote(login), parts.query)


def _mask(url: str) -> str:
    """An address as written, without possible secrets."""
    scheme, slashes, rest = url.rpartition("://")
    rest = rest.rpartition("@")[2] if "@" in rest else rest
    return f"{scheme}{slashes}{rest.partition('?')[0]}"


def _fill_variables(user_headers: Mapping[str, Any]) -> dict[str, str]:
    """The user's headers with variables filled in."""
    headers: dict[str, str] = {}
    for name, value in user_headers.items():
        key = str(name).strip().lower()
        if not _TOKEN.fullmatch(key):
            raise UsageError(f"http: headers: {str(name)!r} is not the name of a header")
        if key in headers:
            raise UsageError(f"http: headers: {key} is given twice")
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise UsageError(f"http: headers: the value of {key} is not a text")
        headers[key] = _VARIABLE.sub(lambda match, key=key: _variable(match, key), str(value))  # type: ignore[misc]
        if not _one_line(headers[key]):
            raise UsageError(f"http: headers: the value of {key} has a line break or another control character in it")
    return headers


def _variable(match: re.Match[str], header: str) -> str:
    name = match[1] or match[2]
    if not name:
        return "$"
    if name not in os.environ:
        raise UsageError(f"http: headers: {header} names ${name}, which is not set; write $$ for a dollar sign")
    return os.environ[name].strip()


def _one_line(text: str) -> bool:
    return not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text)


def _brief(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else f"{text[:37]}…") if isinstance(value, str) else text[:40]


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return mapping


def _base64(login: str) -> str:
    return base64.b64encode(login.encode()).decode()


def _forms(secret: str) -> list[str]:
    """A secret as it may stand in an address."""
    return [urlencode({"": secret})[1:]]
