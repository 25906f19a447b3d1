# The contract of csrc/files.h as Cython sees it.

from libc.stdint cimport int64_t

cdef extern from "files.h" namespace "fastinfer" nogil:
    cdef enum class FileKind(int):
        other
        file
        folder

    cdef struct FileIdentity:
        int64_t inode
        int64_t size
        int64_t modified_ns
        int64_t changed_ns

    cdef struct FileStatus:
        int error
        FileKind kind
        FileIdentity identity

    void _stat_files "fastinfer::stat_files"(const char* folder, const char* const* names, size_t count,
                                             FileStatus* found) noexcept

    cdef struct Label:
        const char* bytes
        size_t size

    cdef struct WriteOptions:
        const char* temporary_name
        bint durable

    size_t _read_files "fastinfer::read_files"(const char* const* paths, const FileIdentity* expected, size_t count,
                                               char* buffer, size_t capacity, size_t* ends, int* errors) noexcept
    void _write_files "fastinfer::write_files"(const char* const* paths, size_t count, const char* text,
                                               const size_t* ends, const Label* labels, const WriteOptions& options,
                                               int* errors) noexcept
    int _label_file "fastinfer::label_file"(int file, int64_t size, Label label) noexcept
    int64_t _wait_for_next_tick "fastinfer::wait_for_next_tick"(const FileIdentity& listed, int64_t waited) noexcept
    int _check_file "fastinfer::check_file"(int file, const FileIdentity& expected) noexcept
