"""The table at the end: what came out, how sure that is, and what was published."""

from collections.abc import Sequence

from m1eval import baselines, terminal
from m1eval.report import by_length, figures
from m1eval.report.against import against
from m1eval.report.against import lines as compared
from m1eval.report.markdown import markdown
from m1eval.report.words import count, score, span
from m1eval.run import Run

BESIDE = {
    "minimax-m1-80k": "MiniMax-M1-80k",
    "deepseek-r1-0528": "DeepSeek-R1-0528",
    "qwen3-235b-a22b:thinking": "Qwen3-235B",
}
"""The published models that stand beside every score."""


def show(runs: Sequence[Run]) -> None:
    """Print the table and its notes on standard output: aligned on a terminal, Markdown when piped."""
    head, rows = cells(runs)
    if terminal.is_terminal():
        _aligned(head, rows)
    else:
        terminal.block(markdown(head, rows))
    by_length.after_runs(runs)
    for note in notes(runs):
        terminal.line(note)


def cells(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Header and rows as text; published models that no task has a figure of are left out."""
    published = [_published(run) for run in runs]
    models = [model for model in BESIDE if any(model in scores for scores in published)]
    errors = any(run.tally.outcomes["errored"] for run in runs)
    head = ["task", "score", "n", "k", "tokens/sample", "truncated", *(["errored"] if errors else []), "time"]
    costs = any(run.cost for run in runs)
    head += ["cost"] if costs else []
    rows = []
    for run, scores in zip(runs, published, strict=True):
        tally = run.tally
        each = tally.usage.output / tally.finished if tally.finished else 0
        cut = f"{100 * tally.outcomes['truncated'] / tally.scored:.1f}%" if tally.scored else "–"
        row = [run.task.name, score(tally.score, tally.stderr), _size(run), str(run.repeats), count(each), cut]
        row += [str(tally.outcomes["errored"])] if errors else []
        row += [span(run.seconds_total), *([f"${run.cost:.2f}" if run.cost else "–"] if costs else [])]
        rows.append([*row, *(scores.get(model, "–") for model in models)])
    return [*head, *(BESIDE[model] for model in models)], rows


def notes(runs: Sequence[Run]) -> list[str]:
    """One line for each thing that a reader of the table must know."""
    lines = []
    for run in runs:
        tally, name = run.tally, run.task.name
        for outcome, words in (
            ("truncated", "hit the token limit before an answer and count as wrong"),
            ("unparsed", "had no answer in them and count as wrong"),
            ("refused_context", "were refused, their prompt is longer than the window, and count as wrong"),
        ):
            if number := tally.outcomes[outcome]:  # type: ignore[index]
                lines.append(f"{name}: {number} of {tally.scored} outputs {words}")
        if number := tally.outcomes["errored"]:
            as_zero = f"counted as 0 the score is {score(tally.score_with_errors)}"
            lines.append(f"{name}: {number} errored and are left out ({as_zero}); the same command tries them again")
            lines += [f"{name}: errored {text}" for text in run.work.done.reasons.lines()] if run.work else []
        if run.work and (number := run.work.skipped):
            lines.append(f"{name}: {number} samples are left out, their prompt is longer than the window")
        if run.work and (number := len(run.work.overlength.cut)):
            lines.append(f"{name}: {number} prompts were longer than the window and lost their middle")
        if tally.usage.cached:
            share, read = tally.usage.cached / max(1, tally.usage.prompt), count(tally.usage.prompt)
            lines.append(
                f"{name}: {count(tally.usage.cached)} of {read} prompt tokens ({share:.0%}) were not read anew"
            )
        if run.partial:
            lines.append(f"{name}: partial, {_size(run)} samples; not comparable with a whole run")
        if found := run.summary().get("adaptive"):
            wanted = f", wanted {found['until_se']:g}" if found["until_se"] else ""
            lines.append(
                f"{name}: adaptive, {found['answers_least']} to {found['answers_most']} answers a sample; "
                f"the error of sampling answers is {found['answer_stderr']:.4f}{wanted}"
            )
        lines += [f"{name}: {text}" for text in figures.lines(run.figures, run.repeat_figures)]
        lines += [f"{name}: {note}" for note in dict.fromkeys(run.notes)]
    lines += _sources(runs)
    lines += compared(against(runs, list(BESIDE)), BESIDE)
    lines += [f"{run.task.name}: {run.folder}" for run in runs]
    return lines


def _beside(published: baselines.Baseline) -> list[baselines.Figure]:
    return [figure for figure in published.figures if figure.model in BESIDE]


def _published(run: Run) -> dict[str, str]:
    """The figures beside a run's score in [0, 1]; with ~ if they are on other data of the same form."""
    if not run.task.baselines:
        return {}
    key, same = run.task.baselines
    return {figure.model: f"{'' if same else '~'}{figure.score / 100:.3f}" for figure in _beside(baselines.read(key))}


def _sources(runs: Sequence[Run]) -> list[str]:
    """How the published figures were made, a line each benchmark."""
    lines = []
    for key, same in dict.fromkeys(run.task.baselines for run in runs if run.task.baselines):
        published = baselines.read(key)
        made = "; ".join(f"{BESIDE[figure.model]} {how(figure.protocol)}" for figure in _beside(published))
        title = published.title
        if same:
            lines.append(f"published, {title}: {made} (results/baselines/{key}.yaml)")
        else:
            lines.append(f"~ {title}: other data of the same form, not to be compared one to one ({made})")
    return lines


def how(protocol: baselines.Protocol) -> str:
    """A protocol in a few words; what is not stated is not there."""
    words = [
        f"avg@{protocol.repeats}" if protocol.repeats else "",
        f"T={protocol.temperature}" if protocol.temperature is not None else "",
        f"thinking {protocol.thinking}" if protocol.thinking else "",
        protocol.subset or "",
    ]
    return " ".join(filter(None, words)) or "protocol not stated"


def _size(run: Run) -> str:
    assert run.work is not None
    chosen = len(run.work.numbers) - run.work.skipped
    return f"{chosen} of {len(run.work.samples)}" if run.partial or run.work.skipped else str(chosen)


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(terminal.styled(name), justify="left" if i == 0 else "right", no_wrap=i < 2)
    for row in rows:
        table.add_row(*map(terminal.styled, row))
    terminal.console().print(table)
