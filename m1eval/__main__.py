"""`python -m m1eval`, and the command `m1eval`."""

import sys

try:
    from m1eval.cli import main
except KeyboardInterrupt:  # Ctrl-C before anything has begun
    sys.exit(130)

if __name__ == "__main__":  # worker processes import this module too
    main()
