"""Published scores: one file `results/baselines/KEY.yaml` for each benchmark, with the source and protocol of each.

The folders are those of the plugins, so a `results/baselines/` of the user's adds benchmarks or replaces ours.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from m1eval import plugins
from m1eval.errors import UsageError
from m1eval.text import unknown_name


class PublishedSettings(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Settings behind a published score; None where the source does not state them."""

    text: str
    repeats: int | None = None
    """Answers sampled for each problem; the figure is their mean."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    thinking: str | None = None
    """Thinking budget in tokens as printed, such as 80K."""
    subset: str | None = None
    """The part of the benchmark, where it is not the whole."""


class PublishedScore(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One published score."""

    model: str
    score: float
    """Score in the benchmark's unit, as printed."""
    metric: str
    protocol: PublishedSettings
    source: str
    by: str
    """Publisher of the score, not always the maker of the model."""
    confidence: Literal["high", "medium", "low"]
    """Confidence that the source states this score."""
    date: str | None = None
    """Year and month of the source."""
    conflict: str | None = None
    """Differing scores from other reports for the same model and benchmark, with their source."""


class Baseline(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The published scores of a benchmark."""

    benchmark: str
    title: str
    unit: Literal["percent"]
    note: str
    """Conditions under which a score is comparable with these figures."""
    figures: list[PublishedScore]
    sources: dict[str, str] = {}
    """YAML anchors alone, like `protocols`; the figures hold the values themselves."""
    protocols: dict[str, PublishedSettings] = {}

    def of(self, models: Sequence[str]) -> list[PublishedScore]:
        """The figures of some models, in the order asked for; UsageError for a model that has none."""
        by_model = {figure.model: figure for figure in self.figures}
        for model in models:
            if model not in by_model:
                raise UsageError(f"baselines {self.benchmark}: {unknown_name('model', model, by_model)}")
        return [by_model[model] for model in models]


def available() -> list[str]:
    """The keys of all baselines."""
    return list(plugins.available(plugins.BASELINES, "*.yaml"))


def read(key: str) -> Baseline:
    """The baseline of one key; UsageError with `file:line` for whatever is wrong in its file."""
    from m1eval.yaml_file import YamlFile

    files = plugins.available(plugins.BASELINES, "*.yaml")
    if key not in files:
        raise UsageError(unknown_name("baseline", key, files))
    source = YamlFile.read(files[key])
    baseline = source.convert(Baseline)
    if baseline.benchmark != key:
        raise source.error(("benchmark",), f"benchmark is '{baseline.benchmark}', but the file is named {key}.yaml")
    seen: set[str] = set()
    for i, figure in enumerate(baseline.figures):
        if not 0 <= figure.score <= 100:
            raise source.error(("figures", i, "score"), f"{figure.score} is not a percentage")
        if figure.model in seen:
            raise source.error(("figures", i, "model"), f"'{figure.model}' has a figure already; put it into conflict")
        seen.add(figure.model)
    return baseline
