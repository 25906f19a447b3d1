"""Rejects stay as long as the results that lack them; what is transformed again is rejected again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fastinfer.errors import InputError
from fastinfer.outputs.layout import REJECTS, OutputLayout
from fastinfer.outputs.rejects import Reject, Rejects
from fastinfer.records.spans import Span, whole
from fastinfer.storage.base import Object
from fastinfer.storage.local import LocalStore

ERROR = InputError("expected a number, found 'x'", code="expected_number", line=3, column=5)


@pytest.fixture
def item(tmp_path: Path) -> Object:
    path = tmp_path / "a.csv"
    path.write_bytes(b"1,2\n" * 10)
    return Object(str(path), "a.csv", 40, path.stat().st_mtime_ns)


def read(folder: Path) -> list[dict[str, object]]:
    path = folder / REJECTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_reject_has_place_reason_and_the_record_itself(item: Object, tmp_path: Path) -> None:
    rejects = Rejects(OutputLayout(str(tmp_path)), LocalStore())
    rejects.append([Reject.of(whole(item), ERROR, b"1,\xffx")])
    rejects.append([Reject.of(Span(item, 20, 40, 2), ERROR, b"1,x"), Reject.of(whole(item), ERROR, None)])
    first, second, third = read(tmp_path)
    assert first["record"] == "1,\udcffx"
    assert (first["path"], first["key"], first["line"], first["column"]) == (item.uri, "a.csv", 3, 5)
    assert (first["code"], first["message"]) == ("expected_number", "expected a number, found 'x'")
    assert (first["part"], second["part"]) == (None, [20, 40])
    assert (third["line"], third["record"]) == (None, None)


def test_rejects_of_finished_results_are_kept(item: Object, tmp_path: Path) -> None:
    rejects = Rejects(OutputLayout(str(tmp_path)), LocalStore())
    other = Object(item.uri, "b.csv", 40, item.version)
    rejects.append([Reject.of(whole(each), ERROR, b"x") for each in (item, other)])
    rejects.append([Reject.of(Span(other, start, start + 20, 2), ERROR, b"x") for start in (0, 20)])
    rejects.append([Reject.of(whole(item), ERROR, None)])
    finished = {("a.csv", 0), ("b.csv", 40)}  # a whole object, and the second span of another
    assert rejects.keep(lambda item, span: (item.key, span.stop if span else 0) in finished) == 2
    assert [(reject["key"], reject["part"]) for reject in read(tmp_path)] == [("a.csv", None), ("b.csv", [20, 40])]


def test_rejects_of_an_input_that_changed_are_not_kept(item: Object, tmp_path: Path) -> None:
    rejects = Rejects(OutputLayout(str(tmp_path)), LocalStore())
    rejects.append([Reject.of(whole(item), ERROR, b"x")])
    os.utime(item.uri, (1, 1))
    assert rejects.keep(lambda *_: True) == 0
    assert not (tmp_path / REJECTS).exists()


def test_another_runs_rejects_go(item: Object, tmp_path: Path) -> None:
    rejects = Rejects(OutputLayout(str(tmp_path)), LocalStore())
    assert rejects.keep(None) == 0
    rejects.append([Reject.of(whole(item), ERROR, b"x")])
    assert rejects.keep(None) == 0
    assert read(tmp_path) == []


def test_what_is_no_reject_is_dropped(item: Object, tmp_path: Path) -> None:
    rejects = Rejects(OutputLayout(str(tmp_path)), LocalStore())
    rejects.append([Reject.of(whole(item), ERROR, b"x")])
    with open(tmp_path / REJECTS, "a") as file:
        file.write('{"path": 1}\n[]\n' + "[" * 100_000 + "\nhalf a li")
    with open(tmp_path / REJECTS, "ab") as raw:
        raw.write(b"\n\xff\xfe\n")
    assert rejects.keep(lambda *_: True) == 1
    assert len(read(tmp_path)) == 1


def test_what_was_reported_twice_is_kept_once(item: Object, tmp_path: Path) -> None:
    rejects = Rejects(OutputLayout(str(tmp_path)), LocalStore())
    rejects.deduplicate()
    for _ in range(2):
        rejects.append([Reject.of(whole(item), ERROR, b"x"), Reject.of(whole(item), ERROR, b"y")])
    rejects.deduplicate()
    assert [reject["record"] for reject in read(tmp_path)] == ["x", "y"]
