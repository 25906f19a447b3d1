"""Operators that take a value for a place in memory: no value reaches them that would lead out of theirs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from fastinfer import Predictor, load_model
from fastinfer.errors import InputError, ModelError
from fastinfer.handlers.defaults import load_module
from fastinfer.models.module import Model
from fastinfer.options import Options
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.batch_size import choose_batching
from fastinfer.runtimes.ladder import Ladder
from fastinfer.runtimes.mxnet.graph import MXNetExecutor
from fastinfer.runtimes.mxnet.value_checks import check_values
from fastinfer.runtimes.refused import predict
from fastinfer.runtimes.views import rows_of
from tests import networks, runs
from tests.networks import mx

STEPS, WIDTH = 5, 3
NAN, INF = float("nan"), float("inf")
ODD = [NAN, INF, -INF, 1e30, -1e30, 1e10, 2.0**31, -1e5, -7]


class Case(NamedTuple):
    """An operator with one input that is the record's own number.

    Attributes:
        network: makes it of the data, (records, STEPS, WIDTH), and the numbers, (records, 1).
        taken, refused: numbers.
        said: of the latter.
    """

    network: Any
    taken: list[float]
    refused: list[float]
    said: str


def steps(data: Any) -> Any:
    return mx.sym.transpose(data, axes=(1, 0, 2))


def flat(number: Any) -> Any:
    return mx.sym.Reshape(number, shape=(-1,))


def softmax(data: Any, number: Any, dtype: str) -> Any:
    lengths = mx.sym.Cast(mx.sym.tile(number, reps=(1, WIDTH)), dtype=dtype)
    return mx.sym.softmax(data, lengths, use_length=True, axis=1)


def ctc(data: Any, labels: Any, **rest: Any) -> Any:
    given = {f"use_{name}": True for name in rest if name.endswith("lengths")}
    return mx.sym.CTCLoss(steps(data), labels, **rest, **given)


def two(first: Any, second: Any) -> Any:
    return mx.sym.concat(first, second, dim=1)


def ones(number: Any) -> Any:
    return mx.sym.ones_like(number)


def regions(data: Any, number: Any, place: int, ratio: int) -> Any:
    """Of each record's own picture where the number is not the picture's; a batch has a picture for each of its regions."""
    parts = [number if place == each else ones(number) * each for each in range(5)]
    boxes = mx.sym.concat(*parts, dim=1)
    maps = mx.sym.Reshape(data, shape=(-1, 1, STEPS, WIDTH))
    return mx.sym.contrib.ROIAlign(maps, boxes, pooled_size=(2, 2), spatial_scale=0.5, sample_ratio=ratio)


def scatter(data: Any, number: Any) -> Any:
    """With a place on each of two axes; of a batch all records go to one array."""
    places = mx.sym.transpose(two(ones(number), number))
    return mx.sym.expand_dims(mx.sym.scatter_nd(mx.sym.sum(data, axis=(1, 2)), places, shape=(2, STEPS)), axis=0)


LENGTHS = r"takes lengths from {} to the size of its input's axis {}"
CASES = {
    "mask": Case(
        lambda d, n: mx.sym.SequenceMask(d, flat(n), use_sequence_length=True, axis=1, value=-1),
        [0, 1, 4, 5, 6, 1000, 0.5, -0.5, 2.5, 2147483520.0],
        [-1, -1.5, *ODD],
        r"SequenceMask 'op' takes lengths from 0 to 2,147,483,647",
    ),
    "mask of the first axis": Case(
        lambda d, n: steps(mx.sym.SequenceMask(steps(d), flat(n), use_sequence_length=True)),
        [0, 1, 5, 7, 0.5],
        [-1, *ODD],
        r"SequenceMask .* takes lengths",
    ),
    "last": Case(
        lambda d, n: mx.sym.SequenceLast(steps(d), flat(n), use_sequence_length=True),
        [1, 2, 5, 1.5, 5.5],
        [0, 0.5, -0.5, 6, 100, *ODD],
        LENGTHS.format(1, 0),
    ),
    "last of the second axis": Case(
        lambda d, n: mx.sym.SequenceLast(d, flat(n), use_sequence_length=True, axis=1),
        [1, 5],
        [0, 6, *ODD],
        LENGTHS.format(1, 1),
    ),
    "reverse": Case(
        lambda d, n: steps(mx.sym.SequenceReverse(steps(d), flat(n), use_sequence_length=True)),
        [0, 1, 2, 5, 5.5, -0.5],
        [6, -1, 100, *ODD],
        LENGTHS.format(0, 0),
    ),
    "softmax": Case(lambda d, n: softmax(d, n, "int32"), [0, 1, 2, 5, 5.5, -0.5], [6, -1, *ODD], LENGTHS.format(0, 1)),
    "softmax of int64": Case(lambda d, n: softmax(d, n, "int64"), [0, 5], [6, -1, *ODD], LENGTHS.format(0, 1)),
    "gather_nd": Case(
        lambda _, n: mx.sym.gather_nd(mx.sym.var("table", shape=(STEPS, 2), dtype="float32"), mx.sym.transpose(n)),
        [0, 4, 0.5, -1, -5],
        [NAN, INF, 5, -6, 1e30],
        "gather_nd .* takes numbers|IndexError: index",
    ),
    "scatter_nd": Case(scatter, [0, 1, 4, 4.5, -0.5], [5, -1, *ODD], "scatter_nd .* takes indices from 0, within"),
    "cross entropy": Case(
        lambda d, n: mx.sym.softmax_cross_entropy(mx.sym.Reshape(d, shape=(0, -1)), flat(n)),
        [0, 1, 14, 14.5, -0.5],
        [15, -1, *ODD],
        "softmax_cross_entropy .* takes labels from 0",
    ),
    "CTC labels": Case(
        lambda d, n: ctc(d, two(ones(n), n)), [0, 1, 2, 2.25, -0.25], [3, -1, -0.75, *ODD], "takes labels from 0"
    ),
    "CTC labels behind which is the blank": Case(
        lambda d, n: ctc(d, two(ones(n), n), blank_label="last"), [-1, 0, 1], [3, -2, *ODD], "takes labels from -1"
    ),
    "CTC labels with lengths": Case(
        lambda d, n: ctc(d, two(ones(n), n), label_lengths=flat(ones(n)) * 2, blank_label="last"),
        [0, 1],
        [3, -1, *ODD],
        "takes labels from 0",
    ),
    "CTC labels that are not read": Case(
        lambda d, n: ctc(d, two(ones(n), n), label_lengths=flat(ones(n))), [0, 1, -1, 7, 1e30, NAN], [], ""
    ),
    "the first of CTC labels": Case(
        lambda d, n: ctc(d, two(n, ones(n))), [1, 2, 0.75], [0, 0.25, *ODD], "first of which is not 0"
    ),
    "the first of CTC labels behind which is the blank": Case(
        lambda d, n: ctc(d, two(n, ones(n)), blank_label="last"), [0, 1], [-1, *ODD], "first of which is not -1"
    ),
    "CTC lengths of data": Case(
        lambda d, n: ctc(d, two(ones(n), 2 * ones(n)), data_lengths=flat(n)),
        [1, 3, 5, 0.75],
        [0, 6, 5.75, -1, *ODD],
        LENGTHS.format(1, 0),
    ),
    "CTC lengths of labels": Case(
        lambda d, n: ctc(d, two(ones(n), 2 * ones(n)), label_lengths=flat(n)),
        [1, 2, 1.25],
        [0, 3, -1, 0.25, *ODD],
        "takes lengths of labels",
    ),
    "regions of a picture": Case(lambda d, n: regions(d, n, 0, 2), [0, 0.5, -0.5], [100, -1, *ODD], "takes regions"),
    "sampled regions": Case(
        lambda d, n: regions(d, n, 1, 2), [0, 1, 2.5, -7, 1e5, 1e10], [NAN, INF, -INF, 1e30], "takes regions"
    ),
    "regions": Case(lambda d, n: regions(d, n, 3, -1), [0, 1, 7.5, 20, -20], [21, *ODD[:-1]], "takes regions"),
}
# Whose records are one array's, or whose pictures are those of the batch: computed one by one.
MIXED = [CASES[name] for name in ("scatter_nd", "cross entropy", "regions of a picture", "sampled regions", "regions")]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Model]:
    chosen = CASES[request.param]
    return chosen, save(chosen, tmp_path_factory.mktemp("model"))


def save(case: Case, folder: Path) -> Model:
    with mx.name.NameManager():
        network = case.network(mx.sym.var("data"), mx.sym.var("number"))
    network = mx.sym.load_json(json.dumps(renamed(json.loads(network.tojson()))))
    shapes = {name: shape for name, shape in SHAPES.items() if name in network.list_arguments()}
    return load_model(networks.write(folder, network, shapes))


SHAPES = {"data": (STEPS, WIDTH), "number": (1,)}


def renamed(graph: dict[str, Any]) -> dict[str, Any]:
    for node in graph["nodes"]:
        if node["op"].startswith("Sequence"):
            node["name"] = "op"
    return graph


def records(numbers: list[float], model: Model) -> dict[str, Any]:
    random = np.random.RandomState(5)
    data = random.uniform(-1, 1, (len(numbers), STEPS, WIDTH)).astype(np.float32)
    given = {"data": data, "number": np.array(numbers, np.float32)[:, None]}
    return {each.name: given[each.name] for each in model.inputs}


def by_mxnet(model: Model, given: dict[str, Any]) -> list[bytes]:
    """What MXNet itself gives for each record alone."""
    symbol = mx.sym.load_json(model.graph.text)
    saved = {name.partition(":")[2]: array for name, array in dict(mx.nd.load_frombuffer(model.params)).items()}
    answers = []
    for number in range(len(next(iter(given.values())))):
        row = {name: mx.nd.array(values[number : number + 1]) for name, values in given.items()}
        answers.append(symbol.bind(mx.cpu(), {**saved, **row}).forward()[0].asnumpy().tobytes())
    return answers


def answers_of(
    model: Model, given: dict[str, Any], *, row_wise: bool
) -> tuple[list[bytes], dict[int, ModelError], Ladder]:
    count = len(next(iter(given.values())))
    ladder = Ladder(lambda size: MXNetExecutor(model, ("cpu", 0), size, row_wise=row_wise), (count,))
    for place, each in enumerate(ladder.inputs):
        rows_of(ladder, place)[:count] = given[each.name].reshape(count, -1)
    values, refused = predict(ladder, count)
    size = len(bytes(values[0])) // count if values else 0
    return (
        [bytes(values[0].cast("B")[size * each : size * (each + 1)]) for each in range(count) if size],
        refused,
        ladder,
    )


def test_values_that_are_taken_give_what_mxnet_gives(case: tuple[Case, Model]) -> None:
    chosen, model = case
    given = records(chosen.taken, model)
    found, refused, _ = answers_of(model, given, row_wise=True)
    assert refused == {}
    assert found == by_mxnet(model, given)


BOTH_WAYS = [(name, row_wise) for name in CASES for row_wise in (True, False) if row_wise or CASES[name] not in MIXED]


@pytest.mark.parametrize(("case", "row_wise"), BOTH_WAYS, indirect=["case"])
def test_others_are_refused_by_their_record_and_the_rest_is_as_ever(case: tuple[Case, Model], row_wise: bool) -> None:
    chosen, model = case
    numbers = [*chosen.taken, *chosen.refused] * 2
    np.random.RandomState(1).shuffle(numbers)
    bad = {place for place, number in enumerate(numbers) if not any(number == each for each in chosen.taken)}
    if not chosen.refused:
        bad = set()
    given = records(numbers, model)
    found, refused, _ = answers_of(model, given, row_wise=row_wise)
    assert set(refused) == bad
    for error in refused.values():
        assert error.code == "failed_pass"
        assert re.search(chosen.said, error.message), error.message
    # As where good records stand in the places of the bad ones.
    for place in bad:
        given["number"][place] = chosen.taken[0]
    expected, others, _ = answers_of(model, given, row_wise=row_wise)
    assert others == {}
    assert [each for place, each in enumerate(found) if place not in bad] == [
        each for place, each in enumerate(expected) if place not in bad
    ]


@pytest.fixture(scope="module")
def last_step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense layer on the last step that a record has."""
    data, lengths = mx.sym.var("data"), mx.sym.var("number")
    last = mx.sym.SequenceLast(steps(data), flat(lengths), use_sequence_length=True, name="last")
    return networks.write(tmp_path_factory.mktemp("last"), mx.sym.FullyConnected(last, num_hidden=2, name="fc"), SHAPES)


