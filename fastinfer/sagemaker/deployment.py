"""`deploy` of the SDK's estimator and model, on this machine."""

from __future__ import annotations

from abc import abstractmethod

from .estimator import INSTANCE_TYPE
from .local.client import check_one_machine
from .local.endpoint import LocalPredictor
from .local.session import run_locally
from .missing import Missing, refuse_deploy
from .transformer import Transformer


class Deployable(Missing):
    """What has a model to serve."""

    @abstractmethod
    def transformer(self, instance_count: int = 1, instance_type: str = INSTANCE_TYPE) -> Transformer:
        """Creates the model, and returns a Transformer for it."""

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
