"""m1eval: evaluate language models on long-context and reasoning benchmarks, next to the published scores."""

import os
import sys

# `python -m m1eval` as the command m1eval: files of the current folder (json.py, typing.py) must not stand in for
# Python's own. While a module is located for -m, that is what argv says.
if sys.argv[:1] == ["-m"]:
    _here = os.getcwd()  # noqa: PTH109 - pathlib imports what may be one of them
    if sys.path[:1] in ([""], [_here]) and not __file__.startswith(_here + os.sep):
        del sys.path[0]

if sys.argv[:1] == ["-m"] or "".join(sys.argv[:1]).endswith("m1eval"):
    from m1eval import early as _early  # noqa: F401 - from here on Ctrl-C ends the command silently

from m1eval import credentials as _credentials  # noqa: F401 - finds the secrets of the environment
from m1eval.api import (
    compare,
    evaluate,
    evaluate_async,
    grade,
    grade_async,
    load_task,
    read,
    read_results,
)
from m1eval.discarded import discard
from m1eval.errors import M1evalError, RunnerError, Stopped, UsageError
from m1eval.model.thinking import Split, split_thinking
from m1eval.plugins import available, load
from m1eval.progress import NullProgress, Progress
from m1eval.protocols import Context, Episode, Judges, Runner, Scorer, Tokenizer, Workers
from m1eval.results import Comparisons, Results
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
from m1eval.version import __version__

__all__ = [
    "Comparisons",
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
    "Results",
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
    "compare",
    "discard",
    "evaluate",
    "evaluate_async",
    "grade",
    "grade_async",
    "load",
    "load_task",
    "read",
    "read_results",
    "split_thinking",
]


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
