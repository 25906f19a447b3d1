"""An endpoint on this machine: a real server on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import InputError, ServiceError
from fastinfer.handlers.predictor import Predictor
from fastinfer.sagemaker import LocalSession, MXNetModel
from fastinfer.sagemaker.code_archive import pack_folder
from fastinfer.sagemaker.local.endpoint import LocalPredictor

pytest.importorskip("aiohttp")


@pytest.fixture(scope="module")
def endpoint(linear: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPredictor]:
    folder = tmp_path_factory.mktemp("endpoint")
    pack_folder(linear, folder / "model.tar.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTINFER_LOCAL_ROOT", str(folder / "root"))
        patch.delenv("FASTINFER_MODEL", raising=False)
        found = MXNetModel(str(folder / "model.tar.gz"), sagemaker_session=LocalSession()).deploy(1, "local")
        yield found
        found.delete_endpoint()


def test_an_endpoint_answers_with_the_containers_bytes(endpoint: LocalPredictor, linear: Path) -> None:
    rows = [[1.0, 2.0], [3.0, 4.5]]
    expected, _ = Predictor(linear, exact=True).answer(json.dumps(rows).encode(), "application/json")
    assert endpoint.predict(rows) == endpoint.predict(np.array(rows, np.float32)) == json.loads(expected)
    types = {"ContentType": "text/csv", "Accept": "text/csv"}
    assert endpoint.predict("1,2\n3,4.5\n", types).decode().split() == [str(row[0]) for row in json.loads(expected)]
    with pytest.raises(InputError, match=r"^400: .*expected a number, found 'no'"):
        endpoint.predict(b"1,no\n", types)
    assert endpoint.url.startswith("http://127.0.0.1:")


def test_a_deleted_endpoint_does_not_answer(endpoint: LocalPredictor) -> None:
    endpoint.delete_endpoint()
    endpoint.delete_endpoint()
    with pytest.raises(ServiceError, match="the endpoint does not answer"):
        endpoint.predict([[1, 2]])
