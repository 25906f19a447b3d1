"""The headers of a parameters file: what MXNet writes passes, and nothing else reaches MXNet."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from fastinfer.errors import ModelError
from fastinfer.models.params import ARRAY, NUMPY_ARRAY, OLD_ARRAY, Array, read_params
from tests.networks import mx


def array(
    kind: int = ARRAY,
    storage: int = 0,
    shape: tuple[int, ...] = (2, 3),
    dimensions: int | None = None,
    device: tuple[int, int] = (1, 0),
    type_code: int = 0,
    size: int = 24,
) -> bytes:
    """An array of that kind; by default of float32 and shape (2, 3)."""
    count = len(shape) if dimensions is None else dimensions
    start = {
        ARRAY: struct.pack("<Iii", kind, storage, count),
        NUMPY_ARRAY: struct.pack("<Iii", kind, storage, count),
        OLD_ARRAY: struct.pack("<Ii", kind, count),
    }.get(kind, struct.pack("<I", kind))
    sizes = struct.pack(f"<{len(shape)}{'q' if kind in (ARRAY, NUMPY_ARRAY, OLD_ARRAY) else 'I'}", *shape)
    return start + sizes + struct.pack("<iii", *device, type_code) + bytes(size)


def pack(*arrays: bytes, names: tuple[bytes, ...] = (b"arg:a",), magic: int = 0x112, reserved: int = 0) -> bytes:
    listed = b"".join(struct.pack("<Q", len(name)) + name for name in names)
    return struct.pack("<QQQ", magic, reserved, len(arrays)) + b"".join(arrays) + struct.pack("<Q", len(names)) + listed


@pytest.mark.parametrize("kind", [ARRAY, OLD_ARRAY, 2])
def test_arrays_of_all_ages_are_read_as_mxnet_reads_them(kind: int) -> None:
    content = pack(array(kind))
    assert read_params(content, "x") == {"a": Array((2, 3), "float32")}
    assert mx.nd.load_frombuffer(content)["arg:a"].shape == (2, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int8", "int32", "int64", "bool"])
def test_what_mxnet_saves_is_read(dtype: str, tmp_path: Path) -> None:
    saved = {"arg:é": mx.nd.zeros((3, 1, 2), dtype=dtype), "aux:b": mx.nd.zeros((5,), dtype=dtype)}
    mx.nd.save(str(tmp_path / "x"), saved)
    assert read_params((tmp_path / "x").read_bytes(), "x") == {"é": Array((3, 1, 2), dtype), "b": Array((5,), dtype)}


def test_names_need_not_say_what_their_arrays_are() -> None:
    assert read_params(pack(array(), names=(b"weight",)), "x") == {"weight": Array((2, 3), "float32")}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file ends within the file's header: 0 bytes are left, expected 24 (at byte 0)"),
        (pack(array(), magic=0x113), "it begins with 0x113 and 0x0, expected 0x112 and 0x0"),
        (pack(array(), reserved=1), "it begins with 0x112 and 0x1"),
        (struct.pack("<QQQ", 0x112, 0, 1 << 60), "arrays, expected at most 100,000"),
        (pack(array(dimensions=-1)), "array 0 has -1 dimensions, expected 1 to 8 (at byte 24)"),
        (pack(array(dimensions=0)), "array 0 has 0 dimensions"),
        (pack(array(dimensions=1 << 30)), "dimensions, expected 1 to 8"),
        (pack(array(kind=1 << 30)), "1,073,741,824 dimensions, expected 1 to 8"),
        (pack(array(kind=NUMPY_ARRAY)), "was saved with NumPy's shapes"),
        (pack(array(storage=-1)), "array 0 is of the storage type -1, expected a dense array"),
        (pack(array(storage=1)), "array 0 is row-sparse, expected a dense array"),
        (pack(array(shape=(2, 0))), "has the shape '(2, 0)', expected sizes from 1 and at most 2,147,483,647 values"),
        (pack(array(shape=(2, -3))), "has the shape '(2, -3)'"),
        (pack(array(shape=(1 << 62, 4))), "has the shape"),
        (pack(array(shape=(1 << 20, 1 << 20))), "has the shape"),
        (pack(array(shape=(2, 300))), "bytes are left, expected 2,400"),
        (
            pack(array(device=(9, 0))),
            "is on device 9 with index 0, expected one of (1, 2, 3, 5) and an index of 0 to 65,535",
        ),
        (pack(array(device=(1, -1))), "is on device 1 with index -1"),
        (pack(array(type_code=77)), "has the type 77, expected 0 to 12"),
        (pack(array(type_code=-1)), "has the type -1"),
        (pack(array(size=23)), "names"),
        (pack(array(), names=()), "it has 0 names, expected one for each of 1 arrays"),
        (pack(array(), array(), names=(b"arg:a", b"arg:a")), "two arrays have the name 'a', expected one"),
        (pack(array(), array(), names=(b"arg:a", b"a")), "two arrays have the name 'a', expected one"),
        (pack(array(), names=(b"arg:\xff",)), "name 0 is 'arg:\\xff', expected UTF-8 text"),
        (pack(array(), names=(b"arg:a\0b",)), "name 0 is 'arg:a\\x00b', expected text without NUL"),
        (pack(array(), names=(b"arg:" + b"a" * 2000,)), "name 0 has 2,004 bytes, expected at most 1,024"),
        (pack(array())[:-1], "the file ends within name 0: 4 bytes are left, expected 5"),
        (pack(array()) + b"!", "1 bytes follow the last name, expected none"),
    ],
)
def test_everything_else_is_refused_with_its_place(content: bytes, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_params(content, "model/x.params")
    assert (caught.value.code, caught.value.path) == ("bad_model", "model/x.params")
    assert words in str(caught.value)
