"""Trains the notebook's network on MNIST: `python -m fastinfer.mnist.train --train DIR --test DIR --model-dir DIR`.

The network (784-128-64-10, relu, softmax), the optimizer, the order of the rows and the arithmetic are those of the
notebook's script with the same seeds; `fastinfer.mnist.feed` says what is done faster. What it does besides: checkpoints
that a killed training cannot leave half, and `--resume`, after which the parameters are those of a training that was
never stopped. Options default to the environment that SageMaker's training toolkit sets (SM_MODEL_DIR,
SM_CHANNEL_TRAIN, SM_CHANNEL_TEST, SM_CURRENT_HOST, SM_HOSTS, SM_NUM_GPUS), so the same command is the script of a
training job.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import logging
import math
import os
import pickle
import re
import sys
import tarfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..commands._run import run_command
from ..errors import ConfigError, InputError, ModelError, OutputError, quote
from ..machine import peak_memory_bytes
from ..models.module import MODEL_FILES, PARAMS_NAME, SHAPES_NAME, SYMBOL_NAME
from ..options import parse_device
from ..runtimes.mxnet.library import first_line, load_mxnet, open_contexts
from ..storage.atomic import make_folder, replacing
from .checkpoint import Checkpoint, checkpoint_epochs, network_signature, newest_checkpoint, save_checkpoint
from .dataset import read_channel
from .feed import Batches, make_accuracy

CLASSES = 10
HIDDEN = (128, 64)
DEFAULT_SEED = 2
SAGEMAKER_CHECKPOINTS = Path("/opt/ml/checkpoints")
BATCHES_A_LINE = 100

# benchmarks/bench_train.py found these; none changes a bit of the result. With them the parameters do not depend on the
# number of cores either.
#   OMP_NUM_THREADS                    the operators are too small for more; the engine itself runs several at once
#   MXNET_OPTIMIZER_AGGREGATION_SIZE   one update a parameter: the operator for several at once is not vectorized
TRAINING_SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "MXNET_OPTIMIZER_AGGREGATION_SIZE": "0",
    "MXNET_SUBGRAPH_VERBOSE": "0",
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, and where the results go.

    Args:
        train: the channel folder with the training `images.gz` and `labels.gz` anywhere below.
        test: the same for validation.
        model_dir: the folder that gets the model's three files; created where missing.
        batch_size: rows of one step, over all devices of this host.
        epochs: how many times the training rows are gone through, those before a resume included.
        learning_rate: of plain stochastic gradient descent.
        seed: of the first parameters and of the order of the rows; None: the checkpoint's, else :data:`DEFAULT_SEED`.
        device: ``cpu``, ``gpu`` (the first), or several, as in ``gpu:0,1``; ``cpu:0,1`` tries that without a GPU.
        checkpoint_dir: the folder for a checkpoint after every epoch; None: no checkpoints.
        resume: go on from the newest whole checkpoint; from the start where there is none.
        tar: a file to pack the model into, as SageMaker does (`model.tar.gz`); None: not packed.
        hosts: the names of all hosts; each trains on its own part of the rows, the first saves.
        current_host: the name of this one.
    """

    train: str
    test: str
    model_dir: str
    batch_size: int = 100
    epochs: int = 10
    learning_rate: float = 0.1
    seed: int | None = None
    device: str = "cpu"
    checkpoint_dir: str | None = None
    resume: bool = False
    tar: str | None = None
    hosts: tuple[str, ...] = ("localhost",)
    current_host: str = "localhost"


@dataclass
class TrainReport:
    """What a training did; :func:`dataclasses.asdict` of it is what ``--json`` prints.

    Args:
        model_dir: where the model is, None on a host that does not save.
        seed: what it was trained with.
        first_epoch: 1, or the first one after a resume.
        epochs: the last one.
        rows: training rows of this host.
        seconds: from the first to the last epoch, validation included.
        images_per_s: training rows over those seconds.
        train_accuracy: of each epoch of this run.
        validation_accuracy: of each epoch of this run; of the model alone if no epoch was left to do.
    """

    model_dir: str | None
    seed: int
    first_epoch: int
    epochs: int
    rows: int
    seconds: float = 0.0
    images_per_s: float = 0.0
    train_accuracy: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)


