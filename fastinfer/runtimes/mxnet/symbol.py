"""MXNet's symbols (graphs) and NDArrays, as far as inference needs them; each frees what it holds."""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Collection, Mapping, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_uint32, c_void_p
from functools import cached_property
from typing import Any, NamedTuple

from ...errors import quote
from .empty_shapes import find_empty, reduce_reshaped
from .libmxnet import MXNetError, check, load_libmxnet

Shape = tuple[int, ...]

# MXNet's numbers of types (3rdparty/mshadow/mshadow/base.h), NumPy's names for them, and the C type of the same size.
TYPES: dict[int, tuple[str, Any]] = {
    0: ("float32", ctypes.c_float),
    1: ("float64", ctypes.c_double),
    2: ("float16", ctypes.c_uint16),
    3: ("uint8", ctypes.c_uint8),
    4: ("int32", ctypes.c_int32),
    5: ("int8", ctypes.c_int8),
    6: ("int64", ctypes.c_int64),
    7: ("bool", ctypes.c_bool),
}
FLOAT32 = 0
# Where MXNet keeps an array: kind of memory, and index.
CPU, GPU, CPU_PINNED = 1, 2, 3
Device = tuple[int, int]


class Inferred(NamedTuple):
    """Shapes or types of a symbol, each in the order of its names."""

    arguments: list[Any]
    outputs: list[Any]
    auxiliary: list[Any]


class Symbol:
    """A graph that MXNet has loaded."""

    def __init__(self, handle: c_void_p) -> None:
        self.handle = handle
        self._free = load_libmxnet().MXSymbolFree

    def __del__(self) -> None:
        self._free(self.handle)

    @classmethod
    def load(cls, text: str) -> Symbol:
        """Loads a graph from JSON. Raises MXNetError."""
        handle = c_void_p()
        check(load_libmxnet().MXSymbolCreateFromJSON(text.encode(), byref(handle)))
        return cls(handle)

    @classmethod
    def atomic(cls, operator: str, attributes: Mapping[str, str]) -> Symbol:
        """An operator by itself, to which MXNet has added all its inputs. Raises MXNetError."""
        library, kind, handle = load_libmxnet(), c_void_p(), c_void_p()
        check(library.NNGetOpHandle(operator.encode(), byref(kind)))
        names, values = texts(list(attributes)), texts(list(attributes.values()))
        check(library.MXSymbolCreateAtomicSymbol(kind, len(attributes), names, values, byref(handle)))
        symbol = cls(handle)
        check(library.NNSymbolCompose(handle, b"alone", 0, None, None))
        return symbol

    def to_json(self) -> str:
        """The graph as MXNet prints it: to graphs of old versions it has added inputs."""
        text = c_char_p()
        check(load_libmxnet().MXSymbolSaveToJSON(self.handle, byref(text)))
        return (text.value or b"").decode()

    def internals(self) -> Symbol:
        """The graph with all outputs of all its nodes as outputs."""
        handle = c_void_p()
        check(load_libmxnet().MXSymbolGetInternals(self.handle, byref(handle)))
        return Symbol(handle)

    def inputs(self) -> list[str]:
        """The names of arguments and auxiliary states."""
        return self._names("NNSymbolListInputNames", c_int(0))

    def arguments(self) -> list[str]:
        """The names of its arguments: data, labels and parameters."""
        return self._names("MXSymbolListArguments")

    def auxiliary(self) -> list[str]:
        """The names of its auxiliary states."""
        return self._names("MXSymbolListAuxiliaryStates")

    def outputs(self) -> list[str]:
        """The names of its outputs."""
        return self._names("MXSymbolListOutputs")

    def infer_shapes(self, given: Mapping[str, Shape]) -> Inferred | None:
        """The shapes of arguments, outputs and auxiliary states; None where they are not all determined.

        Args:
            given: shapes of some arguments.

        Raises:
            MXNetError: the graph does not accept these shapes.
        """
        if self._reduced is not None:
            try:
                self._reduced._infer_shapes(given)
            except MXNetError as error:
                name = find_empty(self.to_json(), str(error))
                if name is not None:
                    raise MXNetError(f"{quote(name)} reshapes an array without values") from error
        return self._infer_shapes(given)

    @cached_property
    def _reduced(self) -> Symbol | None:
        text = reduce_reshaped(self.to_json())
        return Symbol.load(text) if text is not None else None

    def _infer_shapes(self, given: Mapping[str, Shape]) -> Inferred | None:
        ends = [0]
        for shape in given.values():
            ends.append(ends[-1] + len(shape))
        sizes = [size for shape in given.values() for size in shape]
        found = [(c_uint32(), POINTER(c_int)(), POINTER(POINTER(c_int))()) for _ in range(3)]
        complete = c_int()
        check(
            load_libmxnet().MXSymbolInferShapeEx(
                self.handle,
                len(given),
                texts(list(given)),
                (c_uint32 * len(ends))(*ends),
                (c_int * len(sizes))(*sizes),
                *(byref(each) for group in found for each in group),
                byref(complete),
            )
        )
        if not complete.value:
            return None
        return Inferred(
            *(
                [tuple(shapes[number][: dimensions[number]]) for number in range(count.value)]
                for count, dimensions, shapes in found
            )
        )

    def module_types(self, inputs: Collection[str]) -> Inferred | None:
        """The types with which Module binds the graph.

        Tried in turn: inputs are float32 unless they are declared with a type; all are float32; none is given.

        Args:
            inputs: their names.

        Returns:
            None where the graph does not determine all types.

        Raises:
            MXNetError: an operator takes none of these types.
        """
        nodes = json.loads(self.to_json())["nodes"]
        declared = {node["name"] for node in nodes if node["op"] == "null" and "__dtype__" in node.get("attrs", {})}
        wrong: MXNetError | None = None
        for names in ([name for name in inputs if name not in declared], inputs, ()):
            try:
                types = self.infer_types(dict.fromkeys(names, FLOAT32))
            except MXNetError as error:
                wrong = wrong or error
                continue
            if types is not None:
                return types
        if wrong is not None:
            raise wrong
        return None

    def infer_types(self, given: Mapping[str, int]) -> Inferred | None:
        """The types (numbers of :data:`TYPES`) of arguments, outputs and auxiliary states; None where some are not determined.

        Args:
            given: types of some arguments.

        Raises:
            MXNetError: the graph does not accept these types.
        """
        found = [(c_uint32(), POINTER(c_int)()) for _ in range(3)]
        complete = c_int()
        check(
            load_libmxnet().MXSymbolInferType(
                self.handle,
                len(given),
                texts(list(given)),
                (c_int * len(given))(*given.values()),
                *(byref(each) for group in found for each in group),
                byref(complete),
            )
        )
        return Inferred(*(types[: count.value] for count, types in found)) if complete.value else None

    def _names(self, function: str, *arguments: Any) -> list[str]:
        count, names = c_uint32(), POINTER(c_char_p)()
        check(getattr(load_libmxnet(), function)(self.handle, *arguments, byref(count), byref(names)))
        return [(name or b"").decode() for name in names[: count.value]]


