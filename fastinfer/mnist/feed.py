"""The inputs of Module.fit: batches of images in a seeded order, and an accuracy that does not block the engine.

The results are those of mxnet's own `NDArrayIter(shuffle=True)` and `Accuracy`, bit for bit, at lower cost:

- NDArrayIter copies the whole data set into a new order before every epoch; here an operator that runs in parallel with
  the training gathers the rows of a batch from one array.
- Accuracy waits for the outputs of every batch before the next one starts; here a batch is counted when the engine is
  :data:`BATCHES_AHEAD` batches ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Enough to keep the engine busy; bounded, because each waiting batch holds its rows in memory.
BATCHES_AHEAD = 16
# The label of a row that only fills up the last batch of a validation.
PADDING_LABEL = -1


class _Order:
    """The order of the rows in each epoch, as `NDArrayIter` has it.

    It shuffles one index again and again, and applies it to rows that are already in the last order.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self._random = np.random.RandomState(seed)
        self._index = np.arange(rows)
        self._order = np.arange(rows)

    def next_epoch(self) -> NDArray[np.intp]:
        self._random.shuffle(self._index)
        self._order = self._order[self._index]
        return self._order


class Batches:
    """An iterator over batches of images scaled to 0…1, as Module.fit and Module.score expect them.

    A last batch that is not full is filled up with the first rows of the same order, as `NDArrayIter` pads.

    Args:
        mx: mxnet.
        images: uint8 (n, rows, columns).
        labels: uint8 (n,).
        batch_size: rows per batch.
        seed: of the order, which is new in every epoch; None keeps the order of the rows and marks the rows that fill up
            the last batch, so that an accuracy counts every image once.
        epochs_done: the number of epochs whose orders are skipped, so that a resumed training continues unchanged.
    """

    def __init__(
        self,
        mx: Any,
        images: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        batch_size: int,
        seed: int | None = None,
        epochs_done: int = 0,
    ) -> None:
        self._mx = mx
        self._labels = labels.astype(np.float32)
        self._images = _to_ndarray(mx, np.divide(images[:, np.newaxis], np.float32(255), dtype=np.float32))
        self.batch_size = batch_size
        self._batches = -(-len(labels) // batch_size)
        self._order = None if seed is None else _Order(len(labels), seed)
        self.provide_data = [mx.io.DataDesc("data", (batch_size, *self._images.shape[1:]))]
        self.provide_label = [mx.io.DataDesc("softmax_label", (batch_size,))]
        if self._order is not None:
            for _ in range(epochs_done):
                self._order.next_epoch()
        self.reset()

    def reset(self) -> None:
        """Goes back to the first batch, in the next epoch's order."""
        self._next_batch = 0
        rows = np.arange(len(self._labels)) if self._order is None else self._order.next_epoch()
        order = np.resize(rows, self._batches * self.batch_size)
        labels = self._labels[order]
        if self._order is None:
            labels[len(self._labels) :] = PADDING_LABEL
        self._epoch_order = _to_ndarray(self._mx, order.astype(np.int32))
        self._epoch_labels = _to_ndarray(self._mx, labels)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._next_batch == self._batches:
            raise StopIteration
        first = self._next_batch * self.batch_size
        last = first + self.batch_size
        self._next_batch += 1
        rows = self._mx.nd.take(self._images, self._epoch_order[first:last])
        return self._mx.io.DataBatch([rows], [self._epoch_labels[first:last]], pad=max(0, last - len(self._labels)))


def _to_ndarray(mx: Any, values: NDArray[Any]) -> Any:
    # mx.nd.array asks scipy, where there is one, for a name that scipy warns about.
    array = mx.nd.empty(values.shape, dtype=values.dtype)
    array[:] = values
    return array


def make_accuracy(mx: Any) -> Any:
    """A new `mxnet.metric.Accuracy` whose values are those of mxnet's, and whose update does not wait for the engine.

    Rows with a negative label are not counted.
    """
    accuracy: Any = mx.metric.Accuracy

    class DeferredAccuracy(accuracy):  # type: ignore[misc]
        def __init__(self) -> None:
            self._waiting: deque[tuple[Any, Any]] = deque()
            super().__init__()

        def update(self, labels: list[Any], preds: list[Any]) -> None:
            # The next forward overwrites the outputs; their argmax is a new array.
            self._waiting.extend(zip(labels, [mx.nd.argmax(outputs, axis=1) for outputs in preds]))
            while len(self._waiting) > BATCHES_AHEAD:
                self._count()

        def get(self) -> Any:
            self._count_all()
            return super().get()

        def get_global(self) -> Any:
            self._count_all()
            return super().get_global()

        def reset(self) -> None:
            self._waiting.clear()
            super().reset()

        def reset_local(self) -> None:
            self._count_all()
            super().reset_local()

        def _count_all(self) -> None:
            while self._waiting:
                self._count()

        def _count(self) -> None:
            label, predicted = (array.asnumpy() for array in self._waiting.popleft())
            correct, counted = int((label == predicted).sum()), int((label >= 0).sum())
            self.sum_metric += correct
            self.global_sum_metric += correct
            self.num_inst += counted
            self.global_num_inst += counted

    return DeferredAccuracy()
