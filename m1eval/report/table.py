"""The final table: scores, their uncertainty, and the published scores."""

from collections.abc import Sequence
from typing import Any

from m1eval import terminal
from m1eval.analysis import baselines, published
from m1eval.option_names import option
from m1eval.report import by_length, layout, repeat_metrics
from m1eval.report import published as published_table
from m1eval.report.markdown import table
from m1eval.store.description import RunDescription
from m1eval.store.metrics import from_plain as read_figures
from m1eval.store.stored import StoredRun
from m1eval.text import (
    format_cost,
    format_count,
    format_duration,
    format_interval,
    format_score,
    is_are,
    plural,
)

REFERENCE_MODELS = {
    "minimax-m1-80k": "MiniMax-M1-80k",
    "deepseek-r1-0528": "DeepSeek-R1-0528",
    "qwen3-235b-a22b:thinking": "Qwen3-235B",
}
"""The published models that are shown next to every score."""


def show(runs: Sequence[StoredRun]) -> None:
    """Print the table and its notes on standard output: aligned on a terminal, Markdown when piped."""
    wide = _show_results(runs)
    by_length.after_runs(runs)
    comparisons = [each for each in compare_published(runs) if each.same_data or not wide]
    if comparisons:
        head, rows = published_table.table_cells(comparisons, REFERENCE_MODELS)
        terminal.line()
        _print(head, rows, words=(0, 1, len(head) - 1))
        terminal.line()
    for note in all_notes(runs, comparisons):
        terminal.line(note)


def all_notes(
    runs: Sequence[StoredRun], comparisons: Sequence[published.BaselineComparison] | None = None
) -> list[str]:
    """The notes below the table: on the runs, on their comparisons with published scores, and the runs' folders."""
    descriptions = [run.description for run in runs]
    comparisons = compare_published(runs) if comparisons is None else comparisons
    paths = [f"{run.task}: {run.path}" for run in runs if run.has_folder()]  # it is gone if no answer came
    return [*notes(descriptions), *published_table.notes(comparisons), *_sources(runs), *paths]


def to_json(runs: Sequence[StoredRun]) -> list[dict[str, Any]]:
    """The runs as `--json` prints them: each description with its published comparisons."""
    import msgspec

    comparisons = msgspec.to_builtins(compare_published(runs))
    return [run.summary | {"published": [each for each in comparisons if each["task"] == run.task]} for run in runs]


def compare_published(runs: Sequence[StoredRun]) -> list[published.BaselineComparison]:
    """All runs next to the published scores, with p values adjusted for their number."""
    comparisons = [each for run in runs for each in published.compare(run, list(REFERENCE_MODELS))]
    published.adjust_p_values(comparisons)
    return comparisons


