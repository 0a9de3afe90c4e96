"""The table of differences from published scores, and its notes."""

from collections.abc import Mapping, Sequence

from m1eval.analysis.published import BaselineComparison
from m1eval.text import format_interval, format_score

TARGETS = {"these problems": "with these problems fixed", "problems like these": "over problems"}
"""The population that an interval covers, by `BaselineComparison.target`."""


def table_cells(
    comparisons: Sequence[BaselineComparison], names: Mapping[str, str]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of comparisons."""
    head = ["task", "published model", "published", "here", "difference", "95% interval", "p", "differs in"]
    rows = []
    for each in comparisons:
        p = each.p_adjusted if each.p_adjusted is not None else each.p
        rows.append(
            [
                each.task,
                names.get(each.model, each.model),
                f"{'' if each.same_data else '~'}{each.published:.3f}",
                format_score(each.score),
                "–" if each.difference is None else f"{each.difference:+.3f}",
                format_interval(each.interval, signed=True),
                "–" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001",
                ", ".join(each.differs_in) if each.same_data else "other data of the same form",
            ]
        )
    return head, rows


def notes(comparisons: Sequence[BaselineComparison]) -> list[str]:
    """Notes that hold for all comparisons."""
    tested = [each for each in comparisons if each.p is not None]
    lines = []
    if tested:
        several = f", adjusted for {len(tested)} comparisons (Benjamini-Hochberg)" if len(tested) > 1 else ""
        targets = " or ".join(dict.fromkeys(TARGETS[each.target or ""] for each in tested))
        lines.append(
            f"difference: score here minus published score, with its 95% interval {targets}; p: two-sided test of no "
            f"difference{several}"
        )
        if unknown := [each.model for each in tested if each.repeats is None]:
            some = "the" if len(unknown) == len(tested) else "some"
            lines.append(f"{some} published scores do not state their repeats: one answer per problem is assumed")
    return lines
