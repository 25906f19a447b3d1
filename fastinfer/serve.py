"""``python -m fastinfer.serve``."""

from __future__ import annotations

import sys

from .commands.serve import main

if __name__ == "__main__":
    sys.exit(main())
