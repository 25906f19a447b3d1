"""ONNX Runtime as a runtime: models in ONNX on the CPU, and on a GPU where the installed build has its CUDA provider.

A session belongs to a model and a device. Its graph is open to any batch size and may be run by several threads at a time,
each in memory of its own, so all executors of a process share one.
"""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..errors import ConfigError, ModelError, quote
from ..models.onnx import OnnxModel
from ..models.onnx_values import giving_all
from .base import AS_IT_IS, BoundInput, BoundOutput, DenseLayers
from .libonnxruntime import (
    FORMATS,
    OnnxRuntimeError,
    Session,
    Tensor,
    handles,
    load_libonnxruntime,
    value_bytes,
    zeros,
)
from .onnx_inputs import OnnxInputs, failed, run
from .probe_cache import cached_numbers

if TYPE_CHECKING:
    from ..models.load import AnyModel

CUDA_PROVIDER = "CUDAExecutionProvider"
SESSION_SETTINGS = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
# At 144, which is MXNet's, a pass of an MLP takes 2 % longer for a row, at 480 that of a LeNet 2 %.
MANY_ROWS = 240
# Products of float32 in full, not in TF32, whose 10 bits of mantissa change labels.
CUDA_OPTIONS = {"use_tf32": "0"}


class OnnxRuntime:
    """ONNX Runtime.

    Args:
        cpu_isa: None; it has no setting for the instruction set.

    Attributes:
        advice: None.
        many_rows: see :class:`fastinfer.runtimes.base.Runtime`.
        divides: False: a session is shared by all threads, each of which computes alone.

    Raises:
        ConfigError: ``onnxruntime_missing``, ``onnxruntime_broken``; an instruction set is asked for.
    """

    advice: str | None = None
    divides = False
    many_rows = MANY_ROWS

    def __init__(self, cpu_isa: str | None = None) -> None:
        if cpu_isa is not None:
            raise ConfigError(
                f"the instruction set cannot be {cpu_isa}: onnxruntime always uses the best of the CPU",
                hint="leave it out; the CPU's name is kept in the run's record",
            )
        self._library = load_libonnxruntime()
        self._sessions: weakref.WeakValueDictionary[tuple[str, str, int], Session] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def identity(self) -> dict[str, Any]:
        return {"onnxruntime": self._library.version, "session": {**SESSION_SETTINGS, **CUDA_OPTIONS}}

    def value_bytes(self, model: AnyModel) -> list[int]:
        assert isinstance(model, OnnxModel)
        depends_on = {"values_of": model.identity, **self.identity()}
        with contextlib.suppress(OnnxRuntimeError, ModelError):  # whether the model itself can be run, binding says
            return cached_numbers(depends_on, lambda: _measure_values(model))
        return [4 * math.prod(each.shape) for each in model.inputs]

    def held_batch(self, model: AnyModel) -> int:  # noqa: ARG002
        return 1  # one that holds another size is padded by the executor

    def outputs_of(self, model: AnyModel, batch_size: int) -> tuple[BoundOutput, ...]:
        return self.bind(model, ("cpu", 0), batch_size).outputs

    def layers_alone(self, model: AnyModel) -> tuple[None, bool]:  # noqa: ARG002
        return None, False

    def check_devices(self, devices: Sequence[tuple[str, int]]) -> None:
        available = self._library.providers()
        for kind, index in devices:
            if kind == "gpu" and CUDA_PROVIDER not in available:
                raise ConfigError(
                    f"there is no gpu:{index}: onnxruntime {self._library.version} here is a build without CUDA "
                    f"(it has {', '.join(available)})",
                    code="no_such_device",
                    hint="pip uninstall onnxruntime, then pip install onnxruntime-gpu, with CUDA and cuDNN as it needs them",
                )

    def make_resources(self) -> None:
        """Nothing: a session can run on several threads at the same time."""

    def bind(
        self,
        model: AnyModel,
        device: tuple[str, int],
        batch_size: int,
        *,
        row_wise: bool = False,
        dense: DenseLayers = AS_IT_IS,  # noqa: ARG002
        threads: int = 1,  # noqa: ARG002
        lenient: bool = False,  # noqa: ARG002
        resources: object = None,  # noqa: ARG002
    ) -> OnnxExecutor:
        if not isinstance(model, OnnxModel):
            raise ConfigError(
                f"{model.path} is a model of MXNet, which onnxruntime cannot run",
                code="other_format",
                hint="`fastinfer export` writes it as ONNX",
            )
        return OnnxExecutor(self._session(model, device), model, device, batch_size, row_wise=row_wise)

    def _session(self, model: OnnxModel, device: tuple[str, int]) -> Session:
        key = (model.content_digest, *device)
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                session = self._sessions[key] = self._open(model, device)
            return session

    def _open(self, model: OnnxModel, device: tuple[str, int]) -> Session:
        self.check_devices([device])
        kind, index = device
        cuda = {"device_id": str(index), **CUDA_OPTIONS} if kind == "gpu" else None
        try:
            return Session(model.content, SESSION_SETTINGS, cuda)
        except OnnxRuntimeError as error:
            if kind == "cpu":
                raise ModelError(f"onnxruntime cannot load it: {error}", path=model.path) from error
            self._open(model, ("cpu", 0))  # raises if it is the model that cannot be loaded
            raise ConfigError(
                f"there is no gpu:{index}: onnxruntime cannot start CUDA on it: {error}",
                code="no_such_device",
                hint="look for its libraries (CUDA, cuDNN) and for the GPU with nvidia-smi",
            ) from error


