"""Tar archives that are not trusted, of a model or a job's code: read by a reader of our own.

Python's tarfile holds headers of any size, seeks through sparse files without an end, and takes a damaged header for the
end of the archive. Here an archive is a forward stream of plain files and folders, whatever wrote it (ustar, GNU or pax):
everything else is refused, everything has a bound, and a damaged or cut archive is an error. So is what tarfile and GNU tar
read in different ways. Behind the zeros that end it nothing but zeros may follow: what GNU tar would skip there cannot be told
from damage.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ModelError, quote
from .atomic import make_folder, unwritable
from .expanded import DamagedError, ExpandedFile

# Of one archive: the bytes of all files; files and folders, those on the way to a file as well.
BYTES_LIMIT = 8 << 30
MEMBERS_LIMIT = 100_000
# What may lie between two members: their headers, and long names. Also the padding at the end.
HEADERS_LIMIT = 1 << 20
# As the file systems of Linux have it.
NAME_LIMIT, PART_LIMIT = 4095, 255

COPY_BYTES = 1 << 20
BLOCK = 512

NO_ARCHIVE = "name a folder or a tar archive (plain, gzip, bzip2 or xz)"
COPY_AGAIN = "copy the archive again, or pack it again"
PACK_AGAIN = "pack the files again with tar"

FILES, FOLDER = (b"0", b"\0", b"7"), b"5"
LONG_NAME, LONG_LINK, PAX, GLOBAL_PAX, SPARSE = b"L", b"K", (b"x", b"X"), b"g", b"S"
# Keys of pax that say that a file is stored with holes.
SPARSE_KEYS = (b"GNU.sparse.", b"SCHILY.realsize")
_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([^=]+)=")


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

    def __init__(self, archive: _Archive, size: int) -> None:
        self._archive = archive
        self._end = archive.stream.position + size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._end - self._archive.stream.position)
        return self._archive.read(left if size is None or size < 0 else min(size, left))


class _Archive:
    """The stream of an archive, with errors that name it."""

    def __init__(self, path: Path, stream: ExpandedFile) -> None:
        self.path = path
        self.stream = stream
        self.headers_end = HEADERS_LIMIT

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises ModelError."""
        try:
            content = self.stream.read(size)
        except (DamagedError, OSError) as error:
            raise _unreadable(self.path, error, COPY_AGAIN) from error
        if len(content) != size:
            raise self.bad(f"it ends too early: {len(content):,} bytes are left, expected {size:,}", COPY_AGAIN)
        return content

    def skip(self, size: int) -> None:
        while size:
            size -= len(self.read(min(size, COPY_BYTES)))

    def read_header(self, size: int) -> bytes:
        """Bytes of the part between two members, with the padding behind them. Raises ModelError if it is too long."""
        padded = size + -size % BLOCK
        if self.stream.position + padded > self.headers_end:
            raise self.bad(f"the headers between two members have more than {HEADERS_LIMIT:,} bytes", PACK_AGAIN)
        content = self.read(padded)
        if any(content[size:]):  # other programs take it for a part of a long name
            raise self.bad(f"a header is damaged: something follows its {size:,} bytes, expected zeros", COPY_AGAIN)
        return content[:size]

    def check_end(self) -> None:
        """Raises ModelError unless nothing but zeros follow: with that, checksums of the whole file were compared."""
        try:
            rest = self.stream.read(HEADERS_LIMIT + 1)
        except (DamagedError, OSError) as error:
            raise _unreadable(self.path, error, COPY_AGAIN) from error
        if len(rest) > HEADERS_LIMIT or rest.strip(b"\0"):
            raise self.bad(f"something follows its end, expected at most {HEADERS_LIMIT:,} zeros", PACK_AGAIN)

    def bad(self, why: str, hint: str) -> ModelError:
        """An error of the archive; where already its first header is wrong, it is likely to be none at all."""
        return _unreadable(self.path, why, hint if self.stream.position > BLOCK else NO_ARCHIVE)

    def unsafe(self, name: bytes, why: str) -> ModelError:
        return ModelError(f"the member {quote(os.fsdecode(name))} {why}", code="unsafe_archive", path=str(self.path))


