"""A graph with all of its arrays, ready to run: what MXNet calls an executor."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from ctypes import POINTER, byref, c_uint32, c_void_p
from typing import Any

from .dense_rows import Part, View
from .libmxnet import check, load_libmxnet
from .symbol import CPU, TYPES, Array, Device, Shape, Symbol, handles

Arrays = dict[str, Array]


class BoundGraph:
    """A graph that MXNet has bound to arrays.

    Args:
        symbol: the graph.
        given: the arrays in host memory that callers write, by the names of inputs.
        parameters: the arrays of the model's file; those that the graph takes as they are belong to it from now on, since
            MXNet changes their layout.
        kinds: the type of each argument and auxiliary state.
        device: where it runs.

    Attributes:
        handle: MXNet's executor.
        outputs: its outputs.
        results: for each output its handle, the C type that holds its values, and how many it has.
        copies: to what the graph reads from what callers write, where that is not the same array.
    """

    def __init__(
        self, symbol: Symbol, given: Arrays, parameters: Arrays, kinds: Mapping[str, int], device: Device
    ) -> None:
        library = load_libmxnet()
        self._free = library.MXExecutorFree
        self.handle = c_void_p()
        self.copies: list[tuple[Array, Array]] = []
        shapes = symbol.infer_shapes({name: array.shape for name, array in given.items()})
        if shapes is None:
            raise ValueError("the graph does not determine all of its shapes")

        def place(name: str, saved: Array | None, shape: Shape) -> Array:
            """The array that the graph reads: zeros for what is not saved."""
            kind = kinds[name]
            if saved is None:
                saved = Array.zeros(shape, kind)
            if saved.kind == kind and device[0] == CPU:
                return saved
            # Converted as Module does it, which copies parameters into arrays of the graph's types.
            array = Array.zeros(shape, kind, device)
            array.copy_from(saved)
            if name in given:
                self.copies.append((array, saved))
            return array

        arguments = [
            place(name, given.get(name) or parameters.get(name), shape)
            for name, shape in zip(symbol.arguments(), shapes.arguments)
        ]
        auxiliary = [
            place(name, parameters.get(name), shape) for name, shape in zip(symbol.auxiliary(), shapes.auxiliary)
        ]
        no_gradients, count = handles([None] * len(arguments)), len(arguments)
        check(
            library.MXExecutorBindEX(
                *(symbol.handle, *device, 0, None, None, None, count, handles(arguments), no_gradients),
                *((c_uint32 * count)(), len(auxiliary), handles(auxiliary), None, byref(self.handle)),
            )
        )
        number, found = c_uint32(), POINTER(c_void_p)()
        check(library.MXExecutorOutputs(self.handle, byref(number), byref(found)))
        self.outputs = [Array(c_void_p(handle)) for handle in found[: number.value]]
        sizes = [(array, TYPES[array.kind][1], math.prod(array.shape)) for array in self.outputs]
        self.results = [(array.handle, c_type * size, size) for array, c_type, size in sizes]

    def __del__(self) -> None:
        if self.handle:
            self._free(self.handle)


def copy_part(part: Part, parameters: Arrays) -> Array:
    """The columns of a parameter that an operator takes by themselves."""
    array = Array.zeros(part.shape)
    target: Any = array.memory()
    width = part.shape[0] if len(part.shape) == 1 else math.prod(part.shape[1:])
    if not part.source:
        for row in range(part.rows):
            target[row * width] = 1.0
        return array
    values = parameters[part.source].memory()
    columns, count = len(values) // part.rows, part.stop - part.start
    blanks: Any = memoryview(struct.pack("f", -0.0) * width).cast("f")
    for row in range(len(target) // width):
        first, kept = row * width, count if row < part.rows else 0
        if kept:
            start = row * columns + part.start
            target[first : first + kept] = values[start : start + kept]
        if kept < width:
            target[first + kept : first + width] = blanks[kept:]
    return array


def view_of(view: View, source: Array) -> Array:
    """Some values of an array of one record."""
    flat = source.reshaped((math.prod(source.shape),))
    return flat.sliced(view.start, view.stop).reshaped(view.shape)
