"""Local batch inference for MXNet Module models, in the bytes of SageMaker Batch Transform.

>>> from fastinfer import Transformer
>>> transformer = Transformer(model="model.tar.gz")  # doctest: +SKIP
>>> transformer.transform("in/", "out/").wait()  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import ConfigError, FastinferError, InputError, ModelError, OutputError

if TYPE_CHECKING:
    from .transformer import Transformer

__version__ = "0.1.0"
__all__ = ["ConfigError", "FastinferError", "InputError", "ModelError", "OutputError", "Transformer", "__version__"]


def __getattr__(name: str) -> Any:
    # Not imported at the top: `python -m fastinfer.transform --help` should not wait for NumPy.
    if name == "Transformer":
        from .transformer import Transformer

        return Transformer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
