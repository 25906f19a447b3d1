"""Rows of numbers are read from every form of results, and what is something else is refused with its place."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import InputError
from fastinfer.report import rows as module
from fastinfer.report.forms import Form
from fastinfer.report.results import Result
from fastinfer.report.rows import choose_field, read_rows

CSV, JSON, LINES, NPY = "text/csv", "application/json", "application/jsonlines", "application/x-npy"


def read(path: Path, content: str | bytes, form: Form) -> list[list[float] | None]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    parts = list(read_rows(str(path), form))
    return [None if rejected else row.tolist() for part in parts for row, rejected in zip(part.values, part.rejected)]


def npy(*arrays: object, end: bytes = b"") -> bytes:
    file = io.BytesIO()
    for array in arrays:
        np.save(file, np.asarray(array))
        file.write(end)
    return file.getvalue()


@pytest.mark.parametrize("batch", [1, 2, 4096])
@pytest.mark.parametrize(
    ("content", "form", "rows"),
    [
        ("1,2\nnull\n3,4\n", Form(CSV), [[1, 2], None, [3, 4]]),
        ("null\nnull\n", Form(CSV), [None, None]),
        ("id,a,b\nx,1,2\r\ny,3,nan", Form(CSV, (2, 1), has_head=True), [[2, 1], [float("nan"), 3]]),
        ("[1, 2]\n\nnull\n[3, 4]", Form(LINES), [[1, 2], None, [3, 4]]),
        ("1\n2\n", Form(LINES), [[1], [2]]),
        ('{"SageMakerInput": "x", "SageMakerOutput": [1, 2]}\n', Form(LINES), [[1, 2]]),
        ('{"SageMakerInput": "x", "SageMakerOutput": [[1, 2]]}\n', Form(JSON), [[1, 2]]),
        ('{"a": 0, "SageMakerOutput": 7}', Form(JSON), [[7]]),
        ('[{"a": [1], "b": [[2, 3]]}, null]', Form(JSON, field="b"), [[2, 3], None]),
        ("[[1], [2]]\n[[3]]", Form(JSON), [[1], [2], [3]]),
        (npy([[1, 2]], [[3, 4], [5, 6]]), Form(NPY), [[1, 2], [3, 4], [5, 6]]),
        (npy([[1.5]], [[2.5]], end=b"\n"), Form(NPY), [[1.5], [2.5]]),
        (npy(np.zeros((0, 3))), Form(NPY), []),
        ("", Form(CSV), []),
        ("", Form(LINES), []),
        ("[]", Form(JSON), []),
    ],
)
def test_rows_are_read_from_each_form(
    tmp_path: Path,
    content: str | bytes,
    form: Form,
    rows: list[list[float] | None],
    batch: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", batch)
    found = read(tmp_path / "x.out", content, form)
    assert str(found) == str([None if row is None else [float(each) for each in row] for row in rows])


@pytest.mark.parametrize(
    ("content", "form", "words", "line"),
    [
        ("1,2\nx,3\n", Form(CSV), "a cell of a prediction that is no number: 'x,3'", 2),
        ("h\n1\n\n", Form(CSV, (0,), has_head=True), "no number: ''", 3),
        ("1,2\n3\n", Form(CSV), "rows of unequal lengths", None),
        ("1,2\n3\n", Form(CSV, (1,)), "no number", 2),
        ("[1]\nx\n", Form(LINES), "no JSON: 'x'", 2),
        ('[["cat"]]', Form(JSON), "something else than numbers", None),
        ('[{"a": 1}, [2]]', Form(JSON, field="a"), "rows with and without names", None),
        ('[[2], {"a": 1}]', Form(JSON), "rows with and without names", None),
        ('[{"b": 1}]', Form(JSON, field="a"), "no 'a', but 'b'", None),
        ("", Form(JSON), "it is empty", None),
        ("[[]]", Form(JSON), "rows without values", None),
        ("[[], [1]]", Form(JSON), "rows of unequal lengths", None),
        (npy([[1]]).replace(b"(1, 1)", b"(1, 1 "), Form(NPY), "no array of numbers", None),
        (npy([[1]]).replace(b"(1, 1), }      ", b"(1, 999999999)}"), Form(NPY), "no array of numbers", None),
        (npy([[1]]).replace(b"(1, 1), }      ", b"(-1, 1), }     "), Form(NPY), "no array of numbers", None),
        (npy([[1]])[:8] + b"\x29\x23" + b"-" * 9000 + b"1", Form(NPY), "no array of numbers", None),
        (npy(["a"]), Form(NPY), "no array of numbers", None),
        (npy([[1]])[:-3], Form(NPY), "no array of numbers", None),
        (npy(3), Form(NPY), "no array of numbers", None),
        (b"\xff1\n", Form(CSV), "no text", None),
    ],
)
def test_what_is_no_row_of_numbers_is_refused(
    tmp_path: Path, content: str | bytes, form: Form, words: str, line: int | None
) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / "x.out", content, form)
    assert (caught.value.code, caught.value.path, caught.value.line) == ("bad_output", str(tmp_path / "x.out"), line)
    assert words in caught.value.message


def test_labels_of_the_results_come_with_their_rows(tmp_path: Path) -> None:
    (tmp_path / "x.out").write_text("7,1,2\nnull\ncat,3,4\n")
    (part,) = read_rows(str(tmp_path / "x.out"), Form(CSV, (1, 2), label=0))
    assert part.labels is not None
    assert str(part.labels.tolist()) == "[7.0, nan, nan]"


def test_of_several_outputs_the_first_with_numbers_is_shown_and_the_others_named(tmp_path: Path) -> None:
    path = tmp_path / "x.out"
    path.write_text('[null, {"name": "cat", "p": [0.5, 0.5], "q": 1}]')
    form = choose_field(Form(), [Result("x", str(path))])
    assert form.field == "p"
    assert form.notes == ("of each row 'p' is shown; it also has 'name', 'q'",)
    path.write_text('[{"name": "cat"}]')
    with pytest.raises(InputError, match="a row without numbers"):
        choose_field(Form(), [Result("x", str(path))])
    path.write_text("[null]")
    assert choose_field(Form(), [Result("x", str(path))]) == Form()
