# Calls the kernels that cut rows of CSV at their commas, and joins their text to predictions.

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport UINT32_MAX, uint32_t
from libc.string cimport memchr, memcpy
from libcpp.vector cimport vector

from .text import count_lines

cdef extern from "cut_rows.h" namespace "fastinfer" nogil:
    cdef struct CellRange:
        size_t start
        size_t stop

    const char* index_line(const char* first, const char* last, uint32_t* commas, size_t room, size_t& cells) noexcept
    const char* next_line(const char* end, const char* last) noexcept
    size_t needed_commas(const CellRange* ranges, size_t count, size_t cells) noexcept
    size_t size_of_cells(const char* line, const char* end, const uint32_t* commas, size_t cells,
                         const CellRange* ranges, size_t count) noexcept
    char* copy_cells(const char* line, const char* end, const uint32_t* commas, size_t cells, const CellRange* ranges,
                     size_t count, char* out) noexcept


cdef int _take_ranges(list ranges, size_t columns, vector[CellRange]& out) except -1:
    cdef CellRange each
    for start, stop in ranges:
        if not 0 <= start < stop <= columns:
            raise ValueError(f"the columns {start} to {stop} are not among {columns}")
        each.start, each.stop = start, stop
        out.push_back(each)
    return 0


cdef inline bint _is_blank(const char* first, const char* last) noexcept nogil:
    while first != last and (first[0] == b" " or first[0] == b"\t"):
        first += 1
    return first == last


cdef const char* _text_end(
    const char* line, const char* end, int comment, uint32_t* commas, size_t room, size_t& cells
) noexcept nogil:
    """Where a line's text ends, before a comment; its cells are counted again where it has one."""
    cdef const char* found = NULL
    if comment >= 0:
        found = <const char*>memchr(line, comment, end - line)
    if found == NULL:
        return end
    index_line(line, found, commas, room, cells)
    return found


def count_cells(body, Py_ssize_t start=0, Py_ssize_t stop=-1, int comment=-1):
    """The cells of the first line of body[start:stop] that is not blank; 0 if there is none.

    Lines end before the character `comment`, see :func:`cut_rows`.
    """
    cdef Py_buffer view
    cdef size_t cells = 0
    cdef uint32_t none
    cdef const char* p
    cdef const char* end
    cdef const char* last
    PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
    try:
        if stop < 0:
            stop = view.len
        if not 0 <= start <= stop <= view.len:
            raise ValueError("the bounds are outside of the buffer")
        p, last = <const char*>view.buf + start, <const char*>view.buf + stop
        while cells == 0 and p != last:
            end = index_line(p, last, &none, 0, cells)
            _text_end(p, end, comment, &none, 0, cells)
            p = next_line(end, last)
    finally:
        PyBuffer_Release(&view)
    return cells


