"""``python -m selip_core`` is ``selip``."""

import sys

from selip_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
