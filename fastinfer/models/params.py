"""The binary file of a model's parameters, walked before MXNet reads it.

MXNet's own reader trusts the file: a wrong number of dimensions ends the process, and an unknown kind of array is taken for
the oldest one, whose size is then whatever follows. Here every header is checked against what MXNet writes, and the lengths
must add up to the file. The values themselves are not looked at.

    file:    u64 0x112, u64 0, u64 number of arrays, arrays, u64 number of names, names
    array:   u32 kind, then
               0xf993fac9 (since MXNet 1.0)  i32 storage, i32 dimensions, i64 each
               0xf993fac8                                 u32 dimensions, i64 each
               else (the oldest)             the kind is the number of dimensions, u32 each
             then i32 device, i32 its index, i32 type, values
    name:    u64 length, UTF-8: arg:NAME or aux:NAME as Module saves it, or the bare name
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from ..errors import ModelError, quote

FILE_KIND = 0x112
# The third has NumPy's shapes; Module cannot load it.
ARRAY, OLD_ARRAY, NUMPY_ARRAY = 0xF993FAC9, 0xF993FAC8, 0xF993FACA
STORAGE = {0: "dense", 1: "row-sparse", 2: "compressed sparse rows"}
DENSE = 0
DIMENSIONS = range(1, 9)
# MXNet counts the values of an array in 32 bits.
VALUES_LIMIT = 2**31 - 1
DEVICES, DEVICE_INDEXES = (1, 2, 3, 5), range(1 << 16)  # cpu, gpu, pinned and shared memory
# The types, by MXNet's numbers: their names and bytes.
TYPES = {
    0: ("float32", 4),
    1: ("float64", 8),
    2: ("float16", 2),
    3: ("uint8", 1),
    4: ("int32", 4),
    5: ("int8", 1),
    6: ("int64", 8),
    7: ("bool", 1),
    8: ("int16", 2),
    9: ("uint16", 2),
    10: ("uint32", 4),
    11: ("uint64", 8),
    12: ("bfloat16", 2),
}
BYTES = dict(TYPES.values())
NAMES_LIMIT = 100_000
NAME_LIMIT = 1024

COPY_AGAIN = "save the model again, or copy it again"

Shape = tuple[int, ...]


class Array(NamedTuple):
    """A saved array.

    Attributes:
        shape: its shape.
        type: the name of its values' type, as NumPy has it.
    """

    shape: Shape
    type: str


def bare(name: str) -> str:
    """The name of an array in the graph: without the ``arg:`` or ``aux:`` with which Module saves it."""
    return name[4:] if name.startswith(("arg:", "aux:")) else name


def read_params(content: bytes, path: str) -> dict[str, Array]:
    """All arrays, by the names in the graph.

    Raises:
        ModelError: ``bad_model``, with the array and its place in the file.
    """
    walk = _Walk(content, path)
    kind, reserved, count = walk.take("QQQ", "the file's header")
    if kind != FILE_KIND or reserved:
        raise walk.bad(f"it begins with {kind:#x} and {reserved:#x}, expected {FILE_KIND:#x} and 0x0", 0)
    if count > NAMES_LIMIT:
        raise walk.bad(f"it has {count:,} arrays, expected at most {NAMES_LIMIT:,}", 16)
    arrays = [_walk_array(walk, number) for number in range(count)]
    place = walk.place
    (names,) = walk.take("Q", "the number of names")
    if names != count:
        raise walk.bad(f"it has {names:,} names, expected one for each of {count:,} arrays", place)
    found: dict[str, Array] = {}
    for number, array in enumerate(arrays):
        place = walk.place
        name = bare(_take_name(walk, number))
        if name in found:
            raise walk.bad(f"two arrays have the name {quote(name)}, expected one", place)
        found[name] = array
    if walk.place != len(content):
        raise walk.bad(f"{len(content) - walk.place:,} bytes follow the last name, expected none", walk.place)
    return found


class _Walk:
    """A place in the file."""

    def __init__(self, content: bytes, path: str) -> None:
        self.content = content
        self.path = path
        self.place = 0

    def take(self, form: str, what: str) -> tuple[int, ...]:
        """The next little-endian numbers. Raises ModelError where the file ends before them."""
        form = "<" + form
        place = self.skip(struct.calcsize(form), what)
        return struct.unpack_from(form, self.content, place)

    def skip(self, size: int, what: str) -> int:
        """Steps over bytes; returns their place."""
        place = self.place
        if size > len(self.content) - place:
            raise self.bad(
                f"the file ends within {what}: {len(self.content) - place:,} bytes are left, expected {size:,}", place
            )
        self.place += size
        return place

    def bad(self, why: str, place: int, hint: str = COPY_AGAIN) -> ModelError:
        return ModelError(f"is not a readable file of parameters: {why} (at byte {place:,})", path=self.path, hint=hint)


def _walk_array(walk: _Walk, number: int) -> Array:
    """Steps over an array; returns its shape and type."""
    place, what = walk.place, f"array {number}"
    (kind,) = walk.take("I", f"the kind of {what}")
    if kind == NUMPY_ARRAY:
        raise walk.bad(
            f"{what} was saved with NumPy's shapes, expected MXNet's own", place, "save it after mx.npx.reset_np()"
        )
    if kind == ARRAY:
        storage, dimensions = walk.take("ii", f"the header of {what}")
        if storage != DENSE:
            found = STORAGE.get(storage, f"of the storage type {storage}")
            hint = "save it with tostype('default')" if storage in STORAGE else COPY_AGAIN
            raise walk.bad(f"{what} is {found}, expected a dense array", place, hint)
    elif kind == OLD_ARRAY:
        (dimensions,) = walk.take("I", f"the header of {what}")
    else:
        dimensions = kind
    if dimensions not in DIMENSIONS:
        raise walk.bad(f"{what} has {dimensions:,} dimensions, expected 1 to {DIMENSIONS[-1]}", place)
    shape = walk.take(("q" if kind in (ARRAY, OLD_ARRAY) else "I") * dimensions, f"the shape of {what}")
    if min(shape) <= 0 or math.prod(shape) > VALUES_LIMIT:
        raise walk.bad(
            f"{what} has the shape {quote(str(shape))}, expected sizes from 1 and at most {VALUES_LIMIT:,} values",
            place,
        )
    device, index, kind = walk.take("iii", f"the header of {what}")
    if device not in DEVICES or index not in DEVICE_INDEXES:
        raise walk.bad(
            f"{what} is on device {device} with index {index}, expected one of {DEVICES} "
            f"and an index of 0 to {DEVICE_INDEXES[-1]:,}",
            place,
        )
    if kind not in TYPES:
        raise walk.bad(f"{what} has the type {kind}, expected 0 to {max(TYPES)}", place)
    name, size = TYPES[kind]
    walk.skip(math.prod(shape) * size, f"{what} of shape {shape}")
    return Array(shape, name)


def _take_name(walk: _Walk, number: int) -> str:
    place = walk.place
    (size,) = walk.take("Q", f"the length of name {number}")
    if size > NAME_LIMIT:
        raise walk.bad(f"name {number} has {size:,} bytes, expected at most {NAME_LIMIT:,}", place)
    start = walk.skip(size, f"name {number}")
    content = walk.content[start : start + size]
    try:
        name = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise walk.bad(f"name {number} is {quote(content)}, expected UTF-8 text", place) from error
    if "\0" in name:  # where MXNet's names end
        raise walk.bad(f"name {number} is {quote(content)}, expected text without NUL", place)
    return name
