"""One body and its answer: as the container's decoder, Module and encoder give it."""

from __future__ import annotations

import contextlib
import doctest
import gc
import io
import json
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastinfer
from fastinfer import Predictor
from fastinfer.errors import ConfigError, InputError, ModelError
from fastinfer.handlers.request import Request
from fastinfer.models.module import load_model
from fastinfer.options import Options
from tests import networks
from tests.conftest import csv
from tests.networks import mx
from tests.runs import transform

CSV, JSON, NPY = "text/csv", "application/json", "application/x-npy"
NETWORKS = [networks.mlp, networks.convolution, networks.linear, networks.scalar, networks.segmentation]

# A header names shape, order and type; this one lacks the order.
NO_ORDER = b"\x93NUMPY\x01\x00\x26\x00{'descr': '<f4', 'shape': (1, 2), }    \n"


class Case(NamedTuple):
    predictor: Predictor
    container: Callable[[bytes, str, str], bytes]
    row_shape: tuple[int, ...]


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network.__name__)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A model, and what the container's own code answers with it."""
    folder = networks.save(request.param, tmp_path_factory.mktemp("model"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the toolkit's own imports use what is deprecated
        from sagemaker_mxnet_serving_container.default_inference_handler import DefaultModuleInferenceHandler

        handler = DefaultModuleInferenceHandler()
        module = handler.default_model_fn(str(folder))

    def container(body: bytes, content_type: str, accept: str) -> bytes:
        data = body if content_type == NPY else body.decode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoded = handler.default_input_fn(data, content_type, module)
            answer = handler.default_output_fn(handler.default_predict_fn(decoded, module), accept)
        return answer if isinstance(answer, bytes) else answer.encode()

    predictor = Predictor(folder, exact=True)
    return Case(predictor, container, predictor.model.row_shape)


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), version=version)
    return stream.getvalue()


def bodies(row_shape: tuple[int, ...]) -> dict[str, tuple[bytes, str]]:
    """Bodies by name: good ones, and ones that no model or not every model takes."""
    rows = np.random.RandomState(2).uniform(-1, 3, (11, *row_shape))
    flat = rows.reshape(11, -1)
    text = b"\n".join(b",".join(repr(value).encode() for value in row) for row in flat.tolist())
    mixed = flat.tolist()
    mixed[0][0], mixed[1][0] = True, 10**30
    return {
        "csv": (text, CSV),
        "csv of one row": (text.split(b"\n")[0] + b"\r\n", CSV),
        "csv of one value less": (text.rpartition(b",")[0], CSV),
        "csv with text": (b"a,b\n" + text, CSV),
        "no csv": (b"", CSV),
        "json": (json.dumps(rows.tolist()).encode(), JSON),
        "json of one row": (json.dumps(rows[:1].tolist()).encode(), JSON),
        "flat json": (json.dumps(flat.tolist()).encode(), JSON),
        "json without a batch": (json.dumps(rows[0].tolist()).encode(), JSON),
        "json of one list": (json.dumps(flat[0].tolist()).encode(), JSON),
        "json of other rows": (json.dumps(np.ones((3, 1, 7, 9)).tolist()).encode(), JSON),
        "json with true and a large integer": (json.dumps(mixed).encode(), JSON),
        "json of large integers": (json.dumps([[10**30] * flat.shape[1]]).encode(), JSON),
        "json beyond double": (json.dumps([[10**400] * flat.shape[1]]).encode(), JSON),
        "json that is not finite": (json.dumps(np.full((2, *row_shape), np.inf).tolist()).encode(), JSON),
        "json beyond float": (json.dumps(np.full((2, *row_shape), 1e39).tolist()).encode(), JSON),
        "json of unequal rows": (b"[[1, 2], [3]]", JSON),
        "json of nothing": (b"[]", JSON),
        "json of an empty row": (b"[[]]", JSON),
        "json of a number": (b"1", JSON),
        "json of an object": (b'{"instances": [[1, 2]]}', JSON),
        "json cut off": (b"[[1, 2", JSON),
        "json that is not utf-8": (b'["\xff"]', JSON),
        "json with a byte order mark": (b"\xef\xbb\xbf[[1, 2]]", JSON),
        "json of words": (b'[["one", "two"]]', JSON),
        "npy": (npy(rows), NPY),
        "npy of half floats": (npy(rows.astype(np.float16)), NPY),
        "npy of bytes": (npy(rows.astype(np.uint8)), NPY),
        "npy of the other byte order": (npy(rows.astype(">f8")), NPY),
        "npy in Fortran's order": (npy(np.asfortranarray(rows)), NPY),
        "npy 2.0": (npy(rows, (2, 0)), NPY),
        "npy of no rows": (npy(rows[:0]), NPY),
        "npy of a number": (npy(1.0), NPY),
        "npy cut off": (npy(rows)[:-1], NPY),
        "npy without an order": (NO_ORDER + b"\0" * 8, NPY),
        "npy of nothing": (b"", NPY),
        "no npy": (b"1,2\n", NPY),
        "another type": (text, "text/plain"),
    }


