"""What users of this job have reported, in public, here and elsewhere: each situation, and what is right there.

Models of every kind that the container serves, beside its own handler, are in test_served_models.py.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.commands.transform import main as transform
from fastinfer.errors import FastinferError, ModelError
from fastinfer.handlers.hooks import load_handler
from fastinfer.handlers.predictor import Predictor
from fastinfer.models.module import load_model
from fastinfer.sagemaker import JobFailed, LocalSession, MXNet, MXNetModel, Transformer
from tests import networks
from tests.networks import mx

ROWS = b"1,2,3,4\n5,6,7,8\n"
# That divides by 255 before it predicts.
CODE = """
import numpy as np
import mxnet as mx


def input_fn(data, content_type, model):
    rows = np.array([[float(x) for x in line.split(",")] for line in data.split()]) / 255
    return mx.io.NDArrayIter(mx.nd.array(rows), batch_size=1)
"""
LINES = {"split_type": "Line", "assemble_with": "Line"}


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives back the four values that it read."""
    symbol = mx.sym.broadcast_mul(mx.sym.var("data"), mx.sym.var("one", shape=(1, 4)))
    return networks.write(tmp_path_factory.mktemp("echo"), symbol, {"data": (4,)}, {"arg:one": mx.nd.ones((1, 4))})


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose parameters are most of its archive."""
    layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=60)
    return networks.write(tmp_path_factory.mktemp("dense"), mx.sym.softmax(layer), {"data": (100,)})


def packed(folder: Path, archive: Path, *names: str) -> Path:
    """A model.tar.gz of a folder, with its members in that order."""
    with tarfile.open(archive, "w:gz") as tar:
        for name in names or sorted(path.name for path in folder.iterdir()):
            tar.add(folder / name, name)
    return archive


def put(folder: Path, **contents: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("_csv", ".csv")).write_bytes(content)
    return folder


def job(model: Path, source: Path, output: Path, **options: Any) -> dict[str, bytes]:
    """A local transform job of a model's archive; its results."""
    asked = {name: options.pop(name) for name in ("split_type", "input_filter", "join_source") if name in options}
    transformer = Transformer(str(model), 1, "local", output_path=str(output), **options)
    try:
        transformer.transform(str(source), content_type="text/csv", **asked)
    except JobFailed:
        if not options.get("max_payload"):
            raise
    return {path.name: path.read_bytes() for path in output.iterdir() if path.name.endswith(".out")}


def test_an_archive_with_one_wrong_bit_is_never_another_model(dense: Path, tmp_path: Path) -> None:
    archive = packed(dense, tmp_path / "good.tar.gz")
    digest, whole = load_model(archive).digest, archive.read_bytes()
    bad = tmp_path / "bad.tar.gz"
    for place in np.linspace(0, len(whole) - 1, 60).astype(int):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        bad.write_bytes(damaged)
        try:
            gzip.decompress(damaged)
        except (OSError, EOFError, gzip.zlib.error):  # type: ignore[attr-defined]
            with pytest.raises(ModelError):
                load_model(bad)
        else:  # a bit of gzip's header, such as the time of the file
            assert load_model(bad).digest == digest


