# The kernels' contract as Cython sees it; csrc/parse_json.h documents it.

from .buffers cimport Body
from .status cimport Status

cdef extern from "parse_json.h" namespace "fastinfer" nogil:
    const size_t kMostDepth

    cdef cppclass JsonState:
        JsonState() noexcept
        size_t position
        size_t depth
        size_t leaf
        size_t sizes[33]
        size_t items[33]

    Status parse_json(const char* first, const char* last, JsonState& state, float* out, size_t capacity,
                      size_t& written) noexcept
    Status parse_json_lines(const char* first, const char* last, size_t row_values, size_t position, float* out,
                            size_t capacity, size_t& written, size_t& lines) noexcept


cdef class JsonParser:
    # Owns one view of `body`, from reset() to release(); `state` and `code` are what the last parse() left.
    cdef JsonState state
    cdef Body body
    cdef readonly int code

    cpdef Py_ssize_t parse(self, object out, Py_ssize_t start=*, Py_ssize_t stop=*) except -1
    cpdef list parse_bodies(self, object body, list bounds, Py_ssize_t first, object out, Py_ssize_t start, tuple row_shape,
                            bint any_shape)
