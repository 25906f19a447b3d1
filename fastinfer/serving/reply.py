"""The reply to a request: an answer, or the status and text of an error.

SageMaker's container replies 500 to almost every error. Here an unreadable body is 400, an unsupported content type 415, an
unsupported Accept 406, an error in a user's hook 500.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import InputError, said
from ..handlers.request import Answer

STATUSES = {"unsupported_content_type": 415, "unsupported_accept": 406}


class Reply(NamedTuple):
    """A reply."""

    status: int
    body: bytes
    content_type: str


def text_reply(status: int, text: str) -> Reply:
    """A reply of one line of text."""
    return Reply(status, f"{text}\n".encode(errors="backslashreplace"), "text/plain; charset=utf-8")


def answer_reply(answer: Answer) -> Reply:
    """The reply of an answer."""
    return Reply(200, answer.body, answer.content_type)


def error_reply(error: BaseException) -> Reply:
    """The reply to a request that ended with an error."""
    status = 500
    if isinstance(error, InputError):
        status = STATUSES.get(error.code, 400)
    elif any(kind.__name__ == "BaseInferenceToolkitError" for kind in type(error).__mro__):
        # A hook can choose the status with this class of SageMaker's toolkit.
        chosen = getattr(error, "status_code", None)
        status = chosen if isinstance(chosen, int) and 400 <= chosen <= 599 else 500
        return text_reply(status, said(getattr(error, "message", error)))
    return text_reply(status, said(error) or type(error).__name__)
