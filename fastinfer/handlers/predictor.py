"""Requests to answers, as SageMaker's MXNet container gives them: decode, predict, encode.

The rules are the container's for a saved Module, without its server: a CSV body counts by its total number of values and
takes the model's shape; JSON and NPY bodies keep their own. Three things are refused that the container accepts: JSON's
``null`` (it becomes NaN there), numbers in JSON strings, and pickled, complex or over-long NPY.

>>> from fastinfer import Predictor
>>> predictor = Predictor("model.tar.gz")  # doctest: +SKIP
>>> predictor.answer(b"0.0,0.5,1.0\\n", "text/csv")  # doctest: +SKIP
(b'[[0.1, 0.9]]', 'application/json')
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..codecs.content_types import (
    CSV,
    JSON,
    JSONLINES,
    check_rows,
    choose_accepted,
    decode_rows,
    encode_predictions,
    find_content_type,
)
from ..errors import ModelError
from ..models.load import is_loaded, load_any_model
from ..models.module import find_model
from ..options import Options, parse_device
from ..runtimes import load_runtime, runtime_of
from ..runtimes.batch_size import choose_batching
from ..runtimes.refused import refusal
from .graphs import Graphs, OtherShapes
from .request import Answer, Request, unwrap

if TYPE_CHECKING:
    from ..models.load import AnyModel


# A body of CSV and the shape of a row to an array of rows; raises InputError.
ReadCsv = Callable[[bytes, "tuple[int, ...]"], Any]


class PredictorKeywords(TypedDict, total=False):
    """How a :class:`Predictor` computes, as its keywords, for those that pass them on."""

    exact: bool
    batch_size: int | None
    device: str
    threads: int
    divide: bool
    runtime: str | None
    read_csv: ReadCsv | None


class Predictor:
    """Answers requests with a model's predictions. May be used by several threads at a time.

    Args:
        model: folder or tar archive as SageMaker's training saved it, or a loaded :class:`fastinfer.models.module.Model`; None:
            ``$FASTINFER_MODEL``, ``$SM_MODEL_DIR``, else the MNIST model that fastinfer ships.
        exact: True gives the container's bytes: every row is computed as at batch size 1. False computes rows in
            batches, at a size at which a row's bytes depend on that row alone.
        batch_size: rows of one forward pass; None: chosen.
        device: ``cpu``, ``gpu``, ``gpu:0,1``.
        threads: how many threads may run the model at the same time, each with its own graph; others wait.
        divide: whether the operators of a lone request may be divided among so many threads; see :attr:`operator_threads`.
        runtime: ``mxnet`` or ``onnx``; None: the one of the model's format.
        read_csv: reads bodies of CSV, as (body, shape of a row) to rows; None: as the container, see :meth:`decode`.

    Attributes:
        model: the loaded model.
        batch_size: the most rows of a forward pass.
        output_shape: shape of one row's prediction, () for a scalar; of the first of several outputs.
        rows: how many rows the prediction of a record has; 1 for most models.
        operator_threads: among how many threads operators are divided for fewer records than that, where nothing else is
            computed; 1: they are not, since the model is little work, or its bits would change, or it gains little.

    Raises:
        ModelError: the model cannot be used.
        ConfigError: an option is wrong.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | AnyModel | None = None,
        *,
        exact: bool = False,
        batch_size: int | None = None,
        device: str = "cpu",
        threads: int = 1,
        divide: bool = True,
        runtime: str | None = None,
        read_csv: Callable[[bytes, tuple[int, ...]], Any] | None = None,
    ) -> None:
        self._read_csv = read_csv
        options = Options(exact=exact, batch_size=batch_size, device=device, workers=threads, runtime=runtime)
        self.model: AnyModel = model if is_loaded(model) else load_any_model(find_model(model)[0])
        self._runtime = load_runtime(runtime_of(self.model, runtime))
        self._devices = parse_device(options.device)
        batching = choose_batching(self._runtime, self.model, options)
        self.batch_size, self._invariant = batching.pass_rows, batching.invariant
        self._graphs = Graphs(
            self._runtime,
            self.model,
            self._devices,
            threads,
            batching,
            options if divide and not batching.varies else None,
        )
        self.output_shape, self.rows = self._graphs.output_shape, self._graphs.rows
        self.operator_threads = self._graphs.operator_threads
        self._flattens = self.model.flattens
        self._others = OtherShapes(self._runtime, self.model, self._devices, row_wise=batching.row_wise)

    def answer(self, body: bytes | str, content_type: str = CSV, accept: str | None = JSON) -> tuple[bytes, str]:
        """The answer to one request, and its content type.

        Args:
            body: the request's body.
            content_type: what it is; see :meth:`decode`.
            accept: what the answer may be; see :meth:`encode`.

        Raises:
            InputError: see :meth:`decode`, :meth:`predict` and :meth:`encode`.
        """
        return unwrap(self.answer_many([Request(body, content_type, accept)]))

    def answer_many(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        """The answers to several requests, in order. Rows of the model's shape share batches.

        An error belongs to one request and takes the place of its answer; one of the model itself belongs to all that
        shared a batch.
        """
        results: dict[int, Answer | Exception] = {}
        together: list[tuple[int, str, NDArray[np.float32]]] = []
        for index, (body, content_type, accept) in enumerate(requests):
            try:
                accepted = choose_accepted(accept)
                rows = self.decode(body, content_type)
                if self._has_own_shape(rows):
                    together.append((index, accepted, rows.reshape(len(rows), -1)))
                else:
                    results[index] = self._encode(self.predict(rows), accepted)
            except Exception as error:
                results[index] = error
        try:
            predictions, refused = self._predict_together([rows for _, _, rows in together])
        except Exception as error:
            results.update({index: error for index, _, _ in together})
        else:
            first = 0
            for index, accepted, rows in together:
                try:
                    _check_refused(refused, first, len(rows), requests[index])
                    found = predictions[first * self.rows : (first + len(rows)) * self.rows]
                    results[index] = self._encode(found, accepted)
                except Exception as error:
                    results[index] = error
                first += len(rows)
        try:
            return [results[index] for index in range(len(requests))]
        finally:
            # An error's traceback refers to this frame: if the frame referred to the errors, the bodies would stay in memory.
            del results

    def decode(self, body: bytes | str, content_type: str | None = CSV) -> NDArray[np.float32]:
        """A body's rows.

        Args:
            body: bytes, or text that is encoded as UTF-8.
            content_type: ``text/csv``, ``application/json`` or ``application/x-npy``, without parameters.

        Returns:
            float32 array, C-contiguous, of shape (rows, ...): the model's shape for CSV, the body's own for JSON and NPY.

        Raises:
            InputError: ``unsupported_content_type``; ``empty_input``; for CSV ``expected_number``, ``empty_cell`` and
                ``unequal_line``, with line and column, and ``partial_row``; ``bad_json``; ``bad_npy``; ``bad_shape`` for a
                single value; ``bad_values`` where JSON or NPY is not a rectangle of numbers.
        """
        if self._read_csv is not None and find_content_type(content_type) == CSV:
            rows: NDArray[np.float32] = self._read_csv(
                body.encode() if isinstance(body, str) else body, self.model.row_shape
            )
            check_rows(rows)
            return rows
        return decode_rows(body, content_type, self.model.row_shape)

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The predictions of any number of rows.

        Args:
            rows: array of shape (rows, ...) whose rows have the model's shape, or another that its graph accepts.

        Returns:
            array of shape (rows, ...), of the type of the model's output, but float32 for float16; where the model gives
            several rows for each record, so many times as many. Of several outputs, a structured array with a field for each.

        Raises:
            InputError: ``bad_shape`` where the graph does not accept the rows; ``empty_input`` where there are none;
                ``refused_record`` where an operator of the model refuses the values of one.
        """
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        check_rows(rows)
        predictions, refused = self._run(rows)
        _check_refused(refused, 0, len(rows))
        return predictions

    def encode(self, predictions: NDArray[Any], accept: str | None = JSON) -> tuple[bytes, str]:
        """Predictions as the container's encoder prints them, and their content type.

        Args:
            predictions: array of shape (rows, ...).
            accept: ``application/json``, ``text/csv`` or ``application/x-npy``; or several types with commas between
                them, of which the first supported one is chosen; None, an empty string and ``*/*`` mean JSON.

        Raises:
            InputError: ``unsupported_accept``, also where CSV cannot hold the predictions.
        """
        answer = self._encode(np.asarray(predictions), choose_accepted(accept))
        return answer.body, answer.content_type

    def _encode(self, predictions: NDArray[Any], accepted: str) -> Answer:
        return Answer(encode_predictions(predictions, accepted), accepted, len(predictions) // self.rows)

    def _has_own_shape(self, rows: NDArray[np.float32]) -> bool:
        """Whether rows can run, and share batches, on the graph that is bound for the model's own shape."""
        row_shape = rows.shape[1:]
        if row_shape == self.model.row_shape:
            return True
        return self._flattens and len(row_shape) > 0 and math.prod(row_shape) == self.model.row_values

    def _predict_together(self, parts: Sequence[NDArray[np.float32]]) -> tuple[NDArray[Any], Mapping[int, ModelError]]:
        """The predictions of flat rows of the model's shape, none for no rows; and why rows are refused, by their numbers."""
        if not parts:
            return np.empty((0, *self.output_shape), np.float32), {}
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return self._run(rows.reshape(-1, *self.model.row_shape))

    def _run(self, rows: NDArray[np.float32]) -> tuple[NDArray[Any], Mapping[int, ModelError]]:
        graphs = self._graphs if self._has_own_shape(rows) else self._others.graphs(rows.shape[1:])
        return graphs.run(rows.reshape(rows.shape[0], -1), blank=not self._invariant)


def _check_refused(refused: Mapping[int, ModelError], first: int, count: int, request: Request | None = None) -> None:
    """Raises InputError (``refused_record``) where one of `count` rows from number `first` on is refused.

    It names the row's line where each line of the request's body is a row; else its number.
    """
    number = next((each for each in range(first, first + count) if each in refused), None) if refused else None
    if number is None:
        return
    line = None
    if request is not None and find_content_type(request.content_type) in (CSV, JSONLINES):
        body = request.body.encode() if isinstance(request.body, str) else request.body
        lines = [index for index, text in enumerate(body.splitlines(), 1) if text.strip(b" \t")]
        line = lines[number - first] if len(lines) == count else None
    is_only = line is not None or count == 1
    raise refusal(refused[number], None if is_only else number - first + 1).at(line=line)
