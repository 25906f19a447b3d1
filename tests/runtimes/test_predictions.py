"""What a pass gave is cut by records, whatever the outputs are."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fastinfer.codecs.csv_body import encode_csv
from fastinfer.codecs.json_rows import encode_json, encode_json_bodies
from fastinfer.codecs.jsonlines import encode_jsonlines
from fastinfer.errors import InputError
from fastinfer.runtimes.base import BoundInput, BoundOutput
from fastinfer.runtimes.predictions import JoinedInputs, as_array, by_record, with_one_input


def values(array: Any) -> memoryview:
    """As an executor gives them: float16 as uint16."""
    flat: Any = np.ascontiguousarray(array).reshape(-1)
    return memoryview(flat.view(np.uint16) if flat.dtype == np.float16 else flat)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "int64", "uint8", "int8", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("rows", [1, 2])
def test_records_are_printed_as_numpy_has_them(dtype: str, shape: tuple[int, ...], rows: int) -> None:
    array = np.random.RandomState(1).uniform(0, 9, (5 * rows, *shape)).astype(dtype)
    output = BoundOutput("x", rows, shape, dtype)
    found = by_record((output,), (values(array),))
    assert b"[" + encode_json(found[1:4], shape) + b"]" == json.dumps(array[rows : 4 * rows].tolist()).encode()
    bodies = encode_json_bodies(found, shape, [1, 0, 3])
    assert [json.loads(body) for body in bodies] == [
        array[:rows].tolist(),
        [],
        array[rows : 4 * rows].tolist(),
    ]
    np.testing.assert_array_equal(as_array(output, values(array)), array)


def test_of_several_outputs_a_record_is_an_object() -> None:
    left, right = np.arange(6, dtype=np.float16).reshape(3, 2), np.arange(6, dtype=np.int32)
    outputs = (BoundOutput("a", 1, (2,), "float16"), BoundOutput("b", 2, (), "int32"))
    found = by_record(outputs, (values(left), values(right)))
    text = b'{"a": [2.0, 3.0], "b": [2, 3]}, {"a": [4.0, 5.0], "b": [4, 5]}'
    assert encode_json(found[1:], (2,)) == text
    assert encode_json_bodies(found[1:], (2,), [2]) == [b"[" + text + b"]"]


class Summing:
    """Adds two inputs."""

    batch_size = 2
    gives_a_row_each = True
    outputs = (BoundOutput("sum", 1, (), "float32"),)

    def __init__(self) -> None:
        self.inputs = tuple(
            BoundInput(name, shape, memoryview(np.zeros(2 * width, np.float32)))  # type: ignore[arg-type]
            for name, shape, width in (("a", (), 1), ("b", (2,), 2))
        )

    def forward(self) -> tuple[memoryview, ...]:
        a, b = (np.frombuffer(each.memory, np.float32).reshape(2, -1) for each in self.inputs)
        return (values(a[:, 0] + b.sum(axis=1)),)


def test_columns_of_a_record_go_to_the_inputs() -> None:
    joined: Any = with_one_input(Summing())  # type: ignore[arg-type]
    assert isinstance(joined, JoinedInputs)
    assert joined.inputs[0].shape == (3,)
    np.frombuffer(joined.inputs[0].memory, np.float32)[:] = [1, 10, 100, 2, 20, 200]
    assert list(joined.forward()[0]) == [111, 222]
    assert with_one_input(joined) is joined


def test_lines_are_those_of_whole_bodies() -> None:
    labels = np.arange(3, dtype=np.int32)
    found = by_record((BoundOutput("x", 1, (), "int32"),), (values(labels),))
    assert (encode_csv(found, ()), encode_jsonlines(found, ())) == (b"0\n1\n2\n", b"0\n1\n2")
    steps = np.arange(8, dtype=np.float32).reshape(4, 2)
    found = by_record((BoundOutput("x", 2, (2,), "float32"),), (values(steps),))
    assert encode_csv(found[1:], (2,)) == b"4.0,5.0\n6.0,7.0\n"
    assert encode_jsonlines(found[1:], (2,)) == b"[4.0, 5.0]\n[6.0, 7.0]"
    outputs = (BoundOutput("a", 1, (2,), "float32"), BoundOutput("b", 1, (), "int32"))
    several = by_record(outputs, (values(steps[:3]), values(labels)))
    assert encode_jsonlines(several[:2], (2,)) == b'{"a": [0.0, 1.0], "b": 0}\n{"a": [2.0, 3.0], "b": 1}'
    with pytest.raises(InputError, match="unsupported Accept 'text/csv'"):
        encode_csv(several, (2,))
