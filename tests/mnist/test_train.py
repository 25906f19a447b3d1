"""Training: the notebook's arithmetic to the bit, the same bytes from the same seed, a kill at any point survived."""

from __future__ import annotations

import gzip
import json
import logging
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.errors import ConfigError, InputError, ModelError, OutputError
from fastinfer.mnist.dataset import read_channel
from fastinfer.mnist.train import TrainConfig, train
from fastinfer.storage.atomic import locking
from tests.mnist.channels import ROWS, files_of, write_channel

ROOT = Path(__file__).resolve().parent.parent.parent
MNIST = ROOT / "examples" / "mnist"
# mxnet's own iterator and mx.nd.array, which only the tests use, ask scipy for a name that it warns about.
uses_mxnets_arrays = pytest.mark.filterwarnings("ignore:.*scipy.sparse.csr:DeprecationWarning")


def notebook_parameters(mx: Any, config: TrainConfig) -> dict[str, bytes]:
    """What plain mxnet makes of the same seeds: its own shuffling iterator, metric, initializer and names."""
    images, labels = read_channel(config.train)
    pixels = images[:, np.newaxis].astype(np.float32) / 255
    mx.random.seed(config.seed)
    np.random.seed(config.seed)
    with mx.name.NameManager():
        layer = mx.sym.flatten(mx.sym.var("data"))
        for units in (128, 64):
            layer = mx.sym.Activation(mx.sym.FullyConnected(layer, num_hidden=units), act_type="relu")
        network = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(layer, num_hidden=10), name="softmax")
    module = mx.mod.Module(network, context=mx.cpu())
    module.fit(
        mx.io.NDArrayIter(pixels, labels.astype(np.float32), config.batch_size, shuffle=True),
        kvstore="local",
        optimizer="sgd",
        optimizer_params={"learning_rate": config.learning_rate},
        eval_metric="acc",
        num_epoch=config.epochs,
    )
    return {name: array.asnumpy().tobytes() for name, array in module.get_params()[0].items()}


@uses_mxnets_arrays
def test_the_parameters_are_those_of_the_notebooks_script_to_the_bit(mx: Any, config: TrainConfig) -> None:
    train(config)
    saved = mx.nd.load(config.model_dir + "/model-0000.params")
    assert {name: array.asnumpy().tobytes() for name, array in saved.items()} == {
        f"arg:{name}": value for name, value in notebook_parameters(mx, config).items()
    }


def test_same_seed_same_bytes_and_another_seed_others(config: TrainConfig, tmp_path: Path) -> None:
    reports, models = [], []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        folder = str(tmp_path / name)
        reports.append(train(replace(config, model_dir=folder, checkpoint_dir=None, seed=seed)))
        models.append(files_of(folder))
    assert models[0] == models[1]
    assert models[0]["model-0000.params"] != models[2]["model-0000.params"]
    assert models[0]["model-symbol.json"] == models[2]["model-symbol.json"]
    assert reports[0].train_accuracy == reports[1].train_accuracy


def test_training_learns(config: TrainConfig, tmp_path: Path) -> None:
    folder = write_channel(tmp_path / "more", MNIST / "train", 6000)
    report = train(replace(config, train=str(folder), epochs=25, checkpoint_dir=None))
    assert report.train_accuracy[-1] > 0.9
    assert report.validation_accuracy[-1] > 0.85


