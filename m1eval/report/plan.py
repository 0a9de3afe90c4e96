"""`--dry-run`: what would be run, how much of it is done, and what it may cost in tokens; nothing is asked."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from m1eval.nouns import Runner
from m1eval.report.words import count
from m1eval.run import Run
from m1eval.tokens import OfRunner

PROBES = 8
"""Prompts that are built to estimate the mean length."""
SHOWN = 2000


def show(runs: Sequence[Run], runner: Runner, *, as_json: bool) -> None:
    """Print the plan of the runs."""
    tokenizer = runs[0].model.tokenizer(runner)
    plans = [_plan(run, tokenizer) for run in runs]
    if as_json:
        print(json.dumps({"plans": plans}, ensure_ascii=False))
        return
    for plan in plans:
        _print(plan)


def _plan(run: Run, tokenizer: OfRunner) -> dict[str, Any]:
    done = run.peek()
    work = run.plan(tokenizer, done)
    probes = [work.samples.sample(n) for n in work.numbers[:: max(1, len(work.numbers) // PROBES)][:PROBES]]
    lengths = [tokenizer.count(sample.messages) for sample in probes]
    owed = sum(len(repeats) for _, repeats in work.owed())
    most = run.task.definition.generation.max_tokens
    return {
        "task": run.task.name,
        "model": run.model.spec,
        "path": str(run.folder),
        "samples": len(work.numbers),
        "repeats": run.repeats,
        "done": work.total - owed,
        "owed": owed,
        "prompt_tokens": round(owed * sum(lengths) / len(lengths)),
        "approximate": tokenizer.approximate,
        "most_output_tokens": owed * most if most else None,
        "config": msgspec.to_builtins(run.config()),
        "first_prompt": probes[0].messages,
    }


def _print(plan: dict[str, Any]) -> None:
    print(f"{plan['task']} · {plan['model']} · {plan['samples']} × {plan['repeats']} · {plan['path']}")
    print(f"  {plan['done']} of {plan['done'] + plan['owed']} already done")
    about = "about " if plan["approximate"] else ""
    most = count(plan["most_output_tokens"]) if plan["most_output_tokens"] else "no limit"
    print(f"  input {about}{count(plan['prompt_tokens'])} tokens, output at most {most} tokens")
    print("  config")
    for key, value in plan["config"].items():
        if key != "task":
            print(f"    {key}: {json.dumps(value, ensure_ascii=False)}")
    for key, value in plan["config"]["task"].items():
        print(f"    task.{key}: {json.dumps(value, ensure_ascii=False)}")
    print("  first prompt")
    for message in plan["first_prompt"]:
        text = str(message.get("content"))
        if len(text) > SHOWN:
            text = f"{text[: SHOWN // 2]}\n… {len(text) - SHOWN:,} characters …\n{text[-SHOWN // 2 :]}"
        print(f"    [{message.get('role')}]")
        print("\n".join(f"    {line}" for line in text.splitlines()))
