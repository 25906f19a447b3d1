"""``python -m fastinfer.serve``: the command ``fastinfer serve``."""

import sys

from .commands.serve import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m fastinfer.serve"))
