"""Separation of thinking and answer in a model's output.

Whoever renders the prompt knows whether it ended inside an open think block (`opened`), whoever stops the generation
knows whether it was cut (`truncated`), and a server may have split already (`reasoning`). With these three the split
is decided, not guessed; what stays ambiguous is decided against grading a draft. The cases stand in
tests/data/thinking_conformance.jsonl, for any implementation to run against.
"""

from collections.abc import Sequence

from . import blocks, channels
from .blocks import Split
from .detect import form_of, is_opening_partial, opening_form
from .follow import ThinkingFollower
from .forms import DEFAULT, KNOWN, THINK, Form, Tags, opened_by, parse_forms

__all__ = [
    "DEFAULT",
    "KNOWN",
    "THINK",
    "Form",
    "Split",
    "Tags",
    "ThinkingFollower",
    "form_of",
    "opened_by",
    "parse_forms",
    "split_thinking",
]


def split_thinking(
    text: str,
    *,
    opened: bool | None = None,
    truncated: bool = False,
    reasoning: str | None = None,
    tags: Tags | Form | Sequence[Form] | None = None,
) -> Split:
    """Split a model's output into answer and thinking.

    `opened`: did the rendered prompt end inside an open think block; None: not known (a server rendered it).
    `truncated`: did the output end at a token limit. `reasoning`: what the server put into its own reasoning field; if
    there is any, the rest is the answer. `tags`: the form of thinking where it is known, or several that may be meant;
    else the known form that opens the output counts, or whose closing text appears alone in it, and `<think>` anywhere.
    An unclosed block is unfinished; so is a cut output without any tag, unless the prompt is known to have opened
    none. Tags in code or quotes of the answer are text. ValueError for tags that are not a form.
    """
    forms = _forms(tags)
    if reasoning:
        content_forms = _forms_in_content(text, forms)
        rest = _split(
            text if truncated else _strip_opening_tag(text, content_forms[0]), content_forms, False, truncated
        )
        thoughts = dict.fromkeys(filter(None, (reasoning, rest.reasoning)))
        unfinished = rest.unfinished or (truncated and not rest.text.strip())
        return Split("" if unfinished else rest.text, "\n".join(thoughts), unfinished)
    return _split(text, forms, opened, truncated)


def _forms(tags: Tags | Form | Sequence[Form] | None) -> tuple[Form, ...]:
    return KNOWN if tags is None else parse_forms(tags)


def _forms_in_content(text: str, forms: tuple[Form, ...]) -> tuple[Form, ...]:
    """The forms that may be meant in the content of a server that has split already: what opens it, and `<think>`."""
    first = len(text) - len(text.lstrip())
    opening = opening_form(text, first, forms) if first < len(text) else None
    return (opening or (DEFAULT if DEFAULT in forms else forms[0]),)


def _strip_opening_tag(text: str, form: Form) -> str:
    """The content of a server that has split already, without an opening tag that it left in front of the answer."""
    tag = form.opens.match(text, len(text) - len(text.lstrip()))
    return text if tag is None or form.channels or form.ends(text) else text[tag.end() :].lstrip()


def _split(text: str, forms: tuple[Form, ...], opened: bool | None, truncated: bool) -> Split:
    form = form_of(text, forms, opened)
    if truncated and is_opening_partial(text, forms):
        return Split("", text.strip(), True)
    if form.channels:
        return channels.split(text, opened, truncated, sure=forms[0] == form)
    result = blocks.split(text, form, opened, truncated)
    answer = _strip_wrapper(result.text, form, truncated)
    split = result.reasoning or len(result.text) != len(text) or answer is not result.text
    if split and truncated and not answer.strip():
        return Split("", result.reasoning, True)
    return result._replace(text=answer)


def _strip_wrapper(answer: str, form: Form, truncated: bool) -> str:
    """The answer without what a form puts around it."""
    inner = answer.strip()
    for before, after in form.wraps:
        special = before.startswith("<|")  # never an answer's own
        if truncated and inner and len(inner) < len(before) and before.startswith(inner):
            return ""
        if inner.startswith(before) and (special or truncated or inner.endswith(after)):
            inner = inner.removeprefix(before).removesuffix(after)
            return (_strip_partial_mark(inner, after) if special and truncated else inner).strip()
        if special and inner.endswith(after):
            return inner.removesuffix(after).strip()
    return answer


def _strip_partial_mark(text: str, mark: str) -> str:
    """A cut text without the beginning of a mark at its end."""
    sizes = range(min(len(mark) - 1, len(text)), 0, -1)
    return next((text[:-size] for size in sizes if text.endswith(mark[:size])), text)
