"""The API's requests as pure functions of what the user asked for: CreateTrainingJob, CreateModel, CreateTransformJob.

Field by field they equal those of SageMaker's SDK 2; the tests compare them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..errors import ConfigError, quote
from ..storage.uri import FILE, is_s3
from .distribution import decode_distribution, encode_distribution
from .estimator import LOG_LEVEL, EstimatorOptions
from .inputs import Channels, Tags, TrainingInput

Request = dict[str, Any]
Vpc = Optional[Mapping[str, Sequence[str]]]

# Where the inference container has the code of a model whose archive holds it.
SERVED_CODE = "/opt/ml/model/code"
# A job without network gets its code through a channel.
CODE_CHANNEL, CHANNEL_CODE = "code", "/opt/ml/input/data/code/sourcedir.tar.gz"
MODEL_CONTENT_TYPE = "application/x-sagemaker-model"
# The first version whose images record metrics as time series.
FIRST_WITH_METRICS = (1, 6)
OFFICIAL_IMAGE = re.compile(
    r"\.dkr\.ecr\..+/(?:sagemaker-)?mxnet(?:-training)?:([\d.]+)-(?:cpu|gpu)-(py[\d]+)(?:-.*)?$"
)

# Regions without SageMaker Debugger, by the SDK; in the others its hook is on by default, as there.
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
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def format_tags(tags: Tags) -> list[dict[str, str]] | None:
    """Tags in the API's form."""
    if tags is None:
        return None
    if isinstance(tags, Mapping):
        return [{"Key": str(name), "Value": str(value)} for name, value in tags.items()]
    return [dict(tag) for tag in tags]


def encode_hyperparameters(values: Mapping[str, Any]) -> dict[str, str]:
    """Each value as JSON text, which the training toolkit reads.

    Raises:
        ConfigError: ``bad_hyperparameter``.
    """
    encoded = {}
    for name, value in values.items():
        _check_argument("name of the hyperparameter", str(name))
        # The toolkit gives a dictionary to the script as NAME=VALUE,...
        for text in (*value.keys(), *value.values()) if isinstance(value, dict) else (value,):
            if isinstance(text, str):
                _check_argument(f"hyperparameter {quote(str(name))}", text)
        try:
            encoded[str(name)] = json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"the hyperparameter {quote(str(name))} cannot be written as JSON: {error}", code="bad_hyperparameter"
            ) from error
    return encoded


def _check_argument(what: str, text: str) -> None:
    """Refuses text that no process can be given: a training gets it as an argument."""
    fault = "a NUL character" if "\0" in text else ""
    try:
        text.encode("utf-8", "surrogateescape")  # as Python encodes arguments
    except UnicodeEncodeError:
        fault = "a lone surrogate"
    if fault:
        raise ConfigError(
            f"the {what} cannot be an argument of the script: it has {fault}, found {quote(text)}",
            code="bad_hyperparameter",
        )


def channels(inputs: Channels, *, local: bool) -> list[Request] | None:
    """A training's channels. A single URI is the channel ``training``, as in the SDK.

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
        uri = given.config["DataSource"]["S3DataSource"]["S3Uri"]
        if not (local or is_s3(uri)):
            is_local = uri.startswith((FILE, "/"))
            raise ConfigError(
                f"the channel {quote(name)}: expected a URI of S3, found {quote(uri)}",
                code="bad_channel",
                hint="only instance_type='local' accepts local paths" if is_local else "use s3://...",
            )
        found.append({**given.config, "ChannelName": name})
    return found


def vpc_config(subnets: Sequence[str] | None, security_group_ids: Sequence[str] | None) -> Request | None:
    """A VpcConfig; None without subnets and security groups.

    Raises:
        ConfigError: ``bad_vpc``.
    """
    if (subnets is None) != (security_group_ids is None):
        raise ConfigError("a VPC requires both subnets and security_group_ids", code="bad_vpc")
    if subnets is None:
        return None
    return {"Subnets": list(subnets), "SecurityGroupIds": list(security_group_ids or ())}


def debugger_configs(
    output_path: str, region: str, *, hook: Mapping[str, Any] | bool | None, disable_profiler: bool, instance_type: str
) -> Request:
    """DebugHookConfig and ProfilerConfig, with the SDK's defaults.

    Args:
        output_path: the URI of what both write.
        region: some regions have neither.
        hook: a DebugHookConfig; False: none.
        disable_profiler: whether the profiler is off.
        instance_type: instances with Trainium have no profiler.
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


def add_model_channel(inputs: Channels, options: EstimatorOptions) -> Channels:
    """The channels, with one for the model to continue from where there is one.

    Raises:
        ConfigError: ``bad_channel``.
    """
    if options.model_uri is None:
        return inputs
    if inputs is None or isinstance(inputs, (str, TrainingInput)):
        inputs = {} if inputs is None else {"training": inputs}
    if options.model_channel_name in inputs:
        raise ConfigError(f"there are two channels {options.model_channel_name!r}", code="bad_channel")
    model = TrainingInput(options.model_uri, content_type=MODEL_CONTENT_TYPE, input_mode="File")
    return {**inputs, options.model_channel_name: model}


