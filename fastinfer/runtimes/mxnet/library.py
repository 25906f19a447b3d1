"""The only module that imports mxnet; what MXNet has in this process.

The import takes seconds, reads settings that cannot be changed afterwards, and needs what newer Pythons and NumPys have removed
(compat.py); this module handles all three. Call :func:`load_mxnet` where the framework is needed, never at the top of a module,
so that ``--help``, planning and errors that need no model do not wait for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import ConfigError
from . import compat

# mxnet reads these once. A value that the user has set is not changed.
#   OMP_NUM_THREADS, OPENBLAS_NUM_THREADS
#                        one thread per operator: the workers are the parallelism, more would oversubscribe the cores
#   MXNET_ENGINE_TYPE    run an operator in the thread that calls it, not in a shared pool of threads
# Without these of them a run is slow.
SPEED_SETTINGS = ("OMP_NUM_THREADS", "MXNET_ENGINE_TYPE")
INFERENCE_SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MXNET_ENGINE_TYPE": "NaiveEngine",
    "MXNET_SUBGRAPH_VERBOSE": "0",
}


# Variables of the environment by which MXNet and its libraries choose their code.
NUMERIC_VARIABLES = ("DNNL_", "MKLDNN_", "OPENBLAS_", "MXNET_MKLDNN_", "MXNET_SUBGRAPH_BACKEND", "OMP_NUM_THREADS")

ENGINE_LINE = b"MXNet start using engine"


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
    for name, value in (settings or {}).items():
        os.environ.setdefault(name, value)

    compat.install()
    try:
        with _without_engine_line():
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


@contextlib.contextmanager
def _without_engine_line() -> Iterator[None]:
    """Drops the line that MXNet prints if its engine was chosen by the environment.

    C++ prints to the file descriptor, so that must be replaced: other output on stderr is held, and printed when MXNet is
    loaded.
    """
    if sys.stderr is None:  # closed by the parent process
        yield
        return
    unwritable = contextlib.suppress(OSError, ValueError)  # stderr may be on a full disk, or closed
    with unwritable:
        sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            with unwritable:
                sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if ENGINE_LINE not in line:
                    with unwritable:
                        os.write(2, line)


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


def first_line(error: Exception) -> str:
    """The message of an MXNet error, without the C++ stack trace at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Traceback")]
    # If it repeats the arguments first, the message follows the name of its own error.
    named = (line.partition("MXNetError: ")[2] for line in lines if "MXNetError: " in line)
    return next(named, lines[0] if lines else type(error).__name__)


def numeric_environment() -> dict[str, str]:
    """The variables by which MXNet, as imported, chooses its code."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(NUMERIC_VARIABLES)}


def open_contexts(devices: Sequence[tuple[str, int]]) -> list[Any]:
    """MXNet contexts of devices, (kind, index) each.

    Raises:
        ConfigError: ``no_such_device`` for a GPU that this machine, or this build of MXNet, does not have.
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
                hint=None if built else "install a build of mxnet for this machine's CUDA (mxnet-cu112)",
            )
    return [mxnet.Context(kind, index) for kind, index in devices]


def count_gpus(mxnet: Any) -> int:
    """GPUs that MXNet can use here."""
    try:
        return int(mxnet.context.num_gpus())
    except mxnet.base.MXNetError:  # a build with CUDA on a machine without its driver
        return 0
