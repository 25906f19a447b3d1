"""The payloads of objects: which lines are before them, what a line is, and where records are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastinfer.engine.payload_reading import payloads_of
from fastinfer.engine.processed import make_processing
from fastinfer.engine.request import TransformRequest
from fastinfer.errors import InputError
from fastinfer.options import Limits, Options
from fastinfer.records.reading import OpenObjects
from fastinfer.storage.listing import list_files
from fastinfer.storage.local import LocalStore

CHUNK_BYTES = 4096


def read(path: Path, content: bytes, **fields: Any) -> list[tuple[bytes, list[tuple[int, int]]]]:
    path.write_bytes(content)
    request, (item,) = TransformRequest(**fields), list_files(str(path))
    processing = make_processing(request, Options())
    with OpenObjects(LocalStore(), [item], CHUNK_BYTES) as opened:
        found = payloads_of(item, request, opened, Limits(chunk_bytes=CHUNK_BYTES), processing)
        return [(each.content, [tuple(place) for place in each.places]) for each in found]


def test_lines_before_the_records_are_no_payload(tmp_path: Path) -> None:
    path, single = tmp_path / "a.csv", {"split_type": "Line", "strategy": "SingleRecord"}
    names = b"n" * 3 * CHUNK_BYTES + b"\r\n"
    start = len(names)
    for header in ("skip", "keep"):
        found = read(path, names + b"\n1,2\n3,4", header=header, **single)
        assert found == [(b"1,2\n", [(start + 1, 3)]), (b"3,4", [(start + 5, 4)])]
        assert read(path, names + b"1,2\n3,4", header=header) == [(b"1,2\n3,4", [(start, 1)])]
    assert read(path, b"x,y\n1,2\n", header="skip", input_filter="$[0]") == [(b"1,2\n", [(4, 2)])]
    for content in (b"", b"\n", b"x,y\n", b"x,y\n \n"):
        with pytest.raises(InputError) as caught:
            read(path, content, header="skip", **single)
        assert caught.value.code == "empty_input"


def test_in_json_a_lone_cr_is_a_blank(tmp_path: Path) -> None:
    fields = {"content_type": "application/jsonlines", "split_type": "Line", "strategy": "SingleRecord"}
    found = read(tmp_path / "a.jsonl", b"[1,\r2]\n\r\n[3,4]\r\n", **fields)
    assert found == [(b"[1,\r2]\n", [(0, 1)]), (b"[3,4]\r\n", [(9, 3)])]
    assert [
        content for content, _ in read(tmp_path / "a.csv", b"1,2\r3,4\n", **{**fields, "content_type": "text/csv"})
    ] == [
        b"1,2\r",
        b"3,4\n",
    ]


def test_an_object_that_is_one_record_is_bounded(tmp_path: Path) -> None:
    content = b"1,2\n" * (1 << 18)
    for more, fits in ((b"", True), (b"1", False)):
        for fields in ({}, {"input_filter": "$[0]"}, {"id_column": 0}):
            if fits:
                assert (
                    sum(len(text) for text, _ in read(tmp_path / "a", content + more, max_payload=1, **fields))
                    == 1 << 20
                )
            else:
                with pytest.raises(InputError) as caught:
                    read(tmp_path / "a", content + more, max_payload=1, **fields)
                assert caught.value.code == "payload_too_large"
