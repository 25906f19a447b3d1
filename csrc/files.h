// Many small files in few calls: the contract. Besides its bytes, a file costs system calls and, from Python, releasing
// and taking the interpreter's lock around each; here a whole group is read or written while the lock is free.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastinfer {

// What a folder's entry is, links followed.
enum class FileKind : int { other, file, folder };

// What tells one version of a file from another: it changes whenever the bytes do. The inode is 0 where the file system
// makes numbers up and may give a file another one later; the device is left out: it is another one on another machine,
// or after the next boot.
struct FileIdentity {
  std::int64_t inode;
  std::int64_t size;
  std::int64_t modified_ns;
  std::int64_t changed_ns;  // no program can set this one back
};

struct FileStatus {
  int error;  // errno; 0 if the other fields are set
  FileKind kind;
  FileIdentity identity;
};

// Examines `names` in a folder, a path that ends in '/' or is empty.
void stat_files(const char* folder, const char* const* names, std::size_t count, FileStatus* found) noexcept;

// Waits until a later change must give a file another stamp than that with which it was listed (a file that has just
// changed could change again within the same tick of the clock). Call it before reading, with the time that was waited
// since the file was listed; returns that time now, in nanoseconds.
std::int64_t wait_for_next_tick(const FileIdentity& listed, std::int64_t waited) noexcept;

// Compares an open file with the version that was listed: 0, ESTALE if it is another one, else errno.
int check_file(int file, const FileIdentity& expected) noexcept;

// Reads whole files one after another into buffer[0 .. capacity) and sets ends[i] to where file i ends there. errors[i]
// is 0 if exactly the bytes of the version `expected` were read; ESTALE if the file is another one, or not a regular
// file; else errno. A file with an error takes no room. Stops before the first file that does not fit: the return value
// is the number of files before it. A file is open, read, fstat, close.
std::size_t read_files(const char* const* paths, const FileIdentity* expected, std::size_t count, char* buffer,
                       std::size_t capacity, std::size_t* ends, int* errors) noexcept;

// Some bytes that are kept with a file, in the extended attribute `user.fastinfer`, behind the size of the file (eight
// bytes, little endian). Without bytes there is no attribute.
struct Label {
  const char* bytes;
  std::size_t size;
};

constexpr std::size_t kMostLabelBytes = 256;

struct WriteOptions {
  const char* temporary_name;  // a file name that no other writer uses in these folders
  bool durable;                // whether a file is written to the disk before it gets its name
};

// Writes text[ends[i-1] .. ends[i]) (from 0 for the first) to each path with its label: without a name and then linked
// if the file system supports that, else under the temporary name in the same folder and then renamed. Sets errors[i]
// to errno, 0 if the file is written; ENOTSUP if the file system keeps no attributes. A file has its name only if it is
// whole and has its label. Continues after an error.
void write_files(const char* const* paths, std::size_t count, const char* text, const std::size_t* ends,
                 const Label* labels, const WriteOptions& options, int* errors) noexcept;

// Gives an open file of `size` bytes its label; errno, or ENOTSUP as above.
int label_file(int file, std::int64_t size, Label label) noexcept;

}  // namespace fastinfer