@pytest.mark.parametrize("accept", [JSON, CSV, NPY, f"image/png, {CSV},{JSON}", "image/png"])
def test_the_answer_is_the_containers(accept: str, case: Case) -> None:
    answered = 0
    for name, (body, content_type) in bodies(case.row_shape).items():
        try:
            expected = case.container(body, content_type, accept)
        except Exception:
            with pytest.raises(InputError):
                case.predictor.answer(body, content_type, accept)
        else:
            assert case.predictor.answer(body, content_type, accept)[0] == expected, name
            answered += 1
    deep = len(case.predictor.output_shape) > 1
    assert (answered > 5) == (accept not in ("application/json;q=0.9", "image/png") and not (deep and CSV in accept))


@pytest.mark.parametrize("count", [1, 2, 4, 5, 7, 8, 9, 12, 13, 100])
def test_any_number_of_rows_is_answered_as_by_the_container(count: int, case: Case) -> None:
    rows = np.random.RandomState(count).uniform(-1, 1, (count, *case.row_shape)).astype(np.float32)
    assert case.predictor.answer(npy(rows), NPY, JSON)[0] == case.container(npy(rows), NPY, JSON)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.tuples(st.floats(width=32), st.floats(width=32)).map(list),
        min_size=1,
        max_size=20,
    )
)
def test_the_encoders_are_the_containers(values: list[list[float]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sagemaker_inference import encoder
    predictions = np.array(values, dtype=np.float32)
    for content_type in (JSON, CSV, NPY):
        for each in (predictions, predictions[:, :1], predictions[:, 0]):
            expected = encoder.encode(each.tolist(), content_type)
            expected = expected if isinstance(expected, bytes) else expected.encode()
            assert predictor().encode(each, content_type) == (expected, content_type)


_made: list[Predictor] = []


def predictor() -> Predictor:
    """Of the model that fastinfer ships; made once."""
    if not _made:
        _made.append(Predictor(exact=True))
    return _made[0]


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "code", "message"),
    [
        (b"1", "text/plain", JSON, "unsupported_content_type", "unsupported content type 'text/plain'"),
        (b"1", "", JSON, "unsupported_content_type", "''"),
        (b"1", CSV, "image/png", "unsupported_accept", "unsupported Accept 'image/png'"),
        (b"1,2\n", CSV, JSON, "partial_row", "^expected a multiple of 784 values, found 2"),
        (b"1,2\n3,x\n", CSV, JSON, "expected_number", "2:3: expected a number, found 'x'"),
        (b"1,\n", CSV, JSON, "empty_cell", "1:3: expected a number, found an empty field"),
        (b"1,2\n1\n", CSV, JSON, "unequal_line", "2:2: expected 2 fields as in the first line, found 1"),
        (b"\n\n", CSV, JSON, "empty_input", "empty input: no values found"),
        (b"{", JSON, JSON, "bad_json", "1:2: invalid JSON"),
        (b"[" * 100_000, JSON, JSON, "bad_json", "nested too deeply"),
        (b"[[1], [1, 2]]", JSON, JSON, "bad_values", "expected a rectangular list of numbers"),
        (b'[["1"]]', JSON, JSON, "bad_values", "expected numbers, found text"),
        (b"[[null]]", JSON, JSON, "bad_values", "expected numbers, found null"),
        (b"[[1, 2]]", JSON, JSON, "bad_shape", r"expected rows of shape \(1, 28, 28\), found \(2,\)"),
        (b"1", JSON, JSON, "bad_shape", "found a single value"),
        (b"[]", JSON, JSON, "empty_input", "empty input: no rows found"),
        (b"nothing", NPY, JSON, "bad_npy", "expected an NPY array"),
        (npy(np.zeros((1, 784)))[:-8], NPY, JSON, "bad_npy", "expected 6,272 bytes .*, found 6,264"),
        (npy(np.zeros((1, 784))) + b"!", NPY, JSON, "bad_npy", "expected 6,272 bytes .*, found 6,273"),
        (npy(np.zeros((1, 784), np.complex64)), NPY, JSON, "bad_values", "expected numbers"),
        (npy(np.array(["a"])), NPY, JSON, "bad_values", "expected numbers"),
    ],
)
def test_errors_state_what_is_wrong(body: bytes, content_type: str, accept: str, code: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        predictor().answer(body, content_type, accept)
    assert caught.value.code == code
    assert caught.value.hint == ("the line ends in a comma: remove it" if code == "empty_cell" else None)


def test_an_npy_body_is_not_unpickled_and_takes_no_memory_for_what_it_only_claims() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="expected numbers"):
        predictor().decode(stream.getvalue(), NPY)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 784)})
    with pytest.raises(InputError, match="found 8"):
        predictor().decode(header.getvalue() + b"\0" * 8, NPY)


