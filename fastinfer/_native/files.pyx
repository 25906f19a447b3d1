# Calls csrc/files.h: many files in one call, without the GIL.

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.string cimport memcpy

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


cdef int _take_identity(bytes version, FileIdentity* out) except -1:
    if len(version) != sizeof(FileIdentity):
        raise ValueError(f"the version of a file has {sizeof(FileIdentity)} bytes, not {len(version)}")
    memcpy(out, <const char*>version, sizeof(FileIdentity))
    return 0


def stat_files(bytes folder, list names):
    """Examines a folder's entries: [(kind, size, version, error), …]; kind is 1 for a file, 2 for a folder, else 0.

    The version is the file's identity of csrc/files.h: four int64 in this machine's order of bytes.
    """
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
            entries.append((0, 0, b"", found[index].error))
        else:
            version = (<const char*>&found[index].identity)[:sizeof(FileIdentity)]
            entries.append((<int>found[index].kind, found[index].identity.size, version, 0))
    return entries


def read_files(list paths, list versions, buffer):
    """Reads whole files of these versions one after another into `buffer`, as many as fit: [(end, error), …], csrc/files.h.

    The next call takes the rest. The bytes of a file are those between the previous end and its own; `error` is 0 or an
    errno, ESTALE for a file of another version.
    """
    cdef const char* names[MOST_FILES]
    cdef FileIdentity expected[MOST_FILES]
    cdef size_t ends[MOST_FILES]
    cdef int errors[MOST_FILES]
    cdef Py_ssize_t count = _take_paths(paths, names)
    cdef Py_ssize_t index
    cdef size_t done
    cdef Py_buffer view
    if len(versions) != count:
        raise ValueError("paths and versions must have the same length")
    for index in range(count):
        _take_identity(versions[index], &expected[index])
    PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
    try:
        with nogil:
            done = _read_files(names, expected, count, <char*>view.buf, view.len, ends, errors)
    finally:
        PyBuffer_Release(&view)
    return [(ends[index], errors[index]) for index in range(<Py_ssize_t>done)]


def wait_for_next_tick(bytes version):
    """Waits, if need be, until a later change must give a file another version than this one."""
    cdef FileIdentity listed
    _take_identity(version, &listed)
    with nogil:
        _wait_for_next_tick(listed, 0)


def check_file(int file, bytes version):
    """Compares an open file with the version that was listed: 0, ESTALE if it is another one, else an errno."""
    cdef FileIdentity expected
    _take_identity(version, &expected)
    return _check_file(file, expected)


def write_files(list paths, list texts, list labels, bytes temporary_name, bint durable=False):
    """Writes each text to its path with its label, whole or not at all: [errno or 0, …], csrc/files.h.

    An empty label is none.
    """
    cdef const char* names[MOST_FILES]
    cdef size_t ends[MOST_FILES]
    cdef Label marks[MOST_FILES]
    cdef int errors[MOST_FILES]
    cdef Py_ssize_t count = _take_paths(paths, names)
    cdef Py_ssize_t index
    cdef size_t end = 0
    cdef bytes label
    if len(texts) != count or len(labels) != count:
        raise ValueError("paths, texts and labels must have the same length")
    for index in range(count):
        end += <size_t>len(<bytes?>texts[index])
        ends[index] = end
        label = <bytes?>labels[index]
        marks[index].bytes = label
        marks[index].size = len(label)
    cdef bytes text = b"".join(texts)
    cdef const char* content = text
    cdef WriteOptions options
    options.temporary_name = temporary_name
    options.durable = durable
    with nogil:
        _write_files(names, count, content, ends, marks, options, errors)
    return [errors[index] for index in range(count)]


def label_file(int file, int64_t size, bytes label):
    """Gives an open file of this size its label: 0 or an errno, csrc/files.h."""
    cdef Label mark
    mark.bytes = label
    mark.size = len(label)
    return _label_file(file, size, mark)
