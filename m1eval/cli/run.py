"""`m1eval run`: parses the options and starts the runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from m1eval import terminal
from m1eval.cli import run_options
from m1eval.cli.options import Grouped, examples, parse_pairs, runner_options

if TYPE_CHECKING:
    from m1eval.run.options import RunOptions

EXIT_CODES = """\b
Exit codes:
  0    finished
  1    a score is below --fail-under
  2    an option, a task or another file is wrong
  3    finished with errored samples, stopped by a limit, or nothing was scored
  4    the model or its server cannot be used
  70   internal error
  129  interrupted by SIGHUP
  130  interrupted by Ctrl-C
  143  interrupted by SIGTERM
After 3, 4 and an interruption the same command continues."""
EXAMPLES = examples(
    "m1eval run --tasks aime --model http:Qwen/Qwen3-8B --base-url http://localhost:8000/v1 --repeats 4",
    "m1eval run --tasks mrcr_synth --lengths 8k,128k --model local:smollm2",
    "m1eval run --tasks 'aime*' --tasks tag:long-context --model http:NAME --limit 20",
    "m1eval run --tasks ./mine.yaml --model echo:gold --limit 5",
)


@click.command(cls=Grouped, epilog=f"{EXIT_CODES}\n\n{EXAMPLES}")
@run_options.tasks_and_model
@run_options.task_settings
@run_options.size_and_limits
@run_options.generation_and_grading
@run_options.execution_and_results
@run_options.output
def run(tasks: Sequence[str], model: str, **params: Any) -> int:
    """Run tasks on a model. The same command again continues where it stopped.

    TOKENS is a number such as 4096, 32_768, 32k, 1.5k or 1m, with k = 1,024 and m = 1,048,576.
    """
    from m1eval.run.configure import configure

    options = _options(params)
    configured = configure(tasks, model, options, with_judges=not params["dry_run"])
    for line in configured.notes:
        terminal.line(f"note: {line}", err=True)
    if params["dry_run"]:
        from m1eval.report.dry_run import show
        from m1eval.run.planning import preview

        tokenizer = configured.model.tokenizer(configured.model.runner())
        show([preview(run, tokenizer, redo=options.redo) for run in configured.runs], as_json=params["as_json"])
        return 0
    from m1eval.cli.execute import execute
    from m1eval.report.live import Terminal

    display = Terminal("none" if params["as_json"] and not params["display"] else params["display"])
    evaluation = configured.evaluation(display)
    try:
        return execute(evaluation, as_json=params["as_json"], fail_under=params["fail_under"])
    finally:
        if options.redo and any(run.tally.finished and any(run.plan.pending()) for run in evaluation.planned):
            terminal.line("note: with --redo the same command starts over; to continue, leave it out", err=True)


def _options(params: dict[str, Any]) -> "RunOptions":
    from m1eval.run.options import RunOptions

    parse_pairs("--set", params["overrides"])
    names = {"judge": "judges", "set": "overrides"}
    values = {name: params[names.get(name, name)] for name in RunOptions.__struct_fields__ if name != "option"}
    return RunOptions(option=runner_options(params["options"]), **values)
