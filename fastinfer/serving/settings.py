"""The settings of a server, also from SageMaker's environment. Imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, NamedTuple

from ..errors import ConfigError
from ..models.choice import ChoiceKeywords
from ..models.module import SHIPPED_MODEL, as_model_error, find_model
from ..storage.places import fetch_for_good

PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
BASE_VARIABLE = "SAGEMAKER_BASE_DIR"
PAYLOAD_VARIABLE = "SAGEMAKER_MAX_PAYLOAD_IN_MB"
DEFAULT_PORT = 8080
DEFAULT_BASE = "/opt/ml"

# The limits of CreateTransformJob. The container accepts a few bytes more than its default of 6 MiB.
PAYLOAD_MB_DEFAULT, PAYLOAD_MB_LIMIT = 6, 100
PAYLOAD_EXTRA_BYTES = 6_553_500 - (6 << 20)
CONCURRENT_MB_LIMIT = 100  # MaxConcurrentTransforms times MaxPayloadInMB


class Settings(NamedTuple):
    """The settings of a server.

    So many attributes: the options of the command, by their names.

    Attributes:
        model, program, exact, batch_size, device, choice, runtime: see :func:`fastinfer.handlers.hooks.load_handler`.
        host, port: where to listen; port 0: any free one.
        workers: threads that compute.
        max_delay_s: how long a request may wait for others to share its batch, while another batch runs.
        payload_mb: MiB of the largest body, as SageMaker counts them.
        grace_s: how long a stopping server waits for requests that it is answering.
        drain_s: how long a stopping server reads from open connections that are silent.
        access_log: whether to log each request on stderr.
    """

    model: Path
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
    drain_s: float
    access_log: bool
    choice: ChoiceKeywords | None = None
    runtime: str | None = None

    @property
    def payload_bytes(self) -> int:
        """Bytes of the largest body."""
        return (self.payload_mb << 20) + PAYLOAD_EXTRA_BYTES

    @property
    def execution_parameters(self) -> dict[str, Any]:
        """Parameters for a transform job that names none; SageMaker requests them from the container."""
        # Enough concurrent requests to keep the workers busy and fill batches, within the limits of the service.
        concurrent = max(1, min(8 * self.workers, CONCURRENT_MB_LIMIT // self.payload_mb))
        return {
            "MaxConcurrentTransforms": concurrent,
            "BatchStrategy": "MULTI_RECORD",
            "MaxPayloadInMB": self.payload_mb,
        }


def find_served_model(model: str | None) -> tuple[Path, str]:
    """The model to serve, and what named it.

    A URL's is copied to this machine until the process ends. As for every command, but SageMaker's own folder comes before the
    model that fastinfer ships.

    Raises:
        ModelError: at a URL there is none, or it cannot be read.
        ServiceError: the URL's server refused, or was not reached.
    """
    path, origin = find_model(model)
    if isinstance(path, str):
        with as_model_error():
            return fetch_for_good(path), origin
    if path is SHIPPED_MODEL:
        base, variable = os.environ.get(BASE_VARIABLE), f"${BASE_VARIABLE}"
        folder = Path(base or DEFAULT_BASE, "model")
        if folder.is_dir():
            return folder, variable if base else "SageMaker's folder"
    return path, origin


def parse_port(text: str) -> int:
    """A port's number. Raises ValueError."""
    return _parse_number(text, 0, 65535, "a port")


def parse_payload_mb(text: str) -> int:
    """A size of a body in MB. Raises ValueError."""
    return _parse_number(text, 1, PAYLOAD_MB_LIMIT, "a number of MB")


def from_environment(name: str, parse: Callable[[str], int], default: int) -> int:
    """A number that SageMaker sets; `default` if it is not set.

    Raises:
        ConfigError: ``bad_environment``.
    """
    text = os.environ.get(name)
    if not text:
        return default
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"${name}: {error}", code="bad_environment") from error


def _parse_number(text: str, least: int, most: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ValueError(f"expected {what} from {least} to {most}, found {text!r}")
    return int(text)
