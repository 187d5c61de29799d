"""``python -m infra.localcloud``."""

import sys

from infra.localcloud.cli import main

if __name__ == "__main__":
    sys.exit(main())
