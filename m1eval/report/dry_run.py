"""Output of `--dry-run`: the configuration, progress and token counts of each run; no request is sent."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from m1eval import terminal
from m1eval.text import format_count, plural

SHOWN = 2000
"""Characters of a message that are printed."""


def show(previews: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print the previews of runs, as text or JSON."""
    if as_json:
        terminal.json({"plans": previews})
        return
    for preview in previews:
        _print(preview)


def _print(plan: Mapping[str, Any]) -> None:
    size = f"{plural(plan['samples'], 'sample')} × {plural(plan['repeats'], 'repeat')}"
    terminal.line(f"{plan['task']} · {plan['model']} · {size} · {plan['path']}")
    terminal.line(f"  {plan['done']:,} of {plural(plan['done'] + plan['owed'], 'answer')} done")
    if plan["note"]:
        terminal.line(f"  without --dry-run this is refused: {plan['note']}")
    others = [name for name in plan["protocols"] if name != plan["protocol"]]
    terminal.line(f"  protocol {plan['protocol']}" + (f" (others: {', '.join(others)})" if others else ""))
    about = "about " if plan["approximate"] else ""
    max_output = plan["most_output_tokens"]
    output = "unlimited" if max_output is None else f"at most {format_count(max_output)} tokens"
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