@pytest.mark.parametrize("device", ["cpu", "cpu:0,1"])
def test_a_resumed_training_ends_with_the_bytes_of_one_never_stopped(
    config: TrainConfig, tmp_path: Path, device: str
) -> None:
    config = replace(config, device=device)
    whole = train(replace(config, model_dir=str(tmp_path / "whole"), checkpoint_dir=str(tmp_path / "w"), epochs=4))
    train(replace(config, epochs=2))
    rest = train(replace(config, epochs=4, resume=True, seed=None))
    assert files_of(config.model_dir) == files_of(str(tmp_path / "whole"))
    assert files_of(config.checkpoint_dir) == files_of(str(tmp_path / "w"))
    assert (rest.first_epoch, rest.seed) == (3, 7)
    assert rest.validation_accuracy == whole.validation_accuracy[2:]
    assert rest.train_accuracy == whole.train_accuracy[2:]
    # Nothing is left to do: the model is saved again, and its accuracy reported.
    shutil.rmtree(config.model_dir)
    again = train(replace(config, epochs=4, resume=True))
    assert again.validation_accuracy == whole.validation_accuracy[3:]
    assert files_of(config.model_dir) == files_of(str(tmp_path / "whole"))


def test_a_resume_without_a_checkpoint_trains_from_the_start(
    config: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "fastinfer.mnist.train"):
        assert train(replace(config, epochs=1, resume=True)).first_epoch == 1
    assert "no checkpoint to resume from" in caplog.text
    assert "Validation-accuracy=" in caplog.text


def test_a_checkpoint_of_another_training_is_refused(mx: Any, config: TrainConfig, channels: tuple[str, str]) -> None:
    train(replace(config, epochs=2))
    for change, words in [
        ({"batch_size": 50}, "batch size 100, now 50"),
        ({"seed": 8}, "seed 7, now 8"),
        ({"train": channels[1]}, f"rows {ROWS}, now 250"),
        ({"epochs": 1}, "epochs done 2, now 1 in all"),
    ]:
        with pytest.raises(ConfigError, match=words) as caught:
            train(replace(config, resume=True, **change))  # type: ignore[arg-type]
        assert caught.value.code == "other_training"
    with pytest.raises(ConfigError, match="checkpoints up to epoch 2 already") as caught:
        train(config)
    assert caught.value.code == "checkpoints_exist"

    folder = Path(config.checkpoint_dir or "")
    for path in folder.glob("*.json"):
        path.unlink()
    other = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=10, name="fullyconnected0")
    mx.sym.SoftmaxOutput(other, name="softmax").save(str(folder / "mnist-symbol.json"))
    with pytest.raises(ConfigError, match="from another training: network"):
        train(replace(config, resume=True))


@pytest.mark.parametrize("batch_size", [99_999_999_999, 2_739_138])
def test_a_batch_that_mxnet_cannot_hold_is_refused(config: TrainConfig, batch_size: int) -> None:
    with pytest.raises(ConfigError) as caught:
        train(replace(config, batch_size=batch_size))
    assert caught.value.message == f"batch_size must be at most 2,739,137 for these images, found {batch_size:,}"
    assert not list(Path(config.checkpoint_dir or "").glob("mnist-*"))


def test_each_host_trains_on_its_part_and_the_first_saves(tmp_path: Path, config: TrainConfig) -> None:
    environment = {
        **os.environ,
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": str(20000 + os.getpid() % 20000),
        "DMLC_NUM_SERVER": "1",
        "DMLC_NUM_WORKER": "2",
        "DMLC_INTERFACE": "lo",
    }
    command = [sys.executable, "-m", "fastinfer", "train", "--train", config.train, "--test", config.test, "--json"]
    command += ["--quiet", "--epochs", "12", "--hosts", "algo-1", "algo-2", "--model-dir"]
    processes = []
    for role, host in (("scheduler", "algo-1"), ("server", "algo-1"), ("worker", "algo-1"), ("worker", "algo-2")):
        processes.append(
            subprocess.Popen(
                [
                    *command,
                    str(tmp_path / host),
                    "--current-host",
                    host,
                    "--checkpoint-dir",
                    str(tmp_path / f"c-{host}"),
                ],
                cwd=ROOT,
                env={**environment, "DMLC_ROLE": role},
                stdout=subprocess.PIPE,
            )
        )
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    first, second = json.loads(outputs[2]), json.loads(outputs[3])
    assert first["rows"] == second["rows"] == ROWS // 2
    assert (first["model_dir"], second["model_dir"]) == (str(tmp_path / "algo-1"), None)
    # Both hold the same parameters, so both saw the same accuracy; they trained on different rows.
    assert first["validation_accuracy"] == second["validation_accuracy"]
    assert first["train_accuracy"] != second["train_accuracy"]
    assert set(files_of(first["model_dir"])) == {"model-symbol.json", "model-0000.params", "model-shapes.json"}
    assert "mnist-0012.states" in files_of(str(tmp_path / "c-algo-1"))
    assert not (tmp_path / "c-algo-2").exists()
    assert not (tmp_path / "algo-2").exists()


