"""SageMaker jobs with MXNet, on AWS or on this machine, with the names of SageMaker's SDK.

>>> from fastinfer.sagemaker import get_execution_role
>>> from fastinfer.sagemaker.mxnet import MXNet
>>> estimator = MXNet("mnist.py", instance_type="local")  # doctest: +SKIP
>>> estimator.fit({"train": "data/train", "test": "data/test"})  # doctest: +SKIP
>>> estimator.transformer(instance_type="local").transform("in/", content_type="text/csv")  # doctest: +SKIP
"""

from __future__ import annotations

from .inputs import TrainingInput
from .jobs import JobFailed
from .local.session import LocalSession
from .model import MXNetModel
from .mxnet import MXNet
from .session import Session, get_execution_role
from .transformer import Transformer

__all__ = [
    "JobFailed",
    "LocalSession",
    "MXNet",
    "MXNetModel",
    "Session",
    "TrainingInput",
    "Transformer",
    "get_execution_role",
]
