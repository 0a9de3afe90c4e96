"""Checks a tokenizer.json before use: sizes, ids, and whether its patterns can hang or blow up a text.

Rules of widely used tokenizers are known to be harmless. Other regular expressions and growing rules are tried on
adversarial texts, in a separate process with limits on time and memory.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m1eval import RunnerError

from .pretokenizers import KNOWN

MAX_ID = (1 << 24) - 1
MAX_ADDED = 1 << 17
_MAX_STEPS, _MAX_DEPTH = 256, 16
_MAX_PIECES = 64
"""Maximum pieces in a post-processor's template."""
_MAX_GROWTH = 64
"""Factor by which a tokenizer's rules may lengthen a text; one character becomes at most 18 in NFKC."""
_SECONDS, _MEMORY = 30, 4 << 30
_REPLACED = frozenset({" ", " {2,}", "\\s+", "\\s{2,}", "\\n", "\\r\\n", "(``|'')", "`", "▁", "\\\\s+", "[\\r\\n]+"})
"""Regular expressions replaced by widely used normalisers."""
_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_PROGRAM = """
import json, os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
from tokenizers import Tokenizer
payload = json.load(sys.stdin)
core = Tokenizer.from_str(payload["tokenizer"])
core.no_truncation(); core.no_padding()
for text in payload["texts"]:
    encoding = core.encode(text, add_special_tokens=False)
    if len(encoding.ids) > {growth} * len(text) + 100:
        sys.exit(f"{{len(text)}} characters become {{len(encoding.ids)}} tokens")
    core.decode(encoding.ids)
print("ok")
"""


def check(tree: Mapping[str, Any], text: str, file: Path) -> None:
    """RunnerError in one line for a tokenizer.json that is malformed, or whose rules hang or blow up a text."""
    model = tree.get("model")
    if not isinstance(model, dict):
        raise RunnerError(f"{file} has no model: download it again")
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        _check_ids(vocab, file)
        _check_merges(model, vocab, file)
    elif isinstance(vocab, list):
        _check_scores(model, vocab, file)
    else:
        raise RunnerError(f"{file}: the model's vocab must be an object of ids or a list of scores")
    _check_added(tree.get("added_tokens"), file)
    unknown = [step for part in _PARTS for step in _steps(tree.get(part), part, file) if not _is_harmless(step)]
    growth = _max_growth(tree, file)
    if growth > _MAX_GROWTH:
        raise RunnerError(f"{file}: its rules may make a text {min(growth, 10**9):,.0f} times as long")
    if unknown:
        _run_on_hard_texts(text, unknown, file)


def _check_ids(vocab: Mapping[str, Any], file: Path) -> None:
    if not vocab:
        raise RunnerError(f"{file}: the vocabulary is empty")
    for word, i in vocab.items():
        if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i <= MAX_ID:
            raise RunnerError(f"{file}: the token '{word[:40]}' has the id {str(i)[:40]}, not one of 0 to {MAX_ID}")
    if len(set(vocab.values())) < len(vocab):
        seen: dict[int, str] = {}
        for word, i in vocab.items():
            if i in seen:
                raise RunnerError(f"{file}: the tokens '{seen[i][:40]}' and '{word[:40]}' have the same id {i}")
            seen[i] = word


def _check_merges(model: Mapping[str, Any], vocab: Mapping[str, Any], file: Path) -> None:
    merges = model.get("merges", [])
    if not isinstance(merges, list):
        raise RunnerError(f"{file}: the model's merges must be a list")
    prefix = model.get("continuing_subword_prefix") or ""
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise RunnerError(f"{file}: the merge {str(merge)[:60]!r} is not a pair of tokens")
        left, right = pair
        if not isinstance(prefix, str) or not right.startswith(prefix):
            raise RunnerError(f"{file}: the merge {str(merge)[:60]!r} does not start with '{str(prefix)[:20]}'")
        joined = left + right.removeprefix(prefix)
        if missing := [word for word in (left, right, joined) if word not in vocab]:
            raise RunnerError(f"{file}: the merge {str(merge)[:60]!r} needs '{missing[0][:40]}', which is not a token")


def _check_scores(model: Mapping[str, Any], vocab: list[Any], file: Path) -> None:
    for i, entry in enumerate(vocab):
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
            raise RunnerError(f"{file}: entry {i} of the vocabulary is not a token with its score")
        if isinstance(entry[1], bool) or not isinstance(entry[1], int | float):
            raise RunnerError(f"{file}: the score of '{entry[0][:40]}' is not a number")
    unknown = model.get("unk_id")
    if not vocab or (unknown is not None and not (isinstance(unknown, int) and 0 <= unknown < len(vocab))):
        raise RunnerError(f"{file}: unk_id is {str(unknown)[:40]}, and there are {len(vocab)} tokens")


