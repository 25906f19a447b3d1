"""A saved model of any format: MXNet's, or ONNX."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..options import path_of
from ..storage.places import plain_place
from ..storage.uri import is_url
from .choice import Choice, decided
from .files import ONNX_NAME, ONNX_SUFFIX
from .module import Model, load_url, open_model

# Models in ONNX have a module of their own, which no run of another model imports.
if TYPE_CHECKING:
    from typing import Union

    from typing_extensions import TypeIs, Unpack

    from .choice import ChoiceKeywords
    from .onnx import OnnxModel

    AnyModel = Union[Model, OnnxModel]


def is_onnx_model(model: object) -> TypeIs[OnnxModel]:
    """Whether it is a loaded model in ONNX."""
    return getattr(model, "format", None) == "onnx"


def is_loaded(model: object) -> TypeIs[AnyModel]:
    """Whether it is a loaded model, of any format."""
    return isinstance(model, Model) or is_onnx_model(model)


def is_onnx(path: Path) -> bool:
    """Whether a path is that of a model in ONNX: such a file has no code of its own."""
    return path.suffix == ONNX_SUFFIX and not path.is_dir()


def load_any_model(path: str | os.PathLike[str], **choice: Unpack[ChoiceKeywords]) -> AnyModel:
    """Reads a model: a file ``*.onnx``, a folder with a ``model.onnx`` and no model of MXNet, or what
    :func:`fastinfer.models.module.load_model` reads.

    Args:
        path: of the model, or its URL.
        choice: what its files leave open: the attributes of :class:`fastinfer.models.choice.Choice`.

    Raises:
        ModelError: it is not there, is not whole, or cannot be served; see there, and :func:`fastinfer.models.onnx.load_onnx`.
        ConfigError: what is said does not fit the model.
    """
    return decided(open_any_model(path, **choice))


def open_any_model(path: str | os.PathLike[str], **choice: Unpack[ChoiceKeywords]) -> AnyModel:
    """As :func:`load_any_model`, but what its files leave open is no error: it is in ``undecided``, and is only to be shown."""
    text = plain_place(path_of(path, "model"))
    if is_url(text):
        return load_url(text, lambda local: open_any_model(local, **choice))
    place = Path(text)
    if place.is_dir() and (place / ONNX_NAME).is_file() and not any(place.glob("*-symbol.json")):
        place = place / ONNX_NAME
    if not is_onnx(place):
        return open_model(place, **choice)
    from .onnx import open_onnx

    chosen = Choice(**choice)
    if chosen.epoch is not None:
        raise ConfigError(f"the epoch is {chosen.epoch}, but a model in ONNX has none")
    return replace(open_onnx(place, output=chosen.output, columns=chosen.inputs, shapes=chosen.shapes), choice=chosen)
