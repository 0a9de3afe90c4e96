"""Scores with their uncertainty. Pure Python: no command waits for numpy."""

from m1eval.stats.calibration import calibration_error, hle_calibration_error
from m1eval.stats.distributions import beta_cdf, student, student_tail
from m1eval.stats.estimate import (
    Estimate,
    Interval,
    Unit,
    against_published,
    average,
    both_targets,
    groups_like_these,
    interval,
    problems_like_these,
    satterthwaite,
    these_problems,
)
from m1eval.stats.multiple import benjamini_hochberg, holm
from m1eval.stats.repeats import Ballot, g_pass_at_k, maj_at_k, pass_at_k

__all__ = [
    "Ballot",
    "Estimate",
    "Interval",
    "Unit",
    "against_published",
    "average",
    "benjamini_hochberg",
    "beta_cdf",
    "both_targets",
    "calibration_error",
    "g_pass_at_k",
    "groups_like_these",
    "hle_calibration_error",
    "holm",
    "interval",
    "maj_at_k",
    "pass_at_k",
    "problems_like_these",
    "satterthwaite",
    "student",
    "student_tail",
    "these_problems",
]
