"""The network is the notebook's, and is saved as SageMaker saves it."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.errors import OutputError
from fastinfer.mnist.dataset import read_channel
from fastinfer.mnist.network import build_network, pack_model, save_params
from fastinfer.mnist.train import TrainConfig, train
from tests.mnist.channels import files_of

# mxnet's own iterator and mx.nd.array, which only the tests use, ask scipy for a name that it warns about.
uses_mxnets_arrays = pytest.mark.filterwarnings("ignore:.*scipy.sparse.csr:DeprecationWarning")


def test_the_layers_are_the_notebooks(mx: Any) -> None:
    shapes, outputs, _ = build_network(mx).infer_shape(data=(5, 1, 28, 28))
    assert [shape for shape in shapes if len(shape) == 2] == [(128, 784), (64, 128), (10, 64)]
    assert outputs == [(5, 10)]


@uses_mxnets_arrays
def test_the_model_is_what_sagemaker_saves(mx: Any, config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, tar=str(tmp_path / "packed" / "model.tar.gz"), epochs=12)
    report = train(config)
    assert set(files_of(config.model_dir)) == {"model-symbol.json", "model-0000.params", "model-shapes.json"}
    shapes = (Path(config.model_dir) / "model-shapes.json").read_text()
    assert shapes == '[{"name": "data", "shape": [100, 1, 28, 28]}]'
    with tarfile.open(config.tar or "") as archive:
        packed = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert packed == files_of(config.model_dir)
    first = Path(config.tar or "").read_bytes()
    train(replace(config, checkpoint_dir=None))
    assert Path(config.tar or "").read_bytes() == first

    # The reported accuracy is that of the saved model over every test image once.
    module = mx.mod.Module.load(config.model_dir + "/model", 0, label_names=None)
    images, labels = read_channel(config.test)
    module.bind([("data", (250, 1, 28, 28))], for_training=False)
    output = module.predict(mx.io.NDArrayIter(images[:, np.newaxis].astype(np.float32) / 255, batch_size=250))
    accuracy = float((output.asnumpy().argmax(axis=1) == labels).mean())
    assert report.validation_accuracy[-1] == accuracy
    assert len(report.validation_accuracy) == len(report.train_accuracy) == 12


def test_what_cannot_be_written_is_an_error(mx: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the parameters cannot be written"):
        save_params(mx, str(tmp_path / "nowhere" / "x.params"), {"a": mx.nd.zeros(3)}, {})
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the folder cannot be written"):
        pack_model(tmp_path, tmp_path / "file" / "model.tar.gz")
