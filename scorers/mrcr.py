"""OpenAI-MRCR's grade: the right key first, then the similarity of the rest to the target.

Source: the grading function in the dataset card of openai/mrcr. The response must start with the random string of the
question, or the grade is 0; the string is taken off both texts, and the grade is difflib's ratio of response to answer,
in this order (ratio is not symmetric) and with difflib's "autojunk" on. Nothing is stripped. Autojunk makes the measure
harsh: in a text of 200 characters or more, each character that makes up more than 1 % of it starts no match, so one
extra space after the key can turn 1 into 0. Other settings would give other figures than the published ones.
"""

from difflib import SequenceMatcher

from m1eval import Context, Output, Sample, Score
from m1eval.text import shorten

from ._columns import TargetScorer, target_in, text_in

KEY = "random_string_to_prepend"
MAX_IN_PLACE = 8_000_000
"""Characters times characters that are compared in place: two texts of 2,500 take 1 ms, the worst of this size 1 s."""


class Scorer(TargetScorer):
    """OpenAI-MRCR's own rule; the sample's metadata has the key as `random_string_to_prepend`.

    `timeout`: seconds for one comparison. difflib is quadratic at best, so a long pair is compared in a worker process
    and given up after that time. The reference is the task's and short enough, so it is the response that takes so
    long: it gets 0, and the metric `at_most` has the bound that is known then, 2 · shorter / (both lengths).
    """

    supports_majority_vote = False  # the whole output is the answer, and wordings differ

    def __init__(self, *, timeout: float = 60.0) -> None:
        self.timeout = timeout

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Grade the answer as it is, without stripping anything."""
        response, key, target = output.text, text_in(sample, KEY, "mrcr"), self.gold(sample)
        if not response:
            return Score(value=0.0, explanation="mrcr: empty response", metrics={"key": 0.0})
        shown = shorten(response)
        if not response.startswith(key):
            return Score(value=0.0, answer=shown, explanation=f"mrcr: does not start with {key}", metrics={"key": 0.0})
        texts = response.removeprefix(key), target.removeprefix(key)
        if len(texts[0]) * len(texts[1]) <= MAX_IN_PLACE:
            value = ratio(*texts)
        else:
            try:
                value = await context.workers.run(ratio, *texts, timeout=self.timeout)
            except TimeoutError:
                return self._given_up(shown, *texts)
        return Score(
            value=value,
            answer=shown,
            explanation="mrcr: starts with the key; difflib ratio of the rest to the reference",
            metrics={"key": 1.0},
        )

    def _given_up(self, shown: str, response: str, answer: str) -> Score:
        bound = 2 * min(len(response), len(answer)) / (len(response) + len(answer))
        explanation = f"mrcr: no difflib ratio after {self.timeout:g} s; it is at most {bound:.4f}, and counts as 0"
        return Score(value=0.0, answer=shown, explanation=explanation, metrics={"key": 1.0, "at_most": bound})

    def gold(self, sample: Sample) -> str:
        """The reference itself, key included."""
        return target_in(sample, "mrcr")


def ratio(response: str, answer: str) -> float:
    """The similarity of two texts in [0, 1] as difflib's `SequenceMatcher` has it, autojunk on."""
    return float(SequenceMatcher(None, response, answer).ratio())
