"""``python -m fastinfer.sagemaker``: the command ``fastinfer sagemaker``."""

import sys

from ..commands.sagemaker import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m fastinfer.sagemaker"))
