"""Chooses the rows of a forward pass, and the graph; binds the graphs of a run.

The bytes of a prediction depend on the batch size, so no stopwatch chooses it: a rule on the graph names a size
(benchmarks/bench_models.py shows what that costs), and the probe (invariance.py) finds out whether a row's bits depend on that
row alone there. Only among sizes that the probe has found to give the same bits does a stopwatch choose.
"""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Set
from functools import partial
from operator import truediv
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..errors import ConfigError, ModelError
from ..models.load import is_onnx_model
from ..models.module import Model
from ..models.operators import is_random
from ..models.params import VALUES_LIMIT
from ..options import Options, parse_device
from . import probe_cache
from .base import AS_IT_IS, DenseLayers, Executor, Runtime
from .ladder import Ladder
from .predictions import with_one_input
from .provenance import of_model
from .refused import FAILED_PASS

if TYPE_CHECKING:
    from ..models.load import AnyModel

# Sizes that may give the same bits as a larger one; sizes that are bound where the named one is not invariant.
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 96, 144, 240, 480)
# Where a row is much work, a few rows cost as little each, the values in the graph stay in the caches, and a last batch wastes
# little: on AVX-512 the bits are those of 2 rows up to here, and others from 16 on.
FEW_ROWS = 12
# A row is much work where the graph computes a value of so many bytes for it: convolutions do, small dense layers do not.
LARGE_VALUE_BYTES = 32 << 10
# All rows of a batch together have at most so many bytes in such a value.
BATCH_VALUE_BYTES = 64 << 20
# A record is much work for its bytes where the graph computes so many times the bytes of its inputs: an MLP of 784 values 2,
# mobilenet 26, LeNet 46, an LSTM 200.
COSTLY_VALUES = 8
# The layers that can be computed on more rows than there are; and operators that sum nothing, or a row's values alone.
DENSE = "FullyConnected"
ACTIVATIONS = {"Activation", "BatchNorm", "LeakyReLU", "relu", "sigmoid", "tanh"}
LOSSES = {"LinearRegressionOutput", "LogisticRegressionOutput", "SoftmaxOutput", "softmax"}
NO_SUMS = {"null", "BlockGrad", "Dropout", "Flatten", "Reshape", *ACTIVATIONS, *LOSSES}
# A GPU needs more rows at a time.
GPU_ROWS = 480
GPU_INPUT_BYTES = 8 << 20

# Of a model with more bytes of parameters, only the smallest and the largest size are used.
FEW_SIZES_PARAMS_BYTES = 4 << 20

# Copies of the network in one row-wise graph; benchmarks/bench_forward.py found that more gain little. What they save is the
# cost of a call, which a large graph does not notice; and each has its own copy of the parameters.
ROWS_PER_EXACT_GRAPH = 8
COPIED_NODES = 64
COPIED_PARAMS_BYTES = 1 << 19
# Many more make a graph that takes minutes and gigabytes to bind.
MOST_ROWS_PER_EXACT_GRAPH = 1024


