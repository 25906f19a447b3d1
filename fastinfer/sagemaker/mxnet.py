"""The MXNet estimator of SageMaker's SDK: trains a script as a job, and makes a Transformer of the result.

The framework of that name is not imported here: it runs where the job runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from ..models.code import PROGRAM_VARIABLE
from ..storage.aws import translating_errors
from ..storage.uri import join
from . import image_uris, jobs
from .code_archive import MODEL_ARCHIVE
from .deployment import Creation, Deployable
from .estimator import EstimatorOptions
from .image_uris import LOCAL_INFERENCE, LOCAL_TRAINING
from .inputs import Channels
from .local.session import choose_session, run_locally
from .logs import TRAINING
from .model import MXNetModel
from .requests import (
    SERVED_CODE,
    Request,
    encode_hyperparameters,
    model_request,
    parse_version,
    training_options,
    training_request,
    vpc_config,
)
from .session import LOCAL_ROLE, Session
from .uploads import code_uri, upload_code, upload_model

__all__ = ["MXNet", "MXNetModel"]

# The first version whose inference image expects the serving code in the model's archive.
FIRST_REPACKED = (1, 4)


class Hyperparameters(dict[str, Any]):
    """Hyperparameters; called, as in the SDK, they give the JSON that the training's request has."""

    def __call__(self) -> dict[str, str]:
        return encode_hyperparameters(self)


class MXNet(EstimatorOptions, Deployable):
    """A training job of a script with MXNet.

    Its arguments, which are also its attributes, are those of :class:`~fastinfer.sagemaker.estimator.EstimatorOptions`.

    Attributes:
        latest_training_job: the name of the last training, which is also the job; None before :meth:`fit`.
        model_data: the URI of the trained model; None before :meth:`fit`.

    Raises:
        ConfigError: an argument is wrong.
    """

    sagemaker_session: Session | None  # of both bases

    def __post_init__(self) -> None:
        super().__post_init__()
        self.hyperparameters = Hyperparameters(self.hyperparameters or {})
        self._session = self.sagemaker_session = choose_session(self.sagemaker_session, self.instance_type)
        self.latest_training_job: jobs.JobName | None = None
        self.model_data: str | None = None
        self._code: str | None = None  # the URI of the training's code
        # Found early: an unknown version should fail before anything is uploaded.
        local = run_locally(self.instance_type)
        self._image = LOCAL_TRAINING if local else self._find_image(image_uris.TRAINING, self.instance_type)

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
            inputs: the channels' URIs by their names; a local training accepts local paths as well.
            wait: whether to wait until the job ends; ``MXNet.attach(name)`` waits later.
            logs: whether its log is printed while waiting.
            job_name: None: `base_job_name` and the time.
            experiment_config: as in the API.

        Raises:
            ConfigError: an argument is wrong, or the code cannot be packed.
            ServiceError: AWS refused.
            JobFailed: with the job's reason.
        """
        session, local = self._session, run_locally(self.instance_type)
        name = job_name or self._make_name()
        output_path = self._output_path()
        code = code_uri(self, name, output_path)
        request = training_request(
            name,
            self,
            role=self._find_role(self.role, local),
            image=self._image,
            code=code,
            output_path=output_path,
            inputs=inputs,
            region="local" if local else session.boto_region_name,
            local=local,
            experiment_config=experiment_config,
        )
        upload_code(session, self, code, output_path)
        self._code = code
        with translating_errors(f"starting the training job {name}"):
            session.sagemaker_client.create_training_job(**request)
        self.latest_training_job = jobs.JobName(name, session, TRAINING)
        session.say(f"training job {name}: started")
        self.model_data = join(output_path, name, "output", MODEL_ARCHIVE)
        if wait:
            self.wait(logs=logs)

    def wait(self, logs: bool = True) -> None:
        """Waits until the training ends. Raises JobFailed with its reason."""
        if self.latest_training_job is None:
            raise ConfigError("no training was started", code="not_started", hint="call fit() first")
        facts = jobs.wait(self._session, TRAINING, self.latest_training_job, logs=logs)
        self.model_data = str(facts["ModelArtifacts"]["S3ModelArtifacts"])

    @classmethod
    def attach(cls, training_job_name: str, sagemaker_session: Session | None = None, *, local: bool = False) -> MXNet:
        """The estimator of a training that was started before; waits until it ends.

        Args:
            training_job_name: the job's name.
            sagemaker_session: the account; None: a new session.
            local: whether the job runs on this machine.

        Raises:
            ConfigError: ``no_such_job``.
            JobFailed: with the job's reason.
        """
        session = choose_session(sagemaker_session, "local" if local else "")
        facts = jobs.describe(session, TRAINING, training_job_name)
        options = training_options(facts, local=session.local_mode)
        estimator = cls(**options, base_job_name=jobs.base_of(training_job_name), sagemaker_session=session)
        estimator.latest_training_job = jobs.JobName(training_job_name, session, TRAINING)
        estimator._code = options["source_dir"] or None
        estimator.wait()
        return estimator

    def _model_request(self, session: Session, asked: Creation) -> Request:
        if self.model_data is None:
            raise ConfigError("there is no trained model", code="not_started", hint="call fit() first")
        local = run_locally(asked.instance_type)
        image = LOCAL_INFERENCE if local else self._find_image(image_uris.INFERENCE, asked.instance_type)
        name = asked.model_name or self._make_name()
        repacked = local or parse_version(self.framework_version, FIRST_REPACKED) >= FIRST_REPACKED
        model_data = self.model_data
        environment = {
            PROGRAM_VARIABLE: os.path.basename(asked.entry_point or self.entry_point),
            # Where the code is not in the model's archive, the container downloads it.
            "SAGEMAKER_SUBMIT_DIRECTORY": SERVED_CODE if repacked else str(self._code),
            "SAGEMAKER_CONTAINER_LOG_LEVEL": str(self.container_log_level),
            "SAGEMAKER_REGION": "local" if local else session.boto_region_name,
            **asked.environment,
        }
        isolated = asked.enable_network_isolation
        role_arn = self._find_role(asked.role or self.role, local)
        if repacked:
            model_data = upload_model(
                self._session,
                self,
                name,
                model=model_data,
                code=self._code,
                entry_point=asked.entry_point,
                output_path=self._output_path(),
            )
        return model_request(
            name,
            role_arn,
            image,
            model_data,
            environment,
            tags=asked.tags,
            vpc=vpc_config(self.subnets, self.security_group_ids),
            enable_network_isolation=self.enable_network_isolation if isolated is None else isolated,
        )

    def _transform_base_name(self) -> str:
        return self._base_name()

    def _base_name(self) -> str:
        """How names of jobs and models begin; as in the SDK, all are named after the training."""
        return self.base_job_name or image_uris.base_name(self._image)

    def _make_name(self) -> str:
        return jobs.make_name(self._base_name())

    def _find_image(self, scope: str, instance_type: str) -> str:
        return self.image_uri or image_uris.image_uri(
            scope,
            self._session.boto_region_name,
            framework_version=self.framework_version,
            py_version=self.py_version,
            instance_type=instance_type,
        )

    def _find_role(self, role: str | None, local: bool) -> str:
        return role or LOCAL_ROLE if local else self._session.expand_role(role)

    def _output_path(self) -> str:
        # The default ends with a slash, as in the SDK's requests.
        return self.output_path or self._session.default_uri().rstrip("/") + "/"
