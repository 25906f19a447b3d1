"""Training: the notebook's arithmetic to the bit, the same bytes from the same seed, a kill at any point survived."""

from __future__ import annotations

import gzip
import json
import logging
import os
import pickle
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.errors import ConfigError, InputError, ModelError, OutputError
from fastinfer.mnist.checkpoint import newest_checkpoint
from fastinfer.mnist.dataset import read_channel
from fastinfer.mnist.feed import Batches, make_accuracy
from fastinfer.mnist.train import TRAINING_SETTINGS, TrainConfig, load_environment, main, parse_config, train
from fastinfer.runtimes.mxnet.library import load_mxnet

ROOT = Path(__file__).resolve().parent.parent.parent
MNIST = ROOT / "examples" / "mnist"
# mxnet's own iterator and mx.nd.array, which only the tests use, ask scipy for a name that it warns about.
uses_mxnets_arrays = pytest.mark.filterwarnings("ignore:.*scipy.sparse.csr:DeprecationWarning")
ROWS = 650  # no multiple of the batch size: the last batch is filled up


def write_channel(folder: Path, source: Path, rows: int, first: int = 0) -> Path:
    """A channel with some rows of a real one."""
    images, labels = read_channel(source)
    folder.mkdir(parents=True)
    for name, magic, values in (("images.gz", 0x803, images), ("labels.gz", 0x801, labels)):
        part = values[first : first + rows]
        header = struct.pack(f">I{part.ndim}I", magic, *part.shape)
        (folder / name).write_bytes(gzip.compress(header + part.tobytes()))
    return folder


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    top = tmp_path_factory.mktemp("channels")
    return (
        str(write_channel(top / "train" / "deep", MNIST / "train", ROWS).parent),
        str(write_channel(top / "test", MNIST / "test", 250)),
    )


@pytest.fixture
def config(channels: tuple[str, str], tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        train=channels[0],
        test=channels[1],
        model_dir=str(tmp_path / "model"),
        epochs=3,
        seed=7,
        checkpoint_dir=str(tmp_path / "checkpoints"),
    )


@pytest.fixture(scope="module")
def mx() -> Any:
    return load_mxnet(TRAINING_SETTINGS)


def files_of(folder: str | None) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder or "").iterdir()}


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


def test_training_learns(config: TrainConfig, tmp_path: Path) -> None:
    folder = write_channel(tmp_path / "more", MNIST / "train", 6000)
    report = train(replace(config, train=str(folder), epochs=25, checkpoint_dir=None))
    assert report.train_accuracy[-1] > 0.9
    assert report.validation_accuracy[-1] > 0.85


@uses_mxnets_arrays
def test_the_order_and_the_metric_are_mxnets_own(mx: Any) -> None:
    images = np.arange(7 * 4, dtype=np.uint8).reshape(7, 2, 2)
    labels = np.arange(7, dtype=np.uint8)
    np.random.seed(5)
    theirs = mx.io.NDArrayIter(images[:, np.newaxis].astype(np.float32) / 255, labels, 3, shuffle=True)
    ours = Batches(mx, images, labels, 3, seed=5)
    resumed = Batches(mx, images, labels, 3, seed=5, epochs_done=2)
    for epoch in range(4):
        expected = [(batch.data[0].asnumpy().tolist(), batch.label[0].asnumpy().tolist()) for batch in theirs]
        found = [(batch.data[0].asnumpy().tolist(), batch.label[0].asnumpy().tolist()) for batch in ours]
        assert found == expected
        assert len(found) == 3
        if epoch >= 2:
            assert [batch.label[0].asnumpy().tolist() for batch in resumed] == [label for _, label in expected]
            resumed.reset()
        theirs.reset()
        ours.reset()


