"""Adapts request parameters to what a server accepts, as learned from its refusals, once per run. No network.

Servers that speak OpenAI's protocol refuse parts of it: reasoning models know `max_completion_tokens` in place of
`max_tokens` and no `temperature` but 1, others forbid `top_k`, `seed` or two of them together, or cap the length of an
answer. After a refusal that names a parameter of ours, it is renamed, capped or dropped for the rest of the run, and
a note and run.json say so. A parameter from the user's `extra_body` is never changed.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from .errors import ServerError, strip_quotations

TOKEN_LIMITS = ("max_completion_tokens", "max_tokens")
"""The two names of the token limit of an answer."""
ADJUSTABLE = (*TOKEN_LIMITS, "stream_options", "seed", "min_p", "top_k", "stop", "top_p", "temperature", "stream")
"""Parameters that may be dropped; of two that exclude each other, the first in this order."""
MAX_ADJUSTMENTS = 16
"""Maximum number of adjustments in one run."""
_ALIASES = {
    "max_completion_tokens": ("maxCompletionTokens",),
    "max_tokens": ("maxTokens", "max_new_tokens", "max_output_tokens", "maxOutputTokens", "maximum tokens"),
    "top_p": ("topP", "top-p"),
    "top_k": ("topK", "top-k"),
    "min_p": ("minP", "min-p"),
    "stop": ("stopSequences", "stop_sequences", "stop sequences", "stop words"),
    "stream_options": ("streamOptions",),
}
_UNSUPPORTED = re.compile(
    r"unsupported|not (?:\w+ )?support|n['’]t support|unrecogni[sz]ed"
    r"|not (?:an? )?(?:permitted|allowed|accepted|implemented|available|recogni[sz]ed|known)"
    r"|unknown|unexpected|extra (?:inputs?|fields?)|extraneous|extra_forbidden|unavailable|deprecated"
    r"|(?:been|was|is) removed|no longer|not enabled"
    r"|can(?:not|['’]t) (?:both )?(?:be (?:both )?(?:used|set|specified|combined|provided|sent)"
    r"|use|set|specify|combine|provide|send)\b"
    r"|not (?:a )?valid (?:parameter|argument|field|key|property)|additional propert|only the default|or unset|be unset"
    r"|only \S{1,12} is (?:allowed|supported)|may only be set|only supports? (?:the )?(?:default|1\b)|incompatible"
    r"|should not be (?:set|specified|provided)|mutually exclusive|must be verified|forbidden|不支持|不允许"
    r"|サポートされて(?:い|お)|許可されて(?:い|お)|使用できません|지원(?:하지|되지)"
    r"|허용되지|n['’]est pas (?:pris|prise|support|autoris|permis)|non (?:pris|support|autoris)"
    r"|nicht (?:unterst|erlaubt|zul)"
    r"|no (?:es compatible|est[aá] (?:soport|permit|admit)|se (?:admite|permite)|soporta)"
    r"|não (?:é|são) (?:suport|permit)"
    r"|не поддерж|недопуст|неизвестн",
    re.IGNORECASE,
)
_CODES = re.compile(r"unsupported|unknown_parameter|extra_forbidden|unrecognized|not_supported", re.IGNORECASE)
_MUTUALLY_EXCLUSIVE = re.compile(
    r"\bboth\b|only one\b|together|mutually exclusive|not .{0,20}simultaneously", re.IGNORECASE
)
_TOO_LARGE = re.compile(
    r"too (?:large|big|high|many)|less than|at most|max(?:imum)?\b|exceed|range|<=|≤|>|greater than|lower than|limit"
    r"|between|超|范围|上限|최대|초과|이하|dépass|maxim|übersch|exced|supera|ultrapass|máxim"
    r"|прев|максим|не более",
    re.IGNORECASE,
)
_INSTEAD = re.compile(
    r"(?:\buse|did you mean|replaced by|in favou?r of|try)\s+['\"`]?(\w+)['\"`]?(?: instead)?", re.IGNORECASE
)
_SUPPORTED_LIST = re.compile(
    r"(?<!not )(?<!un)\b(?:supported|allowed|valid|accepted|permitted|available|expected)\s+(?:request\s+)?"
    r"(?:parameters|arguments|fields|keys|options|properties|inputs)\b(?! (?:are )?not).*"
    r"|\bonly (?:supports|accepts|allows)[^.]*",
    re.IGNORECASE | re.DOTALL,
)
"""Parts of a refusal about other parameters: replacements, and lists of the supported ones."""
_SYSTEM_ROLE = re.compile(
    r"['\"`]?system['\"`]?\s+(?:role|message|prompt|instruction)s?|(?:role|support)s?:?\s+['\"`]?system['\"`]?"
    r"|developer instruction is not enabled|only ['\"`]?user['\"`]? and ['\"`]?assistant",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.-])\d[\d,_]*(?![A-Za-z0-9_]|\.\d)")


class Adjustment(NamedTuple):
    """One change: "drop", "rename" or "cap" a parameter, or "move" the system message `to` another role."""

    name: str
    action: str
    to: str | int = ""


class Parameters:
    """The adjustments of a run, applied to each request. `clean` makes a server's message one safe line."""

    def __init__(self, user_parameters: Collection[str], clean: Callable[[str], str]) -> None:
        self._user_parameters = frozenset(user_parameters)
        self._clean = clean
        self._record: dict[str, dict[str, Any]] = {}
        self._adjustments: list[Adjustment] = []
        self._refused_limits: set[str] = set()

    def apply(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request's fields as the server accepts them; `body` itself without adjustments."""
        for lesson in self._adjustments:
            body = _apply(lesson, body)
        return body

    def learn(self, error: ServerError, body: dict[str, Any], fields: Mapping[str, Any]) -> bool:
        """Learn from a refusal; whether the request would now differ from the sent `fields`, and is worth a retry."""
        if self.apply(body) != fields:  # another request has learned it meanwhile
            return True
        for adjustment in find_adjustments(error, fields, self._user_parameters):
            if len(self._adjustments) < MAX_ADJUSTMENTS:
                self._add(adjustment, fields.get(adjustment.name), error.message or str(error))
        return self.apply(body) != fields

    def refused_user_parameter(self, error: ServerError, fields: Mapping[str, Any]) -> str:
        """The user's parameter that the error calls unsupported; empty if there is none."""
        if not _unsupported(error):
            return ""
        text = _SUPPORTED_LIST.sub(" ", strip_quotations(error.message))
        return next((name for name in self._user_parameters if name in fields and _is_about(name, error, text)), "")

    def is_dropped(self, name: str) -> bool:
        """Whether a parameter is no longer sent."""
        return name in self._record and self._record[name]["action"] == "drop"

    def recall(self, record: Mapping[str, Any]) -> None:
        """Take over the adjustments of an earlier part of the run."""
        for name, entry in record.items():
            if (
                isinstance(entry, Mapping)
                and name not in self._user_parameters
                and len(self._adjustments) < MAX_ADJUSTMENTS
            ):
                adjustment = Adjustment(name, str(entry.get("action")), entry.get("to", ""))
                if _is_valid(adjustment):
                    self._add(adjustment, entry.get("value"), str(entry.get("said", "")))

    @property
    def record(self) -> dict[str, dict[str, Any]]:
        """The adjustments for run.json: for each parameter the action, its value then, and the server's words."""
        return self._record

    @property
    def notes(self) -> list[str]:
        """The adjustments, a line each."""
        return [self._note(name, entry) for name, entry in self._record.items()]

    def _add(self, adjustment: Adjustment, value: Any, message: str) -> None:
        entry: dict[str, Any] = {"action": adjustment.action} | ({"to": adjustment.to} if adjustment.to != "" else {})
        if isinstance(value, int | float | list) and adjustment.name not in {"seed", "stream"}:
            entry["value"] = value
        if adjustment.name in TOKEN_LIMITS and adjustment.action != "cap":
            self._refused_limits.add(adjustment.name)
            if adjustment.action == "drop" or adjustment.to in self._refused_limits:  # neither name is accepted
                self._adjustments = [previous for previous in self._adjustments if previous.name not in TOKEN_LIMITS]
                self._adjustments += [Adjustment(name, "drop") for name in TOKEN_LIMITS]
                for name in TOKEN_LIMITS:
                    self._record.pop(name, None)
                entry = {"action": "drop"} | ({"value": value} if isinstance(value, int) else {})
                self._record["max_tokens"] = entry | {"said": self._clean(message)}
                return
        self._adjustments.append(adjustment)
        self._record[adjustment.name] = entry | {"said": self._clean(message)}

    def _note(self, name: str, entry: Mapping[str, Any]) -> str:
        value, to = entry.get("value"), entry.get("to")
        shown = f"{name}={value}" if "value" in entry else name
        note = {
            "rename": f"{name} is sent as {to}, as the server refuses it by that name",
            "cap": f"{shown} was refused by the server and {to} is sent",
            "move": "the server refuses system messages; theirs is sent "
            + ("with the role developer" if to == "developer" else "at the beginning of the user's"),
        }.get(str(entry["action"]), f"{shown} was refused by the server and is not sent")
        if name == "stop" and entry["action"] == "drop":
            note += "; answers are cut at these strings here"
        return f"{note} ({entry['said']})"


def find_adjustments(
    error: ServerError, fields: Mapping[str, Any], user_parameters: Collection[str] = ()
) -> list[Adjustment]:
    """The adjustments to the sent `fields` that a refusal asks for; `user_parameters` stay as they are."""
    if adjustment := _find_system_move(error, fields):
        return [adjustment]
    candidates = [name for name in ADJUSTABLE if name in fields and name not in user_parameters]
    text = _SUPPORTED_LIST.sub(" ", _INSTEAD.sub(" ", strip_quotations(error.message)))
    names = [name for name in candidates if _is_about(name, error, text)]
    if not names:
        return []
    # Too many stop strings, too long ones, only white space: answers can be truncated at them locally.
    if names == ["stop"] or (_MUTUALLY_EXCLUSIVE.search(text) and len(names) > 1):
        return [Adjustment(names[0], "drop")]
    limit = next((name for name in names if name in TOKEN_LIMITS), "")
    if _unsupported(error):
        return [
            _drop_or_rename(name, error, fields) for name in names if name not in TOKEN_LIMITS or "prompt" not in fields
        ]
    if limit and (server_limit := _server_limit(text, fields[limit])) and _TOO_LARGE.search(text):
        return [Adjustment(limit, "cap", server_limit)]
    return []


def _apply(adjustment: Adjustment, body: dict[str, Any]) -> dict[str, Any]:
    name, action, to = adjustment
    if action == "move":
        return {**body, "messages": _merge_system(body["messages"], str(to))} if "messages" in body else body
    if name not in body or (name in TOKEN_LIMITS and action != "cap" and "prompt" in body):
        return body  # without a limit, raw prompts get 16 tokens
    if action == "rename":
        return {str(to) if key == name else key: value for key, value in body.items()}
    if action == "cap":
        return {**body, name: min(body[name], int(to))} if body[name] else body
    return {
        key: value for key, value in body.items() if key != name and not (name == "stream" and key == "stream_options")
    }


def _is_valid(adjustment: Adjustment) -> bool:
    """Whether an adjustment from a file is valid."""
    name, action, to = adjustment
    if action == "move":
        return name == "system" and to in {"user", "developer"}
    if action == "cap":
        return name in TOKEN_LIMITS and type(to) is int and to > 0
    return name in ADJUSTABLE and (action == "drop" or (action == "rename" and to in TOKEN_LIMITS))


def _unsupported(error: ServerError) -> bool:
    return bool(_UNSUPPORTED.search(error.message) or _CODES.search(f"{error.code} {error.type}"))


def _drop_or_rename(name: str, error: ServerError, fields: Mapping[str, Any]) -> Adjustment:
    """Drop an unsupported parameter; a token limit is first sent by its other name."""
    if name not in TOKEN_LIMITS:
        return Adjustment(name, "drop")
    other = TOKEN_LIMITS[TOKEN_LIMITS.index(name) - 1]
    match = _INSTEAD.search(error.message)
    replacement = match[1] if match and match[1] in TOKEN_LIMITS else ""
    return Adjustment(name, "rename", replacement or other) if other not in fields else Adjustment(name, "drop")


def _find_system_move(error: ServerError, fields: Mapping[str, Any]) -> Adjustment | None:
    """The adjustment for a refused system message, if there is one."""
    messages = fields.get("messages")
    roles = {message.get("role") for message in messages} if isinstance(messages, list) else set()
    if not roles & {"system", "developer"} or not _SYSTEM_ROLE.search(error.message):
        return None
    if not (_unsupported(error) or "only" in error.message.lower()):
        return None
    role = "developer" if "'developer'" in error.message and "developer" not in roles else "user"
    return Adjustment("system", "move", role)


def _merge_system(messages: list[dict[str, Any]], role: str) -> list[dict[str, Any]]:
    """The messages with the system message under another role, or before the text of the first user message."""
    system = [message for message in messages if message.get("role") in {"system", "developer"}]
    if not system:
        return messages
    if role == "developer":
        return [{**m, "role": "developer"} if m.get("role") == "system" else m for m in messages]
    others = [message for message in messages if message not in system]
    first = next((i for i, message in enumerate(others) if message.get("role") == "user"), None)
    text = "\n\n".join(str(message.get("content") or "") for message in system)
    if first is None:
        return [{"role": "user", "content": text}, *others]
    content = others[first].get("content")
    joined = [{"type": "text", "text": text}, *content] if isinstance(content, list) else f"{text}\n\n{content or ''}"
    return [*others[:first], {**others[first], "content": joined}, *others[first + 1 :]]


def _server_limit(text: str, value: Any) -> int:
    """The largest number below the requested limit, which is the server's; 0 if there is none."""
    if not isinstance(value, int):
        return 0
    numbers = [int(re.sub(r"[,_]", "", number)) for number in _NUMBER.findall(text) if len(number) < 12]
    return max((number for number in numbers if 1 < number < value), default=0)


def _is_about(name: str, error: ServerError, text: str) -> bool:
    """Whether an error is about the parameter."""
    spellings = (name, *_ALIASES.get(name, ()))
    if error.param:
        last = [part for part in re.split(r"[.\[\]/]+", error.param) if part]
        if last and last[-1] in spellings:
            return True
        if error.param in ADJUSTABLE and ";" not in error.message:
            return False
    return any(_pattern(form).search(text) for form in spellings)


_patterns: dict[str, re.Pattern[str]] = {}


def _pattern(name: str) -> re.Pattern[str]:
    """A pattern for mentions of a parameter; a plain English word must look like a parameter name."""
    if name not in _patterns:
        name_pattern = f"(?i:{re.escape(name)})" if " " in name else re.escape(name)
        forms = [
            rf"['\"`\[(“](?:body[.\s>-]*)?(?:\w+\.)?{name_pattern}\s*['\"`\])”,]",
            rf"(?:parameter|argument|field|key|propert(?:y|ie)|param|supplied|body)s?\s*(?:\.|->|:)?\s*[\['\"`]*{name_pattern}\b",
            rf"(?:^|[;,\n]\s*|body\.|\s){name_pattern}\s*:\s",
            rf"(?:supported|permitted|allowed|unknown)[^.\n]{{0,60}}[:,]\s*[\['\"`]*{name_pattern}\b",
        ]
        if re.search("[-_ ]", name) or name in {"temperature", "seed"} or name != name.lower():
            forms.append(rf"(?<![\w.]){name_pattern}(?!\w)")
        _patterns[name] = re.compile("|".join(forms))
    return _patterns[name]
