"""`python -m m1eval`, and the command `m1eval`."""

from m1eval.cli.main import main

if __name__ == "__main__":
    main()
