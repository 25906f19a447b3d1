"""Rows through a bound graph; differences of two arrays."""

from __future__ import annotations

import math

import numpy as np

from fastinfer.export.running import compare, predict, same_bits
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.invariance import probe_rows
from tests import networks
from tests.export.comparing import load


def test_rows_that_do_not_fill_the_batch() -> None:
    model = load(*networks.mlp())
    rows = probe_rows(7, 784)
    runtime = load_runtime("mxnet")
    (alone,) = predict(runtime.bind(model, ("cpu", 0), 1), rows)
    (batched,) = predict(runtime.bind(model, ("cpu", 0), 3), rows)
    assert alone.shape == (7, 10)
    np.testing.assert_allclose(alone, batched, atol=1e-6)


def test_where_the_largest_difference_is() -> None:
    expected = np.array([[1, 2], [0.5, 100], [0, 0]], np.float32)
    found = expected.copy()
    found[0, 1] = np.nextafter(np.float32(2), np.float32(3))
    found[1, 0] += 0.25
    difference = compare("out", expected, found)
    assert (difference.row, difference.value, difference.expected, difference.found) == (1, 0, 0.5, 0.75)
    assert (difference.absolute, difference.relative) == (0.25, 0.0025)
    assert difference.ulp == 1 << 22
    assert (difference.labels, difference.changed) == (3, ())


def test_labels_that_change() -> None:
    expected = np.array([[1, 2], [2, 1]], np.float32)
    assert compare("out", expected, expected[:, ::-1]).changed == (0, 1)
    assert compare("out", expected[:, :1], expected[:, 1:]).labels == 0


def test_the_same() -> None:
    values = np.array([[1, math.inf, math.nan]], np.float32)
    difference = compare("out", values, values.copy())
    assert (difference.absolute, difference.relative, difference.ulp, difference.row) == (0, 0, 0, None)


def test_a_number_that_is_none_is_as_far_as_can_be() -> None:
    expected = np.array([[1, 2, 3]], np.float32)
    for wrong in (math.nan, math.inf):
        found = expected.copy()
        found[0, 1] = wrong
        assert compare("out", expected, found).relative == math.inf
        assert compare("out", found, expected).relative == math.inf


def test_a_single_value_may_be_the_small_rest_of_large_terms() -> None:
    expected = np.array([[10], [20], [1e-6]], np.float32)
    found = expected + np.float32(1e-6)
    assert compare("out", expected, found).relative < 1e-6


def test_values_of_both_signs_are_counted_over_zero() -> None:
    tiny = np.array([[np.nextafter(np.float32(0), np.float32(1))]])
    assert compare("out", tiny, -tiny).ulp == 2


def test_bits() -> None:
    zeros = np.zeros(2, np.float32)
    assert same_bits([zeros], [zeros.copy()])
    assert not same_bits([zeros], [-zeros])
