"""Tokenize texts with llama.cpp: `python tokenize_llamacpp.py TEXTS FILE…`, run by a Python that has xllamacpp.

TEXTS is a JSON list. Prints one line of JSON for each GGUF file: the ids of every text.
"""

import json
import os
import sys
import urllib.request
from pathlib import Path

import xllamacpp


def tokenized(file: str, texts: list[str]) -> list[list[int]]:
    """The ids of texts by the tokenizer in a file, without what begins a prompt."""
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx, params.n_parallel = 64, 1
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.cpuparams.n_threads = 1
    params.fit_params = params.warmup = False
    server = xllamacpp.Server(params)
    token_ids = []
    for text in texts:
        body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
        request = urllib.request.Request(
            f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as reply:
            token_ids.append(json.load(reply)["tokens"])
    return token_ids


if __name__ == "__main__":
    texts = json.loads(Path(sys.argv[1]).read_text())
    for file in sys.argv[2:]:
        print(json.dumps(tokenized(file, texts)), flush=True)
    os._exit(0)
