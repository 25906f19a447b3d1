"""A version, a condition and a label are written as S3, boto3 and obstore want them."""

from __future__ import annotations

from typing import Any

import pytest

from fastinfer.storage.s3_headers import LABEL, condition, metadata, mode, plain, quoted


@pytest.mark.parametrize(
    ("replaced", "of_boto3", "of_obstore"),
    [
        (None, {}, "overwrite"),
        (b"", {"IfNoneMatch": "*"}, "create"),
        (b"0a-2", {"IfMatch": '"0a-2"'}, {"e_tag": '"0a-2"'}),
    ],
    ids=["any", "none", "this one"],
)
def test_what_is_replaced_is_a_condition(replaced: bytes | None, of_boto3: dict[str, str], of_obstore: Any) -> None:
    assert condition(replaced) == of_boto3
    assert mode(replaced) == of_obstore


def test_a_version_is_quoted_in_requests_alone() -> None:
    assert plain(quoted(b"0a-2")) == b"0a-2"
    assert plain("0a") == b"0a"
    assert plain(None) == b""


def test_a_label_is_in_the_metadata() -> None:
    assert metadata(b"\x0a") == {LABEL: "0a"}
    assert metadata(None) == {}
