"""Serve a GGUF file with llama.cpp's own server: `python serve_llamacpp.py FILE`, run by a Python that has xllamacpp.

Prints the port in a line of its own when the server answers; ends when its standard input does, so with its parent.
"""

import os
import sys

import xllamacpp

WINDOW = 1024


def main(file: str) -> None:
    """Serve `file` as the model `smollm2` on a free port."""
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.model_alias = ["smollm2"]
    params.n_ctx, params.n_parallel = WINDOW, 1
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.cpuparams.n_threads = 1
    params.fit_params = False
    server = xllamacpp.Server(params)
    print(server.listening_address.rpartition(":")[2], flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
