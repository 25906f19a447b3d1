"""libonnxruntime through its public C API: loaded without onnxruntime's Python package, whose import takes NumPy with it.

A program may import the package as well: it has its own copy of the library, and the two know nothing of each other.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import struct
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from typing import TYPE_CHECKING, Any, Callable

from ..errors import ConfigError
from ..extras import install_command
from ..models.onnx import TYPES

# Where the package keeps the library, and how its name begins; the version follows.
FOLDER, FILE_PREFIX = "capi", "libonnxruntime."
# That of onnxruntime 1.19; later versions have it too.
API_VERSION = 19
# From 1.29 on it reports to Microsoft which models it runs unless this is set, and keeps a database for that in the user's
# cache folder.
TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"
# What goes wrong is an exception; a line of its own on stderr would be said twice.
FATAL_ONLY = 4
# The graph is computed as it is written.
NO_OPTIMIZATION = 0
# Memory that a graph reads or writes begins where a register of AVX-512 may.
ALIGNMENT = 64

_OUT, _NAMES = POINTER(c_void_p), POINTER(c_char_p)

# The functions that are called: the place of each in the struct OrtApi, to whose end new ones are added, and the types of its
# arguments (onnxruntime_c_api.h).
FUNCTIONS: dict[str, tuple[int, tuple[Any, ...]]] = {
    "CreateEnv": (3, (c_int, c_char_p, _OUT)),
    "CreateSessionFromArray": (8, (c_void_p, c_char_p, c_size_t, c_void_p, _OUT)),
    "Run": (9, (c_void_p, c_void_p, _NAMES, _OUT, c_size_t, _NAMES, c_size_t, _OUT)),
    "CreateSessionOptions": (10, (_OUT,)),
    "SetSessionLogSeverityLevel": (22, (c_void_p, c_int)),
    "SetSessionGraphOptimizationLevel": (23, (c_void_p, c_int)),
    "SetIntraOpNumThreads": (24, (c_void_p, c_int)),
    "SetInterOpNumThreads": (25, (c_void_p, c_int)),
    "CreateTensorWithDataAsOrtValue": (49, (c_void_p, c_void_p, c_size_t, POINTER(c_int64), c_size_t, c_int, _OUT)),
    "GetTensorMutableData": (51, (c_void_p, _OUT)),
    "GetTensorElementType": (60, (c_void_p, POINTER(c_int))),
    "GetDimensionsCount": (61, (c_void_p, POINTER(c_size_t))),
    "GetDimensions": (62, (c_void_p, POINTER(c_int64), c_size_t)),
    "GetTensorTypeAndShape": (65, (c_void_p, _OUT)),
    "GetValueType": (67, (c_void_p, POINTER(c_int))),
    "CreateCpuMemoryInfo": (69, (c_int, c_int, _OUT)),
    "ReleaseStatus": (93, (c_void_p,)),
    "ReleaseSession": (95, (c_void_p,)),
    "ReleaseValue": (96, (c_void_p,)),
    "ReleaseTensorTypeAndShapeInfo": (99, (c_void_p,)),
    "ReleaseSessionOptions": (100, (c_void_p,)),
    "GetAvailableProviders": (125, (POINTER(_NAMES), POINTER(c_int))),
    "ReleaseAvailableProviders": (126, (_NAMES, c_int)),
    "AddSessionConfigEntry": (130, (c_void_p, c_char_p, c_char_p)),
    "SessionOptionsAppendExecutionProvider_CUDA_V2": (204, (c_void_p, c_void_p)),
    "CreateCUDAProviderOptions": (205, (_OUT,)),
    "UpdateCUDAProviderOptions": (206, (c_void_p, _NAMES, _NAMES, c_size_t)),
    "ReleaseCUDAProviderOptions": (208, (c_void_p,)),
}
GET_ERROR_MESSAGE = 2

# The formats of memoryviews that hold values, by NumPy's names of their types; float16, which Python does not have, as uint16.
FORMATS = {
    "float32": "f",
    "uint8": "B",
    "int8": "b",
    "uint16": "H",
    "int16": "h",
    "int32": "i",
    "int64": "l",
    "bool": "?",
    "float16": "H",
    "float64": "d",
    "uint32": "I",
    "uint64": "L",
}
NUMBERS = {name: number for number, name in TYPES.items()}
# What a graph may give, by number.
TENSOR = 1
KINDS = {2: "a sequence", 3: "a map", 4: "an opaque value", 5: "a sparse tensor", 6: "an optional value"}
OTHER_TYPES = {8: "strings", 14: "complex64", 15: "complex128", 16: "bfloat16"}

_loading = threading.Lock()
_loaded: Library | None = None


class OnnxRuntimeError(Exception):
    """What onnxruntime says of a call that failed, in one line."""


class Library:
    """The loaded library.

    Its functions are attributes, by the names of :data:`FUNCTIONS`: they take C types and raise OnnxRuntimeError.

    Args:
        path: of the file.

    Attributes:
        version: of onnxruntime.
        env: what all sessions share.
        host: says that a tensor's memory is the caller's.

    Raises:
        OSError, AttributeError: it cannot be loaded, or is another library.
    """

    def __init__(self, path: str) -> None:
        get_base = ctypes.CDLL(path).OrtGetApiBase
        get_base.restype = _OUT
        get_api, get_version = get_base()[:2]
        self.version: str = ctypes.CFUNCTYPE(c_char_p)(get_version)().decode()
        table = ctypes.CFUNCTYPE(_OUT, c_uint32)(get_api)(API_VERSION)
        if not table:
            raise OSError(f"onnxruntime {self.version} does not have version {API_VERSION} of its C API")
        self._message = ctypes.CFUNCTYPE(c_char_p, c_void_p)(table[GET_ERROR_MESSAGE])
        prototype = ctypes.CFUNCTYPE(c_void_p)
        for name, (place, types) in FUNCTIONS.items():
            function: Any = prototype(table[place])
            function.argtypes = types
            if name.startswith("Release"):
                function.restype = None
            else:
                function.errcheck = self._check
            setattr(self, name, function)
        self.env = self.make("CreateEnv", FATAL_ONLY, b"fastinfer")
        self.host = self.make("CreateCpuMemoryInfo", 0, 0)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def _check(self, status: int | None, *_: object) -> None:
        """Raises OnnxRuntimeError if a call has failed."""
        if status:
            lines = self._message(status).decode("utf-8", "replace").strip().splitlines()
            self.ReleaseStatus(status)
            raise OnnxRuntimeError(lines[0] if lines else "it does not say why")

    def make(self, name: str, *arguments: Any) -> c_void_p:
        """Calls a function whose last argument takes what it made."""
        made = c_void_p()
        getattr(self, name)(*arguments, byref(made))
        return made

    def providers(self) -> list[str]:
        """What this build may compute with, as CPUExecutionProvider."""
        names, count = _NAMES(), c_int()
        self.GetAvailableProviders(byref(names), byref(count))
        try:
            return [(name or b"").decode() for name in names[: count.value]]
        finally:
            self.ReleaseAvailableProviders(names, count)


def load_libonnxruntime() -> Library:
    """Loads the library; later calls return the same at no cost.

    Raises:
        ConfigError: ``onnxruntime_missing`` where it is not installed, ``onnxruntime_broken`` where it cannot be loaded.
    """
    global _loaded
    with _loading:
        if _loaded is None:
            path = find_library()
            os.environ.setdefault(TELEMETRY_VARIABLE, "1")
            try:
                _loaded = Library(path)
            except (OSError, AttributeError, OnnxRuntimeError) as error:
                raise ConfigError(f"onnxruntime cannot be loaded: {error}", code="onnxruntime_broken") from error
    return _loaded


def find_library() -> str:
    """The file of the library in the installed package.

    Raises:
        ConfigError: ``onnxruntime_missing``; ``onnxruntime_broken`` for a package without it.
    """
    try:
        spec = importlib.util.find_spec("onnxruntime")
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("onnxruntime is not installed", code="onnxruntime_missing", hint=install_command("onnx"))
    package = spec.submodule_search_locations[0]
    folder = os.path.join(package, FOLDER)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = next((name for name in sorted(names) if name.startswith(FILE_PREFIX)), None)
    if found is None:
        raise ConfigError(
            f"onnxruntime is installed in {package} without its C library {FILE_PREFIX}so",
            code="onnxruntime_broken",
            hint="install the package of PyPI, which has it",
        )
    return os.path.join(folder, found)


class Session:
    """A graph that is ready to run, for any number of threads at a time.

    Args:
        content: the model's file.
        settings: of the session, by onnxruntime's names.
        cuda: settings of the CUDA provider; None: the CPU alone computes.
        as_written: whether no operators are joined or left out.

    Raises:
        OnnxRuntimeError: it cannot be loaded, or CUDA cannot be started.
    """

    def __init__(
        self,
        content: bytes,
        settings: Mapping[str, str],
        cuda: Mapping[str, str] | None = None,
        *,
        as_written: bool = False,
    ) -> None:
        self._library = library = load_libonnxruntime()
        options = library.make("CreateSessionOptions")
        try:
            # One thread: the workers are the parallelism.
            library.SetIntraOpNumThreads(options, 1)
            library.SetInterOpNumThreads(options, 1)
            library.SetSessionLogSeverityLevel(options, FATAL_ONLY)
            if as_written:
                library.SetSessionGraphOptimizationLevel(options, NO_OPTIMIZATION)
            # It would also take its own format, which nobody has looked at here.
            for name, value in {**settings, "session.load_model_format": "ONNX"}.items():
                library.AddSessionConfigEntry(options, name.encode(), value.encode())
            if cuda is not None:
                _add_cuda(library, options, cuda)
            self._handle = library.make("CreateSessionFromArray", library.env, content, len(content), options)
        finally:
            library.ReleaseSessionOptions(options)
        # Not by __del__: weak references, by which sessions are shared, still give an object whose __del__ runs.
        weakref.finalize(self, library.ReleaseSession, self._handle).atexit = False

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> list[Tensor]:
        """A pass: what the graph gives as these outputs. Raises OnnxRuntimeError."""
        values = (c_void_p * len(outputs))()
        self.prepare(inputs, outputs, values)()
        return [Tensor(self._library, c_void_p(handle)) for handle in values]

    def prepare(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], values: Any) -> Callable[[], None]:
        """The call of a pass; `values` are the handles of what it writes, None where it is to make one.

        It may be called as long as the session and the tensors are held. Raises OnnxRuntimeError.
        """
        given = handles(inputs.values())
        names, wanted = _texts(inputs), _texts(outputs)
        run: Callable[..., None] = self._library.Run
        return functools.partial(run, self._handle, None, names, given, len(given), wanted, len(wanted), values)


class Tensor:
    """What a graph takes or gives.

    Args:
        library: that has made it.
        handle: the library's.
        memory: that it is made over, which is kept.
    """

    def __init__(self, library: Library, handle: c_void_p, memory: object = None) -> None:
        self._library, self.handle, self._memory = library, handle, memory

    @classmethod
    def over(cls, memory: Any, shape: Sequence[int], kind: str) -> Tensor:
        """A tensor whose values are those of a contiguous, writable buffer, without a copy. Raises OnnxRuntimeError."""
        library = load_libonnxruntime()
        held = memoryview(memory).cast("B")
        handle = library.make(
            "CreateTensorWithDataAsOrtValue",
            *(library.host, address_of(held), len(held), (c_int64 * len(shape))(*shape), len(shape), NUMBERS[kind]),
        )
        return cls(library, handle, held)

    def __del__(self) -> None:
        self._library.ReleaseValue(self.handle)

    def describe(self) -> tuple[str, tuple[int, ...]]:
        """NumPy's name of its type, and its shape; of what is no tensor of numbers what it is, in words, and ()."""
        kind = c_int()
        self._library.GetValueType(self.handle, byref(kind))
        if kind.value != TENSOR:
            return KINDS.get(kind.value, f"of ONNX's kind {kind.value}"), ()
        info = self._library.make("GetTensorTypeAndShape", self.handle)
        try:
            number, count = c_int(), c_size_t()
            self._library.GetTensorElementType(info, byref(number))
            self._library.GetDimensionsCount(info, byref(count))
            sizes = (c_int64 * count.value)()
            self._library.GetDimensions(info, sizes, count)
        finally:
            self._library.ReleaseTensorTypeAndShapeInfo(info)
        if number.value not in TYPES:
            return f"a tensor of {OTHER_TYPES.get(number.value, f'its type {number.value}')}", ()
        return TYPES[number.value], tuple(sizes)

    def read(self, size: int) -> memoryview:
        """The first bytes of its values; only while the tensor is held."""
        place = self._library.make("GetTensorMutableData", self.handle)
        return memoryview((c_char * size).from_address(place.value or 0)).cast("B")


def zeros(size: int) -> memoryview:
    """New memory of so many bytes, where a graph is quick to read and write."""
    raw = memoryview(bytearray(size + ALIGNMENT))
    first = -address_of(raw) % ALIGNMENT
    return raw[first : first + size]


def value_bytes(kind: str) -> int:
    """The bytes of a value of a type."""
    return struct.calcsize(FORMATS[kind])


def address_of(memory: memoryview) -> int:
    """Where writable memory begins."""
    return ctypes.addressof(c_char.from_buffer(memory))


def _add_cuda(library: Library, options: c_void_p, settings: Mapping[str, str]) -> None:
    cuda = library.make("CreateCUDAProviderOptions")
    try:
        library.UpdateCUDAProviderOptions(cuda, _texts(settings), _texts(settings.values()), len(settings))
        library.SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda)
    finally:
        library.ReleaseCUDAProviderOptions(cuda)


def _texts(values: Iterable[str]) -> Any:
    """Texts as C has them."""
    encoded = [value.encode() for value in values]
    return (c_char_p * len(encoded))(*encoded)


def handles(tensors: Iterable[Tensor]) -> Any:
    """Tensors as C has them."""
    found = [each.handle for each in tensors]
    return (c_void_p * len(found))(*found)
