"""Location of secrets: the options, headers, addresses and words of a command line that carry them.

Two uses: what is found is registered (`m1eval.secrets`), and what is written down of a command or its settings is
masked by its place, whatever it looks like.
"""

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from m1eval.secrets import MASK, add, collect_with, redact, register

_KEYLIKE = re.compile(
    r"(?:^|_)(?:\w*(?:key|token|secret|password|passwd|pass|pwd|credentials?|authorization|cookie)|auth)$"
)
_HARMLESS = re.compile(
    r"(?:^|_)(?:bos|eos|pad|sep|cls|unk|mask|stop|think|start|end|image|special|prefix|cache|sort|primary|key)_"
    r"(?:key|token)$|^(?:key|token)_(?:id|type)$|(?:^|_)(?:monkey|turkey|hotkey|donkey|bypass|compass)$"
)
_SECRET_PARAMETERS = {"code", "sig", "signature", "key", "sas", "session"}
"""Parameters of an address that carry secrets, besides those with the name of a key."""
_PLAIN_HEADERS = {
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "anthropic-version",
    "cache-control",
}
_PLAIN_HEADERS |= {"anthropic-beta", "api-version", "connection", "content-type", "http-referer", "openai-beta"}
_PLAIN_HEADERS |= {"host", "origin", "referer", "user-agent", "x-title"}
_SCHEME = re.compile(r"(?i)(?:basic|bearer|token|apikey|api-key|key|digest|negotiate)\s+")
_PREFIXED = re.compile(
    r"(?<![\w-])(?:(?:sk|pk|rk|hf|gsk|xai|ghp|gho|nvapi|glpat|xox[abp])[-_][\w-]{10,}|AIza[\w-]{20,})"
)
_KEY_FORM = re.compile(
    r"(?:sk|pk|rk|hf|gsk|xai|ghp|gho|key|api|tok|nvapi|glpat|xox[abp])[-_][\w-]{10,}|AIza[\w-]{20,}|eyJ[\w-]{10,}[\w.-]*"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[a-zA-Z]*\d)(?=\d*[a-zA-Z])[a-zA-Z0-9]{20,}"
)
"""Segments of a URL path that can only be a key or an account."""
_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}")


def register_credential(value: object, *, named: bool = True) -> None:
    """A value such as `Bearer KEY` or `Basic …`: the part behind the scheme, and what a login decodes to."""
    text = str(value).strip()
    bare = _SCHEME.sub("", text, count=1)
    register(bare, named=named or bare != text)
    if text[:6].lower() == "basic ":
        try:
            register_login(base64.b64decode(bare, validate=True).decode())
        except ValueError:
            return
    if "=" in text and ";" in text:  # cookies
        for part in text.split(";"):
            register(part.partition("=")[2])


def register_login(login: str) -> None:
    """Register `user:password`, as in a URL, or a token alone."""
    for text in {login, unquote(login)}:
        user, colon, password = text.partition(":")
        register(password if colon and password else user)
        if colon and password and len(text) >= 4:
            add(base64.b64encode(text.encode("utf-8", "surrogateescape")).decode().rstrip("="))


def register_url(url: str) -> None:
    """The login of an address, and what of its query and path can only be secret."""
    login, path, query = _split_url(url)
    if login:
        register_login(login)
    for name, value in query:
        if _is_secret_parameter(name, value):
            register(value)
            register(unquote(value))
    for segment in path.split("/"):
        if is_key(segment):
            register(segment)


def register_headers(headers: Mapping[str, Any]) -> None:
    """The values of headers, with variables as they are written and as they are in the environment."""
    for name, value in headers.items():
        if str(name).lower() in _PLAIN_HEADERS:
            continue
        for each in {str(value), os.path.expandvars(str(value))}:
            if not _VARIABLE.fullmatch(_SCHEME.sub("", each.strip(), count=1)):
                register_credential(each, named=is_key_name(str(name)))
        for match in _VARIABLE.finditer(str(value)):
            register(os.environ.get(match[1] or match[2], ""))


