"""Inputs and labels are read again as the run read them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import InputError
from fastinfer.report.inputs import Inputs, image_shape
from fastinfer.report.results import Result

A = Result("a.csv", "out/a.csv.out")


def inputs(folder: Path, content: bytes, **settings: Any) -> Inputs:
    (folder / "a.csv").write_bytes(content)
    asked = {name: settings.pop(name) for name in ("header", "input_filter", "label_column") if name in settings}
    return Inputs(str(folder), {"request": asked, "options": settings})


@pytest.mark.parametrize(
    ("content", "count", "settings", "records"),
    [
        (b"1,2\n3,4\n", 2, {}, {0: [1, 2], 1: [3, 4]}),
        (b"\xef\xbb\xbf1,2\r\n\r\n3,4", 2, {}, {0: [1, 2], 1: [3, 4]}),
        (b"1,2\n3,4\n", 1, {}, {0: [1, 2, 3, 4]}),
        (b"1,2,3,4\n", 2, {}, {0: [1, 2], 1: [3, 4]}),
        (b"a,b\n1,2\n", 1, {"skip_header": True}, {0: [1, 2]}),
        (b"# x\n1,2 # y\n", 1, {"comment": "#"}, {0: [1, 2]}),
        (b"a,b\n1,2\n", 1, {"header": "keep"}, {0: [1, 2]}),
        (b"1,2\r3,4\r", 2, {}, {0: [1, 2], 1: [3, 4]}),
        (b"1,\n", 1, {"missing": -1.0}, {0: [1, -1]}),
        (b"7,1,2\n8,3,4\n", 2, {"input_filter": "$[1:]"}, {0: [1, 2], 1: [3, 4]}),
        (b"\xef\xbb\xbfa,y,b\r\n1,7,2\r\n", 1, {"header": "keep", "label_column": "y"}, {0: [1, 2]}),
        (b"1,2\nx,y\n", 2, {}, {0: [1, 2]}),
        (gzip.compress(b"1,2\n", mtime=0), 1, {}, {0: [1, 2]}),
    ],
)
def test_records_are_those_of_the_run(
    tmp_path: Path, content: bytes, count: int, settings: dict[str, Any], records: dict[int, list[float]]
) -> None:
    found = inputs(tmp_path, content, **settings).records(A, count, range(count))
    assert {row: values.tolist() for row, values in found} == records


def test_inputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 lines for 2 predictions"):
        next(inputs(tmp_path, b"1\n2\n3\n").records(A, 2, [0]))
    with pytest.raises(InputError, match="0 lines for 1 predictions"):  # it was emptied
        next(inputs(tmp_path, b"\n").records(A, 1, [0]))
    with pytest.raises(InputError, match="no such input"):
        next(Inputs(str(tmp_path), {}).records(Result("b.csv", "x"), 1, [0]))
    with pytest.raises(InputError):
        next(inputs(tmp_path, gzip.compress(b"1,2\n" * 1000)[:-9]).records(A, 1, [0]))


def test_labels_come_from_a_column(tmp_path: Path) -> None:
    found = inputs(tmp_path, b"7,1,2\n\n8,3,4\n")
    assert found.column(A, 2, 0).tolist() == [7, 8]
    assert found.column(A, 2, -1).tolist() == [2, 4]
    for column, content, words in ((3, b"\n1,2\n", "no column 3"), (0, b"\nx,2\n", "expected a label, found 'x'")):
        with pytest.raises(InputError, match=words) as caught:
            inputs(tmp_path, content).column(A, 1, column)
        assert caught.value.line == 2
    with pytest.raises(InputError, match="1 lines for 2 predictions"):
        inputs(tmp_path, b"1,2\n").column(A, 2, 0)


def test_images_are_drawn_in_the_shape_of_the_model() -> None:
    assert image_shape({"row_shape": [1, 10, 20]}, 200)[0] == (1, 10, 20)
    assert image_shape({"row_shape": [3, 8, 8]}, 192)[0] == (3, 8, 8)
    assert image_shape({"row_shape": [10, 20]}, 200)[0] == (1, 10, 20)
    for shape in ([5, 8, 8], [200, 1, 1], [2, 2, 2, 40]):
        assert image_shape({"row_shape": shape}, 200)[0] is None
    shape, reason = image_shape({}, 784)
    assert shape == (1, 28, 28)
    assert "guess" in reason
    assert image_shape({"row_shape": [785]}, 785)[0] is None
    assert image_shape({}, 4)[0] is None
