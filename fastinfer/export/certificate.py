"""Makes the certificate of an exported model, and checks it again: both engines run on the same rows, and are compared."""

from __future__ import annotations

import base64
import hashlib
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import machine
from .._version import __version__
from ..errors import ModelError
from ..models.certificate import FORMAT, Certificate
from ..models.choice import ChoiceKeywords
from ..models.module import Model
from ..models.onnx import OnnxModel
from ..runtimes.base import Executor, Runtime
from ..runtimes.invariance import is_invariant
from .parting import CPU
from .running import Array, Difference, compare, cut, predict, same_bits

DEFAULT_TOLERANCE = 1e-5
HELD_BATCH = "held_batch"
PROBE = "probe"

# Copies of the network in MXNet's graph that computes each record alone, as the container does.
ROWS_AT_A_TIME = 8
# Sizes at which onnxruntime's bits are compared with those of one record alone; those up to the number of rows are tried.
BATCH_SIZES = (1, 2, 3, 16, 17, 63, 240, 480)
# What is kept of MXNet's answers, for a check without it.
STORED_BYTES = 64 << 10
# How many changed labels are listed.
LISTED = 20


@dataclass(frozen=True)
class Rows:
    """The rows that are compared.

    Attributes:
        source: ``probe``, or the path that the user named.
        values: float32 array (records, values).
    """

    source: str
    values: NDArray[np.float32] = field(repr=False)

    @property
    def digest(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.values).tobytes()).hexdigest()


@dataclass(frozen=True)
class Reference:
    """MXNet's answers to rows.

    Attributes:
        how: how they were computed.
        names: of the outputs.
        answers: for each output.
    """

    how: str
    names: tuple[str, ...]
    answers: list[Array] = field(repr=False)


@dataclass(frozen=True)
class Result:
    """What a comparison has found.

    Attributes:
        differences: one for each output.
        batches: how onnxruntime's rows were found to depend on their batch.
        reference: MXNet's answers.
    """

    differences: tuple[Difference, ...]
    batches: dict[str, Any]
    reference: Reference

    def fails(self, tolerance: float) -> list[str]:
        """Why it cannot be certified; empty if it can."""
        found = [reason for each in self.differences for reason in refusals(each, tolerance)]
        mixed = self.mixes(tolerance)
        return [*found, *([mixed] if mixed else [])]

    def mixes(self, tolerance: float) -> str | None:
        """How onnxruntime's rows depend on each other; None if they do not."""
        for each in self.batches["other_bits"]:
            if each["relative"] is None:
                return f"a batch of {each['batch_size']} does not give a row for each record"
            if not each["relative"] <= tolerance:
                return (
                    f"in a batch of {each['batch_size']} records influence each other: values differ by "
                    f"{each['relative']:.2g} of the largest of a row from those of the record alone"
                )
        return None


def refusals(difference: Difference, tolerance: float) -> list[str]:
    """Why an output is too far from what was expected."""
    found = []
    if not difference.relative <= tolerance:
        found.append(
            f"{difference.output} differs by {difference.relative:.2g} of the largest value in row {difference.row} "
            f"({difference.expected!r} became {difference.found!r}); {tolerance:g} is allowed"
        )
    if difference.changed:
        rows = ", ".join(map(str, difference.changed[:LISTED]))
        more = ", ..." if len(difference.changed) > LISTED else ""
        found.append(f"{difference.output} gives {len(difference.changed):,} rows another label: {rows}{more}")
    return found


def run_reference(model: Model, rows: NDArray[np.float32], runtime: Runtime) -> Reference:
    """Runs MXNet: each record alone, as SageMaker's container does, or in batches of the size that the graph holds.

    Raises:
        ModelError: it cannot run the model; ``held_batch``.
    """
    held = runtime.held_batch(model)
    executor = runtime.bind(model, CPU, held if held > 1 else ROWS_AT_A_TIME, row_wise=held == 1)
    if held > 1 and not is_invariant(executor, cut(executor, np.resize(rows, (held, rows.shape[1]))), nearly=True):
        raise ModelError(
            f"the graph holds batch size {held}, and the records of a batch influence each other",
            code=HELD_BATCH,
            path=model.path,
            hint="save the graph for batches of any size",
        )
    how = f"MXNet, in batches of {held}" if held > 1 else "MXNet, each record alone"
    return Reference(how, tuple(output.name for output in executor.outputs), predict(executor, rows))


