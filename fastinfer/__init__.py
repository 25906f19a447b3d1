"""Local batch inference for MXNet Module models, in the bytes of SageMaker Batch Transform.

>>> from fastinfer import Transformer
>>> transformer = Transformer(model="model.tar.gz")  # doctest: +SKIP
>>> transformer.transform("in/", "out/").wait()  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__
from .errors import ConfigError, FastinferError, InputError, ModelError, OutputError, WorkerDied

if TYPE_CHECKING:
    from .engine.run import Summary
    from .handlers.predictor import Predictor
    from .options import Options
    from .transformer import Transformer

__all__ = [
    "ConfigError",
    "FastinferError",
    "InputError",
    "ModelError",
    "Options",
    "OutputError",
    "Predictor",
    "Summary",
    "Transformer",
    "WorkerDied",
    "__version__",
]

# Where the names live that are imported when they are asked for: `python -m fastinfer.transform --help` should not wait
# for NumPy.
_LATE = {
    "Options": "options",
    "Predictor": "handlers.predictor",
    "Summary": "engine.run",
    "Transformer": "transformer",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(f".{_LATE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
