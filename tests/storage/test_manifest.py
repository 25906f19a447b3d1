"""Lists of objects: as Batch Transform takes them, and plain text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastinfer.errors import InputError
from fastinfer.storage.manifest import Entry, parse_manifest

PATH = "/lists/today.json"


def parse(content: Any) -> list[Entry]:
    return parse_manifest(content if isinstance(content, bytes) else json.dumps(content).encode(), PATH)


def test_a_prefix_and_a_name_are_joined_as_they_are() -> None:
    assert parse([{"prefix": "s3://b/in/"}, "x/2.csv", "1.csv"]) == [
        Entry("s3://b/in/1.csv", "1.csv"),
        Entry("s3://b/in/x/2.csv", "x/2.csv"),
    ]
    assert parse([{"prefix": "/data/part-"}, "1.csv"]) == [Entry("/data/part-1.csv", "part-1.csv")]


def test_without_a_prefix_names_are_relative_to_the_manifest() -> None:
    expected = [Entry("/lists/a.csv", "a.csv"), Entry("/lists/./sub/b.csv", "sub/b.csv")]
    assert parse(["a.csv", "./sub/b.csv"]) == expected
    assert parse(b"\xef\xbb\xbfa.csv\r\n\n  ./sub/b.csv  \n") == expected
    assert parse(b"/data/a.csv\ns3://bucket/in/b.csv") == [
        Entry("/data/a.csv", "data/a.csv"),
        Entry("s3://bucket/in/b.csv", "in/b.csv"),
    ]


def test_a_name_may_be_a_url() -> None:
    assert parse(["file:///data/a%20b.csv"]) == [Entry("/data/a b.csv", "data/a b.csv")]
    assert parse([{"prefix": "file:///data/"}, "a.csv"]) == [Entry("/data/a.csv", "a.csv")]
    # No store takes it, which is an error of its own; it is no path.
    assert parse(["http://host/in/a.csv"]) == [Entry("http://host/in/a.csv", "in/a.csv")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "names no object"),
        (b"\n \n", "names no object"),
        ([{"prefix": "s3://b/"}], "names no object"),
        ({"source-ref": "s3://b/a"}, "expected a list, found an object"),
        (b"[1, ", "expected a list in JSON"),
        ([{"prefix": 1}, "a"], "entry 1: expected"),
        ([{"other": "s3://b/"}, "a"], "entry 1: expected"),
        (["a", {"prefix": "s3://b/"}], "entry 2: expected a name"),
        (["a", "b", "a"], "entry 3: 'a' is named twice"),
        ([{"prefix": "/in/"}, "a", "../b"], "entry 3: its result would be outside"),
        (["../b"], "entry 1: its result would be outside"),
        (b"\xff\xfe", "expected UTF-8"),
        (["a.csv\0x"], "entry 1: it has a character that no object's name has"),
        ([{"prefix": "/in\0"}, "a"], "entry 2: it has a character"),
        (["\ud800"], "entry 1: it has a character"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said_with_its_place(content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse(content)
    assert (caught.value.code, caught.value.path) == ("bad_manifest", PATH)
