"""Output of `m1eval baselines`: the published scores with their protocols."""

from typing import Any

import msgspec

from m1eval import terminal
from m1eval.analysis import baselines
from m1eval.report.markdown import table
from m1eval.report.table import how


def show(benchmark: str | None, *, as_json: bool) -> int:
    """Print a line for each benchmark, or all scores of one."""
    if benchmark is None:
        published = [baselines.read(key) for key in baselines.available()]
        if as_json:
            terminal.json([_brief(each) for each in published])
        else:
            width = max(len(each.benchmark) for each in published)
            for each in published:
                terminal.line(f"{each.benchmark:<{width}}  {len(each.figures):>3} scores  {each.title}")
        return 0
    baseline = baselines.read(benchmark)
    if as_json:
        built = msgspec.to_builtins(baseline)
        terminal.json({k: v for k, v in built.items() if k not in {"sources", "protocols"}})
        return 0
    terminal.block(f"{baseline.title} ({baseline.benchmark}), {baseline.unit}\n{baseline.note.strip()}\n")
    rows = [
        [figure.model, f"{figure.score:g}", how(figure.protocol), figure.by, figure.date or "–", figure.confidence]
        for figure in sorted(baseline.figures, key=lambda figure: -figure.score)
    ]
    terminal.block(table(["model", "score", "protocol", "by", "date", "confidence"], rows, words=(0, 2, 3)))
    for figure in baseline.figures:
        if figure.conflict:
            terminal.line(f"{figure.model}: others report {figure.conflict}")
    terminal.line(f"sources: {'; '.join(dict.fromkeys(figure.source for figure in baseline.figures))}")
    return 0


def _brief(baseline: baselines.Baseline) -> dict[str, Any]:
    return {
        "benchmark": baseline.benchmark,
        "title": baseline.title,
        "unit": baseline.unit,
        "note": baseline.note,
        "figures": len(baseline.figures),
    }
