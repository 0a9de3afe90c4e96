"""Metrics of a run from its judged answers: rates of the verdicts, means by a column, and calibration."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from m1eval.stats import calibration_error, hle_calibration_error

MIN_CALIBRATED = 200
"""Answers from which a calibration error is known: there are two bins of 100 then, and one says nothing but whether
confidence is right on average."""


def judged_rates(
    records: Iterable[Any],
    verdicts: Iterable[str],
    *,
    attempted: Mapping[str, str] | None,
    by: str | None,
    best_repeat: bool,
) -> dict[str, float | None]:
    """The metrics by name, in one pass over the records.

    Rates are means over samples of the mean over their repeats, as the score is. `attempted` names the verdicts
    `right` and `none`; a record without a verdict has the latter. `by`: a column by whose values the scores are split,
    where `best_repeat` makes the best of a sample's repeats count instead of their mean.
    """
    shares: dict[str, dict[str, list[float]]] = {name: {} for name in verdicts}
    groups: dict[str, dict[str, list[float]]] = {}
    stated: list[tuple[str, int, float, float]] = []
    for number, record in enumerate(records):
        sample = str(getattr(record, "id", f"{number:09}"))
        shares_of_record = {name: record.metrics.get(f"verdict {name}", 0.0) for name in shares}
        if attempted and not any(shares_of_record.values()):
            shares_of_record[attempted["none"]] = 1.0
        for name, share in shares_of_record.items():
            shares[name].setdefault(sample, []).append(share)
        if by:
            groups.setdefault(str(record.metadata.get(by, "")), {}).setdefault(sample, []).append(record.value)
        if "confidence" in record.metrics:
            stated.append((sample, getattr(record, "repeat", 0), record.metrics["confidence"], record.value))
    metrics: dict[str, float | None] = {}
    rates = {
        f"{name} rate": _mean([_mean(values) for values in shares[name].values()]) for name in shares if shares[name]
    }
    if rates and attempted:
        metrics |= _attempt_scores(rates, attempted)
    if groups:
        average = max if best_repeat else _mean
        means = {name: _mean([average(values) for values in group.values()]) for name, group in sorted(groups.items())}
        metrics |= means | {f"mean of {by}": _mean(list(means.values()))}
    return {**rates, **metrics, **_calibration(stated)}


def _attempt_scores(rates: Mapping[str, float], names: Mapping[str, str]) -> dict[str, float]:
    """Correct given attempted, and the F1 of that and of correct, as simple-evals has them for SimpleQA."""
    right, attempted = rates[f"{names['right']} rate"], 1 - rates[f"{names['none']} rate"]
    precision = right / attempted if attempted > 0 else 0.0
    f1 = 2 * precision * right / (precision + right) if precision + right else 0.0
    return {"correct given attempted": precision, "F1": f1}


def _calibration(stated: Sequence[tuple[str, int, float, float]]) -> dict[str, float | None]:
    """Calibration errors of (sample, repeat, confidence, score), None below MIN_CALIBRATED; empty for no confidence."""
    if not stated:
        return {}
    pairs = [values[2:] for values in sorted(stated)]  # their order decides between equal confidences
    errors = {"calibration error": calibration_error, "calibration error by HLE's code": hle_calibration_error}
    is_known = len(pairs) >= MIN_CALIBRATED
    return {name: error(*zip(*pairs, strict=True)) if is_known else None for name, error in errors.items()}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
