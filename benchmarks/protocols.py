"""Compares the prompts of `official` protocols with those of the benchmarks' own code.

    python -m benchmarks.protocols REPOSITORIES [--write]

REPOSITORIES holds checkouts named OWNER+NAME (see below) at the commits that the tasks name. Their functions are taken
out of their files and run on the rows of `tests/tasks/official_rows.json`; what they make is compared with our messages
byte for byte. `--write` puts the digests of their messages into `tests/tasks/official_prompts.json`, which the tests
hold our messages to. Nothing of the repositories is kept.
"""

import argparse
import ast
import difflib
import hashlib
import json
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.task.load import load_tasks
from m1eval.task.task import Task

ROWS = Path(__file__).resolve().parents[1] / "tests" / "tasks" / "official_rows.json"
DIGESTS = ROWS.with_name("official_prompts.json")
REPEATS = 3
ANSWER = "It is {x}.\nAnswer: 50% of B"
REPOSITORIES = {
    "gpqa_diamond": "openai+simple-evals",
    "simpleqa": "openai+simple-evals",
    "hle": "centerforaisafety+hle",
    "multichallenge": "ekwinox117+multi-challenge",
    "zebralogic": "WildEval+ZeroEval",
    "mmlu_pro": "TIGER-AI-Lab+MMLU-Pro",
    "longbench_v2": "THUDM+LongBench",
    "longbench_v2_cot": "THUDM+LongBench",
    "babilong": "booydar+babilong",
    "infinitebench": "OpenBMB+InfiniteBench",
    "aime24": "eth-sri+matharena",
    "aime25": "eth-sri+matharena",
    "hmmt_feb_2025": "eth-sri+matharena",
    "amc23": "QwenLM+Qwen2.5-Math",
    "minerva_math": "QwenLM+Qwen2.5-Math",
}
Rows = list[dict[str, Any]]
Messages = list[dict[str, Any]]


