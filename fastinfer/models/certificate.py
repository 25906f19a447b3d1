"""The certificate of an exported model: what was compared with MXNet, on which rows, and how far the two were apart.

It lies beside the model, ``model.onnx.json``. It is made, and checked again, by export/certificate.py; here it is only read.
"""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, FastinferError, InputError, ModelError, escape
from ..storage.places import read_small
from .choice import Choice
from .files import ONNX_NAME, ONNX_SUFFIX
from .onnx import OnnxModel

FORMAT = "fastinfer certificate 1"
SUFFIX = ".json"
FILE_LIMIT = 16 << 20
# Of NumPy's arrays, in all its versions.
MOST_DIMENSIONS = 32
# The types that outputs have: NumPy's names and the bytes of a value.
_BYTES = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
}


def _is_number(value: Any) -> bool:
    return (type(value) is float and not math.isnan(value)) or _is_whole(value)


def _is_tolerance(value: Any) -> bool:
    return _is_number(value) and 0 <= value < 1


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value > 0


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_digest(value: Any) -> bool:
    """Whether it is a SHA-256."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_choice(value: Any) -> bool:
    try:
        Choice(**value)
    except (TypeError, ConfigError):
        return False
    return True


def _is_array(value: Any) -> bool:
    """Whether it is an array as it is kept: type, shape, and in base64 as many bytes as these take."""
    if not isinstance(value, dict) or not all(_is_text(value.get(name)) for name in ("dtype", "values")):
        return False
    bytes_each, shape = _BYTES.get(value["dtype"]), value.get("shape")
    if bytes_each is None or not isinstance(shape, list) or not 0 < len(shape) <= MOST_DIMENSIONS:
        return False
    if not all(map(_is_count, shape)):
        return False
    try:
        found = len(base64.b64decode(value["values"], validate=True))
    except ValueError:
        return False
    return found == math.prod(shape) * bytes_each


# What is read of a certificate, and whether it is of the right type.
_FORM = {
    "onnx": {"sha256": _is_digest},
    "model": {"path": _is_text, "digest": _is_digest, "choice": _is_choice},
    "rows": {"source": _is_text, "records": _is_count, "sha256": _is_digest},
    "tolerance": _is_tolerance,
    "outputs": [{"absolute": _is_number, "relative": _is_number, "labels": _is_whole}],
    "stored": {"records": _is_count, "rows": _is_array, "outputs": [_is_array]},
    "versions": {"mxnet": _is_text},
}


def _wrong_part(value: Any, form: Any, name: str) -> str | None:
    """The name of the first part that is not as it must be; None where there is none."""
    if callable(form):
        return None if form(value) else name
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return name
        parts = [(value.get(key), each, f"{name}.{key}".lstrip(".")) for key, each in form.items()]
    else:
        if not isinstance(value, list) or not value:
            return name
        parts = [(each, form[0], f"{name}[{number}]") for number, each in enumerate(value)]
    return next((wrong for part in parts if (wrong := _wrong_part(*part)) is not None), None)


@dataclass(frozen=True)
class Certificate:
    """A certificate.

    Attributes:
        facts: all of it, as JSON has it.
    """

    facts: dict[str, Any]

    @classmethod
    def read(cls, path: str) -> Certificate:
        """Reads a certificate.

        Args:
            path: of the certificate, or its URL.

        Raises:
            ModelError: ``not_certified`` where there is none, ``bad_certificate`` for what is none.
            ServiceError: S3 refused, or was not reached.
        """
        try:
            facts = json.loads(read_small(path, FILE_LIMIT))
        except InputError as error:
            if error.code == "input_missing":
                raise ModelError("there is no such certificate", code="not_certified", path=path) from error
            raise ModelError(error.message, code="bad_certificate", path=path) from error
        except (ValueError, RecursionError) as error:
            raise ModelError(f"is not JSON: {error}", code="bad_certificate", path=path) from error
        found = facts.get("format") if isinstance(facts, dict) else None
        if found != FORMAT:
            raise ModelError(
                f"is no certificate: its format is {found!r}, expected {FORMAT!r}", code="bad_certificate", path=path
            )
        wrong = _wrong_part(facts, _FORM, "")
        if wrong is not None:
            raise ModelError(
                f"is no whole certificate: {wrong} is missing or wrong",
                code="bad_certificate",
                path=path,
                hint="export the model again",
            )
        return cls(facts)

    def as_text(self) -> str:
        return json.dumps(self.facts, indent=1) + "\n"

    def mismatch(self, onnx: OnnxModel) -> str | None:
        """Why it is not of this very model; None if it is."""
        expected = self.facts["onnx"]["sha256"]
        if expected == onnx.content_digest:
            return None
        return f"the certificate is of another file: SHA-256 {expected}, found {onnx.content_digest}"

    def summary(self) -> str:
        """One line."""
        outputs, rows, versions = (self.facts[name] for name in ("outputs", "rows", "versions"))
        relative, absolute = (max(float(each[name]) for each in outputs) for name in ("relative", "absolute"))
        labels = any(each["labels"] for each in outputs)
        mxnet = escape(versions["mxnet"])
        return (
            f"certified against MXNet {mxnet} on {rows['records']:,} rows: largest difference {absolute:.2g} "
            f"({relative:.2g} of a row's largest value){', no label changed' if labels else ''}"
        )


def certificate_path(onnx: OnnxModel) -> str:
    """Where the certificate of a model is, if it has one; a model from the URL of a folder is the ``model.onnx`` in it."""
    path = onnx.path if onnx.path.endswith(ONNX_SUFFIX) else f"{onnx.path.rstrip('/')}/{ONNX_NAME}"
    return f"{path}{SUFFIX}"


def describe_certificate(onnx: OnnxModel) -> str:
    """What is known of a model, in a line: what was certified, or why it does not count as certified."""
    path = certificate_path(onnx)
    try:
        certificate = Certificate.read(path)
    except FastinferError as error:
        return "no certificate" if error.code == "not_certified" else f"not certified: {error}"
    reason = certificate.mismatch(onnx)
    return certificate.summary() if reason is None else f"not certified: {path}: {reason}"
