"""Records that an operator of the model refuses while it runs: as bad as those that cannot be read, on every road."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer import Predictor, load_model, transform
from fastinfer.engine.request import TransformRequest
from fastinfer.engine.summary import Summary
from fastinfer.errors import InputError, ModelError
from fastinfer.handlers.request import Answer, Request
from fastinfer.options import Limits, Options
from fastinfer.records.finding import RecordFinder
from fastinfer.runtimes import refused
from tests import networks, runs
from tests.conftest import read_tree
from tests.networks import mx

# What four words of a table of five are: numbers up to 4.
GOOD, BAD = "2,1,0,3", "2,1,0,5"
SAID = r"the model refuses the record: MXNet cannot run it: .*take operator contains indices out of bound"
FILES = {
    "a.csv": f"{GOOD}\n4,4,4,4\n",
    "b.csv": f"{GOOD}\n\n{BAD}\n3,2,1,0\n{BAD}\n",
    "c.csv": f"{BAD}\n",
    "d.csv": "1,1,1,1\n",
}


@pytest.fixture(scope="module")
def lookup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words to rows of a table; a word that it lacks is refused."""
    table = mx.sym.var("table", shape=(5, 3), dtype="float32")
    words = mx.sym.take(table, mx.sym.var("data"), mode="raise")
    dense = mx.sym.FullyConnected(mx.sym.flatten(words), num_hidden=2, name="fc")
    return networks.write(tmp_path_factory.mktemp("lookup"), dense, {"data": (4,)})


@pytest.fixture(scope="module")
def predictor(lookup: Path) -> Predictor:
    return Predictor(lookup, exact=True)


def put(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def run(model: Path, folder: Path, files: dict[str, Any], options: Options, **rest: Any) -> Summary:
    return runs.transform(model, put(folder / "in", files), folder / "out", options, **rest)


def results(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in read_tree(folder / "out").items() if not name.startswith("_")}


def rejects(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "_rejects.jsonl").read_text().splitlines()]


def expected(predictor: Predictor, text: str) -> bytes:
    """The result of an object, with null in the place of what is refused."""
    rows = [line for line in text.splitlines() if line]
    answers = [b"null" if line == BAD else predictor.answer(line.encode())[0][1:-1] for line in rows]
    return b"[" + b", ".join(answers) + b"]"


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_a_refused_record_is_a_reject_and_the_others_have_their_results(
    exact: bool, backend: str, lookup: Path, predictor: Predictor, tmp_path: Path
) -> None:
    options = Options(exact=exact, on_error="quarantine", backend=backend, workers=1)
    summary = run(lookup, tmp_path, FILES, options)
    assert (summary.inputs, summary.records, summary.rejected) == (4, 8, 3)
    assert results(tmp_path) == {f"{name}.out": expected(predictor, text) for name, text in FILES.items()}
    found = [(each["key"], each["line"], each["code"], each["record"], each["range"]) for each in rejects(tmp_path)]
    assert found == [
        ("b.csv", 3, "refused_record", BAD, [9, 16]),
        ("b.csv", 5, "refused_record", BAD, [25, 32]),
        ("c.csv", 1, "refused_record", BAD, [0, 7]),
    ]
    assert "take operator contains indices out of bound" in rejects(tmp_path)[0]["message"]


def test_a_refused_record_fails_its_object_alone(lookup: Path, predictor: Predictor, tmp_path: Path) -> None:
    summary = run(lookup, tmp_path, FILES, Options(exact=True, on_error="continue"))
    assert (summary.inputs, summary.records, summary.rejected) == (2, 3, 2)
    assert results(tmp_path) == {f"{name}.out": expected(predictor, FILES[name]) for name in ("a.csv", "d.csv")}
    assert [(each["key"], each["line"], each["range"]) for each in rejects(tmp_path)] == [
        ("b.csv", 3, None),
        ("c.csv", 1, None),
    ]


