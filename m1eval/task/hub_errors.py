"""The reason why a dataset of the hub cannot be loaded, in one line with the right remedy.

The reasons differ in what a user has to do: accept terms, set or replace a token, correct a name, wait, or go without.
"""

import errno
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from m1eval.errors import UsageError
from m1eval.text import display_path

PAGES = "https://huggingface.co/datasets/"
LONGEST = 300
"""Characters of a library's error that are shown."""
OFFLINE, ACCESS, OTHER = "offline", "access", "other"

_UNREACHABLE = {"ConnectError", "ConnectTimeout", "ConnectionError", "OfflineModeIsEnabled", "ProxyError"}
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_WORD = re.compile(r"\w+")
_BROKEN = {"TimeoutException", "Timeout", "ReadError", "ReadTimeout", "RemoteProtocolError", "ChunkedEncodingError"}
_BROKEN |= {"IncompleteRead", "ConnectionResetError", "NetworkError"}
_AT_COMMIT = re.compile(r"hf://datasets/[^@\s']+@([0-9a-f]+)/([^'\s]+)")
_SCRIPT = re.compile(r"/resolve/[0-9a-f]+/[^/\s']+\.py\b")
_DAMAGED = re.compile(r"Expected to read \d+ metadata bytes|Tried reading schema message|Expected to be able to read")
_ADDRESS = re.compile(r"Unable to find '(https?://[^']+)'")
_FROM_XET = re.compile(r"HTTP status (?:client|server) error \((\d{3})\b")
_SIZES = re.compile(r"name='([^']+)', num_bytes=[\d.]+, num_examples=(\d+).*?'recorded'.*?num_examples=(\d+)")
_BY_URL = re.compile(r"/resolve/([^/\s]+)/([^'\s]+?)\.?(?=[\s']|$)")


class HubError(UsageError):
    """A dataset cannot be loaded; `kind` is what would help: a network, access, or something else."""

    def __init__(self, text: str, kind: str = OTHER) -> None:
        super().__init__(text)
        self.kind = kind


class OtherCommit(Exception):
    """Another commit than the pinned one was loaded."""


class Reason(NamedTuple):
    """The message, the kind of the problem, and whether it may be transient."""

    text: str
    kind: str = OTHER
    transient: bool = False


def resolve_revision(hub: str, revision: str | None) -> str:
    """The commit of a revision, from the hub; raises the hub's refusal, which a library may have hidden."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    api = HfApi()
    about = api.dataset_info(hub, revision=revision, timeout=10)
    with suppress(EntryNotFoundError):
        get_hf_file_metadata(hf_hub_url(hub, "README.md", repo_type="dataset", revision=revision))
    if check := getattr(api, "auth_check", None):
        check(hub, repo_type="dataset")
    return str(about.sha)


def explain_url(error: BaseException) -> Reason | None:
    """The reason why a file by URL cannot be loaded, where `datasets` says only that it is missing.

    None for other errors.
    """
    chain = list(_chain(error))
    address = next(filter(None, (_ADDRESS.search(str(each)) for each in chain)), None)
    if address is None:
        return next(filter(None, map(_by_server, chain)), None)
    host = urlsplit(address[1]).netloc
    try:
        request = urllib.request.Request(address[1], headers={"Range": "bytes=0-0"})
        with urllib.request.urlopen(request, timeout=10) as response:
            status = int(response.status)
    except urllib.error.HTTPError as refusal:
        status = refusal.code
        refusal.close()
    except (OSError, ValueError, HTTPException) as failure:
        reason = getattr(failure, "reason", failure)
        name = type(reason if isinstance(reason, BaseException) else failure).__name__
        return Reason(f"{host} cannot be reached ({name})", OFFLINE)
    finds = f"the library datasets finds no file at {host}, which gives one when it is asked"
    return _by_status_of(host, status) or Reason(finds, OFFLINE, transient=True)


def _by_server(error: BaseException) -> Reason | None:
    """The reason in a server's response to a request for a URL."""
    if (answer := _response_status(error)) is None:
        return None
    return _by_status_of(*answer)