@uses_mxnets_arrays
def test_the_deferred_accuracy_counts_as_mxnets_and_skips_padding(mx: Any) -> None:
    random = np.random.RandomState(3)
    ours, theirs = make_accuracy(mx), mx.metric.Accuracy()
    for step in range(40):
        label, output = mx.nd.array(random.randint(0, 3, 10)), mx.nd.array(random.rand(10, 3))
        ours.update([label], [output])
        theirs.update([label], [output])
        if step % 15 == 14:
            assert ours.get_name_value() == theirs.get_name_value()
            ours.reset_local()
            theirs.reset_local()
    assert ours.get_global_name_value() == theirs.get_global_name_value()
    ours.reset()
    ours.update([mx.nd.array([0, 1, -1, -1])], [mx.nd.array([[1, 0], [1, 0], [1, 0], [0, 1]])])
    assert ours.get() == ("accuracy", 0.5)


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
    # Nothing left to do: the model is saved again, and its accuracy told.
    shutil.rmtree(config.model_dir)
    again = train(replace(config, epochs=4, resume=True))
    assert again.validation_accuracy == whole.validation_accuracy[3:]
    assert files_of(config.model_dir) == files_of(str(tmp_path / "whole"))


def test_checkpoints_have_the_names_and_content_of_mxnets_callback(
    mx: Any, config: TrainConfig, tmp_path: Path
) -> None:
    train(config)
    names = {f"mnist-000{epoch}.{kind}" for epoch in (1, 2, 3) for kind in ("params", "states", "json")}
    assert set(files_of(config.checkpoint_dir)) == names | {"mnist-symbol.json"}
    with open(f"{config.checkpoint_dir}/mnist-0003.states", "rb") as file:
        assert pickle.load(file) == dict.fromkeys(range(6))
    module = mx.mod.Module.load(f"{config.checkpoint_dir}/mnist", 3)
    module.bind([("data", (100, 1, 28, 28))], [("softmax_label", (100,))])
    module.init_params(force_init=True, arg_params=module._arg_params, aux_params={})
    module.init_optimizer(optimizer_params={"learning_rate": 0.1})
    # And the other way: what mxnet's callback writes is resumed from.
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    mx.callback.module_checkpoint(module, str(theirs / "mnist"), save_optimizer_states=True)(2)
    assert {path.name for path in theirs.iterdir()} == {"mnist-symbol.json", "mnist-0003.params", "mnist-0003.states"}
    other = replace(config, checkpoint_dir=str(theirs), model_dir=str(tmp_path / "other"), epochs=4, resume=True)
    train(other)
    train(replace(config, epochs=4, resume=True))
    assert files_of(other.model_dir) == files_of(config.model_dir)


