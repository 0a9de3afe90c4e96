"""Whether a command continues a run: the settings of both, compared by dotted names."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

EXTENDABLE = ("repeats", "limit", "ids")
HELPERS = ("digests.generator ", "digests.episode ", "digests.scorer ")
"""Digests of imported files."""
CHANGED_SINCE: dict[str, str] = {}
"""Built-in file, such as `scorers/exact.py`, to the first version in which it asks or grades differently.

Across versions this table decides in place of digests, which a rename or a comment changes too. Whoever changes what a
built-in scorer, generator or episode decides adds a line; runs that earlier versions wrote are then refused.
"""
LONGEST_SETTING = 40
"""Characters of a setting that a message shows."""
LEAD = 12
"""Characters that are shown before the first difference of two long settings."""
RENAMED: dict[str, dict[str, str]] = {"task.scorer": {"grid": "logic_grid"}}
"""Setting to the former names of built-in plugins and their present ones."""


def difference(old: dict[str, Any], new: dict[str, Any], ignored: Collection[str] = ()) -> str:
    """Settings in which a command differs from a run, as `key: OLD, now NEW`; empty if it may continue the run.

    `ignored`: digests that do not decide, from `ignored_digests`.
    """
    new = msgspec.json.decode(msgspec.json.encode(new))  # as the file has it: a tuple has become a list
    was, is_ = (dict(flatten(_readable(each))) for each in (with_current_names(old, new), new))
    keys = [k for k in dict.fromkeys([*was, *is_]) if k not in EXTENDABLE and k.removeprefix("digests.") not in ignored]
    differing = [k for k in keys if was.get(k) != is_.get(k)]
    # A helper that only one of them imports says nothing: the file that imports it is another too, or it was not
    # looked for in the same way.
    differing = [k for k in differing if not (k.startswith(HELPERS) and (k not in was or k not in is_))]
    differing += [k for k in EXTENDABLE if not grows(k, old.get(k), new.get(k))]
    if "task.scorer" in differing:  # another one has another file and other options, of course
        differing = [k for k in differing if not f"{k} ".startswith(("digests.scorer ", "task.scorer."))]
    pairs = [_format_pair(k, was.get(k, old.get(k)), is_.get(k, new.get(k))) for k in differing[:4]]
    rest = f"; and {len(differing) - 4} more" if len(differing) > 4 else ""
    return "; ".join(pairs) + rest


def with_grader_of(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Settings with the scorer and the judges of others; the rest decides what was asked."""
    digests = {key: value for key, value in old.get("digests", {}).items() if not f"{key} ".startswith("scorer ")}
    digests |= {key: value for key, value in new["digests"].items() if f"{key} ".startswith("scorer ")}
    changed = {"task": {**old.get("task", {}), "scorer": new["task"]["scorer"]}, "digests": digests}
    judges = {"judges": new["judges"]} if "judges" in new else {}
    return {key: value for key, value in old.items() if key != "judges"} | changed | judges


