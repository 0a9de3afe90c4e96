"""Everything that reads an answer in place takes linear time on degenerate texts, and finds what it found before."""

import asyncio
import random
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from m1eval import Output, Sample, load
from tests.hostile import not_linear

math, choice, grid, regex = (load("scorers", name) for name in ("math", "choice", "logic_grid", "regex"))
gym, mr_niah, babilong = (load("scorers", name) for name in ("reasoning_gym", "mr_niah", "babilong"))
infinitebench = load("scorers", "infinitebench")
extraction, notation = math.extraction, math.notation


def scoring(
    scorer: str, target: str = "A", *, options: dict[str, Any] | None = None, **row: Any
) -> Callable[[str], Any]:
    """The whole of a scorer that needs no worker, as a function of the answer."""
    grader = load("scorers", scorer).Scorer(**(options or {}))
    sample = Sample(id="s", messages=[], target=target, metadata=row)
    return lambda text: asyncio.run(grader.score(Output(text=text), sample, SimpleNamespace()))


def _infinitebench(subtask: str) -> Callable[[str], Any]:
    answers = {"math_find": [35], "math_calc": [[1, 2, 3]], "code_run": ["12"]}.get(subtask, ["answer is (C"])
    return scoring("infinitebench", subtask=subtask, answers=answers, letter="C")


SCANS: dict[str, Callable[[str], Any]] = {
    "last_boxed": math.last_boxed,
    "final_answer": math.final_answer,
    "final_answer, cut": lambda text: math.final_answer(text, cut=True),
    "json_field": extraction.json_field,
    "last_stated": extraction.last_stated,
    "conclusion": extraction.conclusion,
    "depth": notation.depth,
    **{f"choice {name}": rule for name, rule in choice.RULES.items()},
    **{f"grid {name}": rule for name, rule in grid.RULES.items()},
    "reasoning_gym": gym.final_answer,
    "mr_niah's parts": mr_niah.parts,
    "whole graphwalks": scoring("graphwalks", answer_nodes=["a", "b"]),
    "whole f1": scoring("f1", "a and b"),
    "whole exact": scoring("exact", "A b", options={"ignore_case": True}),
    "whole contains": scoring("contains", "answer is (B"),
    "whole ruler": scoring("ruler", outputs=["answer is (B", "x"]),
    "whole mr_niah": scoring("mr_niah", "the answer is (B.\nfoo."),
    "whole babilong": scoring("babilong", subtask="qa1", question="Where?"),
    "whole longbench_v2": scoring("longbench_v2"),
    **{f"infinitebench {name}": _infinitebench(name) for name in infinitebench.RULES if "sum" not in name},
}


@pytest.mark.parametrize("scan", SCANS)
def test_a_scan_takes_linear_time(scan):
    assert not not_linear(SCANS[scan])


@pytest.mark.parametrize("gold", ["12", "east and west", r"\frac{1}{2}", "1, 2", "(1, 2]", "x=3"])
def test_what_is_decided_in_place_of_the_longest_answer_is_linear_too(gold):
    """Longer ones are wrong unseen."""
    shown = math.LONGEST // 4
    assert not not_linear(lambda text: math.quick(gold, text), shown)


# What the scans were before they took linear time: the same on texts that are short enough to wait for.

PIECES = [
    *(
        "\\boxed{",
        "\\boxed",
        "\\fbox{",
        "\\\\boxed{",
        "\\boxed 3",
        "}",
        "{",
        "\\",
        "\\\\",
        " ",
        "\n",
        "-",
        "= ",
        "x",
        "7",
    ),
    *(
        "<answer>",
        "</answer>",
        "Final Answer:",
        "Final Answer: [",
        "[",
        "]",
        ",",
        "a1",
        "'b'",
        "\t",
        "$",
        "0007",
        "\\{",
    ),
]


def _old_boxed(text: str) -> str:
    braces, minus_sign = (
        math.last_boxed.__globals__["_BRACES"],
        re.compile(r"(?:^|[=$(\[{\s])\s{0,4}-\s{0,4}\\\\?(?:boxed|fbox)\s*+\{$"),
    )
    last = ""
    opened: list[int] = []
    for token in braces.finditer(text):
        if token[0] == "}":
            start = opened.pop() if opened else -1
            if start >= 0:
                inside = text[start : token.start()].strip()
                minus = inside and minus_sign.search(text, max(0, start - 40), start)
                last = (f"-{inside}" if minus else inside) or last
        elif token[0].endswith("{") and token[0] != r"\{":
            opened.append(token.end() if len(token[0]) > 1 else -1)
        elif token[1]:
            last = token[1].rstrip(".,;:)") or last
    return re.sub(r"\\+(?:boxed|fbox)\s*", "", last)


def _old_tagged(text: str) -> str | None:
    if tagged := re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL):
        return str(tagged[-1]).strip() or None
    opened = re.search(r"<answer>(?!.*<answer>)(.*)\Z", text, re.DOTALL)
    return opened[1].strip() or None if opened else "none"


def _old_nodes(text: str) -> str | None:
    match = re.search(r"Final Answer:\s*\[(.*)\]", text.rstrip("\n").split("\n")[-1])
    return match[0][-80:] if match else None


def test_the_scans_find_what_they_found():
    seen = {"boxed": 0, "tagged": 0, "nodes": 0}
    for seed in range(6000):
        some = random.Random(seed)
        text = "".join(some.choice(PIECES) for _ in range(some.randrange(1, 14)))
        old = _old_boxed(text)
        assert math.last_boxed(text) == old, text
        seen["boxed"] += bool(old)
        if (tagged := _old_tagged(text)) != "none":
            assert gym.final_answer(text)[0] == tagged, text
            seen["tagged"] += 1
        if seed % 10 == 0 or "Final" in text:
            nodes = SCANS["whole graphwalks"](text).answer
            assert nodes == _old_nodes(text), text
            seen["nodes"] += nodes is not None
    assert min(seen.values()) > 20, seen


def test_numbers_of_any_length_are_compared():
    calc, find = SCANS["infinitebench math_calc"], SCANS["infinitebench math_find"]
    assert calc("1, 2, 3").value == 1
    assert calc(f"1, {'0' * 5000}2, {'9' * 5000}").value == pytest.approx(2 / 3)
    assert find("9" * 5000).value == 0
    assert find("0" * 5000 + "35").value == 1


def test_a_pattern_that_explodes_is_given_up_in_its_worker():
    from m1eval.sandbox.workers import Pool

    async def scenario() -> str:
        grader = regex.Scorer(pattern=r"(?:\S+\s?)+(a)$", timeout=0.3)
        async with Pool(1) as workers:
            sample, tools = Sample(id="s", messages=[], target="a"), SimpleNamespace(workers=workers)
            with pytest.raises(TimeoutError, match=r"did not come to an end") as failed:
                await grader.score(Output(text="a" * 40 + "b"), sample, tools)
            assert (await grader.score(Output(text="xa"), sample, tools)).value == 1
        return str(failed.value)

    assert "repetitions inside repetitions" in asyncio.run(scenario())
