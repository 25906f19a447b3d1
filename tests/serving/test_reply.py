"""Which status an error has."""

from __future__ import annotations

import pytest

from fastinfer.errors import InputError, ModelError
from fastinfer.serving.reply import error_reply, text_reply


class BaseInferenceToolkitError(Exception):
    """As SageMaker's toolkit has it."""

    def __init__(self, status_code: object, message: str) -> None:
        super().__init__(status_code, message)
        self.status_code, self.message = status_code, message


class OwnError(BaseInferenceToolkitError):
    """As a hook may derive it."""


class Mute(Exception):
    """It cannot be printed."""

    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (InputError("oops", line=2), 400, b"2: oops\n"),
        (InputError("oops", code="unsupported_content_type"), 415, b"oops\n"),
        (InputError("oops", code="unsupported_accept"), 406, b"oops\n"),
        (ModelError("oops"), 500, b"oops\n"),
        (RuntimeError("as asked"), 500, b"as asked\n"),
        (Mute("SystemExit"), 500, b"(no text: its __str__ raised SystemExit)\n"),
        (MemoryError(), 500, b"MemoryError\n"),
        (OwnError(418, "short and stout"), 418, b"short and stout\n"),
        (OwnError(200, "no error"), 500, b"no error\n"),
        (OwnError("418", "no number"), 500, b"no number\n"),
    ],
)
def test_an_error_has_its_status(error: Exception, status: int, text: bytes) -> None:
    assert error_reply(error) == (status, text, "text/plain; charset=utf-8")
    assert text_reply(status, text[:-1].decode()) == error_reply(error)
