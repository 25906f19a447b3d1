# Calls the kernels of csrc/ for CSV, for printing and for lines: take buffers, release the GIL, call, return.
# codecs/csv_errors.py turns a status into an error.

import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.ref cimport Py_XDECREF
from libc.stdlib cimport free, malloc

from .buffers cimport (
    MOST_BODIES, Bodies, check_range, first_of, last_of, release_bodies, release_body, take_bodies, take_body, take_floats,
    take_room,
)
from .status cimport Code, Status

from ..errors import ConfigError, quote

cdef extern from "Python.h":
    ctypedef struct PyObject
    PyObject* PyBytes_FromStringAndSize(const char* text, Py_ssize_t size) except NULL
    char* PyBytes_AS_STRING(PyObject* text)
    int _PyBytes_Resize(PyObject** text, Py_ssize_t size) except -1


def available_isas():
    """Names of the instruction sets that this build has and this CPU runs, best first; the last one is ``scalar``."""
    names = []
    cdef size_t index = 0
    while kernels_at(index) != NULL:
        names.append(kernels_at(index).name.decode())
        index += 1
    return names


cdef const Kernels* _find(isa) except NULL:
    cdef bytes name = isa.encode("utf-8", "replace")
    cdef const Kernels* kernels = find_kernels(name)
    if kernels == NULL:
        raise ConfigError(
            f"{isa!r} is not an instruction set that this build has and this CPU runs",
            code="unknown_isa",
            hint=f"FASTINFER_ISA takes one of {', '.join(available_isas())}",
        )
    return kernels


# Chosen once, here; used by every call that names no other. NULL if FASTINFER_ISA names one that does not exist: the first
# call raises the error, because a failed import could not be caught well.
_wanted = os.environ.get("FASTINFER_ISA") or available_isas()[0]
cdef const Kernels* _active = find_kernels(_wanted.encode("utf-8", "replace"))


def active_isa():
    """The name of the instruction set in use: the best one, or the one in ``FASTINFER_ISA``."""
    return _chosen(None).name.decode()


cdef const Kernels* _chosen(isa) except NULL:
    return _active if isa is None and _active != NULL else _find(_wanted if isa is None else isa)


# A smaller body is parsed in a few microseconds: releasing the interpreter's lock would cost more.
cdef enum:
    SMALL_BODY = 64 << 10

