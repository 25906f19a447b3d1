"""libmxnet.so through its public C API: loaded without MXNet's Python package, whose import takes seconds.

The package generates wrappers of all operators, which inference never calls. A program, a model's hooks and training may still
import it: both then share one library, and the settings with which it was started first.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import struct
import sys
import threading
import zlib
from collections.abc import Sequence
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any

from ...errors import ConfigError, said
from .settings import set_missing, without_engine_line

PATH_VARIABLE = "MXNET_LIBRARY_PATH"
FILE_NAME = "libmxnet.so"

# Libraries that the wheel of mxnet needs and does not contain, and the Debian packages that do.
SYSTEM_PACKAGES = {"libgomp.so.1": "libgomp1", "libquadmath.so.0": "libquadmath0", "libstdc++.so.6": "libstdc++6"}

# The head of an ELF file's note with the build id: lengths of name and id, type 3, name.
BUILD_ID_NOTE = struct.pack("<3I4s", 4, 20, 3, b"GNU\0")

# MXNet 1.9 ends the process if two threads bind at the same time: a thread that binds holds this lock.
binding = threading.RLock()

_HANDLES, _NAMES, _INTS = POINTER(c_void_p), POINTER(c_char_p), POINTER(c_int)
_COUNT, _INTS_OUT = POINTER(c_uint32), POINTER(_INTS)
_SHAPES_OUT = (_COUNT, _INTS_OUT, POINTER(POINTER(_INTS)))

# The types of the arguments of the functions that are called; all return 0, or -1 for an error (include/mxnet/c_api.h).
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "MXGetVersion": (_INTS,),
    "MXGetGPUCount": (_INTS,),
    "MXLibInfoFeatures": (POINTER(c_void_p), POINTER(c_size_t)),
    "MXListAllOpNames": (_COUNT, POINTER(_NAMES)),
    "MXNDArrayWaitAll": (),
    "MXSetNumOMPThreads": (c_int,),
    "MXNDArrayCreateEx": (_COUNT, c_uint32, c_int, c_int, c_int, c_int, _HANDLES),
    "MXNDArrayFree": (c_void_p,),
    "MXNDArrayGetData": (c_void_p, POINTER(c_void_p)),
    "MXNDArrayGetDType": (c_void_p, _INTS),
    "MXNDArrayGetShapeEx": (c_void_p, _INTS, POINTER(_INTS)),
    "MXNDArrayLoadFromBuffer": (c_char_p, c_size_t, _COUNT, POINTER(_HANDLES), _COUNT, POINTER(_NAMES)),
    "MXNDArrayReshape": (c_void_p, c_int, _INTS, _HANDLES),
    "MXNDArraySlice": (c_void_p, c_uint32, c_uint32, _HANDLES),
    "MXNDArraySyncCopyFromNDArray": (c_void_p, c_void_p, c_int),
    "MXNDArraySyncCopyToCPU": (c_void_p, c_void_p, c_size_t),
    "MXNDArrayWaitToRead": (c_void_p,),
    "MXSymbolCreateFromJSON": (c_char_p, _HANDLES),
    "MXSymbolSaveToJSON": (c_void_p, _NAMES),
    "MXSymbolFree": (c_void_p,),
    "MXSymbolGetInternals": (c_void_p, _HANDLES),
    "MXSymbolListArguments": (c_void_p, _COUNT, POINTER(_NAMES)),
    "MXSymbolListAuxiliaryStates": (c_void_p, _COUNT, POINTER(_NAMES)),
    "MXSymbolListOutputs": (c_void_p, _COUNT, POINTER(_NAMES)),
    "MXSymbolInferShapeEx": (c_void_p, c_uint32, _NAMES, _COUNT, _INTS, *_SHAPES_OUT * 3, _INTS),
    "MXSymbolInferType": (c_void_p, c_uint32, _NAMES, _INTS, *(_COUNT, _INTS_OUT) * 3, _INTS),
    "MXSymbolCreateAtomicSymbol": (c_void_p, c_uint32, _NAMES, _NAMES, _HANDLES),
    "NNGetOpHandle": (c_char_p, _HANDLES),
    "NNSymbolCompose": (c_void_p, c_char_p, c_uint32, _NAMES, _HANDLES),
    "NNSymbolListInputNames": (c_void_p, c_int, _COUNT, POINTER(_NAMES)),
    "MXExecutorBindEX": (
        *(c_void_p, c_int, c_int, c_uint32, _NAMES, _INTS, _INTS),
        *(c_uint32, _HANDLES, _HANDLES, _COUNT, c_uint32, _HANDLES, c_void_p, _HANDLES),
    ),
    "MXExecutorForward": (c_void_p, c_int),
    "MXExecutorFree": (c_void_p,),
    "MXExecutorOutputs": (c_void_p, _COUNT, POINTER(_HANDLES)),
}

_loading = threading.Lock()
_loaded: ctypes.CDLL | None = None


class MXNetError(Exception):
    """What MXNet says of a call that failed, in one line."""


class _Feature(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("enabled", c_bool)]


def load_libmxnet(settings: dict[str, str] | None = None) -> Any:
    """Loads the library and starts its engine; later calls return the same library at no cost.

    Args:
        settings: environment variables to set before the library is loaded where the user has not set them. Without effect
            later, and where mxnet is imported.

    Returns:
        the library; its functions take C types (:data:`FUNCTIONS`) and return 0, or -1 for an error: see :func:`check`.

    Raises:
        ConfigError: ``mxnet_missing`` where it is not installed, ``mxnet_broken`` where it cannot be loaded.
    """
    global _loaded
    if _loaded is not None:
        return _loaded
    with _loading:
        if _loaded is None:
            path = find_library()
            set_missing(settings)
            _loaded = _open(path)
    return _loaded


def is_started() -> bool:
    """Whether this process has MXNet already, so that its settings cannot be changed any more."""
    return _loaded is not None or "mxnet" in sys.modules


def find_library() -> str:
    """The file that mxnet's Python package has loaded, or would load: ``$MXNET_LIBRARY_PATH``, else that of the package.

    Raises:
        ConfigError: ``mxnet_missing``.
    """
    imported = getattr(getattr(sys.modules.get("mxnet"), "base", None), "_LIB", None)
    if imported is not None:
        return str(imported._name)
    named = os.environ.get(PATH_VARIABLE)
    if named and os.path.isabs(named) and os.path.isfile(named):
        return named
    try:
        spec = importlib.util.find_spec("mxnet")
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        from .compat import install_hint

        raise ConfigError("mxnet is not installed", code="mxnet_missing", hint=install_hint())
    package = spec.submodule_search_locations[0]
    # In the order of mxnet/libinfo.py.
    folders = [folder.strip() for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder.strip()]
    places = [
        Path(folder, FILE_NAME) for folder in (*folders, package, f"{package}/../../lib", f"{package}/../../build")
    ]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ConfigError(f"mxnet is installed in {package} without {FILE_NAME}", code="mxnet_broken")
    return str(found)


def _open(path: str) -> ctypes.CDLL:
    try:
        library = _dlopen(path)
        for name, types in FUNCTIONS.items():
            getattr(library, name).argtypes = types
        library.MXGetLastError.restype = c_char_p
    except (OSError, AttributeError) as error:
        missing = next((name for name in SYSTEM_PACKAGES if f"{name}: cannot open" in str(error)), None)
        raise ConfigError(
            f"mxnet cannot be loaded: {error}",
            code="mxnet_broken",
            hint=None
            if missing is None
            else f"apt-get install {SYSTEM_PACKAGES[missing]} (the Debian package of {missing})",
        ) from error
    # Operators of the old kind (SliceChannel, SwapAxis) get their shapes and outputs only when all are listed.
    library.MXListAllOpNames(byref(c_uint32()), byref(_NAMES()))
    with without_engine_line():
        library.MXNDArrayWaitAll()  # starts the engine
    return library


def _dlopen(path: str) -> ctypes.CDLL:
    """As ctypes.CDLL, but functions are looked up when they are first called: of 60 ms that saves 10. Raises OSError."""
    system = ctypes.CDLL(None)
    system.dlopen.argtypes, system.dlopen.restype = (c_char_p, c_int), c_void_p
    system.dlerror.restype = c_char_p
    handle = system.dlopen(os.fsencode(path), os.RTLD_LAZY)
    if handle is None:
        raise OSError((system.dlerror() or b"").decode("utf-8", "replace"))
    return ctypes.CDLL(path, handle=handle)


def check(status: int) -> None:
    """Raises MXNetError, with what MXNet says, if a call has failed. To be called in the thread that called."""
    if status:
        raise MXNetError(first_line(Exception(load_libmxnet().MXGetLastError().decode("utf-8", "replace"))))


def first_line(error: Exception) -> str:
    """The message of an error of MXNet or of its package, without a trace of calls."""
    lines = [line.strip() for line in said(error).splitlines() if line.strip() and not line.startswith("Traceback")]
    # If it repeats the arguments first, the message follows the name of its own error.
    named = (line.partition("MXNetError: ")[2] for line in lines if "MXNetError: " in line)
    return next(named, lines[0] if lines else type(error).__name__)


def version() -> str:
    """MXNet's version, as 1.9.1."""
    number = c_int()
    check(load_libmxnet().MXGetVersion(byref(number)))
    return f"{number.value // 10000}.{number.value // 100 % 100}.{number.value % 100}"


