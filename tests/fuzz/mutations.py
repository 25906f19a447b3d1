"""Seeded changes of bytes: what a damaged disk, a clumsy program or a stranger could do to a file."""

from __future__ import annotations

import random
import re

NUMBERS = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 784, 1024, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63)
TEXTS = (
    b"-1",
    b"-2147483649",
    b"1e400",
    b"NaN",
    b"null",
    b"true",
    b'""',
    b"[]",
    b"{}",
    b"[" * 200,
    b"9" * 400,
    b"\\u0000",
)
_TEXT_NUMBER = re.compile(rb"-?[0-9]+")


def mutate(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """A changed copy of `content`; parts may come from `others`."""
    changed = bytearray(content)
    for _ in range(random_.choice((1, 1, 1, 2, 3, 8))):
        place = random_.randrange(len(changed) + 1)
        size = random_.choice((1, 1, 2, 4, 8, 20, 100, 1000))
        kind = random_.randrange(10)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << random_.randrange(8)
        elif kind == 1 and place < len(changed):
            changed[place] = random_.choice((0, 1, 0x20, 0x7F, 0x80, 0xFF, random_.randrange(256)))
        elif kind == 2:  # a number, in the form that binary files have
            width = random_.choice((1, 2, 4, 8))
            number = random_.choice(NUMBERS) * random_.choice((1, 1, 1, -1))
            packed = (number % (1 << 8 * width)).to_bytes(width, "little" if random_.random() < 0.5 else "big")
            changed[place : place + width] = packed
        elif kind in (3, 4):  # a number or a word, where text has a number
            numbers = list(_TEXT_NUMBER.finditer(changed))
            if numbers:
                found = random_.choice(numbers)
                text = random_.choice((*TEXTS, *(b"%d" % number for number in NUMBERS)))
                changed[found.start() : found.end()] = text
        elif kind == 5:
            del changed[place : place + size]
        elif kind == 6:
            changed[place:place] = bytes(changed[place : place + size]) * random_.choice((1, 1, 2, 50))
        elif kind == 7:
            other = random_.choice(others)
            start = random_.randrange(len(other) + 1)
            changed[place : place + random_.choice((0, size))] = other[start : start + size]
        elif kind == 8:
            changed[place:place] = random_.choice(TEXTS)
        else:
            del changed[place:]
    return bytes(changed)
