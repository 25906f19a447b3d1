"""A CreateTransformJob request, as the API has it, to what a run is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..engine.request import TransformRequest
from ..errors import ConfigError, quote

# Batch Transform's default for MaxPayloadInMB.
PAYLOAD_MB = 6
# What Batch Transform sends where a job names no content type.
CONTENT_TYPE = "application/octet-stream"

# Where in a request each field of TransformRequest is.
FIELDS: dict[str, tuple[str, ...]] = {
    "data_type": ("TransformInput", "DataSource", "S3DataSource", "S3DataType"),
    "content_type": ("TransformInput", "ContentType"),
    "compression_type": ("TransformInput", "CompressionType"),
    "split_type": ("TransformInput", "SplitType"),
    "accept": ("TransformOutput", "Accept"),
    "assemble_with": ("TransformOutput", "AssembleWith"),
    "strategy": ("BatchStrategy",),
    "max_payload": ("MaxPayloadInMB",),
    "max_concurrent_transforms": ("MaxConcurrentTransforms",),
    "input_filter": ("DataProcessing", "InputFilter"),
    "output_filter": ("DataProcessing", "OutputFilter"),
    "join_source": ("DataProcessing", "JoinSource"),
    "env": ("Environment",),
}
REFUSED = {
    "AugmentedManifestFile": "Batch Transform refuses it as well; use ManifestFile",
    "TFRecord": "MXNet's container has no reader for it",
}


class TransformJob(NamedTuple):
    """What a CreateTransformJob request says.

    Attributes:
        request: what is asked for.
        source: the URI of the objects.
        output: the URI of the results.
    """

    request: TransformRequest
    source: str
    output: str


def read_request(create: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> TransformJob:
    """What a CreateTransformJob request says.

    Args:
        create: the request.
        environment: of the model's container; the request's own comes on top.

    Raises:
        ConfigError: a field is missing, or has a value that is not supported.
    """
    found: dict[str, Any] = {}
    for name, path in FIELDS.items():
        value = _find(create, path)
        if value is None or value == "":
            continue
        if isinstance(value, str) and value in REFUSED:
            raise ConfigError(f"{path[-1]} {quote(value)} is not supported", hint=REFUSED[value])
        found[name] = value
    found.setdefault("max_payload", PAYLOAD_MB)
    found.setdefault("content_type", CONTENT_TYPE)
    found["env"] = {**(environment or {}), **found.get("env", {})}
    source = _find(create, ("TransformInput", "DataSource", "S3DataSource", "S3Uri"))
    output = _find(create, ("TransformOutput", "S3OutputPath"))
    for value, name in ((source, "S3Uri"), (output, "S3OutputPath")):
        if not isinstance(value, str) or not value:
            raise ConfigError(f"the job has no {name}")
    return TransformJob(TransformRequest(**found, spell=spell), source, output)


def spell(name: str, *values: str) -> str:
    """A field, and values of it, as the API has them."""
    word = FIELDS[name][-1] if name in FIELDS else name
    return f"{word} {' or '.join(values)}".rstrip()


def _find(create: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        create = create.get(name) if isinstance(create, Mapping) else None
    return create