def register_option(name: str, value: Any) -> None:
    """An option of a runner: addresses, headers, and whatever is called a key, at any depth."""
    if name == "base_url" or name.endswith(("_url", "_urls")) or name == "url":
        for url in value if isinstance(value, list | tuple) else [value]:
            for each in str(url).replace(",", " ").split():
                register_url(each)
    elif name == "headers" or name.endswith("_headers"):
        register_headers(_mapping(value))
    elif name.endswith("_env"):  # the name of a variable; some write the key itself
        register(os.environ.get(str(value), "") or ("" if str(value).isupper() else value))
    elif is_key_name(name):
        register_credential(value)
    elif isinstance(value, Mapping) or (isinstance(value, str) and value.lstrip()[:1] == "{"):
        for key, inner in _mapping(value).items():
            register_option(str(key), inner)
    elif isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, Mapping):
                register_option("", item)


def is_key_name(name: str) -> bool:
    """Whether a name says that its value is a secret: `api_key`, `accessToken`, `Ocp-Apim-Subscription-Key`."""
    text = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
    return bool(_KEYLIKE.search(text)) and not _HARMLESS.search(text)


def is_key(text: str) -> bool:
    """Whether a part of a path has the form of a key or an account, not of a name."""
    return bool(_KEY_FORM.fullmatch(unquote(text)))


