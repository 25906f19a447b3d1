"""Options are checked when they are made; limits say how large objects are cut."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest

from fastinfer.errors import ConfigError
from fastinfer.options import BACKENDS, CPU_ISAS, ON_ERROR, Limits, Options, parse_device, path_of


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
    with pytest.raises(ConfigError, match="workers must be at most 1,024, found 100,000,000"):
        Options(workers=100_000_000)
    assert getattr(Options(), name) is None


@pytest.mark.parametrize(("name", "choices"), [("backend", BACKENDS), ("on_error", ON_ERROR), ("cpu_isa", CPU_ISAS)])
def test_a_value_outside_its_choices_is_refused_with_all_of_them(name: str, choices: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        Options(**{name: "x"})
    assert str(caught.value) == f"{name} must be one of {', '.join(choices)}, found 'x'"
    for choice in choices:
        assert getattr(Options(**{name: choice}), name) == choice


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"workers": "4"}, "workers must be a whole number, found '4' (str)"),
        ({"workers": True}, "workers must be a whole number, found True (bool)"),
        ({"workers": 2.0}, "workers must be a whole number, found 2.0 (float)"),
        ({"batch_size": "auto"}, "batch_size must be a whole number, found 'auto' (str)"),
        ({"memory_limit": "2G"}, "memory_limit must be a whole number, found '2G' (str)"),
        ({"max_errors": [1]}, "max_errors must be a whole number, found [1] (list)"),
        ({"missing": "0"}, "missing must be a number, found '0' (str)"),
        ({"missing": 10**400}, "missing must be a number, found 1"),
        ({"exact": "no"}, "exact must be True or False, found 'no' (str)"),
        ({"exact": 1}, "exact must be True or False, found 1 (int)"),
        ({"overwrite": None}, "overwrite must be True or False, found None (NoneType)"),
        ({"comment": b"#"}, "comment must be text, found b'#' (bytes)"),
        ({"device": None}, "device must be text, found None (NoneType)"),
        ({"backend": ["threads"]}, "backend must be text, found ['threads'] (list)"),
        ({"on_error": "x" * 1000}, "on_error must be one of stop, quarantine, continue, found 'xxxx"),
        ({"comment": "\udcff"}, "expected as comment one ASCII character that no number contains, found '\\udcff'"),
        ({"comment": "\u00e9"}, "expected as comment one ASCII character that no number contains, found '\u00e9'"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Options(**option)
    assert caught.value.message.startswith(message)
    assert len(caught.value.message) < 200


def test_numbers_of_numpy_are_taken_as_pythons() -> None:
    options = Options(workers=np.int64(2), missing=np.float32(0.5))  # type: ignore[arg-type]
    assert (type(options.workers), options.workers) == (int, 2)
    assert (type(options.missing), options.missing) == (float, 0.5)
    assert type(Options(missing=3).missing) is float


def test_messages_name_the_options_as_they_are_spelled() -> None:
    for options, message in (
        ({"workers": 0}, "<workers> must be at least 1, found 0"),
        ({"max_errors": 1}, "<max_errors> must be at least 0, and requires <on_error quarantine continue>"),
        ({"address": "x"}, "<address> requires <backend dask ray>, found 'threads'"),
        ({"cpu_isa": 1}, "<cpu_isa> must be text, found 1 (int)"),
    ):
        with pytest.raises(ConfigError) as caught:
            Options(**options, spell=lambda *words: f"<{' '.join(words)}>")  # type: ignore[arg-type]
        assert str(caught.value) == message


def test_a_path_is_text_or_a_path_object(tmp_path: Path) -> None:
    assert path_of("a/b", "data") == "a/b"
    assert path_of(tmp_path, "data") == str(tmp_path)
    assert path_of(os.fsdecode(b"\xff"), "data") == os.fsdecode(b"\xff")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "data must be a path, found '' (str)"),
        (None, "data must be a path, found None (NoneType)"),
        (b"a", "data must be a path, found b'a' (bytes)"),
        (["a"], "data must be a path, found ['a'] (list)"),
        ("a\0b", "data has a character that no path has: 'a\\x00b'"),
        (PurePath("a\0b"), "data has a character that no path has: 'a\\x00b'"),
        ("a\ud800", "data has a character that no path has: 'a\\ud800'"),
    ],
)
def test_what_cannot_be_a_path_is_refused(value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        path_of(value, "data")
    assert str(caught.value) == message


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
    assert [Limits().span_bytes(size << 20, is_far=True) >> 20 for size in (16, 256, 512, 640, 4096)] == [
        4,
        4,
        8,
        10,
        16,
    ]
