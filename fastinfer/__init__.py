"""Local batch inference for MXNet Module models, in the bytes of SageMaker Batch Transform.

>>> import fastinfer
>>> fastinfer.transform("in/", "out/", model="model.tar.gz")  # doctest: +SKIP
Summary(inputs=1000, ...)

The names in `__all__` are public; docs/api.md describes them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__
from .errors import ConfigError, FastinferError, InputError, ModelError, OutputError, ServiceError, WorkerDied

if TYPE_CHECKING:
    from .engine.request import TransformRequest
    from .engine.summary import Summary
    from .handlers.predictor import Predictor
    from .models.module import Model, load_model
    from .options import Options
    from .outputs.table import read_table
    from .runtimes.mxnet.library import load_mxnet
    from .transformer import Transformer, transform

__all__ = [
    "ConfigError",
    "FastinferError",
    "InputError",
    "Model",
    "ModelError",
    "Options",
    "OutputError",
    "Predictor",
    "ServiceError",
    "Summary",
    "TransformRequest",
    "Transformer",
    "WorkerDied",
    "__version__",
    "load_model",
    "load_mxnet",
    "read_table",
    "transform",
]

# The modules of names that are imported on first use, so that a command's --help does not wait for NumPy.
_LATE = {
    "Model": "models.module",
    "Options": "options",
    "Predictor": "handlers.predictor",
    "Summary": "engine.summary",
    "TransformRequest": "engine.request",
    "Transformer": "transformer",
    "load_model": "models.module",
    "load_mxnet": "runtimes.mxnet.library",
    "read_table": "outputs.table",
    "transform": "transformer",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(f".{_LATE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
