"""Columns that are kept, joined and printed."""

from __future__ import annotations

import pytest

from fastinfer.errors import InputError
from fastinfer.records.processing import CsvProcessing, join


def run(processing: CsvProcessing, body: bytes, predictions: bytes) -> tuple[bytes, bytes]:
    """The kept cells of a body, and its joined lines."""
    count = predictions.partition(b"\n")[0].count(b",") + 1
    columns, start = processing.columns(body, 0, len(body), count)
    out = bytearray()
    cut = columns.cut(body, start, len(body), out)
    assert not cut.unequal
    head = processing.head(columns, count)
    return bytes(out[: cut.end]), head + join(cut.pieces, predictions, processing.plan(columns, count), count)


BODY, ANSWER = b"a,1,2\nb,3,4\n", b"0.5,0.25\n0.125,1.0\n"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("$", b"a,1,2,0.5,0.25\nb,3,4,0.125,1.0\n"),
        ("$[0,-1]", b"a,0.25\nb,1.0\n"),
        ("$[2:4]", b"2,0.5\n4,0.125\n"),
        ("$[3:]", b"0.5,0.25\n0.125,1.0\n"),
        ("$[4,1,3,0:2]", b"0.25,1,0.5,a,1\n1.0,3,0.125,b,3\n"),
    ],
)
def test_an_output_filter_counts_the_record_and_then_the_prediction(output: str, expected: bytes) -> None:
    assert run(CsvProcessing("$[1:]", output, joins=True), BODY, ANSWER) == (b"1,2\n3,4\n", expected)


def test_without_a_join_the_output_filter_counts_the_prediction() -> None:
    assert run(CsvProcessing("$[1:]", "$[1]"), BODY, ANSWER) == (b"1,2\n3,4\n", b"0.25\n1.0\n")
    assert not CsvProcessing("$[1:]").prints


def test_columns_by_plain_words_stand_in_front() -> None:
    processing = CsvProcessing(id_column=0, label_column=-1)
    assert run(processing, b"a,1,x\nb,3,y\n", b"0.5\n1.0\n") == (b"1\n3\n", b"a,x,0.5\nb,y,1.0\n")


def test_a_header_names_columns_and_stays_in_the_result() -> None:
    processing = CsvProcessing(id_column="k", header=True)
    body = b'\xef\xbb\xbfu, "k" ,v\r\n1,a,2\r\n'
    assert run(processing, body, b"0.5,0.25\n") == (b"1,2\n", b"k,prediction_0,prediction_1\na,0.5,0.25\n")
    assert run(processing, body, b"0.5\n")[1].startswith(b"k,prediction\n")


def test_what_does_not_correspond_is_an_error() -> None:
    with pytest.raises(InputError, match="empty input"):
        CsvProcessing().columns(b"\n \n", 0, 3, 1)
    with pytest.raises(InputError, match="no column is left for the model of 1"):
        CsvProcessing(id_column=0).columns(b"a\n", 0, 2, 1)
    with pytest.raises(InputError, match="the header has 1 names, the rows have 2 cells"):
        CsvProcessing(header=True).columns(b"a\n1,2\n", 0, 6, 1)
    for pieces, answer in (([b"a"], b"1\n2\n"), ([b"a", b"b"], b"1\n")):
        with pytest.raises(InputError, match="cannot be joined") as caught:
            join(pieces, answer, [None, (0, 1)], 1)
        assert caught.value.code == "bad_answer"
