"""`python -m m1eval`."""

from m1eval.cli import main

main()
