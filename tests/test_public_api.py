"""Public names of `import m1eval`, frozen: a change here is a change for every plugin."""

import inspect

import m1eval


def test_exported_names():
    assert sorted(m1eval.__all__) == [
        "Comparisons",
        "Context",
        "Episode",
        "JudgeReply",
        "Judges",
        "LazySample",
        "Likelihood",
        "M1evalError",
        "Message",
        "NullProgress",
        "Outcome",
        "Output",
        "Progress",
        "Request",
        "Results",
        "Runner",
        "RunnerError",
        "Sample",
        "Sampling",
        "Score",
        "Scorer",
        "Split",
        "Stopped",
        "Timing",
        "Tokenizer",
        "Usage",
        "UsageError",
        "Workers",
        "__version__",
        "available",
        "classify",
        "compare",
        "discard",
        "evaluate",
        "evaluate_async",
        "grade",
        "grade_async",
        "load",
        "load_task",
        "read",
        "read_results",
        "split_thinking",
    ]
    assert all(hasattr(m1eval, name) for name in m1eval.__all__)


def test_completion_shows_the_public_names():
    assert {name for name in dir(m1eval) if not name.startswith("__")} == {*m1eval.__all__} - {"__version__"}
    assert {"__version__", "__doc__", "__path__"} <= set(dir(m1eval))


def test_the_public_types_have_their_fields():
    fields = {
        noun.__name__: noun.__struct_fields__ for noun in (m1eval.Sample, m1eval.Request, m1eval.Output, m1eval.Score)
    }
    assert fields == {
        "Sample": ("id", "messages", "target", "gold", "metadata", "tools", "prefix_key", "cluster"),
        "Request": (
            *("messages", "prompt", "token_ids", "tools", "sampling", "think_budget"),
            *("prefix_key", "logprobs", "sample", "repeat", "progress"),
        ),
        "Output": (
            *("text", "reasoning", "unfinished_thinking", "tool_calls", "finish_reason"),
            *("usage", "timing", "logprobs", "retries", "error", "metadata"),
        ),
        "Score": ("value", "answer", "explanation", "metrics", "verdicts"),
    }
    assert m1eval.Likelihood.__struct_fields__ == ("logprob", "greedy", "tokens")
    assert m1eval.Sampling.__struct_fields__ == ("temperature", "top_p", "top_k", "min_p", "max_tokens", "stop", "seed")


def test_protocols_are_async_and_small():
    assert inspect.iscoroutinefunction(m1eval.Runner.generate)
    assert inspect.iscoroutinefunction(m1eval.Runner.aclose)
    assert inspect.iscoroutinefunction(m1eval.Scorer.score)


def test_every_public_noun_has_a_docstring():
    for name in m1eval.__all__:
        thing = getattr(m1eval, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert (thing.__doc__ or "").strip(), name
