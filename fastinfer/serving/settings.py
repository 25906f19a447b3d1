"""What a server needs to know, and where SageMaker's environment says it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from ..models.module import SHIPPED_MODEL, find_model

PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
BASE_VARIABLE = "SAGEMAKER_BASE_DIR"
PAYLOAD_VARIABLE = "SAGEMAKER_MAX_PAYLOAD_IN_MB"
DEFAULT_PORT = 8080
DEFAULT_BASE = "/opt/ml"

# What CreateTransformJob allows, and what the container takes beyond the 6 MiB that are the default.
PAYLOAD_MB_DEFAULT, PAYLOAD_MB_LIMIT = 6, 100
PAYLOAD_ROOM_BYTES = 6_553_500 - (6 << 20)


class Settings(NamedTuple):
    """What the command line says.

    Attributes:
        model, origin: the model, and where its name came from.
        program, exact, batch_size, device: see :func:`fastinfer.handlers.hooks.load_handler`.
        host, port: where to listen; port 0 takes a free one.
        workers: threads that compute.
        max_delay_s: how long a request may be held back for others to share its batch, while another batch runs.
        payload_mb: MiB of the largest body, as SageMaker counts them.
        grace_s: how long requests under way may take at the end.
        access_log: whether each request is told on stderr.
        quiet: whether nothing but errors is.
    """

    model: Path
    origin: str
    program: str | None
    exact: bool
    batch_size: int | None
    device: str
    host: str
    port: int
    workers: int
    max_delay_s: float
    payload_mb: int
    grace_s: float
    access_log: bool
    quiet: bool

    @property
    def payload_bytes(self) -> int:
        return (self.payload_mb << 20) + PAYLOAD_ROOM_BYTES

    @property
    def execution_parameters(self) -> dict[str, Any]:
        """What SageMaker is told for a transform job that says nothing else."""
        # As many as keep the workers busy and share batches, within what the service allows.
        concurrent = max(1, min(8 * self.workers, 100 // self.payload_mb))
        return {
            "MaxConcurrentTransforms": concurrent,
            "BatchStrategy": "MULTI_RECORD",
            "MaxPayloadInMB": self.payload_mb,
        }


def find_served_model(model: str | None) -> tuple[Path, str]:
    """The model to serve and where its name came from: as for every command, and SageMaker's own folder before the one
    that fastinfer ships."""
    path, origin = find_model(model)
    if path is SHIPPED_MODEL:
        base, named = os.environ.get(BASE_VARIABLE), f"${BASE_VARIABLE}"
        folder = Path(base or DEFAULT_BASE, "model")
        if folder.is_dir():
            return folder, named if base else "SageMaker's folder"
    return path, origin
