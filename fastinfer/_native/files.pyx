# Calls csrc/files.h: many files in one call, without the GIL.

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t

# The most files that one call reads or writes: their arrays are on the stack.
cdef enum:
    MOST_FILES = 256
FILES_PER_CALL = MOST_FILES


cdef Py_ssize_t _take_paths(list paths, const char** out) except -1:
    """The C strings of at most FILES_PER_CALL paths, given as bytes and kept alive by the list."""
    cdef Py_ssize_t index, count = len(paths)
    if count > MOST_FILES:
        raise ValueError(f"at most {MOST_FILES} files in a call, not {count}")
    cdef bytes path
    for index in range(count):
        path = paths[index]
        out[index] = path
    return count


def stat_files(bytes folder, list names):
    """The kinds of a folder's entries: [(kind, size, modified_ns, error), …]; kind is 1 for a file, 2 for a folder, else 0."""
    cdef const char* pointers[MOST_FILES]
    cdef FileStatus found[MOST_FILES]
    cdef Py_ssize_t count = _take_paths(names, pointers)
    cdef const char* place = folder
    cdef Py_ssize_t index
    with nogil:
        _stat_files(place, pointers, count, found)
    entries = []
    for index in range(count):
        if found[index].error:
            entries.append((0, 0, 0, found[index].error))
        else:
            entries.append((<int>found[index].kind, found[index].size, found[index].modified_ns, 0))
    return entries


def read_files(list paths, buffer):
    """Reads whole files one after another into `buffer`, as many as fit: [(end, error), …], csrc/files.h.

    The next call takes the rest. The bytes of a file are those between the previous end and its own; `error` is 0 or an
    errno.
    """
    cdef const char* names[MOST_FILES]
    cdef size_t ends[MOST_FILES]
    cdef int errors[MOST_FILES]
    cdef Py_ssize_t count = _take_paths(paths, names)
    cdef Py_ssize_t index
    cdef size_t done
    cdef Py_buffer view
    PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
    try:
        with nogil:
            done = _read_files(names, count, <char*>view.buf, view.len, ends, errors)
    finally:
        PyBuffer_Release(&view)
    return [(ends[index], errors[index]) for index in range(<Py_ssize_t>done)]


def write_files(list paths, list texts, list times_ns, bytes temporary_name, bint durable=False):
    """Writes each text to its path, whole or not at all, with its modification time: [errno or 0, …], csrc/files.h."""
    cdef const char* names[MOST_FILES]
    cdef size_t ends[MOST_FILES]
    cdef int64_t times[MOST_FILES]
    cdef int errors[MOST_FILES]
    cdef Py_ssize_t count = _take_paths(paths, names)
    cdef Py_ssize_t index
    cdef size_t end = 0
    if len(texts) != count or len(times_ns) != count:
        raise ValueError("paths, texts and times must have the same length")
    for index in range(count):
        end += <size_t>len(<bytes?>texts[index])
        ends[index] = end
        times[index] = times_ns[index]
    cdef bytes text = b"".join(texts)
    cdef const char* content = text
    cdef WriteOptions options
    options.temporary_name = temporary_name
    options.durable = durable
    with nogil:
        _write_files(names, count, content, ends, times, options, errors)
    return [errors[index] for index in range(count)]
