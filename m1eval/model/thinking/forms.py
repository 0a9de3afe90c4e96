"""The known forms of thinking: which texts open and close it, and what may surround the answer.

Names and markers are those of the models' chat templates and of the reasoning parsers of vLLM, SGLang, llama.cpp and
Open WebUI. A form counts where it opens the output, where the prompt ended inside it, or where it is named.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Tags = tuple[str, str]
MAX_TAG_LENGTH = 256
"""Characters that a tag with attributes, or a channel's header, may have."""

_BUDGET_MESSAGE = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n"
)
"""Text that stops Qwen3's thinking, before the closing tag, as trained (its report, arXiv 2505.09388, section 4.3)."""


@dataclass(frozen=True)
class Form:
    """One way to mark thinking, by the texts that open and close it."""

    name: str
    open: str
    close: str
    wraps: tuple[Tags, ...] = ()
    """Texts that may surround the whole answer after the thinking, and are removed."""
    closes_alone: bool = True
    """Whether a closing text without an opening one ends thinking that began in the prompt."""
    is_word: bool = False
    """An ordinary word as a tag, which an answer may name: its closing tag alone counts only if it is not in prose."""
    opening: str = ""
    """The regular expression of `opens` where it is more than `open`; the same for `closing`, `nesting`."""
    closing: str = ""
    nesting: str = ""
    other_openings: tuple[str, ...] = ()
    """Other literal texts that open it."""
    force: str = ""
    """The text that ends thinking by force, where it is more than `close`."""

    def __hash__(self) -> int:
        return hash((self.open, self.close))

    # Compiled when a form is first looked for: there are some forty, and most runs meet one or two.

    @cached_property
    def opens(self) -> re.Pattern[str]:
        """Pattern of the text that opens it."""
        return re.compile(self.opening or _pattern(self.open))

    @cached_property
    def closes(self) -> re.Pattern[str]:
        """Pattern of the text that closes it."""
        return re.compile(self.closing or _pattern(self.close))

    @cached_property
    def opens_or_closes(self) -> re.Pattern[str]:
        """Pattern of what opens it or a nested level (group 1), or closes it."""
        begin, end = self.nesting or self.opens.pattern, self.closes.pattern
        if begin[0] == end[0] == "<" and "|" not in begin + end:  # a common beginning makes the search fast
            return re.compile(f"<(?:({begin[1:]})|{end[1:]})")
        return re.compile(f"({begin})|{end}")

    @cached_property
    def partial_opening(self) -> re.Pattern[str]:
        """An opening tag that is cut among its attributes."""
        tag = _xml(self.open.partition(" ")[0].rstrip(">") + ">")
        return re.compile(rf"(?i:<{re.escape(tag[2])}\s[^<>]*)" if tag else r"(?!)")

    @property
    def marks(self) -> tuple[str, ...]:
        """The literal texts that open the output of a model of this form."""
        return (self.open, *self.other_openings, *(before for before, _ in self.wraps if before.startswith("<|")))

    @property
    def channels(self) -> bool:
        """Whether the form is gpt-oss's channels, which are parsed as messages instead of tags."""
        return self.name == "harmony"

    @property
    def forced_end(self) -> str:
        """The text that ends thinking when its budget is used up: Qwen3's words and what closes it."""
        return (
            f"{_BUDGET_MESSAGE}{self.force or self.close}\n\n"
            if not self.force
            else f"{_BUDGET_MESSAGE.rstrip()}{self.force}"
        )

    def is_opened_partly_by(self, text: str, *, more: bool) -> bool:
        """Whether a text without leading white space is the beginning of what opens the thinking, and not all of it.

        `more`: more text may come. If not, half of an ordinary word is needed: "H" may be an answer of one token.
        """
        text = re.sub(r"^<\s", "<", text)
        for mark in self.marks:
            shortest = len(mark) // 2 if mark[0].isalpha() and not more else 0
            if shortest < len(text) < len(mark) and _is_start(mark, text):
                return True
        return (
            len(text) <= 2 * MAX_TAG_LENGTH
            and self.partial_opening.fullmatch(text) is not None
            and not self.opens.match(text)
        )

    def ends(self, text: str) -> bool:
        """Whether a text contains what closes the thinking."""
        return self.closes.search(text) is not None


def _xml(mark: str) -> re.Match[str] | None:
    return re.fullmatch(r"<(/?)([\w:-]+)>", mark)


