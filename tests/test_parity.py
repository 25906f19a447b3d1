"""The same bytes as SageMaker's own container: its toolkit runs here, on the same models and the same bodies."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from fastinfer.models.module import load_model
from fastinfer.options import Options
from tests import networks
from tests.conftest import csv
from tests.runs import transform

Container = Callable[[Path, bytes], bytes]


@pytest.fixture(scope="session")
def container() -> Container:
    """What the container answers to a text/csv body: its own handler, decoder and encoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the toolkit's own imports use what is deprecated
        from sagemaker_mxnet_serving_container.default_inference_handler import DefaultModuleInferenceHandler
    handler = DefaultModuleInferenceHandler()
    loaded: dict[Path, Any] = {}

    def answer(model: Path, body: bytes) -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if model not in loaded:
                loaded[model] = handler.default_model_fn(str(model))
            data = handler.default_input_fn(body.decode(), "text/csv", loaded[model])
            prediction = handler.default_predict_fn(data, loaded[model])
            return handler.default_output_fn(prediction, "application/json").encode()

    return answer


def run(model: Path, bodies: dict[str, bytes], folder: Path, **options: Any) -> dict[str, bytes]:
    """fastinfer's outputs for bodies, by name; each run in folders of its own."""
    number = len(list(folder.iterdir()))
    source, output = folder / f"in-{number}", folder / f"out-{number}"
    for name, body in bodies.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(body)
    transform(model, source, output, Options(**options))
    return {name: (output / f"{name}.out").read_bytes() for name in bodies}


def grid(digit: np.ndarray) -> bytes:
    return csv(digit.reshape(28, 28), "integers")


FORMS = ["sample", "integers", "repr"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 3, 50])
def test_exact_gives_the_containers_bytes(
    form: str, rows: int, mlp: Path, digits: np.ndarray, container: Container, tmp_path: Path
) -> None:
    part = digits[100 : 100 + rows]
    whole = csv(part, form)
    bodies = {
        "lf.csv": whole,
        "no-last-newline.csv": whole[:-1],
        "crlf.csv": csv(part, form, b"\r\n"),
        "blank-lines.csv": b"\n" + whole.replace(b"\n", b"\n\n") + b"\n",
        "spaces.csv": whole.replace(b",", b" ,\t"),
    }
    results = run(mlp, bodies, tmp_path, exact=True)
    for name, body in bodies.items():
        assert results[name] == container(mlp, body), name
    assert len(set(results.values())) == 1


def test_exact_takes_a_body_by_its_total_as_the_container_does(
    mlp: Path, digits: np.ndarray, container: Container, tmp_path: Path
) -> None:
    bodies = {
        "grid.csv": grid(digits[0]),
        "two-grids.csv": grid(digits[0]) + grid(digits[1]),
        "one-cell-a-line.csv": csv(digits[:2].reshape(-1, 1), "integers"),
        "two-images-a-line.csv": csv(digits[:6].reshape(3, -1), "integers"),
        "half-an-image-a-line.csv": csv(digits[:1].reshape(2, -1), "integers"),
    }
    results = run(mlp, bodies, tmp_path, exact=True)
    for name, body in bodies.items():
        assert results[name] == container(mlp, body), name


@pytest.mark.parametrize("rows", [1, 2, 37])
def test_exact_gives_the_containers_bytes_for_a_convolution(
    rows: int, convolution: Path, container: Container, tmp_path: Path
) -> None:
    pixels = np.random.RandomState(rows).randint(0, 256, (rows, 3 * 12 * 10))
    bodies = {form: csv(pixels, form) for form in FORMS}
    results = run(convolution, {f"{form}.csv": body for form, body in bodies.items()}, tmp_path, exact=True)
    for form, body in bodies.items():
        assert results[f"{form}.csv"] == container(convolution, body), form


@pytest.mark.parametrize("network", [networks.linear, networks.scalar, networks.segmentation])
def test_exact_gives_the_containers_bytes_for_other_output_shapes(
    network: Any, container: Container, tmp_path: Path
) -> None:
    model = networks.save(network, tmp_path / "model")
    values = load_model(model).row_values
    rows = np.random.RandomState(3).uniform(-9, 9, (33, values))
    body = b"".join(b",".join(b"%r" % float(value) for value in row) + b"\n" for row in rows)
    bodies = {"many.csv": body, "one.csv": body.split(b"\n")[0]}
    results = run(model, bodies, tmp_path, exact=True)
    for name, content in bodies.items():
        assert results[name] == container(model, content), name


def test_exact_gives_the_containers_bytes_at_any_number_of_rows_per_graph(
    mlp: Path, digits: np.ndarray, container: Container, tmp_path: Path
) -> None:
    body = csv(digits[:20])
    for batch_size in (1, 2, 7, 16, 32):
        assert run(mlp, {"x.csv": body}, tmp_path, exact=True, batch_size=batch_size)["x.csv"] == container(mlp, body)


@pytest.mark.parametrize("value", ["1e400", "-inf", "1e39", "nan"])
def test_exact_spells_what_is_not_finite_as_the_container_does(
    value: str, linear: Path, container: Container, tmp_path: Path
) -> None:
    body = f"{value},1.5\n".encode()
    assert run(linear, {"x.csv": body}, tmp_path, exact=True)["x.csv"] == container(linear, body)


@pytest.mark.parametrize("network", [networks.mlp, networks.convolution])
def test_default_differs_from_the_container_in_the_last_bits_at_most(
    network: Any, container: Container, tmp_path: Path
) -> None:
    model = networks.save(network, tmp_path / "model")
    pixels = np.random.RandomState(5).randint(0, 256, (1000, load_model(model).row_values))
    body = csv(pixels)
    ours, theirs = run(model, {"x.csv": body}, tmp_path)["x.csv"], container(model, body)
    left, right = np.array(json.loads(ours)), np.array(json.loads(theirs))
    assert left.shape == right.shape
    assert np.abs(left - right).max() <= 1e-6
    assert (left.argmax(axis=1) == right.argmax(axis=1)).all()
    # The same form: nothing but digits may differ.
    assert ours == json.dumps(json.loads(ours)).encode()


def test_default_bytes_depend_on_the_row_alone(mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    part = digits[:1100]
    singles = {f"{number:04d}.csv": csv(row[None]) for number, row in enumerate(part)}
    alone = run(mlp, {"x.csv": csv(part[7:8])}, tmp_path)["x.csv"]
    reference = run(mlp, singles, tmp_path, workers=1)
    assert reference["0007.csv"] == alone
    assert run(mlp, singles, tmp_path, workers=1) == reference
    assert run(mlp, singles, tmp_path, workers=3) == reference

    renamed = {f"{(number * 7919) % 1100:04d}.csv": csv(row[None]) for number, row in enumerate(part)}
    shuffled = run(mlp, renamed, tmp_path, workers=2)
    assert [shuffled[f"{(number * 7919) % 1100:04d}.csv"] for number in range(1100)] == list(reference.values())

    together = run(mlp, {"all.csv": csv(part)}, tmp_path)["all.csv"]
    assert together == b"[" + b", ".join(text[1:-1] for text in reference.values()) + b"]"
