// Plain system calls, one file after another. Every call that a file does not need was left out: strace -c on
// benchmarks/bench_engine.py counts open, read, close and open, write, utimensat, link (or rename), close.
#include "files.h"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
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
    // A regular file gives less than requested only at its end, so no second read is needed to find the end.
    if (held < capacity) break;
  }
  return static_cast<ssize_t>(held);
}

// Whether write() itself reports every failed write, so that a file may get its name before close(). Not so on file
// systems of a server (NFS, FUSE).
bool tells_at_write(int folder) noexcept {
  struct statfs status;
  if (::fstatfs(folder, &status) != 0) return false;
  switch (static_cast<unsigned long>(status.f_type)) {
    case TMPFS_MAGIC:
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case OVERLAYFS_SUPER_MAGIC:
      return true;
    default:
      return false;
  }
}

// How a file gets its name, best first; benchmarks/bench_engine.py measures the difference.
enum class Naming {
  link,  // a file without a name, then linkat(2) by its descriptor: the folder is locked once, nothing is left behind
  link_by_proc,  // the same for a process that may not link by descriptor (before Linux 6.10: all but root)
  rename,        // a temporary name, then rename(2): everywhere
};

// The folder that files are written to, kept open while the next file is in the same folder.
struct Folder {
  int handle = -1;
  const char* path = nullptr;  // not owned: of the file that it was opened for
  std::size_t length = 0;
  Naming naming = Naming::rename;
};

int enter(Folder& folder, const char* path, std::size_t length, const WriteOptions& options) noexcept {
  if (folder.handle >= 0 && folder.length == length && std::memcmp(folder.path, path, length) == 0) return 0;
  if (folder.handle >= 0) ::close(folder.handle);
  char place[PATH_MAX];
  if (length >= sizeof place) return folder.handle = -1, ENAMETOOLONG;
  std::memcpy(place, path, length);
  place[length] = '\0';
  folder.handle = ::open(length == 0 ? "." : place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder.handle < 0) return errno;
  folder.path = path;
  folder.length = length;
  // For a durable file: file systems keep the order of a write and a rename.
  folder.naming = !options.durable && tells_at_write(folder.handle) ? Naming::link : Naming::rename;
  return 0;
}

// Writes all of a text to an open file and sets its time of modification.
int fill(int file, const char* text, std::size_t size, std::int64_t time_ns) noexcept {
  for (std::size_t written = 0; written < size;) {
    const ssize_t count = ::write(file, text + written, size - written);
    if (count >= 0) {
      written += static_cast<std::size_t>(count);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t rest = (time_ns % kSecond + kSecond) % kSecond;  // also before 1970 the fraction counts forward
  const timespec time = {static_cast<time_t>((time_ns - rest) / kSecond), static_cast<long>(rest)};
  const timespec times[2] = {time, time};
  return ::futimens(file, times) == 0 ? 0 : errno;
}

// Gives a name to an open file that has none.
int link_file(int file, Folder& folder, const char* name) noexcept {
  if (folder.naming == Naming::link) {
    if (::linkat(file, "", folder.handle, name, AT_EMPTY_PATH) == 0) return 0;
    if (errno != ENOENT && errno != EPERM) return errno;
    folder.naming = Naming::link_by_proc;
  }
  char entry[32];
  std::snprintf(entry, sizeof entry, "/proc/self/fd/%d", file);
  return ::linkat(AT_FDCWD, entry, folder.handle, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

// Writes a file that has no name until it is whole. EOPNOTSUPP if that is not possible.
int write_and_link(Folder& folder, const char* name, const char* text, std::size_t size,
                   std::int64_t time_ns) noexcept {
  const int file = ::openat(folder.handle, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (file < 0) return errno == EISDIR || errno == EINVAL || errno == ENOENT ? EOPNOTSUPP : errno;
  int error = fill(file, text, size, time_ns);
  if (error == 0) {
    error = link_file(file, folder, name);
    // The name exists, which a link does not replace; or there is no /proc.
    if (error == EEXIST || error == ENOENT || error == EPERM) error = EOPNOTSUPP;
  }
  ::close(file);
  return error;
}

int write_and_rename(const Folder& folder, const char* name, const char* text, std::size_t size, std::int64_t time_ns,
                     const WriteOptions& options) noexcept {
  const int file = ::openat(folder.handle, options.temporary_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return errno;
  int error = fill(file, text, size, time_ns);
  if (error == 0 && options.durable && ::fsync(file) != 0) error = errno;
  // Some file systems report a failed write only at close.
  if (::close(file) != 0 && error == 0) error = errno;
  if (error == 0 && ::renameat(folder.handle, options.temporary_name, folder.handle, name) != 0) error = errno;
  if (error != 0) ::unlinkat(folder.handle, options.temporary_name, 0);
  return error;
}

int write_one(Folder& folder, const char* path, const char* text, std::size_t size, std::int64_t time_ns,
              const WriteOptions& options) noexcept {
  const char* slash = std::strrchr(path, '/');
  const std::size_t length = slash == nullptr ? 0 : static_cast<std::size_t>(slash - path) + 1;
  const int error = enter(folder, path, length, options);
  if (error != 0) return error;
  const char* name = path + length;
  if (folder.naming != Naming::rename) {
    const int linked = write_and_link(folder, name, text, size, time_ns);
    if (linked != EOPNOTSUPP) return linked;
    folder.naming = Naming::rename;
  }
  return write_and_rename(folder, name, text, size, time_ns, options);
}

}  // namespace

void stat_files(const char* folder, const char* const* names, std::size_t count, FileStatus* found) noexcept {
  const int base = ::open(folder[0] == '\0' ? "." : folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  const int base_error = base < 0 ? errno : 0;
  for (std::size_t index = 0; index < count; ++index) {
    struct stat status;
    const bool is_known = base >= 0 && ::fstatat(base, names[index], &status, 0) == 0;
    found[index].error = is_known ? 0 : base < 0 ? base_error : errno;
    if (!is_known) continue;
    found[index].kind = S_ISREG(status.st_mode)   ? FileKind::file
                        : S_ISDIR(status.st_mode) ? FileKind::folder
                                                  : FileKind::other;
    found[index].size = status.st_size;
    found[index].modified_ns = status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec;
  }
  if (base >= 0) ::close(base);
}

std::size_t read_files(const char* const* paths, std::size_t count, char* buffer, std::size_t capacity,
                       std::size_t* ends, int* errors) noexcept {
  std::size_t held = 0;
  for (std::size_t index = 0; index < count; ++index) {
    // If a pipe has replaced the file, do not wait for its writer; for files the flag has no effect.
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
  Folder folder;
  for (std::size_t index = 0, first = 0; index < count; first = ends[index], ++index) {
    errors[index] = write_one(folder, paths[index], text + first, ends[index] - first, times_ns[index], options);
  }
  if (folder.handle >= 0) ::close(folder.handle);
}

}  // namespace fastinfer
