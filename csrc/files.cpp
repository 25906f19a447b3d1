// Plain system calls, one file after another. Every call that a file does not need was left out: strace -c on
// benchmarks/bench_engine.py counts open, read, fstat, close and open, write, fsetxattr, link (or rename), close.
#include "files.h"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

namespace fastinfer {

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

// Within this time a file can change twice and keep its stamps: the clock of a kernel of 100 Hz goes on every 10 ms;
// file systems without fractions of a second (FAT: 2 s) are recognized by stamps without any.
constexpr std::int64_t kTick = 20'000'000;
constexpr std::int64_t kCoarseTick = 2 * kSecond + kTick;

std::int64_t nanoseconds(const timespec& time) noexcept { return time.tv_sec * kSecond + time.tv_nsec; }

FileIdentity identify(const struct stat& status, bool has_inodes) noexcept {
  return {has_inodes ? static_cast<std::int64_t>(status.st_ino) : 0, status.st_size, nanoseconds(status.st_mtim),
          nanoseconds(status.st_ctim)};
}

// How a file gets its name, best first; benchmarks/bench_engine.py measures the difference.
enum class Naming {
  link,  // a file without a name, then linkat(2) by its descriptor: the folder is locked once, nothing is left behind
  link_by_proc,  // the same for a process that may not link by descriptor (before Linux 6.10: all but root)
  rename,        // a temporary name, then rename(2): everywhere
};

// A folder that is kept open while the next file is in the same one: a shorter path is looked up for each.
struct Folder {
  int handle = -1;
  const char* path = nullptr;  // not owned: of the file that it was opened for
  std::size_t length = 0;
  bool is_entered = false;  // by the last call of enter()
  Naming naming = Naming::rename;
};

// Opens the folder of a file, path[0 .. length), unless it is open; errno.
int enter(Folder& folder, const char* path, std::size_t length, int flags) noexcept {
  folder.is_entered = false;
  if (folder.handle >= 0 && folder.length == length && std::memcmp(folder.path, path, length) == 0) return 0;
  if (folder.handle >= 0) ::close(folder.handle);
  char place[PATH_MAX];
  if (length >= sizeof place) return folder.handle = -1, ENAMETOOLONG;
  std::memcpy(place, path, length);
  place[length] = '\0';
  folder.handle = ::open(length == 0 ? "." : place, flags | O_DIRECTORY | O_CLOEXEC);
  if (folder.handle < 0) return errno;
  folder.path = path;
  folder.length = length;
  folder.is_entered = true;
  return 0;
}

// How much of a path is the folder, with the slash.
std::size_t folder_length(const char* path) noexcept {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? 0 : static_cast<std::size_t>(slash - path) + 1;
}

// Reads a whole file of the expected version; errno, ESTALE if it is another one.
int read_one(Folder& folder, const char* path, const FileIdentity& expected, char* buffer) noexcept {
  const std::size_t length = folder_length(path);
  const int problem = enter(folder, path, length, O_PATH);
  if (problem != 0) return problem;
  // If a pipe has replaced the file, do not wait for its writer; for files the flag has no effect.
  const int file = ::openat(folder.handle, path + length, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return errno;
  int error = 0;
  const auto size = static_cast<std::size_t>(expected.size);
  for (std::size_t held = 0; held < size;) {
    const ssize_t count = ::read(file, buffer + held, size - held);
    if (count > 0) {
      held += static_cast<std::size_t>(count);  // some file systems give less than was asked for
    } else if (count == 0) {
      error = ESTALE;  // it is shorter than listed
      break;
    } else if (errno != EINTR) {
      error = errno;
      break;
    }
  }
  // After reading: a change before it or meanwhile shows in the stamps.
  if (error == 0 || error == EAGAIN) {  // what a pipe without a writer gives
    const int change = check_file(file, expected);
    if (change != 0) error = change;
  }
  ::close(file);
  return error;
}

// File systems whose inode numbers are made up while a file is in use.
bool has_inodes(int folder) noexcept {
  struct statfs status;
  if (::fstatfs(folder, &status) != 0) return false;
  switch (static_cast<unsigned long>(status.f_type)) {
    case FUSE_SUPER_MAGIC:
    case MSDOS_SUPER_MAGIC:
    case V9FS_MAGIC:
    case 0x2011bab0:  // exFAT; older headers do not name it
    case 0xff534d42:  // CIFS
    case 0xfe534d42:  // SMB2
      return false;
    default:
      return true;
  }
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

// Writes all of a text to an open file, and its label.
int fill(int file, const char* text, std::size_t size, Label label) noexcept {
  for (std::size_t written = 0; written < size;) {
    const ssize_t count = ::write(file, text + written, size - written);
    if (count >= 0) {
      written += static_cast<std::size_t>(count);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return label.size == 0 ? 0 : label_file(file, static_cast<std::int64_t>(size), label);
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
int write_and_link(Folder& folder, const char* name, const char* text, std::size_t size, Label label) noexcept {
  const int file = ::openat(folder.handle, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (file < 0) return errno == EISDIR || errno == EINVAL || errno == ENOENT ? EOPNOTSUPP : errno;
  int error = fill(file, text, size, label);
  if (error == 0) {
    error = link_file(file, folder, name);
    // The name exists, which a link does not replace; or there is no /proc.
    if (error == EEXIST || error == ENOENT || error == EPERM) error = EOPNOTSUPP;
  }
  ::close(file);
  return error;
}

int write_and_rename(const Folder& folder, const char* name, const char* text, std::size_t size, Label label,
                     const WriteOptions& options) noexcept {
  const int file = ::openat(folder.handle, options.temporary_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return errno;
  int error = fill(file, text, size, label);
  if (error == 0 && options.durable && ::fsync(file) != 0) error = errno;
  // Some file systems report a failed write only at close.
  if (::close(file) != 0 && error == 0) error = errno;
  if (error == 0 && ::renameat(folder.handle, options.temporary_name, folder.handle, name) != 0) error = errno;
  if (error != 0) ::unlinkat(folder.handle, options.temporary_name, 0);
  return error;
}

int write_one(Folder& folder, const char* path, const char* text, std::size_t size, Label label,
              const WriteOptions& options) noexcept {
  const std::size_t length = folder_length(path);
  const int error = enter(folder, path, length, O_RDONLY);
  if (error != 0) return error;
  if (folder.is_entered) {
    // For a durable file: file systems keep the order of a write and a rename.
    folder.naming = !options.durable && tells_at_write(folder.handle) ? Naming::link : Naming::rename;
  }
  const char* name = path + length;
  if (folder.naming != Naming::rename) {
    const int linked = write_and_link(folder, name, text, size, label);
    if (linked != EOPNOTSUPP) return linked;
    folder.naming = Naming::rename;
  }
  return write_and_rename(folder, name, text, size, label, options);
}

}  // namespace

std::int64_t wait_for_next_tick(const FileIdentity& listed, std::int64_t waited) noexcept {
  timespec now;
  if (::clock_gettime(CLOCK_REALTIME, &now) != 0) return waited;
  const bool is_coarse = listed.changed_ns % kSecond == 0 && listed.modified_ns % kSecond == 0;
  const std::int64_t tick = is_coarse ? kCoarseTick : kTick;
  if (tick <= waited || listed.changed_ns <= nanoseconds(now) - tick) return waited;
  // Clocks are compared only to leave out waiting. The stamp may be of another clock: wait a whole tick.
  timespec rest = {static_cast<time_t>(tick / kSecond), static_cast<long>(tick % kSecond)};
  while (::nanosleep(&rest, &rest) != 0 && errno == EINTR) {
  }
  return tick;
}

void stat_files(const char* folder, const char* const* names, std::size_t count, FileStatus* found) noexcept {
  const int base = ::open(folder[0] == '\0' ? "." : folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  const int base_error = base < 0 ? errno : 0;
  const bool inodes = base >= 0 && has_inodes(base);
  for (std::size_t index = 0; index < count; ++index) {
    struct stat status;
    const bool is_known = base >= 0 && ::fstatat(base, names[index], &status, 0) == 0;
    found[index].error = is_known ? 0 : base < 0 ? base_error : errno;
    if (!is_known) continue;
    found[index].kind = S_ISREG(status.st_mode)   ? FileKind::file
                        : S_ISDIR(status.st_mode) ? FileKind::folder
                                                  : FileKind::other;
    found[index].identity = identify(status, inodes);
  }
  if (base >= 0) ::close(base);
}

int check_file(int file, const FileIdentity& expected) noexcept {
  struct stat status;
  if (::fstat(file, &status) != 0) return errno;
  const FileIdentity found = identify(status, expected.inode != 0);
  const bool is_same = S_ISREG(status.st_mode) && found.inode == expected.inode && found.size == expected.size &&
                       found.modified_ns == expected.modified_ns && found.changed_ns == expected.changed_ns;
  return is_same ? 0 : ESTALE;
}

std::size_t read_files(const char* const* paths, const FileIdentity* expected, std::size_t count, char* buffer,
                       std::size_t capacity, std::size_t* ends, int* errors) noexcept {
  Folder folder;
  std::size_t held = 0;
  std::size_t index = 0;
  std::int64_t waited = 0;  // all of them were listed before
  for (; index < count; ++index) {
    if (static_cast<std::size_t>(expected[index].size) > capacity - held) break;
    waited = wait_for_next_tick(expected[index], waited);
    errors[index] = read_one(folder, paths[index], expected[index], buffer + held);
    if (errors[index] == 0) held += static_cast<std::size_t>(expected[index].size);
    ends[index] = held;
  }
  if (folder.handle >= 0) ::close(folder.handle);
  return index;
}

int label_file(int file, std::int64_t size, Label label) noexcept {
  unsigned char value[sizeof size + kMostLabelBytes];
  if (label.size > kMostLabelBytes) return E2BIG;
  for (std::size_t byte = 0; byte < sizeof size; ++byte) {
    value[byte] = static_cast<unsigned char>(static_cast<std::uint64_t>(size) >> (8 * byte));
  }
  std::memcpy(value + sizeof size, label.bytes, label.size);
  if (::fsetxattr(file, "user.fastinfer", value, sizeof size + label.size, 0) == 0) return 0;
  switch (errno) {
    case ENOTSUP:
    case ENOSYS:
    case EPERM:   // of folders and special files; some network file systems
    case EINVAL:  // an older server
    case ERANGE:
      return ENOTSUP;
    default:
      return errno;
  }
}

void write_files(const char* const* paths, std::size_t count, const char* text, const std::size_t* ends,
                 const Label* labels, const WriteOptions& options, int* errors) noexcept {
  Folder folder;
  for (std::size_t index = 0, first = 0; index < count; first = ends[index], ++index) {
    errors[index] = write_one(folder, paths[index], text + first, ends[index] - first, labels[index], options);
  }
  if (folder.handle >= 0) ::close(folder.handle);
}

}  // namespace fastinfer
