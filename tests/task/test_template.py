"""Templates of task files: those that only fill in columns are filled in without Jinja, and as Jinja would."""

from pathlib import Path

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from m1eval import UsageError
from m1eval.task.template import compile_template, environment
from m1eval.yaml_file import YamlFile

NAMES = ["a", "question", "range", "loop", "_x", "true", "None", "self"]
PIECES = ["", " ", "\n", "text", "{", "}", "{#- a note -#}", "{% raw %}{{ a }}{% endraw %}", "\\boxed{}", "é🙂"]
PIECES += [
    form.replace("N", name) for name in NAMES for form in ("{{ N }}", "{{N}}", "{{- N -}}", "{{+ N }}", "{{ (N) }}")
]
PIECES += ["{{ a|upper }}", "{{ a.b }}", "{{ 'a' }}", "{{ 1 }}", "{{ a ~ a }}", "{% if a %}{{ a }}{% endif %}"]
SOURCE = YamlFile(Path("task.yaml"), {}, {})
VALUES = st.one_of(
    st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text(max_size=2), max_size=2)
)


@settings(max_examples=300, deadline=None)
@example("{{ self }}", {"self": "x"})
@example("{{ a }}{{ question }}", {"a": "x"})
@example("{{ a }}", {"a": 10**5000})
@given(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8),
)
def test_a_template_renders_as_jinja_does(text, row):
    try:
        template = environment().compiled(text)
    except Exception:  # noqa: BLE001 - whatever Jinja raises
        reject()
    render = compile_template(SOURCE, ("prompt",), text)
    try:
        expected = environment().render(template, row)
    except Exception:  # noqa: BLE001 - whatever Jinja raises
        with pytest.raises(UsageError, match="template"):
            render(row)
    else:
        assert render(row) == expected
