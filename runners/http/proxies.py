"""The proxy for a server, by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY as in curl and requests.

Lower-case names take precedence. A loopback address goes through the proxy too, unless NO_PROXY names it. Logins come
from the proxy's own address alone; `.netrc` is not read.
"""

import ipaddress
import os
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from m1eval import UsageError


class Proxy(NamedTuple):
    """A proxy's address, with its login (`user:password`) kept apart."""

    url: str
    login: str = ""


def find(url: str, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """The proxy for a server's address; None if it is reached directly, UsageError for an unusable one."""
    environ = os.environ if environ is None else environ
    parts = urlsplit(url)
    name, value = _proxy_variable(parts.scheme, environ)
    if not value or _is_bypassed(parts.hostname or "", parts.port, _read_variable("no_proxy", environ)[1]):
        return None
    try:
        proxy = urlsplit(value if "://" in value else f"http://{value}")
        host, port = proxy.hostname, proxy.port
    except ValueError:
        host, port = None, None
    if not host:
        raise UsageError(f"http: ${name} is not the address of a proxy; write http://host:port")
    if proxy.scheme.lower() not in {"http", "https"}:
        raise UsageError(
            f"http: ${name} names a {proxy.scheme} proxy; only http:// and https:// ones can be used. "
            f"NO_PROXY={parts.hostname} goes around it"
        )
    host = f"[{host}]" if ":" in host else host
    login = unquote(proxy.netloc.rpartition("@")[0])
    address = f"{proxy.scheme.lower()}://{host}" + (f":{port}" if port else "")
    return Proxy(address, login)


def _proxy_variable(scheme: str, environ: Mapping[str, str]) -> tuple[str, str]:
    name, value = _read_variable(f"{scheme}_proxy", environ)
    return (name, value) if name else _read_variable("all_proxy", environ)


def _read_variable(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """A variable in lower or upper case; an empty lower-case one disables the other."""
    for form in (name, name.upper()):
        if form in environ:
            return form, environ[form].strip()
    return "", ""


def _is_bypassed(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host: itself, its domain, its network, or `*`, each with or without a port."""
    host = host.lower().rstrip(".")
    for entry in no_proxy.lower().replace(",", " ").split():
        if entry == "*":
            return True
        name, _, entry_port = entry.rpartition(":") if entry.count(":") == 1 or "]:" in entry else (entry, "", "")
        if entry_port and entry_port != str(port or ""):
            continue
        name = name.strip("[]")
        if _in_network(host, name):
            return True
        name = name.removeprefix("*").strip(".")
        if name and (host == name or host.endswith(f".{name}")):
            return True
    return False


def _in_network(host: str, name: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False
