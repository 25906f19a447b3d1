"""A model's graph, bound to one MXNet device at one batch size; its inputs are not copied.

There are two graphs. The *batched* one runs a whole batch through each operator and is fast; whether a row's bits depend on
its place in the batch depends on the batch size (runtimes/invariance.py). The *row-wise* one (row_wise.py) computes
every record as at batch size 1.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from ...errors import FastinferError, ModelError, quote
from ...models.graph import held_sizes
from ...models.module import Model
from ...models.params import bare
from ..base import AS_IT_IS, BoundInput, BoundOutput, DenseLayers, RefusedValueError
from .bound import Arrays, BoundGraph, copy_part, view_of
from .dense_rows import DENSE, FewRows, Part, View, compute_as_many
from .inner_shapes import find_misfit, has_reshapes, load_symbol, shapes_inside
from .layouts import make_plain
from .libmxnet import MXNetError, binding, check, first_line, load_libmxnet
from .resources import Resources
from .row_wise import repeat_rows
from .slices import slice_by_parts
from .symbol import (
    CPU,
    CPU_PINNED,
    FLOAT32,
    GPU,
    TYPES,
    Array,
    Device,
    Shape,
    Symbol,
    as_view,
    load_arrays,
)
from .unfused import doubt_of, take_all_apart, take_shared_apart, take_slow_apart
from .unread import read_first_outputs
from .value_checks import Check, check_values, find_refused
from .vectorized import vectorize

# What MXNet 1.9.1 says of a graph of its own making that it cannot bind; Module meets another check, in_arg_ctx_map.count.
FUSION_FAILED = ("arg_names.size() == in_args_map.size()", "it != node2index_.end()", "Error in operator sg_mkldnn_")
# Said where the container's bytes were asked for.
UNFUSED = "MXNet cannot bind this graph with its operators fused, as the container would"
APART = "its operators are computed apart, with the bytes of a container whose MXNET_SUBGRAPH_BACKEND is NONE"


class _Prepared(NamedTuple):
    """What is bound, again after each pass that fails."""

    text: str = ""  # none before the first time
    parts: Sequence[Part] = ()  # parameters that are copied from those of the model's file
    views: Sequence[View] = ()  # of what callers write
    kinds: Mapping[str, int] = MappingProxyType({})  # the type of each argument and auxiliary state
    fits: bool = False  # at the batch size
    checks: Sequence[Check] = ()  # which have outputs behind the model's


class MXNetExecutor:
    """A bound graph; see :class:`fastinfer.runtimes.base.Executor`.

    Where a GPU runs it, or it takes another type than float32, what is written to the inputs is copied before each pass.
    So many attributes: it is bound again after a pass that fails.

    Args:
        model: the model.
        device: (kind, index).
        batch_size: records of one forward pass.
        row_wise: whether each record is computed as at batch size 1.
        dense, lenient, resources: see :meth:`fastinfer.runtimes.base.Runtime.bind`.

    Raises:
        ModelError: MXNet cannot load or bind it, or it is not a model that can be served.
    """

    def __init__(
        self,
        model: Model,
        device: tuple[str, int],
        batch_size: int,
        *,
        row_wise: bool = False,
        dense: DenseLayers = AS_IT_IS,
        lenient: bool = False,
        resources: Resources | None = None,
    ) -> None:
        self.batch_size = batch_size
        self._lenient = lenient
        self._resources = resources or Resources()
        self._dense = dense
        self._model = model
        self._row_wise = row_wise
        self._device: Device = (GPU, device[1]) if device[0] == "gpu" else (CPU, 0)  # the host's memory is one
        self._graph = _Prepared()
        self._bound: BoundGraph | None = None
        with binding, errors_of(f"MXNet cannot bind it at batch size {batch_size}", model.path):
            # Kept over a later bind: callers hold this memory.
            host = (CPU_PINNED, device[1]) if self._device[0] == GPU else self._device
            self._data = [Array.zeros((batch_size, *each.shape), FLOAT32, host) for each in model.inputs]
            self.inputs = tuple(BoundInput(*each, array.memory()) for each, array in zip(model.inputs, self._data))
            self._bind()

    def _bind(self) -> None:
        with errors_of("MXNet cannot load it", self._model.path):
            parameters = {bare(name): array for name, array in load_arrays(self._model.params).items()}
        doubt = doubt_of(self._model.graph.text) if self._row_wise else None
        if not self._graph.text:
            self._graph = self._prepare(parameters, all_apart=doubt is not None)
        try:
            self._bound = self._bind_graph(self._graph, parameters)
        except MXNetError as error:
            if not any(words in str(error) for words in FUSION_FAILED):
                raise
            self._graph = self._prepare(parameters, all_apart=True)
            self._bound = self._bind_graph(self._graph, parameters)
            if self._row_wise:
                doubt = UNFUSED
        if doubt is not None:
            warnings.warn(f"{self._model.path}: {doubt}; {APART}", RuntimeWarning, stacklevel=2)
        # False for a network that mixes the rows of its batch: it is only meaningful at batch size 1.
        self.gives_a_row_each = self._graph.fits and all(
            array.shape == (self.batch_size * output.rows, *output.shape)
            for array, output in zip(self._bound.outputs, self.outputs)
        )

    def _prepare(self, parameters: Arrays, *, all_apart: bool = False) -> _Prepared:
        """The graph as it is to be bound; `all_apart`: without anything that MXNet fuses."""
        model, batch_size = self._model, self.batch_size
        with errors_of("MXNet cannot load it", model.path):
            symbol = load_symbol(model.graph.text)
        own = {name: array.shape for name, array in parameters.items()}
        self.outputs, kinds = _check_batch(model, symbol, own, 1 if self._row_wise else batch_size)
        shapes = {} if self._row_wise else shapes_inside(model, symbol, batch_size)
        fits = self._row_wise or find_misfit(model, symbol, batch_size, shapes) is None
        text = symbol.to_json()
        if not self._row_wise:
            text = slice_by_parts(vectorize(text, partial(_float32_outputs, model, symbol)), shapes)
        few = FewRows(text, [], [])
        if self._dense.rows > batch_size:
            few = self._compute_as_many(text, parameters, kinds, _layer_rows(symbol, shapes))
            text = few.text
            added = [each.name for each in few.parts] + [each.name for each in few.views]
            kinds.update(dict.fromkeys(added, FLOAT32))
        text, checks = check_values(read_first_outputs(make_plain(text)))
        if all_apart:
            text = take_all_apart(text)
        elif not self._row_wise:
            text = take_shared_apart(take_slow_apart(text))
        if self._row_wise and batch_size > 1:
            bools = [number for number, output in enumerate(self.outputs) if output.dtype == "bool"]
            text = repeat_rows(text, [each.name for each in model.inputs], batch_size, bools)
        return _Prepared(text, few.parts, few.views, kinds, fits, checks)

    def _compute_as_many(
        self, text: str, parameters: Arrays, kinds: Mapping[str, int], layer_rows: Mapping[str, int]
    ) -> FewRows:
        """The graph whose fully connected layers are computed as on more rows.

        Args:
            text: the graph.
            parameters: those of the model's file.
            kinds: the types of its arguments.
            layer_rows: of the layers, by their names.
        """
        inputs = {each.name: math.prod(each.shape) for each in self._model.inputs if kinds[each.name] == FLOAT32}
        saved = {
            name: array.shape
            for name, array in parameters.items()
            if self._dense.chained and name not in inputs and array.kind == kinds.get(name) == FLOAT32
        }
        lone = inputs if self.batch_size == 1 and self._device[0] == CPU else {}
        times = -(-self._dense.rows // self.batch_size)
        return compute_as_many(text, times, saved, lone, layer_rows, products=self._dense.products)

    def _bind_graph(self, graph: _Prepared, parameters: Arrays) -> BoundGraph:
        copied = {part.name: copy_part(part, parameters) for part in graph.parts}
        data = {each.name: array for each, array in zip(self._model.inputs, self._data)}
        views = {view.name: view_of(view, data[view.source]) for view in graph.views}
        symbol, saved = Symbol.load(graph.text), {**parameters, **copied}
        arguments = set(symbol.arguments())
        given = {name: array for name, array in {**data, **views}.items() if name in arguments}
        return self._resources.call(partial(BoundGraph, symbol, given, saved, graph.kinds, self._device))

    def bind_again(self) -> None:
        """Binds it if an operator has failed: what MXNet keeps of that pass may fail the next one as well."""
        if self._graph.fits and self._bound is None:
            with binding, errors_of("MXNet cannot bind it again", self._model.path):
                self._bind()

    def forward(self) -> tuple[memoryview, ...]:
        """See :meth:`fastinfer.runtimes.base.Executor.forward`."""
        if not self._graph.fits:
            raise ModelError(
                f"at batch size {self.batch_size} a reshape would go past its input", path=self._model.path
            )
        self.bind_again()
        bound, library = self._bound, load_libmxnet()
        assert bound is not None  # by _bind
        results: list[memoryview] = []
        count = len(self.outputs)
        try:
            for target, source in bound.copies:
                target.copy_from(source)
            check(library.MXExecutorForward(bound.handle, 0))
            refused = None if self._lenient else find_refused(self._graph.checks, bound.outputs[count:])
            if refused is not None:
                raise RefusedValueError(refused, code="failed_pass", path=self._model.path)
            for output, make_memory, size in bound.results[:count]:
                memory = make_memory()
                check(library.MXNDArraySyncCopyToCPU(output, memory, size))
                results.append(as_view(memory))
        except (MXNetError, MemoryError) as error:
            self._bound = None
            said = first_line(error)
            lacks_memory = isinstance(error, MemoryError) or "bad_alloc" in said or "out of memory" in said.lower()
            code = "bad_model" if lacks_memory else "failed_pass"  # no record is to blame for the former
            message = f"MXNet cannot run it: {said}"
            raise ModelError(message, code=code, path=self._model.path, hint=without_onednn(said)) from error
        return tuple(results)


def without_onednn(message: str) -> str | None:
    """What may help where an error of MXNet's comes from its library oneDNN; None where it does not."""
    if re.search("mkldnn|dnnl|onednn|primitive", message, re.IGNORECASE) is None:
        return None
    return "MXNET_MKLDNN_ENABLED=0 in the environment computes it without oneDNN, slower and with other last digits"


