"""The http runner's options, read and checked: addresses, keys, headers, and JSON given as text."""

import base64
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from m1eval import UsageError, secrets
from m1eval.credentials import register_headers, register_login, register_url


class Address(NamedTuple):
    """A server's address without its credentials, and they (`user:password`)."""

    url: str
    login: str


def addresses(urls: str) -> list[Address]:
    """The servers of a list separated by commas or blanks."""
    listed = urls.replace(",", " ").split()
    for url in listed:
        register_url(url)
    found = [_address(url) for url in listed]
    if not found:
        raise UsageError("http: which server? --base-url http://host:port/v1, or set OPENAI_BASE_URL")
    if len({address.url for address in found}) < len(found):
        raise UsageError("http: --base-url names a server twice")
    return found


def mapping(name: str, value: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """An option given as a mapping or as JSON."""
    try:
        found = json.loads(value) if isinstance(value, str) else value or {}
    except ValueError as error:
        raise UsageError(f"http: {name} is not JSON: {error}") from None
    if not isinstance(found, Mapping):
        raise UsageError(f'http: {name} is not a JSON object, such as {{"key": "value"}}')
    return dict(found)


def one_of(name: str, value: object, allowed: Mapping[str, Any]) -> Any:
    """What a word stands for."""
    if (word := str(value).lower()) not in allowed:
        words = [word for word in allowed if word not in {"true", "false"}]
        raise UsageError(f"http: {name} is {', '.join(words[:-1])} or {words[-1]}, not {value}")
    return allowed[word]


class Headers:
    """What goes with each request; the secrets in it are registered, so that they are never shown."""

    def __init__(self, key: str, own: Mapping[str, Any], logins: list[str]) -> None:
        bearer = {"authorization": f"Bearer {key}"} if key else {}
        self._own = {name.lower(): os.path.expandvars(str(value)) for name, value in own.items()}
        secrets.register(key)
        register_headers(own)
        for login in filter(None, logins):
            register_login(login)
        self._bearer = bearer

    def of(self, login: str) -> dict[str, str]:
        """The headers for a server with this login."""
        basic = {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
        sent = self._bearer | basic | self._own
        return sent | {"content-type": "application/json", "user-agent": "m1eval"}


def _address(url: str) -> Address:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("http: the base URL has not the form http://host:port/v1")
    login, _, host = parts.netloc.rpartition("@")
    return Address(urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")), unquote(login))