def test_many_requests_are_answered_as_one_by_one_each_with_its_own_error(case: Case) -> None:
    requests = [
        Request(body, content_type, accept)
        for accept in (None, JSON, CSV, NPY, "image/png")
        for body, content_type in bodies(case.row_shape).values()
    ]
    results = case.predictor.answer_many(requests)
    answered = 0
    for request, result in zip(requests, results):
        if isinstance(result, Exception):
            with pytest.raises(InputError) as caught:
                case.predictor.answer(*request)
            assert str(caught.value) == str(result)
        else:
            assert case.predictor.answer(*request) == (result.body, result.content_type)
            assert result.rows == len(case.predictor.decode(request.body, request.content_type))
            answered += 1
    assert answered > 5
    assert case.predictor.answer_many([]) == []


def test_requests_that_can_share_a_batch_do(digits: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    answering = Predictor(exact=True)
    counts: list[int] = []
    run = answering._run

    def count(rows: Any) -> Any:
        counts.append(len(rows))
        return run(rows)

    monkeypatch.setattr(answering, "_run", count)
    flat = json.dumps(digits[:2].tolist()).encode()
    requests = [
        Request(csv(digits[:3]), CSV),
        Request(b"oops", CSV),
        Request(flat, JSON),
        Request(npy(digits[:1]), NPY),
    ]
    results = answering.answer_many(requests)
    assert counts == [6]
    assert [isinstance(result, Exception) for result in results] == [False, True, False, False]


def test_an_error_of_the_model_is_that_of_all_requests_of_its_batch(
    digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = Predictor()

    def fail(_: Any) -> Any:
        raise MemoryError("as asked")

    monkeypatch.setattr(answering, "_run", fail)
    results = answering.answer_many([Request(csv(digits[:1]), CSV)] * 2 + [Request(b"1", "text/plain")])
    assert [type(result) for result in results] == [MemoryError, MemoryError, InputError]
    with pytest.raises(MemoryError, match="as asked"):
        answering.answer(csv(digits[:1]))


@pytest.mark.parametrize(("text", "content_type"), [(b"{", JSON), (b"1,x", CSV), (b"1,2", CSV), (b"no npy", NPY)])
def test_an_error_that_is_gone_leaves_no_reference_to_the_body(text: bytes, content_type: str) -> None:
    body = bytes(bytearray(text))  # not a constant of this code
    predictor()
    gc.collect()
    gc.disable()
    try:
        before = sys.getrefcount(body)
        results = predictor().answer_many([Request(body, content_type)])
        assert isinstance(results[0], InputError)
        del results
        assert sys.getrefcount(body) == before
        with contextlib.suppress(InputError):
            predictor().answer(body, content_type)
        assert sys.getrefcount(body) == before
    finally:
        gc.enable()


def test_text_and_bytes_and_all_ways_to_ask_for_anything_are_the_same(digits: np.ndarray) -> None:
    body = csv(digits[:2])
    expected = predictor().answer(body)
    assert expected[1] == JSON
    for accept in (None, "", "*/*"):
        assert predictor().answer(body.decode(), CSV, accept) == expected
    rows = predictor().decode(body)
    assert (rows.dtype, rows.shape) == (np.float32, (2, 1, 28, 28))
    assert predictor().encode(predictor().predict(rows)) == expected
    assert predictor().encode(predictor().predict(rows.reshape(2, 784).tolist())) == expected


def test_the_default_mode_answers_as_a_transform_does(mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    bodies = {f"{rows}.csv": csv(digits[:rows]) for rows in (1, 2, 239, 240, 241, 479, 480, 481, 600)}
    (tmp_path / "in").mkdir()
    for name, body in bodies.items():
        (tmp_path / "in" / name).write_bytes(body)
    for exact in (False, True):
        output = tmp_path / f"out-{exact}"
        transform(mlp, tmp_path / "in", output, Options(exact=exact))
        answering = Predictor(mlp, exact=exact)
        for name, body in bodies.items():
            assert answering.answer(body)[0] == (output / f"{name}.out").read_bytes()


def test_neighbours_that_are_not_finite_change_nothing(mlp: Path, digits: np.ndarray) -> None:
    rows = digits[:240].astype(np.float32) / 255
    answering = Predictor(mlp, exact=False)
    alone = answering.predict(rows[:1])
    for value in (np.nan, np.inf, -np.inf, 3e38, 1e-45):
        rows[1:] = value
        assert answering.predict(rows)[:1].tobytes() == alone.tobytes()
        assert answering.predict(digits[:1].astype(np.float32) / 255).tobytes() == alone.tobytes()


def test_a_batch_size_that_is_not_invariant_still_gives_the_same_bytes_for_the_same_body(
    mlp: Path, digits: np.ndarray
) -> None:
    answering = Predictor(mlp, exact=False, batch_size=37)
    first = answering.answer(csv(digits[:5]))
    answering.answer(csv(digits[100:137]))
    assert answering.answer(csv(digits[:5])) == first


def test_many_threads_give_the_answers_of_one(mlp: Path, digits: np.ndarray) -> None:
    grid = json.dumps(np.ones((2, 28, 28)).tolist()).encode()
    for exact in (True, False):
        answering = Predictor(mlp, exact=exact, threads=2)
        bodies = [csv(digits[first : first + 1 + first % 9], "integers") for first in range(60)]
        expected = [answering.answer(body) for body in bodies]
        found: dict[int, Any] = {}

        def ask(start: int, predictor: Predictor = answering, bodies: Any = bodies, found: Any = found) -> None:
            for number in range(start, len(bodies), 6):
                found[number] = predictor.answer(bodies[number])
                # Also rows that are given in another shape, and ones that no graph takes.
                predictor.answer(grid, JSON)
                with pytest.raises(InputError):
                    predictor.answer(b"[[1, 2]]", JSON)

        threads = [threading.Thread(target=ask, args=(start,)) for start in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [found[number] for number in range(len(bodies))] == expected


def test_graphs_are_bound_for_other_shapes_while_others_run(tmp_path: Path) -> None:
    answering = Predictor(networks.save(networks.segmentation, tmp_path / "model"), exact=True, threads=2)
    shapes = [(1, height, width) for height in range(4, 9) for width in range(4, 9)]
    rows = {shape: np.random.RandomState(sum(shape)).rand(3, *shape) for shape in shapes}
    expected = {shape: answering.predict(rows[shape]) for shape in shapes}
    assert {each.shape[1:] for each in expected.values()} == {(2, shape[1] - 2, shape[2] - 2) for shape in shapes}
    wrong = []

    def ask(start: int) -> None:
        for place in np.random.RandomState(start).randint(0, len(shapes), 60):
            shape = shapes[place]
            if answering.predict(rows[shape]).tobytes() != expected[shape].tobytes():
                wrong.append(shape)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_predictor_takes_a_loaded_model_and_finds_one(
    mlp: Path, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Predictor(mlp).answer(csv(digits[:1]))
    assert Predictor(load_model(mlp)).answer(csv(digits[:1])) == expected
    monkeypatch.setenv("SM_MODEL_DIR", str(mlp))
    assert Predictor().answer(csv(digits[:1])) == expected


@pytest.mark.parametrize("name", ["init_h", "other", "my_label"])
def test_a_record_that_lacks_an_input_is_refused(name: str, tmp_path: Path) -> None:
    layer = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3)
    symbol = mx.sym.tanh(mx.sym.elemwise_add(layer, mx.sym.var(name)))
    predictor = Predictor(networks.write(tmp_path, symbol, {"data": (4,), name: (3,)}))
    assert predictor.predict(np.ones((2, 7), np.float32)).shape == (2, 3)
    with pytest.raises(InputError, match=r"expected rows of shape \(7,\), found \(4,\)"):
        predictor.predict(np.ones((2, 4), np.float32))


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        Predictor(tmp_path)
    for wrong in ({"batch_size": 0}, {"threads": 0}, {"device": "tpu"}, {"device": "gpu"}):
        with pytest.raises(ConfigError):
            Predictor(**wrong)  # type: ignore[arg-type]


def test_the_documented_example_runs() -> None:
    assert doctest.testmod(fastinfer.handlers.predictor).attempted > 0
