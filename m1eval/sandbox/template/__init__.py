"""Jinja2 in a sandbox with a limit on work: rendering any template ends soon and in bounded memory.

Jinja's sandbox keeps a template from reaching anything; it does not keep it from looping for ever or from writing
`'a' * 10**10`. Here everything that can repeat or grow is charged before it happens, to a budget that grows with the
input: iterations, calls, filters, operators, literals, output. Counting is deterministic; there is no clock.
Loops over iterables with a length are charged once, so that ordinary templates are not slowed down.
"""

from m1eval.sandbox.template.budget import TemplateLimitError
from m1eval.sandbox.template.environment import LONGEST_SOURCE, LimitedEnvironment

__all__ = ["LONGEST_SOURCE", "LimitedEnvironment", "TemplateLimitError"]