def read_members(archive: Path) -> Iterator[Member]:
    """The files of a tar archive, compressed or not, in their order; nothing is written to the disk.

    Raises:
        ModelError: ``unsafe_archive`` for a link, a device, a sparse file, a path outside the target folder, a name that
            cannot be one, or an archive above the limits; ``bad_model`` for an unreadable or damaged archive. What is
            damaged near its end is noticed after its last member: use none of them before the iteration has ended.
    """
    try:
        stream = ExpandedFile(archive)
    except OSError as error:
        raise _unreadable(archive, error) from error
    with stream:
        yield from _read_members(_Archive(archive, stream))


def _read_members(archive: _Archive) -> Iterator[Member]:
    total = 0
    places = _Places(archive)
    for name, kind, mode, size in _read_headers(archive):
        total += size
        if total > BYTES_LIMIT:
            raise archive.unsafe(name, f"makes the archive larger than {_limits()}")
        path = places.add(name, is_folder=kind == FOLDER)
        if kind == FOLDER:
            continue
        end = archive.stream.position + size
        yield Member(path, 0o755 if mode & 0o100 else 0o644, Content(archive, size), size)
        archive.skip(end - archive.stream.position)
        archive.skip(-size % BLOCK)


def _read_headers(archive: _Archive) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Name, kind, mode and size of each file and folder; the file's bytes must be read before the next is requested."""
    everywhere: dict[bytes, bytes] = {}
    here: dict[bytes, bytes] = {}
    archive.headers_end = archive.stream.position + HEADERS_LIMIT
    has_pax = False
    is_announced = False  # by a header that says more of the member behind it
    while any(block := archive.read_header(BLOCK)):
        name, mode, size, kind = _parse_header(archive, block)
        is_announced = kind in (LONG_NAME, LONG_LINK, GLOBAL_PAX, *PAX)
        if kind in (LONG_NAME, LONG_LINK):
            long = archive.read_header(size).rstrip(b"\0")
            if kind == LONG_NAME:
                _announce(archive, here, long)
        elif kind == GLOBAL_PAX:
            everywhere.update(_parse_pax(archive, archive.read_header(size)))
            if shared := everywhere.keys() & {b"path", b"size"}:  # programs differ in what they do with it
                raise archive.bad(f"a header gives all members one {os.fsdecode(min(shared))}", PACK_AGAIN)
        elif kind in PAX:
            if has_pax:  # GNU tar forgets the first one
                raise archive.bad("one member has two pax headers", PACK_AGAIN)
            has_pax = True
            more = _parse_pax(archive, archive.read_header(size))
            _announce(archive, here, more.get(b"path"))
            here.update(more)
        else:
            known = {**everywhere, **here}
            here, has_pax = {}, False
            name, short = known.get(b"path", name), name
            if kind == SPARSE or any(key.startswith(SPARSE_KEYS) for key in known):
                raise archive.unsafe(name, "is stored as a sparse file")
            if kind not in FILES and kind != FOLDER:
                raise archive.unsafe(name, "is a link, a device or another special file")
            if kind != FOLDER and b"size" in known:
                if not re.fullmatch(rb"[0-9]{1,18}", known[b"size"]):
                    raise archive.bad(
                        f"the size of {quote(os.fsdecode(name))} is {quote(known[b'size'])}, expected 1 to 18 digits",
                        PACK_AGAIN,
                    )
                size = int(known[b"size"])
            if kind == b"\0":  # as tar wrote folders before it had a kind for them
                if name.endswith(b"/") != short.endswith(b"/"):
                    found = f"{quote(os.fsdecode(short))} and {quote(os.fsdecode(name))}"
                    raise archive.bad(f"one of the names {found} is a file's, the other a folder's", PACK_AGAIN)
                kind = FOLDER if name.endswith(b"/") else kind
            if kind != FOLDER and name.endswith(b"/"):
                raise archive.bad(f"the name of the file {quote(os.fsdecode(name))} ends as a folder's", PACK_AGAIN)
            if kind == FOLDER and size:
                raise archive.bad(
                    f"the folder {quote(os.fsdecode(name))} has {size:,} bytes, expected none", PACK_AGAIN
                )
            yield name, kind, mode, size
            archive.headers_end = archive.stream.position + HEADERS_LIMIT
    if is_announced:
        raise archive.bad("it ends behind a header that announces another member", COPY_AGAIN)
    archive.check_end()


def _announce(archive: _Archive, here: dict[bytes, bytes], path: bytes | None) -> None:
    """Adds the name of the next member. Programs differ in which of two they take."""
    if path is not None and here.setdefault(b"path", path) != path:
        found = f"{quote(os.fsdecode(here[b'path']))} and {quote(os.fsdecode(path))}"
        raise archive.bad(f"one member has two names: {found}", PACK_AGAIN)