def cut_rows(
    body,
    Py_ssize_t start,
    Py_ssize_t stop,
    size_t columns,
    list kept,
    list pieces,
    bytearray out,
    Py_ssize_t at_byte=0,
    int comment=-1,
    bytes blank=b"!",
):
    """Cuts the lines of body[start:stop], each a row of `columns` cells.

    Args:
        body: a buffer of at most 4 GiB.
        start, stop: where the lines are.
        columns: the cells of each row.
        kept: (start, stop) of the columns that are kept.
        pieces: lists of such, each of which is copied for each row.
        out: gets the kept cells, a line for each line of the body; it grows where it is too small.
        at_byte: where in it they begin.
        comment: the character from which on a line is left out; -1: none.
        blank: what is written instead of a row's only kept cell if that is blank: its line would be a blank one.

    Returns:
        where they end in `out`; the pieces of all rows, one after another; where each line begins; by the index of a line that
        has another number of cells, that number; the indices of lines whose kept cell is blank; how many lines have the
        right number of cells. A line of another number of cells has ``!`` for its kept cells, which is no number, and no
        pieces; nor has a blank line, which stays blank.
    """
    cdef Py_buffer view
    cdef vector[CellRange] ranges, others
    cdef vector[size_t] counts, ends, starts, unequal, blanks
    cdef vector[uint32_t] commas
    cdef vector[char] copied
    cdef size_t cells = 0, index, at, size, piece, room, most = 1, written = len(blank), rows = 0
    cdef const char* line
    cdef const char* end
    cdef const char* line_end
    cdef const char* last
    cdef const char* first
    cdef const char* instead = PyBytes_AS_STRING(blank)
    cdef char* text
    cdef char* kept_text
    cdef CellRange* of_piece
    _take_ranges(kept, columns, ranges)
    for each in pieces:
        _take_ranges(each, columns, others)
        counts.push_back(len(each))
    room = max(
        needed_commas(ranges.data(), ranges.size(), columns), needed_commas(others.data(), others.size(), columns)
    )
    for index in range(1, ranges.size()):
        if ranges[index].start < ranges[index - 1].stop:
            most += 1  # a column may be asked for more than once
    PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
    try:
        if not 0 <= start <= stop <= view.len or stop - start >= UINT32_MAX:
            raise ValueError("the bounds are outside of the buffer")
        first, last = <const char*>view.buf, <const char*>view.buf + stop
        # No line gets longer, but for a line end behind the last, and for what is written instead of a blank cell.
        if at_byte < 0:
            raise ValueError("the bounds are outside of the buffer")
        size = at_byte + (<size_t>(stop - start) + 1) * most
        if written > 1 and ranges.size() == 1 and ranges[0].stop - ranges[0].start == 1:
            size += written * <size_t>(1 + count_lines(body, start, stop))
        if <size_t>len(out) < size:
            out.extend(bytes(size - len(out)))
        commas.resize(room + 1)
        text = PyByteArray_AS_STRING(out) + at_byte
        with nogil:
            line = first + start
            while line != last:
                starts.push_back(line - first)
                line_end = index_line(line, last, commas.data(), room, cells)
                end = _text_end(line, line_end, comment, commas.data(), room, cells)
                if cells == columns:
                    rows += 1
                    kept_text = text
                    text = copy_cells(line, end, commas.data(), cells, ranges.data(), ranges.size(), text)
                    if _is_blank(kept_text, text):
                        blanks.push_back(starts.size() - 1)
                        memcpy(kept_text, instead, written)
                        text = kept_text + written
                    of_piece = others.data()
                    for piece in range(counts.size()):
                        at = copied.size()
                        copied.resize(at + size_of_cells(line, end, commas.data(), cells, of_piece, counts[piece]))
                        copied.resize(
                            copy_cells(line, end, commas.data(), cells, of_piece, counts[piece], copied.data() + at)
                            - copied.data()
                        )
                        ends.push_back(copied.size())
                        of_piece += counts[piece]
                elif cells != 0:
                    unequal.push_back(starts.size() - 1)
                    unequal.push_back(cells)
                    text[0] = b"!"
                    text += 1
                text[0] = b"\n"
                text += 1
                line = next_line(line_end, last)
    finally:
        PyBuffer_Release(&view)
    found, at = [], 0
    for index in range(ends.size()):
        found.append(PyBytes_FromStringAndSize(copied.data() + at, ends[index] - at))
        at = ends[index]
    return (
        text - PyByteArray_AS_STRING(out),
        found,
        [starts[index] for index in range(starts.size())],
        {unequal[index]: unequal[index + 1] for index in range(0, unequal.size(), 2)},
        {blanks[index] for index in range(blanks.size())},
        rows,
    )


def join_rows(list pieces, predictions, list plan, size_t columns):
    """Joins pieces of rows to their predictions, a line for each row.

    Args:
        pieces: of all rows, one after another; as many for each as the plan names.
        predictions: CSV, a line for each row.
        plan: what a line is made of: None: the next piece; or the (start, stop) of columns of the prediction.
        columns: of each prediction.
    """
    cdef vector[CellRange] ranges
    cdef vector[char] out
    cdef vector[uint32_t] commas
    cdef CellRange each
    cdef Py_buffer view
    cdef size_t cells = 0, at, index = 0, steps = len(plan), step, widest = 0, used = 0
    cdef Py_ssize_t length
    cdef const char* line
    cdef const char* end
    cdef const char* last
    cdef bytes piece
    for part in plan:
        each.start, each.stop = (0, 0) if part is None else part
        if part is not None and not 0 <= part[0] < part[1] <= columns:
            raise ValueError("a range of columns is empty")
        ranges.push_back(each)
        widest = max(widest, each.stop)
        used += part is None
    commas.resize(widest + 1)
    PyObject_GetBuffer(predictions, &view, PyBUF_SIMPLE)
    try:
        line, last = <const char*>view.buf, <const char*>view.buf + view.len
        out.reserve(2 * view.len)
        while line != last:
            end = index_line(line, last, commas.data(), widest, cells)
            if cells != columns:
                raise ValueError(f"a prediction has {cells} columns, not {columns}")
            if index + used > <size_t>len(pieces):
                raise ValueError("there are more predictions than rows")
            for step in range(steps):
                at = out.size()
                if step:
                    out.push_back(b",")
                    at += 1
                if ranges[step].stop:
                    out.resize(at + (end - line) + 1)
                    out.resize(
                        copy_cells(line, end, commas.data(), cells, &ranges[step], 1, out.data() + at) - out.data()
                    )
                else:
                    piece = pieces[index]
                    index += 1
                    length = len(piece)
                    out.resize(at + length)
                    memcpy(out.data() + at, PyBytes_AS_STRING(piece), length)
            out.push_back(b"\n")
            line = next_line(end, last)
    finally:
        PyBuffer_Release(&view)
    if index != <size_t>len(pieces):
        raise ValueError("there are fewer predictions than rows")
    return PyBytes_FromStringAndSize(out.data(), out.size())
