"""A CreateTransformJob request, as the API has it or as a file, to what a run is asked to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..engine.request import CSV, INPUT, LINE, TransformRequest
from ..errors import ConfigError, InputError, quote
from ..storage.places import read_small

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
# The fields of CreateTransformJob by botocore's model of the service, and those that only DescribeTransformJob's answer has;
# a test compares them. None: a value; a dict: fields; "*": any names.
SHAPE: dict[str, Any] = {
    "BatchStrategy": None,
    "DataCaptureConfig": {"DestinationS3Uri": None, "GenerateInferenceId": None, "KmsKeyId": None},
    "DataProcessing": {"InputFilter": None, "JoinSource": None, "OutputFilter": None},
    "Environment": {"*": None},
    "ExperimentConfig": {"ExperimentName": None, "RunName": None, "TrialComponentDisplayName": None, "TrialName": None},
    "MaxConcurrentTransforms": None,
    "MaxPayloadInMB": None,
    "ModelClientConfig": {"InvocationsMaxRetries": None, "InvocationsTimeoutInSeconds": None},
    "ModelName": None,
    "Tags": None,
    "TransformInput": {
        "CompressionType": None,
        "ContentType": None,
        "DataSource": {"S3DataSource": {"S3DataType": None, "S3Uri": None}},
        "SplitType": None,
    },
    "TransformJobName": None,
    "TransformOutput": {"Accept": None, "AssembleWith": None, "KmsKeyId": None, "S3OutputPath": None},
    "TransformResources": {
        "InstanceCount": None,
        "InstanceType": None,
        "TransformAmiVersion": None,
        "VolumeKmsKeyId": None,
    },
}
OF_AN_ANSWER = (
    "AutoMLJobArn",
    "CreationTime",
    "FailureReason",
    "LabelingJobArn",
    "ResponseMetadata",
    "TransformEndTime",
    "TransformJobArn",
    "TransformJobStatus",
    "TransformStartTime",
)
# Fields that say where and how a job runs on AWS, or what is kept of it there.
WITHOUT_MEANING = ("DataCaptureConfig", "ExperimentConfig", "ModelClientConfig", "Tags", "TransformResources")
# Names the key that results are encrypted with; also without meaning.
KMS_KEY = "KmsKeyId"
# The words of a TransformRequest as the API spells them.
API_WORDS = {word.lower(): word for word in ("None", "Line", "RecordIO", "MultiRecord", "SingleRecord", "Input")}
# A job file has one kilobyte or two.
MOST_BYTES = 1 << 20
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
    found["env"] = {**(environment or {}), **dict(found.get("env", {}))}
    source = _find(create, ("TransformInput", "DataSource", "S3DataSource", "S3Uri"))
    output = _find(create, ("TransformOutput", "S3OutputPath"))
    for value, name in ((source, "S3Uri"), (output, "S3OutputPath")):
        if not isinstance(value, str) or not value:
            raise ConfigError(f"the job has no {name}")
    request = TransformRequest(**found, spell=spell)
    if (
        request.join_source == INPUT
        and request.essence == CSV
        and (request.split_type, request.assemble_with)
        != (
            LINE,
            LINE,
        )
    ):
        raise ConfigError("JoinSource Input requires SplitType Line and AssembleWith Line for text/csv, as on AWS")
    return TransformJob(request, source, output)


def read_job_file(path: str) -> tuple[TransformJob, str, list[str]]:
    """A job in a file: CreateTransformJob's request, DescribeTransformJob's answer, or a filled skeleton of the AWS CLI.

    Args:
        path: of the file, JSON; a path or a URL.

    Returns:
        the job; the name of its model; the fields that have a value but no meaning on this machine.

    Raises:
        ConfigError: ``bad_job_file`` where it is no such file, or has a field that the API does not know; and what
            :func:`read_request` raises.
        ServiceError: S3 refused, or was not reached.
    """
    try:
        create = json.loads(read_small(path, MOST_BYTES))
    except InputError as error:
        raise ConfigError(f"{path}: {error.message}", code="bad_job_file") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON: {error}", code="bad_job_file") from error
    if not isinstance(create, dict):
        raise ConfigError(f"{path}: expected an object", code="bad_job_file")
    unknown = list(_unknown(create, {**SHAPE, **dict.fromkeys(OF_AN_ANSWER)}, ""))
    if unknown:
        raise ConfigError(f"{path}: CreateTransformJob has no field {', '.join(unknown[:4])}", code="bad_job_file")
    wrong = next(_no_objects(create, SHAPE, ""), None)
    if wrong is not None:
        raise ConfigError(f"{path}: expected an object for {wrong}", code="bad_job_file")
    create = _without_blanks(create)
    create = {name: value for name, value in create.items() if name not in OF_AN_ANSWER}
    unused = [name for name in WITHOUT_MEANING if create.get(name)]
    if _find(create, ("TransformOutput", KMS_KEY)):
        unused.append(KMS_KEY)
    return read_request(create), str(create.get("ModelName") or ""), unused


def _unknown(value: Any, shape: dict[str, Any], above: str) -> Iterator[str]:
    if not isinstance(value, Mapping) or "*" in shape:
        return
    for name, part in value.items():
        if name not in shape:
            yield f"{above}{name}"
        elif shape[name] is not None:
            yield from _unknown(part, shape[name], f"{above}{name}.")


def _no_objects(value: Any, shape: dict[str, Any], above: str) -> Iterator[str]:
    """The fields that are objects by the API, and something else here."""
    for name, part in value.items():
        fields = shape.get(name)
        if fields is None or part in (None, ""):
            continue
        if not isinstance(part, Mapping):
            yield f"{above}{name}"
        elif "*" not in fields:
            yield from _no_objects(part, fields, f"{above}{name}.")


def _without_blanks(value: Any) -> Any:
    """The same without what a skeleton leaves blank: empty texts, and what has nothing else in it."""
    if isinstance(value, list):
        return [each for each in map(_without_blanks, value) if each not in ("", {}, [])]
    if not isinstance(value, dict):
        return value
    parts = {name: _without_blanks(part) for name, part in value.items()}
    return {name: part for name, part in parts.items() if part not in ("", {}, [])}


def spell(name: str, *values: str) -> str:
    """A field, and values of it, as the API has them."""
    word = FIELDS[name][-1] if name in FIELDS else name
    return f"{word} {' or '.join(API_WORDS.get(value, value) for value in values)}".rstrip()


def _find(create: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        create = create.get(name) if isinstance(create, Mapping) else None
    return create
