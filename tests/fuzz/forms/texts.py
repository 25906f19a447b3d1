"""Texts: JSON documents, alone, in lines and in journals, and filters."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from fastinfer.storage import journal
from tests.fuzz.forms.base import change_some, or_bytes
from tests.fuzz.mutations import mutate


# A document is a tree. Its tokens are kept as they are written, numbers too, and all pairs of an object, also of equal names.
class Token(str):
    """A number or a word as it stands in the text."""


class Pairs(list[Any]):
    """The names and values of an object: lists of two."""


TOKENS = tuple(
    map(
        Token,
        (
            *("0", "-0", "1", "-1", "2", "1.0", "1e0", "0.5", "1e400", "-1e400", "NaN", "-Infinity", "9" * 400),
            *("2147483647", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808"),
            *("null", "true", "false", '""', "[]", "{}", "[[]]", "[" * 200 + "]" * 200, '"\\u0000"', '"\\ud800"'),
            *('"\\ud83d\\ude00"', '"a/../b"', '"/"', '"."', '" "', '"\\n"', '"' + "x" * 300 + '"'),
        ),
    )
)


def parse_json(text: bytes) -> Any:
    """The tree of a document. Raises ValueError, also for one that is too deep."""
    try:
        return json.loads(
            text.decode("utf-8"),
            object_pairs_hook=lambda pairs: Pairs(map(list, pairs)),
            parse_int=Token,
            parse_float=Token,
            parse_constant=Token,
        )
    except RecursionError as error:
        raise ValueError("too deep") from error


def print_json(tree: Any) -> bytes:
    """A document of a tree, without line ends."""
    return _print(tree).encode("utf-8", "surrogatepass")


def _print(tree: Any) -> str:
    if isinstance(tree, Token):
        return str(tree)
    if isinstance(tree, Pairs):
        return "{" + ", ".join(f"{json.dumps(name)}: {_print(value)}" for name, value in tree) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(_print, tree)) + "]"
    return json.dumps(tree)


def _slots(tree: Any) -> list[tuple[list[Any], int]]:
    """The list and the index of each value below a tree, those of an object's values among them."""
    found = []
    for index, value in enumerate(tree):
        holder, place = (value, 1) if isinstance(tree, Pairs) else (tree, index)
        found.append((holder, place))
        if isinstance(holder[place], list):
            found += _slots(holder[place])
    return found


def _lists(tree: Any) -> list[list[Any]]:
    """All arrays and objects of a tree."""
    inner = [value[1] if isinstance(tree, Pairs) else value for value in tree]
    return [tree, *(found for value in inner if isinstance(value, list) for found in _lists(value))]


def copy_tree(tree: Any) -> Any:
    """Its lists are copied, and those in them."""
    return type(tree)(map(copy_tree, tree)) if isinstance(tree, list) else tree


def change_tree(random_: random.Random, tree: Any, other: Any) -> Any:
    """A changed copy of a tree; values may come from another."""
    root = [copy_tree(tree)]
    for _ in range(random_.choice((1, 1, 1, 2, 3, 8))):
        holder, place = random_.choice(_slots(root))
        kind = random_.randrange(8)
        if kind == 0:
            holder[place] = random_.choice(TOKENS)
        elif kind in (1, 2):
            source, index = random_.choice(_slots([other] if random_.random() < 0.3 else root))
            holder[place] = copy_tree(source[index])
        elif kind == 3:
            holder[place] = _change_leaf(random_, holder[place])
        elif kind == 4:
            holder[place] = random_.choice(([holder[place]], Pairs([["a", holder[place]]])))
        else:
            _change_list(random_, random_.choice(_lists(root)[1:] or [root]))
        if len(root) != 1:
            root = root[:1] or [Token("null")]
    return root[0]


def _change_leaf(random_: random.Random, value: Any) -> Any:
    if isinstance(value, Token):
        if re.fullmatch("-?[0-9]{1,19}", value):
            number = int(value)
            return Token(random_.choice((number + 1, number - 1, -number, 2 * number, 10 * number)))
        return Token(value + random_.choice(("0", "e1", ".0")))
    if isinstance(value, str):
        changed = mutate(random_, value.encode("utf-8", "surrogatepass"), [b"(1, 2)", b"(0, -1)", b"None", b"../"])
        return changed.decode(random_.choice(("utf-8", "latin-1")), "replace")
    return copy_tree(value)


def _change_list(random_: random.Random, values: list[Any]) -> None:
    """Takes away, repeats, exchanges or renames what an array or an object has."""
    if not values:
        values.append(["a", Token("1")] if isinstance(values, Pairs) else Token("1"))
        return
    place, other = random_.randrange(len(values)), random_.randrange(len(values))
    kind = random_.randrange(4)
    if kind == 0:
        del values[place]
    elif kind == 1:
        values[other:other] = [copy_tree(values[place]) for _ in range(random_.choice((1, 1, 2, 20)))]
    elif kind == 2 or not isinstance(values, Pairs):
        values[place], values[other] = values[other], values[place]
    else:
        values[place][0] = random_.choice((values[other][0], _change_leaf(random_, values[place][0])))


