"""The MXNet estimator as SageMaker's SDK knows it: trains a script as a job, and makes a Transformer of the result.

Nothing here imports the framework of that name: it runs where the job does.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..models.module import PROGRAM_VARIABLE
from ..storage.aws import translating_errors
from ..storage.uri import is_s3, join, split_s3
from . import jobs
from .code_archive import MODEL_ARCHIVE, SOURCE_ARCHIVE, Files, dependency_files, pack, repack_model, source_files
from .image_uris import INFERENCE, base_name, image_uri
from .image_uris import TRAINING as TRAINING_IMAGE
from .inputs import TrainingInput
from .local.session import choose_session, run_locally
from .logs import TRAINING
from .requests import (
    Channels,
    Request,
    Tags,
    channels,
    debugger_configs,
    encode_hyperparameters,
    format_tags,
    model_request,
    vpc_config,
    without_none,
)
from .session import LOCAL_ROLE, Session
from .transformer import Transformer

# What SageMaker's SDK 1 called things.
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
DAY_S = 24 * 3600
LOG_LEVEL = 20
SERVED_CODE = "/opt/ml/model/code"
# The channel by which the code comes to a job that has no network.
CODE_CHANNEL, CHANNEL_CODE = "code", "/opt/ml/input/data/code/sourcedir.tar.gz"
MODEL_CONTENT_TYPE = "application/x-sagemaker-model"
# From these versions on the model's archive holds the code that serves it, and the images measure themselves.
FIRST_REPACKED, FIRST_MEASURED = (1, 4), (1, 6)
OFFICIAL_IMAGE = re.compile(
    r"\.dkr\.ecr\..+/(?:sagemaker-)?mxnet(?:-training)?:([\d.]+)-(?:cpu|gpu)-(py[\d]+)(?:-.*)?$"
)
# No images, but names of the same form; jobs are named after them.
LOCAL_TRAINING, LOCAL_INFERENCE = "local/mxnet-training", "local/mxnet-inference"


class MXNet:
    """A training job of a script with MXNet.

    Args:
        entry_point: the script; with `source_dir` its name there.
        role: what the job runs as: an ARN, or the name of a role. Local jobs need none.
        output_path: where models go; None: the session's default bucket.
        code_location: where the code goes; None: the bucket of `output_path`.
        instance_count, instance_type: of the training; ``local`` runs it on this machine.
        framework_version, py_version: which MXNet image; or `image_uri`.
        hyperparameters: the script's options.
        source_dir: a folder that goes with the script.
        dependencies: files and folders that go beside it.
        sagemaker_session: whose account; None: a new session.
        base_job_name: what job names begin with.
        volume_size: GB; volume_kms_key, output_kms_key: their encryption.
        max_run, max_wait: seconds; `max_wait` of a spot training, waiting included.
        use_spot_instances: whether AWS may interrupt the training for a lower price.
        checkpoint_s3_uri, checkpoint_local_path: where the script's checkpoints are kept, and its folder for them.
        subnets, security_group_ids: of a VPC.
        encrypt_inter_container_traffic, enable_network_isolation: as the API has them.
        tags: a list of ``{"Key": …, "Value": …}``, or a plain dict.
        metric_definitions: ``[{"Name": …, "Regex": …}]``.
        environment: further variables for the script.
        distribution: ``{"parameter_server": {"enabled": True}}`` for several instances.
        input_mode: ``File``.
        model_uri, model_channel_name: a model to go on from, and the channel by which the script gets it.
        enable_sagemaker_metrics: whether metrics are kept as series; None: from MXNet 1.6 on.
        container_log_level: of Python's logging.
        debugger_hook_config, disable_profiler: as in the SDK.
        max_code_bytes: the most that the code may have; None: 256 MiB.
        old_names: what SDK 1 called these: ``train_instance_count`` and its like.

    Raises:
        ConfigError: an option that cannot be.
    """

    def __init__(
        self,
        entry_point: str,
        role: str | None = None,
        output_path: str | None = None,
        code_location: str | None = None,
        instance_count: int | None = None,
        instance_type: str | None = None,
        framework_version: str | None = None,
        py_version: str | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        source_dir: str | None = None,
        dependencies: Sequence[str] = (),
        image_uri: str | None = None,
        sagemaker_session: Session | None = None,
        base_job_name: str | None = None,
        volume_size: int = 30,
        volume_kms_key: str | None = None,
        output_kms_key: str | None = None,
        max_run: int = DAY_S,
        max_wait: int | None = None,
        use_spot_instances: bool = False,
        checkpoint_s3_uri: str | None = None,
        checkpoint_local_path: str | None = None,
        subnets: Sequence[str] | None = None,
        security_group_ids: Sequence[str] | None = None,
        encrypt_inter_container_traffic: bool = False,
        enable_network_isolation: bool = False,
        tags: Tags = None,
        metric_definitions: Sequence[Mapping[str, str]] | None = None,
        environment: Mapping[str, str] | None = None,
        distribution: Mapping[str, Any] | None = None,
        input_mode: str = "File",
        model_uri: str | None = None,
        model_channel_name: str = "model",
        enable_sagemaker_metrics: bool | None = None,
        container_log_level: int = LOG_LEVEL,
        debugger_hook_config: Mapping[str, Any] | bool | None = None,
        disable_profiler: bool = False,
        max_code_bytes: int | None = None,
        **old_names: Any,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "old_names")}
        for old, value in old_names.items():
            new = OLD_NAMES.get(old)
            if new is None:
                raise ConfigError(f"MXNet() has no argument {old!r}", code="bad_option")
            given[new] = value
        self.__dict__.update(given)
        self.instance_count = int(given["instance_count"] or 1)
        self.instance_type = str(given["instance_type"] or "ml.m4.xlarge")
        self.sagemaker_session = choose_session(sagemaker_session, self.instance_type)
        self.latest_training_job: jobs.JobName | None = None
        self.model_data: str | None = None
        # Asked early: a version that is not there should fail before anything is uploaded.
        self._image = self._training_image() if not run_locally(self.instance_type) else LOCAL_TRAINING

    def fit(
        self,
        inputs: Channels = None,
        wait: bool = True,
        logs: bool = True,
        job_name: str | None = None,
        experiment_config: Mapping[str, str] | None = None,
    ) -> None:
        """Uploads the code and starts the training.

        Args:
            inputs: the channels: name → place; a local training takes places on this machine as well.
            wait: whether to wait for its end; ``MXNet.attach(name)`` waits later.
            logs: whether its logs are printed meanwhile.
            job_name: None: made of `base_job_name` and the time.
            experiment_config: as the API has it.

        Raises:
            ConfigError: an option, the code to be packed, or what AWS refuses.
            JobFailed: with the job's reason.
        """
        session = self.sagemaker_session
        name = job_name or self._make_name()
        request = self._training_request(name, inputs, experiment_config)
        with translating_errors(f"starting the training job {name}"):
            session.sagemaker_client.create_training_job(**request)
        self.latest_training_job = jobs.JobName(name, session, TRAINING)
        session.say(f"training job {name}: started")
        self.model_data = join(request["OutputDataConfig"]["S3OutputPath"], name, "output", MODEL_ARCHIVE)
        if wait:
            self.wait(logs=logs)

    def wait(self, logs: bool = True) -> None:
        """Waits for the training. Raises JobFailed with its reason."""
        if self.latest_training_job is None:
            raise ConfigError("nothing was started", code="not_started", hint="call fit() first")
        facts = jobs.wait(self.sagemaker_session, TRAINING, self.latest_training_job, logs=logs)
        self.model_data = str(facts["ModelArtifacts"]["S3ModelArtifacts"])

    @classmethod
    def attach(cls, training_job_name: str, sagemaker_session: Session | None = None, *, local: bool = False) -> MXNet:
        """The estimator of a training that was started before; waits for its end.

        Args:
            training_job_name: the job's.
            sagemaker_session: whose job.
            local: whether it was one of this machine's.

        Raises:
            ConfigError: ``aws_missing`` where there is no such job.
            JobFailed: with its reason.
        """
        session = choose_session(sagemaker_session, "local" if local else "")
        facts = jobs.describe(session, TRAINING, training_job_name)
        values = {name: json.loads(text) for name, text in facts.get("HyperParameters", {}).items()}
        channel = {each["ChannelName"]: each for each in facts.get("InputDataConfig") or ()}.get(CODE_CHANNEL)
        code = values.get("sagemaker_submit_directory", "")
        if code == CHANNEL_CODE and channel:
            code = channel["DataSource"]["S3DataSource"]["S3Uri"]
        resources, output, vpc = facts["ResourceConfig"], facts["OutputDataConfig"], facts.get("VpcConfig") or {}
        image = facts["AlgorithmSpecification"]["TrainingImage"]
        official = OFFICIAL_IMAGE.search(image)
        estimator = cls(
            entry_point=values.get("sagemaker_program", ""),
            source_dir=code,
            role=facts["RoleArn"],
            output_path=output["S3OutputPath"],
            output_kms_key=output.get("KmsKeyId") or None,
            instance_count=resources["InstanceCount"],
            instance_type=resources["InstanceType"],
            volume_size=resources["VolumeSizeInGB"],
            volume_kms_key=resources.get("VolumeKmsKeyId") or None,
            max_run=facts["StoppingCondition"]["MaxRuntimeInSeconds"],
            max_wait=facts["StoppingCondition"].get("MaxWaitTimeInSeconds"),
            # The image for training is not the one that serves.
            framework_version=official[1] if official else None,
            py_version=official[2] if official else None,
            image_uri=None if official or session.local_mode else image,
            hyperparameters={name: value for name, value in values.items() if not name.startswith("sagemaker_")},
            base_job_name=jobs.base_of(training_job_name),
            subnets=vpc.get("Subnets"),
            security_group_ids=vpc.get("SecurityGroupIds"),
            enable_network_isolation=bool(facts.get("EnableNetworkIsolation")),
            encrypt_inter_container_traffic=bool(facts.get("EnableInterContainerTrafficEncryption")),
            use_spot_instances=bool(facts.get("EnableManagedSpotTraining")),
            container_log_level=values.get("sagemaker_container_log_level", LOG_LEVEL),
            sagemaker_session=session,
        )
        estimator.latest_training_job = jobs.JobName(training_job_name, session, TRAINING)
        estimator._code = code or None
        estimator.wait()
        return estimator

    def transformer(
        self,
        instance_count: int = 1,
        instance_type: str = "ml.m4.xlarge",
        strategy: str | None = None,
        assemble_with: str | None = None,
        output_path: str | None = None,
        output_kms_key: str | None = None,
        accept: str | None = None,
        env: Mapping[str, str] | None = None,
        max_concurrent_transforms: int | None = None,
        max_payload: int | None = None,
        tags: Tags = None,
        role: str | None = None,
        model_server_workers: int | None = None,
        volume_kms_key: str | None = None,
        entry_point: str | None = None,
        enable_network_isolation: bool | None = None,
        model_name: str | None = None,
    ) -> Transformer:
        """A model of the trained network and its code, and what transforms with it.

        Args:
            instance_count, instance_type: of the transform jobs; ``local`` runs them on this machine.
            entry_point: another script to serve with than the one that trained.
            strategy, assemble_with, output_path, output_kms_key, accept, env, max_concurrent_transforms, max_payload, tags,
                volume_kms_key: see :class:`Transformer`.
            role, enable_network_isolation: other ones than the training's.
            model_server_workers: processes of the model's server.
            model_name: None: made of the image's name and the time.

        Raises:
            ConfigError: ``not_started`` before a training; what AWS refuses.
        """
        if self.model_data is None:
            raise ConfigError("there is no model", code="not_started", hint="call fit() first")
        session = choose_session(self.sagemaker_session, instance_type)
        local = run_locally(instance_type)
        image = LOCAL_INFERENCE if local else self._inference_image(instance_type)
        name = model_name or self._make_name()
        repacked = local or _version(self.framework_version, FIRST_REPACKED) >= FIRST_REPACKED
        environment = {
            PROGRAM_VARIABLE: os.path.basename(entry_point or self.entry_point),
            # Where the code is not in the model's archive, the container fetches it.
            "SAGEMAKER_SUBMIT_DIRECTORY": SERVED_CODE if repacked else str(self._code),
            "SAGEMAKER_CONTAINER_LOG_LEVEL": str(self.container_log_level),
            "SAGEMAKER_REGION": "local" if local else session.boto_region_name,
        }
        if model_server_workers is not None:
            environment["SAGEMAKER_MODEL_SERVER_WORKERS"] = str(model_server_workers)
        isolated = self.enable_network_isolation if enable_network_isolation is None else enable_network_isolation
        request = model_request(
            name,
            self._role(role or self.role, local),
            image,
            self._upload_model(name, entry_point) if repacked else self.model_data,
            environment,
            tags=tags if tags is not None else self.tags,
            vpc=vpc_config(self.subnets, self.security_group_ids),
            enable_network_isolation=isolated,
        )
        with translating_errors(f"making the model {name}"):
            session.sagemaker_client.create_model(**request)
        session.say(f"model {name}: made")
        return Transformer(
            name,
            instance_count,
            instance_type,
            strategy=strategy,
            assemble_with=assemble_with,
            output_path=output_path,
            output_kms_key=output_kms_key,
            accept=accept,
            max_concurrent_transforms=max_concurrent_transforms,
            max_payload=max_payload,
            tags=tags if tags is not None else self.tags,
            env=env,
            base_transform_job_name=self._base_name(),
            sagemaker_session=session,
            volume_kms_key=volume_kms_key,
        )

    _code: str | None = None  # where the training's sourcedir.tar.gz lies

    # Of the constructor's arguments, with their types.
    entry_point: str
    role: str | None
    output_path: str | None
    code_location: str | None
    framework_version: str | None
    py_version: str | None
    hyperparameters: Mapping[str, Any] | None
    source_dir: str | None
    dependencies: Sequence[str]
    image_uri: str | None
    base_job_name: str | None
    volume_size: int
    volume_kms_key: str | None
    output_kms_key: str | None
    max_run: int
    max_wait: int | None
    use_spot_instances: bool
    checkpoint_s3_uri: str | None
    checkpoint_local_path: str | None
    subnets: Sequence[str] | None
    security_group_ids: Sequence[str] | None
    encrypt_inter_container_traffic: bool
    enable_network_isolation: bool
    tags: Tags
    metric_definitions: Sequence[Mapping[str, str]] | None
    environment: Mapping[str, str] | None
    distribution: Mapping[str, Any] | None
    input_mode: str
    model_uri: str | None
    model_channel_name: str
    enable_sagemaker_metrics: bool | None
    container_log_level: int
    debugger_hook_config: Mapping[str, Any] | bool | None
    disable_profiler: bool
    max_code_bytes: int | None

    def _base_name(self) -> str:
        """What the names of jobs and models begin with; all are named after the training, as in the SDK."""
        return self.base_job_name or base_name(self._image)

    def _make_name(self) -> str:
        return jobs.make_name(self._base_name())

    def _training_image(self) -> str:
        return self.image_uri or image_uri(
            TRAINING_IMAGE,
            self.sagemaker_session.boto_region_name,
            framework_version=self.framework_version,
            py_version=self.py_version,
            instance_type=self.instance_type,
        )

    def _inference_image(self, instance_type: str) -> str:
        return self.image_uri or image_uri(
            INFERENCE,
            self.sagemaker_session.boto_region_name,
            framework_version=self.framework_version,
            py_version=self.py_version,
            instance_type=instance_type,
        )

    def _role(self, role: str | None, local: bool) -> str:
        return role or LOCAL_ROLE if local else self.sagemaker_session.expand_role(role)

    def _output_path(self) -> str:
        path = self.output_path or self.sagemaker_session.default_uri()
        # As SageMaker's SDK sends it.
        return path.rstrip("/") + "/" if self.output_path is None else path

    def _training_request(self, name: str, inputs: Channels, experiment_config: Mapping[str, str] | None) -> Request:
        session, local = self.sagemaker_session, run_locally(self.instance_type)
        output_path = self._output_path()
        role = self._role(self.role, local)
        data = channels(self._with_model(inputs), local=local)
        vpc = vpc_config(self.subnets, self.security_group_ids)
        region = "local" if local else session.boto_region_name
        self._code = self._upload_code(name, output_path)
        code = self._code
        if self.enable_network_isolation:
            data = [*(data or ()), *(channels({CODE_CHANNEL: code}, local=local) or ())]
            code = CHANNEL_CODE
        measured = self.enable_sagemaker_metrics
        if measured is None and _version(self.framework_version, (0,)) >= FIRST_MEASURED:
            measured = True
        program = self.entry_point if self.source_dir else os.path.basename(self.entry_point)
        values = {
            **(self.hyperparameters or {}),
            **self._distribution(),
            "sagemaker_submit_directory": code,
            "sagemaker_program": program,
            "sagemaker_container_log_level": self.container_log_level,
            "sagemaker_job_name": name,
            "sagemaker_region": region,
        }
        stopping = {"MaxRuntimeInSeconds": self.max_run}
        if self.max_wait is not None:
            stopping["MaxWaitTimeInSeconds"] = self.max_wait
        checkpoints = None
        if self.checkpoint_s3_uri:
            checkpoints = without_none(S3Uri=self.checkpoint_s3_uri, LocalPath=self.checkpoint_local_path)
        debugger = (
            {}
            if local
            else debugger_configs(
                output_path,
                region,
                hook=self.debugger_hook_config,
                disable_profiler=self.disable_profiler,
                instance_type=self.instance_type,
            )
        )
        return without_none(
            TrainingJobName=name,
            AlgorithmSpecification=without_none(
                TrainingInputMode=self.input_mode,
                TrainingImage=self._image,
                MetricDefinitions=None if self.metric_definitions is None else list(map(dict, self.metric_definitions)),
                EnableSageMakerMetricsTimeSeries=None if local else measured,
            ),
            RoleArn=role,
            InputDataConfig=data,
            OutputDataConfig=without_none(S3OutputPath=output_path, KmsKeyId=self.output_kms_key),
            ResourceConfig=without_none(
                VolumeSizeInGB=self.volume_size,
                InstanceCount=self.instance_count,
                InstanceType=self.instance_type,
                VolumeKmsKeyId=self.volume_kms_key,
            ),
            StoppingCondition=stopping,
            HyperParameters=encode_hyperparameters(values),
            Environment=dict(self.environment) if self.environment else None,
            Tags=format_tags(self.tags),
            VpcConfig=vpc,
            EnableNetworkIsolation=self.enable_network_isolation or None,
            EnableInterContainerTrafficEncryption=self.encrypt_inter_container_traffic or None,
            EnableManagedSpotTraining=self.use_spot_instances or None,
            CheckpointConfig=checkpoints,
            ExperimentConfig=dict(experiment_config) if experiment_config else None,
            **debugger,
        )

    def _distribution(self) -> dict[str, Any]:
        distribution = dict(self.distribution or {})
        server = distribution.pop("parameter_server", {})
        if distribution:
            raise ConfigError(f"distribution takes parameter_server, not {', '.join(distribution)}", code="bad_option")
        return {"sagemaker_parameter_server_enabled": bool(server.get("enabled"))} if server else {}

    def _with_model(self, inputs: Channels) -> Channels:
        """The channels, with that of a model to go on from."""
        if self.model_uri is None:
            return inputs
        if inputs is None or isinstance(inputs, (str, TrainingInput)):
            inputs = {} if inputs is None else {"training": inputs}
        if self.model_channel_name in inputs:
            raise ConfigError(f"there are two channels {self.model_channel_name!r}", code="bad_channel")
        model = TrainingInput(self.model_uri, content_type=MODEL_CONTENT_TYPE, input_mode="File")
        return {**inputs, self.model_channel_name: model}

    def _upload_code(self, name: str, output_path: str) -> str:
        # Of a training that was attached to, or the user's own archive.
        if self.source_dir and self.source_dir.endswith(".tar.gz"):
            return self.source_dir
        limits = {} if self.max_code_bytes is None else {"limit_bytes": self.max_code_bytes}
        files = source_files(self.entry_point, self.source_dir, self.dependencies, **limits)
        session = self.sagemaker_session
        place = join(self.code_location or _bucket_of(output_path), name, "source", SOURCE_ARCHIVE)
        # The key is of the results' bucket; another one may be somebody else's, who cannot use it.
        alike = is_s3(place) and is_s3(output_path) and split_s3(place)[0] == split_s3(output_path)[0]
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder, SOURCE_ARCHIVE)
            pack(files, archive)
            session.say(f"uploading the code: {files.describe()} ({archive.stat().st_size:,} packed) to {place}")
            session.put(archive, place, kms_key=self.output_kms_key if alike else None, encrypt=True)
        return place

    def _upload_model(self, name: str, entry_point: str | None) -> str:
        """Puts the model's archive with the code in it where the model will be taken from."""
        session = self.sagemaker_session
        assert self.model_data is not None
        if self.code_location or not is_s3(self._output_path()):
            place = join(self.code_location or self._output_path(), name, MODEL_ARCHIVE)
        else:
            place = session.default_uri(name, MODEL_ARCHIVE)
        with tempfile.TemporaryDirectory() as folder:
            model, archive = Path(folder, "trained.tar.gz"), Path(folder, MODEL_ARCHIVE)
            session.fetch(self.model_data, model)
            code = None
            if self._code is not None:
                code = Path(folder, SOURCE_ARCHIVE)
                session.fetch(self._code, code)
            script = Path(entry_point) if entry_point else None
            libraries = Files(dict(dependency_files(self.dependencies)))
            size = repack_model(model, archive, code=code, keep_code=False, script=script, libraries=libraries)
            session.say(f"uploading the model and its code: {size:,} bytes to {place}")
            session.put(archive, place, kms_key=self.output_kms_key, encrypt=True)
        return place


def _bucket_of(place: str) -> str:
    """Where the code goes when nothing is said of it: the bucket of the results, by the SDK; here their folder."""
    return f"s3://{split_s3(place)[0]}" if is_s3(place) else place


def _version(text: str | None, otherwise: tuple[int, ...]) -> tuple[int, ...]:
    """The first two numbers of a version; of an image of the user's own it is not known."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2]) if text else otherwise
