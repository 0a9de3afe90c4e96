"""Runs commands of m1eval in this process: a line of JSON in for each batch of commands, one out with its result.

`datasets` and `huggingface_hub` read their settings when they are imported, which takes seconds: the tests share one
process, which has a hub of its own, and change its caches, token and folder between batches. It has no Pillow.
"""

import contextlib
import io
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.modules["PIL"] = None  # type: ignore[assignment]
if not os.environ.get("M1EVAL_LOUD"):
    sys.stderr = io.StringIO()  # the logs of the libraries go to where their handlers were made

_sleep = time.sleep
time.sleep = lambda seconds: _sleep(min(float(seconds), 0.01))  # the libraries wait for seconds before they try again


def main() -> None:
    out = sys.stdout
    for line in sys.stdin:
        batch = json.loads(line)
        settle(batch)
        results = [call(command) for command in batch["commands"]]
        out.write(json.dumps(results) + "\n")
        out.flush()


def settle(batch: dict[str, Any]) -> None:
    """Caches as fresh as the folder, the token or none, the folder, and whether there is a network."""
    import datasets.config
    import huggingface_hub.constants
    from huggingface_hub import HfFileSystem

    home = Path(batch["home"])
    os.chdir(batch["folder"])
    os.environ.pop("HF_TOKEN", None)
    if batch["token"]:
        os.environ["HF_TOKEN"] = batch["token"]
    huggingface_hub.constants.HF_HUB_CACHE = str(home / "hub")
    datasets.config.HF_DATASETS_CACHE = home / "datasets"
    datasets.config.DOWNLOADED_DATASETS_PATH = home / "datasets" / "downloads"
    datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = batch["offline"]
    HfFileSystem.clear_instance_cache()


def call(arguments: list[str]) -> dict[str, Any]:
    from m1eval.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
            code = 71
        except SystemExit as left:
            code = int(left.code or 0)
        except BaseException:  # noqa: BLE001 - the test sees it
            traceback.print_exc()
            code = 70
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    main()
