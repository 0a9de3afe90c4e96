"""Our copies of published rules next to the published code, on random texts: every verdict must be the same.

    python -m benchmarks.published_choice FOLDER [--texts 100000] [--only NAME …]

FOLDER holds checkouts, each in a folder of its name: simple-evals (openai), MMLU-Pro (TIGER-AI-Lab), LongBench
(THUDM), InfiniteBench (OpenBMB, at 88b3daa), babilong (booydar), ZeroEval (WildEval), MiniMax-01 (MiniMax-AI), and
lm_eval (the package's folder). Only the functions that grade are run; what is missing is named and left out. Where
the published code stops with an error, there is no verdict to compare; these are counted. Exit code 1 if any verdict
differs.
"""

import argparse
import ast
import json
import random
import re
import string
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from m1eval import Output, Sample, Score, load

PIECES: dict[str, list[str]] = {
    row["kind"]: row["pieces"]
    for row in map(json.loads, Path(__file__).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines())
}


WHOLE = {
    "grids": '{"reasoning": "r", "solution": {"House 1": {"Name": "Ann", "Pet": "Cat"}, '
    '"House 2": {"Name": "Bob", "Pet": "dog"}}}'
}
"""Answers that half of the texts of a kind are made from, by a few changes."""


def texts(kind: str, count: int, seed: int = 0) -> Iterator[str]:
    """Random texts of the pieces of a kind, short ones more often."""
    rng = random.Random(f"{kind} {seed}")
    pieces = PIECES[kind]
    for i in range(count):
        if kind in WHOLE and i % 2:
            text = WHOLE[kind]
            for _ in range(rng.randrange(4)):
                place = rng.randrange(len(text))
                text = text[:place] + rng.choice(pieces) + text[place + rng.choice((0, 0, 1, 5)) :]
            yield text
        else:
            yield "".join(rng.choices(pieces, k=rng.choice((1, 2, 3, 4, 5, 6, 8, 10, 14, 20))))