def test_the_run_stops_at_the_first_one_and_what_is_before_it_is_finished(lookup: Path, tmp_path: Path) -> None:
    # The object behind it has an error that is seen earlier, because a batch is run when it is full.
    files = {**FILES, "c.csv": "2,1,0,x\n"}
    with pytest.raises(InputError, match=SAID) as caught:
        run(lookup, tmp_path, files, Options(workers=1))
    error = caught.value
    assert (error.code, error.path, error.line, error.exit_code) == (
        "refused_record",
        str(tmp_path / "in" / "b.csv"),
        3,
        1,
    )
    assert set(results(tmp_path)) == {"a.csv.out"}


# Objects whose payloads wait for others: the one behind them is seen to be empty before they are computed.
WAITING = TransformRequest(split_type="Line", strategy="SingleRecord", assemble_with="Line", accept="text/csv")


@pytest.mark.parametrize("limit", [0, 1])
@pytest.mark.parametrize(("bad", "code"), [(BAD, "refused_record"), (f"{GOOD},2,1,0,x", "expected_number")])
def test_of_payloads_as_well_the_first_error_in_the_order_of_the_inputs_is_told(
    limit: int, bad: str, code: str, lookup: Path, tmp_path: Path
) -> None:
    request = replace(WAITING, max_payload=limit)
    files = {"a.csv": f"{GOOD}\n", "b.csv": f"{GOOD}\n{bad}\n", "c.csv": "", "d.csv": f"{bad}\n"}
    with pytest.raises(InputError) as caught:
        run(lookup, tmp_path / "stop", files, Options(exact=True, workers=1), request=request)
    assert (caught.value.code, caught.value.path, caught.value.line) == (code, str(tmp_path / "stop/in/b.csv"), 2)
    assert set(results(tmp_path / "stop")) == {"a.csv.out"}
    # Where the run goes on all of them are counted.
    summary = run(lookup, tmp_path / "on", files, Options(exact=True, on_error="continue", workers=1), request=request)
    assert (summary.inputs, summary.rejected) == (1, 3)
    assert [(each["key"], each["code"]) for each in rejects(tmp_path / "on")] == [
        ("b.csv", code),
        ("c.csv", "empty_input"),
        ("d.csv", code),
    ]


