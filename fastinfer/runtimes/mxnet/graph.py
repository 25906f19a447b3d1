"""Rows to predictions: a model's graph bound to one context at one batch size, written and read without copies.

Two graphs serve. The *batched* one runs a whole batch through each operator and is fast; whether a row's bits then depend
on its place in the batch is a matter of the batch size (invariance.py). The *row-wise* one holds a copy of
the network for each row of the batch, all sharing the parameters, so that every row is computed exactly as the container
does it, at batch size 1, at a fraction of the cost of a loop.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import queue
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ...models.module import Model
from ..devices import open_contexts
from .library import first_line, ndarray_memory

T = TypeVar("T")

# MXNet 1.9 aborts the process where two threads bind at the same time: whoever binds holds this.
binding = threading.RLock()

NOT_TRAINING = ctypes.c_int(0)

# Copies of the network in one row-wise graph; benchmarks/bench_forward.py found little gain beyond.
ROWS_PER_EXACT_GRAPH = 8


class Executor:
    """A bound graph.

    Not for use by two threads at a time: each worker has its own.

    Attributes:
        batch_size: rows of one forward pass.
        input: float32 array of shape (batch_size, row_values) over the memory that the graph reads (for a GPU: over
            the host memory that is copied there). Fill it, then call :meth:`forward`.
        output_shape: shape of one row's prediction, () for a scalar.
        gives_a_row_each: whether the graph gives a row for each of the batch; else it cannot be run.
    """

    def __init__(self, mxnet: Any, model: Model, context: Any, batch_size: int, *, row_wise: bool = False) -> None:
        self.batch_size = batch_size
        with binding:
            self._bind(mxnet, model, context, batch_size, row_wise)

    def _bind(self, mxnet: Any, model: Model, context: Any, batch_size: int, row_wise: bool) -> None:
        try:
            symbol = mxnet.sym.load_json(model.symbol)
            arguments, auxiliary = _split_params(mxnet.nd.load_frombuffer(model.params))
        except (mxnet.base.MXNetError, ValueError, TypeError, AttributeError) as error:
            raise ModelError(f"MXNet cannot load it: {first_line(error)}", path=model.path) from error

        self.output_shape = _check(mxnet, model, symbol, arguments, auxiliary)
        if row_wise and batch_size > 1:
            symbol = mxnet.sym.load_json(repeat_rows(symbol.tojson(), model.data_name, batch_size))
        shape = (batch_size, *model.row_shape)
        try:
            self._bound = symbol.simple_bind(ctx=context, grad_req="null", **{model.data_name: shape})
            self._bound.copy_params_from(arguments, auxiliary, allow_extra_params=True)
        except (mxnet.base.MXNetError, RuntimeError) as error:
            raise ModelError(f"MXNet cannot bind it at {shape}: {first_line(error)}", path=model.path) from error

        data = self._bound.arg_dict[model.data_name]
        if context.device_type == "gpu":
            self._device_data, data = data, mxnet.nd.zeros(shape, ctx=mxnet.cpu_pinned(context.device_id))
        else:
            self._device_data = None
        self._library, self._check_call = mxnet.base._LIB, mxnet.base.check_call
        self._output = self._bound.outputs[0]
        self._predictions_shape = (batch_size, self._output.size // batch_size)
        # False for a network that mixes its batch: it has a meaning at batch size 1 alone.
        self.gives_a_row_each = self._output.shape == (batch_size, *self.output_shape)
        self._data = data  # keeps alive the memory that `input` shows
        memory = np.frombuffer(ndarray_memory(data), dtype=np.float32)
        self.input = memory.reshape(batch_size, model.row_values)

    def forward(self) -> NDArray[np.float32]:
        """Runs the batch that stands in ``input``.

        Returns:
            float32 array of shape (batch_size, prod(output_shape)), a copy of its own.

        Raises:
            mxnet.base.MXNetError: an operator fails.
        """
        if self._device_data is not None:
            self._data.copyto(self._device_data)
        predictions = np.empty(self._predictions_shape, np.float32)
        # What mxnet's Executor.forward() and NDArray.asnumpy() come to, less 13 us of Python under the interpreter's lock, for
        # which workers would wait for each other.
        self._check_call(self._library.MXExecutorForward(self._bound.handle, NOT_TRAINING))
        self._check_call(
            self._library.MXNDArraySyncCopyToCPU(
                self._output.handle, ctypes.c_void_p(predictions.ctypes.data), ctypes.c_size_t(predictions.size)
            )
        )
        return predictions


class Pool(Generic[T]):
    """Things that one thread uses at a time, such as bound graphs."""

    def __init__(self, things: Iterable[T]) -> None:
        self._idle: queue.SimpleQueue[T] = queue.SimpleQueue()
        for thing in things:
            self._idle.put(thing)

    @contextlib.contextmanager
    def lend(self) -> Iterator[T]:
        """One that no one else uses meanwhile; waits for it."""
        thing = self._idle.get()
        try:
            yield thing
        finally:
            self._idle.put(thing)


def bind_executors(
    mxnet: Any, model: Model, devices: Sequence[tuple[str, int]], count: int, batch_size: int, *, row_wise: bool
) -> list[Executor]:
    """The bound graphs of a run: all of them, one after the other and before any of them runs.

    Args:
        mxnet: the module.
        model: what to bind.
        devices: (kind, index) of each device; the graphs go to them in turn.
        count: how many graphs.
        batch_size: rows of one forward pass.
        row_wise: whether each row is computed as at batch size 1.
    """
    contexts = open_contexts(devices)
    return [
        Executor(mxnet, model, contexts[number % len(contexts)], batch_size, row_wise=row_wise)
        for number in range(count)
    ]


def repeat_rows(symbol: str, data_name: str, copies: int) -> str:
    """The graph that runs ``copies`` copies of a network, each on one row of the batch, over shared parameters.

    Args:
        symbol: a graph as ``Symbol.tojson()`` of this MXNet prints it, with one output.
        data_name: the input whose first axis is cut into rows.
        copies: rows of the new graph's batch.
    """
    graph = json.loads(symbol)
    nodes = graph["nodes"]
    variables = [node for node in nodes if node["op"] == "null"]
    place = {id(node): index for index, node in enumerate(variables)}
    repeated = list(variables)
    data = next(index for index, node in enumerate(variables) if node["name"] == data_name)
    slices = len(repeated)
    attributes = {"num_outputs": str(copies), "axis": "0", "squeeze_axis": "False"}
    repeated.append({"op": "SliceChannel", "name": "rows", "attrs": attributes, "inputs": [[data, 0, 0]]})

    heads = []
    for copy in range(copies):
        # Where each node of the original stands in this copy, as the entry that reads its output.
        entry: list[Any] = []
        for node in nodes:
            if node["op"] == "null":
                index = place[id(node)]
                entry.append([slices, copy, 0] if index == data else [index, 0, 0])
                continue
            inputs = [
                [entry[source][0], entry[source][1] + output, *version]
                if entry[source][0] == slices
                else [entry[source][0], output, *version]
                for source, output, *version in node["inputs"]
            ]
            entry.append([len(repeated), 0, 0])
            repeated.append({**node, "name": f"{node['name']}_row{copy}", "inputs": inputs})
        source, output, *_ = graph["heads"][0]
        heads.append([entry[source][0], output, 0])
    attributes = {"num_args": str(copies), "dim": "0"}
    repeated.append({"op": "Concat", "name": "predictions", "attrs": attributes, "inputs": heads})
    return json.dumps(
        {
            "nodes": repeated,
            "arg_nodes": list(range(len(variables))),
            "heads": [[len(repeated) - 1, 0, 0]],
            "attrs": graph["attrs"],
        }
    )


def _split_params(saved: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits a parameter file's ``arg:NAME`` and ``aux:NAME`` entries."""
    kinds: dict[str, dict[str, Any]] = {"arg": {}, "aux": {}}
    for key, value in saved.items():
        kind, _, name = key.partition(":")
        if kind not in kinds:
            raise ValueError(f"the entry {key!r} is neither arg:NAME nor aux:NAME")
        kinds[kind][name] = value
    return kinds["arg"], kinds["aux"]


