"""The container's default hooks, for what a user's module does not define. A Module and a Gluon block have different ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..codecs.content_types import JSON, NPY, choose_accepted, decode_rows, encode_predictions
from ..errors import ModelError
from ..models.module import MODEL_FILES, SHAPES_NAME
from ..runtimes.mxnet.library import first_line, load_mxnet

# A Gluon block has no fixed input shape, which CSV would need.
BLOCK_TYPES = (JSON, NPY)


def is_module(model: Any, file: Path) -> bool:
    """Whether ``model_fn`` returned a Module (True) or a Gluon block (False); their defaults differ.

    Raises:
        ModelError: ``bad_program`` if it is neither.
    """
    mxnet = load_mxnet()
    if isinstance(model, mxnet.mod.BaseModule):
        return True
    if isinstance(model, mxnet.gluon.block.Block):
        return False
    raise ModelError(
        f"expected a Module or a Gluon block from model_fn, found {type(model).__name__}",
        code="bad_program",
        path=str(file),
        hint="define transform_fn to use a model of another kind",
    )


def load_module(model_dir: Path) -> Any:
    """The saved model as the container binds it: on the CPU, at batch size 1.

    Raises:
        ModelError: ``model_incomplete``, ``bad_model``.
    """
    mxnet = load_mxnet()
    missing = [name for name in MODEL_FILES if not (model_dir / name).is_file()]
    if missing:
        raise ModelError(f"the model lacks {', '.join(missing)}", code="model_incomplete", path=str(model_dir))
    try:
        inputs = [
            (each["name"], (1, *each["shape"][1:]))
            for each in json.loads((model_dir / SHAPES_NAME).read_text(encoding="utf-8"))
        ]
        symbol, arguments, auxiliary = mxnet.model.load_checkpoint(str(model_dir / "model"), 0)
        module = mxnet.mod.Module(
            symbol=symbol, context=mxnet.cpu(), data_names=[name for name, _ in inputs], label_names=None
        )
        module.bind(for_training=False, data_shapes=inputs)
        module.set_params(arguments, auxiliary, allow_missing=True)
    except (mxnet.base.MXNetError, ValueError, TypeError, KeyError, OSError, RuntimeError) as error:
        raise ModelError(f"MXNet cannot load it: {first_line(error)}", path=str(model_dir)) from error
    return module


def module_input(data: Any, content_type: str | None, model: Any) -> Any:
    """A body as the iterator that a Module predicts from; the last batch is padded."""
    mxnet = load_mxnet()
    ((_, shape),) = model.data_shapes
    rows = mxnet.nd.array(decode_rows(data, content_type, tuple(shape[1:])))
    return mxnet.io.NDArrayIter(rows, batch_size=shape[0], last_batch_handle="pad")


def module_predict(data: Any, model: Any) -> Any:
    """The Module's predictions of all rows."""
    return model.predict(data)


def block_input(data: Any, content_type: str | None) -> Any:
    """A body as the array that a Gluon block is called with."""
    return load_mxnet().nd.array(decode_rows(data, content_type, (), BLOCK_TYPES))


def block_predict(data: Any, model: Any) -> Any:
    """The block's predictions."""
    return model(data)


def module_output(prediction: Any, accept: str) -> tuple[bytes, str]:
    """Predictions in the content type that Accept asks for, and its name."""
    accepted = choose_accepted(accept)
    return encode_predictions(prediction.asnumpy(), accepted), accepted


def block_output(prediction: Any, accept: str) -> tuple[bytes, str]:
    """As :func:`module_output`, without CSV."""
    accepted = choose_accepted(accept, BLOCK_TYPES)
    return encode_predictions(prediction.asnumpy(), accepted), accepted
