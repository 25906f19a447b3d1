"""The three requests, as pure functions of what the user said: CreateTrainingJob, CreateModel, CreateTransformJob.

Field by field they are those of SageMaker's SDK 2; the tests compare them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from ..errors import ConfigError, quote
from ..storage.uri import FILE, is_s3
from .inputs import TrainingInput

Request = dict[str, Any]
Tags = Union[Mapping[str, str], Sequence[Mapping[str, str]], None]
Channels = Union[str, TrainingInput, Mapping[str, Union[str, TrainingInput]], None]
Vpc = Optional[Mapping[str, Sequence[str]]]

# Where Debugger is not, by the SDK; the others get its hook, as there.
WITHOUT_DEBUGGER = {
    "us-iso-east-1",
    "us-isob-east-1",
    "ap-southeast-3",
    "ap-southeast-4",
    "eu-south-2",
    "me-central-1",
    "ap-south-2",
    "eu-central-2",
    "us-gov-east-1",
}


def without_none(**fields: Any) -> Request:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def format_tags(tags: Tags) -> list[dict[str, str]] | None:
    """Tags as the API takes them; a plain dict of names and values is taken as well."""
    if tags is None:
        return None
    if isinstance(tags, Mapping):
        return [{"Key": str(name), "Value": str(value)} for name, value in tags.items()]
    return [dict(tag) for tag in tags]


def encode_hyperparameters(values: Mapping[str, Any]) -> dict[str, str]:
    """Each value as a string that holds JSON: what the training toolkit reads.

    Raises:
        ConfigError: ``bad_hyperparameter``.
    """
    encoded = {}
    for name, value in values.items():
        try:
            encoded[str(name)] = json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"the hyperparameter {quote(str(name))} is not JSON: {error}", code="bad_hyperparameter"
            ) from error
    return encoded


def channels(inputs: Channels, *, local: bool) -> list[Request] | None:
    """A training's channels. A single place is the channel ``training``, as in the SDK.

    Raises:
        ConfigError: ``bad_channel``.
    """
    if inputs is None:
        return None
    if isinstance(inputs, (str, TrainingInput)):
        inputs = {"training": inputs}
    found = []
    for name, each in inputs.items():
        given = each if isinstance(each, TrainingInput) else TrainingInput(str(each))
        place = given.config["DataSource"]["S3DataSource"]["S3Uri"]
        if not (local or is_s3(place)):
            where = (
                "only instance_type='local' takes places on this machine"
                if place.startswith((FILE, "/"))
                else "s3://..."
            )
            raise ConfigError(f"the channel {quote(name)} is not in S3: {quote(place)}", code="bad_channel", hint=where)
        found.append({**given.config, "ChannelName": name})
    return found


def vpc_config(subnets: Sequence[str] | None, security_group_ids: Sequence[str] | None) -> Request | None:
    """A VpcConfig, which has both or is not there.

    Raises:
        ConfigError: ``bad_vpc``.
    """
    if (subnets is None) != (security_group_ids is None):
        raise ConfigError("a VPC needs both subnets and security_group_ids", code="bad_vpc")
    if subnets is None:
        return None
    return {"Subnets": list(subnets), "SecurityGroupIds": list(security_group_ids or ())}


def debugger_configs(
    output_path: str, region: str, *, hook: Mapping[str, Any] | bool | None, disable_profiler: bool, instance_type: str
) -> Request:
    """DebugHookConfig and ProfilerConfig as the SDK sends them where the user says nothing of them.

    Args:
        output_path: where both write.
        region: some have neither.
        hook: False: no hook; a mapping: that one.
        disable_profiler: whether the profiler is to be off.
        instance_type: Trainium's has no profiler.
    """
    found: Request = {}
    if isinstance(hook, Mapping):
        found["DebugHookConfig"] = dict(hook)
    elif hook is not False and region not in WITHOUT_DEBUGGER:
        found["DebugHookConfig"] = {"S3OutputPath": output_path, "CollectionConfigurations": []}
    if disable_profiler or region in WITHOUT_DEBUGGER or instance_type.startswith("ml.trn"):
        found["ProfilerConfig"] = {"DisableProfiler": True}
    else:
        found["ProfilerConfig"] = {"S3OutputPath": output_path, "DisableProfiler": False}
    return found


def model_request(
    name: str,
    role: str,
    image: str,
    model_data: str,
    environment: Mapping[str, str],
    *,
    tags: Tags = None,
    vpc: Vpc = None,
    enable_network_isolation: bool = False,
) -> Request:
    """CreateModel."""
    return without_none(
        ModelName=name,
        ExecutionRoleArn=role,
        PrimaryContainer={"Image": image, "Environment": dict(environment), "ModelDataUrl": model_data},
        Tags=format_tags(tags) or None,
        VpcConfig=vpc or None,
        EnableNetworkIsolation=enable_network_isolation or None,
    )


def transform_request(
    name: str,
    model_name: str,
    data: str,
    output_path: str,
    *,
    instance_count: int,
    instance_type: str,
    data_type: str = "S3Prefix",
    content_type: str | None = None,
    compression_type: str | None = None,
    split_type: str | None = None,
    strategy: str | None = None,
    assemble_with: str | None = None,
    accept: str | None = None,
    output_kms_key: str | None = None,
    volume_kms_key: str | None = None,
    max_concurrent_transforms: int | None = None,
    max_payload: int | None = None,
    environment: Mapping[str, str] | None = None,
    tags: Tags = None,
    input_filter: str | None = None,
    output_filter: str | None = None,
    join_source: str | None = None,
    experiment_config: Mapping[str, str] | None = None,
    model_client_config: Mapping[str, int] | None = None,
) -> Request:
    """CreateTransformJob."""
    processing = without_none(InputFilter=input_filter, OutputFilter=output_filter, JoinSource=join_source)
    return without_none(
        TransformJobName=name,
        ModelName=model_name,
        TransformInput=without_none(
            DataSource={"S3DataSource": {"S3DataType": data_type, "S3Uri": data}},
            ContentType=content_type,
            CompressionType=compression_type,
            SplitType=split_type,
        ),
        TransformOutput=without_none(
            S3OutputPath=output_path, KmsKeyId=output_kms_key, AssembleWith=assemble_with, Accept=accept
        ),
        TransformResources=without_none(
            InstanceCount=instance_count, InstanceType=instance_type, VolumeKmsKeyId=volume_kms_key
        ),
        BatchStrategy=strategy,
        MaxConcurrentTransforms=max_concurrent_transforms,
        MaxPayloadInMB=max_payload,
        Environment=None if environment is None else dict(environment),
        Tags=format_tags(tags),
        DataProcessing=processing or None,
        ExperimentConfig=dict(experiment_config) if experiment_config else None,
        ModelClientConfig=dict(model_client_config) if model_client_config else None,
    )
