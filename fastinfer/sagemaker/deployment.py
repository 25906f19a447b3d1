"""What the SDK's estimator and model have in common: a Transformer of the model; `deploy`, on this machine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from ..engine.request import SERVER_WORKERS
from ..storage.aws import translating_errors
from .estimator import INSTANCE_TYPE
from .inputs import Tags
from .local.client import check_one_machine
from .local.endpoint import LocalPredictor
from .local.session import choose_session, run_locally
from .missing import Missing, refuse_deploy
from .requests import Request
from .session import Session
from .transformer import Transformer


class Creation(NamedTuple):
    """How a model is to be created.

    Attributes:
        instance_type: where it will run.
        tags: of the model.
        role, entry_point, enable_network_isolation, model_name: see :meth:`Deployable.transformer`.
        environment: variables of its container.
    """

    instance_type: str
    tags: Tags
    role: str | None
    entry_point: str | None
    enable_network_isolation: bool | None
    model_name: str | None
    environment: dict[str, str]


class Deployable(Missing):
    """What has a model to serve.

    Attributes:
        sagemaker_session: the account; None: a new session.
        tags: of what is created.
    """

    sagemaker_session: Session | None
    tags: Tags = None

    @abstractmethod
    def _model_request(self, session: Session, asked: Creation) -> Request:
        """The CreateModel request; what it names is uploaded."""

    def _transform_base_name(self) -> str | None:
        """How names of transform jobs begin; None: like the image's."""
        return None

    def transformer(
        self,
        instance_count: int = 1,
        instance_type: str = INSTANCE_TYPE,
        strategy: str | None = None,
        assemble_with: str | None = None,
        output_path: str | None = None,
        output_kms_key: str | None = None,
        accept: str | None = None,
        env: Mapping[str, str] | None = None,
        max_concurrent_transforms: int | None = None,
        max_payload: int | None = None,
        tags: Tags = None,
        *,
        role: str | None = None,
        model_server_workers: int | None = None,
        volume_kms_key: str | None = None,
        entry_point: str | None = None,
        enable_network_isolation: bool | None = None,
        model_name: str | None = None,
    ) -> Transformer:
        """Creates the model, with its code, and returns a Transformer for it. The order is that of the SDK's classes
        as far as they agree; what comes behind goes by its name.

        Args:
            instance_count, instance_type: the transform jobs' instances; ``local`` runs the jobs on this machine.
            strategy, assemble_with, output_path, output_kms_key, accept, env, max_concurrent_transforms, max_payload,
                volume_kms_key: see :class:`Transformer`.
            tags: of the model and the jobs; None: as for the training.
            role, enable_network_isolation: None: as for the training or the model.
            model_server_workers: the number of processes of the model's server.
            entry_point: another script to serve with than the one that trained, or that is in the archive.
            model_name: None: the base name of jobs and the time.

        Raises:
            ConfigError: ``not_started`` before a training; an argument is wrong or lacks.
            InputError: there is no such archive.
            ServiceError: AWS refused.
        """
        session = choose_session(self.sagemaker_session, instance_type)
        tags = self.tags if tags is None else tags
        environment = {} if model_server_workers is None else {SERVER_WORKERS: str(model_server_workers)}
        request = self._model_request(
            session,
            Creation(instance_type, tags, role, entry_point, enable_network_isolation, model_name, environment),
        )
        name = str(request["ModelName"])
        with translating_errors(f"creating the model {name}"):
            session.sagemaker_client.create_model(**request)
        session.say(f"model {name}: created")
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
            tags=tags,
            env=env,
            base_transform_job_name=self._transform_base_name(),
            sagemaker_session=session,
            volume_kms_key=volume_kms_key,
        )

    def deploy(self, initial_instance_count: int = 1, instance_type: str = INSTANCE_TYPE) -> LocalPredictor:
        """Serves the model on this machine, as its endpoint would: `instance_type` is ``local``.

        Raises:
            ConfigError: ``not_here`` for an endpoint on AWS; ``bad_option`` for several instances.
            ModelError: the model cannot be served.
        """
        if not run_locally(instance_type):
            refuse_deploy(type(self).__name__, instance_type)
        check_one_machine(initial_instance_count)
        transformer = self.transformer(1, instance_type)
        return LocalPredictor(transformer.sagemaker_session, transformer.model_name)
