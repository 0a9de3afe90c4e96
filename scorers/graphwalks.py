"""GraphWalks: the F1 of a set of nodes in the last line of the answer.

Source: the dataset card of openai/graphwalks: the last line must hold "Final Answer: [a, b, …]"; F1 is that of the
sets, 0 where they have nothing in common. Two empty sets agree (the card's rule divides 0 by 0).
"""

import re

from m1eval import Output, Sample, Score, Tools

_FORM = re.compile(r"Final Answer:\s*\[(.*)\]")


class Scorer:
    """Compares with the nodes of the column `answer_nodes`."""

    async def score(self, output: Output, sample: Sample, tools: Tools) -> Score:
        """F1 of the nodes in the last line; no such line is no answer."""
        lines = output.text.rstrip("\n").split("\n")
        found = _FORM.search(lines[-1])
        if not found:
            return Score(value=0.0, explanation="graphwalks: no 'Final Answer: […]' in the last line")
        named = {name for part in found[1].split(",") if (name := part.strip().strip("'\""))}
        wanted = {str(node) for node in sample.metadata["answer_nodes"]}
        both = len(named & wanted)
        value = 2 * both / (len(named) + len(wanted)) if named or wanted else 1.0
        metrics = {"precision": both / max(1, len(named)), "recall": both / max(1, len(wanted))}
        explanation = f"graphwalks: {both} of {len(wanted)} nodes, {len(named)} named"
        return Score(value=value, answer=found[0][-80:], explanation=explanation, metrics=metrics)

    def gold(self, sample: Sample) -> str:
        """In the form that was asked for."""
        return f"Final Answer: [{', '.join(map(str, sample.metadata['answer_nodes']))}]"