def ours(name: str, folder: Path, rows: dict[str, Rows]) -> list[Messages]:
    """Our messages to the model, then those to the judge, sample by sample and repeat by repeat."""
    data = dict(rows)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for key in (name, f"{name}_validation"):
            if key in data:
                (place / f"{key}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data[key]))
        for file in folder.iterdir() if folder.is_dir() else ():
            (place / file.name).write_bytes(file.read_bytes())
        (task,) = load_tasks([name], _overrides(name), protocol="official")
        samples = task.samples(CharacterTokenizer(), 0, place)
        repeats = REPEATS if samples.varies(0) else 1
        made_samples = [samples.sample(number, repeat) for repeat in range(repeats) for number in range(len(samples))]
    messages = [_plain(sample.messages) for sample in made_samples]
    if name == "gpqa_diamond":
        messages.append([{"role": "targets", "content": "".join(sample.target for sample in made_samples)}])
    if name == "longbench_v2_cot":
        messages += [_second_turn(task, sample.metadata) for sample in made_samples]
    if getattr(task.scorer, "needs_judge", False):
        messages += [_plain(task.scorer.messages(ANSWER, sample)) for sample in made_samples]  # type: ignore[attr-defined]
    return messages


def _overrides(name: str) -> list[str]:
    subtasks = {"infinitebench": [row["subtask"] for row in _rows()["infinitebench"]], "babilong": ["qa1", "qa5"]}
    overrides = [f"options.subtasks={json.dumps(subtasks[name])}"] if name in subtasks else []
    return overrides + (['options.lengths=["4k"]'] if name == "babilong" else [])


def _second_turn(task: Task, row: dict[str, Any]) -> Messages:
    assert task.episode is not None
    text: str = sys.modules[task.episode.__module__].second_turn(row, ANSWER)
    return [{"role": "user", "content": text}]


def _plain(messages: Messages) -> Messages:
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _rows() -> dict[str, Rows]:
    rows: dict[str, Rows] = json.loads(ROWS.read_text("utf-8"))
    return rows


def load_names(path: Path, *names: str, **namespace: Any) -> SimpleNamespace:
    """Constants, functions and classes of a published file, run without the packages that it imports."""
    space: dict[str, Any] = {"re": re, "json": json, "random": random, "Any": Any, **namespace}
    body = []
    for node in ast.parse(path.read_text("utf-8")).body:
        defined = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        if {*defined, getattr(node, "name", "")} & {*names}:
            body.append(node)
    exec(compile(ast.Module(body, []), str(path), "exec"), space)
    return SimpleNamespace(**{name: space[name] for name in names})


class _Sampler:
    """A model that notes what it is asked and answers with one text."""

    def __init__(self, says: str) -> None:
        self.says = says
        self.received: list[Messages] = []

    def _pack_message(self, role: str, content: Any) -> dict[str, Any]:
        return {"role": role, "content": content}

    def __call__(self, messages: Messages) -> SimpleNamespace:
        system = {"role": "system", "content": "You are a helpful assistant."}  # of its chat samplers
        self.received.append([system, *messages])
        return SimpleNamespace(response_text=self.says, actual_queried_message_list=messages)


class _Html:
    def __getattr__(self, name: str) -> "_Html":
        return self

    def __call__(self, *args: Any, **keys: Any) -> "_Html":
        return self


def _simple_evals(repo: Path, name: str, rows: Rows) -> list[Messages]:
    shown = load_names(repo / "common.py", "QUERY_TEMPLATE_MULTICHOICE", "ANSWER_PATTERN_MULTICHOICE")
    words = {**vars(shown), "HTML_JINJA": "", "Eval": object, "EvalResult": object, "SamplerBase": object}
    template = shown.QUERY_TEMPLATE_MULTICHOICE
    results: list[Any] = []
    common = SimpleNamespace(
        jinja_env=_Html(),
        HTML_JINJA="",
        map_with_progress=lambda f, xs: list(map(f, xs)),
        aggregate_results=results.append,
    )
    table = SimpleNamespace(
        iterrows=lambda: [(i, SimpleNamespace(to_dict=lambda r=r: dict(r))) for i, r in enumerate(rows)]
    )
    words |= {
        "common": common,
        "pandas": SimpleNamespace(read_csv=lambda _: table),
        "SingleEvalResult": SimpleNamespace,
        "format_multichoice_question": lambda row: template.format(**row),
        "print": lambda *_: None,
    }
    model, judge = _Sampler(ANSWER), _Sampler("A")
    if name == "gpqa_diamond":
        evaluation = load_names(repo / "gpqa_eval.py", "GPQAEval", **words).GPQAEval(n_repeats=REPEATS)
        evaluation(model)
        right = [f"{'ABCD'[_right(each)]}" for each in evaluation.examples]
        return [*model.received, [{"role": "targets", "content": "".join(right)}]]
    names = ("GRADER_TEMPLATE", "CHOICE_LETTERS", "CHOICE_STRINGS", "CHOICE_LETTER_TO_STRING", "SimpleQAEval")
    load_names(repo / "simpleqa_eval.py", *names, **words).SimpleQAEval(judge)(model)
    return model.received + judge.received


def _right(example: dict[str, Any]) -> int:
    columns = ["Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"]
    return [example[columns[i]] for i in example["permutation"]].index(example["Correct Answer"])


def _hle(repo: Path, name: str, rows: Rows) -> list[Messages]:
    asks = load_names(
        repo / "hle_eval/run_model_predictions.py",
        "SYSTEM_PROMPT",
        "format_message",
        args=SimpleNamespace(model="any"),
    )
    judge = load_names(repo / "hle_eval/run_judge_results.py", "JUDGE_PROMPT")
    conversations = [asks.format_message(row) for row in rows]
    for messages in conversations:
        messages[1]["content"] = "".join(part["text"] for part in messages[1]["content"])
    prompts = [
        judge.JUDGE_PROMPT.format(question=row["question"], correct_answer=row["answer"], response=ANSWER)
        for row in rows
    ]
    return conversations + [[{"role": "user", "content": prompt}] for prompt in prompts]


def _multichallenge(repo: Path, name: str, rows: Rows) -> list[Messages]:
    judge = load_names(repo / "src/evaluator.py", "JUDGE_PROMPT").JUDGE_PROMPT
    messages = [row["CONVERSATION"] for row in rows]
    return messages + [[{"role": "user", "content": judge.format(ANSWER, row["TARGET_QUESTION"])}] for row in rows]


def _zebralogic(repo: Path, name: str, rows: Rows) -> list[Messages]:
    template = load_names(repo / "src/templates/ZEBRA_GRID.py", "ZEBRA_GRID").ZEBRA_GRID
    make = load_names(
        repo / "src/_TEMPLATES.py", "apply_lgp_grid_template", ZEBRA_GRID=template
    ).apply_lgp_grid_template
    system = {"role": "system", "content": "You are a helpful AI assistant."}  # src/unified_infer.py
    return [[system, {"role": "user", "content": make(row)}] for row in rows]


def _mmlu_pro(repo: Path, name: str, rows: Rows) -> list[Messages]:
    def opened(path: str, mode: str) -> Any:
        return (repo / path).open(mode)

    loaded = load_names(
        repo / "evaluate_from_local.py",
        "choices",
        "preprocess",
        "select_by_category",
        "format_cot_example",
        "generate_cot_prompt",
        open=opened,
    )
    worked, tests = loaded.preprocess(_rows()["mmlu_pro_validation"]), loaded.preprocess(rows)
    return [[{"role": "user", "content": loaded.generate_cot_prompt(worked, row, 5)}] for row in tests]


def _longbench(repo: Path, name: str, rows: Rows) -> list[Messages]:
    messages: list[str] = []

    def query_llm(prompt: str, *args: Any, **keys: Any) -> str:
        messages.append(prompt)
        return ANSWER

    prompts = {
        "template_0shot": "0shot",
        "template_0shot_cot": "0shot_cot",
        "template_0shot_cot_ans": "0shot_cot_ans",
    }
    loaded = load_names(
        repo / "pred.py",
        "get_pred",
        "extract_answer",
        **{key: (repo / f"prompts/{file}.txt").read_text("utf-8") for key, file in prompts.items()},
        query_llm=query_llm,
        tqdm=list,
        OpenAI=lambda **_: None,
        URL="",
        API_KEY="",
        tiktoken=SimpleNamespace(encoding_for_model=lambda _: None),
    )
    args = SimpleNamespace(model="gpt", rag=0, no_context=False, cot=name.endswith("_cot"))
    loaded.get_pred([dict(row) for row in rows], args, SimpleNamespace(write=lambda _: None, flush=lambda: None))
    turns = [[{"role": "user", "content": prompt}] for prompt in messages]
    return turns[::2] + turns[1::2] if args.cot else turns


def _babilong(repo: Path, name: str, rows: Rows) -> list[Messages]:
    names = ("TASK_TEMPLATE", "USER_TEMPLATE", "DEFAULT_TEMPLATE", "DEFAULT_PROMPTS", "get_formatted_input")
    loaded = load_names(repo / "babilong/prompts.py", *names)
    messages = []
    for row in rows:
        prompt = loaded.DEFAULT_PROMPTS[row["split"]]
        parts = (prompt["examples"], prompt["instruction"], prompt["post_prompt"])
        messages.append(
            loaded.get_formatted_input(row["input"], row["question"], *parts, template=loaded.DEFAULT_TEMPLATE)
        )
    return [[{"role": "user", "content": text}] for text in messages]


def _infinitebench(repo: Path, name: str, rows: Rows) -> list[Messages]:
    templates = load_names(repo / "src/prompt.py", "gpt4_templates").gpt4_templates
    loaded = load_names(
        repo / "src/eval_utils.py",
        "create_system_msg",
        "create_prompt",
        "create_msgs",
        "truncate_input",
        MODEL_TO_PROMPT_TEMPLATE={"gpt4": templates},
        Path=Path,
        print=lambda *_: None,
    )
    letters = SimpleNamespace(encode=list, decode="".join)
    return [loaded.create_msgs(letters, dict(row), row["subtask"], "gpt4", "")[0] for row in rows]


def _matharena(repo: Path, name: str, rows: Rows) -> list[Messages]:
    import yaml

    files = {"aime24": "aime/aime_2024_I", "aime25": "aime/aime_2025", "hmmt_feb_2025": "hmmt/hmmt_feb_2025"}
    config = yaml.safe_load((repo / f"configs/competitions/{files[name]}.yaml").read_text("utf-8"))
    from collections import UserDict

    loaded = load_names(
        repo / "src/matharena/solvers/pure_model_solver.py",
        "_PromptFields",
        "PureModelSolver",
        UserDict=UserDict,
        BaseSolver=object,
        SolverResponse=object,
        override=lambda f: f,
    )
    solver = loaded.PureModelSolver.__new__(loaded.PureModelSolver)
    solver.default_prompt_template = config["instruction"] + "\n\n{problem}"  # as in src/matharena/runner.py
    return [solver.build_query(row["problem"], None) for row in rows]


def _qwen(repo: Path, name: str, rows: Rows) -> list[Messages]:
    loaded = load_names(repo / "evaluation/utils.py", "PROMPT_TEMPLATES", "construct_prompt", load_prompt=lambda *_: [])
    parse = load_names(repo / "evaluation/parser.py", "parse_question", parse_ground_truth=lambda *_: ("", "4"))
    parse = parse.parse_question
    args = SimpleNamespace(num_shots=0, prompt_type="qwen25-math-cot", adapt_few_shot=False)
    messages = []
    for row in rows:
        data = "amc23" if name == "amc23" else "minerva_math"
        text = loaded.construct_prompt({"question": parse(row, data)}, data, args)
        pairs = re.findall(r"<\|im_start\|>(system|user)\n(.*?)<\|im_end\|>\n", text, re.DOTALL)
        messages.append([{"role": role, "content": content} for role, content in pairs])
    return messages


THEIRS: dict[str, Callable[[Path, str, Rows], list[Messages]]] = {
    "openai+simple-evals": _simple_evals,
    "centerforaisafety+hle": _hle,
    "ekwinox117+multi-challenge": _multichallenge,
    "WildEval+ZeroEval": _zebralogic,
    "TIGER-AI-Lab+MMLU-Pro": _mmlu_pro,
    "THUDM+LongBench": _longbench,
    "booydar+babilong": _babilong,
    "OpenBMB+InfiniteBench": _infinitebench,
    "eth-sri+matharena": _matharena,
    "QwenLM+Qwen2.5-Math": _qwen,
}


def digest(messages: list[Messages]) -> str:
    """The SHA-256 of messages, short."""
    return hashlib.sha256(json.dumps(messages, ensure_ascii=False).encode()).hexdigest()[:32]


def published(repositories: Path, task: str) -> Iterator[tuple[str, bytes]]:
    """The files that a task's texts are read from, by their name."""
    (loaded,) = load_tasks([task], protocol="official")
    for text in loaded.definition.texts.values():
        inside = text.url.split("/", 6)[6]
        yield Path(inside).name, (repositories / REPOSITORIES[task] / inside).read_bytes()


def main() -> int:
    """Compare all; 1 if any differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("repositories", type=Path)
    parser.add_argument("--write", action="store_true", help="record the digests of what their code makes")
    arguments = parser.parse_args()
    rows, digests, faults = _rows(), {}, 0
    for name, repository in REPOSITORIES.items():
        repo = arguments.repositories / repository
        if not repo.is_dir():
            print(f"{name:18} no {repo}")
            continue
        theirs = THEIRS[repository](repo, name, rows[name])
        with tempfile.TemporaryDirectory() as folder:
            for file, data in published(arguments.repositories, name):
                (Path(folder) / file).write_bytes(data)
            mine = ours(name, Path(folder), rows)
        digests[name] = digest(theirs)
        same = theirs == mine
        faults += not same
        print(f"{name:18} {len(theirs):3} prompts, {'identical' if same else 'DIFFERENT'}  {digests[name]}")
        if not same:
            for a, b in zip(theirs, mine, strict=False):
                if a != b:
                    before, after = (
                        json.dumps(each, ensure_ascii=False, indent=1).replace("\\n", "\\n\n").split("\n")
                        for each in (a, b)
                    )
                    print("\n".join(list(difflib.unified_diff(before, after, lineterm=""))[:40]))
                    break
            if len(theirs) != len(mine):
                print(f"  {len(theirs)} there, {len(mine)} here")
    if arguments.write:
        DIGESTS.write_text(json.dumps(digests, indent=2) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
