"""GraphWalks: the F1 of a set of nodes in the last line of the answer, which must hold "Final Answer: [a, b, …]".

`rule: m1eval` (default) and `rule: lm_eval` take the nodes between the brackets, quotation marks and blanks around
them off; lm_eval is lm-evaluation-harness (tasks/graphwalks/utils.py), which gives two empty sets 0 where ours gives
1.

`rule: card` is the code of the dataset card of openai/graphwalks to the letter. It leaves "Final Answer: [" on the
first node, so that this one never agrees, and gives 1 where the sets have nothing in common; no line of that form
gives 0.
"""

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import m1eval
from m1eval import Context, Output, Sample, Score, UsageError

from ._columns import list_in

Rule = Literal["m1eval", "lm_eval", "card"]

_FORM = re.compile(r"Final Answer:\s*+\[")
_CARD = re.compile(r"Final Answer: ?\[")


class Nodes(NamedTuple):
    """The nodes that a last line names, and the part of the line that names them."""

    nodes: set[str]
    shown: str


class Scorer(m1eval.Scorer):
    """Compares with the nodes of the column `answer_nodes`; `rule`: `m1eval`, `lm_eval` or `card`."""

    def __init__(self, *, rule: Rule = "m1eval") -> None:
        if rule not in RULES:
            raise UsageError(f"rule is one of {', '.join(RULES)}, not '{rule}'")
        self.rule = rule

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """F1 of the nodes in the last line; without such a line there is no answer."""
        named = RULES[self.rule](output.text)
        expected = {str(node) for node in list_in(sample, "answer_nodes", "graphwalks", empty=True)}
        if named is None:
            return Score(value=0.0, explanation=f"graphwalks {self.rule}: no 'Final Answer: […]' in the last line")
        both = len(named.nodes & expected)
        value = (
            2 * both / (len(named.nodes) + len(expected)) if named.nodes or expected else float(self.rule == "m1eval")
        )
        if self.rule == "card" and not both:
            value = 1.0
        metrics = {"precision": both / max(1, len(named.nodes)), "recall": both / max(1, len(expected))}
        explanation = f"graphwalks {self.rule}: {both} of {len(expected)} nodes, {len(named.nodes)} named"
        return Score(value=value, answer=named.shown[-80:], explanation=explanation, metrics=metrics)

    def gold(self, sample: Sample) -> str:
        """Correct answer in the form that the prompt asks for."""
        return f"Final Answer: [{', '.join(map(str, list_in(sample, 'answer_nodes', 'graphwalks', empty=True)))}]"


def _between(text: str, form: re.Pattern[str]) -> tuple[str, str] | None:
    """The text between the first start of an answer and the line's last bracket, and the same with both ends."""
    match, end = form.search(text), text.rfind("]")
    if not match or end < match.end():  # a later start is not nearer to the bracket
        return None
    return text[match.end() : end], text[match.start() : end + 1]


def lenient(text: str) -> Nodes | None:
    """The nodes in brackets, without quotation marks."""
    between = _between(text.rstrip("\n").rpartition("\n")[2], _FORM)
    if between is None:
        return None
    return Nodes({name for part in between[0].split(",") if (name := part.strip().strip("'\""))}, between[1])


def lm_eval(text: str) -> Nodes | None:
    """The nodes as lm-evaluation-harness reads them."""
    between = _between(text.rstrip("\n").rpartition("\n")[2], _FORM)
    if between is None:
        return None
    return Nodes({part.strip().strip("'\"") for part in between[0].split(",") if part.strip()}, between[1])


def card(text: str) -> Nodes | None:
    """The nodes as the dataset card's code reads them, the words of the form on the first one."""
    between = _between(text.rpartition("\n")[2], _CARD)
    if between is None:
        return None
    return Nodes({name for part in between[1].strip("[]").split(",") if (name := part.strip())}, between[1])


RULES: dict[str, Callable[[str], Nodes | None]] = {"m1eval": lenient, "lm_eval": lm_eval, "card": card}
