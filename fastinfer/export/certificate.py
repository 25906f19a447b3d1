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
from ..models.certificate import FORMAT, Certificate
from ..models.choice import ChoiceKeywords
from ..models.module import Model
from ..models.onnx import OnnxModel
from ..runtimes.base import Executor, Runtime
from .parting import CPU
from .running import Array, Difference, compare, predict, same_bits

DEFAULT_TOLERANCE = 1e-5
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
class Result:
    """What a comparison has found.

    Attributes:
        differences: one for each output.
        batches: how onnxruntime's rows were found to depend on their batch.
        expected: MXNet's answers.
    """

    differences: tuple[Difference, ...]
    batches: dict[str, Any]
    expected: list[Array] = field(repr=False)

    def fails(self, tolerance: float) -> list[str]:
        """Why it cannot be certified; empty if it can."""
        return [reason for each in self.differences for reason in refusals(each, tolerance)]


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


def compare_engines(
    model: Model, onnx: OnnxModel, rows: NDArray[np.float32], reference: Runtime, other: Runtime
) -> Result:
    """Runs both over rows: MXNet each record alone, as SageMaker's container does, and onnxruntime at several batch sizes.

    Raises:
        ModelError: one of them cannot run its model.
    """
    executor = reference.bind(model, CPU, ROWS_AT_A_TIME, row_wise=True)
    expected = predict(executor, rows)
    alone = other.bind(onnx, CPU, 1)
    found = predict(alone, rows)
    names = [output.name for output in executor.outputs]
    differences = tuple(compare(name, *arrays) for name, *arrays in zip(names, expected, found))
    return Result(differences, _compare_batches(other, onnx, rows, found), expected)


def _compare_batches(
    runtime: Runtime, onnx: OnnxModel, rows: NDArray[np.float32], alone: list[Array]
) -> dict[str, Any]:
    """At which batch sizes every record has the bits that it has alone, wherever it is in the batch."""
    same: list[dict[str, Any]] = []
    other: list[dict[str, Any]] = []
    for size in BATCH_SIZES:
        if size > max(1, len(rows)):
            continue
        executor = runtime.bind(onnx, CPU, size)
        places = sorted({0, 1 % size, size // 2, size - 1})
        fits = executor.gives_a_row_each and all(
            same_bits(_from_place(executor, rows, place), alone) for place in places
        )
        (same if fits else other).append({"batch_size": size, "first_record_at": places})
    return {"same_bits_as_alone": same, "other_bits": other}


def _from_place(executor: Executor, rows: NDArray[np.float32], place: int) -> list[Array]:
    """Predictions of rows, of which the first is at a place within its batch; blank records are before it."""
    blank = np.zeros((place, rows.shape[1]), np.float32)
    found = predict(executor, np.concatenate([blank, rows]))
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
            "reference": "MXNet, each record alone",
            "batches": result.batches,
            "stored": _store(rows, result.expected),
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