def change_json(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """One document."""
    tree = parse_json(content)
    try:
        other = parse_json(random_.choice(others))
    except ValueError:
        other = tree
    return print_json(change_tree(random_, tree, other))


def change_json_lines(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """A document in each line; lines without one are changed as bytes."""
    lines = content.split(b"\n")
    change_some(random_, lines, lambda line: or_bytes(change_json, random_, line, others))
    return b"\n".join(lines)


def change_journal(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Entries of a journal, each behind its length."""
    entries = _entries(content)
    if not entries:
        raise ValueError("no entry")
    other = _entries(random_.choice(others))
    change_some(random_, entries, lambda entry: or_bytes(change_json, random_, entry, other))
    return b"".join(journal.frame(entry.replace(b"\n", b" ")) for entry in entries)


def _entries(content: bytes) -> list[bytes]:
    return list(journal.entries_of(content.splitlines(keepends=True)))


# Rows of CSV: their cells, and what is between them.
_WORDS = (
    b"",
    b" ",
    b"nan",
    b"-NaN",
    b"inf",
    b"+Infinity",
    b"infinit",
    b"0x10",
    b"1_0",
    b"1e",
    b".",
    b"-",
    b"1.e5",
    b".5",
    b"1 2",
)
_ENDS = (b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\n \t\n", b"\r\r\n")


def change_rows(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    rows = [line.split(b",") for line in re.split(rb"\r\n|\r|\n", random_.choice((content, content, *others)))]
    for _ in range(random_.choice((1, 1, 2, 3, 8))):
        row = random_.choice(rows)
        place, kind = random_.randrange(len(row)), random_.randrange(8)
        if kind == 0:
            row[place] = random_.choice(_WORDS)
        elif kind == 1:
            rows.insert(random_.randrange(len(rows)), list(row))
        elif kind == 2:
            row[place] = mutate(random_, row[place], [b"1.5", b"1e-5", b" "])
        else:
            row[place] = _number(random_)
    end = random_.choice(_ENDS)
    return end.join(map(b",".join, rows)) + random_.choice((b"", end))


def _number(random_: random.Random) -> bytes:
    """A number in one of the ways to write one."""
    digits = b"%d" % random_.randrange(10 ** random_.choice((1, 2, 3, 7, 8, 9, 17, 19, 20, 40)))
    digits = b"0" * random_.choice((0, 0, 0, 1, 30)) + digits + b"0" * random_.choice((0, 0, 0, 1, 30))
    if random_.random() < 0.6:
        place = random_.randrange(len(digits) + 1)
        digits = digits[:place] + b"." + digits[place:]
    if random_.random() < 0.4:
        sign = random_.choice((b"", b"+", b"-", b"-"))
        digits += (
            random_.choice((b"e", b"E"))
            + sign
            + b"%d" % random_.choice((0, 1, 5, 22, 23, 37, 38, 45, 46, 308, 325, 10**6))
        )
    blank = random_.choice((b"", b"", b"", b" ", b"\t", b"  "))
    return random_.choice((b"", b"", b"-", b"+")) + digits + blank if random_.random() < 0.9 else blank + digits


# Filters, a tab between them, and the rows or the document behind them.
def change_filters(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    first, _, rest = content.partition(b"\n")
    names = re.findall(rb'"(\w+)"', rest) or [b"a"]
    filters = first.split(b"\t")
    if random_.random() < 0.2:
        filters = [filters[0], filters[1] if filters[1:] else b"$", random_.choice((b"#", b"%", b"!"))]
    place = random_.randrange(min(2, len(filters)))
    if random_.random() < 0.3:
        other = random_.choice(others).partition(b"\n")[2]
        rest = or_bytes(change_json if rest[:1] in (b"{", b"[") else mutate, random_, rest, [rest, other])
    else:
        filters[place] = b"$" + b"".join(_segment(random_, names) for _ in range(random_.choice((0, 1, 1, 2, 3, 5))))
    return b"\t".join(filters) + b"\n" + rest


def _segment(random_: random.Random, names: list[bytes]) -> bytes:
    """A step of a path: a name, a wildcard, or brackets with some."""
    name = random_.choice(names)
    if random_.random() < 0.3:
        return random_.choice((b".", b".", b"..", b" .", b". ")) + random_.choice(
            (name, name, b"*", b"0", b"a-b", b"\xc3\xa4")
        )
    blank = random_.choice((b"", b"", b"", b" ", b"\t"))
    selectors = [_selector(random_, name) for _ in range(random_.choice((1, 1, 1, 2, 3)))]
    return b"[" + blank + (blank + b"," + blank).join(selectors) + blank + b"]"


def _selector(random_: random.Random, name: bytes) -> bytes:
    number = random_.choice((b"0", b"1", b"2", b"3", b"-1", b"-2", b"-0", b"00", b"7", b"9999999999", b""))
    kind = random_.randrange(5)
    if kind == 0:
        return number or b"0"
    if kind == 1:
        return b"*"
    if kind == 2:
        quote = random_.choice((b"'", b'"'))
        return quote + name + random_.choice((b"", b"", b"\\n", b"\\u0041", b"\\'", b"'")) + quote
    end = random_.choice((b"", b"1", b"2", b"-1", b"5"))
    return number + b":" + end + random_.choice((b"", b"", b":", b":1", b":2", b":-1", b":0"))