def _check(
    mxnet: Any, model: Model, symbol: Any, arguments: dict[str, Any], auxiliary: dict[str, Any]
) -> tuple[int, ...]:
    """Refuses what cannot serve, saying what is missing; returns the shape of one row's prediction."""
    outputs = symbol.list_outputs()
    if len(outputs) != 1:
        raise ModelError(f"the model has {len(outputs)} outputs ({', '.join(outputs)}); one is served", path=model.path)
    absent = [
        name
        for names, saved in ((symbol.list_arguments(), arguments), (symbol.list_auxiliary_states(), auxiliary))
        for name in names
        if name not in saved and name != model.data_name and name not in model.label_names
    ]
    if absent:
        raise ModelError(f"the parameters lack {', '.join(absent)}", code="params_missing", path=model.path)
    try:
        # It prints its arguments where it fails; the error says as much.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            argument_shapes, output_shapes, auxiliary_shapes = symbol.infer_shape(
                **{model.data_name: (1, *model.row_shape)}
            )
            argument_types, output_types, _ = symbol.infer_type(**{model.data_name: np.float32})
    except mxnet.base.MXNetError as error:
        raise ModelError(
            f"the graph does not take float32 input of shape {model.row_shape}: {first_line(error)}", path=model.path
        ) from error
    if output_shapes is None or output_types is None:
        raise ModelError("the graph does not tell the shapes and types of its parameters", path=model.path)
    # The container prints what the model gives; of other types it would print other digits.
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
    if output_shape[:1] != (1,):
        raise ModelError(f"a batch of 1 record gives an output of shape {output_shape}, not one row", path=model.path)
    return tuple(output_shape[1:])
