"""The Transformer of SageMaker's SDK: jobs that run a model over objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, quote
from ..storage.aws import translating_errors
from ..storage.uri import is_s3
from . import jobs
from .image_uris import LOCAL_INFERENCE, base_name
from .inputs import Tags
from .local.session import choose_session, run_locally
from .logs import TRANSFORM
from .missing import Missing
from .requests import model_request, transform_request
from .session import LOCAL_ROLE, Session

# How the names of archives end.
ARCHIVES = (".tar.gz", ".tgz")


class Transformer(Missing):
    """Transform jobs with one model.

    So many attributes: they are the arguments, with the SDK's names, and notebooks read them.

    Args:
        model_name: the name of a model that CreateModel made; for local jobs also the archive of a model.
        instance_count, instance_type: the jobs' instances; ``local`` runs the jobs on this machine.
        strategy: ``MultiRecord`` or ``SingleRecord``.
        assemble_with: None, or ``Line``.
        output_path: the URI of the results; None: one with the job's name in the default bucket.
        output_kms_key, volume_kms_key: the KMS keys of the results and of the instances' volumes.
        accept: the content type of the results; None: JSON.
        max_concurrent_transforms: the number of concurrent requests to an instance.
        max_payload: the largest size of a request, in MB.
        tags: a list of ``{"Key": …, "Value": …}``, or a plain dict.
        env: environment variables of the container.
        base_transform_job_name: how job names begin.
        sagemaker_session: the account; None: a new session.
    """

    def __init__(
        self,
        model_name: str,
        instance_count: int = 1,
        instance_type: str = "ml.m4.xlarge",
        strategy: str | None = None,
        assemble_with: str | None = None,
        output_path: str | None = None,
        output_kms_key: str | None = None,
        accept: str | None = None,
        max_concurrent_transforms: int | None = None,
        max_payload: int | None = None,
        tags: Tags = None,
        env: Mapping[str, str] | None = None,
        base_transform_job_name: str | None = None,
        sagemaker_session: Session | None = None,
        volume_kms_key: str | None = None,
    ) -> None:
        self.sagemaker_session = choose_session(sagemaker_session, instance_type)
        self.model_name = self._take_archive(model_name) if model_name.endswith(ARCHIVES) else model_name
        self.instance_count = instance_count
        self.instance_type = instance_type
        self.strategy = strategy
        self.assemble_with = assemble_with
        self.output_path = output_path
        self.output_kms_key = output_kms_key
        self.accept = accept
        self.max_concurrent_transforms = max_concurrent_transforms
        self.max_payload = max_payload
        self.tags = tags
        self.env = dict(env or {})
        self.base_transform_job_name = base_transform_job_name
        self.volume_kms_key = volume_kms_key
        self.latest_transform_job: jobs.JobName | None = None
        self._made_output_path = output_path is None

    def _take_archive(self, archive: str) -> str:
        """Creates a local model of an archive; returns its name."""
        session = self.sagemaker_session
        if not session.local_mode:
            raise ConfigError(
                f"expected the name of a model, found the archive {quote(archive)}",
                hint="MXNetModel(model_data=..., role=..., framework_version=...).transformer(...) creates one",
            )
        name = jobs.make_name(base_name(LOCAL_INFERENCE))
        session.sagemaker_client.create_model(**model_request(name, LOCAL_ROLE, LOCAL_INFERENCE, archive, {}))
        return name

    def transform(
        self,
        data: str,
        data_type: str = "S3Prefix",
        content_type: str | None = None,
        compression_type: str | None = None,
        split_type: str | None = None,
        job_name: str | None = None,
        input_filter: str | None = None,
        output_filter: str | None = None,
        join_source: str | None = None,
        experiment_config: Mapping[str, str] | None = None,
        model_client_config: Mapping[str, int] | None = None,
        wait: bool = True,
        logs: bool = True,
    ) -> None:
        """Starts a transform job.

        Args:
            data: the objects: in S3 all keys that begin with this URI; for a local job also a local folder or file.
            data_type: ``S3Prefix`` or ``ManifestFile``.
            content_type: the objects' content type, such as ``text/csv``.
            compression_type: None or ``Gzip``.
            split_type: None: an object is a request; ``Line``: a line is a record.
            job_name: None: the base name and the time.
            input_filter, output_filter, join_source, experiment_config, model_client_config: as in the API.
            wait: whether to wait until the job ends.
            logs: whether its log is printed while waiting.

        Raises:
            ConfigError: an argument is wrong.
            ServiceError: AWS refused.
            jobs.JobFailed: with the job's reason.
        """
        session, local = self.sagemaker_session, run_locally(self.instance_type)
        if not (local or is_s3(data)):
            raise ConfigError(
                f"expected a URI of S3, found {quote(data)}",
                code="bad_place",
                hint="only instance_type='local' accepts local paths",
            )
        name = job_name or jobs.make_name(self.base_transform_job_name or self._base_name())
        if self._made_output_path:
            self.output_path = session.default_uri(name)
        assert self.output_path is not None
        request = transform_request(
            name,
            self.model_name,
            data,
            self.output_path,
            instance_count=self.instance_count,
            instance_type=self.instance_type,
            data_type=data_type,
            content_type=content_type,
            compression_type=compression_type,
            split_type=split_type,
            strategy=self.strategy,
            assemble_with=self.assemble_with,
            accept=self.accept,
            output_kms_key=self.output_kms_key,
            volume_kms_key=self.volume_kms_key,
            max_concurrent_transforms=self.max_concurrent_transforms,
            max_payload=self.max_payload,
            environment=self.env,
            tags=self.tags,
            input_filter=input_filter,
            output_filter=output_filter,
            join_source=join_source,
            experiment_config=experiment_config,
            model_client_config=model_client_config,
        )
        with translating_errors(f"starting the transform job {name}"):
            session.sagemaker_client.create_transform_job(**request)
        self.latest_transform_job = jobs.JobName(name, session, TRANSFORM)
        session.say(f"transform job {name}: started")
        if wait:
            self.wait(logs=logs)

    def wait(self, logs: bool = True) -> None:
        """Waits until the last job ends. Raises jobs.JobFailed with its reason."""
        jobs.wait(self.sagemaker_session, TRANSFORM, self._latest(), logs=logs)

    def stop_transform_job(self, wait: bool = True) -> None:
        """Stops the last job; some of its results may exist."""
        jobs.stop(self.sagemaker_session, TRANSFORM, self._latest())
        if wait:
            try:
                self.wait(logs=False)
            except jobs.JobFailed as error:
                if error.code != "job_stopped":
                    raise

    @classmethod
    def attach(
        cls, transform_job_name: str, sagemaker_session: Session | None = None, *, local: bool = False
    ) -> Transformer:
        """The Transformer of a job that was started before; call :meth:`wait` to wait for it.

        Raises:
            ConfigError: ``no_such_job``.
        """
        session = choose_session(sagemaker_session, "local" if local else "")
        facts = jobs.describe(session, TRANSFORM, transform_job_name)
        output, resources = facts["TransformOutput"], facts["TransformResources"]
        transformer = cls(
            facts["ModelName"],
            resources["InstanceCount"],
            resources["InstanceType"],
            strategy=facts.get("BatchStrategy"),
            assemble_with=output.get("AssembleWith"),
            output_path=output["S3OutputPath"],
            output_kms_key=output.get("KmsKeyId") or None,
            accept=output.get("Accept"),
            max_concurrent_transforms=facts.get("MaxConcurrentTransforms"),
            max_payload=facts.get("MaxPayloadInMB"),
            env=facts.get("Environment"),
            base_transform_job_name=jobs.base_of(transform_job_name),
            volume_kms_key=resources.get("VolumeKmsKeyId") or None,
            sagemaker_session=session,
        )
        transformer.latest_transform_job = jobs.JobName(transform_job_name, session, TRANSFORM)
        return transformer

    def _latest(self) -> str:
        if self.latest_transform_job is None:
            raise ConfigError("no job was started", code="not_started", hint="call transform() first")
        return self.latest_transform_job

    def _base_name(self) -> str:
        with translating_errors(f"the model {self.model_name}"):
            facts: dict[str, Any] = self.sagemaker_session.sagemaker_client.describe_model(ModelName=self.model_name)
        return base_name(facts["PrimaryContainer"]["Image"])
