# Views of the buffers that a kernel is given, checked. Inline: each door has its own.

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)

# The most bodies that one call parses: their arrays are on the stack.
cdef enum:
    MOST_BODIES = 256


cdef struct Body:
    # A part of one body; owns the view from take_body() to release_body(), and none while it is not held.
    Py_buffer view
    bint is_held
    size_t start
    size_t stop


cdef struct Bodies:
    # Small bodies that follow each other, and where their values go; owns both views from take_bodies() to release_bodies().
    Py_buffer source
    Py_buffer view
    const char* text
    size_t begin  # of the first body in the text
    size_t ends[MOST_BODIES]
    Py_ssize_t count
    float* values
    float* stop


cdef inline int take_floats(object owner, Py_buffer* view, int flags) except -1:
    """A C-contiguous float32 view of `owner`, or BufferError/ValueError."""
    PyObject_GetBuffer(owner, view, flags | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    cdef const char* format = view.format
    if format != NULL and (format[0] == c"<" or format[0] == c"=" or format[0] == c"@"):
        format += 1
    if format == NULL or format[0] != c"f" or format[1] != 0:
        PyBuffer_Release(view)
        raise ValueError("expected a buffer of float32")
    return 0


cdef inline int check_range(Py_ssize_t start, Py_ssize_t stop, Py_ssize_t size) except -1:
    if not 0 <= start <= stop <= size:
        raise ValueError(f"range {start}:{stop} is not within 0:{size}")
    return 0


cdef inline Py_ssize_t take_room(object out, Py_buffer* view, Py_ssize_t start, Py_ssize_t stop) except -1:
    """A writable view of the float32 buffer `out`; returns how many values it holds from `start` to `stop` (-1: its end)."""
    take_floats(out, view, PyBUF_WRITABLE)
    cdef Py_ssize_t size = view.len // <Py_ssize_t>sizeof(float)
    stop = size if stop < 0 else stop
    try:
        check_range(start, stop, size)
    except ValueError:
        PyBuffer_Release(view)
        raise
    return stop - start


cdef inline int take_body(Body* held, object body, Py_ssize_t start, Py_ssize_t stop) except -1:
    """The bytes of `body` from `start` to `stop` (-1: the end), in the place of what was held before."""
    release_body(held)
    PyObject_GetBuffer(body, &held.view, PyBUF_SIMPLE)
    stop = held.view.len if stop < 0 else stop
    try:
        check_range(start, stop, held.view.len)
    except ValueError:
        PyBuffer_Release(&held.view)
        raise
    held.is_held = True
    held.start = start
    held.stop = stop
    return 0


cdef inline void release_body(Body* held) noexcept:
    if held.is_held:
        held.is_held = False
        PyBuffer_Release(&held.view)


cdef inline const char* first_of(const Body* held) noexcept nogil:
    return <const char*>held.view.buf + held.start


cdef inline const char* last_of(const Body* held) noexcept nogil:
    return <const char*>held.view.buf + held.stop


cdef inline int take_bodies(Bodies* bodies, object body, list bounds, Py_ssize_t first, object out,
                            Py_ssize_t start) except -1:
    """The bodies from number `first` on, up to one that could not be read, as files.read_files() put them into `body`."""
    cdef Py_ssize_t index
    bodies.begin = 0 if first == 0 else <size_t>bounds[first - 1][0]
    bodies.count = 0
    for index in range(first, min(len(bounds), first + <Py_ssize_t>MOST_BODIES)):
        if bounds[index][1] != 0:
            break
        bodies.ends[bodies.count] = bounds[index][0]
        bodies.count += 1
    PyObject_GetBuffer(body, &bodies.source, PyBUF_SIMPLE)
    try:
        if bodies.count:
            check_range(bodies.begin, bodies.ends[bodies.count - 1], bodies.source.len)
        take_room(out, &bodies.view, start, -1)
    except (BufferError, TypeError, ValueError):
        PyBuffer_Release(&bodies.source)
        raise
    bodies.text = <const char*>bodies.source.buf
    bodies.values = <float*>bodies.view.buf + start
    bodies.stop = <float*>bodies.view.buf + bodies.view.len // <Py_ssize_t>sizeof(float)
    return 0


cdef inline void release_bodies(Bodies* bodies) noexcept:
    PyBuffer_Release(&bodies.view)
    PyBuffer_Release(&bodies.source)
