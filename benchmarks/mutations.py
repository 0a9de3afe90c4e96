"""Wrong answers by one stroke: every reference of the recorded sets, changed in one place, graded against itself.

    python -m benchmarks.mutations ../shared/data

A digit, a sign, an operator, an exponent, a function, a bracket or an element is changed, added, dropped or exchanged;
both the changed text against the reference and the reference against the changed text must be wrong. Changes that may
change nothing are left out by `plain_values`, which shares no code with the scorer. Rewritings that change nothing (by
construction) must be right. Counts are printed, with every verdict that should not be; the last line is JSON.
"""

import argparse
import ast
import gzip
import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.plain_values import differ, read
from m1eval import load

SECONDS = 3
Verdict = tuple[bool | None, str]


def references(data: Path) -> Iterator[tuple[str, str]]:
    """The set and the text of each reference below a folder of recorded sets, each text once."""
    math = load("scorers", "math")
    seen = set()
    for path in sorted(data.glob("*/problems.jsonl*")):
        raw = path.read_bytes()
        for line in (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines():
            row = json.loads(line)
            text = str(row.get("answer") or math.last_boxed(row.get("solution", "")) or "")
            if "final_answer" in row:
                answer = row["final_answer"]
                text = str((ast.literal_eval(answer) if isinstance(answer, str) else answer)[0])
            elif "problem" not in row:
                continue
            text = text.strip().rstrip(".").strip("$").strip()
            if text and text not in seen and len(text) < 300:
                seen.add(text)
                yield path.parent.name, text


def mutations(text: str) -> Iterator[tuple[str, str]]:
    """The kind and the text of each change in one place."""
    for match in re.finditer(r"\d", text):
        yield "digit", text[: match.start()] + str((int(match[0]) + 1) % 10) + text[match.end() :]
    for match in re.finditer(r"[-+]", text):
        yield "sign", text[: match.start()] + "+-"[match[0] == "+"] + text[match.end() :]
    for match in re.finditer(r"\\cdot(?![a-z])|\\times(?![a-z])|\*|(?<=\d)/(?=\d)", text):
        yield "operator", f"{text[: match.start()]}+{text[match.end() :]}"
    for match in re.finditer(r"(?<=[\w})])\s*[+-]\s*(?=[\w\\({])", text):
        yield "operator", rf"{text[: match.start()]}\cdot {text[match.end() :]}"
    for match in re.finditer(r"\\[dt]?frac\s*(\{[^{}]*\}|\d)\s*(\{[^{}]*\}|\d)", text):
        above, below = (part if part[0] == "{" else f"{{{part}}}" for part in match.groups())
        yield "operator", rf"{text[: match.start()]}\frac{below}{above}{text[match.end() :]}"
    for match in re.finditer(r"\^(?:\{([^{}\\]*)\}|([\da-z]))", text):
        power = match[1] or match[2]
        yield "exponent", f"{text[: match.start()]}^{{{power}+1}}{text[match.end() :]}"
        yield "exponent", text[: match.start()] + text[match.end() :]
    for match in re.finditer(r"\\sqrt\s*(\{[^{}]*\}|\d)", text):
        inside = match[1].strip("{}")
        yield "function", f"{text[: match.start()]}({inside}){text[match.end() :]}"
        yield "function", rf"{text[: match.start()]}\sqrt[3]{{{inside}}}{text[match.end() :]}"
    others = {"sin": "cos", "cos": "sin", "tan": "cot", "cot": "tan", "ln": "sin", "log": "cos", "lfloor": "lceil"}
    for match in re.finditer(r"\\(sin|cos|tan|cot|ln|log)(?![a-z])", text):
        yield "function", rf"{text[: match.start()]}\{others[match[1]]}{text[match.end() :]}"
    for match in re.finditer(r"(?<!\\)!", text):
        yield "function", text[: match.start()] + text[match.end() :]
    yield from _whole(text)
    yield from _elements(text)


def _whole(text: str) -> Iterator[tuple[str, str]]:
    """Changes of a single value as a whole; of the right side of an equation."""
    name, equals, value = text.rpartition("=")
    if re.search(r",|\\(?:text|begin|cup|in|le|ge)(?![a-z])|[<>&]", text):
        return
    for kind, changed in (
        ("sign", f"-({value})"),
        ("sum", f"{value}+1"),
        ("sum", f"{value}-1"),
        ("operator", f"2({value})"),
        ("operator", rf"\frac{{1}}{{{value}}}"),
        ("exponent", f"({value})^2"),
        ("function", rf"\sqrt{{{value}}}"),
        ("function", f"({value})!"),
    ):
        yield kind, f"{name}{equals}{changed}"
    for match in re.finditer(r"\s*[+-]", value):
        if match.start() and _depth(value[: match.start()]) == 0:
            yield "sum", f"{name}{equals}{value[: match.start()]}"


def _depth(text: str) -> int:
    return sum((character in "([{") - (character in ")]}") for character in text)


def _bracketed(text: str) -> tuple[str, list[str], str]:
    """The opening bracket, the elements and the closing bracket of a list; the brackets may be empty."""
    plain = text.replace(r"\left", "").replace(r"\right", "").strip()
    opened = re.match(r"\\\{|[(\[]", plain)
    inner = (opened[0], plain[opened.end() :], "") if opened else ("", plain, "")
    closed = re.search(r"(?:\\\}|[)\]])$", inner[1]) if opened else None
    if closed:
        inside = inner[1][: closed.start()]
        if min((_depth(inside[:i]) for i in range(len(inside) + 1)), default=0) >= 0:
            return inner[0], _cut(inside), closed[0]
    return "", _cut(plain), ""


def _cut(text: str) -> list[str]:
    parts = [""]
    for character in re.sub(r"(?<=\d)\\?!?,(?:\\!)?(?=\d{3}(?!\d))", "", text):
        if character == "," and _depth(parts[-1].replace(r"\{", "{").replace(r"\}", "}")) == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _elements(text: str) -> Iterator[tuple[str, str]]:
    before, parts, after = _bracketed(text)
    if len(parts) < 2 or r"\begin" in text:
        return

    def joined(values: list[str], left: str = before, right: str = after) -> str:
        return left + ", ".join(values) + right

    for i in range(len(parts)):
        yield "element dropped", joined(parts[:i] + parts[i + 1 :])
    yield "element added", joined([*parts, "12347"])
    yield "element added", joined([*parts, parts[0]])
    if before in ("(", "["):
        for i in range(len(parts) - 1):
            yield "elements exchanged", joined([*parts[:i], parts[i + 1], parts[i], *parts[i + 2 :]])
    if before in ("(", "[") and len(parts) == 2:  # the brackets of an interval; those of a longer tuple mean nothing
        yield "bracket", joined(parts, {"(": "[", "[": "("}[before])
        if after in (")", "]"):
            yield "bracket", joined(parts, right={")": "]", "]": ")"}[after])


def different(text: str, seen: set[str] | None = None) -> list[tuple[str, str]]:
    """The mutations that differ from a text for certain; none if the independent check cannot read the text."""
    try:
        value = read(text)
    except ValueError:
        return []
    answers = {}
    for kind, changed in mutations(text):
        try:
            if changed not in answers and differ(value, read(changed)):
                answers[changed] = kind
        except ValueError:
            continue
    return [(kind, changed) for changed, kind in answers.items()]


def rewritings(text: str) -> Iterator[tuple[str, str]]:
    """The same answer in another dress, by construction."""
    yield "style", rf"\displaystyle {text}"
    yield "style", f"${text}$"
    yield "style", f"{text}."
    if r"\text" not in text:
        yield "spaces", re.sub(r"(?<=[\w})])([-+=])(?=[\w\\({])", r" \1 ", text)
        yield "spaces", re.sub(r"(?<=[\w})])([-+=])(?=[\w\\({])", r"\\,\1\\; ", text)
    yield "spaces", re.sub(r",(?!\d|\}|\\!)\s*", r", \\ ", text)
    yield "fraction", re.sub(r"\\[dt]?frac(?![a-z])", r"\\dfrac", text)
    yield "fraction", re.sub(r"\\[dt]?frac(?![a-z])", r"\\tfrac", text)
    yield "fraction", re.sub(r"^\\[dt]?frac\{(\d+)\}\{(\d+)\}$", r"\1/\2", text)
    yield "braces", re.sub(r"([\^_])([0-9a-z])(?![0-9a-z{])", r"\1{\2}", text)
    yield "braces", re.sub(r"\\sqrt\s*(\d)(?!\d)", r"\\sqrt{\1}", text)
    if r"\left" not in text and re.search(r"^\(.*\)$", text) and r"\begin" not in text:
        yield "brackets", re.sub(r"\)", r"\\right)", re.sub(r"\(", r"\\left(", text))
    terms = re.split(r"(?<=[\w})])\s*\+\s*(?=[\w\\({])", text)
    single = not re.search(r"[=,<>&|]|\\(?:text|in|cup|le|ge|pm)(?![a-z])", text)
    if single and len(terms) > 1 and all(_depth(term) == 0 for term in terms):
        yield "terms in another order", "+".join(re.sub(r"^-(.*)$", r"-\1", term) for term in reversed(terms))
    before, parts, _ = _bracketed(text)
    if before == r"\{" and len(parts) > 1:
        yield "elements of a set in another order", rf"\{{{', '.join(reversed(parts))}\}}"


def same_answers(text: str) -> list[tuple[str, str]]:
    """The rewritings that are another text."""
    answers = {changed: kind for kind, changed in rewritings(text) if changed != text}
    return [(kind, changed) for changed, kind in answers.items()]


@cache
def _warm() -> None:
    """Let the libraries be there before the clock of the first answer starts."""
    import math_verify

    load("scorers", "math").slow(r"1\text{ km}", r"1000\text{ m}", "exact", math_verify)


def grade(pair: tuple[str, str]) -> Verdict:
    """The scorer's verdict on reference and answer; None if it does not come to an end."""
    import math_verify

    math = load("scorers", "math")

    def late(*_: Any) -> None:
        raise TimeoutError

    _warm()
    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        verdict: Verdict = math.quick(*pair) or math.slow(*pair, "exact", math_verify)
        return verdict
    except TimeoutError:
        return None, "time"
    finally:
        signal.alarm(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default="", help="sets whose name holds this text")
    parser.add_argument("--every", type=int, default=1, help="every n-th reference only")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    begin = time.perf_counter()
    match = [(name, text) for name, text in references(args.data) if args.only in name][:: args.every]
    wrong: list[tuple[str, str, str]] = []
    right: list[tuple[str, str, str]] = []
    read_ones = 0
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        for (_, text), changed in zip(
            match, pool.map(different, [text for _, text in match], chunksize=8), strict=True
        ):
            read_ones += bool(changed)
            wrong += [(kind, *pair) for kind, other in changed for pair in ((text, other), (other, text))]
            right += [(kind, text, other) for kind, other in same_answers(text)]
        counts: Counter[str] = Counter()
        for cases, expected in ((wrong, False), (right, True)):
            for (kind, gold, answer), (verdict, how) in zip(
                cases, pool.map(grade, [case[1:] for case in cases], chunksize=32), strict=True
            ):
                counts[f"{'wrong' if not expected else 'right'}: {kind}"] += 1
                counts["given up"] += verdict is None
                if verdict is not None and verdict is not expected:
                    counts["wrong passes" if verdict else "right ones fail"] += 1
                    print(f"{'PASSES' if verdict else 'FAILS'} {kind}: {gold!r} {answer!r} ({how})", flush=True)
    seconds = round(time.perf_counter() - begin)
    summary = {"references": len(match), "read": read_ones, "mutated": len(wrong), "rewritten": len(right)}
    print("\n".join(f"| {kind} | {n} |" for kind, n in sorted(counts.items())))
    print(
        json.dumps(
            summary | {key: counts[key] for key in ("wrong passes", "right ones fail", "given up")} | {"s": seconds}
        )
    )


if __name__ == "__main__":
    main()