cdef class CsvParser:
    """Reads one CSV body into float32 buffers, in as many calls as it takes; for one thread at a time."""

    def __cinit__(self, body=None, *, comment=None, missing=None, isa=None):
        self.kernels = _chosen(isa)[0]
        if comment is not None:
            if len(comment) != 1 or not comment.isascii() or comment.isalnum() or comment in "+-., \t\r\n\0":
                raise ConfigError(
                    f"expected as comment one ASCII character that no number contains, found {quote(comment)}"
                )
            self.options.comment = ord(comment)
        self.options.has_missing = missing is not None
        self.options.missing = 0.0 if missing is None else <float><double>missing
        if body is not None:
            self.reset(body)

    def __dealloc__(self):
        self.release()

    def reset(self, body, Py_ssize_t start=0, Py_ssize_t stop=-1, Py_ssize_t columns=0):
        """Takes another body: the bytes of `body` from `start`, where a line begins, to `stop` (-1: the end).

        Nothing outside of them is read; positions count from the first byte of `body`. `columns` is the number of cells of
        every line; 0: as many as the first line has. The caller must skip a byte-order mark.
        """
        take_body(&self.body, body, start, stop)
        self.state.position = 0
        self.state.cells = 0
        self.state.columns = columns
        self.code = <int>Code.output_full

    def release(self):
        """Releases the body (a memory map can be closed, a bytearray resized)."""
        release_body(&self.body)

    @property
    def position(self):
        """Byte offset in the body of the next unread byte; after an error, of the wrong cell or line end."""
        return self.body.start + self.state.position

    @property
    def cells(self):
        """Cells read of the line of `position`."""
        return self.state.cells

    @property
    def columns(self):
        """Cells of a line; 0 until the first line has ended."""
        return self.state.columns

    @property
    def done(self):
        """Whether all of the body has been read."""
        return self.code == <int>Code.ok

    cdef inline Status _run(self, float* out, size_t capacity, size_t* written) noexcept nogil:
        return self.kernels.parse_csv(
            first_of(&self.body), last_of(&self.body), self.options, self.state, out,
            capacity, written[0],
        )

    cpdef Py_ssize_t parse(self, object out, Py_ssize_t start=0, Py_ssize_t stop=-1) except -1:
        """Writes values into the float32 buffer `out` from value `start` up to `stop` (-1: its end); returns how many.

        Afterwards `code` shows why it stopped: csrc/status.h.
        """
        cdef Py_buffer view
        cdef size_t written = 0
        cdef Status status
        if not self.body.is_held:
            raise ValueError("the parser has no body")
        cdef Py_ssize_t room = take_room(out, &view, start, stop)
        try:
            if self.body.stop - self.body.start < SMALL_BODY:
                status = self._run(<float*>view.buf + start, room, &written)
            else:
                with nogil:
                    status = self._run(<float*>view.buf + start, room, &written)
        finally:
            PyBuffer_Release(&view)
        self.code = <int>status.code
        return <Py_ssize_t>written

    cpdef list parse_bodies(self, object body, list bounds, Py_ssize_t first, object out, Py_ssize_t start,
                            Py_ssize_t row_values, Py_ssize_t columns=0):
        """Reads whole small bodies that follow each other in `body`, as files.read_files() put them there.

        `bounds` is what that returned; bodies from number `first` are read into `out` from value `start`. Returns the number
        of rows of `row_values` of each, up to the first that was not read: it has an error, it is not a whole number of
        rows, rows do not end where lines end, or there is no room. The content of `out` after the last row is then undefined.
        """
        cdef Bodies bodies
        cdef size_t rows[MOST_BODIES]
        cdef Py_ssize_t index, count
        cdef size_t written
        cdef Status status
        self.release()
        take_bodies(&bodies, body, bounds, first, out, start)
        count = bodies.count
        with nogil:
            for index in range(bodies.count):
                self.state.position = 0
                self.state.cells = 0
                self.state.columns = columns
                written = 0
                status = self.kernels.parse_csv(
                    bodies.text + bodies.begin, bodies.text + bodies.ends[index], self.options, self.state,
                    bodies.values, bodies.stop - bodies.values, written,
                )
                if status.code != Code.ok or written == 0 or written % <size_t>row_values or (
                    self.state.columns and self.state.columns % <size_t>row_values
                    and <size_t>row_values % self.state.columns
                ):
                    count = index
                    break
                rows[index] = written // <size_t>row_values
                bodies.values += written
                bodies.begin = bodies.ends[index]
        release_bodies(&bodies)
        return [rows[index] for index in range(count)]


cdef Py_ssize_t _text_bound(Py_ssize_t rows, Py_ssize_t per_row) noexcept nogil:
    """The most bytes that printed rows can need. For an array that fits in memory this does not overflow 64 bits."""
    return rows * (per_row * <Py_ssize_t>kValueBound + 8)


cdef object _format(FormatRows format_rows, object rows, Py_ssize_t brackets):
    """The text of `rows`, between `[` and `]` if brackets is 1."""
    cdef Py_buffer view
    cdef Py_ssize_t count, per_row
    cdef char* out
    cdef char* end
    cdef PyObject* text = NULL
    take_floats(rows, &view, 0)
    try:
        if view.ndim != 2:
            raise ValueError(f"expected rows of values, not an array of {view.ndim} dimensions")
        count, per_row = view.shape[0], view.shape[1]
        text = PyBytes_FromStringAndSize(NULL, _text_bound(count, per_row) + 2 * brackets)
        out = PyBytes_AS_STRING(text)
        with nogil:
            if brackets:
                out[0] = c"["
            end = format_rows(<const float*>view.buf, count, per_row, out + brackets)
            if brackets:
                end[0] = c"]"
        _PyBytes_Resize(&text, end + brackets - out)
        return <object>text
    finally:
        Py_XDECREF(text)
        PyBuffer_Release(&view)


