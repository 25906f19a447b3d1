"""What an estimator knows of a training: the arguments of SageMaker's SDK, with their types and defaults."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from ..errors import ConfigError
from .inputs import Tags
from .session import Session

DAY_S = 24 * 3600
LOG_LEVEL = 20
INSTANCE_TYPE = "ml.m4.xlarge"

# Names of version 1 of SageMaker's SDK.
OLD_NAMES = {
    "train_instance_count": "instance_count",
    "train_instance_type": "instance_type",
    "train_volume_size": "volume_size",
    "train_volume_kms_key": "volume_kms_key",
    "train_max_run": "max_run",
    "train_max_wait": "max_wait",
    "train_use_spot_instances": "use_spot_instances",
    "image_name": "image_uri",
    "distributions": "distribution",
}

Class = TypeVar("Class", bound="EstimatorOptions")


def _accept_old_names(options: type[Class]) -> type[Class]:
    """Lets a dataclass's constructor accept old names of its fields; an unknown name raises ConfigError."""
    construct = options.__init__
    names = {field.name for field in fields(options)}

    @functools.wraps(construct)
    def __init__(self: Class, *values: Any, **named: Any) -> None:
        for name in named:
            if OLD_NAMES.get(name, name) not in names:
                raise ConfigError(f"{type(self).__name__}() has no argument {name!r}", code="bad_option")
        construct(self, *values, **{OLD_NAMES.get(name, name): value for name, value in named.items()})

    options.__init__ = __init__  # type: ignore[assignment,method-assign]
    return options


@_accept_old_names
@dataclass(eq=False, repr=False)
class EstimatorOptions:
    """The arguments of an estimator, in the SDK's order; names of version 1 of the SDK are accepted as well.

    So many attributes: the SDK's estimators have them, and notebooks read and set them.
    """

    entry_point: str
    """The script; with `source_dir` its name in that folder."""
    role: str | None = None
    """The role that the job runs as: an ARN, or a role's name. Local jobs need none."""
    output_path: str | None = None
    """The URI of the models; None: in the session's default bucket."""
    code_location: str | None = None
    """The URI of the uploaded code; None: in the bucket of `output_path`."""
    instance_count: int = 1
    """The number of instances."""
    instance_type: str = INSTANCE_TYPE
    """The type of the instances; ``local`` trains on this machine."""
    framework_version: str | None = None
    """The version of MXNet, such as ``1.9.0``; not needed with `image_uri`."""
    py_version: str | None = None
    """The version of Python in the image, such as ``py38``."""
    hyperparameters: Mapping[str, Any] | None = None
    """The script's options; each value must be JSON."""
    source_dir: str | None = None
    """A folder that is uploaded with the script, or a ``.tar.gz`` that was uploaded before."""
    dependencies: Sequence[str] = ()
    """Files and folders that are uploaded beside the script."""
    image_uri: str | None = None
    """A container image to use in place of SageMaker's."""
    sagemaker_session: Session | None = None
    """The account; None: a new session."""
    base_job_name: str | None = None
    """How job names begin; None: the image's name."""
    volume_size: int = 30
    """The size of an instance's volume in GB."""
    volume_kms_key: str | None = None
    """The KMS key of the instances' volumes."""
    output_kms_key: str | None = None
    """The KMS key of models and other results."""
    max_run: int = DAY_S
    """The longest duration of the training in seconds."""
    max_wait: int | None = None
    """The longest duration of a spot training in seconds, waiting for instances included."""
    use_spot_instances: bool = False
    """Whether AWS may interrupt the training, for a lower price."""
    checkpoint_s3_uri: str | None = None
    """The URI of the script's checkpoints."""
    checkpoint_local_path: str | None = None
    """The folder in the container that the script writes its checkpoints to."""
    subnets: Sequence[str] | None = None
    """The subnets of a VPC; `security_group_ids` is then required."""
    security_group_ids: Sequence[str] | None = None
    """The security groups of a VPC."""
    encrypt_inter_container_traffic: bool = False
    """Whether traffic between the instances is encrypted."""
    enable_network_isolation: bool = False
    """Whether the containers have no network."""
    tags: Tags = None
    """A list of ``{"Key": …, "Value": …}``, or a plain dict."""
    metric_definitions: Sequence[Mapping[str, str]] | None = None
    """``[{"Name": …, "Regex": …}]``: metrics to be read from the log."""
    environment: Mapping[str, str] | None = None
    """Environment variables of the script."""
    distribution: Mapping[str, Any] | None = None
    """For several instances ``{"parameter_server": {"enabled": True}}``, or on AWS
    ``{"mpi": {"enabled": True, "processes_per_host": …, "custom_mpi_options": …}}``."""
    input_mode: str = "File"
    """``File``, ``Pipe`` or ``FastFile``: how channels reach the script."""
    model_uri: str | None = None
    """A model to continue from, as a channel."""
    model_channel_name: str = "model"
    """The name of that channel."""
    enable_sagemaker_metrics: bool | None = None
    """Whether metrics are kept as time series; None: from MXNet 1.6 on."""
    container_log_level: int = LOG_LEVEL
    """A level of Python's logging."""
    debugger_hook_config: Mapping[str, Any] | bool | None = None
    """A DebugHookConfig; False: none; None: the SDK's default."""
    disable_profiler: bool = False
    """Whether SageMaker's profiler is off."""
    max_code_bytes: int | None = None
    """The largest size of the uploaded code; None: 256 MiB."""

    def __post_init__(self) -> None:
        # As in the SDK, None means the default.
        self.instance_count = int(self.instance_count or 1)
        self.instance_type = str(self.instance_type or INSTANCE_TYPE)
