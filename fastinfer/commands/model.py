"""``fastinfer model MODEL``: what a model is, and what will be done with it.

Text on stdout, or one JSON object with ``--json``. What the files say is printed first; the shapes and types of outputs
are the runtime's answer, as is whether the model can be run at all. Where the runtime is not installed they are left out.
"""

from __future__ import annotations

import argparse
import json
from array import array
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, FastinferError, ModelError
from ..models.describe import describe
from ..models.load import is_onnx_model, open_any_model
from ..models.module import find_model
from ..models.onnx_contents import describe_onnx
from ..runtimes.refused import FAILED_PASS
from ._model import MODEL_HINTS, add_model_options, choice_of
from ._run import path, run_command, say

if TYPE_CHECKING:
    from ..models.load import AnyModel

# How many parameters are listed; --json lists all.
LISTED = 12

HINTS = {**MODEL_HINTS, "model_missing": "name a folder, a model.tar.gz or a model.onnx"}

IN_BATCHES = "in batches; with --exact one by one, which gives the container's bytes"
ONE_BY_ONE = "one by one: it mixes the records of a batch, or holds the batch size 1"
CHECKED = "one by one: an operator refuses some records"
HELD = "{0} at a time: the graph holds batch size {0}; the container fails there, or answers with wrong values"
# On a runtime that never gives the container's bytes.
ONNX_IN_BATCHES = "in batches, by ONNX Runtime"


def main(argv: Sequence[str] | None = None, prog: str = "fastinfer model") -> int:
    """The command; returns its exit code. `prog` is what its usage line calls it."""
    return run_command(partial(_show, prog), argv, hint=lambda error: HINTS.get(error.code))