def format_json_rows(rows, *, isa=None):
    """`[a, b], [c, d]`: 2-D float32 rows as JSON, without the outermost brackets."""
    return _format(_chosen(isa).format_json_rows, rows, 0)


def format_json(rows, *, isa=None):
    """`[[a, b], [c, d]]`: json.dumps(rows.tolist()) of 2-D float32 rows."""
    return _format(_chosen(isa).format_json_rows, rows, 1)


def format_csv_rows(rows, *, isa=None):
    """2-D float32 rows as CSV lines."""
    return _format(_chosen(isa).format_csv_rows, rows, 0)


def format_json_bodies(rows, list counts):
    """One JSON text, `[[a, b], [c, d]]`, for each of `counts`: that many of the 2-D float32 rows, in order."""
    cdef Py_buffer view
    cdef Py_ssize_t per_row, index, bodies = len(counts), total = 0
    cdef const Kernels* kernels = _chosen(None)
    cdef size_t* rows_of = NULL  # of each body
    cdef size_t* ends = NULL  # of each text
    cdef char* texts = NULL
    cdef char* end
    cdef const float* values
    take_floats(rows, &view, 0)
    try:
        if view.ndim != 2:
            raise ValueError(f"expected rows of values, not an array of {view.ndim} dimensions")
        per_row = view.shape[1]
        for index in range(bodies):
            if counts[index] < 0:
                raise ValueError("a count is negative")
            total += counts[index]
        if total > view.shape[0]:
            raise ValueError("counts are more than the rows")
        rows_of = <size_t*>malloc((bodies + 1) * sizeof(size_t))
        ends = <size_t*>malloc((bodies + 1) * sizeof(size_t))
        texts = <char*>malloc(_text_bound(total, per_row) + 2 * bodies + 1)
        if rows_of == NULL or ends == NULL or texts == NULL:
            raise MemoryError()
        for index in range(bodies):
            rows_of[index] = counts[index]
        values = <const float*>view.buf
        end = texts
        with nogil:
            for index in range(bodies):
                end[0] = c"["
                end = kernels.format_json_rows(values, rows_of[index], per_row, end + 1)
                end[0] = c"]"
                end += 1
                values += rows_of[index] * per_row
                ends[index] = end - texts
        return [texts[ends[index - 1] if index else 0 : ends[index]] for index in range(bodies)]
    finally:
        free(rows_of)
        free(ends)
        free(texts)
        PyBuffer_Release(&view)


def count_lines(body, Py_ssize_t start=0, Py_ssize_t stop=-1, *, isa=None):
    """Lines of body[start:stop]; a last line without a line end counts."""
    cdef const Kernels* kernels = _chosen(isa)
    cdef Py_buffer view
    cdef size_t lines
    PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
    try:
        if stop < 0:
            stop = view.len
        check_range(start, stop, view.len)
        with nogil:
            lines = kernels.count_lines(<const char*>view.buf + start, <const char*>view.buf + stop)
    finally:
        PyBuffer_Release(&view)
    return lines


def find_line_start(body, Py_ssize_t position, *, isa=None):
    """The first byte offset at or after `position` that begins a line of `body`, or its length."""
    cdef const Kernels* kernels = _chosen(isa)
    cdef Py_buffer view
    cdef const char* found
    PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
    try:
        check_range(0, position, view.len)
        with nogil:
            found = kernels.find_line_start(
                <const char*>view.buf, <const char*>view.buf + view.len, <const char*>view.buf + position
            )
        return found - <const char*>view.buf
    finally:
        PyBuffer_Release(&view)
