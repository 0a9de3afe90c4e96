"""Code that a task brings along may raise or give anything: one line with its place, and no folder left behind."""

import json

import pytest

from tests.conftest import run_of, write

MADE = """
title: Made
dataset: {generate: _made.rows}
prompt: "{{ q }}"
target: "{{ q }}"
scorer: exact
"""
RECIPE = "from m1eval import LazySample\ndef rows():\n    yield LazySample("
ROW = "lambda: {'q': 'x'}"

GENERATORS = {
    "raises RuntimeError": (
        "def rows():\n    raise RuntimeError('boom')\n",
        "_made.rows: RuntimeError: boom (_made.py:2)",
    ),
    "raises OSError": ("def rows():\n    open('/nowhere/x')\n", "FileNotFoundError"),
    "exits": ("def rows():\n    raise SystemExit(3)\n", "SystemExit: 3 (_made.py:2)"),
    "recursion": ("def rows():\n    return rows()\n", "RecursionError"),
    "memory": ("def rows():\n    raise MemoryError\n", "MemoryError (_made.py:2)"),
    "GeneratorExit": ("def rows():\n    yield {'q': 'x'}\n    raise GeneratorExit\n", "GeneratorExit (_made.py:3)"),
    "StopIteration": ("def rows():\n    raise StopIteration\n", "StopIteration (_made.py:2)"),
    "BaseException": ("class Odd(BaseException): ...\ndef rows():\n    raise Odd('hm')\n", "Odd: hm (_made.py:3)"),
    "assert": ("def rows():\n    assert False\n", "AssertionError (_made.py:2)"),
    "text of lines": ("def rows():\n    raise RuntimeError('a\\nb\\x1b[31m')\n", "RuntimeError: a b\\x1b[31m"),
    "yields text": ("def rows():\n    yield 'abc'\n", "row 1 is text, 'abc', not a mapping of columns or a LazySample"),
    "yields pairs of letters": ("def rows():\n    yield ['ab', 'cd']\n", "row 1 is a list"),
    "yields None": ("def rows():\n    yield {'q': 'x'}\n    yield None\n", "row 2 is nothing (None)"),
    "yields a number": ("def rows():\n    yield 7\n", "row 1 is a int, 7"),
    "odd column": ("def rows():\n    yield {1: 2, 'q': 'x'}\n", "row 1 has the column 1, whose name is not text"),
    "gives None": ("def rows(): ...\n", "_made.rows returns nothing (None)"),
    "gives a mapping": ("def rows():\n    return {'q': 'x'}\n", "_made.rows returns a mapping"),
    "async": ("async def rows():\n    return []\n", "_made.rows returns a coroutine"),
    "async generator": ("async def rows():\n    yield {}\n", "_made.rows returns a async_generator"),
    "no rows": ("def rows():\n    return []\n", "the dataset has no rows"),
    "no function": ("x = 1\n", "_made.py has no function 'rows'"),
    "a list": ("rows = [{'q': 'x'}]\n", "'rows' of _made.py is not a function"),
    "another argument": ("def rows(other):\n    return []\n", "missing 1 required positional argument: 'other'"),
    "syntax": ("def rows(:\n", "SyntaxError: invalid syntax (_made.py:1)"),
    "nul": (b"x = 1\x00\n", "null bytes"),
    "not UTF-8": (b"x = '\xe9'\n", "SyntaxError"),
    "import": ("import nowhere_to_be_found\n", "pip install nowhere_to_be_found"),
    "import of a name": ("from json import nothing\n", "ImportError: cannot import name 'nothing'"),
    "import of ours": ("import m1eval.nothing\n", "No module named 'm1eval.nothing' (_made.py:1)"),
    "neighbour": ("x = 1\nfrom ._nothing import x\n", "_made.py:2: there is no file _nothing.py next to it"),
    "raises at import": ("\n1 / 0\n", "ZeroDivisionError: division by zero (_made.py:2)"),
    "exits at import": ("import sys\nsys.exit(4)\n", "SystemExit: 4 (_made.py:2)"),
    "id": (f"{RECIPE}id=7, build={ROW})\n", "row 1 has the id 7, which is not text"),
    "prefix": (f"{RECIPE}id='a', prefix_key=8, build={ROW})\n", "row 1 (a) has the prefix_key 8"),
    "columns": (f"{RECIPE}id='a', columns=[1], build={ROW})\n", "row 1 (a) has the columns [1]"),
    "build": (f"{RECIPE}id='a', build=7)\n", "row 1 (a) has a build that is not a function"),
    "build gives text": (f"{RECIPE}id='a', build=lambda: 'x')\n", "a: its build returns str, not a mapping of columns"),
    "build gives None": (f"{RECIPE}id='a', build=lambda: None)\n", "a: its build returns NoneType"),
    "one id": (
        f"{RECIPE}id='a', build={ROW})\n    yield LazySample(id='a', build={ROW})\n",
        "two samples have the id 'a'",
    ),
}
SCORE = "from m1eval import Score\nclass Scorer:\n    "
SCORERS = {
    "syntax": ("class Scorer(:\n", "SyntaxError: invalid syntax (s.py:1)"),
    "import of a name": ("from json import nothing\n", "ImportError"),
    "import of ours": ("import m1eval.nothing\n", "No module named 'm1eval.nothing'"),
    "raises at import": ("1 / 0\n", "ZeroDivisionError: division by zero (s.py:1)"),
    "exits at import": ("import sys\nsys.exit(3)\n", "SystemExit: 3 (s.py:2)"),
    "no class": ("x = 1\n", "s.py: a scorer file has a class Scorer; this one has none"),
    "no class but a number": ("Scorer = 3\n", "s.py: a scorer file has a class Scorer; this one has none"),
    "no score": ("class Scorer: ...\n", "s.py: the Scorer has no score; write async def score"),
    "score is a number": ("class Scorer:\n    score = 3\n", "s.py: the Scorer has a different score"),
    "too few arguments": (
        f"{SCORE}async def score(self, output): ...\n",
        "s.py: the Scorer has a different score",
    ),
    "init raises": (f"{SCORE}def __init__(self): raise RuntimeError('x')\n", "RuntimeError: x (s.py:3)"),
    "init exits": (f"{SCORE}def __init__(self): raise SystemExit(1)\n", "SystemExit: 1 (s.py:3)"),
    "init wants more": (f"{SCORE}def __init__(self, more): ...\n", "missing 1 required positional argument: 'more'"),
    "gold": (f"{SCORE}gold = 'x'\n    async def score(self, o, s, t): ...\n", "the Scorer's gold is not a method"),
}
EPISODES = {
    "missing": ("x = 1\n", "_ask.py has no function 'run'"),
    "not async": (
        "def run(sample, runner, context): ...\n",
        "_ask.run is not an episode; write async def run(sample, runner",
    ),
    "a number": ("run = 3\n", "'run' of _ask.py is not a function"),
    "a class": ("class run: ...\n", "_ask.run is not an episode"),
    "a generator": ("async def run(sample, runner, context): yield 1\n", "_ask.run is not an episode"),
    "too few arguments": ("async def run(sample): ...\n", "_ask.run is not an episode"),
    "syntax": ("def run(:\n", "SyntaxError: invalid syntax (_ask.py:1)"),
}
CASES = [("_made.py", code, words) for code, words in GENERATORS.values()]
CASES += [("s.py", code, words) for code, words in SCORERS.values()]
CASES += [("_ask.py", code, words) for code, words in EPISODES.values()]
IDS = [f"{kind}: {name}" for kind, names in (("g", GENERATORS), ("s", SCORERS), ("e", EPISODES)) for name in names]