@functools.lru_cache(maxsize=1)
def build() -> str:
    """Which build of the library it is: the linker's id of it; where it has none, its size and a digest of its first MiB."""
    path = load_libmxnet()._name
    with open(path, "rb") as file:
        head = file.read(1 << 20)
    place = head.find(BUILD_ID_NOTE)
    if place >= 0:
        return head[place + len(BUILD_ID_NOTE) :][:20].hex()
    return f"{os.path.getsize(path)}-{zlib.crc32(head):08x}"


def blas() -> str | None:
    """For which processor OpenBLAS, by which MXNet multiplies matrices, has chosen its code; None where there is none, or it
    does not say.

    It goes by the model of the CPU, and takes code for old ones (Prescott) where it does not know that: two CPUs with the same
    instructions can give other bits.
    """
    try:
        corename: Any = load_libmxnet().openblas_get_corename
    except AttributeError:
        return None
    corename.restype = c_char_p
    return str(corename().decode())


def features() -> dict[str, bool]:
    """What MXNet's build may have, and whether it does."""
    first, count = c_void_p(), c_size_t()
    check(load_libmxnet().MXLibInfoFeatures(byref(first), byref(count)))
    found = (_Feature * count.value).from_address(first.value or 0)
    return {each.name.decode(): each.enabled for each in found}


def count_gpus() -> int:
    """GPUs that MXNet can use here; none where a build with CUDA does not find its driver."""
    count = c_int()
    return 0 if load_libmxnet().MXGetGPUCount(byref(count)) else count.value


def check_devices(devices: Sequence[tuple[str, int]]) -> None:
    """Checks devices, (kind, index) each.

    Raises:
        ConfigError: ``no_such_device`` for a GPU that this machine, or this build of MXNet, does not have.
    """
    gpus = count_gpus() if any(kind == "gpu" for kind, _ in devices) else 0
    for kind, index in devices:
        if kind == "gpu" and index >= gpus:
            built = features()["CUDA"]
            reason = f"MXNet sees {gpus} GPUs" if built else f"mxnet {version()} here is a build without CUDA"
            raise ConfigError(
                f"there is no gpu:{index}: {reason}",
                code="no_such_device",
                hint=None if built else "install a build of mxnet for this machine's CUDA (mxnet-cu112)",
            )
