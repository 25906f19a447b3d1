"""onnxruntime's library through its C API: found, loaded, and giving what its Python package gives."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.errors import ConfigError
from fastinfer.runtimes import libonnxruntime
from fastinfer.runtimes.libonnxruntime import (
    ALIGNMENT,
    FORMATS,
    NUMBERS,
    OnnxRuntimeError,
    Session,
    Tensor,
    address_of,
    load_libonnxruntime,
    value_bytes,
    zeros,
)
from tests.models.test_onnx import STRING, info, make

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def node(kind: str, *names: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, list(names), ["y"], **attributes)


def run(content: bytes, **arrays: Any) -> Tensor:
    given = {name: Tensor.over(array, array.shape, array.dtype.name) for name, array in arrays.items()}
    (found,) = Session(content, {}).run(given, ["y"])
    return found


def test_it_gives_the_bits_that_the_package_gives() -> None:
    random = np.random.default_rng(7)
    weight = random.normal(size=(300, 40)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["sums"]),
        onnx.helper.make_node("Tanh", ["sums"], ["bent"]),
        node("Softmax", "bent"),
    ]
    parameters = [onnx.numpy_helper.from_array(weight, "w")]
    content = make([info("x", ["n", 300])], [info("y", ["n", 40])], nodes, parameters)
    rows = random.normal(size=(33, 300)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": rows})
    found = run(content, x=rows)
    assert found.describe() == ("float32", (33, 40))
    assert bytes(found.read(expected.nbytes)) == expected.tobytes()
    assert load_libonnxruntime().version == onnxruntime.__version__
    assert load_libonnxruntime().providers() == onnxruntime.get_available_providers()


@pytest.mark.parametrize("kind", sorted(NUMBERS))
def test_values_of_each_type(kind: str) -> None:
    content = make([info("x", [2], NUMBERS[kind])], [info("y", [2], NUMBERS[kind])], [node("Identity", "x")])
    values = np.array([0, 1], kind)
    given = Tensor.over(values.view(np.uint8), (2,), kind)
    (found,) = Session(content, {}).run({"x": given}, ["y"])
    assert found.describe() == given.describe() == (kind, (2,))
    assert bytes(found.read(values.nbytes)) == values.tobytes()
    assert value_bytes(kind) == values.itemsize
    assert len(found.read(values.nbytes).cast(FORMATS[kind])) == 2  # type: ignore[call-overload]


def test_what_is_no_tensor_of_numbers_is_said_in_words() -> None:
    sequence = onnx.helper.make_tensor_sequence_value_info("y", 1, None)
    x = np.zeros((2, 3), np.float32)
    found = run(make([info("x", ["n", 3])], [sequence], [node("SequenceConstruct", "x")]), x=x)
    assert found.describe() == ("a sequence", ())
    texts = make([info("x", ["n", 3])], [info("y", ["n", 3], STRING)], [node("Cast", "x", to=STRING)])
    assert run(texts, x=x).describe() == ("a tensor of strings", ())


def test_what_it_refuses_is_one_line() -> None:
    with pytest.raises(OnnxRuntimeError, match=r"^\S.*$"):
        Session(b"no model", {})
    with pytest.raises(OnnxRuntimeError, match="CUDA"):
        Session(make([info("x", ["n", 3])], [info("y", ["n", 3])]), {}, {"device_id": "0"})
    with pytest.raises(OnnxRuntimeError, match=r"Invalid rank|Got invalid dimensions"):
        run(make([info("x", ["n", 3])], [info("y", ["n", 3])]), x=np.zeros((2, 4), np.float32))


def test_memory_begins_where_a_register_may() -> None:
    for size in (1, 64, 1000):
        memory = zeros(size)
        assert (address_of(memory) % ALIGNMENT, len(memory), bytes(memory)) == (0, size, bytes(size))


@pytest.mark.parametrize("spec", [None, ValueError])
def test_onnxruntime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, spec: Any) -> None:
    def find(_: str) -> None:
        if spec is not None:
            raise spec

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(ConfigError) as caught:
        libonnxruntime.find_library()
    assert caught.value.code == "onnxruntime_missing"
    assert "pip install" in (caught.value.hint or "")


def test_a_package_without_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = ModuleSpec("onnxruntime", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    monkeypatch.setattr(libonnxruntime, "_loaded", None)
    with pytest.raises(ConfigError, match=r"without its C library libonnxruntime\.so") as caught:
        load_libonnxruntime()
    assert caught.value.code == "onnxruntime_broken"
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_shared.so").write_bytes(b"another one")
    (tmp_path / "capi" / "libonnxruntime.so.1.99.0").write_bytes(b"not a library")
    with pytest.raises(ConfigError, match=r"onnxruntime cannot be loaded: .*libonnxruntime\.so\.1\.99\.0") as caught:
        load_libonnxruntime()
    assert caught.value.code == "onnxruntime_broken"


ONE_SESSION = """
import sys
from fastinfer.runtimes.libonnxruntime import Session
Session(sys.stdin.buffer.read(), {})
"""


def test_a_session_writes_no_reports_of_itself(tmp_path: Path) -> None:
    """What it would send lies in the cache folder first; in CI it sends nothing, whatever is set."""
    kept = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "XDG_CACHE_HOME", libonnxruntime.TELEMETRY_VARIABLE)
    environment = {name: value for name, value in os.environ.items() if name not in kept}
    content = make([info("x", ["n", 3])], [info("y", ["n", 3])])
    subprocess.run(
        [sys.executable, "-c", ONE_SESSION], input=content, check=True, env={**environment, "HOME": str(tmp_path)}
    )
    assert list(tmp_path.rglob("*")) == []