def with_current_names(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Settings with the names of plugins that `new` has, where `old` has the same plugin by another name.

    That is a former name of a built-in one, or another path or name of the same scorer file.
    """
    if not isinstance(old.get("task"), dict) or not isinstance(new.get("task"), dict):
        return old
    task = dict(old["task"])
    digests = [
        value.get("scorer") if isinstance(value := config.get("digests"), dict) else None for config in (old, new)
    ]
    if digests[0] and digests[0] == digests[1] and {"scorer"} <= task.keys() & new["task"].keys():
        (_, options), (name, _) = scorer_parts(task["scorer"]), scorer_parts(new["task"]["scorer"])
        task["scorer"] = {name: options} if options or not isinstance(new["task"]["scorer"], str) else name
    for setting, names in RENAMED.items():
        key = setting.removeprefix("task.")
        now = new["task"].get(key)
        match task.get(key):
            case str(name) if names.get(name) == now:
                task[key] = now
            case dict(scorer) if isinstance(now, dict) and [names.get(name) for name in scorer] == [*now]:
                task[key] = dict(zip(now, scorer.values(), strict=True))
    return {**old, "task": task}


def scorer_parts(scorer: Any) -> tuple[str, dict[str, Any]]:
    """The name and the options of a scorer, as task files and run.json have it."""
    return next(iter(scorer.items())) if isinstance(scorer, Mapping) and scorer else (str(scorer), {})


def judge_specs(config: Mapping[str, Any]) -> list[str]:
    """The judges of a run as `--judge` names them, `http:gpt-4o,timeout=60`."""
    judges = config.get("judges")
    return [
        ",".join([str(judge.get("model")), *(f"{k}={json.dumps(v)}" for k, v in (judge.get("runner") or {}).items())])
        for judge in (judges if isinstance(judges, list) else ())
        if isinstance(judge, dict)
    ]


def _readable(config: dict[str, Any]) -> dict[str, Any]:
    """Settings with the name of the scorer as one, whether it has options or not, and the judges by their names."""
    task = config.get("task")
    if isinstance(task, Mapping) and "scorer" in task:
        name, options = scorer_parts(task["scorer"])
        config = {**config, "task": {**task, "scorer": name, f"scorer.{name}": options}}
    return {**config, "judges": ", ".join(judge_specs(config)) or None}


def ignored_digests(meta: Mapping[str, Any], builtin: Mapping[str, str], version: str) -> set[str]:
    """The digests that do not decide whether this version of m1eval continues a run of another one.

    They are those of files that were built in then and are now, unless CHANGED_SINCE has them. `meta`: the run's
    run.json. `builtin`: the keys of digests of built-in files to the files' names.
    """
    written_by = str(meta.get("m1eval"))
    if written_by == version:
        return set()
    users = tuple(
        f"{role} "
        for kind, roles in (("scorers/", ["scorer"]), ("tasks/", ["generator", "episode"]))
        for role in roles
        if any(f"the built-in {kind}" in line for line in meta.get("shadowing") or [])
    )
    recorded = meta.get("builtin_digests")  # 0.1.0 wrote only which built-in files the user's replaced
    return {
        key
        for key, file in builtin.items()
        if (key in recorded if recorded is not None else not f"{key} ".startswith(users))
        and not (file in CHANGED_SINCE and _release(written_by) < _release(CHANGED_SINCE[file]))
    }


def _release(version: str) -> tuple[list[int], float]:
    """A version for comparison: 0.2.0.dev1 comes before 0.2.0."""
    release, dev, number = version.partition(".dev")
    return [int(part) for part in re.findall(r"\d+", release)], float(number or 0) if dev else float("inf")


def grows(key: str, old: Any, new: Any) -> bool:
    """Whether a run of `old` may continue as `new`."""
    if key == "repeats":
        return int(new or 1) >= int(old or 1)
    if key == "limit":
        return new is None or (old is not None and new >= old)
    return not new or set(new) >= set(old or new)


def flatten(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested settings, by their dotted names."""
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _setting_name(key: str) -> str:
    return f"{key.removeprefix('digests.')} file" if key.startswith("digests.") else key.removeprefix("task.")


def _format_pair(key: str, old: Any, new: Any) -> str:
    """`key: OLD, now NEW`, of long values the part around the first difference."""
    texts = [setting_text(value) for value in (old, new)]
    same = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    start = same - LEAD if max(map(len, texts)) > LONGEST_SETTING and same > LONGEST_SETTING - LEAD else 0
    before, now = ((start > 0) * "…" + format_setting(text[start:]) for text in texts)
    return f"{_setting_name(key)}: {before}, now {now}"


def setting_text(value: Any) -> str:
    """A setting as a task file may have it, or `not set`."""
    if value is None or isinstance(value, str):
        return "not set" if value is None else value
    return json.dumps(value, ensure_ascii=False, default=str)


def format_setting(value: Any) -> str:
    """A setting as it is named in a message, shortened."""
    text = setting_text(value)
    return text if len(text) <= LONGEST_SETTING else f"{text[: LONGEST_SETTING - 3]}…"