def test_an_archive_that_is_cut_before_the_models_code_is_refused(dense: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(dense, tmp_path / "served")
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_text(CODE)
    whole = packed(folder, tmp_path / "all.tar.gz", *(path.name for path in dense.iterdir()), "code")
    with tarfile.open(whole) as tar:
        stop = tar.getmember("code/inference.py").offset
    cut = tmp_path / "cut.tar.gz"
    for text in (gzip.compress(gzip.decompress(whole.read_bytes())[:stop]), whole.read_bytes()[:-9]):
        cut.write_bytes(text)
        for load in (load_model, Predictor, load_handler):
            with pytest.raises(FastinferError, match=r"cut\.tar\.gz"):
                load(cut)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"17,1,2,3,4\n18,5,6,7,8\n19,1,2,3,4\n20,5,6,7,8\n", "ID"),
        (b"1,2,3,4,\n5,6,7,8,\n1,2,3,4,\n5,6,7,8,\n", "comma"),
    ],
)
def test_lines_of_another_width_are_refused_with_their_cause(
    text: bytes, cause: str, echo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = put(tmp_path / "in", a_csv=text)
    for more in ([], ["--missing", "0"]):
        assert transform([str(source), str(tmp_path / "out"), "--model", str(echo), *more]) == 1
        said = capsys.readouterr().err
        assert "a.csv:1" in said
        assert "--missing" not in said.replace("--missing VALUE", "") or not more
    assert cause in said
    assert not list((tmp_path / "out").glob("*.out"))


def test_the_models_own_code_is_not_passed_over(
    dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(dense, tmp_path / "served")
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_text(CODE)
    source = put(tmp_path / "in", a_csv=b",".join([b"1"] * 100) + b"\n")
    assert transform([str(source), str(tmp_path / "out"), "--model", str(folder), "--exact"]) == 3
    assert "--code run calls it, --code ignore uses the model without it" in capsys.readouterr().err


@pytest.mark.usefixtures("local_root")
@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_an_object_over_the_payload_limit_fails_alone(accept: str, echo: Path, tmp_path: Path) -> None:
    large = b"1.000000000,2.00000000,3.00000000,4.00000000\n" * 40_000
    source = put(tmp_path / "in", small_csv=b"1,2,3,4\n", big_csv=large)
    found = job(packed(echo, tmp_path / "m.tar.gz"), source, tmp_path / "out", max_payload=1, accept=accept)
    assert list(found) == ["small.csv.out"]


@pytest.mark.usefixtures("local_root")
def test_both_doors_read_the_same_objects_of_a_folder(echo: Path, tmp_path: Path) -> None:
    source = tmp_path / "spark"
    put(source / ".ipynb_checkpoints", old_csv=b"9,9,9,9\n")
    put(source, _SUCCESS=b"", **{"part-00000_csv": b"1,2,3,4\n", "part-00001": b"5,6,7,8\n"})
    (source / "._a.csv").write_bytes(b"\0\5\26\7")
    assert transform([str(source), str(tmp_path / "out"), "--model", str(echo), "--quiet"]) == 0
    outputs = sorted(path.name for path in (tmp_path / "out").rglob("*.out"))
    assert outputs == ["part-00000.csv.out", "part-00001.out"]
    assert sorted(job(packed(echo, tmp_path / "m.tar.gz"), source, tmp_path / "job")) == outputs


SHOWN = {
    "semicolons": (b"1;2;3;4\n5;6;7;8\n", "';'"),
    "quotes": (b'"1","2","3","4"\n"5","6","7","8"\n', "quot"),
    "UTF-16": ("1,2,3,4\n5,6,7,8\n".encode("utf-16"), "UTF-16"),
    "tabs": (b"1\t2\t3\t4\n", "tab"),
    "an ID in text": (b"id17,1,2,3\nid18,4,5,6\n", "text"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_no_csv_of_numbers_is_named_and_no_hint_drops_a_record(
    name: str, echo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, word = SHOWN[name]
    source = put(tmp_path / "in", a_csv=text)
    assert transform([str(source), str(tmp_path / "out"), "--model", str(echo)]) == 1
    said = capsys.readouterr().err
    assert word in said
    assert "--header skip" not in said


def test_gzipped_csv_is_read_whatever_its_name(echo: Path, tmp_path: Path) -> None:
    source = put(tmp_path / "in", **{"rows.csv.gz": gzip.compress(ROWS), "plain_csv": gzip.compress(ROWS)})
    assert transform([str(source), str(tmp_path / "out"), "--model", str(echo), "--quiet"]) == 0
    for name in ("rows.csv.gz.out", "plain.csv.out"):
        assert json.loads((tmp_path / "out" / name).read_bytes()) == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.usefixtures("local_root")
def test_an_id_column_is_left_out_and_joined(echo: Path, tmp_path: Path) -> None:
    source = put(tmp_path / "in", a_csv=b"17,1,2,3,4\n18,5,6,7,8\n")
    found = job(
        *(packed(echo, tmp_path / "m.tar.gz"), source, tmp_path / "out"),
        **LINES,
        accept="text/csv",
        input_filter="$[1:]",
        join_source="Input",
    )
    expected = b"17,1,2,3,4,1.0,2.0,3.0,4.0\n18,5,6,7,8,5.0,6.0,7.0,8.0\n"
    assert found == {"a.csv.out": expected}
    arguments = [str(source), str(tmp_path / "command"), "--model", str(echo), "--accept", "text/csv", "--quiet"]
    assert transform([*arguments, "--input-filter", "$[1:]", "--join-source", "input"]) == 0
    assert (tmp_path / "command" / "a.csv.out").read_bytes() == expected


@pytest.mark.usefixtures("local_root")
@pytest.mark.parametrize("strategy", ["MultiRecord", "SingleRecord"])
def test_a_blank_line_between_records_is_no_record(strategy: str, echo: Path, tmp_path: Path) -> None:
    source = put(tmp_path / "in", a_csv=b"1,2,3,4\n\n5,6,7,8\n")
    found = job(packed(echo, tmp_path / "m.tar.gz"), source, tmp_path / "out", strategy=strategy, **LINES)
    rows = [row for line in found["a.csv.out"].splitlines() for row in json.loads(line)]
    assert rows == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_media_types_are_read_as_http_means_them(echo: Path) -> None:
    predictor = Predictor(echo)
    expected = predictor.answer(ROWS, "text/csv")
    for name in ("text/csv; charset=utf-8", "Text/CSV", 'text/csv;charset="UTF-8"'):
        assert predictor.answer(ROWS, name, "text/html, */*;q=0.8") == expected
    with pytest.raises(FastinferError, match="expected numbers, found an object"):
        predictor.answer(b'{"instances": [[1, 2, 3, 4]]}', "application/json")


def test_a_model_is_found_where_it_is_or_what_is_there_is_said(echo: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "nested.tar.gz", "w:gz") as tar:
        tar.add(echo, "plain")
    expected = Predictor(echo).answer(ROWS)
    for place in (tmp_path / "nested.tar.gz", echo / "model-symbol.json", echo / "model"):
        assert Predictor(place).answer(ROWS) == expected
    network = mx.gluon.nn.HybridSequential()
    network.add(mx.gluon.nn.Dense(3))
    network.initialize(mx.init.One())
    network.hybridize()
    network(mx.nd.ones((2, 4)))
    (tmp_path / "gluon").mkdir()
    network.export(str(tmp_path / "gluon" / "model"), epoch=10)
    assert json.loads(Predictor(tmp_path / "gluon").answer(ROWS)[0]) == [[10] * 3, [26] * 3]
    (tmp_path / "gluon" / "model-0010.params").rename(tmp_path / "gluon" / "weights.bin")
    with pytest.raises(ModelError, match=r"weights\.bin") as caught:
        load_model(tmp_path / "gluon")
    assert caught.value.code == "model_incomplete"


@pytest.mark.usefixtures("local_root")
def test_the_lines_of_a_notebook_run_or_say_what_to_use(echo: Path, tmp_path: Path) -> None:
    archive = str(packed(echo, tmp_path / "m.tar.gz"))
    script = tmp_path / "train.py"
    script.write_text("")
    source = put(tmp_path / "in", a_csv=ROWS)
    assert LocalSession().upload_data(str(source), key_prefix="in").endswith("/in")
    estimator = MXNet(str(script), instance_type="local", hyperparameters={"epochs": 3})
    assert estimator.hyperparameters() == {"epochs": "3"}
    with pytest.raises(FastinferError, match=r"call fit\(\) first"):
        estimator.deploy(1, "local")
    with pytest.raises(FastinferError, match="create the endpoint with boto3") as caught:
        estimator.deploy(1, "ml.m4.xlarge")
    assert caught.value.code == "not_here"
    transformer = MXNetModel(model_data=archive).transformer(1, "local", output_path=str(tmp_path / "out"))
    transformer.transform(str(source), content_type="text/csv")
    assert json.loads((tmp_path / "out" / "a.csv.out").read_bytes()) == [[1, 2, 3, 4], [5, 6, 7, 8]]
