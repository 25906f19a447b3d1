"""The environment of a container's process: nothing in it of what this process has set for its own MXNet."""

from __future__ import annotations

import os
from pathlib import Path

OWN = ("SM_", "SAGEMAKER_", "OMP_", "OPENBLAS_NUM", "MXNET_", "PYTHONPATH")


def container_environment(python: Path) -> dict[str, str]:
    """The variables for what runs in the environment of ``python``, whose commands are found first."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    variables["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return variables
