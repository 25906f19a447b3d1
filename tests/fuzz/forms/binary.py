"""Binary files with lengths in them: models, parameters, NPY, IDX, RecordIO, PNG and the messages of ONNX."""

from __future__ import annotations

import contextlib
import math
import random
import struct
import zlib
from typing import Any

from fastinfer.records.split import MAGIC
from tests.fuzz.forms.archives import expand
from tests.fuzz.forms.base import change_some, or_bytes
from tests.fuzz.forms.texts import change_json, copy_tree
from tests.fuzz.mutations import mutate

PNG = b"\x89PNG\r\n\x1a\n"
CHUNK_BYTES = 1 << 16
# Of MXNet's types, by their numbers.
TYPE_BYTES = (4, 8, 2, 1, 4, 1, 8, 1, 2, 2, 4, 8, 2)


def change_model(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """The three files of a model, each behind its length: symbol, parameters, shapes."""
    parts, other = model_files(content), model_files(random_.choice(others))
    number = random_.choice((0, 0, 1, 2))
    parts[number] = or_bytes(change_params if number == 1 else change_json, random_, parts[number], [other[number]])
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def model_files(content: bytes) -> list[bytes]:
    """Symbol, parameters and shapes of a model, each behind its length."""
    parts, place = [], 0
    for _ in range(3):
        (size,) = struct.unpack("<I", content[place : place + 4].ljust(4, b"\0"))
        parts.append(content[place + 4 : place + 4 + size])
        place += 4 + size
    return parts


def change_params(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Saved arrays: their headers with as many values, their names, how many there are."""
    arrays, names = _read_arrays(content)
    try:
        more_arrays, more_names = _read_arrays(random_.choice(others))
    except ValueError:
        more_arrays, more_names = arrays, names
    for _ in range(random_.choice((1, 1, 2, 3))):
        kind = random_.randrange(6)
        if kind == 0 and names:
            place = random_.randrange(len(names))
            names[place] = random_.choice(
                (mutate(random_, names[place], names), *more_names, names[0], b"arg:", b"a\0b", b"\xff")
            )
        elif kind == 1:
            change_some(random_, arrays, lambda _: random_.choice(more_arrays or [b""]))
        elif kind == 2:
            change_some(random_, names, lambda _: random_.choice(more_names or [b""]))
        else:
            arrays.insert(random_.randrange(len(arrays) + 1), _array(random_))
            names.append(random_.choice((b"arg:", b"aux:", b"")) + b"new%d" % random_.randrange(3))
    listed = b"".join(struct.pack("<Q", len(name)) + name for name in names)
    return struct.pack("<QQQ", 0x112, 0, len(arrays)) + b"".join(arrays) + struct.pack("<Q", len(names)) + listed


def _array(random_: random.Random) -> bytes:
    """An array in one of the ways to write it, with as many values as its sizes say, or nearly."""
    sizes = [random_.choice((0, 1, 1, 2, 3, 5)) for _ in range(random_.choice((0, 1, 1, 2, 2, 3, 4, 8, 9)))]
    kind, storage = (
        random_.choice((0xF993FAC9, 0xF993FAC9, 0xF993FAC8, 0xF993FACA, len(sizes))),
        random_.choice((0, 0, 0, 1, 2, -1)),
    )
    header = struct.pack("<I", kind)
    if kind in (0xF993FAC9, 0xF993FACA):
        header += struct.pack("<ii", storage, len(sizes))
    elif kind == 0xF993FAC8:
        header += struct.pack("<I", len(sizes))
    header += b"".join(struct.pack("<I" if kind < 10 else "<q", size) for size in sizes)
    type_ = random_.choice((*range(13), 13, -1))
    count = math.prod(sizes) * (*TYPE_BYTES, 1, 1)[type_]
    device = random_.choice(((1, 0), (1, 0), (1, 0), (2, 3), (0, 0), (7, 0)))
    return (
        header
        + struct.pack("<iii", *device, type_)
        + random_.randbytes(max(0, count + random_.choice((0, 0, 0, 0, 1, -1))))
    )


def _read_arrays(content: bytes) -> tuple[list[bytes], list[bytes]]:
    """The arrays of a file, whole and dense, and their names. Raises ValueError for another file."""
    try:
        place, arrays = 24, []
        for _ in range(min(100, struct.unpack_from("<Q", content, 16)[0])):
            start = place
            (kind,) = struct.unpack_from("<I", content, place)
            if kind == 0xF993FAC9:
                (rank,), place, size = struct.unpack_from("<i", content, place + 8), place + 12, 8
            elif kind == 0xF993FAC8:
                (rank,), place, size = struct.unpack_from("<I", content, place + 4), place + 8, 8
            else:
                rank, place, size = kind, place + 4, 4
            sizes = struct.unpack_from(f"<{rank if rank < 9 else 0}{'q' if size == 8 else 'I'}", content, place)
            place += size * len(sizes) + 12
            (type_,) = struct.unpack_from("<i", content, place - 4)
            place += max(0, math.prod(sizes)) * TYPE_BYTES[type_]
            arrays.append(content[start:place])
        (count,), place, names = struct.unpack_from("<Q", content, place), place + 8, []
        for _ in range(min(100, count)):
            (size,) = struct.unpack_from("<Q", content, place)
            names.append(content[place + 8 : place + 8 + size])
            place += 8 + size
    except (struct.error, IndexError, OverflowError) as error:
        raise ValueError("no parameters") from error
    return arrays, names


def change_npy(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """The text of the header, or the data behind it."""
    version = content[6:7]
    width = 2 if version == b"\1" else 4
    if not content.startswith(b"\x93NUMPY") or len(content) < 8 + width:
        raise ValueError("no NPY file")
    size = int.from_bytes(content[8 : 8 + width], "little")
    header, data = content[8 + width :][:size], content[8 + width + size :]
    if random_.random() < 0.7:
        words = [
            b"'>f8'",
            b"'<U3'",
            b"'|O'",
            b"True",
            b"(2, 2)",
            b"(0,)",
            b"()",
            b"(-1, 2)",
            b"(2**9,)",
            b", 'x': 1",
            b"'<f2'",
        ]
        header = mutate(random_, header.rstrip(b" \n"), words) + random_.choice((b"\n", b" \n", b""))
    else:
        data = mutate(random_, data, others)
    length = len(header) & (1 << 8 * width) - 1
    return content[:8] + length.to_bytes(width, "little") + header + data


def change_idx(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """The sizes, with as many values, of this file or another."""
    plain, _ = expand(random_.choice((content, *others)))
    sizes = [random_.choice((0, 1, 2, 3, 28)) for _ in range(random_.choice((0, 1, 1, 2, 3, 3, 4)))]
    count = max(0, math.prod(sizes) + random_.choice((0, 0, 0, 1, -1)))
    header = bytes([0, 0, random_.choice((8, 8, 8, 9, 13)), len(sizes)])
    values = plain[4:] or b"\0"
    values = (values * (count // len(values) + 1))[:count]
    return header + b"".join(struct.pack(">I", size) for size in sizes) + values


def change_recordio(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Parts of records, each with its length and padding."""
    parts, place = [], 0
    while content[place : place + 4] == MAGIC and len(content) >= place + 8:
        (word,) = struct.unpack_from("<I", content, place + 4)
        size = word & (1 << 29) - 1
        parts.append(bytes([word >> 29]) + content[place + 8 : place + 8 + size])
        place += 8 + size + -size % 4
    if not parts:
        raise ValueError("no record")
    change_some(
        random_,
        parts,
        lambda part: random_.choice(
            (bytes([random_.randrange(8)]) + part[1:], part[:1] + mutate(random_, part[1:], [part, MAGIC, *others]))
        ),
    )
    return b"".join(
        MAGIC + struct.pack("<I", part[0] << 29 | len(part) - 1) + part[1:] + b"\0" * (-(len(part) - 1) % 4)
        for part in parts
    )


def change_png(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Chunks, each with its length and checksum; the pixels also behind their compression."""
    chunks, other = _chunks(content), _chunks(random_.choice(others)) or _chunks(content)
    if not chunks:
        raise ValueError("no PNG file")

    def change(chunk: bytes) -> bytes:
        kind, data = chunk[:4], chunk[4:]
        if kind == b"IDAT" and random_.random() < 0.7:
            with contextlib.suppress(zlib.error):
                data = zlib.decompressobj().decompress(data, CHUNK_BYTES)
                return kind + zlib.compress(mutate(random_, data, [data]))
        if random_.random() < 0.2:
            return random_.choice(other)
        return random_.choice((kind, b"IDAT", b"tRNS", b"PLTE", b"eXIf", b"iCCP")) + mutate(random_, data, [data])

    change_some(random_, chunks, change)
    found = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks]
    return PNG + b"".join(found)


def _chunks(content: bytes) -> list[bytes]:
    """The kind of each chunk and its data."""
    found, place = [], len(PNG)
    while content.startswith(PNG) and place + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, place)
        found.append(content[place + 4 : place + 8 + size])
        place += 12 + size
    return found


# Protocol buffers, as ONNX has them: fields of a number, a kind and a value; a value that reads as a message is one.
def parse_message(content: bytes, depth: int = 0) -> list[list[Any]]:
    """Raises ValueError where the bytes are no message."""
    fields, place = [], 0
    while place < len(content):
        tag, place = _read_varint(content, place)
        number, kind = tag >> 3, tag & 7
        if not number or kind not in (0, 1, 2, 5):
            raise ValueError("no field")
        value: Any
        if kind == 0:
            value, place = _read_varint(content, place)
        else:
            size = {1: 8, 5: 4}.get(kind, 0)
            if kind == 2:
                size, place = _read_varint(content, place)
            value, place = content[place : place + size], place + size
            if place > len(content):
                raise ValueError("cut")
            if kind == 2 and value and depth < 12:
                with contextlib.suppress(ValueError):
                    value = parse_message(value, depth + 1)
        fields.append([number, kind, value])
    return fields


def _read_varint(content: bytes, place: int) -> tuple[int, int]:
    value = 0
    for number in range(10):
        if place >= len(content):
            break
        value |= (content[place] & 127) << 7 * number
        place += 1
        if content[place - 1] < 128:
            return value, place
    raise ValueError("cut")


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def print_message(fields: list[list[Any]]) -> bytes:
    found = []
    for number, kind, value in fields:
        content = print_message(value) if isinstance(value, list) else value
        body = _varint(content) if kind == 0 else (_varint(len(content)) if kind == 2 else b"") + content
        found.append(_varint(number << 3 | kind) + body)
    return b"".join(found)


def _messages(fields: list[list[Any]]) -> list[list[list[Any]]]:
    return [fields, *(found for field in fields if isinstance(field[2], list) for found in _messages(field[2]))]


def change_message(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Fields of a message and of those in it: their values, numbers and order."""
    root = parse_message(content)
    try:
        other = parse_message(random_.choice(others))
    except ValueError:
        other = root
    for _ in range(random_.choice((1, 1, 2, 3, 8))):
        fields = random_.choice([each for each in _messages(root) if each] or [[[1, 0, 0]]])
        place = random_.randrange(len(fields))
        number, kind, value = fields[place]
        change = random_.randrange(7)
        if change == 0:
            del fields[place]
        elif change == 1:
            fields[place:place] = [copy_tree(fields[place])] * random_.choice((1, 1, 20))
        elif change == 2:
            fields[place][0] = random_.choice((number + 1, max(1, number - 1), random_.randrange(1, 30)))
        elif change == 3:
            source = random_.choice([each for each in _messages(random_.choice((root, other))) if each] or [fields])
            fields[place][1:] = copy_tree(random_.choice(source))[1:]
        elif kind == 0:
            fields[place][2] = random_.choice(
                (0, 1, 2, 7, 16, 127, value + 1, value - 1, 2**31, 2**32, 2**63, 2**64 - 1)
            )
        elif isinstance(value, bytes):
            changed = mutate(random_, value, [b"x", b"", b"Relu", b"Conv"])
            fields[place][2] = changed if kind == 2 else changed[: len(value)].ljust(len(value), b"\0")
        else:
            random_.shuffle(value)
    return print_message(root)
