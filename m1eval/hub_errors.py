"""Why a dataset of the hub cannot be had, in one line with the right remedy.

The reasons differ in what a user has to do: accept terms, set or replace a token, mend a name, wait, or go without.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from m1eval.errors import UsageError

PAGES = "https://huggingface.co/datasets/"
LONGEST = 300
"""Characters of an error of others that are shown."""
OFFLINE, ACCESS, OTHER = "offline", "access", "other"

_UNREACHABLE = {"ConnectError", "ConnectTimeout", "ConnectionError", "OfflineModeIsEnabled", "ProxyError"}
_BROKEN = {"TimeoutException", "Timeout", "ReadError", "ReadTimeout", "RemoteProtocolError", "ChunkedEncodingError"}
_BROKEN |= {"IncompleteRead", "ConnectionResetError", "NetworkError"}
_AT_COMMIT = re.compile(r"hf://datasets/[^@\s']+@([0-9a-f]+)/([^'\s]+)")
_SCRIPT = re.compile(r"/resolve/[0-9a-f]+/[^/\s']+\.py\b")
_DAMAGED = re.compile(r"Expected to read \d+ metadata bytes|Tried reading schema message|Expected to be able to read")
_BY_URL = re.compile(r"/resolve/([^/\s]+)/([^'\s]+?)\.?(?=[\s']|$)")


class HubError(UsageError):
    """A dataset cannot be had; `kind` says what helps: a network, access, or something else."""

    def __init__(self, text: str, kind: str = OTHER) -> None:
        super().__init__(text)
        self.kind = kind


class OtherCommit(Exception):
    """Another commit than the pinned one was loaded."""


class Reason(NamedTuple):
    """What went wrong, of which kind it is, and whether it may pass by itself."""

    text: str
    kind: str = OTHER
    passing: bool = False


def ask(hub: str, revision: str | None) -> str:
    """The commit that the hub says a revision is; raises its refusal, where a library has kept that to itself."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    api = HfApi()
    about = api.dataset_info(hub, revision=revision, timeout=10)
    with suppress(EntryNotFoundError):
        get_hf_file_metadata(hf_hub_url(hub, "README.md", repo_type="dataset", revision=revision))
    if check := getattr(api, "auth_check", None):
        check(hub, repo_type="dataset")
    return str(about.sha)


def terms(hub: str, token: bool) -> str:
    """What gives access to a gated dataset."""
    accept = f"accept its terms at {PAGES}{hub}"
    if token:
        return f"it is gated, and the account of the token (HF_TOKEN) has no access: {accept} with that account"
    return f"it is gated, and there is no token: {accept} and set HF_TOKEN to a token of that account"


def explained(error: BaseException, hub: str, revision: str | None) -> Reason:
    """The reason in words."""
    # `datasets` looks for a script first; that there is none is no reason.
    chain = [each for each in _chain(error) if each is error or not _SCRIPT.search(str(each))]
    text = " ".join(" ".join(str(each) for each in chain).split())
    found = _by_text(text, hub) or next(filter(None, (_by_response(each, hub, revision) for each in chain)), None)
    found = found or _by_words(text, hub, revision) or _by_file(text) or _by_kind(chain, text)
    return found or Reason(_short(chain[0]))


def _by_text(text: str, hub: str) -> Reason | None:
    """What `datasets` says of a refusal that it keeps to itself."""
    if "is a gated dataset on the Hub" in text:
        return Reason(terms(hub, "must be authenticated" not in text), ACCESS)
    return None


def _by_words(text: str, hub: str, revision: str | None) -> Reason | None:
    if "doesn't exist on the Hub or cannot be accessed" in text:
        return _hidden(hub)
    if found := re.search(r"Dataset scripts are no longer supported, but found (\S+)", text):
        return Reason(f"it is a script ({found[1]}), and scripts of datasets are never executed")
    if found := re.search(r"Revision '?([^'\s]+)'? doesn't exist", text):
        return Reason(f"it has no revision {found[1]}")
    if damaged := _DAMAGED.search(text):
        return Reason(f"its copy in the cache is damaged: delete what HF_DATASETS_CACHE has of it ({damaged[0]})")
    if "data files found in" in text:
        return Reason(f"at {str(revision)[:12]} it has no data files where its card says that they are")
    return None


def _by_kind(chain: list[BaseException], text: str) -> Reason | None:
    """What the types of the errors mean."""
    names = [{base.__name__ for base in type(each).__mro__} for each in chain]
    known = set().union(*names)
    if known & _UNREACHABLE:
        name = next(type(each).__name__ for each, bases in zip(chain, names, strict=True) if bases & _UNREACHABLE)
        off = "OfflineModeIsEnabled" in known or "offline mode is enabled" in text.lower()
        return Reason(f"the hub cannot be reached ({'HF_HUB_OFFLINE is set' if off else name})", OFFLINE)
    if known & _BROKEN or "Consistency check failed" in text:
        return Reason(f"the connection to the hub broke off: {_short(chain[0])}", OFFLINE, passing=True)
    if "DatasetGenerationError" in known:
        return Reason(f"its files cannot be read: {_short(chain[-1])}")
    return None


def _by_response(error: BaseException, hub: str, revision: str | None) -> Reason | None:
    """What a status of the hub means."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if response is None or status is None:
        return None
    code, said = response.headers.get("X-Error-Code", ""), response.headers.get("X-Error-Message", "")
    if status == 401 and "Invalid credentials" in said:
        reason = Reason("the hub does not accept the token (HF_TOKEN): it is wrong or has expired", ACCESS)
    elif code == "GatedRepo":
        reason = Reason(terms(hub, token=status == 403), ACCESS)
    elif code == "RevisionNotFound":
        reason = Reason(f"it has no revision {revision}")
    elif code == "EntryNotFound":
        reason = _by_file(f"{error} ") or Reason(f"a file is not there: {_short(error)}")
    elif code == "RepoNotFound" or status in (401, 404):
        reason = _hidden(hub)
    else:
        return _by_status(status, hub)
    return reason


def _by_status(status: int, hub: str) -> Reason | None:
    if status == 403:
        return Reason(f"the hub refuses access (403): the token (HF_TOKEN) may not read {PAGES}{hub}", ACCESS)
    if status == 429:
        return Reason("the hub allows no more requests for now (429): wait, or set HF_TOKEN", OFFLINE, passing=True)
    if status >= 500:
        return Reason(f"the hub answers {status}: try again later", OFFLINE, passing=True)
    return None


def _by_file(text: str) -> Reason | None:
    for pattern in (_AT_COMMIT, _BY_URL):
        if ("Unable to find" in text or "Entry Not Found" in text) and (found := pattern.search(text)):
            return Reason(f"it has no file {found[2]} at {found[1][:12]}")
    return None


def _hidden(hub: str) -> Reason:
    """The hub does not say whether a dataset exists that one may not see."""
    from huggingface_hub import get_token

    seen = "this token (HF_TOKEN) may see" if get_token() else "can be seen without a token (HF_TOKEN)"
    return Reason(f"there is no dataset {PAGES}{hub} that {seen}: the name is wrong, or it is private", ACCESS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came of."""
    seen: list[Any] = []
    while error not in seen:
        seen.append(error)
        yield error
        inner = error.__cause__ or error.__context__
        if inner is None:
            return
        error = inner


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
