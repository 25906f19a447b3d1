# The contract of csrc/files.h as Cython sees it.

from libc.stdint cimport int64_t

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
