"""onnxruntime as a runtime: any batch size, inputs and outputs of any kind, devices, and nothing of MXNet."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer import Predictor, transform
from fastinfer.errors import ConfigError, InputError, ModelError
from fastinfer.handlers.hooks import load_handler
from fastinfer.models.onnx import OnnxModel, read_onnx
from fastinfer.options import Options
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes import onnx as onnx_runtime
from fastinfer.runtimes.batch_size import FEW_ROWS, choose_batching, is_costly
from fastinfer.runtimes.invariance import is_invariant
from fastinfer.runtimes.libonnxruntime import Library
from fastinfer.runtimes.onnx import CUDA_PROVIDER, OnnxRuntime
from fastinfer.runtimes.views import predict_all, rows_of
from tests.conftest import read_tree
from tests.models.test_onnx import INT64, info, make
from tests.runtimes.test_onnx_inputs import lookup_from

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
CPU = ("cpu", 0)


def dense(batch: Any = "n") -> OnnxModel:
    weight = onnx.numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "w")
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    return read_onnx(make([info("x", [batch, 3])], [info("y", [batch, 2])], nodes, [weight]), "m.onnx")


def expected(rows: np.ndarray) -> np.ndarray:
    return rows @ np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.mark.parametrize("row_wise", [False, True])
@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_any_batch_size_of_open_and_fixed_graphs(runtime: OnnxRuntime, size: int, batch: Any, row_wise: bool) -> None:
    executor = runtime.bind(dense(batch), CPU, size, row_wise=row_wise)
    assert executor.gives_a_row_each
    assert [(o.name, o.rows, o.shape, o.dtype) for o in executor.outputs] == [("y", 1, (2,), "float32")]
    rows = np.arange(size * 3, dtype=np.float32).reshape(size, 3)
    rows_of(executor)[:] = rows
    (found,) = predict_all(executor)
    assert found.tolist() == expected(rows).tolist()
    assert is_invariant(executor)


def test_predictions_are_kept_while_the_next_batch_runs(runtime: OnnxRuntime) -> None:
    executor = runtime.bind(dense(), CPU, 2)
    rows_of(executor)[:] = 1
    (first,) = executor.forward()
    kept = list(first)
    rows_of(executor)[:] = 2
    executor.forward()
    assert list(first) == kept


def test_several_inputs_of_other_types_and_several_outputs(runtime: OnnxRuntime) -> None:
    table = onnx.numpy_helper.from_array(np.arange(10, dtype=np.float32).reshape(5, 2), "table")
    nodes = [
        onnx.helper.make_node("Gather", ["table", "ids"], ["rows"]),
        onnx.helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        onnx.helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0),
        onnx.helper.make_node("Cast", ["x"], ["half"], to=10),
    ]
    inputs = [info("ids", ["n", 2], INT64), info("x", ["n", 3])]
    outputs = [info("rows", ["n", 2, 2]), info("best", ["n"], INT64), info("half", ["n", 3], 10)]
    model = read_onnx(make(inputs, outputs, nodes, [table]), "m.onnx")
    executor = runtime.bind(model, CPU, 2)
    rows_of(executor, 0)[:] = [[1, 4], [0, 2]]
    rows_of(executor, 1)[:] = [[1, 5, 2], [9, 0, 1]]
    chosen, best, half = predict_all(executor)
    assert chosen.tolist() == [[[2, 3], [8, 9]], [[0, 1], [4, 5]]]
    assert (best.dtype, best.tolist()) == (np.int64, [1, 0])
    assert (half.dtype, half.tolist()) == (np.float16, [[1, 5, 2], [9, 0, 1]])


def lookup(kind: int = INT64) -> OnnxModel:
    """Indices to rows of a table of 20."""
    table = onnx.numpy_helper.from_array(np.arange(40, dtype=np.float32).reshape(20, 2), "table")
    nodes = [
        onnx.helper.make_node("Cast", ["ids"], ["whole"], to=INT64),
        onnx.helper.make_node("Gather", ["table", "whole"], ["rows"]),
    ]
    return read_onnx(make([info("ids", ["n", 1], kind)], [info("rows", ["n", 1, 2])], nodes, [table]), "m.onnx")


@pytest.mark.parametrize("kind", [INT64, 1])
def test_a_model_that_checks_its_indices_is_computed_record_by_record(kind: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(lookup(kind).content)
    assert Predictor(path).predict([[3], [19], [0]]).tolist() == [[[6, 7]], [[38, 39]], [[0, 1]]]
    with pytest.raises(InputError, match=r"refuses record 2: .*out of data bounds"):
        Predictor(path).predict([[3], [20]])


def test_an_output_without_values_is_refused(runtime: OnnxRuntime) -> None:
    none = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "none")
    axis = onnx.numpy_helper.from_array(np.ones(1, np.int64), "axis")
    nodes = [onnx.helper.make_node("Slice", ["x", "none", "none", "axis"], ["y"])]
    model = read_onnx(make([info("x", ["n", 3])], [info("y", ["n", 0])], nodes, [none, axis]), "m.onnx")
    with pytest.raises(ModelError, match=r"the output 'y' has no values: its shape is \(1, 0\)"):
        runtime.bind(model, CPU, 3)


@pytest.mark.parametrize("batch", ["n", 2])
def test_an_output_that_depends_on_the_values_is_refused(runtime: OnnxRuntime, batch: Any) -> None:
    """The records of zeros alone: all of the blank ones, by which its shape was found."""
    nodes = [
        onnx.helper.make_node("ReduceMax", ["x"], ["row"], axes=[1], keepdims=0),
        onnx.helper.make_node("Equal", ["row", "zero"], ["chosen"]),
        onnx.helper.make_node("Compress", ["x", "chosen"], ["y"], axis=0),
    ]
    zero = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    model = read_onnx(make([info("x", [batch, 3])], [info("y", [None, 3])], nodes, [zero]), "m.onnx")
    executor = runtime.bind(model, CPU, 4)
    assert executor.gives_a_row_each
    rows_of(executor)[2] = 1
    with pytest.raises(ModelError, match=r"m\.onnx"):
        executor.forward()


def test_values_of_other_types_are_given_without_a_copy(runtime: OnnxRuntime) -> None:
    kinds = {"half": 10, "yes": 9, "whole": INT64, "double": 11}
    nodes = [onnx.helper.make_node("Cast", ["x"], [name], to=kind) for name, kind in kinds.items()]
    outputs = [info(name, ["n", 2], kind) for name, kind in kinds.items()]
    executor = runtime.bind(read_onnx(make([info("x", ["n", 2])], outputs, nodes), "m.onnx"), CPU, 3)
    rows_of(executor)[:] = [[0, 1], [2, 3], [4, 5]]
    found = predict_all(executor)
    assert [each.dtype.name for each in found] == ["float16", "bool", "int64", "float64"]
    assert [each.astype(float).tolist() for each in found] == [
        [[0, 1], [int(name == "yes") or 2, int(name == "yes") or 3], [int(name == "yes") or 4, int(name == "yes") or 5]]
        for name in kinds
    ]


def test_several_rows_for_a_record(runtime: OnnxRuntime) -> None:
    shape = onnx.numpy_helper.from_array(np.array([-1, 2], np.int64), "shape")
    nodes = [onnx.helper.make_node("Reshape", ["x", "shape"], ["y"])]
    model = read_onnx(make([info("x", ["n", 6])], [info("y", ["m", 2])], nodes, [shape]), "m.onnx")
    (output,) = runtime.bind(model, CPU, 4).outputs
    assert (output.rows, output.shape) == (3, (2,))


def test_a_graph_that_mixes_its_rows_is_seen(runtime: OnnxRuntime) -> None:
    nodes = [onnx.helper.make_node("ReduceSum", ["x", "axes"], ["y"])]
    axes = onnx.numpy_helper.from_array(np.array([0], np.int64), "axes")
    model = read_onnx(make([info("x", ["n", 3])], [info("y", [1, 3])], nodes, [axes]), "m.onnx")
    assert not runtime.bind(model, CPU, 4).gives_a_row_each


def test_what_onnxruntime_refuses_is_an_error_of_the_model(runtime: OnnxRuntime) -> None:
    unknown = make([info("x", ["n", 3])], [info("y", ["n", 3])], [onnx.helper.make_node("NoSuch", ["x"], ["y"])])
    with pytest.raises(ModelError, match=r"cannot load it.*NoSuch"):
        runtime.bind(read_onnx(unknown, "m.onnx"), CPU, 1)
    scalar = make(
        [info("x", ["n", 3])], [info("y", [])], [onnx.helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    )
    with pytest.raises(ModelError, match="not a row for each"):
        runtime.bind(read_onnx(scalar, "m.onnx"), CPU, 1)


def test_threads_share_a_session_and_not_their_memory(runtime: OnnxRuntime) -> None:
    model, wrong = dense(), []

    def work(number: int) -> None:
        executor = runtime.bind(model, CPU, 16)
        rows = np.full((16, 3), number, np.float32)
        for _ in range(100):
            rows_of(executor)[:] = rows
            if predict_all(executor)[0].tolist() != expected(rows).tolist():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_session_that_is_being_released_is_not_given_to_another_executor(
    runtime: OnnxRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = read_onnx(make([info("x", ["n", 3])], [info("y", ["n", 2])], nodes, [weight]), "m.onnx")
    release = runtime._library.ReleaseSession
    held: list[int] = []

    def note(handle: object) -> None:
        held.append(sum(key[0] == model.content_digest for key in runtime._sessions))
        release(handle)

    monkeypatch.setattr(runtime._library, "ReleaseSession", note)
    executor = runtime.bind(model, CPU, 4)
    assert sum(key[0] == model.content_digest for key in runtime._sessions) == 1
    del executor
    assert held == [0]


def test_a_model_of_the_other_format_is_refused(runtime: OnnxRuntime, linear: Path) -> None:
    from fastinfer.models.module import load_model

    with pytest.raises(ConfigError) as caught:
        runtime.bind(load_model(linear), CPU, 1)
    assert caught.value.code == "other_format"
    with pytest.raises(ConfigError) as caught:
        load_runtime("mxnet").bind(dense(), CPU, 1)
    assert caught.value.code == "other_format"


def test_what_it_depends_on_names_the_runtime(runtime: OnnxRuntime) -> None:
    assert runtime.identity()["onnxruntime"]
    with pytest.raises(ConfigError, match="AVX2"):
        OnnxRuntime("AVX2")


# Devices, with providers that are not there.


def test_a_gpu_without_its_provider_is_refused(runtime: OnnxRuntime) -> None:
    with pytest.raises(ConfigError, match="build without CUDA") as caught:
        runtime.bind(dense(), ("gpu", 0), 1)
    assert caught.value.code == "no_such_device"
    assert "onnxruntime-gpu" in (caught.value.hint or "")


def test_a_gpu_is_asked_for_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(Library, "providers", lambda _: [CUDA_PROVIDER])
    monkeypatch.setattr(onnx_runtime, "Session", lambda *arguments: asked.append(arguments[2]))
    OnnxRuntime()._open(dense(), ("gpu", 1))
    assert asked == [{"device_id": "1", "use_tf32": "0"}]


def test_a_gpu_that_does_not_start_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """This build says that it has CUDA, and has not. What is wrong with the model is said as ever."""
    monkeypatch.setattr(Library, "providers", lambda _: [CUDA_PROVIDER])
    runtime = OnnxRuntime()
    with pytest.raises(ConfigError, match=r"no gpu:1: onnxruntime cannot start CUDA on it: .*CUDA") as caught:
        runtime.bind(dense(), ("gpu", 1), 1)
    assert caught.value.code == "no_such_device"
    unknown = make([info("x", ["n", 3])], [info("y", ["n", 3])], [onnx.helper.make_node("NoSuch", ["x"], ["y"])])
    with pytest.raises(ModelError, match=r"cannot load it.*NoSuch"):
        runtime.bind(read_onnx(unknown, "m.onnx"), ("gpu", 1), 1)


WITHOUT_MXNET = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mxnet", "onnx"):
            raise ImportError(f"{name} is not to be imported")
sys.meta_path.insert(0, Refuse())
from fastinfer.__main__ import main
code = main(sys.argv[1:])
assert "libmxnet" not in open("/proc/self/maps").read()
sys.exit(code)
"""


