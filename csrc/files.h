// Many small files in few calls: the contract. Besides its bytes, a file costs system calls and, from Python, releasing
// and taking the interpreter's lock around each; here a whole group is read or written while the lock is free.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastinfer {

// What a folder's entry is, links followed.
enum class FileKind : int { other, file, folder };

struct FileStatus {
  int error;  // errno; 0 if the other fields are set
  FileKind kind;
  std::int64_t size;
  std::int64_t modified_ns;
};

// Examines `names` in a folder, a path that ends in '/' or is empty.
void stat_files(const char* folder, const char* const* names, std::size_t count, FileStatus* found) noexcept;

// Reads whole files one after another into buffer[0 .. capacity) and sets ends[i] to where file i ends there. A file
// that cannot be read takes no room and sets errors[i] to errno (0 otherwise). Stops before the first file that does
// not, or may not, fit: the return value is the number of files before it. A file is open, read, close: no stat.
std::size_t read_files(const char* const* paths, std::size_t count, char* buffer, std::size_t capacity,
                       std::size_t* ends, int* errors) noexcept;

struct WriteOptions {
  const char* temporary_name;  // a file name that no other writer uses in these folders
  bool durable;                // whether a file is written to the disk before it gets its name
};

// Writes text[ends[i-1] .. ends[i]) (from 0 for the first) to each path, with modification time times_ns[i]: without a
// name and then linked if the file system supports that, else under the temporary name in the same folder and then
// renamed. Sets errors[i] to errno, 0 if the file is written. A file has its name only if it is whole. Continues after
// an error.
void write_files(const char* const* paths, std::size_t count, const char* text, const std::size_t* ends,
                 const std::int64_t* times_ns, const WriteOptions& options, int* errors) noexcept;

}  // namespace fastinfer
