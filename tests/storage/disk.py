"""fsspec's local files under a protocol of their own, ``disk://any-host/path``: files that are renamed, as over SFTP.

A store that "dies" carries out so many calls; in the next one its process is gone, a file that it was writing is half there,
and nothing works that would clean up.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem


class Gone(Exception):
    """The process is gone."""


class Disk(LocalFileSystem):  # type: ignore[misc]
    protocol = "disk"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        path = str(path)
        if path.startswith("disk://"):
            path = path[len("disk://") :]
            path = path[path.index("/") :] if "/" in path else "/"
        return path.rstrip("/") or "/"

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        return {"host": path[len("disk://") :].partition("/")[0]}

    def __init__(self, host: str = "", **options: Any) -> None:
        if not host:
            raise ConnectionError("no host")
        super().__init__(**options)


def register() -> None:
    fsspec.register_implementation("disk", Disk, clobber=True)


READS = ("info", "ls", "cat_file")
WRITES = ("pipe_file", "put_file", "mv", "rm_file")


@contextmanager
def dying(kind: type[Any], calls: int, *, kills: bool = False) -> Iterator[list[str]]:
    """File systems of a class that die after so many calls; gives the list of the calls, which grows."""
    before = {name: getattr(kind, name) for name in (*READS, *WRITES)}
    own = {name for name in before if name in vars(kind)}
    made: list[str] = []
    inside = threading.local()  # a package's own calls

    def wrap(name: str) -> Any:
        def call(files: Any, path: Any, *arguments: Any, **options: Any) -> Any:
            if getattr(inside, "is_so", False):
                return before[name](files, path, *arguments, **options)
            if len(made) >= calls:
                if name in ("pipe_file", "put_file") and kind is Disk and len(made) == calls:
                    content = arguments[0] if name == "pipe_file" else Path(path).read_bytes()
                    target = path if name == "pipe_file" else arguments[0]
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    with open(target, "wb") as file:
                        file.write(content[: len(content) // 2])
                made.append(name)
                if kills:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise Gone
            made.append(name)
            inside.is_so = True
            try:
                return before[name](files, path, *arguments, **options)
            finally:
                inside.is_so = False

        return call

    for name in before:
        setattr(kind, name, wrap(name))
    try:
        yield made
    finally:
        for name, method in before.items():
            if name in own:
                setattr(kind, name, method)
            else:
                delattr(kind, name)


def content_below(place: str) -> dict[str, bytes]:
    """All that is below a folder, by key."""
    files, path = fsspec.core.url_to_fs(place)
    files.invalidate_cache()
    return {name[len(path) + 1 :]: files.cat_file(name) for name in files.find(path)}


def clear_memory() -> None:
    """Removes all that is in memory."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


KINDS = {"memory": MemoryFileSystem, "disk": Disk}