def test_a_run_needs_no_mxnet(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(dense().content)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("1,2,3\n4,5,6\n")
    command = ["transform", str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(path)]
    done = subprocess.run([sys.executable, "-c", WITHOUT_MXNET, *command], check=True, capture_output=True, text=True)
    assert f"{path}: no certificate" in done.stderr
    assert (tmp_path / "out" / "a.csv.out").read_text() == "[[16.0, 22.0], [34.0, 49.0]]"
    record = json.loads((tmp_path / "out" / "_run.json").read_text())
    assert "onnxruntime" in record["depends_on"]
    assert "mxnet" not in record["depends_on"]


def test_requests_are_answered(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(dense().content)
    predictor = Predictor(path)
    assert predictor.answer(b"1,2,3\n", "text/csv")[0] == b"[[16.0, 22.0]]"
    assert predictor.answer(b"[[1, 2, 3], [0, 0, 1]]", "application/json", "text/csv")[0] == b"16.0,22.0\n4.0,5.0\n"
    # The file says that rows of any shape are flattened.
    assert predictor.predict(np.ones((2, 3, 1), np.float32)).shape == (2, 2)
    with pytest.raises(InputError, match="expected rows of shape"):
        predictor.predict(np.ones((2, 4), np.float32))


def test_decision_trees_and_records_of_150_000_values(tmp_path: Path) -> None:
    """A tree of another set of operators than ONNX's own; and a mean."""
    nodes = {"treeids": [0] * 3, "nodeids": [0, 1, 2], "featureids": [3, 0, 0], "values": [1.5, 0.0, 0.0]}
    nodes.update(truenodeids=[1, 0, 0], falsenodeids=[2, 0, 0])
    targets = {"treeids": [0, 0], "nodeids": [1, 2], "ids": [0, 0], "weights": [10.0, 20.0]}
    tree = onnx.helper.make_node(
        "TreeEnsembleRegressor",
        *(["x"], ["y"]),
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        **{f"nodes_{name}": values for name, values in nodes.items()},
        **{f"target_{name}": values for name, values in targets.items()},
    )
    model = onnx.load_from_string(make([info("x", ["n", 4])], [info("y", ["n", 1])], [tree]))
    model.opset_import[0].domain, model.opset_import[0].version = "ai.onnx.ml", 3
    (tmp_path / "tree.onnx").write_bytes(model.SerializeToString())
    assert Predictor(tmp_path / "tree.onnx").answer(b"1,2,3,4\n0,1,0,1\n", "text/csv")[0] == b"[[20.0], [10.0]]"

    mean = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[1])
    (tmp_path / "mean.onnx").write_bytes(make([info("x", ["n", 150_000])], [info("y", ["n", 1])], [mean]))
    (tmp_path / "rows.csv").write_text("".join(",".join([str(row)] * 150_000) + "\n" for row in (0, 2, 3)))
    transform(tmp_path / "rows.csv", tmp_path / "out", model=tmp_path / "mean.onnx")
    assert (tmp_path / "out" / "rows.csv.out").read_text() == "[[0.0], [2.0], [3.0]]"


def test_a_server_answers(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(dense().content)
    handler = load_handler(path, threads=2)
    assert not handler.has_hooks
    assert handler.answer(b"1,2,3\n", "text/csv") == (b"[[16.0, 22.0]]", "application/json")


def test_the_containers_bytes_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        Predictor(dense(), exact=True)
    assert caught.value.code == "not_exact"


def test_threads_and_processes_give_the_same_outputs(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(dense().content)
    (tmp_path / "in").mkdir()
    for number in range(40):
        (tmp_path / "in" / f"{number}.csv").write_text(f"{number},0.5,{-number}\n" * (number % 3 + 1))
    for backend in ("threads", "processes"):
        transform(tmp_path / "in", tmp_path / backend, model=path, backend=backend, workers=2, runtime="onnx")
    assert read_tree(tmp_path / "threads") == read_tree(tmp_path / "processes")
    assert len(read_tree(tmp_path / "threads")) == 40


# What is inside a graph.


@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_all_values_of_a_record_are_counted(runtime: OnnxRuntime, batch: Any) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((3, 50), np.float32), "w")
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["wide"]),
        onnx.helper.make_node("Cast", ["wide"], ["half"], to=10),
        onnx.helper.make_node("ReduceMax", ["half"], ["y"], axes=[1]),
    ]
    model = read_onnx(make([info("x", [batch, 3])], [info("y", [batch, 1], 10)], nodes, [weight]), "m.onnx")
    assert runtime.value_bytes(model) == [4 * 3, 4 * 50, 2 * 50, 2]
    assert is_costly(runtime, model)


def test_a_row_with_large_values_inside_is_computed_in_small_batches(runtime: OnnxRuntime) -> None:
    """As with MXNet: the batch of a small input is not what its values need."""
    weight = onnx.numpy_helper.from_array(np.ones((3, 1 << 14), np.float32), "w")
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["wide"]),
        onnx.helper.make_node("ReduceMax", ["wide"], ["y"], axes=[1]),
    ]
    model = read_onnx(make([info("x", ["n", 3])], [info("y", ["n", 1])], nodes, [weight]), "m.onnx")
    assert choose_batching(runtime, model, Options()).batch_size == FEW_ROWS


def test_the_values_of_a_model_that_refuses_zeros_are_counted(runtime: OnnxRuntime) -> None:
    model = lookup_from(1, "n")
    assert runtime.value_bytes(model) == [4 * 3, 3, 8 * 3, 8 * 3, 4 * 6, 4 * 2]


def test_where_a_graph_cannot_give_its_values_its_inputs_are_counted(runtime: OnnxRuntime) -> None:
    assert runtime.value_bytes(lookup_from(1 << 21, "n")) == [4 * 3]