def value_bytes(model: Model) -> list[int]:
    """The bytes of each value within a model's graph for one record, its parameters left out.

    MXNet lets values share memory that are not needed at the same time, so all of them together mostly take less.

    Raises:
        ModelError: the graph does not accept the records.
    """
    with binding, errors_of("the graph does not accept the rows", model.path):
        inner = load_symbol(model.graph.text).internals()
        shapes = inner.infer_shapes({each.name: (1, *each.shape) for each in model.inputs})
    if shapes is None:
        raise ModelError("the graph does not determine the shapes of its values", path=model.path)
    parameters = {*inner.arguments(), *inner.auxiliary()} - {each.name for each in model.inputs}
    return [4 * math.prod(shape) for name, shape in zip(inner.outputs(), shapes.outputs) if name not in parameters]


def held_batch(model: Model) -> int:
    """The batch size that a model's graph holds, so that it takes no other number of records; 1 where it takes one record.

    Also 1 where the graph takes no number of records: binding says why.
    """
    with binding, errors_of("MXNet cannot load it", model.path):
        symbol = load_symbol(model.graph.text)
        if _takes(model, symbol, 1):
            return 1
        return next((size for size in held_sizes(model.graph) if _takes(model, symbol, size)), 1)


def _takes(model: Model, symbol: Symbol, records: int) -> bool:
    """Whether a graph takes so many records, with its saved parameters, and gives as many rows for each."""
    try:
        shapes = symbol.infer_shapes({each.name: (records, *each.shape) for each in model.inputs})
        if shapes is None or (has_reshapes(model) and find_misfit(model, symbol, records) is not None):
            return False
    except (MXNetError, ValueError):
        return False
    names = [*zip(symbol.arguments(), shapes.arguments), *zip(symbol.auxiliary(), shapes.auxiliary)]
    saved, inputs = model.arrays, {each.name for each in model.inputs}
    fit = all(saved[name].shape == shape for name, shape in names if name in saved and name not in inputs)
    return fit and all(shape[0] % records == 0 for shape in shapes.outputs)