def hide(data: Any) -> Any:
    """Settings without secrets: values under the name of a key and in headers are masked, whatever they are."""
    if isinstance(data, Mapping):
        return {name: _mask_setting(str(name), value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [hide(item) for item in data]
    return redact(data) if isinstance(data, str) else data


def hide_url(url: str) -> str:
    """An address without its login, the keys in its path, and the values of its query but for versions."""
    base, mark, query = url.partition("?")
    scheme, slashes, rest = base.partition("://")
    if slashes and (login_end := _login_end(rest)):
        rest = f"{MASK}@{rest[login_end:]}"
    host, *path = rest.split("/") if slashes else [scheme]
    base = "/".join([f"{scheme}{slashes}{host}" if slashes else host, *(MASK if is_key(p) else p for p in path)])
    if not mark:
        return redact(base)
    pairs = [part.partition("=") for part in re.split(r"[&;]", query)]
    shown = [f"{n}{e}{MASK if e and _is_secret_parameter(n, v) else v}" for n, e, v in pairs]
    return redact(f"{base}?{'&'.join(shown)}")


def hide_command(words: Sequence[str]) -> list[str]:
    """The words of a command line without secrets, by their place: headers, keys, addresses, `extra_body`."""
    return [
        before + (_mask_option(option, value) if option else _mask_text(value))
        for option, before, value in _option_values(words)
    ]


def register_command(words: Sequence[str]) -> None:
    """The secrets in the words of a command line, before anything can go wrong with it."""
    for option, _, value in _option_values(words):
        if option in {"-o", "--option"} and "=" in value:
            name, _, text = value.partition("=")
            register_option(name, text)
        elif option == "--judge":
            for part in re.split(r",(?=[\w.]+=)", value)[1:]:
                name, _, text = part.partition("=")
                register_option(name, text)
        for url in re.findall(r"\w+://[^\s,]*", value):
            register_url(url)
        for key in _PREFIXED.findall(value):
            register(key)


def _option_values(words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Words of a command, each as (its option, the text before the value, the value)."""
    option = ""
    for word in words:
        name, equals, value = word.partition("=")
        if option:
            yield option, "", word
            option = ""
        elif word.startswith("--") and equals:
            yield name, f"{name}=", value
        elif re.match(r"-[a-zA-Z].", word):
            yield word[:2], word[:2], word[2:].removeprefix("=")
        else:
            option = word if re.fullmatch(r"--[a-z-]+|-[a-zA-Z]", word) else ""
            yield "", "", word


def _mask_option(option: str, text: str) -> str:
    """The value of a command-line option."""
    if option in {"-o", "--option", "--set"}:
        return _mask_pair(text)
    if option == "--judge":
        name, *rest = text.split(",", 1)
        return ",".join([_mask_text(name), *(_mask_pairs(part) for part in rest)])
    return _mask_text(text)


def _mask_pairs(text: str) -> str:
    """`key=value,…`; all that follows headers or a mapping is one value, as it may hold commas."""
    parts = re.split(r",(?=[\w.]+=)", text)
    return ",".join(map(_mask_pair, parts))


def _mask_pair(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        return _mask_text(text)
    last = name.rpartition(".")[2]
    if is_key_name(last) or last == "headers" or last.endswith("_headers"):
        return f"{name}={MASK}"
    if value.lstrip()[:1] in {"{", "["}:
        data = _parse_flow(value)
        return f"{name}={MASK}" if data is None else f"{name}={json.dumps(hide(data), ensure_ascii=False)}"
    if last.endswith("_env") and not value.isupper():
        return f"{name}={MASK}"
    return f"{name}={_mask_text(value)}"


def _mask_text(text: str) -> str:
    """Free text: what looks like an address loses its secrets."""
    return redact(re.sub(r"\w+://[^\s,]*", lambda match: hide_url(match[0]), text))


def _mask_setting(name: str, value: Any) -> Any:
    if name == "headers" or name.endswith("_headers"):
        return dict.fromkeys(value, MASK) if isinstance(value, Mapping) else MASK
    if is_key_name(name) and isinstance(value, str | int | float) and not isinstance(value, bool):
        return MASK
    if isinstance(value, str) and "://" in value:
        return _mask_text(value)
    if isinstance(value, str) and value.lstrip()[:1] == "{" and (data := _parse_flow(value)) is not None:
        return json.dumps(hide(data), ensure_ascii=False) if hide(data) != data else value
    return hide(value)


def _split_url(url: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Login, path and query of an address, however odd."""
    base, _, query = url.partition("?")
    rest = base.partition("://")[2] or base
    end = _login_end(rest)
    login = rest[: end - 1] if end else ""
    path = rest[end:].partition("/")[2]
    pairs = [(name, value) for name, _, value in (p.partition("=") for p in re.split(r"[&;]", query.partition("#")[0]))]
    return login, path, pairs


def _login_end(rest: str) -> int:
    """End index of the login in an address, its @ included; 0 without a login. `rest` comes after the scheme.

    A password may hold @ and, written carelessly, / too: then what is before the first / ends with no port.
    """
    authority = rest.partition("/")[0]
    if "@" in authority:
        return authority.rindex("@") + 1
    _, colon, port = authority.partition(":")
    careless = bool(colon) and not port.isdigit() and not authority.startswith("[")
    return rest.rindex("@") + 1 if careless and "@" in rest else 0


def _is_secret_parameter(name: str, value: str) -> bool:
    lowered = name.lower()
    return lowered in _SECRET_PARAMETERS or is_key_name(name) or is_key(value)


def _mapping(value: Any) -> dict[str, Any]:
    """A mapping, given as one or as text."""
    data = _parse_flow(value) if isinstance(value, str) else value
    return dict(data) if isinstance(data, Mapping) else {"authorization": value} if isinstance(value, str) else {}


def _parse_flow(text: str) -> Any:
    """The data of a JSON or YAML flow text; None if it is neither."""
    from m1eval.yaml_file import parse_value

    data = parse_value(text)
    return None if isinstance(data, str) else data


def _collect_environment() -> None:
    """Register the keys and addresses that the environment holds."""
    for name, value in os.environ.items():
        if name.lower().endswith("_proxy") or name.endswith("_BASE_URL"):
            for url in value.replace(",", " ").split():
                register_url(url)
        elif is_key_name(name) and not re.match(r"[/~.]", value) and len(value) >= 8:
            register(value)


collect_with(_collect_environment)
