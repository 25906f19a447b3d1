"""Tar archives and compressed files: checksums and lengths are right again."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import re
import zlib

from backports import zstd

from tests.fuzz.mutations import mutate

# A compressed file may hold more; what is behind it is cut off.
EXPANDED_BYTES = 1 << 18
BLOCK = 512

_FIELDS = (
    ("name", 0, 100),
    ("mode", 100, 8),
    ("owner", 108, 8),
    ("group", 116, 8),
    ("size", 124, 12),
    ("time", 136, 12),
    ("kind", 156, 1),
    ("link", 157, 100),
    ("magic", 257, 8),
    ("device", 329, 8),
    ("prefix", 345, 155),
)
_NAMES = (
    b"",
    b"/",
    b"a",
    b"../a",
    b"a/b",
    b"a/",
    b"code",
    b"code/a",
    b".",
    b"./a",
    b"a\0b",
    b"\xff",
    b"a" * 100,
    b"//a//b",
)
_NUMBERS = (
    b"",
    b"0",
    b"7",
    b"00000000005",
    b"777",
    b"1000",
    b"-1",
    b"8",
    b" 5",
    b"5 ",
    b"5\0x",
    b"\x80" + b"\0" * 10 + b"\x05",
)
_PAX = (
    (b"path", _NAMES),
    (b"size", (b"0", b"5", b"512", b"1000", b"-1", b"", b"1e3")),
    (b"mtime", (b"1.5", b"x")),
    (b"linkpath", _NAMES),
    (b"GNU.sparse.major", (b"1",)),
    (b"comment", (b"x=y", b"\n")),
    (b"hdrcharset", (b"BINARY",)),
)


def change_tar(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Members of an archive, plain: fields of their headers, their order and their bytes."""
    members = parse_tar(content)
    other = _members(random_.choice(others))
    for _ in range(random_.choice((1, 1, 2, 4))):
        place = random_.randrange(len(members))
        kind = random_.randrange(8)
        if kind < 4:
            members[place] = _change_member(random_, *members[place])
        elif kind == 4 and len(members) > 1:
            del members[place]
        elif kind == 5:
            members.insert(place, random_.choice(other or members))
        elif kind == 6:
            members.insert(place, _pax_member(random_, members[place][0]))
        else:
            swap = random_.randrange(len(members))
            members[place], members[swap] = members[swap], members[place]
    zeros = b"\0" * BLOCK * random_.choice((2, 2, 2, 2, 0, 1, 20))
    return b"".join(_print_member(*member) for member in members) + zeros


def parse_tar(content: bytes) -> list[tuple[bytes, bytes]]:
    """Header and bytes of each member. Raises ValueError where there is none."""
    members = []
    place = 0
    while any(header := content[place : place + BLOCK]) and len(header) == BLOCK:
        place += BLOCK
        size = re.match(rb"[0-7]{1,6}", header[124:136].strip(b" \0").lstrip(b"0"))
        count = int(size[0], 8) if size else 0
        members.append((header, content[place : place + count]))
        place += count + -count % BLOCK
    if not members:
        raise ValueError("no member")
    return members


def _members(content: bytes) -> list[tuple[bytes, bytes]]:
    try:
        return parse_tar(expand(content)[0])
    except ValueError:
        return []


def _print_member(header: bytes, content: bytes) -> bytes:
    return header + content + b"\0" * (-len(content) % BLOCK)


def _with(header: bytes, **fields: bytes) -> bytes:
    """A header with other fields, and its checksum."""
    changed = bytearray(header)
    for name, start, size in _FIELDS:
        if name in fields:
            changed[start : start + size] = fields[name][:size].ljust(size, b"\0")
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def _change_member(random_: random.Random, header: bytes, content: bytes) -> tuple[bytes, bytes]:
    kind = random_.randrange(6)
    if kind == 0:
        changed = mutate(random_, content, [b"x", b"12 path=a/b\n", b"\0" * BLOCK])[:EXPANDED_BYTES]
        return _with(header, size=b"%011o" % len(changed)), changed
    if kind == 1:
        return _with(header, kind=random_.choice([bytes([each]) for each in b"\x0001234567gxXLKSDNVM"])), content
    if kind == 2:
        return _with(header, name=random_.choice(_NAMES)), content
    if kind == 3:
        return _with(
            header, prefix=random_.choice(_NAMES), magic=random_.choice((b"ustar\x0000", b"ustar  \0", b""))
        ), content
    if kind == 4:
        name = random_.choice(("mode", "owner", "group", "size", "time", "device"))
        return _with(header, **{name: random_.choice(_NUMBERS)}), content
    changed = bytearray(header)
    changed[random_.randrange(BLOCK)] = random_.randrange(256)
    return _with(bytes(changed)), content


