"""Trains the notebook's network on MNIST.

The optimizer, the order of the rows and the arithmetic are those of the notebook's script with the same seeds;
`fastinfer.mnist.feed` describes what is faster. In addition there are checkpoints, which are always complete even if the
training is killed, and `resume`, after which the parameters are those of a training that was never stopped. The options
and SageMaker's environment variables are read by `fastinfer.commands.train`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pickle
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, InputError, ModelError, quote
from ..options import parse_device
from ..runtimes.mxnet.library import load_mxnet, open_contexts
from ..storage.atomic import locking, make_folder, remove_leftovers
from .checkpoint import (
    Checkpoint,
    begun_settings,
    checkpoint_epochs,
    network_signature,
    newest_checkpoint,
    save_checkpoint,
)
from .dataset import read_channel
from .feed import Batches, make_accuracy
from .network import CLASSES, HIDDEN, build_network, save_model, save_params, save_symbol

DEFAULT_SEED = 2
# What both MXNet and NumPy accept.
SEEDS = range(2**31)
BATCHES_A_LINE = 100
# Values of an array: MXNet counts no further.
MOST_VALUES = 2**31 - 1

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

    So many attributes: the options of the command, by their names.

    Args:
        train: the channel folder; it has the training `images.gz` and `labels.gz` somewhere below.
        test: the same for validation.
        model_dir: the folder for the model's three files; created if missing.
        batch_size: rows of one step, over all devices of this host.
        epochs: how many times all training rows are used, including epochs before a resume.
        learning_rate: of plain stochastic gradient descent.
        seed: of the first parameters and of the order of the rows; None: the checkpoint's, else :data:`DEFAULT_SEED`.
        device: ``cpu``, ``gpu`` (the first), or several, as in ``gpu:0,1``; ``cpu:0,1`` tries that without a GPU.
        checkpoint_dir: the folder for a checkpoint after every epoch; None: no checkpoints.
        resume: continue from the newest complete checkpoint; start from the beginning if there is none.
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
    """What a training did.

    Args:
        model_dir: the folder of the model, None on a host that does not save.
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
        ConfigError: an option, or a device that is not there, or a checkpoint of another training; ``output_in_use`` where
            another training writes to the same folder.
        InputError: a channel that cannot be read.
        ModelError: ``diverged``.
        OutputError: a model, tar or checkpoint that cannot be written.
    """
    _check_options(config)
    with contextlib.ExitStack() as locks:
        # The scheduler and the server of several hosts are started with a worker's options, and save nothing.
        is_worker = os.environ.get("DMLC_ROLE", "worker") == "worker" or len(config.hosts) == 1
        if is_worker and config.current_host == config.hosts[0]:
            folders = [Path(folder) for folder in (config.model_dir, config.checkpoint_dir) if folder]
            for folder in folders:
                make_folder(folder)
            for folder in sorted({folder.resolve() for folder in folders}):
                locks.enter_context(locking(folder))
                remove_leftovers(folder)
            if config.checkpoint_dir:
                _refuse_other_checkpoints(config, Path(config.checkpoint_dir))
        return _train(config)


def _train(config: TrainConfig) -> TrainReport:
    saves = config.current_host == config.hosts[0]
    checkpoints = Path(config.checkpoint_dir) if config.checkpoint_dir else None
    images, labels = read_channel(config.train)
    test_images, test_labels = read_channel(config.test)
    _check_channels(config, images, labels, test_images, test_labels)
    images, labels = _host_rows(config, images, labels)

    mx = load_mxnet(TRAINING_SETTINGS)
    contexts = open_contexts(parse_device(config.device))
    symbol = build_network(mx)
    found, recorded = _find_checkpoint(mx, config, symbol, images.shape) if config.resume else (None, {})
    done = found.epoch if found else 0
    seed = config.seed if config.seed is not None else int(recorded.get("seed", DEFAULT_SEED))
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
                lambda path: save_symbol(mx, path, symbol),
                lambda path: save_params(mx, path, arguments, auxiliary),
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
        save_model(mx, module, Path(config.model_dir), Path(config.tar) if config.tar else None)
    return report


class _Speed:
    """A line every 100 batches, in the format of `mx.callback.Speedometer`, which log parsers know."""

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


def _check_options(config: TrainConfig) -> None:
    for name in ("batch_size", "epochs"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be at least 1, found {getattr(config, name)}")
    if not (config.learning_rate > 0 and math.isfinite(config.learning_rate)):
        raise ConfigError(f"learning_rate must be a positive number, found {config.learning_rate}")
    if config.seed is not None and config.seed not in SEEDS:
        raise ConfigError(f"seed must be 0 to {SEEDS[-1]}, found {config.seed}")
    devices = len(parse_device(config.device))
    if config.batch_size < devices:
        raise ConfigError(f"batch_size {config.batch_size} is too small for {devices} devices")
    if not config.hosts or len(set(config.hosts)) != len(config.hosts):
        raise ConfigError(f"hosts must name every host once, found {quote(' '.join(config.hosts))}")
    if config.current_host not in config.hosts:
        raise ConfigError(
            f"the current host {quote(config.current_host)} is not among the hosts {quote(' '.join(config.hosts))}"
        )
    if len(config.hosts) > 1 and not os.environ.get("DMLC_PS_ROOT_URI"):
        raise ConfigError(
            f"training on {len(config.hosts)} hosts requires mxnet's parameter server (DMLC_ROLE, DMLC_PS_ROOT_URI, …)",
            code="no_parameter_server",
            hint="docs/training.md shows how to start it; SageMaker's toolkit starts it automatically",
        )
    if config.resume and not config.checkpoint_dir:
        raise ConfigError("resume requires checkpoint_dir")


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
        raise InputError(f"expected images of {shapes[1]} pixels as in training, found {shapes[0]}", path=config.test)
    # A batch is one array, and so is what each layer makes of it.
    most = MOST_VALUES // max(math.prod(images.shape[1:]), *HIDDEN)
    if config.batch_size > most:
        raise ConfigError(f"batch_size must be at most {most:,} for these images, found {config.batch_size:,}")


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
    """What must be equal for a resume to continue the same training; the learning rate is only recorded."""
    return {
        "batch_size": config.batch_size,
        "rows": rows,
        "hosts": len(config.hosts),
        "seed": seed,
        "learning_rate": config.learning_rate,
    }


def _refuse_other_checkpoints(config: TrainConfig, folder: Path) -> None:
    # A training from the start would leave later epochs of the other one there, and a resume would use them.
    epochs = checkpoint_epochs(folder)
    if epochs and not config.resume:
        raise ConfigError(
            f"the folder has checkpoints up to epoch {epochs[0]} already",
            code="checkpoints_exist",
            path=str(folder),
            hint="resume, use another checkpoint_dir, or remove them",
        )


def _find_checkpoint(
    mx: Any, config: TrainConfig, symbol: Any, images_shape: tuple[int, ...]
) -> tuple[Checkpoint | None, dict[str, Any]]:
    """The checkpoint to continue from, and the settings of the training that the folder belongs to.

    The settings are there even if that training was killed before its first checkpoint was complete.
    """
    folder = Path(config.checkpoint_dir or "")
    found, skipped = newest_checkpoint(mx, folder)
    for sentence in skipped:
        logger.warning("%s: %s", folder, sentence)
    recorded = found.settings if found else begun_settings(folder)
    prefix = f"{found.prefix}-{found.epoch:04d}" if found else str(folder)

    def refuse(what: str, there: object, here: object) -> ConfigError:
        return ConfigError(
            f"this checkpoint is from another training: {what} {there}, now {here}",
            code="other_training",
            path=prefix,
            hint="train with the same options, or from the start with another checkpoint_dir",
        )

    wanted = _checkpoint_settings(config, config.seed if config.seed is not None else -1, images_shape[0])
    for name in ("batch_size", "rows", "hosts") + (("seed",) if config.seed is not None else ()):
        if recorded.get(name, wanted[name]) != wanted[name]:
            raise refuse(name.replace("_", " "), recorded[name], wanted[name])
    if found is None:
        logger.info("%s: no checkpoint to resume from, training from the start", folder)
        return None, recorded
    saved = mx.sym.load_json(found.symbol)
    if network_signature(saved.tojson()) != network_signature(symbol.tojson()):
        raise refuse("network", saved.list_arguments(), symbol.list_arguments())
    shapes = symbol.infer_shape(data=(1, 1, *images_shape[1:]))[0]
    for name, shape in zip(symbol.list_arguments(), shapes):
        if name not in ("data", "softmax_label") and found.shapes.get(name) != shape:
            raise refuse(name, found.shapes.get(name), shape)
    if found.epoch > config.epochs:
        raise refuse("epochs done", found.epoch, f"{config.epochs} in all")
    logger.info("%s: resuming after epoch %d", folder, found.epoch)
    return found, recorded


def _refuse_not_finite(arguments: dict[str, Any], epoch: int) -> None:
    for name, array in arguments.items():
        if not np.isfinite(array.asnumpy()).all():
            raise ModelError(
                f"the training diverged: {name} is not finite after epoch {epoch}",
                code="diverged",
                hint="a smaller learning_rate",
            )


def _save_no_states(path: str) -> None:
    Path(path).write_bytes(pickle.dumps({}))


def _quiet_about_states_file(module: Any) -> None:
    """Suppresses the warning that Module does not close the states file: a user cannot do anything about it."""
    load = module.load_optimizer_states

    def load_quietly(path: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            load(path)

    module.load_optimizer_states = load_quietly
