"""Batches and accuracy: those of mxnet's own iterator and metric, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastinfer.mnist.feed import Batches, make_accuracy

# mxnet's own iterator and mx.nd.array, which only the tests use, ask scipy for a name that it warns about.
uses_mxnets_arrays = pytest.mark.filterwarnings("ignore:.*scipy.sparse.csr:DeprecationWarning")


@uses_mxnets_arrays
def test_the_order_and_the_metric_are_mxnets_own(mx: Any) -> None:
    images = np.arange(7 * 4, dtype=np.uint8).reshape(7, 2, 2)
    labels = np.arange(7, dtype=np.uint8)
    np.random.seed(5)
    theirs = mx.io.NDArrayIter(images[:, np.newaxis].astype(np.float32) / 255, labels, 3, shuffle=True)
    ours = Batches(mx, images, labels, 3, seed=5)
    resumed = Batches(mx, images, labels, 3, seed=5, epochs_done=2)
    for epoch in range(4):
        expected = [(batch.data[0].asnumpy().tolist(), batch.label[0].asnumpy().tolist()) for batch in theirs]
        found = [(batch.data[0].asnumpy().tolist(), batch.label[0].asnumpy().tolist()) for batch in ours]
        assert found == expected
        assert len(found) == 3
        if epoch >= 2:
            assert [batch.label[0].asnumpy().tolist() for batch in resumed] == [label for _, label in expected]
            resumed.reset()
        theirs.reset()
        ours.reset()


@uses_mxnets_arrays
def test_the_deferred_accuracy_counts_as_mxnets_and_skips_padding(mx: Any) -> None:
    random = np.random.RandomState(3)
    ours, theirs = make_accuracy(mx), mx.metric.Accuracy()
    for step in range(40):
        label, output = mx.nd.array(random.randint(0, 3, 10)), mx.nd.array(random.rand(10, 3))
        ours.update([label], [output])
        theirs.update([label], [output])
        if step % 15 == 14:
            assert ours.get_name_value() == theirs.get_name_value()
            ours.reset_local()
            theirs.reset_local()
    assert ours.get_global_name_value() == theirs.get_global_name_value()
    ours.reset()
    ours.update([mx.nd.array([0, 1, -1, -1])], [mx.nd.array([[1, 0], [1, 0], [1, 0], [0, 1]])])
    assert ours.get() == ("accuracy", 0.5)