def _pattern(mark: str) -> str:
    """A tag like XML's is found in any case, with blanks or attributes; any other mark is found as it is."""
    tag = _xml(mark)
    if tag is None:
        return re.escape(mark)
    attributes = "" if tag[1] else rf"(?:\s[^<>=]{{0,{MAX_TAG_LENGTH}}}=[^<>]{{0,{MAX_TAG_LENGTH}}})?"
    slash = r"/\s?" if tag[1] else ""
    return rf"<\s?{slash}(?i:{re.escape(tag[2])}){attributes}\s{{0,8}}>"  # the "<" in front makes the search fast


def _is_start(mark: str, text: str) -> bool:
    start = mark[: len(text)]
    return start == text or (_xml(mark) is not None and start.lower() == text.lower())


def _tags(name: str, **options: Any) -> Form:
    return Form(name, f"<{name}>", f"</{name}>", **options)


_SOLUTION = (("<|begin_of_solution|>", "<|end_of_solution|>"),)
_RESPONSE = (("<|START_RESPONSE|>", "<|END_RESPONSE|>"), ("<|START_TEXT|>", "<|END_TEXT|>"))
_MESSAGE = (("<|message_model|><|content_text|>", "<|end_message|>"), ("<|content_text|>", "<|end_message|>"))
_SOLAR = (("<|begin|>assistant<|content|>", "<|end|>"), ("<|content|>", "<|end|>"))
_REST = rf"[^<]{{0,{MAX_TAG_LENGTH}}}(?:<\|constrain\|>[^<]{{0,{MAX_TAG_LENGTH}}})?<\|message\|>"

THINK: Tags = ("<think>", "</think>")
DEFAULT = _tags("think")  # DeepSeek, Qwen, GLM, MiniMax M1 and M2, Nemotron, Phi-4, EXAONE 4, Olmo, Step, Kimi K2 …
HARMONY = Form(
    "harmony",
    "<|channel|>analysis<|message|>",
    "<|channel|>final<|message|>",
    opening=rf"(?:<\|start\|>assistant[^<]{{0,{MAX_TAG_LENGTH}}})?<\|channel\|>\s{{0,8}}(?:analysis|commentary)\b{_REST}",
    closing=rf"<\|channel\|>\s{{0,8}}final\b{_REST}",
    other_openings=("<|start|>assistant<|channel|>analysis<|message|>", "<|channel|>commentary<|message|>"),
    force="<|end|><|start|>assistant<|channel|>final<|message|>",
)
_DETAILS = Form(
    "details",
    '<details type="reasoning">',
    "</details>",
    closes_alone=False,
    opening=rf"<(?i:details\s[^<>]{{0,{MAX_TAG_LENGTH}}}?\btype\s?=\s?[\"']?reasoning\b[^<>]{{0,{MAX_TAG_LENGTH}}}>)",
    nesting=rf"<(?i:details\b[^<>]{{0,{MAX_TAG_LENGTH}}}>)",
)
_GRANITE = Form(
    "granite",
    "Here is my thought process:",
    "Here is my response:",
    closes_alone=False,
    other_openings=("Here's my thought process:",),
    opening=r"Here(?:['’]s| is) my thought process:",
    closing=r"Here(?:['’]s| is) my response:",
)
_KNOWN = (
    DEFAULT,
    *(_tags(name, is_word=True) for name in ("thinking", "thought", "thoughts", "reasoning", "reason", "scratchpad")),
    *(_tags(name) for name in ("antThinking", "redacted_thinking", "m_think", "longcat_think")),
    *(_tags(name) for name in ("think_fast", "think_faster", "think_slow")),  # K2-Think, by reasoning effort
    _tags("seed:think"),  # Seed-OSS
    _tags("mm:think"),  # MiniMax M3
    _tags("think:opensource"),  # Hunyuan 3
    *(Form(f"ifm_{name}", f"<ifm|{name}>", f"</ifm|{name}>") for name in ("think", "think_fast", "think_faster")),
    Form("kimi", "◁think▷", "◁/think▷"),
    Form(
        "kimi_k3",
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        (("<|open|>response<|sep|>", "<|close|>response<|sep|>"),),
    ),
    Form("magistral", "[THINK]", "[/THINK]"),
    *(Form(f"bracket_{name.lower()}", f"[{name}]", f"[/{name}]") for name in ("THINKING", "REASONING")),
    Form("sky_t1", "<|begin_of_thought|>", "<|end_of_thought|>", _SOLUTION),  # OpenThinker too
    Form("cohere", "<|START_THINKING|>", "<|END_THINKING|>", _RESPONSE),
    Form("apertus", "<|inner_prefix|>", "<|inner_suffix|>"),
    Form("gemma4", "<|channel>thought", "<channel|>"),
    Form("medgemma", "<unused94>thought", "<unused95>"),
    Form("pipe_thinking", "<|thinking|>", "<|/thinking|>"),
    Form("pipe_start", "<|start_thinking|>", "<|end_thinking|>"),
    Form(
        "solar",
        "<|think|>",
        "<|end|><|begin|>assistant<|content|>",
        _SOLAR,
        closing=r"<\|/think\|>|(?:<\|end\|>\s{0,8})?<\|begin\|>assistant\s{0,8}<\|content\|>",
    ),
    Form(
        "inkling",
        "<|content_thinking|>",
        "<|end_message|><|message_model|><|content_text|>",
        _MESSAGE,
        other_openings=("<|message_model|><|content_thinking|>",),
        opening=r"(?:<\|message_model\|>)?<\|content_thinking\|>",
        closing=r"<\|end_message\|>\s{0,8}(?:<\|message_model\|>)?<\|content_text\|>",
    ),
    _DETAILS,
    _GRANITE,
    HARMONY,
)
_NAMED = (
    Form("hunyuan", *THINK, (("<answer>", "</answer>"),)),
    Form("granite_response", *THINK, (("<response>", "</response>"),)),
)
FORMS: Mapping[str, Form] = {form.name.lower().replace(":", "_"): form for form in (*_KNOWN, *_NAMED)}
"""The forms by name. `hunyuan` and `granite_response` must be named: an answer in such tags may be meant."""
KNOWN: tuple[Form, ...] = _KNOWN
"""The forms that are looked for where none is named."""


