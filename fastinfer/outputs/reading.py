"""Reads finished results, one row after another, without holding all of a result."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from ..errors import OutputError

_END = "\n"
_AFTER_ROW = (",", "]")
_AFTER_VALUE = (*"\n\r\t [{",)
_BLANKS = re.compile(r"[\n\r\t ]*")


def json_rows(texts: Iterable[str], uri: str) -> Iterator[Any]:
    """The elements of the lists that a result holds, one list behind another; and its values that are no lists.

    Args:
        texts: the result, in pieces.
        uri: its name, for errors.

    Raises:
        OutputError: it is not that.
    """
    decode = json.JSONDecoder().raw_decode
    held, at, is_open, enough = "", 0, False, 0
    # The blank ends a number that is the last thing there is.
    for text in chain(texts, _END):
        held, at = held[at:] + text, 0
        if len(held) < enough and text != _END:
            continue
        while True:
            at = _skip_blanks(held, at)
            sign = held[at : at + 1]
            if sign and sign in (",]" if is_open else "["):
                is_open = sign != "]"
                at += 1
                continue
            try:
                value, stop = decode(held, at)
            except (ValueError, RecursionError):
                break
            after = _skip_blanks(held, stop)
            # A number at the end of a piece may go on.
            if held[after : after + 1] not in _AFTER_ROW if is_open else held[stop : stop + 1] not in _AFTER_VALUE:
                break
            yield value
            at = after
        # A value of many pieces is not tried again with each of them.
        enough = 2 * (len(held) - at)
    if held[at:] or is_open:
        raise OutputError("is not a list of rows in JSON", code="cannot_write", path=uri)


def text_lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines of a result, without their ends."""
    held = ""
    for text in texts:
        *lines, held = (held + text).split("\n")
        yield from lines
    if held:
        yield held


def _skip_blanks(text: str, start: int) -> int:
    match = _BLANKS.match(text, start)
    assert match is not None
    return match.end()
