// A library for LD_PRELOAD that makes system calls fail, for the tests of what a run leaves behind.
//
// It stands between a process and the C library's functions that touch files. fault_arm() names a folder, an action and a
// number n: of the calls on paths and descriptors below that folder to which the action applies, the n-th is struck.
//
//   KILL_BEFORE, KILL_AFTER  the process kills itself; at calls that change something: between two of those, a kill leaves
//                            the same files wherever it comes
//   EIO_ONCE                 the call fails with EIO; any call. close() does close.
//   ENOSPC_ONCE, ENOSPC_FROM the call, or it and all later ones, fails with ENOSPC; calls that take room on a disk
//   SHORT                    a write writes half of its bytes, and the next call that takes room fails with ENOSPC
//   HALF                     a read or a write transfers half of its bytes, which POSIX allows
//   CALL_BACK                the function given to fault_call_back() is called before this and every later call, with the
//                            call's number; any call
//
// A descriptor's path is asked of /proc at each call, so that duplicates and files that were renamed or have no name yet are
// seen. Not seen: calls that the C library makes within its own functions (fopen, mkstemp), memory mappings, and each entry
// that is read of a folder: a folder that cannot be read cannot be opened here.
//
// fault_clock() shifts the time of day that the process reads. Times that a file system stamps on files do not move with it;
// fault_set_back() shifts those.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum action { NONE, KILL_BEFORE, KILL_AFTER, EIO_ONCE, ENOSPC_ONCE, ENOSPC_FROM, SHORT, HALF, CALL_BACK };

// What a call does; TAKES_ROOM is true of some that change something, MOVES_BYTES of reads and writes.
enum { READS = 0, CHANGES = 1, TAKES_ROOM = 2, MOVES_BYTES = 4 };

static char root[PATH_MAX];
static size_t root_length;
static enum action action = NONE;
static long strike_at;
static atomic_long seen;
static int report = -1;
static int refuses_labels;
static void (*call_back)(long number);
static long clock_offset_s;
static struct timespec set_back_at;
static long set_back_s;
static __thread int is_inside;  // within call_back, whose own calls do not count

__attribute__((visibility("default"))) void fault_arm(const char* folder, long n, int what) {
  root_length = strlen(folder);
  memcpy(root, folder, root_length + 1);
  strike_at = n;
  atomic_store(&seen, 0);
  action = (enum action)what;
}

__attribute__((visibility("default"))) void fault_disarm(void) { action = NONE; }

// How many calls were seen to which the action applies.
__attribute__((visibility("default"))) long fault_count(void) { return atomic_load(&seen); }

// A descriptor to which a line with the name and path of the call is written before it is struck.
__attribute__((visibility("default"))) void fault_report(int file) { report = file; }

__attribute__((visibility("default"))) void fault_call_back(void (*function)(long number)) { call_back = function; }

// Whether the file systems have no extended attributes.
__attribute__((visibility("default"))) void fault_refuse_labels(int refuses) { refuses_labels = refuses; }

__attribute__((visibility("default"))) void fault_clock(long seconds) { clock_offset_s = seconds; }

// As if all clocks had been set back at some moment: stamps of earlier changes below the folder lie ahead.
__attribute__((visibility("default"))) void fault_set_back(long moment_ns, long seconds) {
  set_back_at = (struct timespec){moment_ns / 1000000000, moment_ns % 1000000000};
  set_back_s = seconds;
}

static int is_below(const char* path) {
  return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == '\0');
}

// The path of an open descriptor; an empty one if it is not a file.
static const char* path_of(int file, char* path) {
  char entry[32];
  snprintf(entry, sizeof entry, "/proc/self/fd/%d", file);
  const long length = syscall(SYS_readlinkat, AT_FDCWD, entry, path, PATH_MAX - 1);
  path[length < 0 ? 0 : length] = '\0';
  return path;
}