def _parse_header(archive: _Archive, block: bytes) -> tuple[bytes, int, int, bytes]:
    """Name, mode, size and kind of a header's 512 bytes."""
    fields = struct.unpack("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x", block)
    # As if the checksum itself were spaces. Some old tars added up signed bytes.
    counted = block[:148] + b" " * 8 + block[156:]
    found = _parse_number(archive, fields[6])
    if found not in (sum(counted), sum(struct.unpack("512b", counted))):
        raise archive.bad(f"a header is damaged: its checksum is {found:,}, expected {sum(counted):,}", COPY_AGAIN)
    # Owner, group, time and device are not used, but damage shows in them.
    for field in (*fields[2:4], fields[5], *fields[12:14]):
        if field[0] != 0xFF:  # a negative binary number: GNU tar's times before 1970
            _parse_number(archive, field)
    name, prefix = (field.partition(b"\0")[0] for field in (fields[0], fields[14]))
    if prefix and fields[9].startswith(b"ustar\0"):  # GNU tar keeps other things there
        # Python's tarfile cuts the name of a folder at its last slash; another member would be a file to some programs.
        if not name and fields[7] != FOLDER:
            raise archive.bad(
                f"a header is damaged: of its name there is only {quote(os.fsdecode(prefix))}", COPY_AGAIN
            )
        name = prefix + b"/" + name
    return name, _parse_number(archive, fields[1]), _parse_number(archive, fields[4]), fields[7]


def _parse_number(archive: _Archive, field: bytes) -> int:
    """Octal digits, or GNU tar's binary numbers, which begin with a byte 0x80."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise archive.bad(f"a header is damaged: a number in it is {quote(field)}, expected octal digits", COPY_AGAIN)
    return int(digits or b"0", 8)


def _parse_pax(archive: _Archive, content: bytes) -> dict[bytes, bytes]:
    """The records of a pax header, each `LENGTH KEY=VALUE` and a line end."""
    records, place = {}, 0
    while place < len(content):
        match = _RECORD.match(content, place)
        end = place + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(content) or content[end - 1] != 0x0A:
            found = quote(content[place:])
            raise archive.bad(f"a pax header is damaged: it has {found}, expected LENGTH KEY=VALUE", COPY_AGAIN)
        records[match[2]] = content[match.end() : end - 1]
        place = end
    return records


class _Places:
    """The names of an archive as a tree: none leads out of it, and none is a file and a folder."""

    def __init__(self, archive: _Archive) -> None:
        self._archive = archive
        self._root: dict[bytes, Any] = {}  # a folder's names; None for a file
        self._count = 0

    def add(self, name: bytes, *, is_folder: bool) -> str:
        """The path of a member below the target folder. Raises ModelError."""
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if name.startswith(b"/") or b".." in parts:
            raise self._archive.unsafe(name, "would be unpacked outside the target folder")
        if b"\0" in name or len(name) > NAME_LIMIT or any(len(part) > PART_LIMIT for part in parts):
            raise self._archive.unsafe(name, "has a name that no file can have")
        if not parts and not is_folder:
            raise self._archive.unsafe(name, "is a file without a name")
        folder, before = self._root, self._count
        for place, part in enumerate(parts):
            is_file = place == len(parts) - 1 and not is_folder
            if part not in folder:
                folder[part] = None if is_file else {}
                self._count += 1
            elif (folder[part] is None) != is_file:
                raise self._archive.unsafe(name, "is a file and a folder")
            folder = folder[part]
        # A name that is there already counts too: later files replace earlier ones, as for tar.
        self._count = max(self._count, before + 1)
        if self._count > MEMBERS_LIMIT:
            raise self._archive.unsafe(name, f"makes the archive larger than {_limits()}")
        return os.fsdecode(b"/".join(parts))


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


def _unreadable(archive: Path, why: object, hint: str | None = None) -> ModelError:
    if isinstance(why, OSError):  # the disk's, or of the path: neither a copy nor another archive helps
        why, hint = why.strerror or why, None
    return ModelError(f"is not a readable tar archive: {why}", path=str(archive), hint=hint)


def _limits() -> str:
    return f"{BYTES_LIMIT >> 30} GiB in {MEMBERS_LIMIT:,} members"
