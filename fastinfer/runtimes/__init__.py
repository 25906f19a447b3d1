"""What computes: rows in, predictions out."""

from __future__ import annotations

import importlib

from ..models.load import is_onnx_model
from .base import Runtime

# The module and class of each runtime; imported when needed.
LABELS = {"mxnet": "MXNet", "onnx": "ONNX Runtime"}
RUNTIMES = {"mxnet": (".mxnet.runtime", "MXNetRuntime"), "onnx": (".onnx", "OnnxRuntime")}


def runtime_of(model: object, wanted: str | None = None) -> str:
    """The name of the runtime for a model: the one that was asked for, else the one of its format."""
    return wanted or ("onnx" if is_onnx_model(model) else "mxnet")


def load_runtime(name: str = "mxnet", *, cpu_isa: str | None = None) -> Runtime:
    """Loads a runtime; later calls in the same process share its framework.

    Raises:
        ConfigError: the framework is not installed, or cannot be used as asked for.
    """
    module, runtime = RUNTIMES[name]
    loaded: Runtime = getattr(importlib.import_module(module, __name__), runtime)(cpu_isa)
    return loaded
