"""Errors of CSV text: the one table of the kernels' codes, and the line and column of an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from .._native.text import count_lines, find_line_start
from ..errors import FOUND_LIMIT, InputError, quote

if TYPE_CHECKING:
    from typing_extensions import Buffer

LINE_PIECE_BYTES = 1 << 16


class Code(NamedTuple):
    """A code of csrc/status.h: the code of the error, as a word, and its message."""

    number: int
    word: str
    message: str


# The one table of codes; a test compares it with csrc/status.h.
CODES = [
    Code(0, "ok", "all input was read"),
    Code(1, "output_full", "there are more values than the output has room for"),
    Code(2, "expected_number", "expected a number, found {found} (field {field} of {fields})"),
    Code(3, "empty_cell", "expected a number, found an empty field (field {field} of {fields})"),
    Code(4, "unequal_line", "expected {columns} fields as {source}, found {fields}"),
    Code(5, "not_plain", "JSON that is no rectangle of plain numbers"),  # the json module says what it is
]
# Files of other kinds, by their first bytes, which no CSV file has.
FILE_FORMS = [
    (b"\x1f\x8b", "compressed with gzip", "decompress it"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it"),
    (b"BZh", "compressed with bzip2", "decompress it"),
    (b"\xfd7zXZ", "compressed with xz", "decompress it"),
    (b"PK\x03\x04", "a zip archive (an Excel file is one, too)", "unpack it, or save it as CSV"),
    (b"\x89PNG", "a PNG image", "give the values of its pixels"),
    (b"\xff\xd8\xff", "a JPEG image", "give the values of its pixels"),
    (b"\x93NUMPY", "a NumPy array", "save it as CSV"),
    (b"PAR1", "a Parquet file", "save it as CSV"),
    (b"\xff\xfe", "UTF-16 text", "convert it to UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "convert it to UTF-8"),
]
ID_HINT = "the first column holds text, as an ID is: the model takes numbers alone"
SEPARATORS = [(b";", "';'"), (b"\t", "tabs"), (b"|", "'|'"), (b" ", "spaces")]
OK, OUTPUT_FULL, EMPTY_CELL, UNEQUAL_LINE = (
    next(code.number for code in CODES if code.word == word)
    for word in ("ok", "output_full", "empty_cell", "unequal_line")
)


def partial_row(
    values: int, row_values: int, *, path: str | None = None, line: int | None = None, in_a_line: int = 0
) -> InputError:
    """The error for values that do not fill a whole number of rows; ``in_a_line``: values per line, 0 if not known."""
    found = f"{values:,}, {in_a_line:,} in a line" if in_a_line else f"{values:,}"
    return InputError(
        f"expected a multiple of {row_values:,} values, found {found}", code="partial_row", path=path, line=line
    )


def wrong_width(view: memoryview, columns: int, row_values: int, comment: str | None, skip_header: bool) -> InputError:
    """The error for lines that neither are made of whole records nor make up whole records together.

    Args:
        view: the bytes from the object's first line on.
        columns: values of each line.
        row_values: values of a record.
        comment: the character that begins a comment, if there are comments.
        skip_header: whether the first line is not a record.
    """
    number, text = _first_line(view, comment, skip_header)
    cells = [cell.strip(b" \t") for cell in text.split(b",")]
    spare = columns - 1
    hint = "is it the right model, and are the columns those that it was trained with?"
    if columns + 1 == row_values:
        hint = "there is one column less"
    elif spare and not (spare % row_values and row_values % spare):
        hint = "there is one column more: an ID or a label?"
        if not cells[-1]:
            hint = "the lines end in a comma: remove it"
        elif re.fullmatch(rb"[+-]?[0-9]+(\.0*)?", cells[0]):
            hint = f"the first column, here {quote(cells[0])}, may be an ID or a label, which the model does not take"
    return InputError(
        f"expected lines of {row_values:,} values, or of a multiple or a part of that, found {columns:,}",
        code="wrong_width",
        line=number,
        hint=hint,
    )


def _first_line(view: memoryview, comment: str | None, skip_header: bool) -> tuple[int, bytes]:
    """The first line with values, and its number. Of a long line only the beginning and the end."""
    start, number = (3 if bytes(view[:3]) == b"\xef\xbb\xbf" else 0), 1
    if skip_header:
        start, number = find_line_start(view, start + 1), 2
    while start < len(view):
        stop = _line_end(view, start)
        text = bytes(view[start : min(stop, start + LINE_PIECE_BYTES)])
        if comment is not None:
            text = text.partition(comment.encode())[0]
        if text.strip():
            return number, text + bytes(view[max(stop - 1, start + len(text)) : stop])
        start, number = find_line_start(view, start + 1), number + 1
    return number, b""


def csv_error(
    body: Buffer,
    code: int,
    position: int,
    *,
    columns: int = 0,
    source: str = "in the first line",
    path: str | None = None,
    first_line: int = 1,
    comment: str | None = None,
) -> InputError:
    """The error for a kernel's status, with its line and column.

    Args:
        body: the bytes that were read.
        code: a number of :data:`CODES` above 0.
        position: byte offset in `body` of the wrong cell or line end.
        columns: fields of a line as far as known; 0 inside the first line.
        source: what says so.
        path: what the message calls the input.
        first_line: the number of `body`'s first line, if it is a part of a file.
        comment: the character that begins a comment, if there are comments.
    """
    _, word, message = CODES[code]
    with memoryview(body).cast("B") as view:
        line, line_start = line_of(view, position)
        line_end = _line_end(view, position)
        if comment is not None:
            line_end = _find(view, line_start, line_end, comment.encode())
        fields = _count(view, line_start, line_end, b",") + 1
        # At most four bytes per character, and one more character so that quote() can see that it shortens.
        found = bytes(view[position : min(line_end, position + 4 * FOUND_LIMIT + 4)]).split(b",")[0].strip(b" \t")
        field = _count(view, line_start, position, b",") + 1
        is_id = field == 1 and word == "expected_number" and _first_column_is_text(view, position, line_end)
    line += first_line - 1
    return InputError(
        message.format(found=quote(found), field=field, fields=max(fields, field), columns=columns, source=source),
        code=word,
        path=path,
        line=line,
        column=position - line_start + 1,
        hint=_advise(found, word, begins_file=line == 1 and position == line_start, ends_line=position >= line_end)
        or (ID_HINT if is_id else None),
        found=found.decode("utf-8", "backslashreplace"),
    )


def _advise(found: bytes, word: str, *, begins_file: bool, ends_line: bool) -> str | None:
    """What to do about a cell that is not a number, where its form says what it is."""
    if word == "empty_cell" and begins_file:
        return "the first line may be names of columns, with none for an index, as pandas writes them"
    if word == "empty_cell" and ends_line:
        return "the line ends in a comma: remove it"
    if word != "expected_number":
        return None
    for start, form, cure in FILE_FORMS:
        if begins_file and found.startswith(start):
            return f"it is {form}: {cure} first"
    for separator, name in SEPARATORS:
        if [_is_number(part) for part in found.split(separator, 2)[:2]] == [True, True]:
            return f"values are separated by {name}, expected ','"
    if found[:1] in (b"{", b"["):
        return "it looks like JSON, expected CSV"
    if found[:1] in (b'"', b"'"):
        bare = found.strip(found[:1])
        if _is_number(bare):
            return "values are in quotes, expected bare numbers"
        for separator, name in SEPARATORS:
            if separator in bare and _is_number(bare.split(separator)[0].strip(found[:1])):
                return f"values are in quotes and separated by {name}, expected bare numbers and ','"
    return None


def _first_column_is_text(view: memoryview, start: int, stop: int) -> bool:
    """Whether the first cell of the next line is text, too, and the second one of this line a number: no names of columns."""
    cells = bytes(view[start : min(stop, start + LINE_PIECE_BYTES)]).split(b",", 2)
    below = find_line_start(view, min(stop + 1, len(view)))
    next_cell = bytes(view[below : min(_line_end(view, below), below + LINE_PIECE_BYTES)]).partition(b",")[0].strip()
    return len(cells) > 1 and _is_number(cells[1]) and bool(next_cell) and not _is_number(next_cell)


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def line_of(view: memoryview, position: int) -> tuple[int, int]:
    """The 1-based line that `position` is in, and the offset of that line's first byte."""
    start = position
    while start > 0:
        # Backwards, piece by piece: the input may be too large to copy.
        piece = bytes(view[max(0, start - LINE_PIECE_BYTES) : start])
        found = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        if found >= 0:
            start -= len(piece) - found - 1
            break
        start -= len(piece)
    return count_lines(view, 0, start) + 1, start


def _pieces(view: memoryview, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Copies of view[start:stop] with their offsets, one after another: a line may be too long to copy as a whole."""
    for begin in range(start, stop, LINE_PIECE_BYTES):
        yield begin, bytes(view[begin : min(stop, begin + LINE_PIECE_BYTES)])


def _count(view: memoryview, start: int, stop: int, sign: bytes) -> int:
    """How often one byte occurs in view[start:stop]."""
    return sum(piece.count(sign) for _, piece in _pieces(view, start, stop))


def _find(view: memoryview, start: int, stop: int, sign: bytes) -> int:
    """The offset of the first such byte in view[start:stop], or `stop`."""
    found = (begin + piece.index(sign) for begin, piece in _pieces(view, start, stop) if sign in piece)
    return next(found, stop)


def _line_end(view: memoryview, position: int) -> int:
    """The offset of the LF or CR that ends the line of `position`, or the end of `view`."""
    stop = find_line_start(view, min(position + 1, len(view)))
    while stop > position and view[stop - 1] in b"\r\n":
        stop -= 1
    return stop
