"""Parsing of options: given twice, numbers of tokens, the last word of --set, exit codes, folders, listings."""

import re
import shlex

import click
import pytest

from m1eval.cli.main import cli
from m1eval.cli.options import GROUPS
from m1eval.store import folders
from m1eval.text import parse_tokens, plural
from tests.conftest import GONE, lines, run_of, write
from tests.serving import Closed

ECHO = ("--model", "echo:gold", "--display", "none")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("4096", 4096), ("32k", 32768), ("32K", 32768), ("1m", 2**20), ("1M", 2**20), ("32_768", 32768)),
        *(("1.5k", 1536), ("0.5k", 512), (8000, 8000), (" 8k ", 8192), ("80k", 81920), (4096.0, 4096)),
    ],
)
def test_one_rule_for_numbers_of_tokens(text, number):
    assert parse_tokens(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "k", "-1", "1.3k", "4q", "1e5", "nan", "inf", "1_0", "1__000", "٣k", "4kk", "4 k", True, None, 1.5],
)
def test_other_numbers_of_tokens_are_refused_with_the_accepted_forms(text):
    with pytest.raises(ValueError, match=r"write 4096, 32_768, 32k, 1\.5k or 1m"):
        parse_tokens(text)


def test_a_number_of_tokens_beyond_all_bounds():
    with pytest.raises(ValueError, match="out of range"):
        parse_tokens("9999999999m")


def generation(m1eval, *options):
    (plan,) = m1eval("run", *ECHO, "--dry-run", "--json", *options).json()["plans"]
    return plan["config"]["task"]


def test_tokens_mean_the_same_in_options_overrides_and_task_files(m1eval, capitals, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = generation(m1eval, "-t", capitals, "--think", "8k", "--max-tokens", "32k")
    override = generation(m1eval, "-t", capitals, "--set", "think=8k", "--set", "generation.max_tokens=32k")
    capitals.write_text(capitals.read_text() + "think: 8k\ngeneration: {max_tokens: 32K}\n")
    written = generation(m1eval, "-t", capitals)
    for task in (options, override, written):
        assert (task["think"], task["generation"]["max_tokens"]) == (8192, 32768)


def test_a_task_file_with_a_number_of_tokens_that_is_none(m1eval, capitals):
    capitals.write_text(capitals.read_text() + "think: 40q\n")
    result = m1eval("run", "-t", capitals, *ECHO)
    assert result.code == 2
    assert re.search(r"capitals\.yaml:6: think: '40q' is not a number of tokens: write 4096", result.err)


def test_names_given_several_times_add_up(m1eval, capitals, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "other.yaml", capitals.read_text())
    result = m1eval("run", "-t", "./capitals.yaml", "--tasks", "./other.yaml", *ECHO, "--json")
    assert [run["task"] for run in result.json()["runs"]] == ["capitals", "other"]
    ids = m1eval("run", "-t", "./capitals.yaml", "--ids", "capitals-01", "--ids", "capitals-02", *ECHO, "--out", "i")
    assert ids.code == 0
    assert {line["id"] for line in lines(run_of(tmp_path / "i") / "samples.jsonl")} == {"capitals-01", "capitals-02"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "echo:wrong"), "--model is given twice, as 'echo:gold' and as 'echo:wrong'"),
        (("--out", "a", "--out", "b"), "--out is given twice"),
        (("--seed", "1", "--seed", "2"), "--seed is given twice"),
        (("-o", "latency=1", "-o", "latency=2"), "-o latency is given twice"),
        (("--set", "repeats=1", "--set", "repeats=2"), "--set repeats is given twice"),
        (("-o", "concurrency=2", "-j", "3"), "--concurrency 3 and -o concurrency=2 contradict each other"),
        (("--ids", ""), "--ids '': no name given"),
        (("--ids", "a", "--ids", ""), "--ids '': no name given"),
        (("--ids", "a,,b"), "--ids 'a,,b': no name given between commas"),
        (("--lengths", "foo"), "--lengths: 'foo' is not a number of tokens"),
        (("--max-cost", "nan"), "'--max-cost': it must be a number "),
        (("--fail-under", "nan"), "'--fail-under': it must be a number "),
        (("--until-se", "inf"), "'--until-se': it must be a number "),
        (("--temperature", "-3"), "'--temperature': it must be a number of at least 0, not '-3'"),
        (("--limit", "0"), "it must be a whole number of at least 1, not '0'"),
        (("--concurrency", "few"), "it must be a whole number of at least 1 and at most 1000000, not 'few'"),
        (("--temperature", "inf"), "'--temperature'"),
        (("--set", "generation.temperature=-3"), "temperature must be a number of at least 0, not -3"),
        (("--set", "generation.temperature=.nan"), "temperature must be a number of at least 0, not nan"),
        (("--set", "generation.top_p=2"), "top_p must be above 0 and at most 1, not 2"),
        (("--set", "messages=[{role: bot, content: x}]", "--set", "prompt=null"), "'bot'"),
        (("--protocol", "nopeee"), "unknown protocol 'nopeee'"),
        (("-o", "latency=-1"), "echo: latency must be a number of seconds, 0 or more, not '-1'"),
        (("-o", "latency=.inf"), "echo: latency must be a number of seconds"),
        (("-o", "window=abc"), "echo: window: 'abc' is not a number of tokens"),
        (("-o", "concurrency=0"), "echo: concurrency must be a whole number of at least 1, not '0'"),
        (("--tasks", "nothing*"), "no task matches 'nothing*'"),
        (("--tasks", "tag:long-contxt"), "unknown tag 'long-contxt'; did you mean 'long-context'?"),
        (("--data-dir", "capitals.yaml"), "is a file; name a folder"),
        (("--prices", "nowhere.yaml"), "'nowhere.yaml' does not exist"),
        (("--out", "~nobody-here/x"), "'--out'"),
    ],
)
def test_what_cannot_be_is_one_line(m1eval, capitals, monkeypatch, tmp_path, options, words):
    monkeypatch.chdir(tmp_path)
    result = m1eval("run", "-t", "./capitals.yaml", *ECHO, *options)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result.err
    assert words in result.err
    assert {path.name for path in tmp_path.iterdir()} == {"capitals.yaml", "capitals.jsonl"}


