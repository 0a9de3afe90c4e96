"""GraphWalks: the F1 of a set of nodes in the last line of the answer.

Source: the dataset card of openai/graphwalks: the last line must hold "Final Answer: [a, b, …]"; F1 is that of the
sets, 0 where they have nothing in common. Two empty sets agree (the card's rule divides 0 by 0).
"""

import re

from m1eval import Output, Sample, Score, Tools

_FORM = re.compile(r"Final Answer:\s*+\[")


class Scorer:
    """Compares with the nodes of the column `answer_nodes`."""

    async def score(self, output: Output, sample: Sample, tools: Tools) -> Score:
        """F1 of the nodes in the last line; no such line is no answer."""
        line = output.text.rstrip("\n").rpartition("\n")[2]
        found, end = _FORM.search(line), line.rfind("]")
        if not found or end < found.end():  # a later beginning is no nearer to the bracket
            return Score(value=0.0, explanation="graphwalks: no 'Final Answer: […]' in the last line")
        named = {name for part in line[found.end() : end].split(",") if (name := part.strip().strip("'\""))}
        wanted = {str(node) for node in sample.metadata["answer_nodes"]}
        both = len(named & wanted)
        value = 2 * both / (len(named) + len(wanted)) if named or wanted else 1.0
        metrics = {"precision": both / max(1, len(named)), "recall": both / max(1, len(wanted))}
        explanation = f"graphwalks: {both} of {len(wanted)} nodes, {len(named)} named"
        return Score(value=value, answer=line[found.start() : end + 1][-80:], explanation=explanation, metrics=metrics)

    def gold(self, sample: Sample) -> str:
        """In the form that was asked for."""
        return f"Final Answer: [{', '.join(map(str, sample.metadata['answer_nodes']))}]"