def cells(runs: Sequence[RunDescription]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the results as text."""
    errors = any(run.outcomes["errored"] for run in runs)
    costs = any(run.cost is not None for run in runs)
    head = ["task", "score", "95% interval", "n", "k", "tokens/sample", "truncated"]
    head += [*(["errored"] if errors else []), "time", *(["cost"] if costs else [])]
    rows = []
    for run in runs:
        each = "–" if run.tokens_per_answer is None else format_count(run.tokens_per_answer)
        cut = f"{100 * run.outcomes['truncated'] / run.answers:.1f}%" if run.answers else "–"
        row = [run.task, format_score(run.score), format_interval(run.interval), size(run), repeats(run), each, cut]
        row += [f"{run.outcomes['errored']:,}"] if errors else []
        row += [format_duration(run.seconds), *([format_cost(run.cost, complete=run.cost_complete)] if costs else [])]
        rows.append(row)
    return head, rows


def size(run: RunDescription) -> str:
    """Number of samples with a score, and of samples in the set if it is larger: 30, or 8 of 40."""
    return f"{run.samples}" if run.samples == run.samples_in_set else f"{run.samples} of {run.samples_in_set}"


def repeats(run: RunDescription) -> str:
    """Number of answers per sample: 4, 2–9, or 1 of 4 if more are planned."""
    planned = f" of {run.repeats_asked}" if run.repeats_most < run.repeats_asked else ""
    return published.repeats(run) + planned


def notes(runs: Sequence[RunDescription]) -> list[str]:
    """Notes on the results, one line each."""
    lines = _uncertainty(runs)
    common = [note for note in runs[0].notes if len(runs) > 1 and all(note in run.notes for run in runs)]
    for run in runs:
        lines += [f"{run.task}: {note}" for note in [*_outcomes(run), *_completeness(run), *_prompts(run)]]
        of = "" if run.finished else f" (unfinished: over {run.samples} of {plural(run.samples_chosen, 'sample')})"
        repeated = read_figures(run.figures, run.figure_intervals)
        lines += [f"{run.task}: {text}{of}" for text in repeat_metrics.lines(run.figures, repeated)]
        lines += [f"{run.task}: {note}" for note in run.notes if note not in common]
    return lines + [f"all tasks: {note}" for note in common]


def _uncertainty(runs: Sequence[RunDescription]) -> list[str]:
    """The meaning of the intervals in the table, and the intervals with the problems fixed where they differ."""
    if not any(run.interval for run in runs):
        return []
    method = "mid-P binomial on the effective sample size"
    if any(run.clusters < run.samples for run in runs):
        method += ", samples clustered by text"
    lines = [f"95% interval: confidence interval over problems ({method})"]
    fixed = [
        f"{run.task} {format_interval(run.these_problems.interval)}"
        for run in runs
        if run.these_problems and run.these_problems.interval and run.these_problems.interval != run.interval
    ]
    if fixed:
        lines.append(f"95% interval with these problems fixed, over sampled answers: {', '.join(fixed)}")
    return lines


def _outcomes(run: RunDescription) -> list[str]:
    """Notes on answers that were truncated, unparsed, refused or errored."""
    lines = []
    for outcome, words, many in (
        ("truncated", "hit the token limit before an answer and counts as wrong", "and count as wrong"),
        ("unparsed", "had no recognizable answer and counts as wrong", "had no recognizable answer and count as wrong"),
        (
            "refused_context",
            "was refused because its prompt is longer than the context window, and counts as wrong",
            "were refused because their prompts are longer than the context window, and count as wrong",
        ),
    ):
        if number := run.outcomes[outcome]:
            text = words if number == 1 else many
            if outcome == "truncated" and number > 1:
                text = f"hit the token limit before an answer {many}"
            lines.append(f"{number:,} of {plural(run.answers, 'output')} {text}")
    if number := run.outcomes["errored"]:
        lines.append(_errored(run, number))
        lines += [
            f"errored {each['count']:,} × {each['reason']} (such as {each['example']})" for each in run.errors[:3]
        ]
        if rest := run.errors[3:]:
            total = sum(each["count"] for each in rest)
            lines.append(f"errored {total:,} × {plural(len(rest), 'more kind')}")
    return lines


def _errored(run: RunDescription, number: int) -> str:
    again = f"the same command retries {'it' if number == 1 else 'them'}"
    assert run.score_bounds is not None
    low, high = run.score_bounds
    bounds = f"the score is {format_score(low)} if counted as wrong, {format_score(high)} if counted as right"
    hard = ""
    if run.score is not None and max(run.score - low, high - run.score) > 0.01:
        hard = "; it is biased upwards if hard problems error more often"
    return f"{plural(number, 'answer')} errored and {is_are(number)} left out ({bounds}{hard}); {again}"


def _completeness(run: RunDescription) -> list[str]:
    """Notes on samples and answers that are missing."""
    lines = []
    if not run.finished:
        lines.append(f"unfinished: {run.answers:,} of {plural(run.answers_wanted, 'answer')}")
    if run.partial:
        chosen = f"{run.samples_chosen - run.skipped} of {plural(run.samples_in_set, 'sample')}"
        lines.append(f"partial: {chosen}; not comparable with a full run{_sampling(run)}")
    if 1 < run.clusters < run.samples:
        lines.append(
            f"{plural(run.samples, 'sample')} on {plural(run.clusters, 'text')}, which count as {run.clusters} "
            "independent observations"
        )
    elif run.clusters < run.samples:
        lines.append("all samples are on one text, so the interval is over questions about that text")
    if adaptive := run.adaptive:
        target = f" (target {adaptive.until_se:g})" if adaptive.until_se else ""
        error = "not known" if adaptive.answer_stderr is None else f"{adaptive.answer_stderr:.4f}"
        several = adaptive.answers_least < adaptive.answers_most
        numbers = (f"{adaptive.answers_least} to " if several else "") + plural(adaptive.answers_most, "answer")
        lines.append(f"adaptive: {numbers} per sample; standard error from sampling answers {error}{target}")
    return lines


def _sampling(run: RunDescription) -> str:
    """Note on samples that were not drawn at random from the whole set."""
    if not run.unlike:
        return ""
    if run.unlike == ["ids"]:
        return f", nor an estimate of it: the samples were chosen by {option('ids')}"
    return (
        f", nor an estimate of it: {option('limit')} takes equally many of each {' and '.join(run.unlike)}, "
        "unlike the full set"
    )


def _prompts(run: RunDescription) -> list[str]:
    """Notes on long prompts and on shared prefixes."""
    lines = []
    if run.skipped:
        theirs = "its prompt is" if run.skipped == 1 else "their prompts are"
        lines.append(
            f"{plural(run.skipped, 'sample')} {is_are(run.skipped)} left out: {theirs} longer than the context window"
        )
    if number := run.truncated_prompts:
        lines.append(
            f"{plural(number, 'prompt')} {'was' if number == 1 else 'were'} longer than the context window, and "
            f"{'its middle was' if number == 1 else 'their middles were'} cut out"
        )
    if cached := run.tokens["cached"]:
        read = run.tokens["prompt"]
        share = cached / max(1, read)
        lines.append(
            f"{format_count(cached)} of {format_count(read)} prompt tokens ({share:.0%}) came from the prefix cache"
        )
    return lines


def wide_cells(runs: Sequence[StoredRun]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the results, with a column for each published model."""
    head, rows = cells([run.description for run in runs])
    scores = [_published(_baseline(run)) for run in runs]
    models = [model for model in REFERENCE_MODELS if any(model in each for each in scores)]
    wide_rows = [[*row, *(each.get(model, "–") for model in models)] for row, each in zip(rows, scores, strict=True)]
    return [*head, *(REFERENCE_MODELS[model] for model in models)], wide_rows


def _show_results(runs: Sequence[StoredRun]) -> bool:
    """Print the results, with the published scores if they fit without wrapping; whether they do."""
    wide = wide_cells(runs)
    fits = not terminal.is_terminal() or layout.fits(*wide, terminal.console().width)
    _print(*(wide if fits else cells([run.description for run in runs])), words=(0,))
    return fits


def _print(head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int]) -> None:
    terminal.block(table(head, rows, words))


