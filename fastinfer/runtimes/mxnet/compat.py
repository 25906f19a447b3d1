"""Lets ``import mxnet`` work on Pythons and NumPys that are newer than MXNet 1.9.1.

Its Python package reads names that NumPy has removed since 1.20, and ``distutils.version``, which Python 3.12 has no more.
:func:`install` puts a finder before Python's own: it has ``mxnet`` imported as ever, with these names there. They are taken
out of NumPy again after the import, because other packages look for them to tell an old NumPy. MXNet's own modules keep them.

Whoever imports mxnet after :func:`install` is served: this package, a model's serving code, a training script.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:  # importlib.abc takes longer to import than all of this
    from importlib.abc import Loader  # pyright: ignore[reportAttributeAccessIssue]
    from importlib.machinery import ModuleSpec

# From this Python on there are no wheels of the NumPy that mxnet asks for: it is installed without its requirements.
FIRST_WITHOUT_NUMPY_1 = (3, 13)

# Removed by NumPy 1.24. NumPy 2 has another `bool`, which is left as it is.
_ALIASES = {"bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str}
# Removed by NumPy 2.
_CONSTANTS = {
    "PZERO": 0.0,
    "NZERO": -0.0,
    "PINF": float("inf"),
    "NINF": float("-inf"),
    "NAN": float("nan"),
    "NaN": float("nan"),
    "Inf": float("inf"),
}
_RENAMED = {"alltrue": "all", "sometrue": "any", "product": "prod", "round_": "round", "trapz": "trapezoid"}
# Removed by NumPy 1.20, which has left functions that say so; NumPy 2 has removed these as well.
_GONE = ("mirr", "npv", "pmt", "ppmt", "pv", "rate")


def install() -> None:
    """Has every later ``import mxnet`` of this process find what it needs. Without effect where this has been done."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def install_hint() -> str:
    """The command by which this Python gets mxnet, to be shown to the user."""
    if sys.version_info < FIRST_WITHOUT_NUMPY_1:
        return "pip install 'mxnet==1.9.1' 'numpy<2'"
    return "pip install --no-deps 'mxnet==1.9.1'"


class _Finder:
    """Finds mxnet where the other finders do."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "mxnet":
            return None
        for finder in sys.meta_path:
            spec = None if isinstance(finder, _Finder) else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """Runs mxnet among the names of its time; afterwards the module has its own loader, as if this one had not been."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> types.ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with warnings.catch_warnings():
            # Its own sources use what Python, NumPy and distutils deprecate; nobody who runs a model can act on that.
            for category in (DeprecationWarning, FutureWarning, SyntaxWarning):
                warnings.filterwarnings("ignore", category=category)
            with _names_of_its_time():
                self._loader.exec_module(module)


@contextlib.contextmanager
def _names_of_its_time() -> Iterator[None]:
    import numpy

    missing = {name: value for name, value in _removed_names(numpy).items() if name not in vars(numpy)}
    modules = {} if _has_distutils() else _distutils()
    modules = {name: module for name, module in modules.items() if name not in sys.modules}
    names: dict[str, Any] = numpy.__dict__
    names.update(missing)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in missing:
            names.pop(name, None)
        for name in modules:
            sys.modules.pop(name, None)
    if missing:
        _keep(numpy, missing)


def _keep(numpy: types.ModuleType, missing: dict[str, Any]) -> None:
    """Gives MXNet's modules, which read names when they are called, a NumPy that still has them."""
    complete = types.ModuleType(numpy.__name__, numpy.__doc__)
    vars(complete).update(vars(numpy), **missing)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "mxnet":
            for attribute, value in list(vars(module).items()):
                if value is numpy:
                    setattr(module, attribute, complete)


def _removed_names(numpy: Any) -> dict[str, Any]:
    """What mxnet reads of NumPy and some NumPy does not have, by name."""
    names: dict[str, Any] = {**_ALIASES, **_CONSTANTS}
    for old, new in _RENAMED.items():
        if hasattr(numpy, new):
            names[old] = _renamed(old, getattr(numpy, new))
    names["in1d"] = _in1d
    names["msort"] = _msort
    names.update({name: _gone(name) for name in _GONE})
    return names


def _renamed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function by its old name. Another object, as it was: mxnet keeps its own functions by those of NumPy."""

    @functools.wraps(function)
    def renamed(*arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    renamed.__name__ = name
    return renamed


def _in1d(ar1: Any, ar2: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    import numpy

    return numpy.isin(numpy.ravel(ar1), ar2, assume_unique=assume_unique, invert=invert)


def _msort(a: Any) -> Any:
    import numpy

    return numpy.sort(a, axis=0)


def _gone(name: str) -> Callable[..., Any]:
    def gone(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"NumPy 1.20 has removed {name}; the package numpy-financial has it")

    gone.__name__ = name
    return gone


@functools.total_ordering
class _Version:
    """A version such as 1.26.4, as far as its numbers go; mxnet asks only whether NumPy's is at least 1.6, 1.15 or 1.17."""

    def __init__(self, text: str) -> None:
        self._numbers = [int(number) for number in re.findall(r"\d+", text)[:3]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and self._numbers == other._numbers

    def __lt__(self, other: _Version) -> bool:
        return self._numbers < other._numbers

    __hash__ = None  # type: ignore[assignment]


def _has_distutils() -> bool:
    """Whether there is Python's own `distutils.version`: until 3.11, where no newer setuptools stands in its place."""
    if sys.version_info >= (3, 12):
        return False
    try:
        importlib.import_module("distutils.version")
    except ImportError:
        return False
    return True


def _distutils() -> dict[str, types.ModuleType]:
    """What mxnet imports of distutils."""
    package, version = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    package.__path__ = []
    package.version = version  # type: ignore[attr-defined]
    version.StrictVersion = version.LooseVersion = _Version  # type: ignore[attr-defined]
    return {"distutils": package, "distutils.version": version}
