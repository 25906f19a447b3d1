"""What changes a file within its form, and how parts of it are changed."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.fuzz.mutations import mutate

# Changes a file; `others` are files of the same form, from which parts may come. ValueError: the file does not have the form.
Change = Callable[[random.Random, bytes, list[bytes]], bytes]


def or_bytes(change: Change, random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Content changed within its form, or, where it does not have it, as bytes."""
    try:
        return change(random_, content, others or [content])
    except (ValueError, RecursionError):  # of a tree that is too deep
        return mutate(random_, content, others or [content])


def change_some(random_: random.Random, parts: list[bytes], change: Callable[[bytes], bytes]) -> None:
    """Changes a part, or takes one away, repeats or moves it."""
    for _ in range(random_.choice((1, 1, 2, 3))):
        if not parts:
            return
        place, other = random_.randrange(len(parts)), random_.randrange(len(parts))
        kind = random_.randrange(6)
        if kind == 0:
            del parts[place]
        elif kind == 1:
            parts[other:other] = parts[place : place + 1] * random_.choice((1, 1, 20))
        elif kind == 2:
            parts[place], parts[other] = parts[other], parts[place]
        else:
            parts[place] = change(parts[place])
