"""What is sent back."""

from __future__ import annotations

import traceback
from typing import NamedTuple

from ..errors import FastinferError, InputError
from ..handlers.request import Answer


class Reply(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes
    content_type: str


def reply_with(result: Answer | Exception) -> Reply:
    if not isinstance(result, Exception):
        return Reply(200, result.body, result.content_type)
    if not isinstance(result, FastinferError):
        # The author of a hook, or of fastinfer, needs to see where it failed; the sender only that it did.
        traceback.print_exception(type(result), result, result.__traceback__)
    return reply_to(result)


def reply_to(error: BaseException) -> Reply:
    """What a request is told that went wrong."""
    status = 500
    if isinstance(error, InputError):
        status = {"unsupported_content_type": 415, "unsupported_accept": 406}.get(error.code, 400)
    elif any(kind.__name__ == "BaseInferenceToolkitError" for kind in type(error).__mro__):
        # The toolkit's own way for a hook to name a status.
        found = getattr(error, "status_code", None)
        status = found if isinstance(found, int) and 400 <= found <= 599 else 500
        return text_reply(status, str(getattr(error, "message", error)))
    return text_reply(status, str(error) or type(error).__name__)


def text_reply(status: int, words: str) -> Reply:
    return Reply(status, f"{words}\n".encode(), "text/plain; charset=utf-8")
