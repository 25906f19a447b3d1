"""What mxnet finds when it is imported: names that NumPy and Python had, for as long as it takes, and no longer."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types

import numpy as np
import pytest

from fastinfer.runtimes.mxnet import compat
from tests.networks import mx


def test_numpy_has_its_own_names_only_after_the_import() -> None:
    assert isinstance(mx.nd, types.ModuleType)
    assert "float" not in vars(np)
    assert ("PZERO" in vars(np)) == (int(np.__version__.partition(".")[0]) < 2)
    assert vars(importlib.import_module("mxnet.numpy.multiarray"))["_np"].float is float


def test_mxnets_arrays_work_after_the_import() -> None:
    array = mx.np.array([3.0, 1.0, 2.0])
    assert array[array > mx.np.array([1.5])].asnumpy().tolist() == [3, 2]
    assert mx.np.array([True, False], dtype=bool).dtype == bool
    assert np.any(array > 2)
    assert mx.np.in1d(array, mx.np.array([1.0])).asnumpy().tolist() == [False, True, False]


def test_removed_functions_compute_what_they_did() -> None:
    names = compat._removed_names(np)
    matrix = np.array([[3, 1], [2, 4]])
    assert names["in1d"](matrix, [1, 2]).tolist() == [False, True, True, False]
    assert names["msort"](matrix).tolist() == [[2, 1], [3, 4]]
    assert names["alltrue"](matrix, axis=0).tolist() == [True, True]
    assert names["sometrue"](matrix > 3, axis=0).tolist() == [False, True]
    assert names["product"](matrix) == 24
    assert names["round_"](1.26, 1) == 1.3
    assert np.signbit(names["NZERO"])
    assert not np.signbit(names["PZERO"])
    # mxnet files its own functions under those of NumPy: two names must not be one object.
    assert names["sometrue"] is not np.any
    with pytest.raises(RuntimeError, match="has removed pmt"):
        names["pmt"](0.1, 12, 100)


@pytest.mark.parametrize("version", ["1.21.0", "1.26.4", "2.1.0rc1", "2.5.5", "10.0"])
def test_the_stand_in_compares_versions_by_number(version: str) -> None:
    version_of = vars(compat._distutils()["distutils.version"])["StrictVersion"]
    assert version_of(version) >= version_of("1.6.0")
    assert not version_of(version) < version_of("1.17")
    assert version_of("1.9") < version_of("1.21.0")


def test_the_finder_is_there_once_and_finds_mxnet_only() -> None:
    compat.install()
    compat.install()
    finders = [finder for finder in sys.meta_path if isinstance(finder, compat._Finder)]
    assert finders == sys.meta_path[:1]
    assert finders[0].find_spec("json", None) is None
    assert finders[0].find_spec("mxnet.ndarray", None) is None


def test_the_module_has_its_own_loader() -> None:
    assert isinstance(mx.nd, types.ModuleType)
    module = sys.modules["mxnet"]
    assert isinstance(module.__loader__, importlib.machinery.SourceFileLoader)
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__


def test_an_import_that_fails_leaves_nothing_behind() -> None:
    seen = []

    class Failing(importlib.machinery.SourceFileLoader):
        def exec_module(self, _module: types.ModuleType) -> None:
            seen.append((np.PZERO, importlib.import_module("distutils.version").StrictVersion))
            raise ImportError("no libgomp")

    names = set(vars(np))
    with pytest.raises(ImportError, match="no libgomp"):
        compat._Loader(Failing("mxnet", "mxnet.py")).exec_module(types.ModuleType("mxnet"))
    assert seen
    assert set(vars(np)) == names
    if sys.version_info >= (3, 12):
        assert sys.modules.get("distutils.version") is not seen[0][1]
