"""A saved model, without a training: by MXNetModel, or by its archive alone."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.models.module import SHIPPED_MODEL
from fastinfer.options import Options
from fastinfer.sagemaker import LocalSession, MXNet, Transformer
from fastinfer.sagemaker.code_archive import pack_folder
from fastinfer.sagemaker.mxnet import Hyperparameters, MXNetModel
from tests.conftest import csv, read_tree
from tests.runs import transform
from tests.sagemaker.conftest import ENTRY_POINT

pytestmark = pytest.mark.usefixtures("local_root")


@pytest.fixture
def archive(tmp_path: Path, digits: np.ndarray) -> str:
    shutil.copytree(SHIPPED_MODEL, tmp_path / "model")
    pack_folder(tmp_path / "model", tmp_path / "model.tar.gz")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.csv").write_bytes(csv(digits[:2]))
    return str(tmp_path / "model.tar.gz")


def test_a_saved_model_is_transformed_without_a_training(archive: str, tmp_path: Path) -> None:
    transform(SHIPPED_MODEL, tmp_path / "in", tmp_path / "expected", Options(exact=True))
    made = MXNetModel(model_data=archive).transformer(1, "local", output_path=str(tmp_path / "model-out"))
    bare = Transformer(archive, 1, "local", output_path=str(tmp_path / "bare-out"))
    for transformer, name in ((made, "model-out"), (bare, "bare-out")):
        transformer.transform(str(tmp_path / "in"), content_type="text/csv")
        assert read_tree(tmp_path / name) == read_tree(tmp_path / "expected")


def test_a_transformer_is_made_by_the_same_arguments_as_of_a_training(archive: str) -> None:
    assert inspect.signature(MXNetModel.transformer) == inspect.signature(MXNet.transformer)
    # The first seven by their places.
    made = MXNetModel(archive).transformer(1, "local", "SingleRecord", "Line", "/out", "key", "text/csv")
    assert (made.output_path, made.output_kms_key, made.accept) == ("/out", "key", "text/csv")


def test_what_a_model_is_created_with_may_be_said_with_the_transformer(archive: str) -> None:
    model = MXNetModel(archive, name="a", role="r", env={"X": "1"})
    made = model.transformer(1, "local", tags={"k": "v"}, model_name="b", role="s", model_server_workers=2)
    facts = made.sagemaker_session.sagemaker_client.describe_model(ModelName="b")
    assert (made.model_name, made.tags, facts["ExecutionRoleArn"]) == ("b", {"k": "v"}, "s")
    environment = facts["PrimaryContainer"]["Environment"]
    assert (environment["X"], environment["SAGEMAKER_MODEL_SERVER_WORKERS"]) == ("1", "2")
    with pytest.raises(ConfigError, match="does not support EnableNetworkIsolation"):
        model.transformer(1, "local", enable_network_isolation=True)
    assert model.transformer(1, "local").model_name == "a"


def test_a_script_serves_a_saved_model(archive: str, tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text("def output_fn(prediction, accept): return 'mine'\n")
    transformer = MXNetModel(archive, entry_point=str(script)).transformer(
        1, "local", output_path=str(tmp_path / "out")
    )
    transformer.transform(str(tmp_path / "in"), content_type="text/csv")
    assert read_tree(tmp_path / "out") == {"x.csv.out": b"mine"}
    with pytest.raises(ConfigError, match="no such script"):
        MXNetModel(archive, entry_point="none.py").transformer(1, "local")


def test_a_name_that_is_taken_says_what_to_do(archive: str, tmp_path: Path) -> None:
    transformer = Transformer(archive, 1, "local", output_path=str(tmp_path / "out"))
    transformer.transform(str(tmp_path / "in"), content_type="text/csv", job_name="again")
    with pytest.raises(
        ServiceError, match=r"fastinfer sagemaker status again --local` shows it; remove .* to use the name"
    ):
        transformer.transform(str(tmp_path / "in"), content_type="text/csv", job_name="again")


def test_files_are_uploaded_as_the_sdk_does(tmp_path: Path) -> None:
    session = LocalSession()
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "sub" / "a.csv").write_bytes(b"1")
    uri = session.upload_data(str(tmp_path / "data"), key_prefix="in")
    assert uri == "s3://sagemaker_local/in"
    assert session.read(f"{uri}/sub/a.csv") == b"1"
    assert session.upload_data(str(tmp_path / "data" / "sub" / "a.csv")) == "s3://sagemaker_local/data/a.csv"
    with pytest.raises(ConfigError, match="extra_args supports SSEKMSKeyId, ServerSideEncryption; found ACL"):
        session.upload_data(str(tmp_path), extra_args={"ACL": "public-read"})
    with pytest.raises(ConfigError, match="ServerSideEncryption supports only aws:kms, found 'AES256'"):
        session.upload_data(str(tmp_path), extra_args={"ServerSideEncryption": "AES256"})


def test_hyperparameters_are_read_and_called() -> None:
    estimator = MXNet(str(ENTRY_POINT), instance_type="local", hyperparameters={"epochs": 3, "optimizer": "sgd"})
    assert estimator.hyperparameters == {"epochs": 3, "optimizer": "sgd"}
    assert isinstance(estimator.hyperparameters, Hyperparameters)
    assert estimator.hyperparameters() == {"epochs": "3", "optimizer": '"sgd"'}
