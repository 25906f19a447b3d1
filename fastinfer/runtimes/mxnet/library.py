"""The only module that imports mxnet's Python package: for training, for hooks, and for NDArrays of a program's own.

Models run without it (libmxnet.py). The import takes seconds, reads settings that cannot be changed afterwards, and needs what
newer Pythons and NumPys have removed (compat.py); this module handles all three. Call :func:`load_mxnet` where the package is
needed, never at the top of a module, so that nothing else waits for it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

from ...errors import ConfigError
from . import compat
from .libmxnet import check_devices
from .settings import set_missing, without_engine_line


def load_mxnet(settings: dict[str, str] | None = None) -> Any:
    """Imports mxnet and returns it; later calls return the same module at no cost.

    Args:
        settings: environment variables to set before the first import where the user has not set them. Without effect
            once mxnet is imported.

    Raises:
        ConfigError: ``mxnet_missing`` where it is not installed, ``mxnet_broken`` where its import fails.
    """
    if "mxnet" in sys.modules:
        return sys.modules["mxnet"]
    set_missing(settings)

    compat.install()
    try:
        with without_engine_line():
            import mxnet

            mxnet.nd.waitall()  # starts the engine
    except ModuleNotFoundError as error:
        if error.name != "mxnet":
            raise ConfigError(
                f"mxnet cannot be imported: it needs the module {error.name!r}",
                code="mxnet_broken",
                hint=f"pip install {error.name}" if error.name == "requests" else None,
            ) from error
        raise ConfigError("mxnet is not installed", code="mxnet_missing", hint=compat.install_hint()) from error
    except (ImportError, OSError, AttributeError) as error:
        raise ConfigError(f"mxnet cannot be imported: {error}", code="mxnet_broken") from error
    return mxnet


def ndarray_memory(array: Any) -> Any:
    """The memory of an NDArray as a flat, writable buffer of float32, which MXNet reads.

    Operators that were queued on it are finished first. The caller keeps ``array`` alive, and writes only when no operator
    uses it.

    Raises:
        ValueError: it is not dense, not float32, or not in host memory.
    """
    mxnet = load_mxnet()
    if array.stype != "default" or array.context.device_type not in ("cpu", "cpu_pinned", "cpu_shared"):
        raise ValueError(f"expected a dense NDArray on the CPU, not {array.stype} on {array.context}")
    if array.dtype.__name__ != "float32":
        raise ValueError(f"expected an NDArray of float32, not of {array.dtype.__name__}")
    array.wait_to_read()
    address = ctypes.c_void_p()
    mxnet.base.check_call(mxnet.base._LIB.MXNDArrayGetData(array.handle, ctypes.byref(address)))
    return (ctypes.c_float * array.size).from_address(address.value or 0)


def open_contexts(devices: Sequence[tuple[str, int]]) -> list[Any]:
    """MXNet contexts of devices, (kind, index) each.

    Raises:
        ConfigError: ``no_such_device`` for a GPU that this machine, or this build of MXNet, does not have.
    """
    mxnet = load_mxnet()
    check_devices(devices)
    return [mxnet.Context(kind, index) for kind, index in devices]
