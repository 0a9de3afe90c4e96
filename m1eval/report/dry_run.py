"""`--dry-run`: what would be run, how much of it is done, and what it may cost in tokens; nothing is asked."""

import json
from collections.abc import Sequence
from typing import Any

from m1eval import terminal
from m1eval.model.runner_tokenizer import RunnerTokenizer
from m1eval.protocols import Runner
from m1eval.report.words import format_count
from m1eval.run.run import Run

PROBES = 8
"""Prompts that are built to estimate the mean length."""
SHOWN = 2000


def show(runs: Sequence[Run], runner: Runner, *, redo: bool, as_json: bool) -> None:
    """Print the plan of the runs."""
    tokenizer = runs[0].model.tokenizer(runner)
    plans = [_plan(run, tokenizer, redo=redo) for run in runs]
    if as_json:
        terminal.json({"plans": plans})
        return
    for plan in plans:
        _print(plan)


def _plan(run: Run, tokenizer: RunnerTokenizer, *, redo: bool) -> dict[str, Any]:
    done = run.read_state(redo=redo)
    work = run.plan(tokenizer, done)
    probes = [work.samples.sample(n) for n in work.numbers[:: max(1, len(work.numbers) // PROBES)][:PROBES]]
    lengths = [tokenizer.count(sample.messages) for sample in probes]
    owed = sum(len(repeats) for _, repeats in work.pending())
    most = run.task.definition.generation.max_tokens
    return {
        "task": run.task.name,
        "model": run.model.spec,
        "path": str(run.folder),
        "protocol": run.task.protocol,
        "protocols": ["default", *run.task.definition.protocols],
        "samples": len(work.numbers),
        "repeats": run.repeats,
        "done": work.total - owed,
        "owed": owed,
        "prompt_tokens": round(owed * sum(lengths) / len(lengths)),
        "approximate": tokenizer.approximate,
        "most_output_tokens": None if most is None else owed * most,
        "config": run.shown_config(),
        "first_prompt": probes[0].messages,
    }


def _print(plan: dict[str, Any]) -> None:
    terminal.line(f"{plan['task']} · {plan['model']} · {plan['samples']} × {plan['repeats']} · {plan['path']}")
    terminal.line(f"  {plan['done']} of {plan['done'] + plan['owed']} already done")
    others = [name for name in plan["protocols"] if name != plan["protocol"]]
    terminal.line(f"  protocol {plan['protocol']}" + (f"; there is also {', '.join(others)}" if others else ""))
    about = "about " if plan["approximate"] else ""
    most = plan["most_output_tokens"]
    output = "without a limit" if most is None else f"at most {format_count(most)} tokens"
    terminal.line(f"  input {about}{format_count(plan['prompt_tokens'])} tokens, output {output}")
    terminal.line("  config")
    for key, value in plan["config"].items():
        if key != "task":
            terminal.line(f"    {key}: {json.dumps(value, ensure_ascii=False)}")
    for key, value in plan["config"]["task"].items():
        terminal.line(f"    task.{key}: {json.dumps(value, ensure_ascii=False)}")
    terminal.line("  first prompt")
    for message in plan["first_prompt"]:
        text = str(message.get("content"))
        if len(text) > SHOWN:
            text = f"{text[: SHOWN // 2]}\n… {len(text) - SHOWN:,} characters …\n{text[-SHOWN // 2 :]}"
        terminal.line(f"    [{message.get('role')}]")
        terminal.block("\n".join(f"    {line}" for line in text.split("\n")))