@pytest.mark.parametrize(
    ("words", "names"),
    [(["./a b.yaml"], "'./a b.yaml'"), (["aime", "mrcr"], "aime,mrcr"), (["aime,", "mrcr"], "aime,mrcr")],
)
def test_a_task_without_its_option_is_named_with_it(m1eval, words, names):
    for others in ((), ("--model", "echo:gold", "--limit", 3)):
        result = m1eval("run", *words, *others)
        assert result.code == 2
        assert result.err == f"Error: unexpected argument '{words[0]}'; did you mean --tasks {names}?\n"


@pytest.mark.parametrize("name", ["./a b.yaml", "aime24", "demo"])
def test_a_task_without_the_command_is_named_with_it(m1eval, name):
    result = m1eval(name)
    assert result.code == 2
    assert result.err == f"Error: no command '{name}'; did you mean m1eval run --tasks {shlex.quote(name)}?\n"
    assert m1eval("taks").err == "Error: No such command 'taks'. Did you mean 'tasks'? see m1eval --help\n"


@pytest.mark.parametrize("price", ["-1", ".nan", ".inf"])
def test_an_impossible_price_is_refused_in_one_line(m1eval, capitals, tmp_path, price):
    prices = write(tmp_path / "p.yaml", f"'*': {{input: {price}, output: 1}}\n")
    result = m1eval("run", "-t", capitals, *ECHO, "--prices", prices, "--max-cost", "1", "--out", tmp_path / "x")
    assert (result.code, result.err.count("\n")) == (2, 1), result.err


def test_the_same_value_twice_is_no_contradiction(m1eval, capitals, tmp_path):
    result = m1eval("run", "-t", capitals, *ECHO, "--model", "echo:gold", "--seed", 0, "--out", tmp_path / "x")
    assert result.code == 0


