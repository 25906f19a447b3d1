"""SageMaker's serving container answers, and fastinfer gives the same bytes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastinfer.engine import transform
from fastinfer.model import SHIPPED_MODEL, load_model
from fastinfer.options import Options
from tests.conftest import csv, skip
from tests.sagemaker.conftest import ENTRY_POINT, ROOT
from tests.sagemaker.serving import ModelServer, model_server


@pytest.fixture(scope="module", params=["defaults", "hooks", "hooks-with-fastinfer"])
def server(
    request: pytest.FixtureRequest,
    container_python: Path,
    java: str,  # noqa: ARG001
    digits: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ModelServer]:
    """multi-model-server on the shipped model: the toolkit's own defaults, or the example's hooks."""
    environment = {}
    if request.param == "hooks-with-fastinfer":
        # The package as it lies here, compiled for this interpreter, where the container's is the same.
        if not same_python(container_python):
            skip("fastinfer is not compiled for the Python of .venv/container")
        environment["PYTHONPATH"] = str(ROOT)
    with model_server(
        container_python,
        SHIPPED_MODEL,
        tmp_path_factory.mktemp("server"),
        ready=csv(digits[:1]),
        code=None if request.param == "defaults" else ENTRY_POINT,
        workers=1,
        environment=environment,
    ) as running:
        yield running


def same_python(python: Path) -> bool:
    ask = [python, "-c", "import sys; print(sys.version_info[:2])"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout == f"{sys.version_info[:2]}\n"


def exact(folder: Path, body: bytes) -> bytes:
    (folder / "x.csv").write_bytes(body)
    transform(load_model(SHIPPED_MODEL), str(folder / "x.csv"), str(folder / "out"), Options(exact=True))
    return (folder / "out" / "x.csv.out").read_bytes()


@pytest.mark.parametrize(("form", "rows"), [("sample", 1), ("sample", 40), ("integers", 3), ("repr", 2)])
def test_the_answers_are_the_bytes_of_exact(
    form: str, rows: int, server: ModelServer, digits: np.ndarray, tmp_path: Path
) -> None:
    body = csv(digits[200 : 200 + rows], form)
    reply = server.invoke(body)
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert reply.body == exact(tmp_path, body)


def test_other_content_types_carry_the_same_values(server: ModelServer, digits: np.ndarray, tmp_path: Path) -> None:
    pixels = digits[:3].astype(np.float32)
    expected = json.loads(exact(tmp_path, csv(digits[:3], "integers")))
    as_json = json.dumps(pixels.reshape(3, 1, 28, 28).tolist()).encode()
    assert json.loads(server.invoke(as_json, "application/json").body) == expected
    as_npy = io.BytesIO()
    np.save(as_npy, pixels.reshape(3, 1, 28, 28))
    assert json.loads(server.invoke(as_npy.getvalue(), "application/x-npy").body) == expected
    text = server.invoke(csv(digits[:3], "integers"), accept="text/csv")
    assert text.body.decode() == "".join(",".join(map(repr, row)) + "\n" for row in expected)
    array = server.invoke(csv(digits[:3], "integers"), accept="application/x-npy")
    assert np.load(io.BytesIO(array.body)).tolist() == expected


def test_the_server_answers_ping_and_tells_errors(
    server: ModelServer, digits: np.ndarray, request: pytest.FixtureRequest
) -> None:
    assert server.ping() == 200
    bad = server.invoke(csv(digits[:1]).replace(b",", b",x", 1))
    assert bad.status == 500
    # Whose error it is tells who answers.
    by_fastinfer = request.node.callspec.params["server"] == "hooks-with-fastinfer"
    assert (b"expected a number, found" in bad.body) == by_fastinfer
    assert server.invoke(csv(digits[:1]), "text/plain").status == 500
    assert server.invoke(b"1,2,3\n").status == 500
    # It goes on.
    assert server.invoke(csv(digits[:1])).status == 200
