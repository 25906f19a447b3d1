"""What is asked, and what is answered. Imports nothing heavy."""

from __future__ import annotations

from typing import NamedTuple


class Request(NamedTuple):
    """What is asked.

    Attributes:
        body: bytes, or text that is encoded as UTF-8.
        content_type: what the body is.
        accept: the content types that the answer may have, with commas between them; None, an empty string and ``*/*``
            mean any.
    """

    body: bytes | str
    content_type: str | None
    accept: str | None = None


class Answer(NamedTuple):
    """What is answered.

    Attributes:
        body: bytes of the answer.
        content_type: what they are.
        rows: how many rows were predicted; 0 where a user's hooks answered, which do not say.
    """

    body: bytes
    content_type: str
    rows: int = 0


def unwrap(results: list[Answer | Exception]) -> tuple[bytes, str]:
    """Body and content type of the only answer; raises it where it is an error."""
    (result,) = results
    try:
        if isinstance(result, Exception):
            raise result
        return result.body, result.content_type
    finally:
        # An error's traceback keeps this frame: without the error in it no circle keeps the request's body in memory.
        del result, results
