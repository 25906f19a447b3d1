"""SageMaker's serving container answers, and fastinfer gives the same bytes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastinfer.options import Options
from tests.conftest import csv, skip
from tests.runs import transform
from tests.sagemaker.conftest import ENTRY_POINT, ROOT, same_python
from tests.sagemaker.serving import ModelServer, model_server, running_processes
from tests.sagemaker.training import lay_out, train


@pytest.fixture(scope="module")
def model(container_python: Path, channels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the example's script saves in the training toolkit."""
    base = tmp_path_factory.mktemp("trained")
    values = {"sagemaker_program": '"mnist.py"', "sagemaker_submit_directory": json.dumps(str(base / "code"))}
    values.update({"epochs": 2, "batch-size": 10})
    done = train(container_python, lay_out(base, ENTRY_POINT, channels, values))
    assert done.returncode == 0, done.stdout
    return base / "model"


@pytest.fixture(scope="module", params=["defaults", "hooks", "hooks-with-fastinfer"])
def server(
    request: pytest.FixtureRequest,
    container_python: Path,
    java: str,  # noqa: ARG001
    model: Path,
    digits: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ModelServer]:
    """multi-model-server on that model: the toolkit's own defaults, or the example's hooks."""
    environment = {}
    if request.param == "hooks-with-fastinfer":
        # The package as it lies here, compiled for this interpreter, where the container's is the same.
        if not same_python(container_python):
            skip("fastinfer is not compiled for the Python of .venv/container")
        environment["PYTHONPATH"] = str(ROOT)
    with model_server(
        container_python,
        model,
        tmp_path_factory.mktemp("server"),
        ready=csv(digits[:1]),
        code=None if request.param == "defaults" else ENTRY_POINT,
        workers=1,
        environment=environment,
    ) as running:
        yield running


def exact(model: Path, folder: Path, body: bytes) -> bytes:
    (folder / "x.csv").write_bytes(body)
    transform(model, folder / "x.csv", folder / "out", Options(exact=True))
    return (folder / "out" / "x.csv.out").read_bytes()


@pytest.mark.parametrize(("form", "rows"), [("sample", 1), ("sample", 40), ("integers", 3), ("repr", 2)])
def test_the_answers_are_the_bytes_of_exact(
    form: str, rows: int, server: ModelServer, model: Path, digits: np.ndarray, tmp_path: Path
) -> None:
    body = csv(digits[200 : 200 + rows], form)
    reply = server.invoke(body)
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert reply.body == exact(model, tmp_path, body)


def test_other_content_types_carry_the_same_bytes(
    server: ModelServer, model: Path, digits: np.ndarray, tmp_path: Path
) -> None:
    pixels = digits[:3].astype(np.float32)
    csv_body = csv(digits[:3], "integers")
    expected = exact(model, tmp_path, csv_body)
    for shape in ((3, 1, 28, 28), (3, 28, 28), (3, 784)):
        as_json = json.dumps(pixels.reshape(shape).tolist()).encode()
        assert server.invoke(as_json, "application/json").body == expected
        as_npy = io.BytesIO()
        np.save(as_npy, pixels.reshape(shape))
        assert server.invoke(as_npy.getvalue(), "application/x-npy").body == expected
    values = json.loads(expected)
    text = server.invoke(csv_body, accept="text/csv")
    assert text.content_type == "text/csv"
    assert text.body.decode() == "".join(",".join(map(repr, row)) + "\n" for row in values)
    assert server.invoke(csv_body, accept="text/html, text/csv, application/json").body == text.body
    assert server.invoke(csv_body, accept="*/*").body == expected
    array = server.invoke(csv_body, accept="application/x-npy")
    assert array.content_type == "application/x-npy"
    as_npy = io.BytesIO()
    np.save(as_npy, np.array(values))
    assert array.body == as_npy.getvalue()


def test_the_server_answers_ping_and_reports_errors(
    server: ModelServer, digits: np.ndarray, request: pytest.FixtureRequest
) -> None:
    assert server.ping() == 200
    good = csv(digits[:1])
    answer = server.invoke(good)
    assert answer.status == 200
    bad = server.invoke(good.replace(b",", b",x", 1))
    assert bad.status == 500
    # The error shows which of the two answered.
    who = request.node.callspec.params["server"]
    assert (b"expected a number, found" in bad.body) == (who == "hooks-with-fastinfer")
    for body, content_type, accept in (
        (good, "text/plain", None),
        (good, "text/csv", "text/html"),
        (b"1,2,3\n", "text/csv", None),
        (b"\n", "text/csv", None),
        (b"[[1, 2", "application/json", None),
        (b"[]", "application/json", None),
        (b"5", "application/json", None),
        (json.dumps([0] * 784).encode(), "application/json", None),
        (json.dumps([[0] * 1568]).encode(), "application/json", None),
    ):
        assert server.invoke(body, content_type, accept).status == 500, (body[:20], content_type, accept)
        # It continues. (The toolkit's own handler stays bound to rows of a wrong size and can no longer answer.)
        wrong_size = len(body) > 1000 and content_type == "application/json"
        if who == "defaults" and wrong_size:
            assert server.invoke(good).status == 500
        else:
            assert server.invoke(good) == answer
    # fastinfer's readers pass a charset over, which the toolkit refuses (docs/parity.md).
    assert server.invoke(good, "text/csv; charset=utf-8").status == (200 if who == "hooks-with-fastinfer" else 500)


def test_servers_run_side_by_side_and_leave_nothing_behind(
    container_python: Path,
    java: str,  # noqa: ARG001
    model: Path,
    digits: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = csv(digits[:1])
    with tempfile.TemporaryDirectory(prefix="both-") as temporary, contextlib.ExitStack() as stack:
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        servers = []
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            server = model_server(container_python, model, tmp_path / name, ready=body, workers=1)
            servers.append(stack.enter_context(server))
        first, second = (server.invoke(body) for server in servers)
        assert first == second
        assert all(running_processes(server.group) for server in servers)
        stack.close()
        assert not any(running_processes(server.group) for server in servers)
        assert os.listdir(temporary) == []
    # Nobody listens: refused, or reset where this connection meets the end of the socket that listened.
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        servers[0].ping()


def test_a_server_that_does_not_come_up_says_why(
    container_python: Path,
    java: str,  # noqa: ARG001
    model: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError('no such day')\n")
    (tmp_path / "server").mkdir()
    with (
        pytest.raises(RuntimeError, match="no such day"),
        model_server(
            container_python, model, tmp_path / "server", ready=b"0\n", code=tmp_path / "broken.py", workers=1
        ),
    ):
        pass
