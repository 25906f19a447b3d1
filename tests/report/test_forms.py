"""How results are written is known by the run's record, else by the first result; the page is of the predictions alone."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.commands.report import main
from fastinfer.engine import run as engine
from fastinfer.engine.request import TransformRequest
from fastinfer.engine.source import Listing, name_source
from fastinfer.errors import ConfigError, InputError
from fastinfer.models.module import load_model
from fastinfer.report.forms import Form, first_to_tell, form_of
from fastinfer.report.predictions import read_predictions
from fastinfer.report.results import Result, find_results, read_record
from fastinfer.report.rows import choose_field
from tests.networks import mx, write

ROWS = np.random.default_rng(3).uniform(0, 9, (5, 4)).round(3)
LABELS = [0, 1, 2, 0, 1]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Probabilities of three classes; two outputs; two rows for each record."""
    root = tmp_path_factory.mktemp("models")
    data = mx.sym.var("data")

    def classes(layer: Any) -> Any:
        return mx.sym.softmax(mx.sym.FullyConnected(layer, num_hidden=3, name="fc"), name="softmax")

    score = mx.sym.FullyConnected(data, num_hidden=1, name="score")
    return {
        "one": write(root / "one", classes(data), {"data": (4,)}),
        "two": write(root / "two", mx.sym.Group([score, classes(data)]), {"data": (4,)}),
        "rows": write(root / "rows", classes(mx.sym.reshape(data, shape=(-1, 2))), {"data": (4,)}),
    }


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("inputs")
    plain = [",".join(map(str, row)) for row in ROWS.tolist()]
    texts = {
        "a.csv": "".join(f"{line}\n" for line in plain),
        "ids.csv": "".join(f"r{number},{line},{LABELS[number]}\n" for number, line in enumerate(plain)),
        "names.csv": "id,w,x,y,z,label\n" + "".join(f"r{n},{line},{LABELS[n]}\n" for n, line in enumerate(plain)),
        "a.json": json.dumps(ROWS.tolist()),
        "a.jsonl": "".join(f"{json.dumps(row)}\n" for row in ROWS.tolist()),
    }
    for name, text in texts.items():
        (root / name).write_text(text)
    np.save(root / "a.npy", ROWS)
    return {name: root / name for name in (*texts, "a.npy")}


def run(model: Path, source: Path, out: Path, output: str | None = None, **request: Any) -> Path:
    asked = TransformRequest(**request)
    objects = Listing(str(source), asked, output=str(out))
    loaded = load_model(model, **({"output": output} if output else {}))
    engine.transform(loaded, objects, str(out), source=name_source(str(source)), request=asked)
    return out


KINDS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".npy": "application/x-npy",
}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "JSON": ("a.csv", {}),
    "CSV": ("a.csv", {"accept": "text/csv"}),
    "JSON Lines": ("a.csv", {"accept": "application/jsonlines"}),
    "NPY": ("a.csv", {"accept": "application/x-npy"}),
    "one answer a line": ("a.csv", {"split_type": "line", "strategy": "singlerecord", "assemble_with": "line"}),
    "answers side by side": ("a.csv", {"split_type": "line", "strategy": "singlerecord"}),
    "joined": ("a.csv", {"join_source": "input"}),
    "joined, cut": ("ids.csv", {"join_source": "input", "input_filter": "$[1:5]"}),
    "joined, filtered": ("ids.csv", {"join_source": "input", "input_filter": "$[1:5]", "output_filter": "$[0, 6:]"}),
    "id and label": ("ids.csv", {"id_column": 0, "label_column": 5}),
    "names": ("names.csv", {"header": "keep", "id_column": "id", "label_column": "label"}),
    "joined names": ("names.csv", {"header": "keep", "input_filter": "$[1:5]", "join_source": "input"}),
    "of JSON": ("a.json", {}),
    "of JSON, joined": ("a.json", {"join_source": "input"}),
    "of JSON Lines": ("a.jsonl", {"split_type": "line", "accept": "application/jsonlines"}),
    "of JSON Lines, joined": ("a.jsonl", {"join_source": "input"}),
    "of JSON Lines, answers": ("a.jsonl", {"join_source": "input", "output_filter": "$.SageMakerOutput"}),
    "of NPY": ("a.npy", {}),
}


