# The kernels' contracts as Cython sees them; the words stand in csrc/*.h.

from libc.stdint cimport int64_t

cdef extern from "status.h" namespace "fastinfer" nogil:
    cdef enum class Code(int):
        ok
        output_full
        expected_number
        empty_cell
        unequal_line

    cdef struct Status:
        Code code
        size_t position

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
    cdef Py_buffer body
    cdef bint has_body
    cdef size_t start
    cdef size_t stop
    cdef readonly int code

    cdef inline Status _run(self, float* out, size_t capacity, size_t* written) noexcept nogil
    cpdef list parse_bodies(self, object body, list bounds, Py_ssize_t first, object out, Py_ssize_t start,
                            Py_ssize_t row_values, Py_ssize_t columns=*)
    cpdef Py_ssize_t parse(self, object out, Py_ssize_t start=*, Py_ssize_t stop=*) except -1


cdef extern from "files.h" namespace "fastinfer" nogil:
    cdef enum class FileKind(int):
        other
        file
        folder

    cdef struct FileStatus:
        int error
        FileKind kind
        int64_t size
        int64_t modified_ns

    void _stat_files "fastinfer::stat_files"(const char* folder, const char* const* names, size_t count,
                                             FileStatus* found) noexcept

    cdef struct WriteOptions:
        const char* temporary_name
        bint durable

    size_t _read_files "fastinfer::read_files"(const char* const* paths, size_t count, char* buffer, size_t capacity,
                                               size_t* ends, int* errors) noexcept
    void _write_files "fastinfer::write_files"(const char* const* paths, size_t count, const char* text,
                                               const size_t* ends, const int64_t* times_ns,
                                               const WriteOptions& options, int* errors) noexcept