class Array:
    """An NDArray."""

    def __init__(self, handle: c_void_p) -> None:
        self.handle = handle
        self._free = load_libmxnet().MXNDArrayFree

    def __del__(self) -> None:
        self._free(self.handle)

    @classmethod
    def zeros(cls, shape: Shape, kind: int = FLOAT32, device: Device = (CPU, 0)) -> Array:
        """A new array. On a GPU its values are undefined.

        Args:
            shape: its shape.
            kind: the number of its type.
            device: where it is.
        """
        handle = c_void_p()
        sizes = (c_uint32 * len(shape))(*shape)
        check(load_libmxnet().MXNDArrayCreateEx(sizes, len(shape), *device, 0, kind, byref(handle)))
        array = cls(handle)
        if device[0] != GPU:
            ctypes.memset(array.address(), 0, math.prod(shape) * ctypes.sizeof(TYPES[kind][1]))
        return array

    @property
    def shape(self) -> Shape:
        """Its shape."""
        count, sizes = c_int(), POINTER(c_int)()
        check(load_libmxnet().MXNDArrayGetShapeEx(self.handle, byref(count), byref(sizes)))
        return tuple(sizes[: count.value])

    @property
    def kind(self) -> int:
        """The number of its type."""
        number = c_int()
        check(load_libmxnet().MXNDArrayGetDType(self.handle, byref(number)))
        return number.value

    def address(self) -> int:
        """Where its values are in memory, one behind another; not for a GPU. It is good until an operator writes the array."""
        address = c_void_p()
        check(load_libmxnet().MXNDArrayWaitToRead(self.handle))
        check(load_libmxnet().MXNDArrayGetData(self.handle, byref(address)))
        return address.value or 0

    def memory(self) -> memoryview:
        """Its values as a flat writable buffer. The caller keeps the array alive."""
        return as_view((TYPES[self.kind][1] * math.prod(self.shape)).from_address(self.address()))

    def read(self) -> memoryview:
        """A copy of its values, wherever they are, as a flat buffer."""
        size = math.prod(self.shape)
        values = (TYPES[self.kind][1] * size)()
        check(load_libmxnet().MXNDArraySyncCopyToCPU(self.handle, values, size))
        return as_view(values)

    def reshaped(self, shape: Shape) -> Array:
        """Its values under another shape; they are not copied."""
        handle = c_void_p()
        check(load_libmxnet().MXNDArrayReshape(self.handle, len(shape), (c_int * len(shape))(*shape), byref(handle)))
        return Array(handle)

    def sliced(self, start: int, stop: int) -> Array:
        """Some values along the first axis; they are not copied."""
        handle = c_void_p()
        check(load_libmxnet().MXNDArraySlice(self.handle, start, stop, byref(handle)))
        return Array(handle)

    def copy_from(self, other: Array) -> None:
        """Takes over the values of an array of the same shape, converted to this array's type."""
        check(load_libmxnet().MXNDArraySyncCopyFromNDArray(self.handle, other.handle, -1))


def load_arrays(content: bytes) -> dict[str, Array]:
    """The arrays of a parameter file, by name. Raises MXNetError."""
    count, handles, names_count, names = c_uint32(), POINTER(c_void_p)(), c_uint32(), POINTER(c_char_p)()
    check(
        load_libmxnet().MXNDArrayLoadFromBuffer(
            content, len(content), byref(count), byref(handles), byref(names_count), byref(names)
        )
    )
    arrays = [Array(c_void_p(handle)) for handle in handles[: count.value]]
    return dict(zip(((name or b"").decode() for name in names[: names_count.value]), arrays))


def as_view(values: Any) -> memoryview:
    """A ctypes array as a flat buffer of native values; float16, which Python does not have everywhere, as uint16."""
    return memoryview(values).cast("B").cast(values._type_._type_)


def texts(values: Sequence[str]) -> Any:
    """Texts as C has them."""
    return (c_char_p * len(values))(*(value.encode() for value in values))


def handles(values: Sequence[Array | None]) -> Any:
    """Arrays as C has them; NULL for None."""
    return (c_void_p * len(values))(*(None if value is None else value.handle for value in values))
