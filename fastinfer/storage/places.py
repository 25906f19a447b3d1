"""The store of a place: files of this machine, objects on S3, or what fsspec has for any other URL."""

from __future__ import annotations

import atexit
import contextlib
import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError, quote
from .atomic import unreadable
from .base import RunStore, Source
from .local import LocalStore
from .regular import read_regular
from .uri import FILE, is_s3, is_url, local_path

# A model that is fetched has no more objects.
MOST_FETCHED = 1000
# So many objects are fetched at a time, and bytes of a file are uploaded.
FETCHED_AT_A_TIME = 16
PIECE_BYTES = 1 << 20


def plain_place(place: str) -> str:
    """A place as the stores name it: a ``file://`` URL as a path, the scheme of S3 in small letters, a path as it is."""
    if is_s3(place):
        return "s3://" + place[len("s3://") :]
    return str(local_path(place)) if place.lower().startswith(FILE) else place


def folder_place(place: str) -> str:
    """The place of a folder, as :func:`plain_place` but without slashes at its end if it is a URL."""
    place = plain_place(place)
    return place.rstrip("/") if is_url(place) else place


def store_of(place: str, *, durable: bool = False) -> RunStore:
    """The store of a place.

    Args:
        place: a path, or a URL; see :func:`plain_place`.
        durable: whether files of this machine are written to the disk before they get their names.

    Raises:
        ConfigError: ``bad_place`` for a URL that is only read; a package is missing.
    """
    if not is_url(place):
        return LocalStore(durable)
    if is_s3(place):
        from .remote import RemoteStore

        return RemoteStore()
    from .filesystem_results import FilesystemStore
    from .filesystem_writing import is_whole

    is_whole(place)  # refuses what is only read
    return FilesystemStore()


def source_of(place: str) -> Source:
    """Where a place is read from: its store, or for other URLs whatever fsspec has for it.

    Raises:
        ConfigError: a package is missing.
    """
    if is_s3(place) or not is_url(place):
        return store_of(place)
    from .filesystem import FilesystemSource

    return FilesystemSource()


def read_small(place: str, most_bytes: int) -> bytes:
    """The bytes of a small file or object, such as a manifest or the description of a job.

    Args:
        place: a path, or a URL of any kind.
        most_bytes: a larger one is an error.

    Raises:
        InputError: ``input_missing``, ``cannot_read``.
        ServiceError: S3 or another service refused, or was not reached.
    """
    place = plain_place(place)
    try:
        if not is_url(place):
            return read_regular(place, most_bytes)
        content = source_of(place).read_small(place, most_bytes)
    except OSError as error:
        if isinstance(error.__cause__, OSError):
            error = error.__cause__
        raise unreadable(place, error) from error
    if content is None:
        raise unreadable(place, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    return content


@contextlib.contextmanager
def fetched(place: str, *, most_objects: int | None = MOST_FETCHED) -> Iterator[Path]:
    """A file or folder of this machine with what is at a place, for as long as the context lasts; a path is given as it is.

    Args:
        place: a path; or the URL of an object, of a folder, or of what the names of a few objects begin with.
        most_objects: how many objects there may be, for what is no model if there are more; None: any number.

    Raises:
        InputError: ``input_missing``, ``cannot_read``; ``unsafe_key`` for a key that is no name of a file; ``bad_input`` for
            a folder of too many objects.
        ServiceError: S3 or another service refused, or was not reached.
    """
    place = plain_place(place)
    if not is_url(place):
        yield Path(place)
        return
    import tempfile  # late: a run on files does without
    from concurrent.futures import ThreadPoolExecutor

    store = source_of(place)
    most = None if most_objects is None else most_objects + 1
    above, _, name = place.rstrip("/").rpartition("/")
    with tempfile.TemporaryDirectory(prefix="fastinfer-") as folder:
        target = Path(folder, name)
        if not place.endswith("/") and store.exists(place):
            _copy(store, place, target)
        else:
            root = f"{above}/{name}"
            found = (f"{at}/{each}"[len(root) + 1 :] for at, files in store.walk(root) for each in files if each)
            names = list(itertools.islice(found, most))
            if not names and not place.endswith("/"):  # they may begin so: checkpoints/mnist
                root, target = above, Path(folder)
                found = (each for each in store.names(above) if each.startswith(name))
                names = list(itertools.islice(found, most))
            if not names:
                raise InputError("no object has this key, or one that begins so", code="input_missing", path=place)
            if most_objects is not None and len(names) > most_objects:
                raise InputError(
                    f"more than {most_objects:,} objects have a key that begins so; is it a model?", path=place
                )
            for each in names:
                if any(part in ("", ".", "..") for part in each.split("/")):
                    raise InputError(f"the key {quote(each)} is not the name of a file", code="unsafe_key", path=place)
            with ThreadPoolExecutor(FETCHED_AT_A_TIME) as pool:
                copies = [pool.submit(_copy, store, f"{root}/{each}", target / each) for each in names]
                try:
                    for copy in copies:
                        copy.result()
                finally:
                    for copy in copies:
                        copy.cancel()
        yield Path(folder, name)


@contextlib.contextmanager
def uploaded(place: str) -> Iterator[Path]:
    """A path of this machine; the file there is put to a place, whole or not at all, when the context ends without an error.

    Args:
        place: a URL; or a path, which is given as it is: the caller writes there.

    Raises:
        OutputError: ``cannot_write``.
        ServiceError: S3 or another service refused, or was not reached.
    """
    place = plain_place(place)
    if not is_url(place):
        yield Path(place)
        return
    import tempfile

    store = store_of(place)
    with tempfile.TemporaryDirectory(prefix="fastinfer-") as folder:
        path = Path(folder, place.rpartition("/")[2] or "new")
        yield path
        with open(path, "rb") as file:
            store.replace(place, iter(lambda: file.read(PIECE_BYTES), b""))


def fetch_for_good(place: str) -> Path:
    """The same as :func:`fetched`, until this process ends."""
    stack = contextlib.ExitStack()
    path = stack.enter_context(fetched(place))
    atexit.register(stack.close)
    return path


def _copy(store: Source, uri: str, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as file:
            file.writelines(store.read_pieces(uri))
    except OSError as error:
        if isinstance(error.__cause__, OSError):
            error = error.__cause__
        raise unreadable(uri, error) from error