static const char* absolute(int folder, const char* name, char* path) {
  if (name == NULL) name = "";
  if (name[0] == '/') return name;
  if (folder == AT_FDCWD) {
    if (syscall(SYS_getcwd, path, PATH_MAX) < 0) path[0] = '\0';
  } else {
    path_of(folder, path);
  }
  const size_t length = strlen(path);
  if (name[0] != '\0' && length + strlen(name) + 2 < PATH_MAX) {
    path[length] = '/';
    strcpy(path + length + 1, name);
  }
  return path;
}

static void end_here(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static int applies(int kind) {
  switch (action) {
    case NONE: return 0;
    case KILL_BEFORE:
    case KILL_AFTER: return kind & CHANGES;
    case ENOSPC_ONCE:
    case ENOSPC_FROM: return kind & TAKES_ROOM;
    case SHORT: return (kind & TAKES_ROOM) && (kind & MOVES_BYTES || (strike_at > 0 && atomic_load(&seen) >= strike_at));
    case HALF: return kind & MOVES_BYTES;
    default: return 1;
  }
}

// What happens to one call.
struct fate {
  int error;       // errno with which it fails; 0: it is made
  int ends_after;  // the process is killed after it
  int is_halved;   // only half of its bytes are transferred
};

static struct fate ask_at(const char* call, const char* path, int kind) {
  struct fate fate = {0, 0, 0};
  if (action == NONE || is_inside || !is_below(path) || !applies(kind)) return fate;
  const long number = atomic_fetch_add(&seen, 1) + 1;
  const long last = action == ENOSPC_FROM || action == CALL_BACK ? LONG_MAX : action == SHORT ? strike_at + 1 : strike_at;
  if (strike_at == 0 || number < strike_at || number > last) return fate;
  if (report >= 0 && number == strike_at) {
    char line[PATH_MAX + 64];
    const int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    syscall(SYS_write, report, line, (size_t)length);
  }
  switch (action) {
    case KILL_BEFORE: end_here(); break;
    case KILL_AFTER: fate.ends_after = 1; break;
    case EIO_ONCE: fate.error = EIO; break;
    case ENOSPC_ONCE:
    case ENOSPC_FROM: fate.error = ENOSPC; break;
    case SHORT:
      if (number == strike_at) fate.is_halved = 1;
      else fate.error = ENOSPC;
      break;
    case HALF: fate.is_halved = 1; break;
    case CALL_BACK:
      is_inside = 1;
      call_back(number);
      is_inside = 0;
      break;
    default: break;
  }
  return fate;
}

static struct fate ask(const char* call, int folder, const char* name, int kind) {
  char path[PATH_MAX];
  if (action == NONE || is_inside) return (struct fate){0, 0, 0};
  return ask_at(call, absolute(folder, name, path), kind);
}

static struct fate ask_file(const char* call, int file, int kind) {
  char path[PATH_MAX];
  if (action == NONE || is_inside) return (struct fate){0, 0, 0};
  return ask_at(call, path_of(file, path), kind);
}

static struct fate ask_two(const char* call, int from, const char* name, int to, const char* other, int kind) {
  char path[PATH_MAX];
  if (action == NONE || is_inside) return (struct fate){0, 0, 0};
  const char* first = absolute(from, name, path);
  return is_below(first) ? ask_at(call, first, kind) : ask(call, to, other, kind);
}

static size_t half(size_t size) { return size > 1 ? size / 2 : size; }

// Gives back half of what was read; without a position of its own the next read begins there.
static ssize_t give_back(ssize_t size, int file, int has_position) {
  const ssize_t kept = size > 0 ? (ssize_t)half((size_t)size) : size;
  if (!has_position && kept < size) lseek(file, kept - size, SEEK_CUR);
  return kept;
}

#define EXPORT __attribute__((visibility("default")))
#define REAL(type, name, parameters)                          \
  static type(*real) parameters;                              \
  if (real == NULL) real = (type(*) parameters)dlsym(RTLD_NEXT, #name)
#define FAIL_IF(fate, value)                        \
  if ((fate).error != 0) {                          \
    errno = (fate).error;                           \
    return value;                                   \
  }
#define END_IF(fate) \
  if ((fate).ends_after) end_here()
// A function of which only the path or descriptor, in `question`, matters.
#define PLAIN(type, failed, name, parameters, arguments, question) \
  EXPORT type name parameters {                                    \
    REAL(type, name, parameters);                                  \
    const struct fate fate = question;                             \
    FAIL_IF(fate, failed)                                          \
    type result = real arguments;                                  \
    END_IF(fate);                                                  \
    return result;                                                 \
  }

// Opening

static int open_kind(int flags) {
  const int creates = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
  return (creates ? CHANGES | TAKES_ROOM : 0) | (flags & O_TRUNC ? CHANGES : 0);
}

#define TAKE_MODE(flags)                                              \
  mode_t mode = 0;                                                    \
  if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) {      \
    va_list rest;                                                     \
    va_start(rest, flags);                                            \
    mode = va_arg(rest, mode_t);                                      \
    va_end(rest);                                                     \
  }
#define OPEN(name)                                                       \
  EXPORT int name(const char* path, int flags, ...) {                    \
    TAKE_MODE(flags)                                                     \
    REAL(int, name, (const char*, int, ...));                            \
    const struct fate fate = ask("open", AT_FDCWD, path, open_kind(flags)); \
    FAIL_IF(fate, -1)                                                    \
    const int result = real(path, flags, mode);                          \
    END_IF(fate);                                                        \
    return result;                                                       \
  }
#define OPENAT(name)                                                     \
  EXPORT int name(int folder, const char* path, int flags, ...) {        \
    TAKE_MODE(flags)                                                     \
    REAL(int, name, (int, const char*, int, ...));                       \
    const struct fate fate = ask("open", folder, path, open_kind(flags)); \
    FAIL_IF(fate, -1)                                                    \
    const int result = real(folder, path, flags, mode);                  \
    END_IF(fate);                                                        \
    return result;                                                       \
  }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
// Those of a program that was compiled with _FORTIFY_SOURCE.
PLAIN(int, -1, __open_2, (const char* path, int flags), (path, flags), ask("open", AT_FDCWD, path, open_kind(flags)))
PLAIN(int, -1, __open64_2, (const char* path, int flags), (path, flags), ask("open", AT_FDCWD, path, open_kind(flags)))
PLAIN(int, -1, __openat_2, (int folder, const char* path, int flags), (folder, path, flags),
      ask("open", folder, path, open_kind(flags)))
PLAIN(int, -1, __openat64_2, (int folder, const char* path, int flags), (folder, path, flags),
      ask("open", folder, path, open_kind(flags)))

EXPORT int close(int file) {
  REAL(int, close, (int));
  const struct fate fate = ask_file("close", file, READS);
  const int result = real(file);
  FAIL_IF(fate, -1)
  return result;
}

// Bytes

#define READ(name, parameters, arguments, has_position)                        \
  EXPORT ssize_t name parameters {                                             \
    REAL(ssize_t, name, parameters);                                           \
    const struct fate fate = ask_file("read", file, READS | MOVES_BYTES);      \
    FAIL_IF(fate, -1)                                                          \
    const ssize_t result = real arguments;                                     \
    return fate.is_halved ? give_back(result, file, has_position) : result;    \
  }
READ(read, (int file, void* bytes, size_t size), (file, bytes, size), 0)
READ(__read_chk, (int file, void* bytes, size_t size, size_t room), (file, bytes, size, room), 0)
READ(pread, (int file, void* bytes, size_t size, off_t at), (file, bytes, size, at), 1)
READ(pread64, (int file, void* bytes, size_t size, off64_t at), (file, bytes, size, at), 1)
READ(readv, (int file, const struct iovec* buffers, int count), (file, buffers, count), 0)
READ(preadv, (int file, const struct iovec* buffers, int count, off_t at), (file, buffers, count, at), 1)
READ(preadv64, (int file, const struct iovec* buffers, int count, off64_t at), (file, buffers, count, at), 1)
READ(preadv2, (int file, const struct iovec* buffers, int count, off_t at, int flags), (file, buffers, count, at, flags), 1)
READ(preadv64v2, (int file, const struct iovec* buffers, int count, off64_t at, int flags),
     (file, buffers, count, at, flags), 1)

#define WRITE(name, parameters, arguments)                                                    \
  EXPORT ssize_t name parameters {                                                            \
    REAL(ssize_t, name, parameters);                                                          \
    const struct fate fate = ask_file("write", file, CHANGES | TAKES_ROOM | MOVES_BYTES);     \
    FAIL_IF(fate, -1)                                                                         \
    if (fate.is_halved) size = half(size);                                                    \
    const ssize_t result = real arguments;                                                    \
    END_IF(fate);                                                                             \
    return result;                                                                            \
  }
WRITE(write, (int file, const void* bytes, size_t size), (file, bytes, size))
WRITE(pwrite, (int file, const void* bytes, size_t size, off_t at), (file, bytes, size, at))
WRITE(pwrite64, (int file, const void* bytes, size_t size, off64_t at), (file, bytes, size, at))
WRITE(sendfile, (int file, int from, off_t* at, size_t size), (file, from, at, size))
WRITE(sendfile64, (int file, int from, off64_t* at, size_t size), (file, from, at, size))
WRITE(copy_file_range, (int from, off64_t* at, int file, off64_t* to, size_t size, unsigned int flags),
      (from, at, file, to, size, flags))

// Of several buffers half of the first is written.
#define GATHER(name, parameters, arguments)                                                   \
  EXPORT ssize_t name parameters {                                                            \
    REAL(ssize_t, name, parameters);                                                          \
    const struct fate fate = ask_file("write", file, CHANGES | TAKES_ROOM | MOVES_BYTES);     \
    FAIL_IF(fate, -1)                                                                         \
    struct iovec first;                                                                       \
    if (fate.is_halved && count > 0) {                                                        \
      first = (struct iovec){buffers[0].iov_base, half(buffers[0].iov_len)};                  \
      buffers = &first;                                                                       \
      count = 1;                                                                              \
    }                                                                                         \
    const ssize_t result = real arguments;                                                    \
    END_IF(fate);                                                                             \
    return result;                                                                            \
  }
GATHER(writev, (int file, const struct iovec* buffers, int count), (file, buffers, count))
GATHER(pwritev, (int file, const struct iovec* buffers, int count, off_t at), (file, buffers, count, at))
GATHER(pwritev64, (int file, const struct iovec* buffers, int count, off64_t at), (file, buffers, count, at))
GATHER(pwritev2, (int file, const struct iovec* buffers, int count, off_t at, int flags), (file, buffers, count, at, flags))
GATHER(pwritev64v2, (int file, const struct iovec* buffers, int count, off64_t at, int flags),
       (file, buffers, count, at, flags))

PLAIN(int, -1, ftruncate, (int file, off_t size), (file, size), ask_file("truncate", file, CHANGES))
PLAIN(int, -1, ftruncate64, (int file, off64_t size), (file, size), ask_file("truncate", file, CHANGES))
PLAIN(int, -1, fsync, (int file), (file), ask_file("fsync", file, READS))
PLAIN(int, -1, fdatasync, (int file), (file), ask_file("fsync", file, READS))
// These return the error.
EXPORT int posix_fallocate64(int file, off64_t at, off64_t size) {
  REAL(int, posix_fallocate64, (int, off64_t, off64_t));
  const struct fate fate = ask_file("allocate", file, CHANGES | TAKES_ROOM);
  if (fate.error != 0) return fate.error;
  const int result = real(file, at, size);
  END_IF(fate);
  return result;
}

// Names

PLAIN(int, -1, rename, (const char* path, const char* other), (path, other),
      ask_two("rename", AT_FDCWD, path, AT_FDCWD, other, CHANGES | TAKES_ROOM))
PLAIN(int, -1, renameat, (int from, const char* path, int to, const char* other), (from, path, to, other),
      ask_two("rename", from, path, to, other, CHANGES | TAKES_ROOM))
PLAIN(int, -1, renameat2, (int from, const char* path, int to, const char* other, unsigned int flags),
      (from, path, to, other, flags), ask_two("rename", from, path, to, other, CHANGES | TAKES_ROOM))
PLAIN(int, -1, link, (const char* path, const char* other), (path, other),
      ask("link", AT_FDCWD, other, CHANGES | TAKES_ROOM))
PLAIN(int, -1, linkat, (int from, const char* path, int to, const char* other, int flags), (from, path, to, other, flags),
      ask("link", to, other, CHANGES | TAKES_ROOM))
PLAIN(int, -1, symlink, (const char* target, const char* path), (target, path),
      ask("symlink", AT_FDCWD, path, CHANGES | TAKES_ROOM))
PLAIN(int, -1, unlink, (const char* path), (path), ask("unlink", AT_FDCWD, path, CHANGES))
PLAIN(int, -1, unlinkat, (int folder, const char* path, int flags), (folder, path, flags),
      ask("unlink", folder, path, CHANGES))
PLAIN(int, -1, rmdir, (const char* path), (path), ask("rmdir", AT_FDCWD, path, CHANGES))
PLAIN(int, -1, mkdir, (const char* path, mode_t mode), (path, mode), ask("mkdir", AT_FDCWD, path, CHANGES | TAKES_ROOM))
PLAIN(int, -1, mkdirat, (int folder, const char* path, mode_t mode), (folder, path, mode),
      ask("mkdir", folder, path, CHANGES | TAKES_ROOM))

// What is known of files

PLAIN(int, -1, utimensat, (int folder, const char* path, const struct timespec times[2], int flags),
      (folder, path, times, flags), ask("utimens", folder, path, CHANGES))
PLAIN(int, -1, futimens, (int file, const struct timespec times[2]), (file, times), ask_file("utimens", file, CHANGES))
PLAIN(int, -1, chmod, (const char* path, mode_t mode), (path, mode), ask("chmod", AT_FDCWD, path, CHANGES))
PLAIN(int, -1, fchmod, (int file, mode_t mode), (file, mode), ask_file("chmod", file, CHANGES))
PLAIN(int, -1, flock, (int file, int operation), (file, operation), ask_file("flock", file, READS))

#define LABEL(type, name, parameters, arguments, question) \
  EXPORT type name parameters {                            \
    REAL(type, name, parameters);                          \
    if (refuses_labels && !is_inside) {                    \
      errno = ENOTSUP;                                     \
      return -1;                                           \
    }                                                      \
    const struct fate fate = question;                     \
    FAIL_IF(fate, -1)                                      \
    const type result = real arguments;                    \
    END_IF(fate);                                          \
    return result;                                         \
  }
LABEL(int, setxattr, (const char* path, const char* name, const void* value, size_t size, int flags),
      (path, name, value, size, flags), ask("setxattr", AT_FDCWD, path, CHANGES | TAKES_ROOM))
LABEL(int, lsetxattr, (const char* path, const char* name, const void* value, size_t size, int flags),
      (path, name, value, size, flags), ask("setxattr", AT_FDCWD, path, CHANGES | TAKES_ROOM))
LABEL(int, fsetxattr, (int file, const char* name, const void* value, size_t size, int flags),
      (file, name, value, size, flags), ask_file("setxattr", file, CHANGES | TAKES_ROOM))
LABEL(ssize_t, getxattr, (const char* path, const char* name, void* value, size_t size), (path, name, value, size),
      ask("getxattr", AT_FDCWD, path, READS))
LABEL(ssize_t, lgetxattr, (const char* path, const char* name, void* value, size_t size), (path, name, value, size),
      ask("getxattr", AT_FDCWD, path, READS))
LABEL(ssize_t, fgetxattr, (int file, const char* name, void* value, size_t size), (file, name, value, size),
      ask_file("getxattr", file, READS))

// What a file that was last changed before the clock was set back seems to be stamped with.
#define SET_BACK(place)                                                                                               \
  if (result == 0 && set_back_s != 0 && !is_inside && is_below(place) &&                                              \
      (status->st_ctim.tv_sec < set_back_at.tv_sec ||                                                                 \
       (status->st_ctim.tv_sec == set_back_at.tv_sec && status->st_ctim.tv_nsec <= set_back_at.tv_nsec)))              \
    status->st_ctim.tv_sec += set_back_s;
#define STATAT(name, kind, parameters, arguments, folder, path)   \
  EXPORT int name parameters {                                    \
    REAL(int, name, parameters);                                  \
    char place[PATH_MAX];                                         \
    const struct fate fate = ask("stat", folder, path, READS);    \
    FAIL_IF(fate, -1)                                             \
    const int result = real arguments;                            \
    SET_BACK(absolute(folder, path, place))                       \
    return result;                                                \
  }
#define STAT(name, kind) STATAT(name, kind, (const char* path, struct kind* status), (path, status), AT_FDCWD, path)
STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)
STATAT(fstatat, stat, (int folder, const char* path, struct stat* status, int flags), (folder, path, status, flags), folder, path)
STATAT(fstatat64, stat64, (int folder, const char* path, struct stat64* status, int flags), (folder, path, status, flags),
       folder, path)