def compare_engines(reference: Reference, onnx: OnnxModel, rows: NDArray[np.float32], runtime: Runtime) -> Result:
    """Runs onnxruntime over the same rows, at several batch sizes, and compares. Raises ModelError where it cannot."""
    found = predict(runtime.bind(onnx, CPU, 1), rows)
    arrays = zip(reference.names, reference.answers, found)
    differences = tuple(compare(name, expected, array) for name, expected, array in arrays)
    return Result(differences, _compare_batches(runtime, onnx, rows, found), reference)


def _compare_batches(
    runtime: Runtime, onnx: OnnxModel, rows: NDArray[np.float32], alone: list[Array]
) -> dict[str, Any]:
    """At which batch sizes every record has the bits that it has alone, wherever it is in the batch; and how far its values are
    from those elsewhere."""
    same: list[dict[str, Any]] = []
    other: list[dict[str, Any]] = []
    for size in BATCH_SIZES:
        if size > max(1, len(rows)):
            continue
        executor = runtime.bind(onnx, CPU, size)
        places = sorted({0, 1 % size, size // 2, size - 1})
        batches: dict[str, Any] = {"batch_size": size, "first_record_at": places}
        if not executor.gives_a_row_each:
            other.append({**batches, "relative": None})
            continue
        found = [_from_place(executor, rows, place) for place in places]
        if all(same_bits(each, alone) for each in found):
            same.append(batches)
        else:
            pairs = (pair for each in found for pair in zip(alone, each))
            other.append({**batches, "relative": max(compare("", *pair).relative for pair in pairs)})
    return {"same_bits_as_alone": same, "other_bits": other}


def _from_place(executor: Executor, rows: NDArray[np.float32], place: int) -> list[Array]:
    """Predictions of rows, of which the first is at a place within its batch; copies of it are before it."""
    before = np.repeat(rows[:1], place, axis=0)
    found = predict(executor, np.concatenate([before, rows]))
    return [each[place * output.rows :] for each, output in zip(found, executor.outputs)]


def make_certificate(
    model: Model,
    onnx: OnnxModel,
    rows: Rows,
    result: Result,
    tolerance: float,
    versions: dict[str, str],
    choice: ChoiceKeywords | None = None,
) -> Certificate:
    """A certificate of what was found. It is for the caller to make none where that :meth:`~Result.fails`."""
    return Certificate(
        {
            "format": FORMAT,
            "onnx": {"sha256": onnx.content_digest, "bytes": len(onnx.content), "opset": onnx.opset},
            "model": {"path": os.path.abspath(model.path), "digest": model.digest, "choice": dict(choice or {})},
            "rows": {"source": rows.source, "records": len(rows.values), "sha256": rows.digest},
            "tolerance": tolerance,
            "outputs": [each.as_dict() for each in result.differences],
            "reference": result.reference.how,
            "batches": result.batches,
            "stored": _store(rows, result.reference.answers),
            "versions": versions,
            "cpu": {"name": machine.cpu_name(), "features": machine.cpu_features()},
        }
    )


def stored_answers(certificate: Certificate) -> list[Array]:
    """MXNet's answers to the first rows."""
    return [_from_json(each) for each in certificate.facts["stored"]["outputs"]]


def stored_rows(certificate: Certificate) -> Array:
    """The rows of these answers."""
    return _from_json(certificate.facts["stored"]["rows"])


def _from_json(array: dict[str, Any]) -> Array:
    return np.frombuffer(base64.b64decode(array["values"]), array["dtype"]).reshape(array["shape"])


def _store(rows: Rows, expected: Sequence[Array]) -> dict[str, Any]:
    """The first rows and the answers to them, as many as do not take much room."""
    each = sum(array.nbytes for array in (rows.values, *expected)) // max(1, len(rows.values))
    count = max(1, min(len(rows.values), STORED_BYTES // max(1, each)))
    outputs = [_as_json(array[: len(array) // len(rows.values) * count]) for array in expected]
    return {"records": count, "rows": _as_json(rows.values[:count]), "outputs": outputs}


def _as_json(array: Array) -> dict[str, Any]:
    values = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "values": values}


def versions_of(mxnet: str, onnxruntime: str) -> dict[str, str]:
    """What took part."""
    import onnx

    return {
        "fastinfer": __version__,
        "mxnet": mxnet,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