@pytest.mark.parametrize(("file", "code", "words"), CASES, ids=IDS)
def test_whatever_it_does_is_one_line_with_its_place(file, code, words, tmp_path, m1eval, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_bytes(code if isinstance(code, bytes) else code.encode())
    table = MADE.replace("generate: _made.rows", "file: t.jsonl")
    text = {"_made.py": MADE, "s.py": table.replace("exact", "./s.py"), "_ask.py": f"{table}episode: _ask.run\n"}[file]
    write(tmp_path / "t.jsonl", '{"q": "x"}\n')
    write(tmp_path / "t.yaml", text)
    result = m1eval("run", "--tasks", "./t.yaml", "--model", "echo:gold", "--out", "x", "--json", "--display", "none")
    assert (result.code, result.out) == (2, ""), result.err
    assert result.err.startswith("Error: t.yaml:")
    assert words in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "x").exists()
    checked = m1eval("check", "./t.yaml")
    assert (checked.code, checked.err) == (1, "")
    assert words in checked.out
    assert checked.out.count("\n") == 1


def test_the_traceback_is_shown_on_demand(tmp_path, shell):
    write(tmp_path / "t.yaml", MADE)
    write(tmp_path / "_made.py", "def rows():\n    raise RuntimeError('boom')\n")
    result = shell("--debug", "run", "--tasks", "./t.yaml", "--model", "echo:gold")
    assert "_made.py" in result.err
    assert "Traceback" in result.err
    assert result.code == 2


