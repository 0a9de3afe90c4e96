"""Plugins are single files found by name: `runners/vllm.py`, `scorers/math.py`, `tasks/**/aime24.yaml`.

They are searched in several folders, first match wins: the user's ($M1EVAL_PATH, then the current folder), those
bundled in the wheel, and the checkout of this file. Python imports a built-in plugin as `m1eval.plugins.scorers.math`,
a helper of built-in tasks as `m1eval.plugins.tasks.long_context._needle`, and one of the user's from a package of its
own folder, `m1eval.plugins.scorers_1a2b3c4d.math`: files of the same name never replace one another, and a helper
`_name.py` serves only its neighbours. These names work in worker processes too. Nothing else in those folders is
imported: no `scorers.py`, no `scorers/__init__.py`.
"""

from m1eval.plugins import foreign
from m1eval.plugins.imports import imported_files
from m1eval.plugins.loading import (
    check_options,
    import_file,
    import_part,
    load,
    missing_package,
    remedy,
    with_base,
    with_base_class,
)
from m1eval.plugins.lookup import available, find
from m1eval.plugins.paths import BASELINES, builtin_name
from m1eval.plugins.shadowing import notice

__all__ = [
    "BASELINES",
    "available",
    "builtin_name",
    "check_options",
    "find",
    "foreign",
    "import_file",
    "import_part",
    "imported_files",
    "load",
    "missing_package",
    "notice",
    "remedy",
    "with_base",
    "with_base_class",
]

__path__ = list[str]()  # what is not a plugin is not imported from here
