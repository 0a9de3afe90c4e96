"""The command line and Python accept the same values of a run's numeric options."""

import click
import pytest

from m1eval import UsageError
from m1eval.cli.run import run
from m1eval.run.options import RunOptions
from m1eval.run.ranges import RANGES

OPTIONS = {option.name: option for option in run.params}
EDGES = [
    (name, value, bounds.minimum + bounds.is_open <= value <= (value if bounds.maximum is None else bounds.maximum))
    for name, bounds in RANGES.items()
    for value in {bounds.minimum - 1, bounds.minimum, 1, bounds.maximum or 10, (bounds.maximum or 10) + 1}
]


@pytest.mark.parametrize(("name", "value", "is_accepted"), EDGES)
def test_the_command_line_and_python_accept_the_same_numbers(name, value, is_accepted):
    def by_command_line():
        option = OPTIONS[name]
        option.type_cast_value(click.Context(run), str(value))

    def by_python():
        RunOptions.of({name: value})

    for convert, error in ((by_command_line, click.BadParameter), (by_python, UsageError)):
        if is_accepted:
            convert()
        else:
            with pytest.raises(error):
                convert()