def parse_forms(value: Any) -> tuple[Form, ...]:
    """The forms that an option or a profile names; ValueError in one line for what names none.

    A form's name, `OPEN,CLOSE`, several of them separated by `;`; in YAML also `{open: …, close: …}` or a list.
    """
    if isinstance(value, Form):
        return (value,)
    if isinstance(value, str):
        forms = [_parse_form(part) for part in value.split(";") if part.strip()]
    elif isinstance(value, Mapping):
        forms = [_form_of_pair(value.get("open"), value.get("close"))] if {*value} == {"open", "close"} else []
    elif isinstance(value, Sequence) and value:
        pair = len(value) == 2 and all(isinstance(part, str) and not _find_form(part) for part in value)
        forms = [_form_of_pair(*value)] if pair else [form for part in value for form in parse_forms(part)]
    else:
        forms = []
    if not forms:
        raise ValueError(f"name a form of thinking ({', '.join(FORMS)}) or two texts, OPEN,CLOSE; not {value!r}")
    return tuple(forms)


def _find_form(name: str) -> Form | None:
    return FORMS.get(name.strip().lower().replace("-", "_").replace(":", "_"))


def _parse_form(text: str) -> Form:
    if form := _find_form(text):
        return form
    begin, comma, end = text.partition(",")
    if not comma:
        raise ValueError(f"no form of thinking '{text.strip()}'; name one of {', '.join(FORMS)}, or write OPEN,CLOSE")
    return _form_of_pair(begin, end)


def _form_of_pair(begin: Any, end: Any) -> Form:
    if not (isinstance(begin, str) and isinstance(end, str) and begin.strip() and end.strip()):
        raise ValueError("the texts that open and close thinking must be two, and not empty")
    begin, end = begin.strip(), end.strip()
    if begin == end:
        raise ValueError(f"the texts that open and close thinking must differ, and both are {begin!r}")
    form = next((form for form in KNOWN if (form.open, form.close) == (begin, end)), None)
    return form or Form(begin, begin, end)


def opened_by(prompt: str, forms: Sequence[Form] = KNOWN) -> Form | None:
    """The form whose thinking a rendered prompt with this end leaves open; None if it opens none."""
    tail = prompt[-2 * MAX_TAG_LENGTH :].rstrip()
    for form in forms:
        start = len(tail) - len(form.open)
        if start >= 0 and _is_start(form.open, tail[start:]):
            return form
    return None
