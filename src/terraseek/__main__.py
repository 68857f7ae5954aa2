"""``python -m terraseek`` is the ``terraseek`` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
