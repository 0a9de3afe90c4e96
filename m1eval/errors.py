"""Exceptions and their exit codes, as a user meets them.

M1evalError            one line on the terminal: what, where, what to do; exit code 2
├── UsageError         a name, key, value, file or plugin that the user can correct
│   ├── NoJudge        a task wants a judge and none was named
│   └── PluginFailed   a runner plugin raised an error where it must not
├── RunnerError        the model or its server cannot be used, or went away; exit code 4
└── Stopped            a run that had to stop half-way; what is finished is kept; exit code 3

Everything that goes wrong with a single sample is data: its outcome is `errored`, with the reason. Any other exception
is a bug of ours: one line, exit code 70, and the traceback with --debug.
"""

INTERNAL = 70
"""Exit code of an internal error, as in BSD's sysexits.h (EX_SOFTWARE)."""


class M1evalError(Exception):
    """Base of all errors that the command line shows as one line."""

    exit_code = 2


class UsageError(M1evalError):
    """The command, a task file or a plugin is wrong; the message says where and what to do."""


class NoJudge(UsageError):
    """A task is graded by a judge, and none was named."""


class PluginFailed(UsageError):
    """A runner plugin raised an error while it was made, started or closed; the message names its file."""


class RunnerError(M1evalError):
    """The model or its server cannot be used at all, so that no sample would succeed."""

    exit_code = 4


class Stopped(M1evalError):
    """A run stopped before its end; the same command continues it."""

    exit_code = 3


class ContextLengthExceeded(RuntimeError):
    """A judge's prompt is longer than its context window."""
