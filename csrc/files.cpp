// Plain POSIX calls, one file after another. Every call that a file does not need was left out: strace -c on
// benchmarks/bench_transform.py counts open, read, close and open, write, utimensat, close, rename.
#include "files.h"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fastinfer {

namespace {

// Reads up to `capacity` bytes until the end of the file; returns how many, or -1 with errno.
ssize_t read_all(int file, char* buffer, std::size_t capacity) noexcept {
  std::size_t held = 0;
  while (held < capacity) {
    const ssize_t count = ::read(file, buffer + held, capacity - held);
    if (count < 0) {
      if (errno == EINTR) continue;
      return -1;
    }
    held += static_cast<std::size_t>(count);
    // A regular file gives less than was asked for at its end alone, so no second read is needed to see the end.
    if (held < capacity) break;
  }
  return static_cast<ssize_t>(held);
}

int write_one(const char* path, const char* text, std::size_t size, std::int64_t time_ns,
              const WriteOptions& options) noexcept {
  char temporary[PATH_MAX];
  const char* slash = std::strrchr(path, '/');
  const int folder = slash == nullptr ? 0 : static_cast<int>(slash - path) + 1;
  const int length = std::snprintf(temporary, sizeof temporary, "%.*s%s", folder, path, options.temporary_name);
  if (length < 0 || static_cast<std::size_t>(length) >= sizeof temporary) return ENAMETOOLONG;

  const int file = ::open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return errno;
  int error = 0;
  for (std::size_t written = 0; written < size && error == 0;) {
    const ssize_t count = ::write(file, text + written, size - written);
    if (count >= 0) {
      written += static_cast<std::size_t>(count);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t rest = (time_ns % kSecond + kSecond) % kSecond;  // also before 1970 the fraction counts forward
  const timespec time = {static_cast<time_t>((time_ns - rest) / kSecond), static_cast<long>(rest)};
  const timespec times[2] = {time, time};
  if (error == 0 && ::futimens(file, times) != 0) error = errno;
  if (error == 0 && options.durable && ::fsync(file) != 0) error = errno;
  // Some file systems report at close what could not be written.
  if (::close(file) != 0 && error == 0) error = errno;
  if (error == 0 && ::rename(temporary, path) != 0) error = errno;
  if (error != 0) ::unlink(temporary);
  return error;
}

}  // namespace

void stat_files(const char* folder, const char* const* names, std::size_t count, FileStatus* found) noexcept {
  const int base = ::open(folder[0] == '\0' ? "." : folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  const int base_error = base < 0 ? errno : 0;
  for (std::size_t index = 0; index < count; ++index) {
    struct stat status;
    const bool told = base >= 0 && ::fstatat(base, names[index], &status, 0) == 0;
    found[index].error = told ? 0 : base < 0 ? base_error : errno;
    if (!told) continue;
    found[index].kind = S_ISREG(status.st_mode)   ? FileKind::file
                        : S_ISDIR(status.st_mode) ? FileKind::folder
                                                  : FileKind::other;
    found[index].size = status.st_size;
    found[index].modified_ns = status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec;
  }
  if (base >= 0) ::close(base);
}

std::size_t read_files(const char* const* paths, std::size_t count, char* buffer, std::size_t capacity, std::size_t* ends,
                       int* errors) noexcept {
  std::size_t held = 0;
  for (std::size_t index = 0; index < count; ++index) {
    // No wait for the writer of a pipe that has taken a file's place; for files the flag means nothing.
    const int file = ::open(paths[index], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    errors[index] = file < 0 ? errno : 0;
    if (file >= 0) {
      const ssize_t size = read_all(file, buffer + held, capacity - held);
      if (size < 0) errors[index] = errno;
      ::close(file);
      if (size >= 0 && static_cast<std::size_t>(size) == capacity - held) return index;
      if (size > 0) held += static_cast<std::size_t>(size);
    }
    ends[index] = held;
  }
  return count;
}

void write_files(const char* const* paths, std::size_t count, const char* text, const std::size_t* ends,
                 const std::int64_t* times_ns, const WriteOptions& options, int* errors) noexcept {
  for (std::size_t index = 0, first = 0; index < count; first = ends[index], ++index) {
    errors[index] = write_one(paths[index], text + first, ends[index] - first, times_ns[index], options);
  }
}

}  // namespace fastinfer
