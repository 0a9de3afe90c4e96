"""Which parameters a server takes, learnt from its refusals, once for the whole run. No network.

Servers that speak OpenAI's protocol refuse parts of it: reasoning models know `max_completion_tokens` in place of
`max_tokens` and no `temperature` but 1, others forbid `top_k`, `seed` or two of them together, or cap the length of an
answer. A refusal that names a parameter which we send is a lesson: from then on it is renamed, capped or left out, and
a note and run.json say so. A parameter that the user gave in `extra_body` is never touched.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from .errors import ServerError, unquoted

LIMITS = ("max_completion_tokens", "max_tokens")
"""The two names of the most tokens of an answer."""
OURS = (*LIMITS, "stream_options", "seed", "min_p", "top_k", "stop", "top_p", "temperature", "stream")
"""What may be left out; of two that exclude each other, the one that comes first here."""
MOST = 16
"""Lessons in one run."""
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
_TOGETHER = re.compile(r"\bboth\b|only one\b|together|mutually exclusive|not .{0,20}simultaneously", re.IGNORECASE)
_TOO_MANY = re.compile(
    r"too (?:large|big|high|many)|less than|at most|max(?:imum)?\b|exceed|range|<=|≤|>|greater than|lower than|limit"
    r"|between|超|范围|上限|최대|초과|이하|dépass|maxim|übersch|exced|supera|ultrapass|máxim"
    r"|прев|максим|не более",
    re.IGNORECASE,
)
_INSTEAD = re.compile(
    r"(?:\buse|did you mean|replaced by|in favou?r of|try)\s+['\"`]?(\w+)['\"`]?(?: instead)?", re.IGNORECASE
)
_KNOWN = re.compile(
    r"(?<!not )(?<!un)\b(?:supported|allowed|valid|accepted|permitted|available|expected)\s+(?:request\s+)?"
    r"(?:parameters|arguments|fields|keys|options|properties|inputs)\b(?! (?:are )?not).*"
    r"|\bonly (?:supports|accepts|allows)[^.]*",
    re.IGNORECASE | re.DOTALL,
)
"""What a refusal says of other parameters: what to use instead, and what is known."""
_SYSTEM = re.compile(
    r"['\"`]?system['\"`]?\s+(?:role|message|prompt|instruction)s?|(?:role|support)s?:?\s+['\"`]?system['\"`]?"
    r"|developer instruction is not enabled|only ['\"`]?user['\"`]? and ['\"`]?assistant",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.-])\d[\d,_]*(?![A-Za-z0-9_]|\.\d)")


class Lesson(NamedTuple):
    """What to do with a parameter: "drop" it, "rename" or "cap" it, or "move" the system message `to` another role."""

    name: str
    action: str
    to: str | int = ""


class Parameters:
    """The lessons of a run, applied to each request. `given`: the user's own parameters; `clean` makes words a line."""

    def __init__(self, given: Collection[str], clean: Callable[[str], str]) -> None:
        self._given = frozenset(given)
        self._clean = clean
        self._record: dict[str, dict[str, Any]] = {}
        self._lessons: list[Lesson] = []
        self._refused: set[str] = set()

    def fit(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request's fields as the server takes them; `body` itself while nothing has been learnt."""
        for lesson in self._lessons:
            body = _applied(lesson, body)
        return body

    def learn(self, error: ServerError, body: dict[str, Any], sent: Mapping[str, Any]) -> bool:
        """Whether the request is worth another try, as it would go out otherwise than it was `sent`."""
        if self.fit(body) != sent:  # another request has learnt it meanwhile
            return True
        for lesson in find(error, sent, self._given):
            if len(self._lessons) < MOST:
                self._take(lesson, sent.get(lesson.name), error.message or str(error))
        return self.fit(body) != sent

    def refuses_own(self, error: ServerError, sent: Mapping[str, Any]) -> str:
        """The parameter of the user's own that the error says is not supported; empty if it says no such thing."""
        if not _unsupported(error):
            return ""
        text = _KNOWN.sub(" ", unquoted(error.message))
        return next((name for name in self._given if name in sent and _named(name, error, text)), "")

    def left_out(self, name: str) -> bool:
        """Whether a parameter is not sent any more."""
        return name in self._record and self._record[name]["action"] == "drop"

    def recall(self, record: Mapping[str, Any]) -> None:
        """Take over what an earlier part of the run has learnt."""
        for name, entry in record.items():
            if isinstance(entry, Mapping) and name not in self._given and len(self._lessons) < MOST:
                lesson = Lesson(name, str(entry.get("action")), entry.get("to", ""))
                if _sound(lesson):
                    self._take(lesson, entry.get("value"), str(entry.get("said", "")))

    @property
    def record(self) -> dict[str, dict[str, Any]]:
        """What was learnt, for run.json: for each parameter the action, its value then, and the server's words."""
        return self._record

    @property
    def notes(self) -> list[str]:
        """What was learnt, a line each."""
        return [self._note(name, entry) for name, entry in self._record.items()]

    def _take(self, lesson: Lesson, value: Any, said: str) -> None:
        entry: dict[str, Any] = {"action": lesson.action} | ({"to": lesson.to} if lesson.to != "" else {})
        if isinstance(value, int | float | list) and lesson.name not in {"seed", "stream"}:
            entry["value"] = value
        if lesson.name in LIMITS and lesson.action != "cap":
            self._refused.add(lesson.name)
            if lesson.action == "drop" or lesson.to in self._refused:  # neither name will do
                self._lessons = [known for known in self._lessons if known.name not in LIMITS]
                self._lessons += [Lesson(name, "drop") for name in LIMITS]
                for name in LIMITS:
                    self._record.pop(name, None)
                entry = {"action": "drop"} | ({"value": value} if isinstance(value, int) else {})
                self._record["max_tokens"] = entry | {"said": self._clean(said)}
                return
        self._lessons.append(lesson)
        self._record[lesson.name] = entry | {"said": self._clean(said)}

    def _note(self, name: str, entry: Mapping[str, Any]) -> str:
        value, to = entry.get("value"), entry.get("to")
        text = f"{name}={value}" if "value" in entry else name
        words = {
            "rename": f"{name} is sent as {to}, as the server refuses it by that name",
            "cap": f"{text} was refused by the server and {to} is sent",
            "move": "the server refuses system messages; theirs is sent "
            + ("with the role developer" if to == "developer" else "at the beginning of the user's"),
        }.get(str(entry["action"]), f"{text} was refused by the server and is not sent")
        if name == "stop" and entry["action"] == "drop":
            words += "; answers are cut at these strings here"
        return f"{words} ({entry['said']})"


def find(error: ServerError, sent: Mapping[str, Any], given: Collection[str] = ()) -> list[Lesson]:
    """What a refusal teaches about the fields that were `sent`; those `given` by the user stay as they are."""
    if moved := _moved(error, sent):
        return [moved]
    open_ = [name for name in OURS if name in sent and name not in given]
    text = _KNOWN.sub(" ", _INSTEAD.sub(" ", unquoted(error.message)))
    named = [name for name in open_ if _named(name, error, text)]
    if not named:
        return []
    # Too many stop strings, too long ones, only white space: the answer can be cut at them when it is here.
    if named == ["stop"] or (_TOGETHER.search(text) and len(named) > 1):
        return [Lesson(named[0], "drop")]
    limit = next((name for name in named if name in LIMITS), "")
    if _unsupported(error):
        return [_without(name, error, sent) for name in named if name not in LIMITS or "prompt" not in sent]
    if limit and (most := _most(text, sent[limit])) and _TOO_MANY.search(text):
        return [Lesson(limit, "cap", most)]
    return []


def _applied(lesson: Lesson, body: dict[str, Any]) -> dict[str, Any]:
    name, action, to = lesson
    if action == "move":
        return {**body, "messages": _without_system(body["messages"], str(to))} if "messages" in body else body
    if name not in body or (name in LIMITS and action != "cap" and "prompt" in body):
        return body  # without a limit, raw prompts get 16 tokens
    if action == "rename":
        return {str(to) if key == name else key: value for key, value in body.items()}
    if action == "cap":
        return {**body, name: min(body[name], int(to))} if body[name] else body
    return {
        key: value for key, value in body.items() if key != name and not (name == "stream" and key == "stream_options")
    }


def _sound(lesson: Lesson) -> bool:
    """Whether a lesson that was read from a file is one."""
    if lesson.action == "move":
        return lesson.name == "system" and lesson.to in {"user", "developer"}
    if lesson.action == "cap":
        return lesson.name in LIMITS and type(lesson.to) is int and lesson.to > 0
    return lesson.name in OURS and (lesson.action == "drop" or (lesson.action == "rename" and lesson.to in LIMITS))


def _unsupported(error: ServerError) -> bool:
    return bool(_UNSUPPORTED.search(error.message) or _CODES.search(f"{error.code} {error.type}"))


def _without(name: str, error: ServerError, sent: Mapping[str, Any]) -> Lesson:
    """A parameter that is refused as such is left out, a limit goes by its other name first."""
    if name not in LIMITS:
        return Lesson(name, "drop")
    other = LIMITS[LIMITS.index(name) - 1]
    found = _INSTEAD.search(error.message)
    told = found[1] if found and found[1] in LIMITS else ""
    return Lesson(name, "rename", told or other) if other not in sent else Lesson(name, "drop")


def _moved(error: ServerError, sent: Mapping[str, Any]) -> Lesson | None:
    """The lesson about system messages, where there is one and it is refused."""
    messages = sent.get("messages")
    roles = {message.get("role") for message in messages} if isinstance(messages, list) else set()
    if not roles & {"system", "developer"} or not _SYSTEM.search(error.message):
        return None
    if not (_unsupported(error) or "only" in error.message.lower()):
        return None
    role = "developer" if "'developer'" in error.message and "developer" not in roles else "user"
    return Lesson("system", "move", role)


def _without_system(messages: list[dict[str, Any]], role: str) -> list[dict[str, Any]]:
    """The messages with the system's under another role, or before the text of the first user's."""
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


def _most(text: str, asked: Any) -> int:
    """The largest number below what was asked for: the server's limit; 0 if there is none."""
    if not isinstance(asked, int):
        return 0
    numbers = [int(re.sub(r"[,_]", "", number)) for number in _NUMBER.findall(text) if len(number) < 12]
    return max((number for number in numbers if 1 < number < asked), default=0)


def _named(name: str, error: ServerError, text: str) -> bool:
    """Whether an error is about the parameter."""
    spellings = (name, *_ALIASES.get(name, ()))
    if error.param:
        last = [part for part in re.split(r"[.\[\]/]+", error.param) if part]
        if last and last[-1] in spellings:
            return True
        if error.param in OURS and ";" not in error.message:
            return False
    return any(_pattern(form).search(text) for form in spellings)


_patterns: dict[str, re.Pattern[str]] = {}


def _pattern(name: str) -> re.Pattern[str]:
    """The forms in which a message names a parameter; a plain English word must look like a name."""
    if name not in _patterns:
        it = f"(?i:{re.escape(name)})" if " " in name else re.escape(name)
        forms = [
            rf"['\"`\[(“](?:body[.\s>-]*)?(?:\w+\.)?{it}\s*['\"`\])”,]",
            rf"(?:parameter|argument|field|key|propert(?:y|ie)|param|supplied|body)s?\s*(?:\.|->|:)?\s*[\['\"`]*{it}\b",
            rf"(?:^|[;,\n]\s*|body\.|\s){it}\s*:\s",
            rf"(?:supported|permitted|allowed|unknown)[^.\n]{{0,60}}[:,]\s*[\['\"`]*{it}\b",
        ]
        if re.search("[-_ ]", name) or name in {"temperature", "seed"} or name != name.lower():
            forms.append(rf"(?<![\w.]){it}(?!\w)")
        _patterns[name] = re.compile("|".join(forms))
    return _patterns[name]
