"""What requests to S3 and their answers say of an object: its label, its version, and the version in whose place it is put."""

from __future__ import annotations

from typing import Any

# The name of an object's label among its metadata: x-amz-meta-fastinfer.
LABEL = "fastinfer"


def metadata(label: bytes | None) -> dict[str, str]:
    """boto3's metadata of an object with a label."""
    return {} if label is None else {LABEL: label.hex()}


def condition(replaced: bytes | None) -> dict[str, str]:
    """boto3's arguments for putting an object in the place of this version; empty: where there is none; None: of any."""
    if replaced is None:
        return {}
    return {"IfMatch": quoted(replaced)} if replaced else {"IfNoneMatch": "*"}


def mode(replaced: bytes | None) -> Any:
    """The same for obstore."""
    if replaced is None:
        return "overwrite"
    return {"e_tag": quoted(replaced)} if replaced else "create"


def quoted(version: bytes) -> str:
    """A version as requests name it."""
    return f'"{version.decode()}"'


def plain(version: str | None) -> bytes:
    """A version without quotation marks, as listings give it; empty where an answer has none."""
    return (version or "").strip('"').encode()
