"""Options are checked when they are made; limits say how large objects are cut."""

from __future__ import annotations

from typing import Any

import pytest

from fastinfer.errors import ConfigError
from fastinfer.options import BACKENDS, CPU_ISAS, ON_ERROR, Limits, Options, parse_device


@pytest.mark.parametrize(
    "options",
    [{"backend": "x"}, {"on_error": "x"}, {"cpu_isa": "x"}, {"max_errors": 1}, {"comment": "ab"}, {"comment": "1"}],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Options(**options)


@pytest.mark.parametrize("name", ["batch_size", "workers", "memory_limit"])
def test_numbers_are_at_least_one(name: str) -> None:
    for value in (0, -1):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1, found {value}"):
            Options(**{name: value})
    assert getattr(Options(**{name: 1}), name) == 1
    assert getattr(Options(), name) is None


@pytest.mark.parametrize(("name", "choices"), [("backend", BACKENDS), ("on_error", ON_ERROR), ("cpu_isa", CPU_ISAS)])
def test_a_value_outside_its_choices_is_refused_with_all_of_them(name: str, choices: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        Options(**{name: "x"})
    assert str(caught.value) == f"{name} must be one of {', '.join(choices)}, found 'x'"
    for choice in choices:
        assert getattr(Options(**{name: choice}), name) == choice


def test_max_errors_needs_quarantine_and_may_be_zero() -> None:
    assert Options(on_error="quarantine", max_errors=0).quarantine
    assert not Options().quarantine
    for options in ({"max_errors": 0}, {"max_errors": -1, "on_error": "quarantine"}):
        with pytest.raises(ConfigError, match="max_errors must be at least 0, and requires on_error='quarantine'"):
            Options(**options)


def test_an_address_is_one_of_a_cluster() -> None:
    for backend in ("dask", "ray"):
        assert Options(backend=backend, address="here:1").address == "here:1"
    for backend in ("threads", "processes"):
        with pytest.raises(ConfigError, match=f"address requires backend='dask' or 'ray', found '{backend}'"):
            Options(backend=backend, address="here:1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu", [("cpu", 0)]),
        ("cpu:1", [("cpu", 1)]),
        ("gpu", [("gpu", 0)]),
        ("gpu:3", [("gpu", 3)]),
        ("gpu:2,0,11", [("gpu", 2), ("gpu", 0), ("gpu", 11)]),
    ],
)
def test_devices_come_in_the_order_in_which_they_are_named(text: str, expected: list[tuple[str, int]]) -> None:
    assert parse_device(text) == expected
    assert Options(device=text).device == text


@pytest.mark.parametrize(
    "text",
    ["", "tpu", "CPU", "cpu:", "gpu:x", "gpu:-1", "gpu:0,", "gpu 0", "gpu:0:1", "gpu:\u0663", "gpu:0,0", "gpu:1,01"],
)
def test_what_names_no_devices_or_one_twice_is_refused(text: str) -> None:
    for call in (parse_device, lambda text: Options(device=text)):
        with pytest.raises(ConfigError) as caught:
            call(text)
        assert caught.value.code == "bad_device"
        assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(16 << 20, 2 << 20), (128 << 20, 2 << 20), (256 << 20, 4 << 20), (2 << 30, 16 << 20), (1 << 40, 16 << 20)],
)
def test_spans_grow_with_their_object_between_bounds(size: int, expected: int) -> None:
    assert Limits().span_bytes(size) == expected


def test_spans_are_as_many_as_asked_for_where_the_bounds_allow_it() -> None:
    limits = Limits(spans=10, span_bytes_least=5, span_bytes_most=50)
    assert [limits.span_bytes(size) for size in (0, 49, 50, 69, 500, 5000)] == [5, 5, 5, 6, 50, 50]
