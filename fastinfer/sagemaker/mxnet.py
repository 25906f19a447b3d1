"""The MXNet estimator as SageMaker's SDK knows it: trains a script as a job, and makes a Transformer of the result.

Nothing here imports the framework of that name: it runs where the job does.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from . import jobs
from .aws import told
from .images import INFERENCE, TRAINING, base_name, image_uri
from .packing import MODEL_ARCHIVE, SOURCE_ARCHIVE, pack, repack_model, source_files
from .places import join
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
from .session import Session
from .transformer import Transformer, choose_session, run_locally

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
        self.latest_training_job: str | None = None
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
        name = job_name or jobs.make_name(self.base_job_name or base_name(self._image))
        request = self._training_request(name, inputs, experiment_config)
        with told(f"starting the training job {name}"):
            session.sagemaker_client.create_training_job(**request)
        self.latest_training_job = name
        session.say(f"training job {name}: started")
        self.model_data = join(request["OutputDataConfig"]["S3OutputPath"], name, "output", MODEL_ARCHIVE)
        if wait:
            self.wait(logs=logs)

    def wait(self, logs: bool = True) -> None:
        """Waits for the training. Raises JobFailed with its reason."""
        if self.latest_training_job is None:
            raise ConfigError("nothing was started", code="not_started", hint="call fit() first")
        facts = jobs.wait(self.sagemaker_session, jobs.TRAINING, self.latest_training_job, logs=logs)
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
        facts = jobs.describe(session, jobs.TRAINING, training_job_name)
        hyperparameters = facts.get("HyperParameters", {})
        code = _decoded(hyperparameters.get("sagemaker_submit_directory"))
        estimator = cls(
            entry_point=_decoded(hyperparameters.get("sagemaker_program")),
            source_dir=code,
            role=facts["RoleArn"],
            output_path=facts["OutputDataConfig"]["S3OutputPath"],
            instance_count=facts["ResourceConfig"]["InstanceCount"],
            instance_type=facts["ResourceConfig"]["InstanceType"],
            image_uri=facts["AlgorithmSpecification"]["TrainingImage"],
            output_kms_key=facts["OutputDataConfig"].get("KmsKeyId") or None,
            sagemaker_session=session,
        )
        estimator.latest_training_job = training_job_name
        estimator._code = code
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
        name = model_name or jobs.make_name(self.base_job_name or base_name(image))
        environment = {
            "SAGEMAKER_PROGRAM": os.path.basename(entry_point or self.entry_point),
            "SAGEMAKER_SUBMIT_DIRECTORY": SERVED_CODE,
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
            self._upload_model(name, entry_point),
            environment,
            tags=tags if tags is not None else self.tags,
            vpc=vpc_config(self.subnets, self.security_group_ids),
            enable_network_isolation=isolated,
        )
        with told(f"making the model {name}"):
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
            base_transform_job_name=self.base_job_name,
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
    container_log_level: int
    debugger_hook_config: Mapping[str, Any] | bool | None
    disable_profiler: bool
    max_code_bytes: int | None

    def _training_image(self) -> str:
        return self.image_uri or image_uri(
            TRAINING,
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
        return role or "local" if local else self.sagemaker_session.expand_role(role)

    def _output_path(self) -> str:
        path = self.output_path or self.sagemaker_session.default_place()
        # As SageMaker's SDK sends it.
        return path.rstrip("/") + "/" if self.output_path is None else path

    def _training_request(self, name: str, inputs: Channels, experiment_config: Mapping[str, str] | None) -> Request:
        session, local = self.sagemaker_session, run_locally(self.instance_type)
        output_path = self._output_path()
        role = self._role(self.role, local)
        data = channels(inputs, local=local)
        vpc = vpc_config(self.subnets, self.security_group_ids)
        region = "local" if local else session.boto_region_name
        self._code = self._upload_code(name, output_path)
        program = self.entry_point if self.source_dir else os.path.basename(self.entry_point)
        values = {
            **(self.hyperparameters or {}),
            **self._distribution(),
            "sagemaker_submit_directory": self._code,
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

    def _upload_code(self, name: str, output_path: str) -> str:
        if self.source_dir and self.source_dir.lower().startswith("s3://"):
            return self.source_dir
        limits = {} if self.max_code_bytes is None else {"limit_bytes": self.max_code_bytes}
        files = source_files(self.entry_point, self.source_dir, self.dependencies, **limits)
        session = self.sagemaker_session
        place = join(self.code_location or _bucket_of(output_path), name, "source", SOURCE_ARCHIVE)
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder, SOURCE_ARCHIVE)
            pack(files, archive)
            session.say(f"code: {files.describe()} ({archive.stat().st_size:,} packed) to {place}")
            session.put(archive, place, kms_key=self.output_kms_key, encrypt=True)
        return place

    def _upload_model(self, name: str, entry_point: str | None) -> str:
        """Puts the model's archive with the code in it where the model will be taken from."""
        session = self.sagemaker_session
        assert self.model_data is not None
        place = join(self.code_location or _bucket_of(self._output_path()), name, MODEL_ARCHIVE)
        with tempfile.TemporaryDirectory() as folder:
            model, archive = Path(folder, "trained.tar.gz"), Path(folder, MODEL_ARCHIVE)
            session.fetch(self.model_data, model)
            code = None
            if self._code is not None:
                code = Path(folder, SOURCE_ARCHIVE)
                session.fetch(self._code, code)
            script = Path(entry_point) if entry_point else None
            size = repack_model(model, archive, code=code, keep_code=False, script=script)
            session.say(f"model: {size:,} bytes to {place}")
            session.put(archive, place, kms_key=self.output_kms_key, encrypt=True)
        return place


def _bucket_of(place: str) -> str:
    """Where the code goes when nothing is said of it: the bucket of the results, by the SDK; here their folder."""
    if place.lower().startswith("s3://"):
        return "s3://" + place[len("s3://") :].split("/")[0]
    return place


def _decoded(text: str | None) -> str:
    import json

    return str(json.loads(text)) if text else ""