def parse_version(text: str | None, default: tuple[int, ...]) -> tuple[int, ...]:
    """The first two numbers of a version; `default` where it is unknown, as for an image of the user's own."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2]) if text else default


def training_request(
    name: str,
    options: EstimatorOptions,
    *,
    role: str,
    image: str,
    code: str,
    output_path: str,
    inputs: Channels,
    region: str,
    local: bool,
    experiment_config: Mapping[str, str] | None = None,
) -> Request:
    """CreateTrainingJob.

    Args:
        name: the job's name.
        options: what the user asked for.
        role: the role's ARN.
        image: the container image.
        code: the URI of the uploaded code.
        output_path: the URI of the results.
        inputs: the channels.
        region: the region.
        local: whether the job runs on this machine.
        experiment_config: as in the API.

    Raises:
        ConfigError: ``bad_channel``, ``bad_hyperparameter``, ``bad_vpc`` or ``bad_option``.
    """
    data = channels(add_model_channel(inputs, options), local=local)
    submitted = code
    if options.enable_network_isolation:
        data = [*(data or ()), *(channels({CODE_CHANNEL: code}, local=local) or ())]
        submitted = CHANNEL_CODE
    hyperparameters = {
        **(options.hyperparameters or {}),
        **encode_distribution(options.distribution),
        "sagemaker_submit_directory": submitted,
        "sagemaker_program": options.entry_point if options.source_dir else os.path.basename(options.entry_point),
        "sagemaker_container_log_level": options.container_log_level,
        "sagemaker_job_name": name,
        "sagemaker_region": region,
    }
    metrics = options.enable_sagemaker_metrics
    if metrics is None and parse_version(options.framework_version, (0,)) >= FIRST_WITH_METRICS:
        metrics = True
    definitions = options.metric_definitions
    checkpoints = None
    if options.checkpoint_s3_uri:
        checkpoints = without_none(S3Uri=options.checkpoint_s3_uri, LocalPath=options.checkpoint_local_path)
    debugger: Request = {}
    if not local:
        debugger = debugger_configs(
            output_path,
            region,
            hook=options.debugger_hook_config,
            disable_profiler=options.disable_profiler,
            instance_type=options.instance_type,
        )
    return without_none(
        TrainingJobName=name,
        AlgorithmSpecification=without_none(
            TrainingInputMode=options.input_mode,
            TrainingImage=image,
            MetricDefinitions=None if definitions is None else list(map(dict, definitions)),
            EnableSageMakerMetricsTimeSeries=None if local else metrics,
        ),
        RoleArn=role,
        InputDataConfig=data,
        OutputDataConfig=without_none(S3OutputPath=output_path, KmsKeyId=options.output_kms_key),
        ResourceConfig=without_none(
            VolumeSizeInGB=options.volume_size,
            InstanceCount=options.instance_count,
            InstanceType=options.instance_type,
            VolumeKmsKeyId=options.volume_kms_key,
        ),
        StoppingCondition=without_none(MaxRuntimeInSeconds=options.max_run, MaxWaitTimeInSeconds=options.max_wait),
        HyperParameters=encode_hyperparameters(hyperparameters),
        Environment=dict(options.environment) if options.environment else None,
        Tags=format_tags(options.tags),
        VpcConfig=vpc_config(options.subnets, options.security_group_ids),
        EnableNetworkIsolation=options.enable_network_isolation or None,
        EnableInterContainerTrafficEncryption=options.encrypt_inter_container_traffic or None,
        EnableManagedSpotTraining=options.use_spot_instances or None,
        CheckpointConfig=checkpoints,
        ExperimentConfig=dict(experiment_config) if experiment_config else None,
        **debugger,
    )


def training_options(description: Mapping[str, Any], *, local: bool) -> dict[str, Any]:
    """The options of a training, by their names, out of DescribeTrainingJob's answer.

    Args:
        description: the answer.
        local: whether the job ran on this machine.
    """
    values = {name: json.loads(text) for name, text in description.get("HyperParameters", {}).items()}
    by_name = {each["ChannelName"]: each for each in description.get("InputDataConfig") or ()}
    code = values.get("sagemaker_submit_directory", "")
    if code == CHANNEL_CODE and CODE_CHANNEL in by_name:
        code = by_name[CODE_CHANNEL]["DataSource"]["S3DataSource"]["S3Uri"]
    resources, output = description["ResourceConfig"], description["OutputDataConfig"]
    vpc = description.get("VpcConfig") or {}
    image = description["AlgorithmSpecification"]["TrainingImage"]
    official = OFFICIAL_IMAGE.search(image)
    return {
        "entry_point": values.get("sagemaker_program", ""),
        "source_dir": code,
        "role": description["RoleArn"],
        "output_path": output["S3OutputPath"],
        "output_kms_key": output.get("KmsKeyId") or None,
        "instance_count": resources["InstanceCount"],
        "instance_type": resources["InstanceType"],
        "volume_size": resources["VolumeSizeInGB"],
        "volume_kms_key": resources.get("VolumeKmsKeyId") or None,
        "max_run": description["StoppingCondition"]["MaxRuntimeInSeconds"],
        "max_wait": description["StoppingCondition"].get("MaxWaitTimeInSeconds"),
        # Training and inference have different images: an official one is kept as its version.
        "framework_version": official[1] if official else None,
        "py_version": official[2] if official else None,
        "image_uri": None if official or local else image,
        "hyperparameters": {name: value for name, value in values.items() if not name.startswith("sagemaker_")},
        "distribution": decode_distribution(values),
        "subnets": vpc.get("Subnets"),
        "security_group_ids": vpc.get("SecurityGroupIds"),
        "enable_network_isolation": bool(description.get("EnableNetworkIsolation")),
        "encrypt_inter_container_traffic": bool(description.get("EnableInterContainerTrafficEncryption")),
        "use_spot_instances": bool(description.get("EnableManagedSpotTraining")),
        "container_log_level": values.get("sagemaker_container_log_level", LOG_LEVEL),
    }


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
