"""Check the dense kernels of the local runner and compare them with memory bandwidth. For one CUDA GPU.

python benchmarks/gpu/kernels.py [--seconds 115] [--only one|many|prefill|tiles]

First each kernel against PyTorch on random data, its outputs poisoned before: relative Frobenius errors, bf16 and
fp32. Then times, each the median of 25 replays of a CUDA graph that cycles through buffers larger than the L2 cache.
The shapes are Qwen3-0.6B's. `one` decodes one sequence, whole steps included, in about 45 seconds; `many` that of
many rows; `prefill` long prompts; `tiles` variants to choose from. What fails prints its error and the run goes on;
what would start after `--seconds` is left out. A table, then one line of JSON.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the project's root, for a script only its own folder is there

from benchmarks.gpu.board import BF16, FP32, LAYERS, Board
from benchmarks.gpu.kernel_checks import (
    check_gemv,
    check_norms,
    check_paged,
    check_rope,
    check_rope_and_attend,
    check_sample,
    check_steps,
)
from benchmarks.gpu.kernel_times import (
    Layer,
    time_argmax,
    time_gemv,
    time_head,
    time_paged,
    time_prefill,
    time_rope_and_attend,
    time_sample,
    time_steps,
)


def do_one(board: Board) -> None:
    """Decoding one sequence."""
    for dtype, bound in PRECISIONS:
        check_gemv(board, dtype, bound)
        check_rope_and_attend(board, dtype, bound)
    check_steps(board)
    print_elapsed(board, "checked")
    time_steps(board)
    time_argmax(board, 1, [None, 512, 2048, 4096])
    for rows in (1, 16, 64):
        time_rope_and_attend(board, rows)


def do_many(board: Board) -> None:
    """Decoding many sequences, and long ones."""
    shapes = (
        (300, 16, 8, 128, 128, 64, 330),
        (1, 16, 8, 128, 128, 64, 70000),
        (3, 6, 2, 80, 80, 16, 900),
        (3, 128, 1, 576, 512, 64, 2000),
    )
    for dtype, bound in PRECISIONS:
        check_paged(board, dtype, bound, shapes)
    for scale in (3.0, 0.3):
        check_sample(board, scale)
    print_elapsed(board, "checked")
    for rows, tokens in ((1, 8192), (1, 262144), (64, 320), (256, 320), (32, 8192)):
        time_paged(board, rows, tokens, 64, [None], [None])
    for rows in (64, 128, 256):
        time_rope_and_attend(board, rows)
    for rows in (1, 256):
        time_argmax(board, rows, [None])
        time_sample(board, rows, [(4096, 8)])


def do_prefill(board: Board) -> None:
    """Long prompts."""
    for dtype, bound in PRECISIONS:
        check_norms(board, dtype, bound, ((3, 576), (1000, 1024), (65, 6144)))
        check_rope(board, dtype, bound)
    print_elapsed(board, "checked")
    time_prefill(board)


def do_tiles(board: Board) -> None:
    """Variants of tiles to choose from."""
    layers = [Layer() for _ in range(LAYERS)]
    time_gemv(board, layers, [None, (4, 1024, 4), (8, 1024, 4), (16, 1024, 8), (8, 512, 4), (4, 512, 2), (2, 1024, 2)])
    time_head(board, [None, (16, 512, 4), (32, 1024, 8), (16, 1024, 4)])
    for tokens, rows in ((262144, 1), (320, 256), (8192, 32)):
        time_paged(board, rows, tokens, 64, [(64, 4, 5), (128, 4, 3), (128, 8, 4), (32, 4, 4), (32, 2, 4)], [None])
    for rows in (1, 256):
        time_sample(board, rows, [(8192, 8), (8192, 16), (4096, 4), (2048, 4)])


PRECISIONS = ((BF16, 1.5e-2), (FP32, 2e-5))
PARTS = {"one": do_one, "many": do_many, "prefill": do_prefill, "tiles": do_tiles}


def print_elapsed(board: Board, name: str) -> None:
    """Print the seconds since the start."""
    print(f"{name} after {time.monotonic() - board.started:.0f} s", flush=True)


def main() -> None:
    """Check, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=115.0)
    parser.add_argument("--only", choices=PARTS, help="one part; without it all")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA GPU here; the kernels' tests run on a CPU: pytest tests/local/kernels")
    torch.backends.cuda.matmul.allow_tf32 = False
    board = Board(args.seconds)
    for name, work in PARTS.items():
        if args.only in {None, name}:
            board.attempt(name, partial(work, board))
            print_elapsed(board, name)
    print(json.dumps({"device": torch.cuda.get_device_name(), "checks": board.errors, "times": board.times}))


if __name__ == "__main__":
    main()