def _check_added(added: Any, file: Path) -> None:
    if added is None:
        return
    if not isinstance(added, list) or len(added) > MAX_ADDED:
        raise RunnerError(f"{file}: added_tokens must be a list of at most {MAX_ADDED:,} tokens")
    ids: dict[int, str] = {}
    for entry in added:
        i, content = (entry.get("id"), entry.get("content")) if isinstance(entry, dict) else (None, None)
        if not isinstance(i, int) or isinstance(i, bool) or not isinstance(content, str) or not 0 <= i <= MAX_ID:
            raise RunnerError(f"{file}: an added token has no text, or no id of 0 to {MAX_ID}: {str(entry)[:60]}")
        if i in ids and ids[i] != content:
            raise RunnerError(f"{file}: the added tokens '{ids[i]}' and '{content}' have the same id {i}")
        ids[i] = content


def _steps(part: Any, name: str, file: Path, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The rules of one part, sequences flattened; RunnerError for malformed ones."""
    if part is None:
        return
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise RunnerError(f"{file}: {name} has a rule without a type")
    if kind != "Sequence":
        pieces = _count_pieces(part) if kind == "TemplateProcessing" else 0
        if pieces > _MAX_PIECES:
            raise RunnerError(f"{file}: its {name} would add {pieces} pieces to every text")
        yield part
        return
    inner = next((value for key, value in part.items() if key != "type" and isinstance(value, list)), [])
    if depth > _MAX_DEPTH or len(inner) > _MAX_STEPS:
        raise RunnerError(f"{file}: its {name} has too many rules")
    for step in inner:
        yield from _steps(step, name, file, depth + 1)


def _count_pieces(part: Mapping[str, Any]) -> int:
    """Pieces in a post-processor's template, or tokens of its longest special token if that is more."""
    tokens = part.get("special_tokens")
    named = tokens.values() if isinstance(tokens, dict) else []
    lists = [entry.get(key) for entry in named if isinstance(entry, dict) for key in ("ids", "tokens")]
    template = [*(part.get("single") or []), *(part.get("pair") or [])]
    return max(len(template), *(len(items) for items in lists if isinstance(items, list)), 0)


def _is_harmless(step: Mapping[str, Any]) -> bool:
    kind, pattern = step["type"], step.get("pattern")
    if kind == "Precompiled":
        return False
    if not isinstance(pattern, dict):
        return "Regex" not in json.dumps(pattern)
    expression = pattern.get("Regex")
    return expression is None or expression in (KNOWN if kind == "Split" else _REPLACED)


def _max_growth(tree: Mapping[str, Any], file: Path) -> float:
    """Upper bound of the factor by which replacing and prepending rules lengthen a text."""
    largest = 1.0
    for part in ("normalizer", "decoder"):
        growth = 1.0
        for step in _steps(tree.get(part), part, file):
            if step["type"] == "Replace":
                pattern, content = step.get("pattern"), step.get("content")
                old = pattern.get("String") if isinstance(pattern, dict) else None
                if old == "":
                    raise RunnerError(f"{file}: its {part} replaces an empty string")
                new = len(content) if isinstance(content, str) else 0
                growth *= max(1.0, new / (len(old) if isinstance(old, str) else 1))
            elif step["type"] == "Prepend":
                growth *= 1 + len(str(step.get("prepend"))) / 8
        largest = max(largest, growth)
    return largest


def _run_on_hard_texts(text: str, steps: list[dict[str, Any]], file: Path) -> None:
    """RunnerError if the tokenizer fails on hard texts, tried in another process."""
    code = _PROGRAM.format(memory=_MEMORY, growth=_MAX_GROWTH)
    patterns = [str((step.get("pattern") or {}).get("Regex", "")) for step in steps]
    payload = json.dumps({"tokenizer": text, "texts": list(_hard_texts(patterns))})
    env = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "RUST_BACKTRACE": "0"}
    kinds = ", ".join(sorted({step["type"] for step in steps}))
    command = [sys.executable, "-P", "-c", code]
    try:
        process = subprocess.run(
            command, input=payload, capture_output=True, text=True, timeout=_SECONDS, env=env, check=False
        )
    except subprocess.TimeoutExpired:
        raise RunnerError(f"{file}: its rules ({kinds}) take longer than {_SECONDS} s for a short text") from None
    if process.returncode or process.stdout != "ok\n":
        lines = [line for line in process.stderr.splitlines() if line.strip() and not line.startswith("note:")]
        reason = lines[-1].strip()[:200] if lines else f"exit code {process.returncode}"
        raise RunnerError(f"{file}: its rules ({kinds}) fail on a short text: {reason}")


def _hard_texts(patterns: list[str]) -> Iterator[str]:
    """Long runs of the characters in the patterns, each followed by something else."""
    yield "The quick brown fox jumps over 12,345 lazy dogs.\r\n\tIt's naïve: 中文 😀 e\u0301 \u00a0 x==y\n\n"
    letters = {"a", "A", "1", " ", "\n", "中", "\u0301", "."}
    for pattern in patterns:
        letters |= {c for c in re.sub(r"\\[pP]\{[^}]*\}|\\.|\(\?[a-z:=!<]*", "", pattern)[:64] if c.isprintable()}
    for letter in sorted(letters)[:64]:
        for size in (28, 3000):
            yield letter * size + "\u2603"
            yield letter * size + "!b\n"
