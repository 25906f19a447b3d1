"""``python -m fastinfer.serve``."""

from __future__ import annotations

import sys

from .serving.http import main

if __name__ == "__main__":
    sys.exit(main())
