"""The command line: `m1eval run` is the default command; errors become one line and an exit code."""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from m1eval import early, secrets, terminal, tracebacks
from m1eval.cli import completion, results, run, score, show, tasks
from m1eval.cli.options import examples
from m1eval.credentials import register_command
from m1eval.errors import INTERNAL, M1evalError, UsageError
from m1eval.option_names import command_line
from m1eval.version import __version__

CONTEXT = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "M1EVAL", "max_content_width": 110}

_UNREADABLE = re.compile(r"\S{400,}")


class _DefaultRun(click.Group):
    """A group whose command is `run` when none is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they were added, for the help."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        group_options = {"-h", "--help", "--version", "--debug"}
        first = next((a for a in args if a != "--debug"), None)
        if first is not None and first.startswith("-") and first not in group_options:
            args.insert(args.index(first), "run")
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; UsageError, with the remedy, if it names a task."""
        if (word := args[0]) not in self.commands and not ctx.resilient_parsing:
            from m1eval import plugins

            if word.endswith((".yaml", ".yml")) or word in plugins.available("tasks", "**/*.yaml"):
                raise UsageError(f"no command '{word}'; did you mean m1eval run --tasks {shlex.quote(word)}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C raises Abort directly, as click would print an empty line first."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None


@click.group(
    cls=_DefaultRun,
    context_settings=CONTEXT,
    epilog=examples(
        "m1eval run --tasks demo --model local:smollm2 --limit 4",
        "m1eval run --tasks aime,mrcr --model http:NAME --base-url http://localhost:8000/v1",
        "m1eval tasks",
    ),
)
@click.version_option(__version__, prog_name="m1eval")
@click.option("--debug", is_flag=True, help="Show the traceback of an error; can be given anywhere in a command.")
def cli(debug: bool) -> None:
    """Evaluate language models on long-context and reasoning benchmarks, next to published scores.

    Without a command, options are those of `m1eval run`.
    """


for _command in (
    *(run.run, tasks.tasks, tasks.check, score.score, show.show, results.compare, results.lengths),
    *(results.baselines, results.bench, tasks.schema, completion.completion),
):
    cli.add_command(_command)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; an error of ours is one line."""
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    secrets.clear()
    register_command(words)
    with terminal.guarded(), command_line(), tracebacks.printed(debug=debug):
        code = _run([word for word in words if word != "--debug"], debug=debug)
        if (lost := terminal.lost_output()) and not lost.quiet:
            terminal.line(f"Error: standard output cannot be written: {lost}; results are kept in the folder", err=True)
            code = code or 2
    sys.exit(code or 0)


def _run(words: list[str], *, debug: bool) -> int:
    """Run the command line and return its exit code."""
    guarded = False
    try:
        guarded = early.watch()
        code: Any = cli.main(words, prog_name="m1eval", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        exec("")  # Python forgets a Ctrl-C that came during an exec (of a dataclass, say), or would end by it again
        terminal.line(early.MESSAGE, err=True)
        return early.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - everything ends in one line, a bug of ours too
        if debug:
            _traceback()
        text, code = _describe_error(error)
        if not debug:
            terminal.line(f"Error: {_shorten(text)}", err=True)
    finally:
        if guarded:
            early.guard(again=True)
    return int(code or 0)


def _describe_error(error: Exception) -> tuple[str, int]:
    """The one-line message of an error and its exit code."""
    if isinstance(error, M1evalError):
        return str(error), error.exit_code
    if isinstance(error, click.ClickException):
        return _click_message(error), error.exit_code
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}", 2
    description = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"internal error: {description}; run again with --debug for the traceback and please report it", INTERNAL


def _shorten(text: str) -> str:
    """A message without the middle of what is too long to be read: a value may be a whole file by mistake."""
    text = secrets.redact(text)  # before anything is cut: half a secret would not be known as one
    return _UNREADABLE.sub(lambda match: f"{match[0][:200]}…{match[0][-60:]}", text)


def _click_message(error: click.ClickException) -> str:
    """The one-line message of a wrong command line, with a pointer to --help."""
    if isinstance(error, NoArgsIsHelpError):
        return "no command given; see m1eval --help"
    text = " ".join(error.format_message().split()).rstrip(".")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{text}{'' if text.endswith('?') else ';'} see {error.ctx.command_path} --help"
    return text


def _traceback() -> None:
    import traceback

    terminal.block(traceback.format_exc().rstrip("\n"), err=True)
