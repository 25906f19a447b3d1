"""A dry run counts the requests that a run would take."""

from __future__ import annotations

import pytest

from fastinfer.engine.requests import Requests, parse_prices
from fastinfer.errors import ConfigError
from fastinfer.options import Limits
from fastinfer.storage.base import Object

LIMITS = Limits(large_object_bytes=100_000, far_span_bytes_least=10_000)
MIB = 1 << 20


def test_requests_are_counted_where_they_go() -> None:
    requests = Requests.of_folders("s3://b/in/", 2500, "s3://b/out", 500)
    assert (requests.reads, requests.writes) == (502, 3 + 1 + 8)
    requests.add(Object("s3://b/in/x", "x", 10, b"v"), "s3://b/out", LIMITS)
    assert (requests.reads, requests.writes) == (503, 13)
    requests.add(Object("s3://b/in/y", "y", 100_000, b"v"), "/out", LIMITS)
    assert (requests.reads, requests.writes) == (503 + 2 * 10 + 1, 13)
    requests.add(Object("s3://b/in/z", "z", 20 * MIB, b"v"), "/out", LIMITS)
    assert (requests.reads, requests.writes) == (524 + 2 * 64 + 3, 13)
    requests = Requests()
    requests.add(Object("s3://b/in/long", "long", 104 * MIB, b"v"), "/out", Limits())
    assert (requests.reads, requests.writes) == (2 * 26 + 13, 0)
    on_disk = Requests.of_folders("in", 2500, "out", 500)
    on_disk.add(Object("in/x", "x", 10, b"v"), "out", LIMITS)
    assert on_disk == Requests(0, 0)
    assert Requests(2000, 1000).cost((0.5, 5.0)) == 6.0


def test_prices_are_read() -> None:
    assert parse_prices("0.0004,0.005") == (0.0004, 0.005)
    assert parse_prices("1") == (1.0, 1.0)
    for text in ("", "x", "1,x", "-1", "nan", "inf", "1,2,3"):
        with pytest.raises(ConfigError, match="expected READS,WRITES"):
            parse_prices(text)