def _response_status(error: BaseException) -> tuple[str, int] | None:
    """The host that refused, and the status."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if response is None or status is None:
        return None
    try:
        return urlsplit(str(response.url)).netloc, int(status)
    except RuntimeError:  # a response without a request
        return "", int(status)


def _by_status_of(host: str, status: int) -> Reason | None:
    """The reason for a status of any server."""
    if status == 429 or status >= 500:
        return Reason(f"{host} answers {status}: try again later", OFFLINE, transient=True)
    if status in (404, 410):
        return Reason(f"{host} has no such file ({status})")
    return Reason(f"{host} refuses it ({status})", ACCESS) if status >= 400 else None


def access_remedy(hub: str, token: bool) -> str:
    """Instructions for access to a gated dataset."""
    accept = f"accept its terms at {PAGES}{hub}"
    if token:
        return f"it is gated, and the account of the token (HF_TOKEN) has no access: {accept} with that account"
    return f"it is gated, and there is no token: {accept} and set HF_TOKEN to a token of that account"


def explain(error: BaseException, hub: str, revision: str | None) -> Reason:
    """The reason for an error of the libraries."""
    # `datasets` looks for a script first; a missing one is not the reason.
    chain = [each for each in _chain(error) if each is error or not _SCRIPT.search(str(each))]
    text = " ".join(" ".join(str(each) for each in chain).split())
    reason = _by_text(text, hub) or next(filter(None, map(_by_folder, chain)), None)
    reason = reason or next(filter(None, (_by_response(each, hub, revision) for each in chain)), None)
    reason = reason or _by_words(text, hub, revision) or _by_numbers(text) or _by_file(text) or _by_type(chain, text)
    return reason or Reason(_short(chain[0]))


def _by_text(text: str, hub: str) -> Reason | None:
    """The reason in a text of `datasets` that replaces the hub's refusal."""
    if "is a gated dataset on the Hub" in text:
        return Reason(access_remedy(hub, "must be authenticated" not in text), ACCESS)
    return None


def _by_folder(error: BaseException) -> Reason | None:
    """The reason for an error of the file system; only the caches are written to."""
    if not isinstance(error, OSError):
        return None
    if "Not enough disk space" in str(error):  # raised by `datasets` before it writes anything
        return Reason(f"its cache has no room ({_short(error)}): set HF_HOME to a folder that has")
    if error.errno is None:
        return None
    from datasets import config
    from huggingface_hub import constants

    path = str(error.filename or "")
    caches = [constants.HF_HOME, constants.HF_HUB_CACHE, config.HF_CACHE_HOME, config.HF_DATASETS_CACHE]
    within = path and any(Path(path).is_relative_to(cache) for cache in map(str, caches))
    if not within and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return None
    what = f"{os.strerror(error.errno)}{f': {display_path(Path(path))}' if path else ''}"
    return Reason(f"its cache cannot be used ({what}): set HF_HOME to a folder that can be written and has room")


def _by_words(text: str, hub: str, revision: str | None) -> Reason | None:
    if "doesn't exist on the Hub or cannot be accessed" in text:
        return _hidden(hub)
    if match := re.search(r"Dataset scripts are no longer supported, but found (\S+)", text):
        return Reason(f"it is a script ({match[1]}), and scripts of datasets are never executed")
    if match := re.search(r"Revision '?([^'\s]+)'? doesn't exist", text):
        return Reason(f"it has no revision {match[1]}")
    if damaged := _DAMAGED.search(text):
        return Reason(f"its copy in the cache is damaged: delete what HF_DATASETS_CACHE has of it ({damaged[0]})")
    if "data files found in" in text:
        return Reason(f"at {str(revision)[:12]} it has no data files where its card says that they are")
    return None


def _by_numbers(text: str) -> Reason | None:
    """The reason in a text with row counts or a status."""
    if sizes := _SIZES.search(text):
        actual, stated = f"{int(sizes[3]):,}", f"{int(sizes[2]):,}"
        return Reason(f"its files have {actual} rows of '{sizes[1]}', and its card says that there are {stated}")
    if match := _FROM_XET.search(text):
        return _by_store("the store of its files (Xet)", int(match[1]))
    return None