class Batching(NamedTuple):
    """How rows are computed.

    Attributes:
        batch_size: the rows of a forward pass whose bits are given.
        row_wise: whether each row is computed as at batch size 1.
        invariant: whether a row's bits depend on that row alone.
        smaller: smaller sizes that give the same bits, in ascending order, for batches that are not full.
        seconds: of a pass at each of them and at the batch size; empty: not known.
        varies: operators that give other values each time, by design.
        dense: how fully connected layers are computed at sizes below its rows.
    """

    batch_size: int
    row_wise: bool
    invariant: bool
    smaller: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    varies: tuple[str, ...] = ()
    dense: DenseLayers = AS_IT_IS

    @property
    def smallest(self) -> int:
        """The smallest size at which the graph can be bound."""
        return (*self.smaller, self.batch_size)[0]

    @property
    def bound(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """The sizes that are bound, and the seconds of a pass at each: none that is larger than one whose rows cost no more."""
        sizes, seconds = (*self.smaller, self.batch_size), self.seconds
        # A graph costs memory, and the time to bind it.
        while len(seconds) > 1 and seconds[-1] / sizes[-1] >= min(map(truediv, seconds[:-1], sizes)):
            sizes, seconds = sizes[:-1], seconds[:-1]
        return sizes, seconds

    @property
    def pass_rows(self) -> int:
        """The most rows of a forward pass: the batch size, or a smaller one with the same bits that costs no more for a row."""
        return self.bound[0][-1]


def choose_batching(runtime: Runtime, model: AnyModel, options: Options) -> Batching:
    """How to compute rows, found on the first of the devices.

    Raises:
        ModelError: ``mixed_batch`` if the model does not give one row per record at the given batch size; ``held_batch``;
            or it cannot be bound.
        ConfigError: ``no_such_device``; ``bad_option`` for a batch that is too large.
    """
    _check_options(model, options)
    device = parse_device(options.device)[0]
    runtime.check_devices([device])
    nodes = json.loads(model.graph.text)["nodes"] if isinstance(model, Model) else []
    varies = _varying(model, nodes)
    if varies:
        warnings.warn(
            f"outputs vary by design: {', '.join(varies[:8])} draw random numbers", RuntimeWarning, stacklevel=2
        )
    held = runtime.held_batch(model)
    if held > 1:
        batching = _held(runtime, model, options, held, varies)
        warnings.warn(
            f"the graph holds batch size {held}; the container fails there, or answers with wrong values",
            RuntimeWarning,
            stacklevel=2,
        )
        return batching
    asked = options.batch_size
    by_row = _row_wise(model, len(nodes), asked)
    if options.exact:
        return by_row._replace(varies=varies)
    if varies:
        # Nothing can be compared; the size changes what comes out no more than chance does.
        return Batching(asked or _candidates(runtime, model, device[0])[0], False, invariant=False, varies=varies)
    operators = {node["op"] for node in nodes}
    rule = {"sizes": SIZES, "many_rows": runtime.many_rows, "asked": asked}
    depends_on = {**of_model(model, options), **runtime.identity(), **rule}
    found = probe_cache.cached(depends_on, partial(_find, runtime, model, device, asked, operators))
    if found is not None:
        return Batching(found.sizes[-1], False, True, found.sizes[:-1], found.seconds, dense=found.dense)
    if asked is not None:
        return Batching(asked, row_wise=False, invariant=False)
    # Row by row, at the container's batch size, every model is invariant.
    return by_row


def _check_options(model: AnyModel, options: Options) -> None:
    """Raises ConfigError for what cannot be asked for with this model."""
    asked = options.batch_size
    if asked is not None:
        most = MOST_ROWS_PER_EXACT_GRAPH if options.exact else VALUES_LIMIT // model.row_values
        if asked > most:
            what = "rows computed one by one" if options.exact else f"records of {model.row_values:,} values"
            raise ConfigError(f"the batch size must be at most {most:,} for {what}, found {asked:,}")
    if options.exact and is_onnx_model(model):
        raise ConfigError(
            f"{model.path} is a model in ONNX, which never gives the container's bytes",
            code="not_exact",
            hint="leave exact out, or use the model of MXNet",
        )


def _find(
    runtime: Runtime, model: AnyModel, device: tuple[str, int], asked: int | None, operators: Set[str]
) -> probe_cache.Found | None:
    """Sizes at which rows do not depend on each other, among those asked for or named by rule; None: there are none, or it
    cannot be known. `operators` are those of a model of MXNet."""
    from .invariance import find_sizes, takes_some  # and NumPy with it: most runs know the answer

    resources = runtime.make_resources()
    bind = partial(_bind_for_probe, runtime, resources, model, device)
    alone, are_all = runtime.layers_alone(model) if DENSE in operators else (None, False)
    bind_layers = None if alone is None else partial(_bind_layers, runtime, resources, alone, device)
    candidates = _candidates(runtime, model, device[0]) if asked is None else [asked]
    if asked is not None:
        executor = bind(asked)
        if executor is None or not executor.gives_a_row_each:
            raise ModelError(
                f"at batch size {asked} it does not give a row for each record",
                code="mixed_batch",
                path=model.path,
                hint="without a batch size records are computed one by one",
            )
    # Each size has its own copy of the parameters.
    most = 1 if copied_bytes(model) > FEW_SIZES_PARAMS_BYTES else None
    try:
        # Where all sums are compared by themselves, fewer rows are enough.
        row_bytes = None if are_all and operators <= {DENSE, *NO_SUMS} else sum(runtime.value_bytes(model))
        return find_sizes(
            *(bind, candidates, SIZES, most),
            has_dense=DENSE in operators,
            bind_layers=bind_layers,
            row_bytes=row_bytes,
            clock=_clock(device[0]),
        )
    except ModelError as error:
        one = bind(1) if error.code == FAILED_PASS else None
        if one is not None and takes_some(one):
            return None  # an operator checks what it is given, as indices; which rows it takes is not known
        raise


def _bind_for_probe(
    runtime: Runtime,
    resources: object,
    model: AnyModel,
    device: tuple[str, int],
    batch_size: int,
    dense: DenseLayers = AS_IT_IS,
) -> Executor | None:
    """None for a graph that can be bound, but not at that size: it may hold the batch size 1, as those from ONNX."""
    try:
        executor = runtime.bind(model, device, batch_size, dense=dense, lenient=True, resources=resources)
        if is_onnx_model(model):
            from .number_types import fitted

            executor = fitted(executor, model.graph_inputs)
        return with_one_input(executor)
    except ModelError:
        # Says what is wrong with a graph that cannot be bound at all.
        runtime.bind(model, device, 1, resources=resources)
        return None


def _bind_layers(*arguments: Any) -> Executor | None:
    """As :func:`_bind_for_probe`; None as well where layers cannot be bound by themselves, which is no defect of the model."""
    with contextlib.suppress(ModelError):
        return _bind_for_probe(*arguments)
    return None


def _clock(kind: str) -> Callable[[], float]:
    """What passes are timed by: what other programs do at that time does not matter then, as far as that can be had."""
    return time.perf_counter if kind == "gpu" else time.process_time


def _varying(model: AnyModel, nodes: list[dict[str, Any]]) -> tuple[str, ...]:
    """The operators that give other values each time, by design; `nodes` are those of a model of MXNet."""
    if is_onnx_model(model):
        from ..models.onnx_random import random_nodes

        return random_nodes(model.content)
    return tuple(node["name"] for node in nodes if is_random(node["op"], node.get("attrs", {})))


def _held(runtime: Runtime, model: AnyModel, options: Options, held: int, varies: tuple[str, ...]) -> Batching:
    """How a graph is computed that takes one batch size alone: batches that are not full are padded."""
    if options.batch_size not in (None, held):
        raise ConfigError(
            f"the graph of {model.path} holds batch size {held}, found {options.batch_size}",
            hint="leave the batch size out",
        )

    if varies:
        return Batching(held, False, invariant=False, varies=varies)

    def bind(batch_size: int, _: DenseLayers = AS_IT_IS) -> Executor:
        return with_one_input(runtime.bind(model, parse_device(options.device)[0], batch_size, lenient=True))

    def find() -> probe_cache.Found | None:
        from .invariance import accepted_rows, find_sizes, is_invariant

        rows = found = None
        try:
            found = find_sizes(bind, [held], (), clock=_clock(parse_device(options.device)[0][0]))
        except ModelError as error:
            if error.code != FAILED_PASS:
                raise
            rows = accepted_rows(bind(held))  # an operator checks what it is given: no proof that it is invariant
        if found is None and not is_invariant(bind(held), rows, nearly=True):
            raise ModelError(
                f"the graph holds batch size {held}, and the records of a batch influence each other",
                code="held_batch",
                path=model.path,
                hint="save the graph for batches of any size",
            )
        return found

    found = probe_cache.cached({**of_model(model, options), **runtime.identity(), "held": held}, find)
    return Batching(held, False, found is not None, seconds=found.seconds if found else ())


def _row_wise(model: AnyModel, nodes: int, asked: int | None) -> Batching:
    """The row-wise graph. Any number of copies gives the same bits."""
    # A few long rows would wait for copies that have none.
    is_short = 4 * model.row_values <= LARGE_VALUE_BYTES
    small = nodes <= COPIED_NODES and copied_bytes(model) <= COPIED_PARAMS_BYTES and is_short
    copies = asked or (ROWS_PER_EXACT_GRAPH if small else 1)
    return Batching(copies, row_wise=True, invariant=True, smaller=(1,) if copies > 1 else ())


def copied_bytes(model: AnyModel) -> int:
    """The bytes of parameters that each graph has for itself; ONNX Runtime's graphs share theirs."""
    return len(model.params) if isinstance(model, Model) else 0


def _candidates(runtime: Runtime, model: AnyModel, kind: str) -> list[int]:
    """Batch sizes in the order in which they are tried, by a rule on the graph alone; at least one."""
    largest = max(runtime.value_bytes(model))
    if kind == "gpu":
        named, most = GPU_ROWS, GPU_INPUT_BYTES // (4 * model.row_values)
    else:
        named = FEW_ROWS if largest > LARGE_VALUE_BYTES else runtime.many_rows
        most = BATCH_VALUE_BYTES // largest
    fitting = [size for size in SIZES if 1 < size <= most] or [2]
    # Smaller sizes before larger ones, the nearest first.
    return sorted(fitting, key=lambda size: (size > named, abs(size - named)))


def is_costly(runtime: Runtime, model: AnyModel) -> bool:
    """Whether a record is much work for its bytes; by a rule on the graph alone."""
    try:
        values = runtime.value_bytes(model)
    except ModelError:
        return False  # the graph holds a batch size, so that nothing is known of one record
    return sum(values) > COSTLY_VALUES * 4 * model.row_values


def bind_ladder(runtime: Runtime, model: AnyModel, device: tuple[str, int], batching: Batching) -> Ladder:
    """The bound graphs of one thread, the largest of them bound.

    Raises:
        ModelError, ConfigError: it cannot be bound there, or gives what is not served.
    """

    resources = runtime.make_resources()

    def bind(size: int) -> Executor:
        dense = batching.dense if size < batching.dense.rows else AS_IT_IS
        executor = runtime.bind(model, device, size, row_wise=batching.row_wise, dense=dense, resources=resources)
        return with_one_input(executor)

    sizes, seconds = batching.bound
    return Ladder(bind, sizes, seconds or None)
