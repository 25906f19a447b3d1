"""The container's default hooks, for what a user's module does not define. A Module and a Gluon block have different ones."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

from ..codecs.content_types import JSON, NPY, choose_accepted, decode_rows, encode_predictions
from ..errors import ModelError
from ..models.module import Model
from ..models.params import bare
from ..runtimes.mxnet.graph import errors_of
from ..runtimes.mxnet.inner_shapes import find_misfit, load_symbol
from ..runtimes.mxnet.layouts import make_plain
from ..runtimes.mxnet.libmxnet import binding
from ..runtimes.mxnet.library import load_mxnet
from ..runtimes.mxnet.unfused import doubt_of
from ..runtimes.mxnet.unread import read_first_outputs
from ..runtimes.mxnet.value_checks import check_values

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


def load_module(model: Model) -> Any:
    """A saved model as the container binds it: on the CPU, at batch size 1. A value that an operator does not take, and does
    not check itself, makes its pass fail.

    Raises:
        ModelError: ``bad_model`` where MXNet cannot bind it.
    """
    mxnet = load_mxnet()
    inputs = [(model.data_name, (1, *model.row_shape))]
    with binding, errors_of("MXNet cannot load it", model.path):
        misfit = find_misfit(model, load_symbol(model.graph.text), 1)
        if misfit is not None:
            raise ModelError(misfit, path=model.path)
        symbol = mxnet.sym.load_json(check_values(read_first_outputs(make_plain(model.graph.text)), raises=True)[0])
        # Of a file without arrays MXNet makes a list.
        saved = {bare(name): array for name, array in dict(mxnet.nd.load_frombuffer(model.params)).items()}
        arguments, auxiliary = (
            {name: saved[name] for name in names if name in saved}
            for names in (symbol.list_arguments(), symbol.list_auxiliary_states())
        )
        module = _module_type()(symbol, data_names=[model.data_name], label_names=None, context=mxnet.cpu())
        module.bind_saved(inputs, arguments, auxiliary)
    if (doubt := doubt_of(model.graph.text)) is not None:
        warnings.warn(f"{model.path}: {doubt}, and this with it", RuntimeWarning, stacklevel=2)
    return module


@cache
def _module_type() -> Any:
    """MXNet's Module, which can be used again after a pass that fails: otherwise no later one would pass."""
    mxnet = load_mxnet()

    class Module(mxnet.mod.Module):  # type: ignore[misc,name-defined]
        def bind_saved(self, inputs: list[Any], arguments: dict[str, Any], auxiliary: dict[str, Any]) -> None:
            self._saved = arguments, auxiliary
            self.bind(for_training=False, data_shapes=inputs, force_rebind=True)
            self.set_params(arguments, auxiliary, allow_missing=True, force_init=True)

        def forward(self, *arguments: Any, **options: Any) -> Any:
            shapes = self.data_shapes
            try:
                return super().forward(*arguments, **options)
            except mxnet.base.MXNetError:
                if self.data_shapes == shapes:  # else MXNet has bound it for a body of another shape, or has failed to
                    with binding:
                        self.bind_saved(shapes, *self._saved)
                raise

    return Module


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