def _pax_member(random_: random.Random, header: bytes) -> tuple[bytes, bytes]:
    """A header of pax, or a long name of GNU tar, for the member behind it."""
    if random_.random() < 0.3:
        content = random_.choice(_NAMES) + b"\0"
        return _with(header, kind=random_.choice((b"L", b"K")), size=b"%011o" % len(content)), content
    content = b""
    for _ in range(random_.choice((1, 1, 2, 3))):
        key, values = random_.choice(_PAX)
        record = key + b"=" + random_.choice(values) + b"\n"
        size = len(record) + 2
        while len(b"%d %b" % (size, record)) != size:
            size += 1
        content += b"%d %b" % (size, record)
    if random_.random() < 0.2:
        content = mutate(random_, content, [content])
    return _with(header, kind=random_.choice((b"x", b"x", b"g", b"X")), size=b"%011o" % len(content)), content


def expand(content: bytes) -> tuple[bytes, str]:
    """The expanded bytes of a file, and how it is compressed. Raises ValueError for a damaged one."""
    try:
        if content.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(wbits=31).decompress(content, EXPANDED_BYTES), "gzip"
        if content.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(content, EXPANDED_BYTES), "bzip2"
        if content.startswith(b"\xfd7zXZ\0"):
            return lzma.LZMADecompressor(memlimit=1 << 26).decompress(content, EXPANDED_BYTES), "xz"
        if content[1:4] == b"\x2a\x4d\x18" and content[0] >> 4 == 5:  # a frame that is skipped
            skipped = 8 + int.from_bytes(content[4:8], "little")
            content = content[skipped:] or b"\x28\xb5\x2f\xfd"
        if content.startswith(b"\x28\xb5\x2f\xfd"):
            return zstd.ZstdDecompressor().decompress(content, EXPANDED_BYTES), "zstd"
    except (zlib.error, OSError, EOFError, lzma.LZMAError, zstd.ZstdError) as error:
        raise ValueError("damaged") from error
    return content, "plain"


def compress(random_: random.Random, content: bytes, kind: str) -> bytes:
    """Compressed bytes, of one part or of two; of gzip also with what its header may have."""
    if kind == "plain":
        return content
    if random_.random() < 0.2:
        place = random_.randrange(len(content) + 1)
        padding = b"\0" * random_.choice((0, 0, 1, 512))
        return _compress(random_, content[:place], kind) + padding + _compress(random_, content[place:], kind)
    return _compress(random_, content, kind)


def _compress(random_: random.Random, content: bytes, kind: str) -> bytes:
    if kind == "bzip2":
        return bz2.compress(content, 1)
    if kind == "xz":
        return lzma.compress(
            content, check=random_.choice((lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_SHA256)), preset=0
        )
    if kind == "zstd":
        flags = random_.choice(({}, {zstd.CompressionParameter.checksum_flag: 1}))
        skipped = random_.choice((b"", b"", b"\x50\x2a\x4d\x18\x03\0\0\0abc"))
        return skipped + zstd.compress(content, options=flags)
    packed = gzip.compress(content, random_.choice((0, 1, 9)), mtime=0)
    flags = random_.choice((0, 0, 1, 4, 8, 16, 28))
    extra = (b"\x03\0abc" if flags & 4 else b"") + b"name\0" * bool(flags & 8) + b"comment\0" * bool(flags & 16)
    return packed[:3] + bytes([flags]) + packed[4:10] + extra + packed[10:]


def change_archive(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """An archive, compressed or not."""
    plain, kind = expand(content)
    return compress(random_, change_tar(random_, plain, others), kind)


def change_compressed(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """A compressed file of any bytes."""
    plain, kind = expand(content)
    if kind == "plain":
        raise ValueError("not compressed")
    return compress(random_, mutate(random_, plain, [plain, *others])[:EXPANDED_BYTES], kind)
