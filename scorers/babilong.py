"""BABILong: the answer's first sentence must name the right label and no others.

Source: booydar/babilong, babilong/metrics.py, `compare_answers` and its labels: letter case does not count, labels that
occur in the question are left out, several targets (qa8) must all be named.
"""

from m1eval import Context, Output, Sample, Score, UsageError
from m1eval.text import shorten

from ._columns import TargetScorer, target_in, text_in

PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
LABELS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("qa1", "qa2", "qa3", "qa4", "qa11", "qa12", "qa13"), PLACES),
    **dict.fromkeys(("qa6", "qa9", "qa17", "qa18"), ("no", "yes")),
    "qa5": ("bill", "fred", "jeff", "mary", "apple", "football", "milk"),
    "qa7": ("none", "one", "three", "two"),
    "qa8": ("apple", "football", "milk", "nothing"),
    "qa10": ("maybe", "no", "yes"),
    "qa14": ("bedroom", "cinema", "kitchen", "office", "park", "school"),
    "qa15": ("cat", "mouse", "sheep", "wolf"),
    "qa16": ("gray", "green", "white", "yellow"),
    "qa19": ("e,e", "e,n", "e,s", "n,e", "n,n", "n,w", "s,e", "s,s", "s,w", "w,n", "w,s", "w,w"),
    "qa20": ("bedroom", "bored", "garden", "hungry", "kitchen", "thirsty", "tired"),
}


class Scorer(TargetScorer):
    """Compares the labels in the answer with the target; the sample has `subtask` and `question`."""

    supports_majority_vote = False  # the whole output is the answer, and wordings differ

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Compare by the official rule; an empty answer counts as no answer."""
        subtask = text_in(sample, "subtask", "babilong")
        question = text_in(sample, "question", "babilong").lower()
        if subtask not in LABELS:
            raise UsageError(f"scorer babilong: sample {sample.id}: no subtask '{subtask}'")
        target = self.gold(sample).lower()
        text = output.text.lower().split(".")[0].split("<context>")[0].split("<example>")[0]
        if not output.text.strip():
            return Score(value=0.0, explanation="babilong: empty answer")
        named = {label for label in LABELS[subtask] if label in text and label not in question}
        expected = target.split(",") if "," in target and len(target) > 3 else [target]
        right = set(expected) == named and len(expected) == len(named)
        shown = ", ".join(sorted(named)) or "none"
        return Score(value=float(right), answer=shorten(output.text), explanation=f"babilong: labels named: {shown}")

    def gold(self, sample: Sample) -> str:
        """The label itself."""
        return target_in(sample, "babilong")
