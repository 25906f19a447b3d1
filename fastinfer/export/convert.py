"""Exports a model: translated, compared with MXNet, and written only if the comparison holds; and checks such a model again."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._version import __version__
from ..errors import ConfigError, ModelError, quote
from ..extras import install_command
from ..models.certificate import SUFFIX, Certificate
from ..models.choice import ChoiceKeywords
from ..models.module import Model
from ..models.onnx import OnnxModel, load_onnx, read_onnx
from ..runtimes import load_runtime
from ..runtimes.base import Runtime
from ..runtimes.refused import FAILED_PASS
from ..storage.atomic import make_folder, replacing
from .certificate import (
    DEFAULT_TOLERANCE,
    HELD_BATCH,
    PROBE,
    Result,
    Rows,
    compare_engines,
    make_certificate,
    refusals,
    run_reference,
    stored_answers,
    stored_rows,
    versions_of,
)
from .held import Tell, tell_nobody
from .network import Node
from .parting import CPU, Parting, find_failing, find_mixing, find_parting, inner_onnx, inner_reference
from .probe import MOST_ROWS, make_rows
from .reference import read_arrays, read_network
from .running import compare, predict
from .translate import Translated, translate

# How many of the rows that differ most are run again to find the node.
ROWS_TO_PART = 4


@dataclass(frozen=True)
class Exported:
    """A translated model and what was found of it.

    Attributes:
        onnx: the model in ONNX.
        certificate: None if it is refused.
        reasons: why it is refused.
        parting: the first node that differs, if it is refused and one was found.
    """

    onnx: OnnxModel
    certificate: Certificate | None
    reasons: tuple[str, ...] = ()
    parting: Parting | None = None


def export_model(
    model: Model,
    name: str,
    rows: Rows | None = None,
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    choice: ChoiceKeywords | None = None,
    tell: Tell = tell_nobody,
) -> Exported:
    """Translates a model and compares both engines. Nothing is written.

    Args:
        model: the model.
        name: of the file that it will be.
        rows: on which they are compared; None: probe rows.
        tolerance: how far a value may be, relative to the largest value of its row.
        choice: with which the model was loaded; kept, so that it can be loaded again.
        tell: is called with each step that takes time when it begins.

    Raises:
        ModelError: ``no_translation``, ``held_batch``, with the node; or one of them cannot run it, with which and the node.
        ConfigError: ``onnx_missing``, ``onnxruntime_missing``, ``mxnet_missing``; the tolerance is not from 0 to less than 1.
    """
    if not 0 <= tolerance < 1:
        raise ConfigError(f"the tolerance must be from 0 to less than 1, found {tolerance}")
    _need_onnx()
    mxnet, onnxruntime = load_runtime("mxnet"), load_runtime("onnx")
    network = read_network(model, tell)
    tell("translating the graph")
    translated = translate(network, read_arrays(model), model.path)
    metadata = {"fastinfer": __version__, "mxnet_model": model.digest, "flattens": str(network.flattens).lower()}
    onnx = read_onnx(translated.build(metadata=metadata), name)
    rows = rows or Rows(PROBE, make_rows(network))
    inner = inner_reference(model, network, mxnet)
    tell(f"computing {len(rows.values):,} rows with MXNet")
    try:
        reference = run_reference(model, rows.values, mxnet)
    except ModelError as error:
        if error.code == HELD_BATCH:
            batch = np.resize(rows.values, (network.held or 1, rows.values.shape[1]))
            node = find_mixing(network, inner, batch, tolerance)
            raise _at_node(error, node, "cannot be exported") from error
        node = find_failing(network, inner, rows.values)
        hint = error.hint
        if node is not None and node.outputs[0].dtype == "float16":
            hint = "MXNet computes it on GPUs only; save the model in float32"
        elif hint is None and error.code == FAILED_PASS and rows.source == PROBE:
            hint = "it refuses one of the rows made up; name rows of your own"
        raise _at_node(error, node, "cannot be compared", hint) from error
    tell(f"computing {len(rows.values):,} rows with onnxruntime")
    try:
        result = compare_engines(reference, onnx, rows.values, onnxruntime)
    except ModelError as error:
        node = find_failing(network, inner_onnx(translated, model.path, onnxruntime, 1), rows.values)
        raise _at_node(error, node, "was translated, and onnxruntime cannot compute it") from error
    reasons = result.fails(tolerance)
    if reasons:
        tell("finding the node that differs")
        parting = _part(model, translated, rows, result, tolerance, (mxnet, onnxruntime))
        if result.mixes(tolerance):
            reasons[-1] += _where_mixed(translated, model.path, rows, tolerance, onnxruntime)
        return Exported(onnx, None, tuple(reasons), parting)
    versions = versions_of(mxnet.identity()["mxnet"], onnxruntime.identity()["onnxruntime"])
    return Exported(onnx, make_certificate(model, onnx, rows, result, tolerance, versions, choice))


def _at_node(error: ModelError, node: Node | None, what: str, hint: str | None = None) -> ModelError:
    """An error of an engine, with the node at which it fails, if one was found."""
    if node is None:
        return error
    return ModelError(
        f"{quote(node.name)} ({node.operator}, {node.outputs[0].dtype}) {what}: {error.message}",
        code=error.code,
        path=error.path,
        hint=hint or error.hint,
    )


def _part(
    model: Model,
    translated: Translated,
    rows: Rows,
    result: Result,
    tolerance: float,
    runtimes: tuple[Runtime, Runtime],
) -> Parting | None:
    """Looks for the node on the rows that differ most, and on the first ones that get another label."""
    records = len(rows.values)
    wanted = []
    for difference, expected in zip(result.differences, result.reference.answers):
        each = len(expected) // records
        found = [difference.row] if difference.row is not None else []
        wanted += [row // each for row in [*found, *difference.changed]]
    chosen = sorted(dict.fromkeys(wanted[:ROWS_TO_PART]))
    if not chosen:
        return None
    network = translated.network
    batch = network.held or 1
    values = rows.values[np.resize(chosen, -(-len(chosen) // batch) * batch)]
    reference = inner_reference(model, network, runtimes[0])
    other = inner_onnx(translated, model.path, runtimes[1], batch)
    return find_parting(network, reference, other, values, tolerance, in_batches=batch > 1)


def _where_mixed(translated: Translated, path: str, rows: Rows, tolerance: float, onnxruntime: Runtime) -> str:
    """The first node at which records of a batch influence each other, as the end of a reason; empty if none is found."""
    some = rows.values[ROWS_TO_PART:0:-1]  # not the largest one first, as rows made up are
    alone, together = (inner_onnx(translated, path, onnxruntime, size) for size in (1, ROWS_TO_PART))
    try:
        found = find_parting(translated.network, alone, together, some, tolerance, in_batches=True)
    except ModelError:
        return ""  # a value inside has no row for each record, as the reason says of the outputs
    return "" if found is None else f", first at {found.node} ({found.operator})"


def check_absent(path: str) -> None:
    """Raises ConfigError, ``file_exists``, if there is something of that name."""
    if os.path.lexists(path):
        raise ConfigError(f"{path} exists", code="file_exists", hint="name another file, or overwrite it")


def write_model(exported: Exported, path: str) -> None:
    """Writes a certified model and its certificate beside it, instead of what is there.

    The certificate is written last: where there is one, it is of the model that is there.

    Raises:
        OutputError: ``cannot_write``.
    """
    target, beside = Path(path), Path(f"{path}{SUFFIX}")
    assert exported.certificate is not None  # the caller's to look at
    make_folder(target.parent)
    beside.unlink(missing_ok=True)
    with replacing(target) as temporary:
        temporary.write_bytes(exported.onnx.content)
    with replacing(beside) as temporary:
        temporary.write_text(exported.certificate.as_text(), encoding="utf-8")


@dataclass(frozen=True)
class Verified:
    """What checking a certificate has found.

    Attributes:
        certificate: that was checked.
        rows: on how many rows.
        with_mxnet: whether MXNet ran as well; else its stored answers were compared.
        reasons: why it does not hold; empty if it does.
    """

    certificate: Certificate
    rows: int
    with_mxnet: bool
    reasons: tuple[str, ...]


def verify_model(path: str, model: Model | None, rows: Rows | None = None, *, tell: Tell = tell_nobody) -> Verified:
    """Checks the certificate beside a model in ONNX.

    Args:
        path: of the model in ONNX.
        model: the model that was exported; None: the stored answers are compared.
        rows: those of the certificate, where the user gave them; None: probe rows.
        tell: is called with each step that takes time when it begins.

    Raises:
        ModelError: ``not_certified``, ``bad_certificate``; or a model cannot be read or run.
    """
    certificate = Certificate.read(f"{path}{SUFFIX}")
    onnx = load_onnx(path, output="all")
    if reason := certificate.mismatch(onnx):
        return Verified(certificate, 0, False, (reason,))
    tolerance = float(certificate.facts["tolerance"])
    other = load_runtime("onnx")
    if model is None:
        return _verify_stored(certificate, onnx, rows, tolerance, other)
    found = certificate.facts["model"]["digest"]
    if model.digest != found:
        reason = (
            f"{model.path} is another model than the one that was exported: digest {model.digest}, expected {found}"
        )
        return Verified(certificate, 0, True, (reason,))
    network = read_network(model, tell)
    if rows is None:
        count = certificate.facts["rows"]["records"]
        if count > MOST_ROWS:
            reason = f"the certificate is of {count:,} rows, at most {MOST_ROWS:,} are made up"
            return Verified(certificate, 0, True, (reason,))
        rows = Rows(PROBE, make_rows(network, count))
    changed = _other_rows(certificate, rows)
    if changed:
        return Verified(certificate, 0, True, (changed,))
    tell(f"computing {len(rows.values):,} rows with both engines")
    reference = run_reference(model, rows.values, load_runtime("mxnet"))
    result = compare_engines(reference, onnx, rows.values, other)
    return Verified(certificate, len(rows.values), True, tuple(result.fails(tolerance)))


def _verify_stored(
    certificate: Certificate, onnx: OnnxModel, rows: Rows | None, tolerance: float, runtime: Runtime
) -> Verified:
    """Compares with the answers of MXNet that the certificate has, to the first rows."""
    stored = certificate.facts["stored"]
    count = stored["records"]
    if rows is None:
        values = stored_rows(certificate)
    else:
        changed = _other_rows(certificate, rows)
        if changed:
            return Verified(certificate, 0, False, (changed,))
        values = rows.values[:count]
    if values.shape != (count, onnx.row_values):
        reason = f"expected rows of the shape ({count}, {onnx.row_values}), found {values.shape}"
        return Verified(certificate, count, False, (reason,))
    executor = runtime.bind(onnx, CPU, 1)
    found = predict(executor, values)
    names = [output.name for output in executor.outputs]
    answers = stored_answers(certificate)
    shapes, stored_shapes = ([each.shape for each in arrays] for arrays in (found, answers))
    if shapes != stored_shapes:
        reason = f"the stored answers have the shapes {stored_shapes}, the model's have {shapes}"
        return Verified(certificate, count, False, (reason,))
    reasons: list[str] = []
    for name, expected, array in zip(names, answers, found):
        reasons += refusals(compare(name, expected, array), tolerance)
    return Verified(certificate, count, False, tuple(reasons))


def _other_rows(certificate: Certificate, rows: Rows) -> str | None:
    expected = certificate.facts["rows"]["sha256"]
    if rows.digest == expected:
        return None
    return f"the rows of {rows.source} are others than those that were compared: SHA-256 {rows.digest}, expected {expected}"


def _need_onnx() -> None:
    if importlib.util.find_spec("onnx") is None:
        raise ConfigError("onnx is not installed", code="onnx_missing", hint=install_command("export"))
