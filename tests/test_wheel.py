"""The wheel: m1eval alone at its top, its plugins inside, and the tests of what users see pass against it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, write
from tests.plugins.test_plugins import RUNNER, SCORER

pytestmark = pytest.mark.skipif(not (ROOT / "hatch_build.py").exists(), reason="the tests run against a wheel already")

AGAINST_THE_WHEEL = (
    *("test_public_api", "plugins/test_plugins", "task/test_task_files", "run/test_run", "run/test_continue"),
    *("report/test_output", "run/test_check", "model/test_thinking", "analysis/test_baselines"),
    *("test_startup", "analysis/test_frame"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as a release is, from a copy without what git does not track."""
    source = tmp_path_factory.mktemp("source")
    for name in ("m1eval", "runners", "scorers", "tasks", "results/baselines"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "dist")]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    (path,) = (source / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of an environment that holds the wheel, and of ours only the packages it depends on."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    interpreter = folder / "bin" / "python"
    packages = subprocess.run(
        [interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    with zipfile.ZipFile(wheel) as file:
        file.extractall(packages)
    # Ours come after the wheel's, and without their .pth files, so that the checkout is not found through them.
    (Path(packages) / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


def test_the_wheel_holds_m1eval_and_nothing_else(wheel):
    done = subprocess.run(
        [Path(sys.executable).with_name("check-wheel-contents"), "--toplevel", "m1eval", wheel],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "m1eval/plugins/tasks/math/aime24.yaml",
        "m1eval/plugins/tasks/long_context/_mrcr.py",
        "m1eval/plugins/tasks/long_context/_haystack/corpus.py",
        "m1eval/plugins/scorers/math/published/__init__.py",
        "m1eval/plugins/runners/local/__init__.py",
        "m1eval/plugins/results/baselines/aime_2024.yaml",
        "m1eval/py.typed",
    ):
        assert name in names
    assert not [name for name in names if "/__pycache__/" in name or name.startswith("tests")]


def test_a_task_a_scorer_and_a_runner_in_an_empty_folder_run_by_name(python, tmp_path):
    write(
        tmp_path / "tasks" / "sums.yaml",
        """
        title: Sums
        description: Additions that fit on one hand
        tags: [mine]
        dataset: {file: sums.jsonl}
        prompt: |
          {{ a }} + {{ b }} =
        target: "{{ a + b }}"
        scorer: mine
        repeats: 2
        generation: {temperature: 0.7}
        """,
    )
    write(tmp_path / "tasks" / "sums.jsonl", '{"a": 1, "b": 2}\n{"a": 2, "b": 2}\n')
    write(tmp_path / "scorers" / "mine.py", SCORER)
    write(tmp_path / "runners" / "mine.py", RUNNER)
    command = [python, "-m", "m1eval", "run", "--tasks", "sums", "--model", "mine:x", "-o", "word=three"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "| sums | 0.250 |" in done.stdout
    assert (tmp_path / "results" / "sums" / "x" / "samples.parquet").exists()
    import_command = [python, "-c", "import m1eval; print(m1eval.__file__)"]
    where = subprocess.run(import_command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert str(python.parents[1]) in where.stdout


@pytest.mark.timeout(400)  # the time of several files of tests, on a machine that may be busy
def test_the_tests_of_what_users_see_pass_against_the_wheel(python, tmp_path):
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", tmp_path)  # whose recipes are tried
    settings = (ROOT / "pyproject.toml").read_text()
    section = "[tool.pytest.ini_options]"
    (tmp_path / "pyproject.toml").write_text(section + settings.partition(section)[2])
    files = [f"tests/{name}.py" for name in AGAINST_THE_WHEEL]
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{ROOT}/m1eval" not in done.stdout