def train(config: TrainConfig) -> TrainReport:
    """Trains as `config` says and saves the model; progress goes to the logger ``fastinfer.mnist.train``.

    Raises:
        ConfigError: an option, or a device that is not there, or a checkpoint of another training.
        InputError: a channel that cannot be read.
        ModelError: ``diverged``.
        OutputError: a model, tar or checkpoint that cannot be written.
    """
    _check_options(config)
    saves = config.current_host == config.hosts[0]
    checkpoints = Path(config.checkpoint_dir) if config.checkpoint_dir else None
    if saves:
        make_folder(Path(config.model_dir))
        if checkpoints:
            make_folder(checkpoints)
            _refuse_other_checkpoints(config, checkpoints)
    images, labels = read_channel(config.train)
    test_images, test_labels = read_channel(config.test)
    _check_channels(config, images, labels, test_images, test_labels)
    images, labels = _host_rows(config, images, labels)

    mx = load_mxnet(TRAINING_SETTINGS)
    contexts = open_contexts(parse_device(config.device))
    symbol = _network(mx)
    found = _find_checkpoint(mx, config, symbol, len(labels)) if config.resume else None
    done = found.epoch if found else 0
    seed = config.seed if config.seed is not None else DEFAULT_SEED
    if found and config.seed is None:
        seed = int(found.settings.get("seed", DEFAULT_SEED))
    settings = _checkpoint_settings(config, seed, len(labels))
    report = TrainReport(config.model_dir if saves else None, seed, done + 1, config.epochs, len(labels))

    mx.random.seed(seed)
    batches = Batches(mx, images, labels, config.batch_size, seed=seed, epochs_done=done)
    validation = Batches(mx, test_images, test_labels, config.batch_size)
    distributed = len(config.hosts) > 1
    params: tuple[dict[str, Any] | None, dict[str, Any] | None] = (None, None)
    if found:
        # A store on other hosts keeps no states that could be loaded; plain sgd has none.
        module = mx.mod.Module.load(
            found.prefix, done, load_optimizer_states=not distributed, context=contexts, logger=logger
        )
        _quiet_about_states_file(module)
        saved = mx.model.load_params(found.prefix, done)
        params = (saved[0], saved[1])
    else:
        module = mx.mod.Module(symbol, context=contexts, logger=logger)

    def after_epoch(epoch: int, symbol: Any, arguments: dict[str, Any], auxiliary: dict[str, Any]) -> None:
        report.train_accuracy.append(accuracy.get_global()[1])
        _refuse_not_finite(arguments, epoch + 1)
        if checkpoints and saves:
            save_checkpoint(
                checkpoints,
                epoch + 1,
                lambda path: _save_symbol(mx, path, symbol),
                lambda path: _save_params(mx, path, arguments, auxiliary),
                _save_no_states if distributed else module.save_optimizer_states,
                settings,
            )

    def after_validation(parameters: Any) -> None:
        report.validation_accuracy.append(parameters.eval_metric.get_global()[1])

    accuracy, validation_accuracy = make_accuracy(mx), make_accuracy(mx)
    start = time.perf_counter()
    module.fit(
        batches,
        eval_data=validation,
        eval_metric=accuracy,
        validation_metric=validation_accuracy,
        kvstore="dist_sync" if distributed else "local",
        optimizer="sgd",
        optimizer_params={
            "learning_rate": config.learning_rate,
            "begin_num_update": done * -(-len(labels) // config.batch_size),
        },
        batch_end_callback=_Speed(config.batch_size),
        epoch_end_callback=after_epoch,
        eval_end_callback=after_validation,
        arg_params=params[0],
        aux_params=params[1],
        force_init=found is not None,
        begin_epoch=done,
        num_epoch=config.epochs,
    )
    report.seconds = time.perf_counter() - start
    epochs_run = config.epochs - done
    if epochs_run:
        report.images_per_s = epochs_run * len(labels) / report.seconds
    else:
        module.score(validation, validation_accuracy)
        report.validation_accuracy.append(validation_accuracy.get_global()[1])
    if saves:
        _save_model(mx, module, config)
    return report


def load_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The options that SageMaker's training toolkit gives by environment, by :class:`TrainConfig`'s names.

    Raises:
        ConfigError: ``bad_environment``, for an SM_HOSTS or SM_NUM_GPUS that is not what the toolkit writes.
    """
    options: dict[str, Any] = {}
    for name, variable in (
        ("train", "SM_CHANNEL_TRAIN"),
        ("test", "SM_CHANNEL_TEST"),
        ("model_dir", "SM_MODEL_DIR"),
        ("current_host", "SM_CURRENT_HOST"),
    ):
        if environment.get(variable):
            options[name] = environment[variable]
    if environment.get("SM_HOSTS"):
        options["hosts"] = _parse_hosts(environment["SM_HOSTS"], "SM_HOSTS")
    gpus = environment.get("SM_NUM_GPUS") or "0"
    if not re.fullmatch("[0-9]{1,4}", gpus):
        raise ConfigError(f"SM_NUM_GPUS must be a count, found {quote(gpus)}", code="bad_environment")
    if int(gpus):
        options["device"] = "gpu:" + ",".join(str(index) for index in range(int(gpus)))
    return options


class _Speed:
    """A line every 100 batches, in the words of `mx.callback.Speedometer`, which log readers know."""

    def __init__(self, batch_size: int) -> None:
        self._images = batch_size * BATCHES_A_LINE
        self._since = time.perf_counter()

    def __call__(self, batch: Any) -> None:
        if batch.nbatch % BATCHES_A_LINE:
            return
        if batch.nbatch:
            name, value = batch.eval_metric.get_name_value()[0]
            batch.eval_metric.reset_local()
            speed = self._images / (time.perf_counter() - self._since)
            first = batch.nbatch - BATCHES_A_LINE
            logger.info(
                "Epoch[%d] Batch [%d-%d]\tSpeed: %.2f samples/sec\t%s=%f",
                *(batch.epoch, first, batch.nbatch, speed, name, value),
            )
        self._since = time.perf_counter()


def _network(mx: Any) -> Any:
    """The notebook's network. The names are those that mxnet gives it in a new process, whatever was built before."""
    layer = mx.sym.flatten(mx.sym.var("data"), name="flatten0")
    for number, units in enumerate(HIDDEN):
        layer = mx.sym.FullyConnected(layer, num_hidden=units, name=f"fullyconnected{number}")
        layer = mx.sym.Activation(layer, act_type="relu", name=f"activation{number}")
    layer = mx.sym.FullyConnected(layer, num_hidden=CLASSES, name=f"fullyconnected{len(HIDDEN)}")
    return mx.sym.SoftmaxOutput(layer, name="softmax")


def _check_options(config: TrainConfig) -> None:
    for name in ("batch_size", "epochs"):
        if getattr(config, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, found {getattr(config, name)}")
    if not (config.learning_rate > 0 and math.isfinite(config.learning_rate)):
        raise ConfigError(f"--learning-rate must be a positive number, found {config.learning_rate}")
    if config.seed is not None and not 0 <= config.seed < 2**31:
        raise ConfigError(f"--seed must be 0 to {2**31 - 1}, found {config.seed}")
    devices = len(parse_device(config.device))
    if config.batch_size < devices:
        raise ConfigError(f"--batch-size {config.batch_size} is too small for {devices} devices")
    if not config.hosts or len(set(config.hosts)) != len(config.hosts):
        raise ConfigError(f"--hosts must name every host once, found {quote(' '.join(config.hosts))}")
    if config.current_host not in config.hosts:
        raise ConfigError(
            f"the current host {quote(config.current_host)} is not among the hosts {quote(' '.join(config.hosts))}"
        )
    if len(config.hosts) > 1 and not os.environ.get("DMLC_PS_ROOT_URI"):
        raise ConfigError(
            f"training on {len(config.hosts)} hosts needs mxnet's parameter server (DMLC_ROLE, DMLC_PS_ROOT_URI, …)",
            code="no_parameter_server",
            hint="docs/training.md shows how to start it; SageMaker's toolkit does it by itself",
        )
    if config.resume and not config.checkpoint_dir:
        raise ConfigError("--resume needs --checkpoint-dir")


def _check_channels(
    config: TrainConfig,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    test_images: NDArray[np.uint8],
    test_labels: NDArray[np.uint8],
) -> None:
    for channel, values in ((config.train, labels), (config.test, test_labels)):
        if values.max() >= CLASSES:
            row = int((values >= CLASSES).argmax())
            raise InputError(f"label {row} must be 0 to {CLASSES - 1}, found {values[row]}", path=channel)
    if images.shape[1:] != test_images.shape[1:]:
        shapes = [" x ".join(map(str, array.shape[1:])) for array in (test_images, images)]
        raise InputError(f"images of {shapes[0]} pixels, but those to train on have {shapes[1]}", path=config.test)


def _host_rows(
    config: TrainConfig, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The rows of this host: equal parts in the order of the hosts; a remainder is left out, as in the notebook."""
    count = len(labels) // len(config.hosts)
    if count == 0:
        raise InputError(f"{len(labels)} rows are too few for {len(config.hosts)} hosts", path=config.train)
    first = config.hosts.index(config.current_host) * count
    return images[first : first + count], labels[first : first + count]


def _checkpoint_settings(config: TrainConfig, seed: int, rows: int) -> dict[str, Any]:
    """What must be the same for a resume to be the same training, and the learning rate for the reader."""
    return {
        "batch_size": config.batch_size,
        "rows": rows,
        "hosts": len(config.hosts),
        "seed": seed,
        "learning_rate": config.learning_rate,
    }


def _refuse_other_checkpoints(config: TrainConfig, folder: Path) -> None:
    # A training from the start would leave later epochs of the other one behind, which a resume would take.
    epochs = checkpoint_epochs(folder)
    if epochs and not config.resume:
        raise ConfigError(
            f"there are checkpoints up to epoch {epochs[0]} already",
            code="checkpoints_exist",
            path=str(folder),
            hint="--resume goes on from the newest; or give another --checkpoint-dir, or remove them",
        )


def _find_checkpoint(mx: Any, config: TrainConfig, symbol: Any, rows: int) -> Checkpoint | None:
    folder = Path(config.checkpoint_dir or "")
    found, passed = newest_checkpoint(mx, folder)
    for sentence in passed:
        logger.warning("%s: %s", folder, sentence)
    if found is None:
        logger.info("%s: no checkpoint to resume from, training from the start", folder)
        return None
    place = f"{found.prefix}-{found.epoch:04d}"

    def refuse(what: str, there: object, here: object) -> ConfigError:
        return ConfigError(
            f"this checkpoint is of another training: {what} {there}, now {here}",
            code="other_training",
            path=place,
            hint="train with the same options, or from the start with another --checkpoint-dir",
        )

    saved = mx.sym.load(f"{found.prefix}-symbol.json")
    if network_signature(saved.tojson()) != network_signature(symbol.tojson()):
        raise refuse("network", saved.list_arguments(), symbol.list_arguments())
    wanted = _checkpoint_settings(config, config.seed if config.seed is not None else -1, rows)
    for name in ("batch_size", "rows", "hosts") + (("seed",) if config.seed is not None else ()):
        if name in found.settings and found.settings[name] != wanted[name]:
            raise refuse(name.replace("_", " "), found.settings[name], wanted[name])
    if found.epoch > config.epochs:
        raise refuse("epochs done", found.epoch, f"--epochs {config.epochs}")
    logger.info("%s: resuming after epoch %d", folder, found.epoch)
    return found


def _refuse_not_finite(arguments: dict[str, Any], epoch: int) -> None:
    for name, array in arguments.items():
        if not np.isfinite(array.asnumpy()).all():
            raise ModelError(
                f"the training diverged: {name} is not finite after epoch {epoch}",
                code="diverged",
                hint="a smaller --learning-rate",
            )


def _save_symbol(mx: Any, path: str, symbol: Any) -> None:
    try:
        symbol.save(path)
    except mx.MXNetError as error:
        raise OutputError(f"the network cannot be written: {first_line(error)}", path=path) from error


def _save_params(mx: Any, path: str, arguments: dict[str, Any], auxiliary: dict[str, Any]) -> None:
    arrays = {f"arg:{name}": array.as_in_context(mx.cpu()) for name, array in arguments.items()}
    arrays.update({f"aux:{name}": array.as_in_context(mx.cpu()) for name, array in auxiliary.items()})
    try:
        mx.nd.save(path, arrays)
        # mxnet does not report a disk that is full.
        written = mx.nd.load(path)
    except mx.MXNetError as error:
        raise OutputError(f"the parameters cannot be written: {first_line(error)}", path=path) from error
    if any((written[name].asnumpy() != array.asnumpy()).any() for name, array in arrays.items()):
        raise OutputError("the parameters were not written whole", path=path)


def _save_no_states(path: str) -> None:
    Path(path).write_bytes(pickle.dumps({}))


def _save_model(mx: Any, module: Any, config: TrainConfig) -> None:
    folder = Path(config.model_dir)
    arguments, auxiliary = module.get_params()
    shapes = [{"name": data.name, "shape": list(data.shape)} for data in module.data_shapes]
    symbol_path, params_path, shapes_path = folder / SYMBOL_NAME, folder / PARAMS_NAME, folder / SHAPES_NAME
    # All three are written before the first takes its name.
    with replacing(symbol_path) as symbol_file, replacing(params_path) as params_file, replacing(shapes_path) as file:
        _save_symbol(mx, str(symbol_file), module.symbol)
        _save_params(mx, str(params_file), arguments, auxiliary)
        file.write_text(json.dumps(shapes))
    if config.tar:
        pack_model(folder, Path(config.tar))


def pack_model(folder: Path, tar: Path) -> None:
    """Packs a model's three files as SageMaker does; the same files give the same bytes, whenever and by whomever.

    Raises:
        OutputError: ``cannot_write``.
    """
    make_folder(tar.parent)

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o644
        return member

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in MODEL_FILES:
            archive.add(folder / name, name, filter=anonymous)
    with replacing(tar) as temporary:
        temporary.write_bytes(gzip.compress(packed.getvalue(), mtime=0))


def _quiet_about_states_file(module: Any) -> None:
    """Keeps quiet that Module leaves closing the file with the states to Python: nobody can act on the warning."""
    load = module.load_optimizer_states

    def load_quietly(path: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            load(path)

    module.load_optimizer_states = load_quietly


def _parse_hosts(text: str, name: str) -> tuple[str, ...]:
    try:
        hosts = json.loads(text)
    except ValueError:
        hosts = None
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ConfigError(f"{name} must be a JSON list of names, found {quote(text)}", code="bad_environment")
    return tuple(hosts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastinfer.mnist.train",
        description="Train the notebook's network on MNIST and save it as SageMaker does.",
        epilog="Exit codes: 0 done, 1 bad data, 2 bad option or missing device, 3 the training diverged, "
        "4 a result cannot be written, 130 interrupted.",
    )
    parser.add_argument(
        "--train", metavar="DIR", help="folder with images.gz and labels.gz (default: $SM_CHANNEL_TRAIN)"
    )
    parser.add_argument("--test", metavar="DIR", help="the same, to validate on (default: $SM_CHANNEL_TEST)")
    parser.add_argument("--model-dir", metavar="DIR", help="where the model goes (default: $SM_MODEL_DIR)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="rows a step (default: 100)")
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs in all, resumed ones included (default: 10)")
    parser.add_argument("--learning-rate", type=float, metavar="RATE", help="default: 0.1")
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help=f"same seed, same parameters (default: {DEFAULT_SEED}, or the checkpoint's)",
    )
    parser.add_argument(
        "--device", metavar="DEVICE", help="cpu, gpu or gpu:0,1 (default: all of $SM_NUM_GPUS, else cpu)"
    )
    parser.add_argument(
        "--checkpoint-dir",
        metavar="DIR",
        help=f"a checkpoint after every epoch (default: {SAGEMAKER_CHECKPOINTS} if it exists, else none; '': none)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest whole checkpoint")
    parser.add_argument(
        "--tar",
        nargs="?",
        const="",
        metavar="FILE",
        help="also pack the model (default FILE: model.tar.gz in --model-dir)",
    )
    parser.add_argument("--current-host", metavar="HOST", help="this host's name (default: $SM_CURRENT_HOST)")
    parser.add_argument("--hosts", nargs="+", metavar="HOST", help="all hosts' names (default: $SM_HOSTS, a JSON list)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


def parse_config(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> TrainConfig:
    """The training that a command line asks for: its options, else SageMaker's environment, else the defaults.

    Raises:
        ConfigError: an option that is needed and not there, or an environment that makes no sense.
        SystemExit: by argparse, for what it refuses.
    """
    return _config(_parser().parse_args(argv), environment)


def _config(arguments: argparse.Namespace, environment: Mapping[str, str]) -> TrainConfig:
    options = load_environment(environment)
    given = {name: value for name, value in vars(arguments).items() if name not in ("json", "quiet")}
    options.update({name: value for name, value in given.items() if value is not None})
    for name, variable in (
        ("train", "SM_CHANNEL_TRAIN"),
        ("test", "SM_CHANNEL_TEST"),
        ("model_dir", "SM_MODEL_DIR"),
    ):
        if name not in options:
            raise ConfigError(f"--{name.replace('_', '-')} is needed, as {variable} is not set")
    if arguments.hosts is not None:
        json_list = len(arguments.hosts) == 1 and arguments.hosts[0].startswith("[")
        options["hosts"] = _parse_hosts(arguments.hosts[0], "--hosts") if json_list else tuple(arguments.hosts)
    if "hosts" in options and "current_host" not in options and len(options["hosts"]) == 1:
        options["current_host"] = options["hosts"][0]
    if "current_host" in options and "hosts" not in options:
        options["hosts"] = (options["current_host"],)
    if arguments.checkpoint_dir is None and SAGEMAKER_CHECKPOINTS.is_dir():
        options["checkpoint_dir"] = str(SAGEMAKER_CHECKPOINTS)
    if arguments.tar == "":
        options["tar"] = str(Path(options["model_dir"]) / "model.tar.gz")
    return TrainConfig(**options)


def _run(argv: Sequence[str] | None) -> None:
    arguments = _parser().parse_args(argv)
    config = _config(arguments, os.environ)
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if arguments.quiet else logging.INFO)
    logger.propagate = False
    try:
        report = train(config)
    finally:
        logger.removeHandler(handler)
    if arguments.json:
        print(json.dumps(asdict(report)))
    if not arguments.quiet:
        count = report.epochs - report.first_epoch + 1
        memory = peak_memory_bytes() / (1 << 20)
        print(
            f"trained {count} epochs of {report.rows:,} images in {report.seconds:.1f} s ({report.images_per_s:,.0f} "
            f"images/s, {memory:,.0f} MiB at most), validation accuracy {report.validation_accuracy[-1]:.4f}: "
            f"{report.model_dir or 'saved by the first host'}",
            file=sys.stderr,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    return run_command(_run, argv)


if __name__ == "__main__":
    sys.exit(main())
