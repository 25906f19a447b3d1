"""The table of content types: what is supported, how Accept is read, and what every body must hold."""

from __future__ import annotations

import io
import json
import re
import warnings
from typing import Any

import numpy as np
import pytest

from fastinfer.codecs.content_types import (
    CODECS,
    CONTENT_TYPES,
    CSV,
    JSON,
    JSONLINES,
    NPY,
    check_rows,
    choose_accepted,
    decode_rows,
    encode_predictions,
)
from fastinfer.errors import InputError


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(array))
    return stream.getvalue()


BODIES = {CSV: b"1,2\n3,4\n", JSON: b"[[1, 2], [3, 4]]", NPY: npy([[1, 2], [3, 4]]), JSONLINES: b"[1, 2]\n[3, 4]\n"}


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_every_content_type_gives_float32_rows(content_type: str) -> None:
    rows = decode_rows(BODIES[content_type], content_type, (2,))
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    assert rows.tolist() == [[1, 2], [3, 4]]


def test_csv_takes_the_models_shape_and_the_others_keep_theirs() -> None:
    shapes = {content_type: decode_rows(body, content_type, (2, 1, 1)).shape for content_type, body in BODIES.items()}
    assert shapes == {CSV: (2, 2, 1, 1), JSON: (2, 2), NPY: (2, 2), JSONLINES: (2, 2, 1, 1)}


def test_text_is_its_utf8() -> None:
    assert decode_rows("1,2\n", CSV, (2,)).tolist() == [[1, 2]]


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "text/csv; charset=utf-16", "csv"])
def test_an_unsupported_content_type_is_named_beside_the_supported_ones(content_type: str | None) -> None:
    supported = ", ".join([JSON, CSV, NPY, JSONLINES, "application/x-image"])
    message = f"unsupported content type {content_type or ''!r}: expected one of {supported}"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$") as caught:
        decode_rows(b"1", content_type, (1,))
    assert caught.value.code == "unsupported_content_type"


def test_a_content_type_may_be_unsupported() -> None:
    with pytest.raises(InputError, match=f"expected one of {JSON}, {NPY}$"):
        decode_rows(b"1", CSV, (1,), (JSON, NPY))
    with pytest.raises(InputError, match=f"expected one of {JSON}, {NPY}$"):
        choose_accepted(CSV, (JSON, NPY))


@pytest.mark.parametrize(
    ("array", "code", "message"),
    [
        (np.float32(1), "bad_shape", "expected a list of rows, found a single value"),
        (np.empty((0, 3)), "empty_input", "empty input: no rows found"),
    ],
)
def test_rows_are_there(array: Any, code: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_rows(np.asarray(array))
    assert caught.value.code == code
    with pytest.raises(InputError, match=message):
        decode_rows(npy(array), NPY, (3,))


def test_a_double_beyond_float32_is_infinite_without_a_warning() -> None:
    assert decode_rows(b"[[1e39, -1e39]]", JSON, (2,)).tolist() == [[np.inf, -np.inf]]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        (CSV, CSV),
        (f"image/png, {NPY},{CSV}", NPY),
        (f"{NPY};q=0.5, {CSV}", CSV),
        (f"{NPY};q=x, {CSV}", NPY),
        ("text/html, */*;q=0.1", JSON),
    ],
)
def test_the_first_supported_type_of_an_accept_header_is_chosen(accept: str | None, expected: str) -> None:
    assert choose_accepted(accept) == expected


@pytest.mark.parametrize("parameter", ["header=present", "label_size=1"])
def test_a_parameter_of_csv_that_means_other_lines_is_refused(parameter: str) -> None:
    with pytest.raises(InputError, match=f"^unsupported parameter '{parameter}' of text/csv: each line") as caught:
        decode_rows(b"1", f"text/csv; {parameter}", (1,))
    assert caught.value.code == "unsupported_content_type"
    assert decode_rows(b"1", "text/csv; header=absent; label_size=0", (1,)).tolist() == [[1]]


@pytest.mark.parametrize("name", ["Text/CSV", "text/csv; charset=utf-8", 'TEXT/CSV;Charset="UTF-8"; x=y', " text/csv "])
def test_letter_case_and_a_charset_that_utf8_includes_do_not_matter(name: str) -> None:
    assert decode_rows(b"1,2\n", name, (2,)).tolist() == [[1, 2]]
    assert choose_accepted(name) == CSV


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "json"])
def test_an_accept_header_without_a_supported_type_is_refused(accept: str) -> None:
    with pytest.raises(InputError, match=f"^unsupported Accept '{accept}': expected one of") as caught:
        choose_accepted(accept)
    assert caught.value.code == "unsupported_accept"


ARRAYS = {
    "float32": np.array([[0.1, 2], [3, np.inf]], np.float32),
    "float32 in Fortran's order": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "float32 numbers": np.array([0.1, 2], np.float32),
    "float32 maps": np.arange(8, dtype=np.float32).reshape(2, 2, 2),
    "one float32": np.array(0.1, np.float32),
    "double": np.array([[0.1, 2]]),
    "half": np.array([[0.1, 2]], np.float16),
    "integers": np.array([3, 1]),
    "truth": np.array([[True, False]]),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_predictions_of_any_type_are_printed_as_by_the_container(name: str, content_type: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the toolkit's own imports use what is deprecated
        from sagemaker_inference import encoder
    array = ARRAYS[name]
    if content_type == CSV and array.ndim not in (1, 2):
        with pytest.raises(InputError, match="unsupported Accept 'text/csv' for predictions of shape") as caught:
            encode_predictions(array, content_type)
        assert caught.value.code == "unsupported_accept"
        return
    if content_type == JSONLINES:  # not one of the container's
        values = array.tolist() if array.ndim else [array.tolist()]
        assert encode_predictions(array, content_type) == b"".join(json.dumps(row).encode() + b"\n" for row in values)
        return
    expected = encoder.encode(array.tolist(), content_type)
    assert encode_predictions(array, content_type) == (expected if isinstance(expected, bytes) else expected.encode())


def test_each_codec_reads_what_it_prints() -> None:
    rows = np.array([[0.1, 2], [3, -1e-40]], np.float32)
    for content_type, codec in CODECS.items():
        assert np.array_equal(decode_rows(codec.encode(rows), content_type, (2,)), rows)
    assert json.loads(CODECS[JSON].encode(rows)) == rows.tolist()
