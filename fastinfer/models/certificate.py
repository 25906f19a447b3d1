"""The certificate of an exported model: what was compared with MXNet, on which rows, and how far the two were apart.

It lies beside the model, ``model.onnx.json``. It is made, and checked again, by export/certificate.py; here it is only read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..errors import FastinferError, InputError, ModelError
from ..storage.places import read_small
from .files import ONNX_NAME, ONNX_SUFFIX
from .onnx import OnnxModel

FORMAT = "fastinfer certificate 1"
SUFFIX = ".json"
FILE_LIMIT = 16 << 20


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
        certificate = cls(facts)
        try:
            certificate.summary()
            _ = float(facts["tolerance"]), facts["onnx"]["sha256"], facts["model"]["path"], facts["model"]["digest"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"is no whole certificate: {error!r}", code="bad_certificate", path=path) from error
        return certificate

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
        relative = max(float(each["relative"]) for each in outputs)
        absolute = max(float(each["absolute"]) for each in outputs)
        labels = any(each["labels"] for each in outputs)
        return (
            f"certified against MXNet {versions['mxnet']} on {rows['records']:,} rows: largest difference {absolute:.2g} "
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
