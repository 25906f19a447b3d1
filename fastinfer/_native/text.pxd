# The kernels' contracts as Cython sees them; csrc/*.h documents them.

from .buffers cimport Body
from .status cimport Status

cdef extern from "parse_csv.h" namespace "fastinfer" nogil:
    cdef cppclass CsvOptions:
        char comment
        bint has_missing
        float missing

    cdef cppclass CsvState:
        size_t position
        size_t cells
        size_t columns

cdef extern from "format_rows.h" namespace "fastinfer" nogil:
    const size_t kValueBound

cdef extern from "isa.h" namespace "fastinfer" nogil:
    ctypedef Status (*ParseCsv)(const char* first, const char* last, const CsvOptions& options, CsvState& state,
                                float* out, size_t capacity, size_t& written) noexcept nogil
    ctypedef char* (*FormatRows)(const float* values, size_t rows, size_t values_per_row, char* out) noexcept nogil
    ctypedef size_t (*CountLines)(const char* first, const char* last) noexcept nogil
    ctypedef const char* (*FindLineStart)(const char* first, const char* last, const char* start) noexcept nogil

    cdef struct Kernels:
        const char* name
        ParseCsv parse_csv
        FormatRows format_json_rows
        FormatRows format_csv_rows
        CountLines count_lines
        FindLineStart find_line_start

    const Kernels* kernels_at(size_t index) noexcept
    const Kernels* find_kernels(const char* name) noexcept


cdef class CsvParser:
    # Owns one view of `body`, from reset() to release(); `state` and `code` are what the last parse() left.
    cdef Kernels kernels
    cdef CsvOptions options
    cdef CsvState state
    cdef Body body
    cdef readonly int code

    cdef inline Status _run(self, float* out, size_t capacity, size_t* written) noexcept nogil
    cpdef list parse_bodies(self, object body, list bounds, Py_ssize_t first, object out, Py_ssize_t start,
                            Py_ssize_t row_values, Py_ssize_t columns=*)
    cpdef Py_ssize_t parse(self, object out, Py_ssize_t start=*, Py_ssize_t stop=*) except -1
