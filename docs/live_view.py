"""Record the live view of a run as SVG: `python docs/live_view.py FILE.svg m1eval run …`.

The command runs in a pseudo-terminal of 104 columns. Of the frames that it draws, the one in the middle is kept.
docs/live_view.svg was made by `m1eval run --tasks docs/examples/capitals.yaml --repeats 4 --temperature 0.7 …` against
llama.cpp's server with SmolLM2-135M-Instruct.
"""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 104, 30
CLEAR = re.compile(r"(?:\r|\x1b\[(?:2K|1A))*\x1b\[2K")
"""The sequence that rich writes before it redraws a frame."""
FONT_FILE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Fonts that a browser would have to download."""


def record(command: list[str]) -> str:
    """Everything that the command writes to a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    chunks = []
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment):
        os.close(slave)
        try:
            while chunk := os.read(master, 65536):
                chunks.append(chunk)
        except OSError:  # the end of a terminal on Linux
            pass
    os.close(master)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def svg(frame: str, title: str) -> str:
    """A picture of a terminal that shows `frame`."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
    console.print(Text.from_ansi(frame))
    return FONT_FILE.sub("", console.export_svg(title=title, unique_id="live"))


def main() -> None:
    """Record, choose the frame, write the picture."""
    file, *command = sys.argv[1:]
    frames = [frame for frame in CLEAR.split(record(command)) if "ETA" in frame]
    Path(file).write_text(svg(frames[len(frames) // 2].strip("\n"), "m1eval run") + "\n")


if __name__ == "__main__":
    main()