def _measure_values(model: OnnxModel) -> list[int]:
    """The bytes of each value for one record, by a pass in which the graph gives all of them.

    Raises:
        OnnxRuntimeError, ModelError: it cannot give them.
    """
    content, names = giving_all(model.content, [each.name for each in model.graph_inputs])
    session, records = Session(content, SESSION_SETTINGS, as_written=True), model.batch or 1
    values = [tensor.describe() for tensor in OnnxInputs(model, records).run_blank(session, names)]
    sizes = [value_bytes(kind) * math.prod(shape) for kind, shape in values if kind in FORMATS]
    return [*(4 * math.prod(each.shape) for each in model.inputs), *(-(-size // records) for size in sizes)]


class OnnxExecutor:
    """A graph with the memory for one batch; see :class:`fastinfer.runtimes.base.Executor`.

    A graph that takes only so many records at a time is run several times for a larger batch, and with blank records for a
    smaller one.

    Args:
        session: of the model.
        model: the model.
        device: where the session runs.
        batch_size: records of one forward pass.
        row_wise: whether each record is computed by itself.

    Raises:
        ModelError: onnxruntime cannot run it, or it does not give rows for records.
    """

    def __init__(
        self, session: Session, model: OnnxModel, device: tuple[str, int], batch_size: int, *, row_wise: bool = False
    ) -> None:
        self._session, self._model = session, model
        self.batch_size = batch_size
        # So many records of the memory are given to the graph at a time, in as many of its own.
        self._stride = 1 if row_wise else model.batch or batch_size
        self._width = model.batch or self._stride
        records = range(0, batch_size, self._stride)[-1] + self._width
        self._inputs = OnnxInputs(model, records)
        self.inputs = tuple(
            BoundInput(each.name, each.shape, memory[: batch_size * math.prod(each.shape)])
            for each, memory in zip(model.graph_inputs, self._inputs.memory)
        )
        one = model.batch or 1
        alone = self._inputs.run_blank(session, model.output_names)
        self.outputs = tuple(self._describe(name, tensor, one) for name, tensor in zip(model.output_names, alone))
        self._shapes = [(self._width * output.rows, *output.shape) for output in self.outputs]
        together = alone if self._width == one else self._run(0, self._width)
        self.gives_a_row_each = [tensor.describe()[1] for tensor in together] == self._shapes
        # The bytes that a record has of each output.
        self._sizes = [value_bytes(each.dtype) * each.rows * math.prod(each.shape) for each in self.outputs]
        self._bound = self._bind() if self._can_bind(device) else None

    def forward(self) -> tuple[memoryview, ...]:
        """See :meth:`fastinfer.runtimes.base.Executor.forward`."""
        if self._bound is not None:
            try:
                self._bound.run()
            except OnnxRuntimeError as error:
                raise failed(error, self._model.path) from error
            found = [bytearray(memory) for memory in self._bound.results]
        else:
            found = [bytearray() for _ in self.outputs]
            for first in range(0, self.batch_size, self._stride):
                for values, tensor, size in zip(found, self._run_whole(first), self._sizes):
                    values += tensor.read(self._stride * size)
        return tuple(
            [
                memoryview(values)[: self.batch_size * size].cast(FORMATS[output.dtype])  # type: ignore[call-overload]
                for values, size, output in zip(found, self._sizes, self.outputs)
            ]
        )

    def _can_bind(self, device: tuple[str, int]) -> bool:
        """Whether the graph can read the memory itself, all of it in one pass."""
        all_float32 = all(each.type == "float32" for each in self._model.graph_inputs)
        return device[0] == "cpu" and all_float32 and self._stride >= self.batch_size and self.gives_a_row_each

    def _bind(self) -> _Bound:
        results = [zeros(self._width * size) for size in self._sizes]
        outputs = [
            Tensor.over(memory, shape, output.dtype)
            for output, memory, shape in zip(self.outputs, results, self._shapes)
        ]
        inputs = self._inputs.given(0, self._width)
        run = self._session.prepare(inputs, self._model.output_names, handles(outputs))
        return _Bound(run, results, (inputs, outputs))

    def _run(self, first: int, own: int) -> list[Tensor]:
        return run(self._session, self._inputs.given(first, own), self._model.output_names, self._model.path)

    def _run_whole(self, first: int) -> list[Tensor]:
        """A pass that gives what passes over blank records gave: some operators choose records by their values."""
        found = self._run(first, self._stride)
        for output, tensor, expected in zip(self.outputs, found, self._shapes):
            _, shape = tensor.describe()
            if shape != expected:
                raise ModelError(
                    f"the output {quote(output.name)} has the shape {shape} for {self._width} records, expected {expected}: "
                    "it depends on their values",
                    code="failed_pass",
                    path=self._model.path,
                )
        return found

    def _describe(self, name: str, tensor: Tensor, records: int) -> BoundOutput:
        kind, shape = tensor.describe()
        path = self._model.path
        if kind not in FORMATS:
            raise ModelError(
                f"the output {quote(name)} is {kind}; tensors of numbers are served",
                path=path,
                hint="name another output",
            )
        if not shape or shape[0] == 0 or shape[0] % records:
            raise ModelError(
                f"the output {quote(name)} has the shape {shape} for {records} records, not a row for each", path=path
            )
        if 0 in shape:
            raise ModelError(f"the output {quote(name)} has no values: its shape is {shape}", path=path)
        return BoundOutput(name, shape[0] // records, shape[1:], kind)


class _Bound(NamedTuple):
    """A pass over memory that the graph reads and writes itself, made ready once.

    Attributes:
        run: makes the pass; raises OnnxRuntimeError.
        results: what it writes, in bytes.
        held: the tensors over all memory.
    """

    run: Callable[[], None]
    results: list[memoryview]
    held: object