def _reference_scores(published: baselines.Baseline) -> list[baselines.PublishedScore]:
    return [figure for figure in published.figures if figure.model in REFERENCE_MODELS]


def _published(key: tuple[str, bool] | None) -> dict[str, str]:
    """Published scores in [0, 1] by model, with ~ if they are on other data of the same form."""
    if not key:
        return {}
    return {
        each.model: f"{'' if key[1] else '~'}{each.score / 100:.3f}"
        for each in _reference_scores(baselines.read(key[0]))
    }


def _baseline(run: StoredRun) -> tuple[str, bool] | None:
    """The key of the published scores, and whether they are on the same data."""
    key = run.meta.get("baselines")
    return (key[0], key[1]) if key else None


def _sources(runs: Sequence[StoredRun]) -> list[str]:
    """Sources and settings of the published scores, one line per benchmark."""
    lines = []
    for key, same in dict.fromkeys(filter(None, map(_baseline, runs))):
        published = baselines.read(key)
        protocols = "; ".join(
            f"{REFERENCE_MODELS[figure.model]} {how(figure.protocol)}" for figure in _reference_scores(published)
        )
        title = published.title
        if same:
            lines.append(f"published, {title}: {protocols} (results/baselines/{key}.yaml)")
        else:
            lines.append(f"~ {title}: published on other data of the same form, not directly comparable ({protocols})")
    return lines


def how(protocol: baselines.PublishedSettings) -> str:
    """A short description of a protocol, with only the settings that it states."""
    words = [
        f"avg@{protocol.repeats}" if protocol.repeats else "",
        f"T={protocol.temperature}" if protocol.temperature is not None else "",
        f"thinking {protocol.thinking}" if protocol.thinking else "",
        protocol.subset or "",
    ]
    return " ".join(filter(None, words)) or "protocol not stated"
