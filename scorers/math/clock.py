"""Times of day, `9:30` and `9:30 p.m.`, which are neither ratios nor picometres."""

import re

TIME = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")
HALF_DAY = re.compile(r"\s*(?:\\(?:text|mathrm)\s*\{)?\s*([ap])\.?\s*m\.?\s*\}?\Z", re.IGNORECASE)
