"""Models are read from folders and archives, and refused where they cannot serve."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import ConfigError, ModelError
from fastinfer.models import module as model_module
from fastinfer.models.files import MODEL_FILES
from fastinfer.models.inputs import Input
from fastinfer.models.module import find_model, load_model
from fastinfer.models.params import Array
from fastinfer.runtimes.base import Executor
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.storage import archive as archive_module
from tests import networks
from tests.networks import mx


@pytest.fixture
def folder(linear: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(linear, tmp_path / "model"))


def pack(folder: Path, archive: Path, prefix: str = "", mode: str = "w:gz") -> Path:
    with tarfile.open(archive, mode) as tar:
        for name in MODEL_FILES:
            tar.add(folder / name, prefix + name)
    return archive


def bind(path: Path) -> Executor:
    model = load_model(path)
    return MXNetExecutor(model, ("cpu", 0), 1)


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_is_the_same_model_as_its_folder(prefix: str, mode: str, folder: Path, tmp_path: Path) -> None:
    archive = load_model(pack(folder, tmp_path / "model.tar", prefix, mode))
    assert archive.digest == load_model(folder).digest
    assert archive.row_shape == (2,)


def test_an_archive_may_hold_the_entry_point_beside_the_model(folder: Path, tmp_path: Path) -> None:
    archive = pack(folder, tmp_path / "model.tar", mode="w")
    with tarfile.open(archive, "a") as tar:
        code = tarfile.TarInfo("code")
        code.type = tarfile.DIRTYPE
        tar.addfile(code)
        script = tarfile.TarInfo("code/mnist.py")
        script.size = 4
        tar.addfile(script, io.BytesIO(b"pass"))
    assert load_model(archive).digest == load_model(folder).digest


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../model-symbol.json", tarfile.REGTYPE),
        ("/etc/model-symbol.json", tarfile.REGTYPE),
        ("code/../../x", tarfile.REGTYPE),
        ("model-symbol.json", tarfile.SYMTYPE),
        ("model-0000.params", tarfile.LNKTYPE),
        ("device", tarfile.CHRTYPE),
        ("pipe", tarfile.FIFOTYPE),
    ],
)
def test_an_archive_that_could_do_harm_is_refused(name: str, kind: bytes, tmp_path: Path) -> None:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = "/etc/passwd"
    with tarfile.open(tmp_path / "model.tar", "w") as tar:
        tar.addfile(member)
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "model.tar")
    assert caught.value.code == "unsafe_archive"
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("limit", ["BYTES_LIMIT", "MEMBERS_LIMIT"])
def test_what_an_archive_unpacks_to_is_bounded(
    limit: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(folder, tmp_path / "model.tar.gz")
    monkeypatch.setattr(archive_module, limit, 2)
    with pytest.raises(ModelError) as caught:
        load_model(archive)
    assert caught.value.code == "unsafe_archive"


def test_a_cut_archive_is_refused(folder: Path, tmp_path: Path) -> None:
    archive = pack(folder, tmp_path / "model.tar.gz")
    content = archive.read_bytes()
    for size in (0, 1, len(content) // 2):
        archive.write_bytes(content[:size])
        with pytest.raises(ModelError):
            load_model(archive)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model") as caught:
        load_model(tmp_path / "nowhere")
    assert caught.value.path == str(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ("[", "is not JSON"),
        ("{}", "expected"),
        ("[]", "expected"),
        ('[{"name": "data", "shape": [1, 2]}, {"name": "data", "shape": [1, 2]}]', "two inputs have the name 'data'"),
        ('[{"name": "data", "shape": []}]', "expected"),
        ('[{"name": "data", "shape": [1, 0]}]', "expected"),
        (f'[{{"name": "data", "shape": [1, {10**4000}, {10**4000}]}}]', "expected"),
        ('[{"name": "data", "shape": [1, "2"]}]', "expected"),
        ('[{"name": "data", "shape": [1, true]}]', "expected"),
        ('[{"shape": [1, 2]}]', "expected"),
        ('[{"name": "other", "shape": [1, 2]}]', "its shapes name the input 'other', which the graph does not have"),
    ],
)
def test_bad_shapes_are_refused(shapes: str, message: str, folder: Path) -> None:
    (folder / "model-shapes.json").write_text(shapes)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


@pytest.mark.parametrize("symbol", [b"", b"[]", b'{"nodes": 3}', b'{"nodes": [{}]}', b"\xff", b"[" * 100_000])
def test_a_bad_graph_is_refused(symbol: bytes, folder: Path) -> None:
    (folder / "model-symbol.json").write_bytes(symbol)
    with pytest.raises(ModelError):
        load_model(folder)


def test_an_input_that_nothing_depends_on_is_refused(folder: Path) -> None:
    path = folder / "model-symbol.json"
    graph = json.loads(path.read_text())
    graph["nodes"].append({"op": "_ones", "name": "ones", "attrs": {"shape": "(1, 2)"}, "inputs": []})
    graph["heads"] = [[len(graph["nodes"]) - 1, 0, 0]]
    path.write_text(json.dumps(graph))
    with pytest.raises(ModelError, match="'data', which the graph does not have"):
        load_model(folder)


def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(folder: Path) -> None:
    (folder / "model-0000.params").unlink()
    os.mkfifo(folder / "model-0000.params")
    with pytest.raises(ModelError, match="it is not a regular file") as caught:
        load_model(folder)
    assert caught.value.path == str(folder / "model-0000.params")
    with pytest.raises(ModelError, match="it is not a regular file"):
        load_model(folder / "model-0000.params")


def test_parameters_are_held_once(folder: Path, tmp_path: Path) -> None:
    networks.edit(folder, lambda saved: saved.__setitem__("arg:large", mx.nd.zeros((10_000_000,))))
    archive = pack(folder, tmp_path / "model.tar.gz")
    for path in (folder, archive):
        tracemalloc.start()
        try:
            load_model(path)
            assert tracemalloc.get_traced_memory()[1] < 60_000_000
        finally:
            tracemalloc.stop()


def test_a_file_larger_than_is_read_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(model_module.FILE_LIMITS, "params", 10)
    for path in (folder, pack(folder, tmp_path / "model.tar.gz")):
        with pytest.raises(ModelError, match=r"more than 10 bytes|at most 10 are read"):
            load_model(path)


def test_a_missing_parameter_is_named(folder: Path) -> None:
    networks.edit(folder, lambda saved: saved.popitem())
    with pytest.raises(ModelError, match="the parameters lack") as caught:
        bind(folder)
    assert caught.value.code == "params_missing"


def test_a_parameter_of_another_shape_is_named(folder: Path) -> None:
    def widen(saved: dict[str, Any]) -> None:
        name = next(name for name in saved if name.endswith("weight"))
        saved[name] = mx.nd.zeros((1, 3))

    networks.edit(folder, widen)
    with pytest.raises(ModelError, match=r"weight is \(1, 3\), the graph needs \(1, 2\)"):
        bind(folder)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\0" * 100])
def test_damaged_parameters_are_refused(content: bytes, folder: Path) -> None:
    (folder / "model-0000.params").write_bytes(content)
    with pytest.raises(ModelError):
        bind(folder)


def test_parameters_cut_short_are_refused(folder: Path) -> None:
    path = folder / "model-0000.params"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ModelError):
        bind(folder)


def test_an_operator_that_mxnet_lacks_is_refused(folder: Path) -> None:
    path = folder / "model-symbol.json"
    path.write_text(path.read_text().replace('"FullyConnected"', '"NoSuchOperator"'))
    with pytest.raises(ModelError, match="has the operator 'NoSuchOperator', which is not"):
        load_model(folder)


def test_an_input_that_does_not_fit_the_graph_is_refused(convolution: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(convolution, tmp_path / "model"))
    (folder / "model-shapes.json").write_text('[{"name": "data", "shape": [1, 3, 2, 2]}]')
    with pytest.raises(ModelError, match="does not take input of shape"):
        bind(folder)


def test_of_two_outputs_one_must_be_chosen(folder: Path) -> None:
    data = mx.sym.var("data")
    mx.sym.Group([mx.sym.identity(data, name=name) for name in ("first", "second")]).save(
        str(folder / "model-symbol.json")
    )
    with pytest.raises(ModelError, match="2 outputs: first_output, second_output"):
        load_model(folder)


def test_the_model_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_model()[0] == model_module.SHIPPED_MODEL
    monkeypatch.setenv("SM_MODEL_DIR", "/sm")
    assert find_model() == (Path("/sm"), "$SM_MODEL_DIR")
    monkeypatch.setenv("FASTINFER_MODEL", "/own")
    assert find_model() == (Path("/own"), "$FASTINFER_MODEL")
    assert find_model(tmp_path)[0] == tmp_path


def test_the_digest_distinguishes_models(linear: Path, convolution: Path, folder: Path) -> None:
    before = load_model(folder).digest
    assert before == load_model(linear).digest != load_model(convolution).digest
    shapes = json.loads((folder / "model-shapes.json").read_text())
    shapes[0]["shape"][0] = 99  # the batch of the training does not matter
    (folder / "model-shapes.json").write_text(json.dumps(shapes))
    assert load_model(folder).digest == before
    networks.edit(folder, lambda saved: [array.__iadd__(1) for array in saved.values()])
    assert load_model(folder).digest != before


def test_a_graph_that_does_not_tell_its_shapes_is_refused(folder: Path) -> None:
    mx.sym.broadcast_add(mx.sym.var("data"), mx.sym.var("offset")).save(str(folder / "model-symbol.json"))
    networks.edit(folder, lambda saved: saved.__setitem__("arg:offset", mx.nd.zeros((1, 2))))
    with pytest.raises(ModelError, match=r"does not determine|MXNet cannot"):
        bind(folder)


def save_checkpoint(prefix: Path, epoch: int, value: float = 1.0) -> None:
    symbol = mx.sym.FullyConnected(mx.sym.var("data", shape=(0, 2)), num_hidden=1, name="fc")
    saved = {"fc_weight": mx.nd.ones((1, 2)) * value, "fc_bias": mx.nd.zeros((1,))}
    prefix.parent.mkdir(exist_ok=True)
    mx.model.save_checkpoint(str(prefix), epoch, symbol, saved, {})


def test_a_checkpoint_is_a_model(tmp_path: Path) -> None:
    for epoch in (1, 2, 10):
        save_checkpoint(tmp_path / "in" / "mnist", epoch, epoch)
    newest = load_model(tmp_path / "in")
    assert newest.files.params == "mnist-0010.params"
    assert newest.inputs == (Input("data", (2,)),)
    assert newest.arrays == {"fc_weight": Array((1, 2), "float32"), "fc_bias": Array((1,), "float32")}
    cases: list[tuple[Path, int | None, str]] = [
        (tmp_path / "in", 2, "mnist-0002.params"),
        (tmp_path / "in" / "mnist", None, "mnist-0010.params"),
        (tmp_path / "in" / "mnist", 1, "mnist-0001.params"),
        (tmp_path / "in" / "mnist-0002.params", None, "mnist-0002.params"),
        (tmp_path / "in" / "mnist-symbol.json", None, "mnist-0010.params"),
        (tmp_path / "in" / "mnist-symbol.json", 1, "mnist-0001.params"),
        (tmp_path, None, "in/mnist-0010.params"),
    ]
    for path, wanted, params in cases:
        assert load_model(path, epoch=wanted).files.params == params
    with pytest.raises(ConfigError, match=r"the epoch is 1, but mnist-0002\.params is named"):
        load_model(tmp_path / "in" / "mnist-0002.params", epoch=1)


@pytest.mark.parametrize("reverse", [False, True])
def test_an_archive_of_checkpoints_is_its_newest(reverse: bool, tmp_path: Path) -> None:
    for epoch in (1, 2, 10):
        save_checkpoint(tmp_path / "in" / "mnist", epoch, epoch)
    (tmp_path / "in" / "code").mkdir()
    (tmp_path / "in" / "code" / "inference.py").write_text("")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        for path in sorted((tmp_path / "in").rglob("*.*"), reverse=reverse):
            tar.add(path, f"job/{path.relative_to(tmp_path / 'in')}")
    archive = load_model(tmp_path / "model.tar.gz")
    assert archive.files[3:] == ("job/mnist-symbol.json", "job/mnist-0010.params", None)
    assert archive.digest == load_model(tmp_path / "in").digest
    assert archive.has_code
    assert load_model(tmp_path / "model.tar.gz", epoch=2).digest == load_model(tmp_path / "in", epoch=2).digest
    assert load_model(tmp_path / "model.tar.gz" / "mnist").digest == archive.digest


def test_an_export_of_gluon_is_a_model(tmp_path: Path) -> None:
    network = mx.gluon.nn.HybridSequential()
    network.add(mx.gluon.nn.Dense(3))
    network.initialize()
    network.hybridize()
    network(mx.nd.ones((2, 4)))
    network.export(str(tmp_path / "net"), epoch=10)
    model = load_model(tmp_path)
    assert model.files.epoch == 10
    assert model.inputs == (Input("data", (4,)),)


def test_what_the_user_says_is_part_of_the_digest(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "mnist", 1)
    models = [load_model(tmp_path), load_model(tmp_path, input_shape=(1, 2)), load_model(tmp_path, output="all")]
    assert len({model.digest for model in models}) == 3


def test_a_model_of_two_inputs_has_a_flat_record(tmp_path: Path) -> None:
    symbol = mx.sym.elemwise_mul(mx.sym.var("user"), mx.sym.var("item"))
    mx.model.save_checkpoint(str(tmp_path / "pair"), 0, symbol, {}, {})
    (tmp_path / "pair-shapes.json").write_text(
        '[{"name": "user", "shape": [1, 2, 3]}, {"name": "item", "shape": [1, 2, 3]}]'
    )
    model = load_model(tmp_path)
    assert [each.shape for each in model.inputs] == [(2, 3), (2, 3)]
    assert (model.row_shape, model.row_values) == ((12,), 12)