def test_an_empty_group_is_refused(tmp_path, m1eval):
    group = write(tmp_path / "g.yaml", "title: G\ntasks: []\n")
    result = m1eval("run", "--tasks", group, "--model", "echo:gold", "--out", tmp_path / "x")
    assert (result.code, result.out) == (2, "")
    assert "g.yaml:2: the group has no members; write tasks: [NAME, NAME]" in result.err
    assert m1eval("check", group).code == 1


@pytest.mark.parametrize("name", ["_made", "_made.", "_made.a.b", "../_made.rows", "/tmp/_made.rows", "_made.1"])
def test_a_function_is_named_by_its_file(name, tmp_path, m1eval):
    write(tmp_path / "_made.py", "def rows():\n    return []\n")
    task = write(tmp_path / "t.yaml", MADE.replace("_made.rows", name))
    result = m1eval("check", task)
    assert f"t.yaml:2: '{name}' is not a function; write _file.function" in result.out


def test_a_score_that_is_not_a_coroutine_is_taken(tmp_path, m1eval):
    code = f"{SCORE}def score(self, output, sample, context):\n"
    write(
        tmp_path / "s.py", code + "        return Score(value=float(output.text == 'x'), answer=output.text or None)\n"
    )
    write(tmp_path / "t.jsonl", '{"q": "x"}\n')
    text = MADE.replace("generate: _made.rows", "file: t.jsonl").replace("exact", "./s.py")
    task = write(tmp_path / "t.yaml", text)
    assert m1eval("check", task).code == 0
    result = m1eval("run", "--tasks", task, "--model", "echo:gold", "--out", tmp_path / "x", "--json")
    assert (result.code, result.json()["runs"][0]["score"]) == (0, 1.0)


def test_a_helper_next_to_a_task_works_in_worker_processes(tmp_path, shell):
    """The episode hands a function of its own file, which uses a neighbour, to the worker processes."""
    write(tmp_path / "_twice.py", "def twice(text):\n    return 2 * text\n")
    write(
        tmp_path / "_ask.py",
        """
        from m1eval import Output
        from ._twice import twice

        def doubled(text):
            return twice(text)

        async def run(sample, runner, context):
            text = await context.workers.run(doubled, sample.target, timeout=20)
            return Output(text=text)
        """,
    )
    write(tmp_path / "t.jsonl", '{"q": "ab"}\n')
    text = MADE.replace("generate: _made.rows", "file: t.jsonl") + "episode: _ask.run\n"
    write(tmp_path / "t.yaml", text)
    result = shell("run", "--tasks", "./t.yaml", "--model", "echo:gold", "--out", "x")
    (record,) = (run_of(tmp_path / "x") / "samples.jsonl").read_text().splitlines()
    assert json.loads(record)["text"] == "abab", result.err