def _by_type(chain: list[BaseException], text: str) -> Reason | None:
    """The reason by the types of the errors."""
    names = [{base.__name__ for base in type(each).__mro__} for each in chain]
    types = set().union(*names)
    if "UnicodeEncodeError" in types and "'ascii' codec" in text:  # of the headers of a request
        return Reason("the token (HF_TOKEN) has characters that tokens cannot have")
    if "UnsupportedProtocol" in types:
        return Reason("HF_ENDPOINT is not an address: write it with https://")
    if types & _UNREACHABLE:
        name = next(type(each).__name__ for each, bases in zip(chain, names, strict=True) if bases & _UNREACHABLE)
        off = "OfflineModeIsEnabled" in (*types, *_WORD.findall(text)) or "offline mode is enabled" in text.lower()
        variable = next((each for each in _OFFLINE if os.environ.get(each)), _OFFLINE[0])
        return Reason(f"the hub cannot be reached ({f'{variable} is set' if off else name})", OFFLINE)
    if types & _BROKEN or "Consistency check failed" in text:
        return Reason(f"the connection to the hub broke off: {_short(chain[0])}", OFFLINE, transient=True)
    if "DatasetGenerationError" in types:
        return Reason(f"its files cannot be read: {_short(chain[-1])}")
    return None


def _by_response(error: BaseException, hub: str, revision: str | None) -> Reason | None:
    """The reason for a status of the hub."""
    if (answer := _response_status(error)) is None:
        return None
    response, (host, status) = error.response, answer  # type: ignore[attr-defined]
    code, message = response.headers.get("X-Error-Code", ""), response.headers.get("X-Error-Message", "")
    if _elsewhere(host) and not (code or message):  # headers of the hub, which a mirror may redirect to
        return None if host.startswith("datasets-server.") else _by_store(host, status)
    if status == 401 and "Invalid credentials" in message:
        reason = Reason("the hub does not accept the token (HF_TOKEN): it is wrong or has expired", ACCESS)
    elif code == "GatedRepo":
        reason = Reason(access_remedy(hub, token=status == 403), ACCESS)
    elif code == "RevisionNotFound":
        reason = Reason(f"it has no revision {revision}")
    elif code == "EntryNotFound":
        reason = _by_file(f"{error} ") or Reason(f"a file is not there: {_short(error)}")
    elif code == "RepoNotFound" or status in (401, 404):
        reason = _hidden(hub)
    else:
        return _by_status(status, hub)
    return reason


def _elsewhere(host: str) -> bool:
    """Whether a host is not the hub itself, which redirects to others for the content of files."""
    from huggingface_hub import constants

    return host not in ("", urlsplit(constants.ENDPOINT).netloc)


def _by_store(host: str, status: int) -> Reason:
    """The reason for a status of a file store; its addresses are signed for a while, without an account."""
    if status == 429 or status >= 500:
        return Reason(f"{host} answers {status}: try again later", OFFLINE, transient=True)
    why = "try again; perhaps a proxy or the clock of this machine is in the way"
    return Reason(f"{host}, where the hub keeps its files, refuses it ({status}): {why}", OFFLINE, transient=True)


def _by_status(status: int, hub: str) -> Reason | None:
    if status == 403:
        return Reason(f"the hub refuses access (403): the token (HF_TOKEN) may not read {PAGES}{hub}", ACCESS)
    if status == 429:
        return Reason("the hub allows no more requests for now (429): wait, or set HF_TOKEN", OFFLINE, transient=True)
    if status >= 500:
        return Reason(f"the hub answers {status}: try again later", OFFLINE, transient=True)
    return None


def _by_file(text: str) -> Reason | None:
    for pattern in (_AT_COMMIT, _BY_URL):
        if ("Unable to find" in text or "Entry Not Found" in text) and (match := pattern.search(text)):
            return Reason(f"it has no file {match[2]} at {match[1][:12]}")
    return None


def _hidden(hub: str) -> Reason:
    """The reason for a dataset that is missing or private; the hub does not tell which."""
    from huggingface_hub import get_token

    visible = "this token (HF_TOKEN) may see" if get_token() else "can be seen without a token (HF_TOKEN)"
    return Reason(f"there is no dataset {PAGES}{hub} that {visible}: the name is wrong, or it is private", ACCESS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes."""
    errors: list[Any] = []
    while error not in errors:
        errors.append(error)
        yield error
        inner = error.__cause__ or error.__context__
        if inner is None:
            return
        error = inner


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
