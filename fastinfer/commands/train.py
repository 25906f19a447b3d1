"""``fastinfer train``: the notebook's training, with SageMaker's environment as the defaults of its options."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import ConfigError, FastinferError, counted, quote
from ..machine import peak_memory_bytes
from ..mnist.train import DEFAULT_SEED, SEEDS, TrainConfig, logger, train
from ._run import positive_number, run_command, say

SAGEMAKER_CHECKPOINTS = Path("/opt/ml/checkpoints")
# Hints in terms of this command's options, by code; instead of those of the library.
HINTS = {
    "checkpoints_exist": "--resume continues from the newest; or name another --checkpoint-dir, or remove them",
    "diverged": "a smaller --learning-rate",
    "no_such_device": "--device cpu, or a build of mxnet for this machine's CUDA (mxnet-cu112)",
    "other_training": "train with the same options, or from the start with another --checkpoint-dir",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_train, argv, hint=option_hint)


def option_hint(error: FastinferError) -> str | None:
    """The hint that names an option of this command; None where it has none for the error."""
    return HINTS.get(error.code)


def load_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The options that SageMaker's training toolkit sets in the environment, by :class:`TrainConfig`'s names.

    Raises:
        ConfigError: ``bad_environment`` for an SM_HOSTS or SM_NUM_GPUS that the toolkit would not write.
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


def _parse_hosts(text: str, name: str) -> tuple[str, ...]:
    try:
        hosts = json.loads(text)
    except ValueError:
        hosts = None
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ConfigError(f"{name} must be a JSON list of names, found {quote(text)}", code="bad_environment")
    return tuple(hosts)


def _rate(text: str) -> float:
    """A learning rate."""
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not (rate > 0 and math.isfinite(rate)):
        raise argparse.ArgumentTypeError(f"expected a positive number, found {text!r}")
    return rate


def _seed(text: str) -> int:
    """A seed that MXNet and NumPy accept."""
    if not text.isascii() or not text.isdigit() or int(text) not in SEEDS:
        raise argparse.ArgumentTypeError(f"expected 0 to {SEEDS[-1]}, found {text!r}")
    return int(text)


def make_parser(prog: str = "fastinfer train") -> argparse.ArgumentParser:
    """The command's options; `prog` is what its usage line calls it."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train the notebook's network on MNIST and save it as SageMaker does.",
        epilog="Exit codes: 0 done, 1 bad data, 2 bad option or missing device, 3 the training diverged, "
        "4 a result cannot be written, 70 internal error, 130 interrupted.",
    )
    parser.add_argument(
        "--train", metavar="DIR", help="folder with images.gz and labels.gz (default: $SM_CHANNEL_TRAIN)"
    )
    parser.add_argument("--test", metavar="DIR", help="the same, for validation (default: $SM_CHANNEL_TEST)")
    parser.add_argument("--model-dir", metavar="DIR", help="folder of the model (default: $SM_MODEL_DIR)")
    parser.add_argument("--batch-size", type=positive_number, metavar="N", help="rows per step (default: 100)")
    parser.add_argument(
        "--epochs",
        type=positive_number,
        metavar="N",
        help="epochs in all, including those before a resume (default: 10)",
    )
    parser.add_argument("--learning-rate", type=_rate, metavar="RATE", help="default: 0.1")
    parser.add_argument(
        "--seed",
        type=_seed,
        metavar="N",
        help=f"same seed, same parameters (default: {DEFAULT_SEED}, or the checkpoint's)",
    )
    parser.add_argument(
        "--device", metavar="DEVICE", help="cpu, gpu or gpu:0,1 (default: all of $SM_NUM_GPUS, else cpu)"
    )
    parser.add_argument(
        "--checkpoint-dir",
        metavar="DIR",
        help=f"folder for a checkpoint after every epoch (default: {SAGEMAKER_CHECKPOINTS} if it exists, else none; '': none)",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the newest complete checkpoint")
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
        ConfigError: a required option is missing, or the environment is wrong.
        SystemExit: by argparse, for what it refuses.
    """
    return _config(make_parser().parse_args(argv), environment)


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
            raise ConfigError(f"--{name.replace('_', '-')} is required, as ${variable} is not set")
    if arguments.hosts is not None:
        json_list = len(arguments.hosts) == 1 and arguments.hosts[0].startswith("[")
        options["hosts"] = _parse_hosts(arguments.hosts[0], "--hosts") if json_list else tuple(arguments.hosts)
    if "hosts" in options and "current_host" not in options and len(options["hosts"]) == 1:
        options["current_host"] = options["hosts"][0]
    if "current_host" in options and "hosts" not in options:
        options["hosts"] = (options["current_host"],)
    if arguments.checkpoint_dir is None and SAGEMAKER_CHECKPOINTS.is_dir():
        options["checkpoint_dir"] = str(SAGEMAKER_CHECKPOINTS)
    if arguments.resume and not options.get("checkpoint_dir"):
        raise ConfigError("--resume requires --checkpoint-dir")
    if arguments.tar == "":
        options["tar"] = str(Path(options["model_dir"]) / "model.tar.gz")
    return TrainConfig(**options)


def _train(argv: Sequence[str] | None) -> None:
    arguments = make_parser().parse_args(argv)
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
        say(
            f"trained {counted(count, 'epoch')} of {counted(report.rows, 'image')} in {report.seconds:.1f} s "
            f"({report.images_per_s:,.0f} images/s, {memory:,.0f} MiB at most), "
            f"validation accuracy {report.validation_accuracy[-1]:.4f}: {report.model_dir or 'saved by the first host'}"
        )