#define FSTAT(name, kind)                          \
  EXPORT int name(int file, struct kind* status) { \
    REAL(int, name, (int, struct kind*));          \
    char place[PATH_MAX];                          \
    const int result = real(file, status);         \
    SET_BACK(path_of(file, place))                 \
    return result;                                 \
  }
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)
PLAIN(int, -1, statx, (int folder, const char* path, int flags, unsigned int mask, struct statx* status),
      (folder, path, flags, mask, status), ask("stat", folder, path, READS))
// Those of a program that was compiled with a C library before 2.33.
#define OLD_STAT(name)                                                           \
  PLAIN(int, -1, name, (int version, const char* path, void* status), (version, path, status), \
        ask("stat", AT_FDCWD, path, READS))
OLD_STAT(__xstat)
OLD_STAT(__xstat64)
OLD_STAT(__lxstat)
OLD_STAT(__lxstat64)
#define OLD_STATAT(name)                                                                \
  PLAIN(int, -1, name, (int version, int folder, const char* path, void* status, int flags), \
        (version, folder, path, status, flags), ask("stat", folder, path, READS))
OLD_STATAT(__fxstatat)
OLD_STATAT(__fxstatat64)

// Folders

PLAIN(DIR*, NULL, opendir, (const char* path), (path), ask("opendir", AT_FDCWD, path, READS))
PLAIN(DIR*, NULL, fdopendir, (int folder), (folder), ask_file("opendir", folder, READS))

// The time of day

EXPORT int clock_gettime(clockid_t clock, struct timespec* now) {
  REAL(int, clock_gettime, (clockid_t, struct timespec*));
  const int result = real(clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += clock_offset_s;
  return result;
}

EXPORT int gettimeofday(struct timeval* restrict now, void* restrict zone) {
  REAL(int, gettimeofday, (struct timeval * restrict, void* restrict));
  const int result = real(now, zone);
  if (result == 0) now->tv_sec += clock_offset_s;
  return result;
}

EXPORT time_t time(time_t* now) {
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  if (now != NULL) *now = found.tv_sec;
  return found.tv_sec;
}