@contextlib.contextmanager
def errors_of(what: str, path: str) -> Iterator[None]:
    """The border to MXNet: whatever a model makes it raise is an error of the model.

    MXNet's package, which hooks use, raises anything, from TypeError to a bare Exception; only this project's own errors pass.
    """
    try:
        yield
    except FastinferError:
        raise
    except Exception as error:
        raise ModelError(f"{what}: {first_line(error)}", path=path) from error


def outputs_of(model: Model, batch_size: int) -> tuple[BoundOutput, ...]:
    """The outputs that a model's graph has when it is bound, found without that. Raises ModelError."""
    with binding, errors_of("MXNet cannot load it", model.path):
        saved = {name: array.shape for name, array in model.arrays.items()}
        return _check_batch(model, load_symbol(model.graph.text), saved, batch_size)[0]


def _check_batch(
    model: Model, symbol: Symbol, parameters: dict[str, Shape], batch_size: int
) -> tuple[tuple[BoundOutput, ...], dict[str, int]]:
    """As :func:`_check` of one record, or of a whole batch where the graph holds its size."""
    try:
        return _check(model, symbol, parameters, 1)
    except ModelError as error:
        if batch_size == 1:
            raise
        # It may hold this batch size; if not, what is wrong with one record says more.
        with contextlib.suppress(FastinferError):
            return _check(model, symbol, parameters, batch_size)
        raise error


