"""`python -m petechia` is the command `petechia`."""

import sys

from petechia.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
