"""`python -m jaxhp` is the command `jaxhp`."""

import sys

from jaxhp.cli import main

if __name__ == "__main__":
    sys.exit(main())
