"""Finds a batch size at which a row's bits depend on that row alone.

oneDNN chooses its kernels by the shape of the batch, and at many sizes the last rows of a batch are computed by other code than
the first: the same record gives other last bits at another place. At some sizes that does not happen. The probe finds one
by running the model: the same rows at other places and beside other neighbours must give the same bits. Then outputs do
not depend on how records are divided into batches: not on workers, order, sharding or a resumed run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError
from ..storage.atomic import make_folder, replacing
from .base import Executor
from .views import predict_all, rows_of

# Tried in this order: sizes that were invariant on AVX2 and AVX-512; the cheapest per row in benchmarks/bench_forward.py
# first; the smaller ones are for models with large records.
CANDIDATES = (480, 240, 144, 400, 96, 48, 16)

# A batch's input should fit into the caches, and must not fill the memory if records are large.
INPUT_BYTES_LIMIT = 8 << 20


def find_batch_size(bind: Callable[[int], Executor], row_values: int) -> int | None:
    """The first invariant candidate; None if there is none.

    Args:
        bind: returns an executor of a batch size.
        row_values: values of one record.
    """
    for batch_size in CANDIDATES:
        fits = batch_size * row_values * 4 <= INPUT_BYTES_LIMIT or batch_size == CANDIDATES[-1]
        if fits and is_invariant(bind(batch_size)):
            return batch_size
    return None


def cached(depends_on: dict[str, Any], find: Callable[[], int | None]) -> int | None:
    """What ``find`` returns; the result is kept in the user's cache folder, under what it depends on."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:32]
    path = Path(base, "fastinfer", "batch-size", f"{name}.json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["depends_on"] == json.loads(json.dumps(depends_on)) and kept["batch_size"] in (*CANDIDATES, None):
            batch_size: int | None = kept["batch_size"]
            return batch_size
    batch_size = find()
    # If it cannot be kept, it is found again next time.
    with contextlib.suppress(OSError, OutputError):
        make_folder(path.parent)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"depends_on": depends_on, "batch_size": batch_size}), encoding="utf-8")
    return batch_size


def is_invariant(executor: Executor) -> bool:
    """Whether a row's prediction has the same bits at every place in the batch and beside other rows."""
    if not executor.gives_a_row_each:
        return False
    rows = _probe_inputs(executor)
    reference = _run(executor, rows)
    size = executor.batch_size
    for shift in sorted({1, 3, size // 2, size - 1}):
        moved = _run(executor, [np.roll(each, shift, axis=0) for each in rows])
        if not _same_bits([np.roll(each, -shift, axis=0) for each in moved], reference):
            return False
    # Other neighbours: every second row is blank, as in the last batch of a run.
    blanked = [each.copy() for each in rows]
    for each in blanked:
        each[1::2] = 0
    return _same_bits([each[::2] for each in _run(executor, blanked)], [each[::2] for each in reference])


def find_smaller(bind: Callable[[int], Executor], large: Executor) -> int | None:
    """The smallest candidate at which rows have the same bits as on a larger, invariant graph; None if there is none.

    For requests of a few rows, which then need not wait for a whole batch.

    Args:
        bind: returns an executor of a batch size.
        large: the larger graph.
    """
    rows = _probe_inputs(large)
    reference = _run(large, rows)
    for size in sorted(size for size in CANDIDATES if size < large.batch_size):
        small = bind(size)
        if is_invariant(small):
            firsts = range(0, large.batch_size - size + 1, size)
            parts = [_run(small, [each[first : first + size] for each in rows]) for first in firsts]
            found = [np.concatenate(each) for each in zip(*parts)]
            if _same_bits(found, [each[: size * len(firsts)] for each in reference]):
                return size
    return None


def probe_rows(count: int, values: int) -> NDArray[np.float32]:
    """Rows for the probe, of several magnitudes, so that a softmax at the end is not saturated for all of them."""
    random = np.random.RandomState(20090601)
    rows = random.uniform(-1, 1, (count, values)).astype(np.float32)
    rows[::2] = np.abs(rows[::2])
    scaled: NDArray[np.float32] = rows * np.exp2(-(np.arange(count) % 12)).astype(np.float32)[:, None]
    return scaled


def _probe_inputs(executor: Executor) -> list[NDArray[np.float32]]:
    """Rows for each input of a graph."""
    return [probe_rows(*rows_of(executor, number).shape) for number in range(len(executor.inputs))]


def _run(executor: Executor, rows: list[NDArray[np.float32]]) -> list[NDArray[Any]]:
    """The predictions of all outputs, with as many rows each as there are records."""
    for number, each in enumerate(rows):
        rows_of(executor, number)[:] = each
    return [each.reshape(executor.batch_size, -1) for each in predict_all(executor)]


def _same_bits(left: list[NDArray[Any]], right: list[NDArray[Any]]) -> bool:
    return all(each.tobytes() == other.tobytes() for each, other in zip(left, right))