def run_killed(config: TrainConfig, epoch: int, renames: int) -> None:
    """Trains in a process that kills itself, as `kill -9` does, before the n-th rename of an epoch's checkpoint."""
    script = f"""
        import os, signal
        from fastinfer.mnist.train import TrainConfig, train
        plain, seen = os.replace, []
        def replace(source, target):
            if "mnist-" in str(target):
                seen.append(target)
                if len(seen) == {(epoch - 1) * 4 + renames}:
                    os.kill(os.getpid(), signal.SIGKILL)
            plain(source, target)
        os.replace = replace
        train({config!r})
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("renames", [1, 2, 3, 4])
def test_a_kill_while_a_checkpoint_is_written_leaves_one_to_resume_from(
    mx: Any, config: TrainConfig, tmp_path: Path, renames: int
) -> None:
    run_killed(config, 2, renames)
    left = files_of(config.checkpoint_dir)
    assert any(name.endswith(".tmp") for name in left)
    found, _ = newest_checkpoint(mx, Path(config.checkpoint_dir or ""))
    assert found is not None
    assert found.epoch == 1
    report = train(replace(config, resume=True))
    assert report.first_epoch == 2
    whole = replace(config, model_dir=str(tmp_path / "whole"), checkpoint_dir=str(tmp_path / "w"))
    train(whole)
    assert files_of(config.model_dir) == files_of(whole.model_dir)
    assert files_of(config.checkpoint_dir) == files_of(whole.checkpoint_dir)


@pytest.mark.parametrize("kind", ["params", "states", "json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
def test_a_damaged_checkpoint_is_passed_over_and_said(mx: Any, config: TrainConfig, kind: str, damage: str) -> None:
    train(config)
    path = Path(config.checkpoint_dir or "") / f"mnist-0003.{kind}"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else content[:-9] + b"?" + content[-8:])
    found, passed = newest_checkpoint(mx, path.parent)
    assert found is not None
    assert found.epoch == 2
    assert len(passed) == 1
    assert passed[0].startswith("the checkpoint of epoch 3 is not whole: ")


def test_states_that_would_run_code_are_not_loaded(mx: Any, config: TrainConfig, tmp_path: Path) -> None:
    train(replace(config, epochs=1))
    folder = Path(config.checkpoint_dir or "")
    (folder / "mnist-0001.json").unlink()
    (folder / "mnist-0001.states").write_bytes(b"cos\nsystem\n(S'touch " + os.fsencode(tmp_path / "ran") + b"'\ntR.")
    found, passed = newest_checkpoint(mx, folder)
    assert found is None
    assert "os.system" in passed[0] or "posix.system" in passed[0]
    assert not (tmp_path / "ran").exists()


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
        ({"epochs": 1}, "epochs done 2, now --epochs 1"),
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
    with pytest.raises(ConfigError, match="of another training: network"):
        train(replace(config, resume=True))


def test_each_host_trains_on_its_part_and_the_first_saves(tmp_path: Path, config: TrainConfig) -> None:
    environment = {
        **os.environ,
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": str(20000 + os.getpid() % 20000),
        "DMLC_NUM_SERVER": "1",
        "DMLC_NUM_WORKER": "2",
        "DMLC_INTERFACE": "lo",
    }
    command = [sys.executable, "-m", "fastinfer.mnist.train", "--train", config.train, "--test", config.test, "--json"]
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
        ({"batch_size": 0}, "--batch-size must be at least 1, found 0"),
        ({"epochs": 0}, "--epochs must be at least 1, found 0"),
        ({"learning_rate": 0.0}, "--learning-rate must be a positive number"),
        ({"learning_rate": float("nan")}, "--learning-rate must be a positive number"),
        ({"seed": -1}, "--seed must be 0 to"),
        ({"device": "tpu"}, "expected cpu, gpu, gpu:0 or gpu:0,1, found 'tpu'"),
        ({"device": "cpu:0,0"}, "'cpu:0,0' names a device twice"),
        ({"device": "cpu:0,1", "batch_size": 1}, "--batch-size 1 is too small for 2 devices"),
        ({"hosts": ("a", "b")}, "the current host 'localhost' is not among the hosts 'a b'"),
        ({"hosts": ("localhost", "b")}, "needs mxnet's parameter server"),
        ({"hosts": ("localhost", "localhost")}, "must name every host once"),
        ({"resume": True, "checkpoint_dir": None}, "--resume needs --checkpoint-dir"),
    ]:
        with pytest.raises(ConfigError) as caught:
            train(replace(config, **change))  # type: ignore[arg-type]
        assert words in str(caught.value)
    assert not Path(config.model_dir).exists()


def test_a_gpu_that_is_not_there_is_said(config: TrainConfig) -> None:
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
    with pytest.raises(InputError, match="images of 14 x 14 pixels, but those to train on have 28 x 28"):
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


def test_sagemakers_environment_gives_the_defaults() -> None:
    assert load_environment({}) == {}
    environment = {
        "SM_CHANNEL_TRAIN": "/t",
        "SM_CHANNEL_TEST": "/v",
        "SM_MODEL_DIR": "/m",
        "SM_CURRENT_HOST": "algo-2",
        "SM_HOSTS": '["algo-1", "algo-2"]',
        "SM_NUM_GPUS": "2",
    }
    assert load_environment(environment) == {
        "train": "/t",
        "test": "/v",
        "model_dir": "/m",
        "current_host": "algo-2",
        "hosts": ("algo-1", "algo-2"),
        "device": "gpu:0,1",
    }
    for wrong in ({"SM_HOSTS": "algo-1"}, {"SM_HOSTS": "[1]"}, {"SM_NUM_GPUS": "many"}):
        with pytest.raises(ConfigError) as caught:
            load_environment(wrong)
        assert caught.value.code == "bad_environment"


def run_command_line(arguments: list[str], environment: dict[str, str] | None = None) -> Any:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "fastinfer.mnist.train", *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_command_takes_sagemakers_environment_and_prints_json(config: TrainConfig) -> None:
    environment = {
        "SM_CHANNEL_TRAIN": config.train,
        "SM_CHANNEL_TEST": config.test,
        "SM_MODEL_DIR": config.model_dir,
        "SM_CURRENT_HOST": "algo-1",
        "SM_HOSTS": '["algo-1"]',
        "SM_NUM_GPUS": "0",
    }
    done = run_command_line(["--epochs", "2", "--learning-rate", "0.1", "--json", "--tar"], environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["epochs"], report["rows"], report["seed"]) == (2, ROWS, 2)
    assert len(report["validation_accuracy"]) == 2
    assert "Epoch[1] Validation-accuracy=" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("trained 2 epochs of 650 images in ")
    assert (Path(config.model_dir) / "model.tar.gz").exists()


def test_the_commands_exit_codes(config: TrainConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--train", config.train, "--test", config.test, "--model-dir", config.model_dir, "--epochs", "1"]
    assert main([*arguments, "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")
    assert main([*arguments, "--train", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such folder" in capfd.readouterr().err
    assert main([*arguments, "--device", "gpu:99"]) == 2
    assert main(["--train", config.train]) == 2
    assert "--test is needed, as SM_CHANNEL_TEST is not set" in capfd.readouterr().err
    assert main([*arguments, "--learning-rate", "1e30"]) == 3
    assert main([*arguments, "--model-dir", "/dev/null/model"]) == 4
    with pytest.raises(SystemExit) as stopped:
        main(["--batch-size", "many"])
    assert stopped.value.code == 2


def test_ctrl_c_ends_a_training_with_130_and_leaves_its_checkpoints(mx: Any, config: TrainConfig) -> None:
    command = [
        sys.executable,
        "-m",
        "fastinfer.mnist.train",
        "--train",
        config.train,
        "--test",
        config.test,
        "--epochs",
    ]
    command += ["100000", "--model-dir", config.model_dir, "--checkpoint-dir", config.checkpoint_dir or ""]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Epoch[3] Validation-accuracy"):
                process.send_signal(signal.SIGINT)
                break
        assert process.stderr.read().splitlines()[-1] == "interrupted"
        assert process.wait(60) == 130
    found, _ = newest_checkpoint(mx, Path(config.checkpoint_dir or ""))
    assert found is not None
    assert found.epoch >= 4


@pytest.mark.parametrize("module", ["train", "samples", "digits"])
def test_help_needs_no_mxnet(module: str) -> None:
    script = f"""
        import sys
        from fastinfer.mnist.{module} import main
        try:
            main(["--help"])
        except SystemExit as stopped:
            assert stopped.code == 0
        assert "mxnet" not in sys.modules
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m fastinfer.mnist.{module}")


def test_the_commands_of_the_docs_are_commands() -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    commands = [line for line in text.splitlines() if line.startswith("python -m fastinfer.mnist.train ")]
    assert len(commands) == 3
    for command in commands:
        arguments = shlex.split(command)[3:]
        # The last option makes it fail on what it is told, after all options were understood.
        with pytest.raises(ConfigError, match="--epochs must be at least 1"):
            train(parse_config([*arguments, "--epochs", "0"]))
    for path in ("examples/mnist/train", "examples/mnist/test"):
        assert path in commands[0]
        assert (ROOT / path).is_dir()