def line(number: float) -> str:
    return ",".join(["0.5"] * (STEPS * WIDTH) + [repr(number)])


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_a_run_names_the_record_and_its_line(backend: str, last_step: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    numbers = [1, 5, 6, 2, 1e30, 0, 3]
    (source / "a.csv").write_text("".join(f"{line(number)}\n" for number in numbers))
    options = Options(on_error="quarantine", backend=backend, workers=1)
    summary = runs.transform(last_step, source, tmp_path / "out", options)
    assert (summary.records, summary.rejected) == (7, 3)
    rejects = [json.loads(each) for each in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    assert [(each["line"], each["code"]) for each in rejects] == [
        (3, "refused_record"),
        (5, "refused_record"),
        (6, "refused_record"),
    ]
    assert (
        "SequenceLast 'last' takes lengths from 1 to the size of its input's axis 0, found 6" in rejects[0]["message"]
    )
    answers = json.loads((tmp_path / "out" / "a.csv.out").read_text())
    assert [answer is None for answer in answers] == [False, False, True, False, True, True, False]


def test_a_request_is_refused_by_its_record(last_step: Path) -> None:
    predictor = Predictor(last_step, exact=True)
    good = predictor.answer(line(5).encode())
    with pytest.raises(InputError, match=r"SequenceLast 'last' takes lengths .* found nan"):
        predictor.predict(np.array([[0.5] * 15 + [2], [0.5] * 15 + [NAN]], np.float32))
    assert predictor.answer(line(5).encode()) == good


def test_a_refused_value_is_named_with_all_its_digits(last_step: Path) -> None:
    with pytest.raises(InputError, match="found 1234567"):
        Predictor(last_step, exact=True).predict(np.array([[0.5] * 15 + [1234567]], np.float32))


def test_records_are_computed_in_batches_as_before(last_step: Path) -> None:
    # The rows of the probe have lengths of all kinds, most of which would be refused.
    batching = choose_batching(load_runtime("mxnet"), load_model(last_step), Options())
    assert not batching.row_wise
    assert batching.batch_size > 1


def test_a_module_for_hooks_refuses_as_well(tmp_path: Path) -> None:
    rows = mx.sym.var("data")
    lengths = mx.sym.sum(rows, axis=1)
    data = mx.sym.Reshape(rows, shape=(1, -1, STEPS))
    network = mx.sym.SequenceLast(steps(data), lengths, use_sequence_length=True)
    module = load_module(load_model(networks.write(tmp_path, network, {"data": (STEPS,)})))
    good = np.array([[1, 0, 0, 0, 0]], np.float32)
    for number in (1, 2, 1, NAN, 0, 1):
        if number == 1:
            assert module.predict(mx.nd.array(good)).asnumpy().tolist() == good.tolist()
            continue
        with pytest.raises(mx.base.MXNetError, match="out of bound"):
            module.predict(mx.nd.array(good * number))


def test_other_graphs_are_left_as_they_are() -> None:
    text = mx.sym.take(mx.sym.var("table"), mx.sym.SequenceMask(mx.sym.softmax(mx.sym.var("data")))).tojson()
    assert check_values(text) == (text, ())
