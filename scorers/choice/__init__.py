"""The letter of a multiple-choice answer. Every rule takes linear time, on a megabyte without a line break too.

`rule: m1eval` (default) takes the last letter that the text gives as its answer: in a `\\boxed{...}`, in the `"answer"`
of a JSON object, in a tag such as `<answer>`, in a sentence ("the answer is C", "C is correct", "I choose C", in some
fifty languages), or as a first or last line that is a letter or a letter and its option's text. Two letters given
together do not count; nor does a letter that is denied, supposed or asked for, or one beyond the options.

`rule: mmlu_pro` and `rule: simple_evals` find what these benchmarks' own code finds; see `published`.
"""

import random
import re
from collections.abc import Callable
from typing import Any, Literal

from m1eval import Context, Output, Sample, Score, UsageError
from m1eval.text import shorten

from .._columns import TargetScorer
from .letters import LETTERS
from .option_text import named_otherwise, option_given
from .own import letter_of
from .published import mmlu_pro, simple_evals

Rule = Literal["m1eval", "mmlu_pro", "simple_evals"]

RULES: dict[str, Callable[[str, str], tuple[str | None, str]]] = {
    "m1eval": letter_of,
    "mmlu_pro": mmlu_pro,
    "simple_evals": simple_evals,
}


class Scorer(TargetScorer):
    """1 if the letter is the target's; `options`: how many there are, or the column that holds them as a list.

    With a column, an answer that gives no letter but the text of exactly one option is that option's letter (rule
    `m1eval` alone). `no_answer: guess` gives an output without a letter a random one (seeded by the sample's id), as
    MMLU-Pro's code does; the default leaves it unparsed.
    """

    def __init__(
        self, *, rule: Rule = "m1eval", options: int | str = 10, no_answer: Literal["wrong", "guess"] = "wrong"
    ) -> None:
        if rule not in RULES:
            raise UsageError(f"rule is one of {', '.join(RULES)}, not '{rule}'")
        if no_answer not in ("wrong", "guess"):
            raise UsageError(f"no_answer is 'wrong' or 'guess', not '{no_answer}'")
        if isinstance(options, int) and not 2 <= options <= len(LETTERS):
            raise UsageError(f"options is a number from 2 to {len(LETTERS)} or the name of a column, not {options}")
        self.rule = rule
        self.options = options
        self.guess = no_answer == "guess"

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Compare the letter found with the target's."""
        texts = self._texts(sample)
        letters, target = self._letters(texts), _target_letter(sample)
        if self.rule == "m1eval":
            letter, how = letter_of(output.text, letters, cut=output.finish_reason == "length")
            if letter and texts and (other_letter := named_otherwise(output.text, texts, letter)):
                letter, how = other_letter, "text of an option"
            if letter is None and texts and how == "no letter is given as the answer":
                letter, how = option_given(output.text, texts) or (None, how)
        else:
            letter, how = RULES[self.rule](output.text, letters)
        if letter is None and self.guess and output.text.strip():
            letter = random.Random(f"12345 {sample.id}").choice(letters)
            how = "no letter, so a random one"
        if letter is None:
            return Score(value=0.0, explanation=f"choice {self.rule}: {how}")
        return Score(value=float(letter == target), answer=shorten(letter), explanation=f"choice {self.rule}: {how}")

    def gold(self, sample: Sample) -> str:
        """Correct answer as a sentence that every rule understands; UsageError if the target is not an option."""
        letter = _target_letter(sample, self._letters(self._texts(sample)))
        return f"The answer is ({letter}).\nAnswer: {letter}"

    def _letters(self, texts: list[str]) -> str:
        return LETTERS[: len(texts) if texts else int(self.options)]

    def _texts(self, sample: Sample) -> list[str]:
        """The options' texts where a column lists them."""
        if isinstance(self.options, int):
            return []
        listed: Any = sample.metadata.get(self.options)
        if not isinstance(listed, list | tuple) or not 2 <= len(listed) <= len(LETTERS):
            raise UsageError(
                f"scorer choice: sample {sample.id} has no list of 2 to {len(LETTERS)} options in column"
                f" '{self.options}'"
            )
        return [str(option) for option in listed]


def _target_letter(sample: Sample, letters: str = LETTERS) -> str:
    """The target's letter; UsageError if it is not one of `letters`."""
    letter = re.sub(r"[\s().]", "", sample.target).upper()
    if len(letter) != 1 or letter not in letters:
        shown = shorten(sample.target, 40)
        raise UsageError(
            f"scorer choice: the target of sample {sample.id} is not a letter from A to {letters[-1]}: {shown!r}"
        )
    return letter
