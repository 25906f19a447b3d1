"""What `deploy` refuses, of a model and of an estimator; test_local_endpoint.py has what it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from fastinfer.errors import ConfigError, ModelError
from fastinfer.sagemaker import LocalSession, MXNetModel
from fastinfer.sagemaker.code_archive import pack_folder
from fastinfer.sagemaker.deployment import Deployable
from fastinfer.sagemaker.missing import NotHere
from fastinfer.sagemaker.mxnet import MXNet

MAKERS = [
    lambda: MXNet("train.py", instance_type="local"),
    lambda: MXNetModel("model.tar.gz", sagemaker_session=LocalSession()),
]


@pytest.mark.parametrize("make", MAKERS)
def test_an_endpoint_elsewhere_or_of_several_machines_is_refused(make: Callable[[], Deployable]) -> None:
    with pytest.raises(NotHere, match=r"is here for instance_type='local', found 'ml.m5.large'.*create the endpoint"):
        make().deploy(1, "ml.m5.large")
    with pytest.raises(ConfigError, match="is one machine"):
        make().deploy(2, "local")


def test_a_model_that_cannot_be_served_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setenv("FASTINFER_LOCAL_ROOT", str(tmp_path / "root"))
    (tmp_path / "model").mkdir()
    pack_folder(tmp_path / "model", tmp_path / "model.tar.gz")
    model = MXNetModel(str(tmp_path / "model.tar.gz"), sagemaker_session=LocalSession())
    with pytest.raises(ModelError, match="the endpoint did not start: error: "):
        model.deploy(1, "local")