def _check(
    model: Model, symbol: Symbol, parameters: dict[str, Shape], records: int
) -> tuple[tuple[BoundOutput, ...], dict[str, int]]:
    """Raises ModelError for a graph that cannot be used with so many records.

    Returns:
        its outputs, as each record gives them, and the types of arguments and auxiliary states by their names.
    """
    arguments, auxiliary = symbol.arguments(), symbol.auxiliary()
    data = {each.name: (records, *each.shape) for each in model.inputs}
    for name in data:
        if name not in arguments:
            raise ModelError(f"the output does not depend on the input {quote(name)}", path=model.path)
    known = {*data, *model.graph.zeros, *parameters}
    absent = [name for name in [*arguments, *auxiliary] if name not in known]
    if absent and not model.allow_missing:
        raise ModelError(f"the parameters lack {', '.join(absent)}", code="params_missing", path=model.path)
    taken = ", ".join(f"input of shape {each.shape}" for each in model.inputs)
    with errors_of(f"the graph does not take {taken}", model.path):
        shapes, types = symbol.infer_shapes(data), symbol.module_types(data)
    if shapes is None or types is None:
        raise ModelError("the graph does not determine the shapes and types of its parameters", path=model.path)
    for name, shape in [*zip(arguments, shapes.arguments), *zip(auxiliary, shapes.auxiliary)]:
        if name in parameters and name not in data and parameters[name] != shape:
            raise ModelError(f"the parameter {name} is {parameters[name]}, the graph needs {shape}", path=model.path)
    kinds = dict(zip([*arguments, *auxiliary], [*types.arguments, *types.auxiliary]))
    outputs = list(zip(symbol.outputs(), shapes.outputs, types.outputs))
    for name, kind in [*kinds.items(), *((name, kind) for name, _, kind in outputs)]:
        if kind not in TYPES:
            raise ModelError(f"{name} has MXNet's type {kind}, which is not served", path=model.path)
    misfit = find_misfit(model, symbol, records)
    if misfit is not None:
        raise ModelError(misfit, path=model.path)
    bound = (BoundOutput(name, shape[0] // records or 1, shape[1:], TYPES[kind][0]) for name, shape, kind in outputs)
    return tuple(bound), kinds


def _layer_rows(symbol: Symbol, shapes: Mapping[int, Sequence[Shape]]) -> dict[str, int]:
    """How many rows each fully connected layer has, by its name; without those whose name another one has."""
    found: dict[str, list[int]] = {}
    for number, node in enumerate(json.loads(symbol.to_json())["nodes"]):
        if node["op"] == DENSE:
            found.setdefault(node["name"], []).append(shapes[number][0][0])
    return {name: rows[0] for name, rows in found.items() if len(rows) == 1}


def _float32_outputs(model: Model, symbol: Symbol) -> set[str]:
    """The names of all outputs inside a graph that are float32."""
    inner = symbol.internals()
    types = inner.module_types([each.name for each in model.inputs])
    named = list(zip(inner.outputs(), types.outputs)) if types is not None else []
    # Several nodes may have one name.
    return {name for name, kind in named if kind == FLOAT32} - {name for name, kind in named if kind != FLOAT32}
