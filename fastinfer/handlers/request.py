"""A request and its answer. Imports nothing heavy."""

from __future__ import annotations

from typing import NamedTuple


class Request(NamedTuple):
    """A request.

    Attributes:
        body: bytes, or text that is encoded as UTF-8.
        content_type: the body's content type.
        accept: the content types that the answer may have, with commas between them; None, an empty string and ``*/*``
            mean any.
    """

    body: bytes | str
    content_type: str | None
    accept: str | None = None


class Answer(NamedTuple):
    """The answer to a request.

    Attributes:
        body: bytes of the answer.
        content_type: the body's content type.
        rows: the number of predicted rows; 0 if a user's hooks answered, because they do not report it.
    """

    body: bytes
    content_type: str
    rows: int = 0


def unwrap(results: list[Answer | Exception]) -> tuple[bytes, str]:
    """Body and content type of the only answer; raises it if it is an error."""
    (result,) = results
    try:
        if isinstance(result, Exception):
            raise result
        return result.body, result.content_type
    finally:
        # An error's traceback refers to this frame: if the frame referred to the error, the body would stay in memory.
        del result, results