@pytest.mark.parametrize("on_error", ["continue", "quarantine"])
def test_an_object_that_cannot_be_read_again_is_a_reject_alone(
    on_error: str, lookup: Path, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(*_: object) -> None:
        raise InputError("it is gone", code="input_missing")

    monkeypatch.setattr(RecordFinder, "find", find)
    run(lookup, tmp_path, FILES, Options(exact=True, on_error=on_error, workers=1))
    assert results(tmp_path) == {f"{name}.out": expected(predictor, FILES[name]) for name in ("a.csv", "d.csv")}
    found = [
        (each["key"], each["line"], each["range"], each["message"].partition(":")[0]) for each in rejects(tmp_path)
    ]
    assert found == [
        ("b.csv", None, None, "the model refuses record 2"),
        ("c.csv", None, None, "the model refuses record 1"),
    ]


# Every 50th record is bad: an object that is cut into spans, read in small pieces; and the same compressed.
SMALL = Limits(chunk_bytes=256, large_object_bytes=1000, span_bytes_least=1000, span_bytes_most=1000)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("on_error", ["stop", "continue", "quarantine"])
def test_of_a_large_object_the_lines_are_those_of_the_object(
    on_error: str, compressed: bool, lookup: Path, predictor: Predictor, tmp_path: Path
) -> None:
    text = "# words\n" + "".join(f"{BAD if number % 50 == 49 else GOOD}\n" for number in range(500))
    content = gzip.compress(text.encode()) if compressed else text.encode()
    options = Options(exact=True, on_error=on_error, workers=2, comment="#")
    request = TransformRequest(compression_type="auto")
    files = {"a.csv": content, "b.csv": GOOD}
    if on_error == "stop":
        with pytest.raises(InputError, match=SAID) as caught:
            run(lookup, tmp_path, files, options, request=request, limits=SMALL)
        assert caught.value.line is not None
        assert caught.value.line % 50 == 1
        return
    run(lookup, tmp_path, files, options, request=request, limits=SMALL)
    wanted = expected(predictor, GOOD)
    found = rejects(tmp_path)
    if on_error == "continue":
        assert results(tmp_path) == {"b.csv.out": wanted}
        assert [(each["key"], each["line"]) for each in found] == [("a.csv", 51)]
        return
    assert results(tmp_path) == {"a.csv.out": expected(predictor, text.partition("\n")[2]), "b.csv.out": wanted}
    assert [each["line"] for each in found] == [51 + 50 * number for number in range(10)]
    assert {text[slice(*each["range"])] for each in found} == {each["record"] for each in found} == {BAD}


ROADS: dict[str, tuple[TransformRequest, str, bytes]] = {
    "a column joined": (
        TransformRequest(input_filter="$[1:]", join_source="Input", split_type="Line", assemble_with="Line",
                         accept="text/csv", output_filter="$[0,-1]"),
        f"7,{GOOD}\n8,{BAD}\n9,{GOOD}\n",
        b"7,%b\nnull\n9,%b\n",
    ),
    "payloads of one line": (
        TransformRequest(split_type="Line", strategy="SingleRecord", accept="text/csv", max_payload=1),
        f"{GOOD}\n{BAD}\n{GOOD}\n",
        b"0,%b\nnull\n0,%b\n",
    ),
    "JSON Lines": (
        TransformRequest(content_type="application/jsonlines", accept="text/csv"),
        f"[{GOOD}]\n[{BAD}]\n[{GOOD}]\n",
        b"0,%b\nnull\n0,%b\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("road", ROADS)
def test_every_road_of_lines_rejects_the_record(road: str, lookup: Path, predictor: Predictor, tmp_path: Path) -> None:
    request, text, form = ROADS[road]
    run(lookup, tmp_path, {"a": text}, Options(exact=True, on_error="quarantine"), request=request)
    first, last = (repr(value).encode() for value in json.loads(predictor.answer(GOOD.encode())[0])[0])
    found = results(tmp_path)["a.out"].replace(first + b",", b"0,")
    assert found == form.replace(b"%b", last)
    (reject,) = rejects(tmp_path)
    assert (reject["line"], reject["code"]) == (2, "refused_record")
    assert reject["record"].encode() == text.splitlines()[1].encode()


LINES = {
    "rows": (TransformRequest(), "{}"),
    "a column joined": (ROADS["a column joined"][0], "7,{}"),
    "payloads of one line": (ROADS["payloads of one line"][0], "{}"),
    "payloads of lines": (TransformRequest(split_type="Line", accept="text/csv", max_payload=1), "{}"),
    "JSON Lines": (TransformRequest(content_type="application/jsonlines"), "[{}]"),
    "JSON Lines, filtered": (
        TransformRequest(content_type="application/jsonlines", input_filter="$.v", join_source="Input",
                         split_type="Line", assemble_with="Line", accept="application/jsonlines"),
        '{{"v": [{}]}}',
    ),
}  # fmt: skip


@pytest.mark.parametrize("on_error", ["stop", "continue"])
@pytest.mark.parametrize("road", LINES)
def test_of_two_errors_in_an_object_the_first_is_named(road: str, on_error: str, lookup: Path, tmp_path: Path) -> None:
    request, form = LINES[road]
    options = Options(exact=True, on_error=on_error, workers=1)
    # One batch has both, or each is in one of its own.
    for gap in (0, 30):
        for number, (first, second) in enumerate([(BAD, "2,1,0,x"), ("2,1,0,x", BAD)]):
            folder = tmp_path / f"{gap}-{number}"
            folder.mkdir()
            lines = [GOOD, first, *[GOOD] * gap, second, GOOD]
            files = {"a": GOOD, "b": "".join(f"{line}\n" for line in lines), "c": GOOD}
            files = {name: "".join(form.format(line) + "\n" for line in text.split()) for name, text in files.items()}
            if on_error == "stop":
                with pytest.raises(InputError) as caught:
                    run(lookup, folder, files, options, request=request)
                found = (caught.value.line, caught.value.code == "refused_record")
            else:
                run(lookup, folder, files, options, request=request)
                assert set(results(folder)) == {"a.out", "c.out"}
                (reject,) = rejects(folder)
                found = (reject["line"], reject["code"] == "refused_record")
            assert found == (2, first == BAD)


MARK = b"\xef\xbb\xbf"
MARKED: dict[str, tuple[TransformRequest | None, bytes]] = {
    "rows": (None, b""),
    "a column joined": (ROADS["a column joined"][0], b"7,"),
    "payloads of one line": (ROADS["payloads of one line"][0], b""),
    "filtered payloads": (
        TransformRequest(input_filter="$[1:]", split_type="Line", strategy="SingleRecord", max_payload=1), b"7,"
    ),
}  # fmt: skip


@pytest.mark.parametrize("road", MARKED)
def test_the_reject_of_a_line_with_a_byte_order_mark_has_the_bytes_of_the_line(
    road: str, lookup: Path, tmp_path: Path
) -> None:
    request, front = MARKED[road]
    for code, text, column in (("refused_record", BAD, None), ("expected_number", "2,1,0,x", 10 + len(front))):
        line = MARK + front + text.encode()
        folder = tmp_path / code
        folder.mkdir()
        files = {"a.csv": line + b"\r\n" + front + GOOD.encode()}
        run(lookup, folder, files, Options(exact=True, on_error="quarantine"), request=request or TransformRequest())
        (reject,) = rejects(folder)
        assert (reject["code"], reject["line"], reject["column"]) == (code, 1, column)
        assert (reject["record"].encode(), reject["range"]) == (line, [0, len(line)])


def test_of_a_document_the_number_of_the_record_is_said(lookup: Path, tmp_path: Path) -> None:
    files = {"a": f"[[{GOOD}]]", "b": f"[[{GOOD}], [{GOOD}], [{BAD}]]"}
    request = TransformRequest(content_type="application/json")
    run(lookup, tmp_path, files, Options(exact=True, on_error="quarantine"), request=request)
    assert set(results(tmp_path)) == {"a.out"}
    (reject,) = rejects(tmp_path)
    assert (reject["key"], reject["line"]) == ("b", None)
    assert reject["message"].startswith("the model refuses record 3: MXNet cannot run it")


def test_requests_that_share_a_batch_do_not_share_a_refusal(predictor: Predictor) -> None:
    bodies = [(GOOD, "text/csv"), (f"{GOOD}\n\n{BAD}", "text/csv"), (f"[[{GOOD}],[{BAD}]]", "application/json")]
    answers = predictor.answer_many([Request(*each) for each in [*bodies, (BAD, "text/csv"), bodies[0]]])
    assert [isinstance(each, Answer) for each in answers] == [True, False, False, False, True]
    places = [(each.line, each.message[:27]) for each in answers if isinstance(each, InputError)]
    assert places == [
        (3, "the model refuses the recor"),
        (None, "the model refuses record 2:"),
        (1, "the model refuses the recor"),
    ]


def test_a_run_whose_records_are_all_refused_ends(
    lookup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused, "MOST_IN_A_ROW", 32)
    files = {"a.csv": f"{GOOD}\n", "b.csv": f"{BAD}\n" * 100}
    with pytest.raises(ModelError, match=r"it refuses 3[2-9] records in a row; the last one: MXNet cannot run it"):
        run(lookup, tmp_path, files, Options(exact=True, on_error="quarantine", workers=1))


@pytest.mark.parametrize("batch", ["n", 4])
def test_a_model_in_onnx_refuses_records_as_one_of_mxnet_does(batch: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests.models.test_onnx import INT64, info, make

    table = onnx.numpy_helper.from_array(np.arange(40, dtype=np.float32).reshape(20, 2), "table")
    node = onnx.helper.make_node("Gather", ["table", "ids"], ["rows"])
    content = make([info("ids", [batch, 1], INT64)], [info("rows", [batch, 1, 2])], [node], [table])
    (tmp_path / "model.onnx").write_bytes(content)
    # One is too large for the table; one is no whole number, which the type of the input cannot hold.
    put(tmp_path / "in", {"a.csv": "3\n20\n19\n", "b.csv": "1.5\n", "c.csv": "0\n"})
    summary = transform(tmp_path / "in", tmp_path / "out", tmp_path / "model.onnx", on_error="quarantine", workers=1)
    assert (summary.records, summary.rejected) == (5, 2)
    assert results(tmp_path) == {
        "a.csv.out": b"[[[6.0, 7.0]], null, [[38.0, 39.0]]]",
        "b.csv.out": b"[null]",
        "c.csv.out": b"[[[0.0, 1.0]]]",
    }
    first, second = rejects(tmp_path)
    assert (first["line"], first["code"], second["line"], second["record"]) == (2, "refused_record", 1, "1.5")
    assert "out of data bounds" in first["message"]
    assert second["message"].endswith("takes int64: whole numbers from -16,777,215 to 16,777,215, found 1.5")


def test_a_refused_record_of_several_rows_and_outputs(tmp_path: Path) -> None:
    table = mx.sym.var("table", shape=(5, 3), dtype="float32")
    words = mx.sym.take(table, mx.sym.reshape(mx.sym.var("data"), shape=(-1, 2)), mode="raise")
    sums = mx.sym.sum(words, axis=2)
    model = networks.write(tmp_path / "m", mx.sym.Group([sums, mx.sym.argmax(sums, axis=1)]), {"data": (4,)})
    predictor = Predictor(load_model(model, output="all"), exact=True)
    request, bad = Request(GOOD, "text/csv"), Request(f"{BAD}\n{BAD}", "text/csv")
    alone, (refused_only,) = predictor.answer_many([request]), predictor.answer_many([bad])
    assert [each == alone[0] for each in predictor.answer_many([request, bad, request])] == [True, False, True]
    assert isinstance(refused_only, InputError)
    assert refused_only.line == 1


def test_a_graph_that_holds_a_batch_size_refuses_records_alone(lookup: Path, tmp_path: Path) -> None:
    table = mx.sym.var("table", shape=(5, 3), dtype="float32")
    words = mx.sym.take(table, mx.sym.reshape(mx.sym.var("data"), shape=(8, 4)), mode="raise")
    saved = mx.nd.load(str(lookup / "model-0000.params"))
    dense = mx.sym.FullyConnected(mx.sym.flatten(words), num_hidden=2, name="fc")
    held = networks.write(tmp_path / "m", dense, {"data": (4,)}, saved, batch=8)
    # More than a batch: the last one is padded with what is left of one that was refused.
    text = f"{GOOD}\n{BAD}\n4,4,4,4\n" * 3 + f"{GOOD}\n"
    with pytest.warns(RuntimeWarning, match="holds batch size 8"):
        run(held, tmp_path, {"a.csv": text}, Options(on_error="quarantine", workers=1))
    rows = json.loads(results(tmp_path)["a.csv.out"])
    assert [row is None for row in rows] == [line == BAD for line in text.splitlines()]
    alone = Predictor(lookup, exact=True).predict(np.array([[2, 1, 0, 3], [4, 4, 4, 4]]))
    assert np.allclose(rows[0], alone[0], atol=1e-6)
    assert np.allclose(rows[2], alone[1], atol=1e-6)
    assert rows[-1] == rows[0]