@pytest.mark.parametrize("other", ["x = 1\n", "def broken(:\n"])
def test_an_unrelated_neighbour_stops_no_run(other, tmp_path, m1eval):
    write(tmp_path / "_made.py", "from ._used import text\ndef rows():\n    yield {'q': text()}\n")
    write(tmp_path / "_used.py", "from . import _deep\ndef text():\n    return _deep.TEXT\n")
    (tmp_path / "_parts").mkdir()
    write(tmp_path / "_parts" / "__init__.py", "TEXT = 'x'\n")
    write(tmp_path / "_parts" / "inner.py", "from . import TEXT\n")
    write(tmp_path / "_deep.py", "from ._parts.inner import TEXT\n")
    write(tmp_path / "_other.py", "x = 0\n")
    task = write(tmp_path / "t.yaml", MADE)
    command = ("run", "--tasks", task, "--model", "echo:gold", "--out", tmp_path / "x", "--json")
    assert m1eval(*command).code == 0
    digests = json.loads((run_of(tmp_path / "x") / "run.json").read_text())["config"]["digests"]
    assert {name for name in digests if name.startswith("generator")} == {
        "generator _made.py",
        "generator _used.py",
        "generator _deep.py",
        "generator __init__.py",
        "generator inner.py",
    }
    write(tmp_path / "_other.py", other)
    write(tmp_path / "_new.py", other)
    assert m1eval(*command, "--repeats", 2).code == 0
    write(tmp_path / "_parts" / "__init__.py", "TEXT = 'y'\n")
    result = m1eval(*command, "--repeats", 3)
    assert result.code == 2
    assert "generator __init__.py file" in result.err


@pytest.mark.parametrize("body", ["raise RuntimeError('f')", "return None", "return 3", "raise SystemExit(2)"])
def test_figures_that_fail_lose_no_scores(body, tmp_path, m1eval):
    code = f"{SCORE}def aggregate(self, records): {body}\n"
    code += "    async def score(self, output, sample, context): return Score(value=1.0, answer='x')\n"
    write(tmp_path / "s.py", code)
    write(tmp_path / "t.jsonl", '{"q": "x"}\n')
    task = write(tmp_path / "t.yaml", MADE.replace("generate: _made.rows", "file: t.jsonl").replace("exact", "./s.py"))
    result = m1eval("run", "--tasks", task, "--model", "echo:gold", "--out", tmp_path / "x", "--json")
    assert (result.code, result.json()["runs"][0]["score"]) == (0, 1.0)
    assert "the scorer's aggregate is left out: " in result.err
    assert "s.py" in result.err


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("s.py", f"{SCORE}async def score(self, output, sample, context): raise SystemExit(0)\n"),
        ("s.py", f"{SCORE}def gold(self, sample): raise SystemExit(0)\n    async def score(self, o, s, t): ...\n"),
        ("_ask.py", "async def run(sample, runner, context): raise SystemExit(0)\n"),
        ("_made.py", f"{RECIPE}id='a', build=lambda: exit(0))\n"),
    ],
)
def test_code_that_ends_the_process_ends_only_the_sample(file, code, tmp_path, m1eval):
    (tmp_path / file).write_text(code)
    table = MADE.replace("generate: _made.rows", "file: t.jsonl")
    text = {"_made.py": MADE, "s.py": table.replace("exact", "./s.py"), "_ask.py": f"{table}episode: _ask.run\n"}[file]
    write(tmp_path / "t.jsonl", '{"q": "x"}\n')
    task = write(tmp_path / "t.yaml", text)
    result = m1eval("run", "--tasks", task, "--model", "echo:gold", "--out", tmp_path / "x", "--json")
    assert result.code == 3, result.err
    assert result.json()["runs"][0]["outcomes"]["errored"] == 1
    assert "SystemExit: 0" in (run_of(tmp_path / "x") / "samples.jsonl").read_text()


@pytest.mark.parametrize(("keys", "words"), [("repats: 3", "unknown key 'repats'"), ("repeats: x", "expected `int`")])
def test_check_reads_the_protocols_that_are_not_asked_for(keys, words, tmp_path, m1eval):
    write(tmp_path / "t.jsonl", '{"q": "x"}\n')
    text = MADE.replace("generate: _made.rows", "file: t.jsonl") + f"protocols:\n  odd:\n    {keys}\n"
    result = m1eval("check", write(tmp_path / "t.yaml", text))
    assert result.code == 1
    assert "t.yaml:8: " in result.out
    assert words in result.out
