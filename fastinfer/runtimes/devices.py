"""Device names of the command line, ``cpu``, ``gpu``, ``gpu:0,1``, and the MXNet contexts behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError, quote
from .mxnet.library import load_mxnet


def parse_device(text: str) -> list[tuple[str, int]]:
    """The devices that ``text`` names, as (kind, index): ``gpu:0,1`` is [("gpu", 0), ("gpu", 1)].

    Raises:
        ConfigError: ``bad_device`` where it is not of that form.
    """
    kind, colon, listed = text.partition(":")
    indices = listed.split(",") if colon else ["0"]
    if kind not in ("cpu", "gpu") or not all(index.isascii() and index.isdigit() for index in indices):
        raise ConfigError(f"expected cpu, gpu, gpu:0 or gpu:0,1, found {quote(text)}", code="bad_device")
    devices = [(kind, int(index)) for index in indices]
    if len(set(devices)) < len(devices):
        raise ConfigError(f"{quote(text)} names a device twice", code="bad_device")
    return devices


def open_contexts(devices: Sequence[tuple[str, int]]) -> list[Any]:
    """MXNet contexts of the devices.

    Raises:
        ConfigError: ``no_such_device`` where a GPU is named that this machine, or this build of MXNet, does not have.
    """
    mxnet = load_mxnet()
    gpus = count_gpus(mxnet) if any(kind == "gpu" for kind, _ in devices) else 0
    for kind, index in devices:
        if kind == "gpu" and index >= gpus:
            built = mxnet.runtime.Features().is_enabled("CUDA")
            reason = f"MXNet sees {gpus} GPUs" if built else f"mxnet {mxnet.__version__} here is a build without CUDA"
            raise ConfigError(
                f"there is no gpu:{index}: {reason}",
                code="no_such_device",
                hint="--device cpu"
                if built
                else "--device cpu, or a build of mxnet for this machine's CUDA (mxnet-cu112)",
            )
    return [mxnet.Context(kind, index) for kind, index in devices]


def count_gpus(mxnet: Any) -> int:
    """GPUs that MXNet can use here."""
    try:
        return int(mxnet.context.num_gpus())
    except mxnet.base.MXNetError:  # a build with CUDA on a machine without its driver
        return 0