def test_set_overrides_the_other_options(m1eval, capitals, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ("--max-tokens", "5", "--think", "6", "--temperature", "0.5", "--repeats", "2", "--system", "Be {{ brief")
    overrides = ("generation.max_tokens=7", "think=8", "generation.temperature=1", "repeats=3", "system=Hi")
    (plan,) = m1eval("run", "-t", capitals, *ECHO, "--dry-run", "--json", *options).json()["plans"]
    assert plan["config"]["task"]["generation"] == {"max_tokens": 5, "temperature": 0.5}
    assert (plan["config"]["task"]["think"], plan["repeats"]) == (6, 2)
    assert plan["first_prompt"][0] == {"role": "system", "content": "Be {{ brief"}
    sets = [word for text in overrides for word in ("--set", text)]
    (plan,) = m1eval("run", "-t", capitals, *ECHO, "--dry-run", "--json", *options, *sets).json()["plans"]
    assert plan["config"]["task"]["generation"] == {"max_tokens": 7, "temperature": 1.0}
    assert (plan["config"]["task"]["think"], plan["repeats"]) == (8, 3)
    assert plan["first_prompt"][0] == {"role": "system", "content": "Hi"}


def test_a_judge_that_nothing_needs_is_noted(m1eval, capitals, tmp_path):
    result = m1eval("run", "-t", capitals, *ECHO, "--judge", "echo:gold", "--out", tmp_path / "x")
    assert (result.code, "--judge is not used" in result.err) == (0, True)


def test_patterns_and_tags_name_tasks(m1eval, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    rows = [row["task"] for row in m1eval("tasks", "aime2*", "--json").json()]
    assert rows == ["aime24", "aime25"]
    tagged = m1eval("tasks", "--tag", "demo", "--json").json()
    assert tagged
    assert all("demo" in row["tags"] for row in tagged)
    listed = m1eval("tasks", "--tag", "demo").out.splitlines()
    assert listed[0].split() == ["task", "graded", "by", "samples", "title", "tags"]
    assert listed[-1] == f"{plural(sum('tasks' not in row for row in tagged), 'task')}, " + plural(
        sum("tasks" in row for row in tagged), "group"
    )


def test_a_server_that_is_not_there_is_not_a_usage_error(m1eval, capitals, tmp_path):
    with Closed() as port:
        result = m1eval(
            *("run", "-t", capitals, "--model", "http:m", "--base-url", f"http://127.0.0.1:{port}/v1"),
            *("--out", tmp_path / "x", "--display", "none"),
        )
    assert (result.code, result.err.count("\n")) == (4, 1)


def test_what_is_finished_is_shown_when_the_server_goes_away(shell, capitals, tmp_path):
    write(tmp_path / "runners" / "gone.py", GONE)
    result = shell("run", "-t", capitals, "--model", "gone:x", "--out", "x", "--json")
    assert result.code == 4
    (run,) = result.json()["runs"]
    assert (run["outcomes"]["right"], run["score"]) == (3, 1.0)
    assert result.err.splitlines()[-1] == "Error: the server is gone; start it again"
    table = shell("run", "-t", capitals, "--model", "gone:x", "--out", "x", "--display", "none")
    assert (table.code, "| capitals" in table.out) == (4, True)


@pytest.mark.parametrize("where", ["__init__", "start", "aclose"])
def test_a_runner_whose_code_raises_is_named_in_one_line(shell, capitals, tmp_path, where):
    body = dict.fromkeys(("__init__", "start", "aclose"), "pass") | {where: "raise ValueError('so\\nodd')"}
    write(
        tmp_path / "runners" / "odd.py",
        f"""
        from m1eval import Output

        class Runner:
            def __init__(self, model):
                {body["__init__"]}

            async def start(self, progress):
                {body["start"]}

            async def generate(self, request):
                return Output(text=request.sample.gold)

            async def aclose(self):
                {body["aclose"]}
        """,
    )
    result = shell("run", "-t", capitals, "--model", "odd:x", "--out", "x", "--display", "none")
    assert result.code == 2
    line = {"__init__": 5, "start": 8, "aclose": 14}[where]
    assert result.err == f"Error: runners/odd.py:{line}: {where} of runner odd raised ValueError: so odd\n"
    assert ("| capitals" in result.out) == (where == "aclose"), "a finished run is shown all the same"
    assert "Traceback" in shell("run", "-t", capitals, "--model", "odd:x", "--out", "y", "--debug").err


def test_an_error_of_our_own_asks_for_a_report(m1eval):
    @click.command("broken")
    def broken() -> None:
        raise KeyError("a bug")

    cli.add_command(broken)
    try:
        result, debug = m1eval("broken"), m1eval("broken", "--debug")
    finally:
        del cli.commands["broken"]
    assert (result.code, debug.code, "Traceback" in debug.err) == (70, 70, True)
    words = "Error: internal error: KeyError: 'a bug'; run again with --debug for the traceback and please report it\n"
    assert result.err == words


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Qwen/Qwen3-8B", "qwen--qwen3-8b"),
        ("qwen3:8b", "qwen3-8b"),
        ("/models/Qwen/Qwen3-8B/", "qwen--qwen3-8b"),
        ("./ckpt/step-100/hf", "step-100--hf"),
        ("../..", "echo"),
        ("", "echo"),
        ("a b☃", "a-b"),
        ("~/m.gguf", "m.gguf"),
    ],
)
def test_the_folder_of_a_model_has_a_short_safe_name(name, label):
    assert folders.label(name, "echo") == label
    assert len(folders.label("x" * 5000, "echo")) < 120


