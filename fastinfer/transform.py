"""``python -m fastinfer.transform``."""

from __future__ import annotations

import sys

from .commands.transform import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m fastinfer.transform"))
