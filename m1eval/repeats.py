"""What several answers to each sample say beyond their mean: pass@k, the majority's answer, and how steady they are."""

from collections.abc import Iterable

from m1eval import stats
from m1eval.journal import Record


def figures(records: Iterable[Record]) -> dict[str, float]:
    """pass@k, maj@k and G-Pass@k at one half, k the fewest answers of a sample; nothing for one answer or for shares.

    Errored answers are none. maj@k lets answers vote that are written alike; there is none where the reference differs
    between the repeats of a sample, as with options in a new order, since the same letter then means something else.
    """
    targets: dict[str, str] = {}
    voting = True
    samples: dict[str, list[tuple[str | None, float]]] = {}
    for record in records:
        if record.outcome == "errored":
            continue
        if record.value not in (0, 1):
            return {}
        samples.setdefault(record.id, []).append((record.answer, record.score))
        voting = voting and targets.setdefault(record.id, record.target) == record.target
    k = min(map(len, samples.values()), default=0)
    if k < 2:
        return {}
    found = {f"pass@{k}": 0.0} | ({f"maj@{k}": 0.0} if voting else {}) | {f"G-Pass@{k} (half)": 0.0}
    for answers in samples.values():
        n, right = len(answers), sum(value == 1 for _, value in answers)
        found[f"pass@{k}"] += stats.pass_at_k(n, right, k) / len(samples)
        if voting:
            given, values = zip(*answers, strict=True)
            found[f"maj@{k}"] += stats.maj_at_k(given, values, k, draws=200) / len(samples)
        found[f"G-Pass@{k} (half)"] += stats.g_pass_at_k(n, right, k, 0.5) / len(samples)
    return found
