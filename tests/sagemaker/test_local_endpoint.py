"""An endpoint on this machine: a real server on loopback."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import InputError, ModelError, ServiceError
from fastinfer.handlers.predictor import Predictor
from fastinfer.sagemaker import LocalSession, MXNetModel
from fastinfer.sagemaker.code_archive import pack_folder
from fastinfer.sagemaker.local.endpoint import LocalPredictor

pytest.importorskip("aiohttp")


@contextlib.contextmanager
def deployed(linear: Path, folder: Path) -> Iterator[LocalPredictor]:
    pack_folder(linear, folder / "model.tar.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTINFER_LOCAL_ROOT", str(folder / "root"))
        patch.delenv("FASTINFER_MODEL", raising=False)
        found = MXNetModel(str(folder / "model.tar.gz"), sagemaker_session=LocalSession()).deploy(1, "local")
        yield found
        found.delete_endpoint()


@pytest.fixture(scope="module")
def endpoint(linear: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPredictor]:
    with deployed(linear, tmp_path_factory.mktemp("endpoint")) as found:
        yield found


def test_an_endpoint_answers_with_the_containers_bytes(endpoint: LocalPredictor, linear: Path) -> None:
    rows = [[1.0, 2.0], [3.0, 4.5]]
    expected, _ = Predictor(linear, exact=True).answer(json.dumps(rows).encode(), "application/json")
    assert endpoint.predict(rows) == endpoint.predict(np.array(rows, np.float32)) == json.loads(expected)
    types = {"ContentType": "text/csv", "Accept": "text/csv"}
    assert endpoint.predict("1,2\n3,4.5\n", types).decode().split() == [str(row[0]) for row in json.loads(expected)]
    with pytest.raises(InputError, match=r"^400: .*expected a number, found 'no'"):
        endpoint.predict(b"1,no\n", types)
    assert endpoint.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (b"HTTP/1.1 500 X\r\nContent-Length: 4\r\n\r\nboom", ModelError, "500: boom"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[[1]", ServiceError, "the endpoint does not answer"),
    ],
)
def test_what_fails_behind_the_endpoint_is_no_error_of_the_input(
    answer: bytes, kind: type[Exception], message: str, endpoint: LocalPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        monkeypatch.setattr(endpoint, "url", f"http://127.0.0.1:{server.server_address[1]}/invocations")
        with pytest.raises(kind, match=message):
            endpoint.predict(b"")
        thread.join()


def test_a_deleted_endpoint_does_not_answer(linear: Path, tmp_path: Path) -> None:
    with deployed(linear, tmp_path) as endpoint:
        endpoint.delete_endpoint()
        endpoint.delete_endpoint()
        with pytest.raises(ServiceError, match="the endpoint does not answer"):
            endpoint.predict([[1, 2]])
