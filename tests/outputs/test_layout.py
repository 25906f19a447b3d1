"""Names of results, and of what is hidden beside them."""

from __future__ import annotations

import pickle

import pytest

from fastinfer.outputs.layout import OutputLayout, is_of_run, is_reject_journal
from fastinfer.records.spans import Span
from fastinfer.storage.base import Object

RUN, OTHER = "0123456789abcdef", "f" * 16


def test_a_result_is_named_by_its_objects_key() -> None:
    item = Object("/in/a/b.csv", "a/b.csv", 4, b"1")
    assert OutputLayout("out").result(item) == "out/a/b.csv.out"
    assert OutputLayout("out/").result(item) == "out/a/b.csv.out"
    assert OutputLayout("/").result(item) == "/a/b.csv.out"
    assert pickle.loads(pickle.dumps(OutputLayout("out"))).result(item) == "out/a/b.csv.out"


def test_spans_of_an_object_have_hidden_names_beside_its_result() -> None:
    layout, item = OutputLayout("out", RUN), Object("/in/a/b.csv", "a/" + "b" * 251, 40, b"1")
    names = {layout.span(Span(item, start, start + 10, 1)) for start in range(0, 40, 10)}
    assert len(names) == 4
    for name in names:
        folder, _, name_alone = name.rpartition("/")
        assert folder == "out/a"
        assert layout.is_span(name_alone)
        assert not OutputLayout("out", OTHER).is_span(name_alone)
        assert len(name_alone) < 255


@pytest.mark.parametrize(
    ("name", "is_ours", "has_rejects"),
    [
        (f".fastinfer-{RUN}-12-34", True, False),
        (f".fastinfer-{RUN}-part-0123456789abcdef.0-5", True, False),
        (f".fastinfer-{RUN}-rejects-1-2-3", True, True),
        (f".fastinfer-{OTHER}-rejects-1-2-3", False, False),
        (f".fastinfer-{RUN}", False, False),
        (f".fastinfer-{RUN}-", False, False),
        (".fastinfer-x", False, False),
        ("x.csv.out", False, False),
    ],
)
def test_what_a_run_removes_has_its_id(name: str, is_ours: bool, has_rejects: bool) -> None:
    assert is_of_run(name, [RUN]) == is_ours
    assert is_reject_journal(name, [RUN]) == has_rejects
