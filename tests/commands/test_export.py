"""``fastinfer export`` and its messages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from fastinfer.commands.export import MOST_ROWS, main, read_rows
from fastinfer.commands.verify import main as verify
from fastinfer.errors import InputError
from tests import networks
from tests.networks import mx

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.save(networks.mlp, tmp_path_factory.mktemp("mlp"))


def test_a_model_is_written_with_its_certificate(mlp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "model.onnx"
    assert main([str(mlp), str(target), "--json"]) == 0
    shown = capsys.readouterr()
    assert "certified against MXNet 1.9.1 on 512 rows" in shown.err
    assert json.loads(shown.out)["certificate"] == json.loads((tmp_path / "model.onnx.json").read_text())
    assert main([str(mlp), str(target)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([str(mlp), str(target), "--overwrite", "--quiet"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.json"]


def test_the_users_rows(mlp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "in"
    rows.mkdir()
    for number in range(3):
        (rows / f"{number}.csv").write_text(",".join(["0.5"] * 784) + "\n")
    assert main([str(mlp), str(tmp_path / "m.onnx"), "--rows", str(rows)]) == 0
    assert "on 3 rows" in capsys.readouterr().err
    (rows / "3.csv").write_text("1,2\n")
    assert main([str(mlp), str(tmp_path / "other.onnx"), "--rows", str(rows)]) == 1
    assert f"{rows}/3.csv" in capsys.readouterr().err


def test_the_users_rows_at_a_url(mlp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fsspec = pytest.importorskip("fsspec")
    for number in range(2):
        fsspec.filesystem("memory").pipe(f"/export-rows/{number}.csv", ",".join(["0.5"] * 784).encode() + b"\n")
    assert main([str(mlp), str(tmp_path / "m.onnx"), "--rows", "memory://export-rows/"]) == 0
    assert "on 2 rows" in capsys.readouterr().err
    certificate = json.loads((tmp_path / "m.onnx.json").read_text())
    assert certificate["rows"]["source"] == "memory://export-rows/"
    # It is checked again on the same rows, and says so if they are others.
    assert verify([str(tmp_path / "m.onnx")]) == 0
    fsspec.filesystem("memory").pipe("/export-rows/1.csv", b"1,2\n")
    assert verify([str(tmp_path / "m.onnx")]) == 1
    assert "export-rows/1.csv: expected a multiple" in capsys.readouterr().err
    fsspec.filesystem("memory").rm("/export-rows", recursive=True)


def test_what_is_not_certified_is_not_written(mlp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(mlp), str(tmp_path / "m.onnx"), "--tolerance", "0", "--json"]) == 1
    shown = capsys.readouterr()
    assert "is not written" in shown.err
    assert "they part at fullyconnected" in shown.err
    assert json.loads(shown.out)["certified"] is False
    assert list(tmp_path.iterdir()) == []


def test_an_operator_without_translation_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = networks.save(lambda: (mx.sym.gamma(mx.sym.var("data") + 2, name="odd"), (3,)), tmp_path / "model")
    assert main([str(model), str(tmp_path / "m.onnx")]) == 3
    assert "'odd' (gamma) cannot be written as ONNX" in capsys.readouterr().err


def test_rows_may_be_compressed(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.csv.gz").write_bytes(gzip.compress(b"1,2\n3,4\n"))
    (tmp_path / "rows" / "b.csv").write_bytes(b"5,6\n")
    assert read_rows(str(tmp_path / "rows"), 2).values.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert main([str(linear), str(tmp_path / "m.onnx"), "--rows", str(tmp_path / "rows")]) == 0


def test_of_many_rows_no_more_are_read_than_are_compared(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b"%d\n%d\n" % (number, -number) for number in range(400_000)))
    (tmp_path / "rows.csv.gz").write_bytes(packed[:-8] + bytes(8))  # the end of it is damaged
    rows = read_rows(str(tmp_path / "rows.csv.gz"), 2).values  # of two lines each
    assert rows.tolist() == [[number, -number] for number in range(MOST_ROWS)]


def test_a_bad_row_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,2\n\n3,x\n")
    with pytest.raises(InputError, match=r"rows\.csv:3:3: expected a number"):
        read_rows(str(tmp_path / "rows.csv"), 2)


@pytest.mark.parametrize("arguments", [["m.onnx", "--tolerance", "-1"], ["m.onnx", "--tolerance", "2"], ["m.pb"]])
def test_options_that_are_wrong(mlp: Path, arguments: list[str]) -> None:
    assert main([str(mlp), *arguments]) == 2
