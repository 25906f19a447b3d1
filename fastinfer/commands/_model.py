"""The options of every command that loads a model: which model, and what its files leave open."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ._run import path, whole_number

if TYPE_CHECKING:
    from ..models.choice import ChoiceKeywords
    from ..models.load import AnyModel

# Hints in terms of these options, by code.
MODEL_HINTS = {
    "no_such_output": "--output NAME gives one, --output all each by its name",
    "params_missing": "--allow-missing takes zeros for them, as the container does",
    "unknown_inputs": "--inputs NAME:COLUMNS,NAME:COLUMNS names them",
    "unknown_shape": "--input-shape gives the shape of one record, such as 3,224,224 for an image",
}

EXPECTED_SHAPE = "expected sizes such as 3,224,224, or NAME:3,224,224"
EXPECTED_INPUTS = "expected names with their columns, such as user:1,item:1"


def add_model_options(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """Adds ``--model`` and the options of :class:`~fastinfer.models.choice.Choice`.

    Args:
        parser: of the command.
        default: what is taken without ``--model``, for its help; None: the command has no such option.
    """
    group = parser.add_argument_group("the model")
    if default is not None:
        group.add_argument(
            "--model",
            type=path,
            metavar="PATH",
            help="folder or model.tar.gz, also with the prefix of its files behind it, or a file of it, as Module, Gluon's "
            f"export or SageMaker's training saves it (default: {default})",
        )
    group.add_argument("--epoch", type=whole_number, metavar="N", help="of the parameters (default: the newest)")
    group.add_argument(
        "--input-shape",
        type=_shape,
        action="append",
        metavar="[NAME:]N,N,N",
        help="shape of one record, or of what the input NAME gets of it (default: as the model says)",
    )
    group.add_argument(
        "--inputs",
        type=_columns,
        metavar="NAME:COLUMNS,…",
        help="the inputs in the order of a record, and how many of its values each gets, such as user:1,item:1 (default: as "
        "the model says)",
    )
    group.add_argument(
        "--output",
        dest="model_output",
        metavar="NAME|all",
        help="which output of the model to give, also one inside its graph; all: each, by its name (default: the only one)",
    )
    group.add_argument(
        "--allow-missing",
        action="store_true",
        help="take zeros for parameters that are not saved, as the container does",
    )


def certificate_line(model: AnyModel) -> str | None:
    """What is known of a model in ONNX, in a line; None for others."""
    # Imported late: --help does without.
    from ..models.load import is_onnx_model

    if not is_onnx_model(model):
        return None
    from ..models.certificate import describe_certificate

    return f"{model.path}: {describe_certificate(model)}"


def choice_of(arguments: argparse.Namespace) -> ChoiceKeywords:
    """What was typed, for :func:`fastinfer.models.module.load_model`."""
    shapes = dict(arguments.input_shape or [])
    return {
        "epoch": arguments.epoch,
        "inputs": arguments.inputs,
        "input_shape": shapes or None,
        "output": arguments.model_output,
        "allow_missing": arguments.allow_missing,
    }


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    """An input's name, empty if there is none, and its shape."""
    name, _, sizes = text.rpartition(":")
    parts = sizes.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{EXPECTED_SHAPE}, found {text!r}")
    return name, tuple(map(int, parts))


def _columns(text: str) -> dict[str, int]:
    """The inputs with their numbers of columns."""
    columns: dict[str, int] = {}
    for part in text.split(","):
        name, _, count = part.rpartition(":")
        if not name or name in columns or not (count.isascii() and count.isdigit() and int(count) > 0):
            raise argparse.ArgumentTypeError(f"{EXPECTED_INPUTS}, found {text!r}")
        columns[name] = int(count)
    return columns
