"""ONNX Runtime as a runtime: models in ONNX on the CPU, and on a GPU where the installed build has its CUDA provider.

A session belongs to a model and a device. Its graph is open to any batch size and may be run by several threads at a time,
each in memory of its own, so all executors of a process share one.
"""

from __future__ import annotations

import gc
import math
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, ModelError, quote
from ..extras import install_command
from ..models.onnx import OnnxInput, OnnxModel
from .base import AS_IT_IS, BoundInput, BoundOutput, DenseLayers
from .number_types import limits, misfits

if TYPE_CHECKING:
    from ..models.load import AnyModel

CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"
# One thread a session: the workers are the parallelism.
SESSION_SETTINGS = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
# Products of float32 in full, not in TF32, whose 10 bits of mantissa change labels.
CUDA_OPTIONS = {"use_tf32": "0"}
# What goes wrong is an exception as well; a line of its own on stderr would be said twice.
FATAL_ONLY = 4


class OnnxRuntime:
    """ONNX Runtime.

    Args:
        cpu_isa: None; it has no setting for the instruction set.

    Attributes:
        advice: None.

    Raises:
        ConfigError: ``onnxruntime_missing``, ``onnxruntime_broken``; an instruction set is asked for.
    """

    advice: str | None = None

    def __init__(self, cpu_isa: str | None = None) -> None:
        if cpu_isa is not None:
            raise ConfigError(
                f"the instruction set cannot be {cpu_isa}: onnxruntime always uses the best of the CPU",
                hint="leave it out; the CPU's name is kept in the run's record",
            )
        self._onnxruntime = load_onnxruntime()
        self._sessions: weakref.WeakValueDictionary[tuple[str, str, int], Any] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def identity(self) -> dict[str, Any]:
        return {"onnxruntime": self._onnxruntime.__version__, "session": {**SESSION_SETTINGS, **CUDA_OPTIONS}}

    def value_bytes(self, model: AnyModel) -> list[int]:
        # What is inside the graph is not known here.
        return [4 * math.prod(each.shape) for each in model.inputs]

    def held_batch(self, model: AnyModel) -> int:  # noqa: ARG002
        return 1  # one that holds another size is padded by the executor

    def outputs_of(self, model: AnyModel, batch_size: int) -> tuple[BoundOutput, ...]:
        return self.bind(model, ("cpu", 0), batch_size).outputs

    def check_devices(self, devices: Sequence[tuple[str, int]]) -> None:
        available = self._onnxruntime.get_available_providers()
        for kind, index in devices:
            if kind == "gpu" and CUDA_PROVIDER not in available:
                raise ConfigError(
                    f"there is no gpu:{index}: onnxruntime {self._onnxruntime.__version__} here is a build without CUDA "
                    f"(it has {', '.join(available)})",
                    code="no_such_device",
                    hint="pip uninstall onnxruntime, then pip install onnxruntime-gpu, with CUDA and cuDNN as it needs them",
                )

    def bind(
        self,
        model: AnyModel,
        device: tuple[str, int],
        batch_size: int,
        *,
        row_wise: bool = False,
        dense: DenseLayers = AS_IT_IS,  # noqa: ARG002
    ) -> OnnxExecutor:
        if not isinstance(model, OnnxModel):
            raise ConfigError(
                f"{model.path} is a model of MXNet, which onnxruntime cannot run",
                code="other_format",
                hint="`fastinfer export` writes it as ONNX",
            )
        return OnnxExecutor(self._session(model, device), model, device, batch_size, row_wise=row_wise)

    def _session(self, model: OnnxModel, device: tuple[str, int]) -> Any:
        key = (model.content_digest, *device)
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                session = self._sessions[key] = self._open(model, device)
            return session

    def _open(self, model: OnnxModel, device: tuple[str, int]) -> Any:
        self.check_devices([device])
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = FATAL_ONLY
        for name, value in SESSION_SETTINGS.items():
            options.add_session_config_entry(name, value)
        providers: list[Any] = [CPU_PROVIDER]
        kind, index = device
        if kind == "gpu":
            providers.insert(0, (CUDA_PROVIDER, {"device_id": str(index), **CUDA_OPTIONS}))
        try:
            session = self._onnxruntime.InferenceSession(model.content, options, providers=providers)
        except Exception as error:  # its classes of errors are not public
            raise ModelError(f"onnxruntime cannot load it: {_first_line(error)}", path=model.path) from error
        # It only warns where it cannot start a provider, and takes the CPU.
        if kind == "gpu" and CUDA_PROVIDER not in session.get_providers():
            raise ConfigError(
                f"there is no gpu:{index}: onnxruntime cannot start CUDA on it",
                code="no_such_device",
                hint="look for its libraries (CUDA, cuDNN) and for the GPU with nvidia-smi",
            )
        return session


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
        self, session: Any, model: OnnxModel, device: tuple[str, int], batch_size: int, *, row_wise: bool = False
    ) -> None:
        import numpy as np

        self._session, self._model = session, model
        self.batch_size = batch_size
        # So many records of the memory are given to the graph at a time, in as many of its own.
        self._stride = 1 if row_wise else model.batch or batch_size
        self._width = model.batch or self._stride
        passes = -(-batch_size // self._stride)
        records = (passes - 1) * self._stride + self._width
        self._memory = [np.zeros((records, *each.shape), np.float32) for each in model.graph_inputs]
        self.inputs = tuple(
            BoundInput(each.name, each.shape, array[:batch_size].reshape(-1).data)
            for each, array in zip(model.graph_inputs, self._memory)
        )
        self._starts = [number * self._stride for number in range(passes)]
        self._check_kinds()
        one = model.batch or 1
        alone = self._run([array[:1].repeat(one, axis=0) for array in self._memory])
        self.outputs = tuple(self._describe(name, array, one) for name, array in zip(model.output_names, alone))
        self.gives_a_row_each = True
        self._shapes = [(self._width * output.rows, *output.shape) for output in self.outputs]
        if self._width != one:
            together = self._run([array[: self._width] for array in self._memory])
            self.gives_a_row_each = [array.shape for array in together] == self._shapes
        self._bound = (
            _Bound(session, model, self._memory, self.outputs, self._width, batch_size)
            if self._can_bind(device)
            else None
        )

    def forward(self) -> tuple[memoryview, ...]:
        """See :meth:`fastinfer.runtimes.base.Executor.forward`."""
        import numpy as np

        if self._bound is not None:
            return self._bound.run()
        stride, width = self._stride, self._width
        if len(self._starts) == 1:
            found = self._run_whole([array[:width] for array in self._memory])
        else:
            passes = [self._run_whole(self._part(first)) for first in self._starts]
            found = [
                np.concatenate([part[: stride * output.rows] for part in parts])
                for parts, output in zip(zip(*passes), self.outputs)
            ]
        return tuple(
            _flat(np.ascontiguousarray(array[: self.batch_size * output.rows]))
            for array, output in zip(found, self.outputs)
        )

    def _part(self, first: int) -> list[Any]:
        """What one pass reads; records that are not its own are blank."""
        parts = [array[first : first + self._width] for array in self._memory]
        if self._width > self._stride:
            parts = [part.copy() for part in parts]
            for part in parts:
                part[self._stride :] = 0
        return parts

    def _can_bind(self, device: tuple[str, int]) -> bool:
        """Whether the graph can read the memory itself, all of it in one pass."""
        all_float32 = all(each.type == "float32" for each in self._model.graph_inputs)
        return device[0] == "cpu" and all_float32 and len(self._starts) == 1 and self.gives_a_row_each

    def _run(self, arrays: list[Any]) -> list[Any]:
        given = self._model.graph_inputs
        feed = {each.name: self._converted(each, array) for each, array in zip(given, arrays)}
        try:
            found: list[Any] = self._session.run(list(self._model.output_names), feed)
        except Exception as error:  # its classes of errors are not public
            raise _failed(error, self._model.path) from error
        return found

    def _run_whole(self, arrays: list[Any]) -> list[Any]:
        """A pass that gives what passes over blank records gave: some operators choose records by their values."""
        found = self._run(arrays)
        for output, array, shape in zip(self.outputs, found, self._shapes):
            if array.shape != shape:
                raise ModelError(
                    f"the output {quote(output.name)} has the shape {array.shape} for {self._width} records, expected {shape}: "
                    "it depends on their values",
                    code="failed_pass",
                    path=self._model.path,
                )
        return found

    def _converted(self, given: OnnxInput, array: Any) -> Any:
        """Records in the type that the graph takes."""
        if given.type in ("float32", "float64"):
            return array.astype(given.type, copy=False)
        wrong = misfits(given.type, array)
        if wrong.any():
            least, most = limits(given.type)
            numbers = "numbers" if given.type.startswith("float") else "whole numbers"
            raise ModelError(
                f"the input {quote(given.name)} takes {given.type}: {numbers} from {least:,.0f} to {most:,.0f}, found "
                f"{array[wrong][0]:.9g}",
                code="failed_pass",
                path=self._model.path,
            )
        return array.astype(given.type)

    def _check_kinds(self) -> None:
        kinds = {each.name: each.type for each in self._session.get_outputs()}
        for name in self._model.output_names:
            kind = kinds.get(name, "nothing")
            if not kind.startswith("tensor(") or kind == "tensor(string)":
                raise ModelError(
                    f"the output {quote(name)} is {kind}; tensors of numbers are served",
                    path=self._model.path,
                    hint="name another output",
                )

    def _describe(self, name: str, array: Any, records: int) -> BoundOutput:
        if array.ndim == 0 or array.shape[0] == 0 or array.shape[0] % records:
            raise ModelError(
                f"the output {quote(name)} has the shape {array.shape} for {records} records, not a row for each",
                path=self._model.path,
            )
        if 0 in array.shape:
            raise ModelError(
                f"the output {quote(name)} has no values: its shape is {array.shape}", path=self._model.path
            )
        return BoundOutput(name, array.shape[0] // records, tuple(array.shape[1:]), array.dtype.name)


class _Bound:
    """Memory that a graph reads and writes itself, in one pass.

    Bound once: to hand it over at each pass costs as much as rows of a small model, and more than to copy what it gave.
    """

    def __init__(
        self,
        session: Any,
        model: OnnxModel,
        memory: list[Any],
        outputs: Sequence[BoundOutput],
        width: int,
        batch_size: int,
    ) -> None:
        import numpy as np

        self._session, self._path, self._memory = session, model.path, memory  # the memory is only kept alive
        self._binding = session.io_binding()
        for each, array in zip(model.graph_inputs, memory):
            self._binding.bind_input(each.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        self._results: list[tuple[memoryview, str]] = []
        for output in outputs:
            array = np.empty((width * output.rows, *output.shape), output.dtype)
            self._binding.bind_output(output.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            given = _flat(array[: batch_size * output.rows])
            self._results.append((given.cast("B"), given.format))

    def run(self) -> tuple[memoryview, ...]:
        """A pass, and copies of what it gave; raises ModelError."""
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # its classes of errors are not public
            raise _failed(error, self._path) from error
        return tuple([memoryview(bytearray(each)).cast(kind) for each, kind in self._results])  # type: ignore[call-overload]


def _flat(array: Any) -> memoryview:
    """The memory of a contiguous array; that of float16, for which Python has no type, is of uint16."""
    import numpy as np

    flat: memoryview = (array.view(np.uint16) if array.dtype == np.float16 else array).reshape(-1).data
    return flat


def load_onnxruntime() -> Any:
    """Imports onnxruntime.

    Raises:
        ConfigError: ``onnxruntime_missing``, ``onnxruntime_broken``.
    """
    collects = gc.isenabled()
    gc.disable()  # with NumPy it makes tens of thousands of objects, all of which stay: to look through them is a tenth of it
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise ConfigError(f"onnxruntime cannot be imported: {error}", code="onnxruntime_broken") from error
        raise ConfigError(
            "onnxruntime is not installed", code="onnxruntime_missing", hint=install_command("onnx")
        ) from error
    except (ImportError, OSError) as error:
        raise ConfigError(f"onnxruntime cannot be imported: {error}", code="onnxruntime_broken") from error
    finally:
        if collects:
            gc.enable()
    return onnxruntime


def _failed(error: Exception, path: str) -> ModelError:
    return ModelError(f"onnxruntime cannot run it: {_first_line(error)}", code="failed_pass", path=path)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