def published(path: Path, *names: str, **namespace: Any) -> dict[str, Any]:
    """Functions and constants of a file, without the rest of it and without what it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [node for node in tree.body if _name(node) in names]
    space: dict[str, Any] = {
        "re": re,
        "json": json,
        "string": string,
        "Counter": Counter,
        "print": lambda *_: None,
        **namespace,
    }
    exec(
        compile(ast.Module(nodes, []), str(path), "exec"), space
    )  # the graders that we are compared with, from a checkout
    return space


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return getattr(node, "name", "")


def score_of(scorer: Any, text: str, sample: Sample) -> Score:
    """Our score of an answer that needs no worker, so that its coroutine ends without waiting."""
    try:
        scorer.score(Output(text=text), sample, SimpleNamespace()).send(None)
    except StopIteration as ended:
        score: Score = ended.value
        return score
    raise RuntimeError("a scorer that waits")


def verdict(scorer: Any, text: str, target: str = "", **metadata: Any) -> float:
    """The value of our scorer."""
    sample = Sample(id="s", messages=[], target=target, metadata=metadata)
    return float(score_of(scorer, text, sample).value)


Pair = Callable[[str], tuple[Any, Any]]
"""The published verdict on a text and ours."""


def simple_evals(folder: Path) -> tuple[str, Pair]:
    pattern = published(folder / "simple-evals/common.py", "ANSWER_PATTERN_MULTICHOICE")["ANSWER_PATTERN_MULTICHOICE"]
    ours = load("scorers", "choice").Scorer(rule="simple_evals", options=4)

    def both(text: str) -> tuple[Any, Any]:
        match = re.search(pattern, text)
        letter = match.group(1) if match else None
        return [float(letter == target) for target in "ABCD"], [verdict(ours, text, target) for target in "ABCD"]

    return "letters", both


def mmlu_pro(folder: Path) -> tuple[str, Pair]:
    theirs = published(folder / "MMLU-Pro/evaluate_from_local.py", "extract_answer", "extract_again", "extract_final")
    ours = load("scorers", "choice").mmlu_pro
    return "letters", lambda text: (theirs["extract_answer"](text), ours(text)[0])


def longbench_v2(folder: Path) -> tuple[str, Pair]:
    theirs = published(folder / "LongBench/pred.py", "extract_answer")["extract_answer"]
    ours = load("scorers", "longbench_v2").Scorer()
    return "letters", lambda text: (
        [float(theirs(text.strip()) == target) for target in "ABCD"],
        [verdict(ours, text, target) for target in "ABCD"],
    )


def babilong(folder: Path) -> tuple[str, Pair]:
    names = ("TASK_LABELS", "preprocess_output", "compare_answers")
    theirs = published(folder / "babilong/babilong/metrics.py", *names)
    ours = load("scorers", "babilong").Scorer()
    questions = [
        ("qa1", "kitchen", "Where is Mary?"),
        ("qa1", "garden", "Where was it before the Kitchen?"),
        ("qa6", "yes", "Is it?"),
    ]
    questions += [("qa7", "one", "How many?"), ("qa8", "apple,milk", "What?"), ("qa19", "n,w", "How?")]
    return "labels", lambda text: (
        [float(theirs["compare_answers"](t, text, q, theirs["TASK_LABELS"][task])) for task, t, q in questions],
        [verdict(ours, text, t, subtask=task, question=q) for task, t, q in questions],
    )


def mr_niah(folder: Path) -> tuple[str, Pair]:
    numpy = SimpleNamespace(mean=lambda parts: sum(parts) / len(parts))
    theirs = published(folder / "MiniMax-01/evaluation/MR-NIAH/score.py", "modify_gt", "score_response", np=numpy)[
        "score_response"
    ]
    ours = load("scorers", "mr_niah").Scorer()
    labels = [("1. 苹果\n2. 香蕉\n3. 橙子", "chinese"), ("1. Apple\n2. Banana\n3. Orange", "english")]
    return "parts", lambda text: (
        [float(theirs(text, label, language)) for label, language in labels],
        [verdict(ours, text, label) for label, _ in labels],
    )


def zeroeval(folder: Path) -> tuple[str, Pair]:
    extract = published(folder / "ZeroEval/src/evaluation/eval_utils.py", "extract_last_complete_json")[
        "extract_last_complete_json"
    ]
    grid = {"House 1": {"Name": "Ann", "Pet": "Cat"}, "House 2": {"Name": "Bob", "Pet": "dog"}}
    rows = {"header": ["House", "Name", "Pet"], "rows": [["1", "Ann", "Cat"], ["2", "Bob", "dog"]]}
    tree = ast.parse((folder / "ZeroEval/src/evaluation/zebra_grid_eval.py").read_text(encoding="utf-8"))
    (whole,) = (node for node in tree.body if _name(node) == "eval_model")
    space: dict[str, Any] = {
        **{"private_solutions": {"1": rows}, "file_cache": {}, "extract_last_complete_json": extract},
        **{"model_name_replacement": str, "Counter": Counter, "defaultdict": defaultdict, "print": lambda *_: None},
    }
    exec(compile(ast.Module([whole], []), "zebra_grid_eval.py", "exec"), space)
    ours = load("scorers", "logic_grid").Scorer()

    others = [{"id": "1", "size": size, "output": ['{"solution": {}}']} for size in ("2*2", "3*4", "4*5", "5*5")]

    def both(text: str) -> tuple[Any, Any]:
        space["file_cache"]["f"] = [{"id": "1", "size": "2*2", "output": [text]}, *others]
        row = space["eval_model"]("m%single", "f", mode="single")[1][0]
        sample = Sample(id="s", messages=[], target=json.dumps(grid))
        score = score_of(ours, text, sample)
        return (
            (row["solved"], row["correct_cells"] / 4, row["parsed"]),
            (score.value == 1, score.metrics["cells"], score.answer is not None),
        )

    return "grids", both


def infinitebench(
    folder: Path, subtask: str, kind: str, answers: list[Any], letter: str | None = None
) -> tuple[str, Pair]:
    path = folder / "InfiniteBench/src/compute_scores.py"
    names = [name for name in map(_name, ast.parse(path.read_text(encoding="utf-8")).body) if name != "ROUGE_SCORER"]
    theirs = published(path, *(name for name in names if name and name != "ALL_TASKS"))["get_score_one"]
    ours = load("scorers", "infinitebench").Scorer(rule="first")
    label = [answers[0], letter] if letter else answers[0] if subtask == "kv_retrieval" else answers
    return kind, lambda text: (
        theirs(text.strip(), label, subtask, "ours"),
        verdict(ours, text, subtask=subtask, answers=answers, letter=letter),
    )


def graphwalks(folder: Path) -> tuple[str, Pair]:
    names = ("extract_answer_list", "extract_answer_list_flexible", "process_results")
    namespace = {"List": list, "Tuple": tuple}
    theirs = published(folder / "lm_eval/tasks/graphwalks/utils.py", *names, **namespace)["process_results"]
    ours = load("scorers", "graphwalks").Scorer(rule="lm_eval")
    golds: list[list[str]] = [[], ["a1"], ["a1", "b2"]]
    return "nodes", lambda text: (
        [theirs({"answer_nodes": gold}, [text])["f1"] for gold in golds],
        [verdict(ours, text, answer_nodes=gold) for gold in golds],
    )


RULES: dict[str, Callable[[Path], tuple[str, Pair]]] = {
    "choice simple_evals": simple_evals,
    "choice mmlu_pro": mmlu_pro,
    "longbench_v2": longbench_v2,
    "babilong": babilong,
    "mr_niah": mr_niah,
    "grid zeroeval": zeroeval,
    "graphwalks lm_eval": graphwalks,
    "infinitebench passkey": partial(infinitebench, subtask="passkey", kind="numbers", answers=["7"]),
    "infinitebench kv_retrieval": partial(infinitebench, subtask="kv_retrieval", kind="numbers", answers=["ab-12"]),
    "infinitebench code_run": partial(infinitebench, subtask="code_run", kind="numbers", answers=[7]),
    "infinitebench math_find, whole": partial(infinitebench, subtask="math_find", kind="numbers", answers=[3]),
    "infinitebench math_find, real": partial(infinitebench, subtask="math_find", kind="numbers", answers=[3.5]),
    "infinitebench math_calc": partial(infinitebench, subtask="math_calc", kind="numbers", answers=[1, 3, 7]),
    "infinitebench longdialogue": partial(infinitebench, subtask="longdialogue_qa_eng", kind="names", answers=["ANNA"]),
    "infinitebench longbook_qa": partial(
        infinitebench, subtask="longbook_qa_eng", kind="names", answers=["the Bill", "Anna"]
    ),
    "infinitebench longbook_qa_chn": partial(
        infinitebench, subtask="longbook_qa_chn", kind="names", answers=["张三李"]
    ),
    "infinitebench choice": partial(
        infinitebench, subtask="longbook_choice_eng", kind="choices", answers=["the text"], letter="B"
    ),
    "infinitebench code_debug": partial(
        infinitebench, subtask="code_debug", kind="choices", answers=["f2"], letter="B"
    ),
}


def compare(name: str, folder: Path, count: int) -> tuple[int, int, list[str]]:
    """How many texts were compared, on how many the published code stopped, and those whose verdicts differ."""
    kind, both = RULES[name](folder)
    done, stopped, differing = 0, 0, []
    for text in texts(kind, count):
        try:
            theirs, ours = both(text)
        except (TypeError, ValueError, IndexError, KeyError, AttributeError):
            stopped += 1
            continue
        done += 1
        if theirs != ours and not _near(theirs, ours):
            differing.append(f"{text!r}: published {theirs}, ours {ours}")
    return done, stopped, differing


def _near(theirs: Any, ours: Any) -> bool:
    """Whether two figures differ by rounding alone."""
    pairs = zip(theirs, ours, strict=True) if isinstance(theirs, list) else [(theirs, ours)]
    return all(isinstance(a, float) and isinstance(b, float) and abs(a - b) < 1e-12 for a, b in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--only", nargs="*", default=list(RULES))
    arguments = parser.parse_args()
    print("| rule | texts compared | published code stopped | differing |\n|---|--:|--:|--:|")
    bad = 0
    for name in arguments.only:
        try:
            done, stopped, differing = compare(name, arguments.folder, arguments.texts)
        except FileNotFoundError as error:
            print(f"| {name} | – | – | no {error.filename} |")
            continue
        print(f"| {name} | {done:,} | {stopped:,} | {len(differing)} |", flush=True)
        bad += len(differing)
        for line in differing[:5]:
            print(line, file=sys.stderr)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