def test_two_organisations_models_do_not_meet(m1eval, capitals, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "runners" / "any.py", GONE.replace("> 3", "> 99"))
    monkeypatch.setenv("M1EVAL_PATH", str(tmp_path))
    paths = []
    for name in ("A/Model", "B/model", "b/model", "B/model:1", "B/model-1"):
        command = ("run", "-t", "./capitals.yaml", "--model", f"./runners/any.py:{name}", "--display", "none", "--json")
        path = m1eval(*command).json()["runs"][0]["path"]
        assert m1eval(*command).json()["runs"][0]["path"] == path, "the same command again continues"
        paths.append(path)
    assert len({path.lower() for path in paths}) == 5
    assert paths[:2] == ["results/capitals/a--model", "results/capitals/b--model"]


def test_a_folder_of_an_earlier_version_goes_on(m1eval, capitals, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "runners" / "any.py", GONE.replace("> 3", "> 99"))
    command = ("run", "-t", "./capitals.yaml", "--model", "./runners/any.py:Org/Model", "--display", "none", "--json")
    folder = tmp_path / m1eval(*command).json()["runs"][0]["path"]
    folder.rename(folder.with_name("model"))
    again = m1eval(*command)
    assert again.json()["runs"][0]["path"] == "results/capitals/model"
    assert "continues in results/capitals/model, where an earlier version kept this run" in again.err
    other = m1eval(*command, "--seed", 5)
    assert other.json()["runs"][0]["path"] == "results/capitals/org--model"


def test_shell_completion_completes_names_of_a_list(shell):
    for name in ("bash", "zsh", "fish"):
        assert "_M1EVAL_COMPLETE" in shell("completion", name).out
    words = {"_M1EVAL_COMPLETE": "bash_complete", "COMP_WORDS": "m1eval run --tasks demo,aime2", "COMP_CWORD": "3"}
    assert shell(env=words).out.split() == ["plain,demo,aime24", "plain,demo,aime25"]


def test_the_help_of_run_has_headings_exit_codes_and_no_ranges(shell):
    text = shell("run", "--help").out
    headings = re.findall(r"^([A-Z][a-z ]+):$", text, re.MULTILINE)
    assert headings == [*GROUPS]
    sections = dict(zip(headings, re.split(r"^[A-Z][a-z ]+:$", text, flags=re.MULTILINE)[1:], strict=True))
    assert "--dry-run" in sections["Execution and results"]
    assert "--fail-under" in sections["Execution and results"]
    assert "<=x" not in text
    for code in (0, 1, 2, 3, 4, 70, 129, 130, 143):
        assert re.search(rf"^ +{code}  +\w", text, re.MULTILINE), code


@pytest.mark.parametrize("name", cli.commands)
def test_every_command_has_a_first_sentence_that_fits_and_examples_at_the_end(shell, name):
    (summary,) = re.findall(rf"^  {name} +(.*)$", shell("--help").out, re.MULTILINE)
    assert summary.endswith(".")
    assert "..." not in summary
    *_, end = shell(name, "--help").out.partition("Example")
    assert f"m1eval {name}" in end


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_standard_output_that_takes_ascii_alone(shell, capitals, env):
    result = shell("run", "-t", capitals, *ECHO, env=env)
    assert (result.code, "Traceback" in result.err) == (0, False)
