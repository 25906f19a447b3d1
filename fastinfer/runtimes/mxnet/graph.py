"""A model's graph, bound to one MXNet context at one batch size; its input and output are not copied.

There are two graphs. The *batched* one runs a whole batch through each operator and is fast; whether a row's bits depend on
its place in the batch depends on the batch size (runtimes/invariance.py). The *row-wise* one (row_wise.py) computes
every row as at batch size 1.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FastinferError, ModelError, quote
from ...models.module import Model
from .inner_shapes import find_misfit, load_symbol, quietly
from .library import first_line, ndarray_memory
from .row_wise import repeat_rows

# MXNet 1.9 aborts the process if two threads bind at the same time: a thread that binds holds this lock.
binding = threading.RLock()

NOT_TRAINING = ctypes.c_int(0)


class MXNetExecutor:
    """A bound graph; see :class:`fastinfer.runtimes.base.Executor`.

    For a GPU, ``input`` is host memory that is copied to the device.
    """

    def __init__(self, mxnet: Any, model: Model, context: Any, batch_size: int, *, row_wise: bool = False) -> None:
        self.batch_size = batch_size
        self._path = model.path
        with binding, errors_of(f"MXNet cannot bind it at batch size {batch_size}", model.path):
            self._bind(mxnet, model, context, batch_size, row_wise)

    def _bind(self, mxnet: Any, model: Model, context: Any, batch_size: int, row_wise: bool) -> None:
        with errors_of("MXNet cannot load it", model.path):
            symbol, arguments, auxiliary = load_parts(mxnet, model)
        self.output_shape = _check(mxnet, model, symbol, arguments, auxiliary)
        self._fits = row_wise or find_misfit(mxnet, model, symbol, batch_size) is None
        if row_wise and batch_size > 1:
            symbol = mxnet.sym.load_json(repeat_rows(symbol.tojson(), model.data_name, batch_size))
        shape = (batch_size, *model.row_shape)
        self._bound = symbol.simple_bind(ctx=context, grad_req="null", **{model.data_name: shape})
        self._bound.copy_params_from(arguments, auxiliary, allow_extra_params=True)

        data = self._bound.arg_dict[model.data_name]
        if context.device_type == "gpu":
            self._device_data, data = data, mxnet.nd.zeros(shape, ctx=mxnet.cpu_pinned(context.device_id))
        else:
            self._device_data = None
        self._base = mxnet.base  # its C library, and the errors of that
        self._output = self._bound.outputs[0]
        self._predictions_shape = (batch_size, self._output.size // batch_size)
        # False for a network that mixes the rows of its batch: it is only meaningful at batch size 1.
        self.gives_a_row_each = self._fits and self._output.shape == (batch_size, *self.output_shape)
        self._data = data  # keeps the memory of `input` alive
        memory = np.frombuffer(ndarray_memory(data), dtype=np.float32)
        self.input = memory.reshape(batch_size, model.row_values)

    def forward(self) -> NDArray[np.float32]:
        """Predicts the rows in ``input``: a new float32 array of shape (batch_size, prod(output_shape)). Raises ModelError."""
        if not self._fits:
            raise ModelError(f"at batch size {self.batch_size} a reshape would go past its input", path=self._path)
        library, check_call = self._base._LIB, self._base.check_call
        try:
            predictions = np.empty(self._predictions_shape, np.float32)
            if self._device_data is not None:
                self._data.copyto(self._device_data)
            # What mxnet's Executor.forward() and NDArray.asnumpy() do, without 13 us of Python that hold the interpreter's
            # lock, for which workers would wait.
            check_call(library.MXExecutorForward(self._bound.handle, NOT_TRAINING))
            check_call(
                library.MXNDArraySyncCopyToCPU(
                    self._output.handle, ctypes.c_void_p(predictions.ctypes.data), ctypes.c_size_t(predictions.size)
                )
            )
        except Exception as error:
            raise ModelError(f"MXNet cannot run it: {first_line(error)}", path=self._path) from error
        return predictions


def load_parts(mxnet: Any, model: Model) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A model's graph, its parameters, and its auxiliary states, as MXNet's: of what was checked, and of nothing else."""
    symbol = load_symbol(mxnet, model.graph.text)
    return (symbol, *_split_params(mxnet.nd.load_frombuffer(model.params)))


@contextlib.contextmanager
def errors_of(what: str, path: str) -> Iterator[None]:
    """The border to MXNet: whatever a model makes it raise is an error of the model.

    MXNet's package raises anything, from TypeError to a bare Exception; only this project's own errors pass.
    """
    try:
        yield
    except FastinferError:
        raise
    except Exception as error:
        raise ModelError(f"{what}: {first_line(error)}", path=path) from error


def _split_params(saved: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits a parameter file's ``arg:NAME`` and ``aux:NAME`` entries."""
    kinds: dict[str, dict[str, Any]] = {"arg": {}, "aux": {}}
    # Of a file without names MXNet makes a list; it has no arrays then, and no other kinds: models/params.py
    for key, value in dict(saved).items():
        kind, _, name = key.partition(":")
        kinds[kind][name] = value
    return kinds["arg"], kinds["aux"]


def _check(
    mxnet: Any, model: Model, symbol: Any, arguments: dict[str, Any], auxiliary: dict[str, Any]
) -> tuple[int, ...]:
    """Raises ModelError for a graph that cannot be used; returns the shape of one row's prediction."""
    outputs = symbol.list_outputs()
    if len(outputs) != 1:
        raise ModelError(f"the model has {len(outputs)} outputs ({', '.join(outputs)}); one is served", path=model.path)
    if model.data_name not in symbol.list_arguments():
        raise ModelError(f"the output does not depend on the input {quote(model.data_name)}", path=model.path)
    absent = [
        name
        for names, saved in ((symbol.list_arguments(), arguments), (symbol.list_auxiliary_states(), auxiliary))
        for name in names
        if name not in saved and name != model.data_name and name not in model.label_names
    ]
    if absent:
        raise ModelError(f"the parameters lack {', '.join(absent)}", code="params_missing", path=model.path)
    with errors_of(f"the graph does not take float32 input of shape {model.row_shape}", model.path), quietly():
        argument_shapes, output_shapes, auxiliary_shapes = symbol.infer_shape(
            **{model.data_name: (1, *model.row_shape)}
        )
        argument_types, output_types, _ = symbol.infer_type(**{model.data_name: np.float32})
    if output_shapes is None or output_types is None:
        raise ModelError("the graph does not determine the shapes and types of its parameters", path=model.path)
    # The container prints other types with other digits.
    named_types = [*zip(symbol.list_arguments(), argument_types), ("the output", output_types[0])]
    for name, found in named_types:
        if name in (model.data_name, "the output") and found is not np.float32:
            raise ModelError(f"{name} is {np.dtype(found).name}; float32 is served", path=model.path)
    needed = [*zip(symbol.list_arguments(), argument_shapes), *zip(symbol.list_auxiliary_states(), auxiliary_shapes)]
    saved = {**arguments, **auxiliary}
    for name, shape in needed:
        if name in saved and saved[name].shape != shape:
            raise ModelError(f"the parameter {name} is {saved[name].shape}, the graph needs {shape}", path=model.path)
    (output_shape,) = output_shapes
    misfit = find_misfit(mxnet, model, symbol, 1)
    if misfit is not None:
        raise ModelError(misfit, path=model.path)
    if output_shape[:1] != (1,):
        raise ModelError(f"a batch of 1 record gives an output of shape {output_shape}, not one row", path=model.path)
    return tuple(output_shape[1:])
