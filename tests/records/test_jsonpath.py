"""SageMaker's subset of JSONPath, beside an implementation of the standard."""

from __future__ import annotations

import json
from typing import Any

import jsonpath_rfc9535 as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastinfer.errors import ConfigError, InputError
from fastinfer.records.jsonpath import Path

DOCUMENT = {"a": [1, 2, 3, 4], "b": {"c": [[5, 6], [7]], "d-e": "x"}, "_f": None, "g 'h'": 8}

index = st.integers(-6, 6)
bound = st.none() | index
selector = st.one_of(
    index.map(str),
    st.tuples(bound, bound).map(lambda pair: ":".join("" if each is None else str(each) for each in pair)),
)
union = st.lists(selector, min_size=1, max_size=3).map(lambda parts: f"[{','.join(parts)}]")


@settings(max_examples=300)
@given(union, st.integers(1, 6))
def test_columns_of_a_row_are_those_of_the_standard(text: str, count: int) -> None:
    row = list(range(count))
    expected = [node.value for node in oracle.find(f"${text}", row)]
    try:
        ranges = Path(f"${text}").columns(count)
    except InputError:
        # The standard leaves out what does not exist.
        assert any(not oracle.find(f"$[{part}]", row) for part in text[1:-1].split(","))
        return
    assert [column for start, stop in ranges for column in range(start, stop)] == expected
    assert all(before[1] != after[0] for before, after in zip(ranges, ranges[1:]))


PARTS = ["$", "$.a", "$['a']", '$["a"][1]', "$.b.c[0,-1]", "$.b.c[0][1]", "$.a[1:]", "$.a[:-1]", "$.a[*]", "$.b.*"]


@pytest.mark.parametrize("text", [*PARTS, "$.b['d-e','c']", "$._f", "$['g \\'h\\'']", "$.a[ 0 , 2 : ]"])
def test_parts_of_a_document_are_those_of_the_standard(text: str) -> None:
    found = Path(text).select(DOCUMENT)
    nodes = [node.value for node in oracle.find(text, DOCUMENT)]
    assert found == (nodes[0] if len(nodes) == 1 and not isinstance(found, list) else found)
    assert json.dumps(nodes) in (json.dumps([found]), json.dumps(found))


NAMES = [r"'a\'b'", r"'\b'", r"'\t\n'", r"'\u0041'", r"'\uD83D\uDE00'", r"'\\'", r"'\\\''", r"'\/'", r'"a\"b"', "'\"'"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_quotes_has_the_escapes_of_the_standard(name: str) -> None:
    (segment,) = Path(f"$[{name}]").segments
    (key,) = segment.selectors
    assert isinstance(key, str)
    assert [node.value for node in oracle.find(f"$[{name}]", {key: 1})] == [1]


def test_one_value_is_itself_and_several_are_a_list() -> None:
    assert Path("$.a[0]").select(DOCUMENT) == 1
    assert Path("$.a[0:1]").select(DOCUMENT) == [1]
    assert Path("$.a[0,1]").select(DOCUMENT) == [1, 2]


def test_the_end_of_a_range_is_included_where_that_is_asked_for() -> None:
    for text, exclusive, inclusive in (
        ("$[0:2]", [(0, 2)], [(0, 3)]),
        ("$[1:-1]", [(1, 4)], [(1, 5)]),
        ("$[1:-2]", [(1, 3)], [(1, 4)]),
        ("$[2:]", [(2, 5)], [(2, 5)]),
        ("$[:9]", [(0, 5)], [(0, 5)]),
    ):
        assert Path(text).columns(5) == exclusive
        assert Path(text, inclusive=True).columns(5) == inclusive


BAD = [("x", 1), ("", 1), ("$x", 2), ("$.", 2), ("$[", 3), ("$[1", 4), ("$[1,]", 5), ("$[a]", 3), ("$['a]", 3)]
BAD += [(r"$['\q']", 3), (r"$[0,'\u00']", 5), ("$[" + "9" * 5000 + "]", 3)]


@pytest.mark.parametrize(
    ("text", "place"),
    [*BAD, ("$..a", 2), ("$[1]]", 5), ("$[?(@.a)]", 3), ("$[1:2:3]", 6), ("$[-:2]", 3), ("$[1:-]", 5), ("$[٣]", 3)],
)
def test_what_is_not_in_the_subset_is_refused_with_its_place(text: str, place: int) -> None:
    with pytest.raises(ConfigError, match=rf"--input-filter .* at character {place}$") as caught:
        Path(text, spelled="--input-filter")
    assert caught.value.code == "bad_path"


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        ("$[4]", [1], "no element 4; the list has 1"),
        ("$.a", {"b": 1}, "no key 'a'"),
        ("$.a", [1], "no key 'a'"),
        ("$[0]", {"a": 1}, "an index selects an element of a list"),
        ("$[*]", 1, r"\* selects parts"),
    ],
)
def test_a_part_that_does_not_exist_is_an_error(text: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Path(text).select(value)
    assert caught.value.code == "bad_filter"


def test_columns_have_names_where_there_is_a_header() -> None:
    assert Path("$['b','a','c']").columns(3, ["a", "b", "c"]) == [(1, 2), (0, 1), (2, 3)]
    assert Path("$.b").columns(3, ["a", "b", "c"]) == [(1, 2)]
    for names, message in (
        (["a", "a"], "two columns are named 'a'"),
        (["b", "c"], "no column 'a'"),
        (None, "no header"),
    ):
        with pytest.raises(InputError, match=message):
            Path("$.a").columns(2, names)
    with pytest.raises(InputError, match="a CSV row is one array"):
        Path("$[0][1]").columns(2)
    with pytest.raises(InputError, match="selects no column of 2"):
        Path("$[5:]").columns(2)
