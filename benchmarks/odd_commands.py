"""Every pair of options of every command with odd values: `python -m benchmarks.odd_commands [--sample N]`.

Each command runs in this process, in a temporary folder. Printed is what is wrong with any: an exit code that is not
documented, a traceback, more than one error line, a file that nobody asked for; in the end, how many were tried.
"""

import argparse
import contextlib
import faulthandler
import io
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from m1eval.cli.main import cli, main
from tests import odd
from tests.conftest import Result

LONGEST = 60
"""Seconds after which a command is taken to hang: where it is is printed, and everything ends."""


def call(*words: str) -> Result:
    """Run a command in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as left:
            code = int(left.code or 0)
    faulthandler.cancel_dump_traceback_later()
    return Result(code, out.getvalue(), err.getvalue())


def commands(sample: int | None, seed: int) -> list[list[str]]:
    """The commands that are tried: each value of each option, and pairs of options, all or a random sample."""
    singles = [words for name in cli.commands for words in odd.odd_commands(name)]
    pairs = [words for name in cli.commands for words in odd.odd_pairs(name)]
    return singles + (pairs if sample is None else random.Random(seed).sample(pairs, sample))


def tried(words: list[str], codes: Counter[int]) -> str:
    """The fault of one command, if any; its exit code is counted."""

    def counted(*given: str) -> Result:
        result = call(*given)
        codes[result.code] += 1
        return result

    return odd.wrong(counted, words)


def program() -> int:
    """Try them, and print what is wrong; 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="try this many pairs, chosen at random; default: all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began, codes, problems = time.monotonic(), Counter[int](), 0
    sampled = commands(args.sample, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"M1EVAL_CACHE": f"{folder}/cache", "HF_HUB_OFFLINE": "1", "M1EVAL_FILES": ""}
        work = Path(folder, "work")
        work.mkdir()
        os.chdir(work)
        odd.make(work)
        call("run", *odd.NEEDED["run"], "--out", "runs/t")
        for words in sampled:
            if problem := tried(words, codes):
                problems += 1
                print(problem, flush=True)
        os.chdir("/")
    ends = ", ".join(f"{count:,} × {code}" for code, count in sorted(codes.items()))
    print(f"{len(sampled):,} commands in {time.monotonic() - began:.0f} s, exit codes {ends}; {problems:,} wrong")
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(program())
