# Calls the kernels of csrc/parse_json.h: take buffers, release the GIL, call, return.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

from .buffers cimport (
    MOST_BODIES, Bodies, check_range, first_of, last_of, release_bodies, release_body, take_bodies, take_body, take_room,
)
from .status cimport Code, Status


cdef class JsonParser:
    """Reads one JSON body, a rectangle of numbers, into float32 buffers, in as many calls as it takes; for one thread at a
    time."""

    def __dealloc__(self):
        self.release()

    def reset(self, body, Py_ssize_t start=0, Py_ssize_t stop=-1):
        """Takes another body: the bytes of `body` from `start` to `stop` (-1: the end). Nothing outside of them is read."""
        take_body(&self.body, body, start, stop)
        self.state = JsonState()
        self.code = <int>Code.output_full

    def release(self):
        """Releases the body (a bytearray can be resized)."""
        release_body(&self.body)

    @property
    def position(self):
        """Byte offset in the body of the next unread byte; where it was seen that the body is not plain."""
        return self.body.start + self.state.position

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
        if not self.body.is_held:
            raise ValueError("the parser has no body")
        cdef Py_ssize_t room = take_room(out, &view, start, stop)
        try:
            with nogil:
                status = parse_json(
                    first_of(&self.body), last_of(&self.body), self.state,
                    <float*>view.buf + start, room, written,
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
        cdef Bodies bodies
        cdef size_t rows[MOST_BODIES]
        cdef size_t sizes[33]
        cdef Py_ssize_t index, count
        cdef size_t depth, written, row_values = 1, dimensions = len(row_shape)
        cdef Status status
        cdef bint fits
        self.release()
        if dimensions >= kMostDepth:
            return []
        for depth in range(dimensions):
            sizes[depth] = row_shape[depth]
            row_values *= sizes[depth]
        take_bodies(&bodies, body, bounds, first, out, start)
        count = bodies.count
        with nogil:
            for index in range(bodies.count):
                self.state = JsonState()
                written = 0
                status = parse_json(
                    bodies.text + bodies.begin, bodies.text + bodies.ends[index], self.state, bodies.values,
                    bodies.stop - bodies.values, written,
                )
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
                bodies.values += written
                bodies.begin = bodies.ends[index]
        release_bodies(&bodies)
        return [rows[index] for index in range(count)]


def read_json_lines(body, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t row_values, out, Py_ssize_t filled):
    """Reads lines of body[start:stop], each a list of `row_values` numbers, into the float32 buffer `out` from value `filled`.

    Returns (code, where the first line begins that was not read, values written, lines read); the code is one of
    csrc/status.h: ok, output_full, or not_plain for a line that is not such a list.
    """
    cdef Py_buffer source, view
    cdef Py_ssize_t room
    cdef size_t written = 0, lines = 0
    cdef Status status
    PyObject_GetBuffer(body, &source, PyBUF_SIMPLE)
    try:
        check_range(start, stop, source.len)
        room = take_room(out, &view, filled, -1)
        try:
            with nogil:
                status = parse_json_lines(
                    <const char*>source.buf, <const char*>source.buf + stop, row_values, start, <float*>view.buf + filled,
                    room, written, lines,
                )
        finally:
            PyBuffer_Release(&view)
    finally:
        PyBuffer_Release(&source)
    return <int>status.code, <Py_ssize_t>status.position, <Py_ssize_t>written, <Py_ssize_t>lines
