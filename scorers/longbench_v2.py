"""The letter of LongBench v2: what follows "The correct answer is", as its authors extract it.

Source: THUDM/LongBench, pred.py, `extract_answer`: asterisks are taken out; the letter in brackets is looked for first,
then the bare letter; no letter is wrong (their `compensated` figure, a quarter for none, is the metric of that name).
"""

import re

from m1eval import Context, Output, Sample, Score

from ._columns import TargetScorer, target_in

_FORMS = (re.compile(r"The correct answer is \(([A-D])\)"), re.compile(r"The correct answer is ([A-D])"))


class Scorer(TargetScorer):
    """Compares the letter with the target."""

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Find the letter by the official rule."""
        text, target = output.text.strip().replace("*", ""), target_in(sample, "longbench_v2").strip()
        letter = next((match[1] for form in _FORMS if (match := form.search(text))), None)
        if letter is None:
            compensated = {"compensated": 0.25} if text else {}
            return Score(value=0.0, explanation="longbench_v2: no 'The correct answer is (…)'", metrics=compensated)
        value = float(letter == target)
        return Score(value=value, answer=letter, explanation="longbench_v2: letter", metrics={"compensated": value})

    def gold(self, sample: Sample) -> str:
        """Correct answer in the form that the prompt asks for."""
        return f"The correct answer is ({target_in(sample, 'longbench_v2').strip()})"
