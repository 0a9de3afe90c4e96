"""Load models one after another through the command line, within bounds of memory and time; one JSON line for each.

python load_hostile.py TASK OUT < list of models as JSON
"""

import contextlib
import io
import json
import resource
import signal
import sys
import time
from pathlib import Path

import torch  # noqa: F401  before memory is bounded

from m1eval import load as load_plugin
from m1eval.cli.main import main as run_command

ROOM = 1 << 30
SECONDS = 20


def peak() -> int:
    """Peak memory of this process in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    load_plugin("runners", "local")
    task, out, models = sys.argv[1], Path(sys.argv[2]), json.load(sys.stdin)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    for i, (name, model) in enumerate(models.items()):
        said, heap, began = io.StringIO(), peak(), time.monotonic()
        signal.alarm(SECONDS)
        code: object = None
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                run_command(
                    ["run", "--tasks", task, "--limit", "1", "--display", "none", "--out", str(out / str(i)), *model]
                )
        except SystemExit as left:
            code = left.code
        except BaseException as error:  # noqa: BLE001  what a test is to see
            code = f"{type(error).__name__}: {error}"[:300]
        signal.alarm(0)
        record = {"name": name, "code": code, "said": said.getvalue(), "grown": (peak() - heap) // 1024}
        print(json.dumps({**record, "seconds": round(time.monotonic() - began, 2)}), flush=True)


if __name__ == "__main__":
    main()