def make_parser(prog: str = "fastinfer model") -> argparse.ArgumentParser:
    """The command's options; `prog` is what its usage line calls it."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Show a model: its inputs, outputs, parameters and operators."
    )
    parser.add_argument(
        "model",
        nargs="?",
        type=path,
        metavar="MODEL",
        help="folder or model.tar.gz, also with the prefix of its files behind it, a file of it, or a model.onnx (default: "
        "$FASTINFER_MODEL, $SM_MODEL_DIR, else the MNIST model that comes with fastinfer)",
    )
    add_model_options(parser, default=None)
    parser.add_argument("--files-only", action="store_true", help="say what the files say, and load no framework")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _show(prog: str, argv: Sequence[str] | None) -> int:
    arguments = make_parser(prog).parse_args(argv)
    model = open_any_model(find_model(arguments.model)[0], **choice_of(arguments))
    described = describe_onnx(model) if is_onnx_model(model) else describe(model)
    undecided = [
        {"code": each.code, "message": each.message, "hint": HINTS.get(each.code, each.hint)}
        for each in model.undecided
    ]
    found: dict[str, Any] = {**described, "records": None, "refused": None, "undecided": undecided}
    problem: FastinferError | None = None
    if model.undecided and not arguments.files_only:
        problem = model.undecided[0].at(path=model.path)
    elif not arguments.files_only:
        try:
            bound, problem = bind(model)
            found.update(bound)
        except ConfigError as error:
            say(f"note: the shapes of outputs are not known: {error.message}")
        except ModelError as error:
            problem = error
    print(json.dumps(found) if arguments.json else as_text(found))
    if problem is not None:
        raise problem  # the description may show why
    return 0


def bind(model: AnyModel) -> tuple[dict[str, Any], ModelError | None]:
    """What the runtime says: the outputs with the shape and type of a record's rows, how records are computed, and why a record
    of zeros is not. And the same as an error, where no other record was computed either: such a model may not run at all.

    Raises:
        ConfigError: it is not installed.
        ModelError: the model cannot be run.
    """
    from ..runtimes import load_runtime, runtime_of

    runtime = load_runtime(runtime_of(model))
    held = runtime.held_batch(model)
    one = runtime.bind(model, ("cpu", 0), held, lenient=True)  # zeros are no record that anyone sends
    for each in one.inputs:
        each.memory[:] = memoryview(array("f", bytes(each.memory.nbytes)))
    refused: ModelError | None = None
    try:
        one.forward()  # what has no implementation here fails only when it computes
    except ModelError as error:
        if error.code != FAILED_PASS:
            raise
        refused = error
    try:
        in_batches = runtime.bind(model, ("cpu", 0), 2, lenient=True).gives_a_row_each
    except ModelError:
        in_batches = False
    outputs = [
        {"name": each.name, "rows": each.rows, "shape": list(each.shape), "type": each.dtype} for each in one.outputs
    ]
    records: str | None = HELD.format(held) if held > 1 else ONE_BY_ONE
    if refused is not None:
        from ..runtimes.invariance import takes_some

        takes = takes_some(one)
        records = None if not takes else CHECKED if held == 1 else records
        return {"outputs": outputs, "records": records, "refused": refused.message}, None if takes else refused
    if held == 1 and in_batches:
        records = ONNX_IN_BATCHES if is_onnx_model(model) else IN_BATCHES
    return {"outputs": outputs, "records": records}, None


def as_text(found: dict[str, Any]) -> str:
    """The description as lines."""
    origin = _onnx_origin(found) if found.get("format") == "onnx" else _mxnet_origin(found)
    lines = [
        ("model", found["path"]),
        *origin,
        *(("input", _input(each)) for each in found["inputs"]),
        ("record", "not known" if found["record_values"] is None else f"{found['record_values']:,} values"),
        *(("output", _output(each)) for each in found["outputs"]),
        ("parameters", f"{len(found['parameters']):,} arrays, {found['values']:,} values, {found['bytes']:,} bytes"),
        *(("", f"{each['name']}, {each['type']} {_shape(each['shape'])}") for each in found["parameters"][:LISTED]),
    ]
    if len(found["parameters"]) > LISTED:
        lines.append(("", f"and {len(found['parameters']) - LISTED:,} more"))
    for key, label in (("unused", "not used"), ("zeros", "zeros"), ("missing", "missing")):
        if found.get(key):
            lines.append((label, ", ".join(found[key])))
    lines.append(("operators", ", ".join(f"{name} {count}" for name, count in found["operators"].items())))
    if found.get("has_code"):
        lines.append(("code", "code/, the model's own"))
    if found.get("batch"):
        lines.append(("batch", f"{found['batch']:,} records, no other number"))
    if found["records"]:
        lines.append(("computed", found["records"]))
    if found["refused"]:
        lines.append(("refused", f"a record of zeros: {found['refused']}"))
    lines += [("to choose", f"{each['message']}; {each['hint']}") for each in found["undecided"]]
    return "\n".join(f"{label:<11} {text}".rstrip() for label, text in lines)


def _mxnet_origin(found: dict[str, Any]) -> list[tuple[str, str]]:
    files = [found["symbol"], f"{found['params']} (epoch {found['epoch']})", found["shapes"]]
    return [
        ("files", ", ".join(name for name in files if name)),
        ("saved by", f"MXNet {found['mxnet']}" if found["mxnet"] else "unknown"),
    ]


def _onnx_origin(found: dict[str, Any]) -> list[tuple[str, str]]:
    opsets = ", ".join(f"{domain or 'ONNX'} {version}" for domain, version in found["opsets"].items())
    return [
        ("format", f"ONNX, IR version {found['ir_version']}, operators of {opsets}"),
        ("saved by", found["producer"] or "unknown"),
        ("certificate", found["certificate"]),
    ]


def _input(entry: dict[str, Any]) -> str:
    kind = f"{entry['type']} " if "type" in entry else ""
    shape = "of a shape that is not known" if entry["shape"] is None else _shape(entry["shape"])
    return f"{entry['name']}, {kind}{shape}"


def _output(output: dict[str, Any]) -> str:
    if "shape" not in output:
        return str(output["name"])
    rows = "" if output["rows"] == 1 else f", {output['rows']:,} rows a record"
    return f"{output['name']}, {output['type']} {_shape(output['shape'])}{rows}"


def _shape(sizes: Sequence[int | None]) -> str:
    return " x ".join("?" if size is None else str(size) for size in sizes) or "one value"
