"""Attributes are read as MXNet writes them, and none has a default but MXNet's."""

from __future__ import annotations

import pytest

from fastinfer.export.attributes import Attributes, default_of


def test_what_the_graph_leaves_out_is_what_mxnet_says() -> None:
    attributes = Attributes({"kernel": "(3, 3)", "__shape__": "(1,)"}, {"kernel": "[]", "no_bias": "1"})
    assert attributes.sizes("kernel") == (3, 3)
    assert attributes.flag("no_bias")
    with pytest.raises(KeyError):
        attributes.flag("__shape__")
    with pytest.raises(KeyError):
        attributes.integer("num_filter")


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("(3, 4)", (3, 4)), ("[3,4]", (3, 4)), ("(3,)", (3,)), ("()", ()), ("[]", ()), ("5", (5,)), ("(2L, -1)", (2, -1))],
)
def test_sizes(text: str, sizes: tuple[int, ...]) -> None:
    assert Attributes({"shape": text}, {}).sizes("shape") == sizes


def test_sizes_that_may_be_none() -> None:
    assert Attributes({"begin": "(None, 1, -3)"}, {}).optional_sizes("begin") == (None, 1, -3)
    assert Attributes({"axis": "None"}, {}).sizes("axis") == ()
    with pytest.raises(ValueError, match="begin"):
        Attributes({"begin": "(None, 1)"}, {}).sizes("begin")


@pytest.mark.parametrize("text", ["(3, x)", "((1), 2)", "(1, 2", "1.5"])
def test_what_is_no_list_of_sizes_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="its shape is"):
        Attributes({"shape": text}, {}).sizes("shape")


def test_flags_and_numbers() -> None:
    attributes = Attributes({"a": "True", "b": "0", "c": "9.99999975e-05", "d": "-2", "e": "maybe"}, {})
    assert (attributes.flag("a"), attributes.flag("b")) == (True, False)
    assert attributes.number("c") == 9.99999975e-05
    assert attributes.integer("d") == -2
    for read in (attributes.flag, attributes.integer, attributes.number):
        with pytest.raises(ValueError, match="its e is 'maybe'"):
            read("e")


@pytest.mark.parametrize(
    ("description", "default"),
    [
        ("int, required", None),
        ("boolean, optional, default=1", "1"),
        ("{'avg', 'lp', 'max', 'sum'},optional, default='max'", "max"),
        ("Shape(tuple), optional, default=[]", "[]"),
        ("int or None, optional, default='None'", "None"),
    ],
)
def test_defaults_in_mxnets_descriptions(description: str, default: str | None) -> None:
    assert default_of(description) == default
