"""`python -m camelid` is the same as `camelid`."""

import sys

from camelid.cli import main

if __name__ == "__main__":
    sys.exit(main())
