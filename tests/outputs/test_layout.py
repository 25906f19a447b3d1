"""Names of results, and of what is hidden beside them."""

from __future__ import annotations

import pickle

import pytest

from fastinfer.outputs.layout import OutputLayout, is_span, is_temporary
from fastinfer.records.spans import Span
from fastinfer.storage.base import Object


def test_a_result_is_named_by_its_objects_key() -> None:
    item = Object("/in/a/b.csv", "a/b.csv", 4, 1)
    assert OutputLayout("out").result(item) == "out/a/b.csv.out"
    assert OutputLayout("out/").result(item) == "out/a/b.csv.out"
    assert OutputLayout("/").result(item) == "/a/b.csv.out"
    assert pickle.loads(pickle.dumps(OutputLayout("out"))).result(item) == "out/a/b.csv.out"


def test_spans_of_an_object_have_hidden_names_beside_its_result() -> None:
    layout, item = OutputLayout("out"), Object("/in/a/b.csv", "a/" + "b" * 251, 40, 1)
    names = {layout.span(Span(item, start, start + 10, 1)) for start in range(0, 40, 10)}
    assert len(names) == 4
    for name in names:
        folder, _, name_alone = name.rpartition("/")
        assert folder == "out/a"
        assert is_span(name_alone)
        assert len(name_alone) < 255


@pytest.mark.parametrize(
    ("name", "temporary", "span"),
    [
        (".fastinfer-12-34", True, False),
        (".fastinfer-0123456789abcdef", True, False),
        (".fastinfer-x", False, False),
        (".fastinfer-1-2.csv", False, False),
        (".part-0123456789abcdef.0-5", False, True),
        (".part-of-somebody", False, False),
        ("part-0123456789abcdef.0-5", False, False),
        ("x.csv.out", False, False),
    ],
)
def test_what_a_run_removes_has_exactly_such_a_name(name: str, temporary: bool, span: bool) -> None:
    assert (is_temporary(name), is_span(name)) == (temporary, span)
