"""Versions are found again by name, here and in other processes."""

from __future__ import annotations

import hashlib
import pickle

import pytest

from fastinfer.storage import versions
from fastinfer.storage.s3_listing import Listed
from fastinfer.storage.versions import Versions


def test_versions_of_any_form_are_found_here_and_in_other_processes() -> None:
    known = {f"s3://b/out/{number}": hashlib.md5(b"%d" % number).hexdigest().encode() for number in range(100)}
    known.update(
        {"s3://b/A": b"A" * 32, "s3://b/parts": b"0" * 32 + b"-2", "s3://b/none": b"", "s3://b/\udcff": b"odd"}
    )
    entries = [Listed(name[len("s3://b/") :], 1, version) for name, version in known.items()]
    noted = Versions()
    assert list(noted.noting(iter(entries), "b")) == entries
    assert noted.is_complete
    for found in (noted, pickle.loads(pickle.dumps(noted))):
        assert {name: found.get(name) for name in known} == known
        assert found.get("s3://b/out/100") == b""
        assert found.is_complete
    assert Versions().get("x") == b""


def test_many_versions_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, is_sent in ((1, True), (2, False)):
        monkeypatch.setattr(versions, "MOST_SENT_BYTES", 24)
        noted = Versions()
        for number in range(count):
            noted.add(str(number), b"0" * 32)
        assert pickle.loads(pickle.dumps(noted)).get("0") == (b"0" * 32 if is_sent else b"")
