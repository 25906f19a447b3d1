"""What this machine has: processor, cores, memory."""

from __future__ import annotations

import contextlib
import os
import resource

# _SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE of glibc, which Python does not name.
_CACHES = (188, 191, 194)

# The largest child that had ended before, in KiB: it is not of fastinfer, perhaps of the program that this one replaced.
_ENDED_BEFORE = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def cpu_name() -> str:
    """The processor's name; different processors with one name can differ in :func:`cpu_features`."""
    name = _cpuinfo("model name")
    if name:
        return name
    import platform  # late: most machines have the file above

    return platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """The vector instructions by which oneDNN and OpenBLAS choose their code."""
    flags = _cpuinfo("flags") or _cpuinfo("Features") or ""
    return sorted(flag for flag in flags.split() if flag.startswith(("sse4", "avx", "fma", "amx", "asimd", "sve")))


def cache_sizes() -> list[int]:
    """Bytes of the data caches of levels 1 to 3, by which oneDNN divides its work; 0 for one that is not known."""
    return [_system_value(name) or 0 for name in _CACHES]


def c_library() -> str | None:
    """The C library and its version, such as ``glibc 2.36``; None if it is another than glibc."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        return None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Memory of the machine; None if it is not known."""
    page, pages = _system_value("SC_PAGE_SIZE"), _system_value("SC_PHYS_PAGES")
    return page * pages if page and pages else None


def resident_bytes() -> int:
    """Memory that this process uses now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_memory_bytes() -> int:
    """The largest memory so far of this process, or of one of its children that have ended since this module was imported.

    What the system keeps of a child that has ended includes what this process held when it started the child; that is part
    of this process's own peak.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return 1024 * max(_own_peak_kib(), ended if ended > _ENDED_BEFORE else 0)


def _system_value(name: str | int) -> int | None:
    try:
        return os.sysconf(name)
    except (ValueError, OSError):
        return None


def _own_peak_kib() -> int:
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    # This one lives on when a program is replaced by another: it may be what the program held that started this one.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cpuinfo(field: str) -> str | None:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return None