def test_options_that_make_no_sense_are_refused_before_any_work(config: TrainConfig) -> None:
    for change, words in [
        ({"batch_size": 0}, "batch_size must be at least 1, found 0"),
        ({"epochs": 0}, "epochs must be at least 1, found 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"device": "tpu"}, "expected cpu, gpu, gpu:0 or gpu:0,1, found 'tpu'"),
        ({"device": "cpu:0,0"}, "'cpu:0,0' names a device twice"),
        ({"device": "cpu:0,1", "batch_size": 1}, "batch_size 1 is too small for 2 devices"),
        ({"hosts": ("a", "b")}, "the current host 'localhost' is not among the hosts 'a b'"),
        ({"hosts": ("localhost", "b")}, "requires mxnet's parameter server"),
        ({"hosts": ("localhost", "localhost")}, "must name every host once"),
        ({"resume": True, "checkpoint_dir": None}, "resume requires checkpoint_dir"),
    ]:
        with pytest.raises(ConfigError) as caught:
            train(replace(config, **change))  # type: ignore[arg-type]
        assert words in str(caught.value)
    assert not Path(config.model_dir).exists()


def test_a_missing_gpu_is_reported(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match="there is no gpu:99") as caught:
        train(replace(config, device="gpu:99"))
    assert caught.value.code == "no_such_device"


def test_data_that_cannot_be_trained_on_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    folder = write_channel(tmp_path / "bad", MNIST / "test", 20)
    labels = struct.pack(">2I", 0x801, 20) + bytes([3] * 19 + [11])
    (folder / "labels.gz").write_bytes(gzip.compress(labels))
    with pytest.raises(InputError, match="label 19 must be 0 to 9, found 11"):
        train(replace(config, train=str(folder)))
    small = struct.pack(">4I", 0x803, 20, 14, 14) + bytes(20 * 196)
    (folder / "images.gz").write_bytes(gzip.compress(small))
    (folder / "labels.gz").write_bytes(gzip.compress(labels[:-1] + b"\1"))
    with pytest.raises(InputError, match="expected images of 28 x 28 pixels as in training, found 14 x 14"):
        train(replace(config, test=str(folder)))


def test_a_training_that_diverges_is_an_error_and_leaves_no_model(config: TrainConfig) -> None:
    with pytest.raises(ModelError, match="not finite after epoch") as caught:
        train(replace(config, learning_rate=1e30))
    assert caught.value.code == "diverged"
    assert files_of(config.model_dir) == {}


def test_a_model_that_cannot_be_written_is_an_error(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the folder cannot be written"):
        train(replace(config, model_dir=str(tmp_path / "file" / "model")))


@pytest.mark.parametrize("folder", ["model_dir", "checkpoint_dir"])
def test_a_second_training_in_the_same_folder_is_refused(config: TrainConfig, folder: str) -> None:
    path = Path(getattr(config, folder))
    path.mkdir()
    (path / ".fastinfer-0123.tmp").write_text("left by a killed writer")
    with locking(path), pytest.raises(ConfigError, match="another program is writing to this folder") as caught:
        train(config)
    assert (caught.value.code, caught.value.path) == ("output_in_use", str(path))
    # One folder for both is locked once.
    train(replace(config, epochs=1, model_dir=str(path), checkpoint_dir=str(path)))
    assert not any(name.startswith(".") for name in files_of(str(path)))
