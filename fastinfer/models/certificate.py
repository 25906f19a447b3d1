"""The certificate of an exported model: what was compared with MXNet, on which rows, and how far the two were apart.

It lies beside the model, ``model.onnx.json``. It is made, and checked again, by export/certificate.py; here it is only read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..errors import ModelError
from ..storage.regular import read_regular
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

        Raises:
            ModelError: ``not_certified`` where there is none, ``bad_certificate`` for what is none.
        """
        try:
            facts = json.loads(read_regular(path, FILE_LIMIT))
        except FileNotFoundError as error:
            raise ModelError("there is no such certificate", code="not_certified", path=path) from error
        except OSError as error:
            raise ModelError(f"cannot be read: {error.strerror}", code="bad_certificate", path=path) from error
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
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"is no whole certificate: {error!r}", code="bad_certificate", path=path) from error
        return certificate

    def as_text(self) -> str:
        return json.dumps(self.facts, indent=1) + "\n"

    def describes(self, onnx: OnnxModel) -> bool:
        """Whether it is of this very model."""
        return bool(self.facts["onnx"]["sha256"] == onnx.content_digest)

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


def find_certificate(onnx: OnnxModel) -> Certificate | None:
    """The certificate beside a model, if there is one and it is of this model."""
    try:
        certificate = Certificate.read(f"{onnx.path}{SUFFIX}")
    except ModelError:
        return None
    return certificate if certificate.describes(onnx) else None
