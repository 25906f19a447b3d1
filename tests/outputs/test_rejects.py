"""A reject stays as long as the result stands that lacks its record, and no longer; each is there once."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

from fastinfer.errors import InputError
from fastinfer.outputs.folder import OutputFolder
from fastinfer.outputs.layout import REJECTS
from fastinfer.outputs.rejects import MOST_LINE_BYTES, MOST_RECORD_BYTES, Reject, find_place
from fastinfer.outputs.writer import Result
from fastinfer.records.spans import Span, whole
from fastinfer.storage.base import Object
from tests.outputs.results import item, open_writer

RECORD = {"depends_on": {"model": "abc"}}


def error(line: int) -> InputError:
    return InputError("expected a number, found 'x'", code="expected_number", line=line, column=5)


def read(folder: Path) -> list[dict[str, Any]]:
    path = folder / REJECTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def places(folder: Path) -> list[tuple[str, int | None]]:
    return [(reject["key"], reject["line"]) for reject in read(folder)]


def reject(folder: OutputFolder, span: Span, *lines: int) -> None:
    run = folder.layout.run
    folder.rejects.append(Reject.of_record(run, span, error(line), b"x", (0, 1)) for line in lines)


def write(folder: OutputFolder, span: Span, rejected: int) -> None:
    """The result of an object or a span that lacks some records."""
    writer = open_writer(folder)
    result: Result = writer.open(span)
    for _ in range(rejected):
        result.add_rejected()
    result.add_rows(b"[1.0]", 1)
    writer.finish(result)
    writer.flush()


class Run:
    """A run in a folder, which is killed unless it is finished."""

    def __init__(self, root: Path, *, overwrite: bool = False, record: dict[str, Any] = RECORD) -> None:
        self._opened = OutputFolder(str(root)).open_run(record, overwrite=overwrite)

    def __enter__(self) -> OutputFolder:
        return self._opened.__enter__()

    def __exit__(self, *_: Any) -> None:
        self._opened.__exit__(None, None, None)


def test_a_reject_has_place_reason_and_the_record_itself() -> None:
    source = Object("/in/é.csv", 'a "b\\.csv', 40, b"\x01\xff")
    record = Reject.of_record("0" * 16, Span(source, 20, 40, 2), error(3), b"1,\xffx", (25, 29))
    found = json.loads(record.encode())
    assert found == {
        "key": 'a "b\\.csv',
        "version": "01ff",
        "run": "0" * 16,
        "part": [20, 40],
        "line": 3,
        "column": 5,
        "code": "expected_number",
        "message": "expected a number, found 'x'",
        "record": "1,\udcffx",
        "range": [25, 29],
        "path": "/in/é.csv",
    }
    input_as_a_whole = json.loads(Reject.of_object("0" * 16, source, error(3)).encode())
    assert [input_as_a_whole[name] for name in ("part", "record", "range")] == [None] * 3
    assert [input_as_a_whole[name] for name in ("line", "column")] == [3, 5]


def test_the_longest_reject_is_a_line_that_is_read() -> None:
    path = "/" + "\x01" * 4095
    source = Object(path, path, 1, bytes(32))
    longest = Reject.of_record(
        "0" * 16, Span(source, 1 << 60, 1 << 61, 2), error(1 << 60), b"\x01" * MOST_RECORD_BYTES, (0, 1)
    )
    line = longest.encode() + b"\n"
    assert len(line) < MOST_LINE_BYTES
    assert find_place(line) is not None


def test_rejects_are_joined_at_the_end_of_a_run_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    with Run(tmp_path) as folder:
        for key, lines in (("b.csv", (2, 10)), ("a.csv", (7,)), ("b.csv", (1,)), ("b.csv", (10,))):
            reject(folder, whole(item(key)), *lines)
        folder.rejects.append([Reject.of_object(folder.layout.run, item("c.csv"), error(1))])
        assert read(tmp_path) == []
        assert folder.settle(has_rejects=True) == 5
        assert places(tmp_path) == [("a.csv", 7), ("b.csv", 1), ("b.csv", 2), ("b.csv", 10), ("c.csv", 1)]
        assert sorted(os.listdir(tmp_path)) == [REJECTS, "_run.json"]


def test_a_killed_runs_rejects_are_kept_with_its_results(tmp_path: Path) -> None:
    with Run(tmp_path) as folder:
        reject(folder, whole(item("a.csv")), 1, 2)
        write(folder, whole(item("a.csv")), 2)
        reject(folder, whole(item("b.csv")), 3)  # killed before the result had its name
    with Run(tmp_path) as folder:
        assert folder.rejected == 2
        assert folder.is_finished(item("a.csv"))
        assert places(tmp_path) == [("a.csv", 1), ("a.csv", 2)]


def test_a_reject_stays_whatever_becomes_of_its_input(tmp_path: Path) -> None:
    with Run(tmp_path) as folder:
        reject(folder, whole(item("a.csv")), 1)
        write(folder, whole(item("a.csv")), 1)
        folder.settle(has_rejects=True)
    for _ in range(2):  # the input is not even listed
        with Run(tmp_path) as folder:
            assert folder.rejected == 1
            assert folder.settle(has_rejects=True) == 1
            assert places(tmp_path) == [("a.csv", 1)]


def test_old_rejects_go_in_the_moment_in_which_their_result_is_replaced(tmp_path: Path) -> None:
    with Run(tmp_path) as folder:
        reject(folder, whole(item("a.csv")), 1)
        write(folder, whole(item("a.csv")), 1)
        folder.settle(has_rejects=True)
    changed = item("a.csv", b"second")
    with Run(tmp_path) as folder:
        assert not folder.is_finished(changed)
        reject(folder, whole(changed), 5)
    with Run(tmp_path) as folder:  # killed: the old result stands
        assert places(tmp_path) == [("a.csv", 1)]
        reject(folder, whole(changed), 5)
        write(folder, whole(changed), 1)
    with Run(tmp_path) as folder:  # killed behind that
        assert places(tmp_path) == [("a.csv", 5)]
        assert folder.is_finished(changed)


def test_a_run_that_replaces_another_keeps_its_rejects_until_then(tmp_path: Path) -> None:
    with Run(tmp_path) as folder:
        for key in ("a.csv", "b.csv"):
            reject(folder, whole(item(key)), 1)
            write(folder, whole(item(key)), 1)
    other = {"depends_on": {"model": "xyz"}}
    with Run(tmp_path, overwrite=True, record=other) as folder:
        assert folder.rejected == 0
        assert places(tmp_path) == [("a.csv", 1), ("b.csv", 1)]
        write(folder, whole(item("a.csv")), 0)
        assert folder.settle(has_rejects=False) == 1
        assert places(tmp_path) == [("b.csv", 1)]


def test_a_result_whose_rejects_are_lost_is_made_again(tmp_path: Path) -> None:
    with Run(tmp_path) as folder:
        reject(folder, whole(item("a.csv")), 1, 2)
        for key, rejected in (("a.csv", 2), ("b.csv", 0)):
            write(folder, whole(item(key)), rejected)
        folder.settle(has_rejects=True)
    lines = (tmp_path / REJECTS).read_bytes().splitlines(keepends=True)
    (tmp_path / REJECTS).write_bytes(lines[0][:60] + lines[1])  # torn, and another glued to it
    with Run(tmp_path) as folder:
        assert [folder.is_finished(item(key)) for key in ("a.csv", "b.csv")] == [False, True]
        reject(folder, whole(item("a.csv")), 1, 2)
        write(folder, whole(item("a.csv")), 2)
        assert folder.settle(has_rejects=True) == 2
    with Run(tmp_path) as folder:
        assert folder.is_finished(item("a.csv"))


def test_rejects_of_finished_spans_are_kept_and_those_of_others_go(tmp_path: Path) -> None:
    large = item("a.csv")._replace(size=40)
    first, second = Span(large, 0, 20, 1), Span(large, 20, 40, 1)
    with Run(tmp_path) as folder:
        reject(folder, first, 1)
        write(folder, first, 1)
        reject(folder, second, 15, 16)
    with Run(tmp_path) as folder:
        assert folder.rejected == 1
        assert (folder.finished_span(first), folder.finished_span(second)) == (1, None)
        reject(folder, second, 15, 16)
        write(folder, second, 2)
        write(folder, whole(large), 3)
    with Run(tmp_path) as folder:
        assert folder.rejected == 3
        assert folder.is_finished(large)
        assert places(tmp_path) == [("a.csv", 1), ("a.csv", 15), ("a.csv", 16)]


def test_a_span_that_was_tried_twice_has_its_rejects_once(tmp_path: Path) -> None:
    span = Span(item("a.csv")._replace(size=40), 0, 20, 1)
    with Run(tmp_path) as folder:
        for _ in range(2):
            reject(folder, span, 1, 2)
        write(folder, span, 2)
    with Run(tmp_path) as folder:
        assert folder.finished_span(span) == 2


def test_what_is_no_reject_is_left_out(tmp_path: Path) -> None:
    with Run(tmp_path) as folder:
        reject(folder, whole(item("a.csv")), 1)
        write(folder, whole(item("a.csv")), 1)
        folder.settle(has_rejects=True)
    with open(tmp_path / REJECTS, "ab") as file:
        line = (tmp_path / REJECTS).read_bytes()
        file.write(line.replace(b"a.csv", b"\\ud800", 1).replace(b'"part": null', b'"part": [0, 5]'))
        file.write(b'{"path": 1}\n[]\n' + b"[" * 100_000 + b"\n\xff\xfe\n" + b"x" * (MOST_LINE_BYTES + 10) + b"\nhalf")
    with Run(tmp_path) as folder:
        assert folder.rejected == 1
        assert places(tmp_path) == [("a.csv", 1)]


def test_a_look_at_the_folder_changes_nothing(tmp_path: Path) -> None:
    with Run(tmp_path) as folder:
        reject(folder, whole(item("a.csv")), 1)
        write(folder, whole(item("a.csv")), 1)
    before = sorted(os.listdir(tmp_path))
    folder = OutputFolder(str(tmp_path))
    folder.inspect(lambda: RECORD["depends_on"], overwrite=False)
    assert folder.is_finished(item("a.csv"))
    assert sorted(os.listdir(tmp_path)) == before


def test_many_rejects_are_joined_in_bounded_memory(tmp_path: Path) -> None:
    count = 80_000
    with Run(tmp_path) as folder:
        for first in range(0, count, 1000):
            reject(folder, whole(item("a.csv")), *range(first + 1, first + 1001))
        write(folder, whole(item("a.csv")), count)
        tracemalloc.start()
        assert folder.settle(has_rejects=True) == count
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 15 << 20 < (tmp_path / REJECTS).stat().st_size
    with Run(tmp_path) as folder:
        assert folder.is_finished(item("a.csv"))


def test_rejects_of_an_earlier_attempt_at_a_result_go_with_it(tmp_path: Path) -> None:
    large = item("a.csv")._replace(size=40)
    with Run(tmp_path) as folder:
        for span, line in ((Span(large, 0, 20, 1), 1), (Span(large, 20, 40, 1), 15)):
            reject(folder, span, line)
        write(folder, whole(large), 2)
        folder.settle(has_rejects=True)
    lines = (tmp_path / REJECTS).read_bytes().splitlines(keepends=True)
    (tmp_path / REJECTS).write_bytes(lines[1])  # one is lost, so the input is transformed again, now as a whole
    for _ in range(2):
        with Run(tmp_path) as folder:
            if not folder.is_finished(large):
                reject(folder, whole(large), 1, 15)
                write(folder, whole(large), 2)
            assert folder.settle(has_rejects=True) == 2
            assert [(found["line"], found["part"]) for found in read(tmp_path)] == [(1, None), (15, None)]
    with Run(tmp_path) as folder:
        assert folder.is_finished(large)
