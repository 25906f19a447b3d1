"""Untrusted archives, of a model or a job's code: their size is limited and their files stay in the target folder."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from ..errors import ModelError, quote
from .atomic import make_folder, unwritable

BYTES_LIMIT = 8 << 30
MEMBERS_LIMIT = 100_000

COPY_BYTES = 1 << 20


class Member(NamedTuple):
    """A file of an archive.

    Attributes:
        name: its path below the target folder, without ``./``.
        mode: its permissions, 0o755 or 0o644.
        content: its bytes; read them before the next member is requested.
        size: the number of its bytes.
    """

    name: str
    mode: int
    content: Content
    size: int


class Content(io.BufferedIOBase):
    """The bytes of a member; read() raises ModelError for a damaged archive."""

    def __init__(self, content: IO[bytes], archive: Path) -> None:
        self._content = content
        self._archive = archive

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return self._content.read(-1 if size is None else size)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise _unreadable(self._archive, error) from error


def read_members(archive: Path) -> Iterator[Member]:
    """The files of a tar archive, compressed or not, in their order; nothing is written to the disk.

    Raises:
        ModelError: ``unsafe_archive`` for a link, a device, a path outside the target folder, or an archive above the limits;
            ``bad_model`` for an unreadable archive.
    """
    total = 0
    try:
        # Read as a stream: headers come one by one, so the limits are checked before anything is unpacked.
        with tarfile.open(archive, "r|*") as tar:
            for count, member in enumerate(tar, start=1):
                total += member.size
                if not (member.isfile() or member.isdir()):
                    raise _unsafe(archive, member.name, "is a link, a device or another special file")
                if member.name.startswith("/") or ".." in Path(member.name).parts:
                    raise _unsafe(archive, member.name, "would be unpacked outside the target folder")
                if total > BYTES_LIMIT or count > MEMBERS_LIMIT:
                    limits = f"{BYTES_LIMIT >> 30} GiB in {MEMBERS_LIMIT:,} members"
                    raise _unsafe(archive, member.name, f"makes the archive larger than {limits}")
                content = tar.extractfile(member)
                if content is not None:  # not a folder
                    mode = 0o755 if member.mode & 0o100 else 0o644
                    yield Member(os.path.normpath(member.name), mode, Content(content, archive), member.size)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _unreadable(archive, error) from error


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks an archive's files into a folder.

    Raises:
        ModelError: as :func:`read_members`.
        OutputError: ``cannot_write``.
    """
    make_folder(folder)
    for member in read_members(archive):
        target = folder / member.name
        make_folder(target.parent)
        try:
            with open(target, "wb") as file:
                while piece := member.content.read(COPY_BYTES):
                    file.write(piece)
            target.chmod(member.mode)
        except OSError as error:
            raise unwritable(str(target), error) from error


def _unreadable(archive: Path, error: Exception) -> ModelError:
    return ModelError(
        f"is not a readable tar archive: {error}", path=str(archive), hint="use a folder or a model.tar.gz"
    )


def _unsafe(archive: Path, member: str, why: str) -> ModelError:
    return ModelError(f"the member {quote(member)} {why}", code="unsafe_archive", path=str(archive))
