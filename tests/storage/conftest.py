"""Servers of S3 for the tests of stores, each started once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fastinfer.storage.retry import Patience
from fastinfer.storage.s3_client import Bucket
from tests import s3

# Failures pass soon here.
QUICK = Patience(
    attempts=4,
    backoff_s=0.01,
    longest_backoff_s=0.05,
    short_request_s=1.0,
    request_s=1.0,
    large_request_s=3.0,
    small_bytes=1 << 16,
)


@pytest.fixture(scope="session")
def weed() -> str:
    """The endpoint of SeaweedFS."""
    return s3.shared(s3.seaweedfs)


@pytest.fixture(scope="session")
def moto() -> str:
    """The endpoint of moto's server."""
    return s3.shared(s3.moto)


def enter(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Makes a server the S3 of this process."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3.environment(endpoint).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["weed", "moto"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket, of either server."""
    endpoint = request.getfixturevalue(request.param)
    enter(monkeypatch, endpoint)
    return new_bucket(endpoint)


@pytest.fixture
def exact_bucket(moto: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket of moto, which keeps every key as it is; SeaweedFS has folders and keeps paths."""
    enter(monkeypatch, moto)
    return new_bucket(moto)


@pytest.fixture
def weed_bucket(weed: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket of SeaweedFS."""
    enter(monkeypatch, weed)
    return new_bucket(weed)


@pytest.fixture
def proxy(weed: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Proxy]:
    """A proxy before SeaweedFS, as the S3 of this process."""
    between = s3.Proxy(weed)
    enter(monkeypatch, between.endpoint)
    yield between
    between.close()


@pytest.fixture
def far_bucket(proxy: s3.Proxy, weed: str) -> Bucket:
    """An empty bucket of SeaweedFS, behind the proxy."""
    assert proxy.endpoint != weed
    return new_bucket(weed)


_count = 0


def new_bucket(endpoint: str) -> Bucket:
    """Creates a bucket, at the server itself; its requests go where the environment says."""
    global _count
    _count += 1
    name = f"bucket-{_count}"
    made: Any = s3.client(endpoint)
    made.create_bucket(Bucket=name)
    return Bucket(name, None, QUICK)
