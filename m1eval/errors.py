"""What can go wrong, as a user meets it.

M1evalError            one line on the terminal: what, where, what to do; exit code 2
├── UsageError         a name, key, value or file that the user can mend
│   └── NoJudge        a task wants a judge and none was named
├── RunnerError        the model cannot be reached or loaded at all
└── Stopped            a run that had to stop half-way; what is finished is kept; exit code 3

Everything that goes wrong with a single sample is data: its outcome is `errored`, with the reason. Any other exception
is a bug of ours and keeps its traceback.
"""


class M1evalError(Exception):
    """Base of all errors that the command line shows as one line."""

    exit_code = 2


class UsageError(M1evalError):
    """The command, a task file or a plugin is wrong; the message says where and what to do."""


class NoJudge(UsageError):
    """A task is graded by a judge, and none was named."""


class RunnerError(M1evalError):
    """The model or its server cannot be used at all, so that no sample would succeed."""


class Stopped(M1evalError):
    """A run stopped before its end; the same command continues it."""

    exit_code = 3
