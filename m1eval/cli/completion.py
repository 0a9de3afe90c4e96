"""Completion of names on the command line, from file names alone: no task file is read."""

import click
from click.shell_completion import CompletionItem, get_completion_class

from m1eval import plugins, terminal

VARIABLE = "_M1EVAL_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
INSTALL = """\b
Examples:
  bash  add to ~/.bashrc:                     eval "$(m1eval completion bash)"
  zsh   add to ~/.zshrc, after compinit:      eval "$(m1eval completion zsh)"
  fish  run once:  m1eval completion fish > ~/.config/fish/completions/m1eval.fish"""


@click.command(epilog=INSTALL)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the completion script of a shell."""
    shell_class = get_completion_class(shell)
    if shell_class is None:  # pragma: no cover - click has all three
        raise click.UsageError(f"no completion for {shell}")
    shell_completion = shell_class(ctx.find_root().command, {}, "m1eval", VARIABLE)
    terminal.block((shell_completion.source_template % shell_completion.source_vars()).strip())
    return 0


def tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Task names; of several with commas between, the last one."""
    before, comma, last = incomplete.rpartition(",")
    return [
        CompletionItem(f"{before}{comma}{name}")
        for name in plugins.available("tasks", "**/*.yaml")
        if name.startswith(last)
    ]


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of runners with their colon."""
    return [CompletionItem(f"{name}:") for name in plugins.available("runners") if name.startswith(incomplete)]


def baselines(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of published benchmarks."""
    names = plugins.available(plugins.BASELINES, "*.yaml")
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of profiles, and auto."""
    names = ["auto", *plugins.available("runners/profiles", "*.yaml")]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
