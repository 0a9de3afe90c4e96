"""m1eval: evaluate language models on long-context and reasoning benchmarks, beside the published figures."""

import os
import sys

# `python -m m1eval` as the command m1eval: files of the current folder (json.py, typing.py) must not stand in for
# Python's own. While a module is located for -m, that is what argv says.
if sys.argv[:1] == ["-m"]:
    _here = os.getcwd()  # noqa: PTH109 - pathlib imports what may be one of them
    if sys.path[:1] in ([""], [_here]) and not __file__.startswith(_here + os.sep):
        del sys.path[0]

if sys.argv[:1] == ["-m"] or "".join(sys.argv[:1]).endswith("m1eval"):
    from m1eval import early

    early.guard()

from typing import TYPE_CHECKING

from m1eval.errors import M1evalError, RunnerError, Stopped, UsageError
from m1eval.model.thinking import Split, split_thinking
from m1eval.plugins import available, load
from m1eval.progress import NullProgress, Progress
from m1eval.protocols import Context, Episode, Judges, Runner, Scorer, Tokenizer, Workers
from m1eval.types import (
    JudgeReply,
    LazySample,
    Likelihood,
    Message,
    Outcome,
    Output,
    Request,
    Sample,
    Sampling,
    Score,
    Timing,
    Usage,
    classify,
)


def read(pattern: str = "results/**") -> "pandas.DataFrame":
    """All answers of the runs in folders that match, one row a (sample, repeat); see `m1eval.analysis.frame.read`."""
    from m1eval.analysis import frame

    return frame.read(pattern)


def read_results(pattern: str = "results/**") -> "pandas.DataFrame":
    """All samples of the runs in folders that match, one row each; see `m1eval.analysis.frame.read_results`."""
    from m1eval.analysis import frame

    return frame.read_results(pattern)


if TYPE_CHECKING:
    import pandas

__version__ = "0.2.0.dev0"

__all__ = [
    "Context",
    "Episode",
    "JudgeReply",
    "Judges",
    "LazySample",
    "Likelihood",
    "M1evalError",
    "Message",
    "NullProgress",
    "Outcome",
    "Output",
    "Progress",
    "Request",
    "Runner",
    "RunnerError",
    "Sample",
    "Sampling",
    "Score",
    "Scorer",
    "Split",
    "Stopped",
    "Timing",
    "Tokenizer",
    "Usage",
    "UsageError",
    "Workers",
    "__version__",
    "available",
    "classify",
    "load",
    "read",
    "read_results",
    "split_thinking",
]
