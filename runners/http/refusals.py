"""Classifies errors: whether a retry may help, and whether key, account or model are at fault. No state."""

import re

from .errors import ServerError, strip_quotations

OVERLOAD_STATUSES = {429, 503, 529}
"""Statuses of an overload, after which fewer requests are sent."""
PERMANENT_STATUSES = {401, 407, 413, 414, 431}
"""Statuses that are final even if they come as an HTML page."""
_RETRYABLE = {408, 409, 420, 425, 429, 499}
_NOT_RETRYABLE = {501, 505}
_OVERLOAD = re.compile(
    r"overloaded|rate[_ ]limit|too[_ ]many[_ ]requests|unavailable|capacity|resource_exhausted", re.IGNORECASE
)
_OUT_OF_CREDIT = re.compile(
    r"insufficient[_ ](?:user[_ ])?(?:quota|balance|credits?|funds)|credit balance is too low|out of credits"
    r"|balance (?:is |was )?(?:insufficient|not enough|exhausted|too low)|billing_hard_limit|exceeded_current_quota"
    r"|arrearage|account_?overdue|余额不足|額度不足|额度不足|欠费",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"\bmodel\b[^.;]{0,80}(?:not found|n[o']t exist|not a valid model|not (?:currently )?loaded|is unknown)"
    r"|(?:no such|unknown|invalid|unsupported|not a valid) model\b(?! (?:param|input|output|argument|response|setting))"
    r"|deployment[^.;]{0,60}(?:not exist|not found)|\bmodel\b[^.;]{0,80}(?:decommissioned|been retired)"
    r"|模型[^。，]{0,60}不存在|モデル[^。]{0,60}(?:存在しません|見つかりません)|모델[^.]{0,60}(?:존재하지|찾을 수)",
    re.IGNORECASE,
)
_NO_MODEL_CODES = {"model_not_found", "deploymentnotfound", "model_not_exist", "invalid_model", "unknown_model"}
_SCOPE = re.compile(
    r"scope|permission|not (?:allowed|permitted|authori[sz]ed) to|\broute\b"
    r"|access to (?:this|the) (?:route|resource|endpoint)",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"(?:invalid|incorrect|wrong|expired|revoked|missing|no|malformed|provide)[\w '-]{0,30}"
    r"(?:key|token|credential|auth)"
    r"|(?:key|token|credential)s?\b.{0,60}(?:invalid|incorrect|not valid|required|missing|expired|not found|revoked)"
    r"|unauthenticated|authentication",
    re.IGNORECASE,
)
_API_KEY = re.compile(
    r"(?:api[ _-]?key|secret key|access token)\b.{0,60}(?:invalid|not valid|incorrect|missing|expired|field)"
    r"|(?:invalid|incorrect|missing|expired) api[ _-]?key|api_key_invalid|invalid_api_key",
    re.IGNORECASE,
)


def is_retryable(status: int) -> bool:
    """Whether a retry may help: timeouts, conflicts, and server errors, Cloudflare's 52x included."""
    return status in _RETRYABLE or (status >= 500 and status not in _NOT_RETRYABLE)


def is_overload(status: int, error: ServerError) -> bool:
    """Whether an error says that there are too many requests."""
    return status in OVERLOAD_STATUSES or bool(_OVERLOAD.search(str(error)))


def is_out_of_credit(status: int, error: ServerError) -> bool:
    """Whether the account has no credit left."""
    return status == 402 or (status in {0, 400, 403, 429} and bool(_OUT_OF_CREDIT.search(str(error))))


def is_key_refused(status: int, error: ServerError) -> bool:
    """Whether a 401 or 403 from the list of models means a wrong key, and not one without that permission."""
    if error.page or _SCOPE.search(error.message):
        return False
    return status == 401 or bool(_KEY.search(f"{error.message} {error.code}"))


def mentions_wrong_key(error: ServerError) -> bool:
    """Whether an error mentions a wrong key, as Gemini's does with status 400 and MiniMax's with 200."""
    return bool(_API_KEY.search(str(error)))


def is_model_missing(error: ServerError, *, by_words: bool) -> bool:
    """Whether an error says that the model does not exist, by its code or also `by_words`."""
    if error.code.lower() in _NO_MODEL_CODES:
        return True
    return by_words and bool(_NO_MODEL.search(strip_quotations(error.message)))
