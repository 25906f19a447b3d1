# Calls the text kernels of csrc/: take buffers, release the GIL, call, return. codecs/csv_errors.py turns a status into an
# error.

import os

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.stdlib cimport free, malloc
from cpython.ref cimport Py_XDECREF

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


cdef int _take_floats(object owner, Py_buffer* view, int flags) except -1:
    """A C-contiguous float32 view of `owner`, or BufferError/ValueError."""
    PyObject_GetBuffer(owner, view, flags | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    cdef const char* format = view.format
    if format != NULL and (format[0] == c"<" or format[0] == c"=" or format[0] == c"@"):
        format += 1
    if format == NULL or format[0] != c"f" or format[1] != 0:
        PyBuffer_Release(view)
        raise ValueError("expected a buffer of float32")
    return 0


cdef int _check_range(Py_ssize_t start, Py_ssize_t stop, Py_ssize_t size) except -1:
    if not 0 <= start <= stop <= size:
        raise ValueError(f"range {start}:{stop} is not within 0:{size}")
    return 0


# A smaller body is parsed in a few microseconds: releasing the interpreter's lock would cost more.
cdef enum:
    SMALL_BODY = 64 << 10

# The most bodies that one call parses: their arrays are on the stack.
cdef enum:
    MOST_BODIES = 256


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
        self.release()
        PyObject_GetBuffer(body, &self.body, PyBUF_SIMPLE)
        self.has_body = True
        if stop < 0:
            stop = self.body.len
        _check_range(start, stop, self.body.len)
        self.start = start
        self.stop = stop
        self.state.position = 0
        self.state.cells = 0
        self.state.columns = columns
        self.code = <int>Code.output_full

    def release(self):
        """Releases the body (a memory map can be closed, a bytearray resized)."""
        if self.has_body:
            self.has_body = False
            PyBuffer_Release(&self.body)

    @property
    def position(self):
        """Byte offset in the body of the next unread byte; after an error, of the wrong cell or line end."""
        return self.start + self.state.position

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
            <const char*>self.body.buf + self.start, <const char*>self.body.buf + self.stop, self.options, self.state, out,
            capacity, written[0],
        )

    cpdef Py_ssize_t parse(self, object out, Py_ssize_t start=0, Py_ssize_t stop=-1) except -1:
        """Writes values into the float32 buffer `out` from value `start` up to `stop` (-1: its end); returns how many.

        Afterwards `code` shows why it stopped: csrc/status.h.
        """
        cdef Py_buffer view
        cdef size_t written = 0
        cdef Status status
        if not self.has_body:
            raise ValueError("the parser has no body")
        _take_floats(out, &view, PyBUF_WRITABLE)
        try:
            if stop < 0:
                stop = view.len // <Py_ssize_t>sizeof(float)
            _check_range(start, stop, view.len // <Py_ssize_t>sizeof(float))
            if self.stop - self.start < SMALL_BODY:
                status = self._run(<float*>view.buf + start, stop - start, &written)
            else:
                with nogil:
                    status = self._run(<float*>view.buf + start, stop - start, &written)
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
        cdef size_t ends[MOST_BODIES]
        cdef size_t rows[MOST_BODIES]
        cdef Py_ssize_t index, count = 0
        cdef size_t written, begin = 0 if first == 0 else <size_t>bounds[first - 1][0]
        cdef Status status
        cdef Py_buffer source, view
        cdef const char* text
        cdef float* values
        cdef float* stop
        self.release()
        for index in range(first, min(len(bounds), first + <Py_ssize_t>MOST_BODIES)):
            if bounds[index][1] != 0:
                break
            ends[count] = bounds[index][0]
            count += 1
        PyObject_GetBuffer(body, &source, PyBUF_SIMPLE)
        try:
            _take_floats(out, &view, PyBUF_WRITABLE)
            try:
                _check_range(start, start, view.len // <Py_ssize_t>sizeof(float))
                if count:
                    _check_range(begin, ends[count - 1], source.len)
                text = <const char*>source.buf
                values = <float*>view.buf + start
                stop = <float*>view.buf + view.len // <Py_ssize_t>sizeof(float)
                with nogil:
                    for index in range(count):
                        self.state.position = 0
                        self.state.cells = 0
                        self.state.columns = columns
                        written = 0
                        status = self.kernels.parse_csv(
                            text + begin, text + ends[index], self.options, self.state, values, stop - values, written
                        )
                        if status.code != Code.ok or written == 0 or written % <size_t>row_values or (
                            self.state.columns and self.state.columns % <size_t>row_values
                            and <size_t>row_values % self.state.columns
                        ):
                            count = index
                            break
                        rows[index] = written // <size_t>row_values
                        values += written
                        begin = ends[index]
            finally:
                PyBuffer_Release(&view)
        finally:
            PyBuffer_Release(&source)
        return [rows[index] for index in range(count)]


cdef class JsonParser:
    """Reads one JSON body, a rectangle of numbers, into float32 buffers, in as many calls as it takes; for one thread at a
    time."""

    def __dealloc__(self):
        self.release()

    def reset(self, body, Py_ssize_t start=0, Py_ssize_t stop=-1):
        """Takes another body: the bytes of `body` from `start` to `stop` (-1: the end). Nothing outside of them is read."""
        self.release()
        PyObject_GetBuffer(body, &self.body, PyBUF_SIMPLE)
        self.has_body = True
        if stop < 0:
            stop = self.body.len
        _check_range(start, stop, self.body.len)
        self.start = start
        self.stop = stop
        self.state = JsonState()
        self.code = <int>Code.output_full

    def release(self):
        """Releases the body (a bytearray can be resized)."""
        if self.has_body:
            self.has_body = False
            PyBuffer_Release(&self.body)

    @property
    def position(self):
        """Byte offset in the body of the next unread byte; where it was seen that the body is not plain."""
        return self.start + self.state.position

    @property
    def done(self):
        """Whether all of the body has been read."""
        return self.code == <int>Code.ok

    @property
    def shape(self):
        """The lengths of the lists, from the outermost in; 0 where no list of a depth has ended yet. Empty before the first
        number."""
        return tuple(self.state.sizes[depth] for depth in range(1, self.state.leaf + 1))

    cpdef Py_ssize_t parse(self, object out, Py_ssize_t start=0, Py_ssize_t stop=-1) except -1:
        """Writes values into the float32 buffer `out` from value `start` up to `stop` (-1: its end); returns how many.

        Afterwards `code` shows why it stopped: csrc/status.h.
        """
        cdef Py_buffer view
        cdef size_t written = 0
        cdef Status status
        if not self.has_body:
            raise ValueError("the parser has no body")
        _take_floats(out, &view, PyBUF_WRITABLE)
        try:
            if stop < 0:
                stop = view.len // <Py_ssize_t>sizeof(float)
            _check_range(start, stop, view.len // <Py_ssize_t>sizeof(float))
            with nogil:
                status = parse_json(
                    <const char*>self.body.buf + self.start, <const char*>self.body.buf + self.stop, self.state,
                    <float*>view.buf + start, stop - start, written,
                )
        finally:
            PyBuffer_Release(&view)
        self.code = <int>status.code
        return <Py_ssize_t>written

    cpdef list parse_bodies(self, object body, list bounds, Py_ssize_t first, object out, Py_ssize_t start, tuple row_shape,
                            bint any_shape):
        """Reads whole small bodies that follow each other in `body`, as CsvParser.parse_bodies() does.

        Each must be a list of rows of `row_shape`, or of any shape with as many values. Returns the number of rows of each, up
        to the first that was not read: it is not plain, has rows of another shape, or does not fit.
        """
        cdef size_t ends[MOST_BODIES]
        cdef size_t rows[MOST_BODIES]
        cdef size_t sizes[33]
        cdef Py_ssize_t index, count = 0
        cdef size_t depth, row_values = 1, dimensions = len(row_shape)
        cdef size_t written, begin = 0 if first == 0 else <size_t>bounds[first - 1][0]
        cdef Status status
        cdef Py_buffer source, view
        cdef const char* text
        cdef float* values
        cdef float* stop
        cdef bint fits
        self.release()
        if dimensions >= kMostDepth:
            return []
        for depth in range(dimensions):
            sizes[depth] = row_shape[depth]
            row_values *= sizes[depth]
        for index in range(first, min(len(bounds), first + <Py_ssize_t>MOST_BODIES)):
            if bounds[index][1] != 0:
                break
            ends[count] = bounds[index][0]
            count += 1
        PyObject_GetBuffer(body, &source, PyBUF_SIMPLE)
        try:
            _take_floats(out, &view, PyBUF_WRITABLE)
            try:
                _check_range(start, start, view.len // <Py_ssize_t>sizeof(float))
                if count:
                    _check_range(begin, ends[count - 1], source.len)
                text = <const char*>source.buf
                values = <float*>view.buf + start
                stop = <float*>view.buf + view.len // <Py_ssize_t>sizeof(float)
                with nogil:
                    for index in range(count):
                        self.state = JsonState()
                        written = 0
                        status = parse_json(text + begin, text + ends[index], self.state, values, stop - values, written)
                        fits = status.code == Code.ok and self.state.leaf > 1
                        fits = fits and written == self.state.sizes[1] * row_values
                        if fits and not any_shape:
                            fits = self.state.leaf == dimensions + 1
                            for depth in range(dimensions):
                                fits = fits and self.state.sizes[depth + 2] == sizes[depth]
                        if not fits:
                            count = index
                            break
                        rows[index] = self.state.sizes[1]
                        values += written
                        begin = ends[index]
            finally:
                PyBuffer_Release(&view)
        finally:
            PyBuffer_Release(&source)
        return [rows[index] for index in range(count)]


def read_json_lines(body, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t row_values, out, Py_ssize_t filled):
    """Reads lines of body[start:stop], each a list of `row_values` numbers, into the float32 buffer `out` from value `filled`.

    Returns (code, where the first line begins that was not read, values written, lines read); the code is one of
    csrc/status.h: ok, output_full, or not_plain for a line that is not such a list.
    """
    cdef Py_buffer source, view
    cdef size_t written = 0, lines = 0
    cdef Status status
    PyObject_GetBuffer(body, &source, PyBUF_SIMPLE)
    try:
        _check_range(start, stop, source.len)
        _take_floats(out, &view, PyBUF_WRITABLE)
        try:
            _check_range(0, filled, view.len // <Py_ssize_t>sizeof(float))
            with nogil:
                status = parse_json_lines(
                    <const char*>source.buf, <const char*>source.buf + stop, row_values, start, <float*>view.buf + filled,
                    view.len // <Py_ssize_t>sizeof(float) - filled, written, lines,
                )
        finally:
            PyBuffer_Release(&view)
    finally:
        PyBuffer_Release(&source)
    return <int>status.code, <Py_ssize_t>status.position, <Py_ssize_t>written, <Py_ssize_t>lines


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
    _take_floats(rows, &view, 0)
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
    _take_floats(rows, &view, 0)
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
        _check_range(start, stop, view.len)
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
        _check_range(0, position, view.len)
        with nogil:
            found = kernels.find_line_start(
                <const char*>view.buf, <const char*>view.buf + view.len, <const char*>view.buf + position
            )
        return found - <const char*>view.buf
    finally:
        PyBuffer_Release(&view)