@pytest.fixture(scope="module")
def expected(models: dict[str, Path], inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    out = run(models["one"], inputs["a.csv"], tmp_path_factory.mktemp("expected") / "out")
    rows = json.loads(next(out.glob("*.out")).read_text())
    return [int(np.argmax(row)) for row in rows]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same_and_shows_the_same_inputs(
    name: str,
    models: dict[str, Path],
    inputs: dict[str, Path],
    expected: list[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, request = FORMS[name]
    content_type = KINDS[inputs[source].suffix]
    out = run(models["one"], inputs[source], tmp_path / "out", content_type=content_type, **request)
    page = tmp_path / "page.html"
    assert main([str(out), "--inputs", str(inputs[source]), "--json", "-o", str(page)]) == 0
    said, err = capsys.readouterr()
    report = json.loads(said)
    assert (report["kind"], report["predictions"]) == ("classes", expected)
    assert report.get("labels") == (LABELS if request.get("label_column") else None)
    assert "warning" not in err
    content = json.loads(page.read_text().partition('id="content">')[2].partition("</script>")[0])
    assert [[float(cell) for cell in row.split(",")] for row in content["rows"]["details"]["values"]] == ROWS.tolist()


def test_a_part_of_a_prediction_is_never_taken_for_its_classes(
    models: dict[str, Path], inputs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (source, request, kind) in enumerate(
        [
            ("a.csv", {"output_filter": "$[0:2]"}, "values"),
            ("a.csv", {"join_source": "input", "output_filter": "$[0,-1]"}, "numbers"),
            ("a.json", {"output_filter": "$[0]", "content_type": "application/json"}, "numbers"),
        ]
    ):
        out = run(models["one"], inputs[source], tmp_path / str(number), **request)
        form = form_of(read_record(str(out)), first_to_tell(find_results(str(out))))
        assert not form.is_whole
        assert main([str(out), "--json", "--inputs", str(inputs[source]), "-o", str(tmp_path / "page.html")]) == 0
        said, err = capsys.readouterr()
        assert json.loads(said)["kind"] == kind
        assert "warning: " in err
        assert "output filter" in err


def test_several_outputs_and_several_rows_of_a_record_are_shown(
    models: dict[str, Path], inputs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(models["two"], inputs["a.csv"], tmp_path / "two", output="all")
    assert main([str(out), "--json"]) == 0
    said, err = capsys.readouterr()
    assert json.loads(said)["kind"] == "numbers"
    assert "warning: of each row 'score_output' is shown; it also has 'softmax_output'" in err
    assert main([str(out), "--json", "--field", "softmax_output"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "classes"
    out = run(models["rows"], inputs["a.csv"], tmp_path / "rows")
    page = tmp_path / "page.html"
    assert main([str(out), "--inputs", str(inputs["a.csv"]), "-o", str(page)]) == 0
    content = json.loads(page.read_text().partition('id="content">')[2].partition("</script>")[0])
    shown = [[float(cell) for cell in row.split(",")] for row in content["rows"]["details"]["values"]]
    assert shown == np.repeat(ROWS, 2, axis=0).tolist()


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("[[1, 2]]", Form()),
        ("", Form()),
        ("[1, 2]", Form()),
        ("[[1]]\n[[2]]\n", Form()),
        ('{"SageMakerOutput": 1}\n', Form()),
        ("1,2\n", Form("text/csv")),
        ("null\n1,2\n", Form("text/csv")),
        pytest.param("null\n" * 14_000 + "1,2\n", Form("text/csv"), id="many nulls"),
        ("null\n[1]\n", Form()),
        ("\x93NUMPY", Form("application/x-npy")),
    ],
)
def test_without_a_record_the_first_result_says_how_it_is_written(tmp_path: Path, text: str, form: Form) -> None:
    path = tmp_path / "x.out"
    path.write_bytes(text.encode("latin-1"))
    assert form_of({}, Result("x", str(path))) == form


def test_without_a_record_lines_of_numbers_are_rows_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.out"
    path.write_text("[1, 2]\n[3, 4]\n")
    form = form_of({}, Result("x", str(path)))
    assert form.content_type == "application/jsonlines"
    assert "each line is read as a row" in form.notes[0]


def test_a_line_that_is_too_deep_is_no_row(tmp_path: Path) -> None:
    path = tmp_path / "x.out"
    path.write_text("[" * 50_000 + "\n[3, 4]\n")
    assert form_of({}, Result("x", str(path))) == Form("application/json")


def test_the_last_columns_are_the_prediction_where_a_user_says_so(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.out").write_text("a,5,0.25,0.75\nb,6,0.75,0.25\n")
    results = find_results(str(out))
    with pytest.raises(InputError, match="no number"):
        read_predictions(results, form=form_of({}, results[0]))
    form = form_of({}, results[0], last_columns=2)
    assert read_predictions(results, form=form).classes.tolist() == [1, 0]
    with pytest.raises(ConfigError, match="has 4 columns"):
        form_of({}, results[0], last_columns=5)
    (out / "x.out").write_text("[[1]]")
    with pytest.raises(ConfigError, match="only results in CSV"):
        form_of({}, results[0], last_columns=1)


def test_columns_that_cannot_be_told_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.csv.out").write_text("1,2,0.25,0.75\n")
    record = {"row_shape": None, "request": {"join_source": "input"}, "depends_on": {"join_source": "input"}}
    (out / "_run.json").write_text(json.dumps(record))
    assert main([str(out)]) == 1
    assert "cannot be told which columns" in (said := capsys.readouterr().err)
    assert "--prediction-columns" in said
    assert main([str(out), "--prediction-columns", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"] == [1]
    (tmp_path / "x.csv").write_text("1,2\n")
    assert main([str(out), "--inputs", str(tmp_path / "x.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"] == [1]


@pytest.mark.parametrize(
    "sizes",
    [{"row_shape": [2**31 - 1]}, {"row_shape": [46341, 46341]}, {"row_shape": [2], "prediction_values": 2**31 - 1}],
)
def test_columns_of_a_record_with_huge_sizes_cannot_be_told(tmp_path: Path, sizes: dict[str, Any]) -> None:
    (tmp_path / "a.out").write_text("1,2,3,4\n")
    request = {"join_source": "input", "input_filter": "$[1:]", "output_filter": "$[0, 1:]", "split_type": "line"}
    request.update(content_type="text/csv", accept="text/csv", assemble_with="line")
    with pytest.raises(InputError, match="it cannot be told which columns are the prediction"):
        form_of({"request": request, **sizes}, first_to_tell(find_results(str(tmp_path))))


def test_few_columns_of_a_huge_prediction_are_a_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.out").write_text("1,2,3\n")
    request = {"join_source": "input", "output_filter": "$[0, -2:]", "split_type": "line", "assemble_with": "line"}
    record = {"request": request, "row_shape": [4], "prediction_values": 2**31 - 1}
    form = form_of(record, first_to_tell(find_results(str(tmp_path))))
    assert form.columns == (1, 2)
    assert not form.is_whole


def test_missing_labels_and_predictions_that_are_no_numbers_are_counted_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.out").write_text("[[0.25, 0.75], [0.75, 0.25], [NaN, 1.0], [0.75, 0.25]]")
    labels = tmp_path / "labels"
    labels.write_text("1\nnan\n0\n1\n")
    page = tmp_path / "page.html"
    assert main([str(out), "--labels", str(labels), "--json", "-o", str(page)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["labels"], report["accuracy"]) == ("classes", [1, None, 0, 1], 0.5)
    content = json.loads(page.read_text().partition('id="content">')[2].partition("</script>")[0])
    assert ["accuracy", "0.5000 (1 of 2)"] in content["facts"]
    assert ["without a label", "1"] in content["facts"]
    (out / "a.out").write_text("[[Infinity], [-Infinity], [NaN], [1.5]]")
    assert main([str(out), "--labels", str(labels), "--json", "-o", str(page)]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"] == [None, None, None, 1.5]
    assert main([str(out), "--labels", str(labels)]) == 0


@pytest.mark.parametrize("text", ["[]", "[null]", "[[1.0]]", "[[0.5, 0.5]]"])
def test_no_row_and_one_row_make_a_page(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.csv.out").write_text(text)
    (tmp_path / "a.csv").write_text("" if text == "[]" else "1,2\n")
    page = tmp_path / "page.html"
    for arguments in ([], ["--json"], ["--inputs", str(tmp_path)], ["--inputs", str(tmp_path), "-o", str(page)]):
        assert main([str(out), *arguments]) == 0
    assert "error" not in capsys.readouterr().err
    assert choose_field(Form(), find_results(str(out))) == Form()


@pytest.mark.parametrize("form", ["JSON", "CSV", "JSON Lines", "NPY", "joined", "names", "of JSON", "of JSON Lines"])
def test_a_first_result_without_predictions_changes_nothing_of_the_others(
    form: str, models: dict[str, Path], inputs: dict[str, Path], expected: list[int], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    name, request = FORMS[form]
    kind = Path(name).suffix
    if kind != ".csv":
        request = {"content_type": KINDS[kind], **request}
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / f"b{kind}").write_bytes(inputs[name].read_bytes())
    out = run(models["one"], folder, tmp_path / "out", **request)
    first = out / f"a{kind}.out"
    for is_rejected in (False, True) if form != "NPY" else (False,):
        bad = {"a.csv": "1,2,3,x\n", "ids.csv": "r,x,x,x,x,1\n", "names.csv": "id,w,x,y,z,label\nr,x,x,x,x,1\n"}
        (folder / f"a{kind}").write_text(bad.get(name, '"x"\n') * is_rejected)
        if form == "NPY":
            np.save(tmp_path / "none.npy", np.zeros((0, 3)))
            first.write_bytes((tmp_path / "none.npy").read_bytes())
        elif form in ("JSON", "of JSON"):
            first.write_text("[null]" if is_rejected else "[]")
        else:
            head = (out / "b.csv.out").read_text().splitlines()[0] + "\n" if form == "names" else ""
            first.write_text(f"{head}null\n" if is_rejected else "")
        for arguments in (["--json"], ["--json", "--inputs", str(folder), "-o", str(tmp_path / "page.html")]):
            assert main([str(out), *arguments]) == 0
            assert json.loads(capsys.readouterr().out)["predictions"] == [None] * is_rejected + expected
        assert main([str(out), "--inputs", str(folder)]) == 0
        assert "predictions " in capsys.readouterr().out


def test_the_first_row_says_how_a_folder_without_a_record_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for first, second in (
        ("", "0.25,0.75\n"),
        ("null\n", "0.25,0.75\n"),
        ("[null]", '[{"a": "x", "b": [0.25, 0.75]}]'),
    ):
        (tmp_path / "a.out").write_text(first)
        (tmp_path / "b.out").write_text(second)
        assert main([str(tmp_path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["predictions"][-1] == 1


def test_a_result_of_one_long_line_is_not_read_to_see_that_it_has_rows(tmp_path: Path) -> None:
    (tmp_path / "a.out").write_text("null\nnull\n")
    (tmp_path / "b.out").write_text("[" + "0.5," * 1_000_000 + "1]")
    results = find_results(str(tmp_path))
    tracemalloc.start()
    try:
        found = first_to_tell(results)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == results[1]
    assert peak < 1 << 20
