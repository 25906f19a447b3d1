"""The subset of JSONPath that Batch Transform's filters are written in: ``$``, ``.name``, ``['a', 'b']``, ``[0]``, ``[0, -1]``,
``[1:]`` and ``*``.

A path is parsed once. Of a CSV row, which is one array, it becomes ranges of columns. Beyond the service, which takes a
single range, several may be mixed with indices: ``$[0, 5:]``. An index that is out of range is an error; so is a range that
selects nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, Union

from ..errors import ConfigError, InputError, quote

# Columns [start, stop) of a row.
Ranges = list[tuple[int, int]]


class Slice(NamedTuple):
    """``[start:stop]``; None where it was left out."""

    start: int | None
    stop: int | None


class Every(NamedTuple):
    """``*``: all that is there."""


Selector = Union[int, str, Slice, Every]


class Segment(NamedTuple):
    """One step of a path: what it selects, and whether that is one value, not a list of values."""

    selectors: tuple[Selector, ...]

    @property
    def is_single(self) -> bool:
        return len(self.selectors) == 1 and isinstance(self.selectors[0], (int, str))


# Blanks are those of the standard: int() does not pass over all that Unicode has.
_TOKEN = re.compile(
    r"B*(?:(?P<slice>(?:-?[0-9]+)?B*:B*(?:-?[0-9]+)?)|(?P<index>-?[0-9]+)|(?P<star>\*)|'(?P<single>(?:[^'\\]|\\.)*)'"
    r'|"(?P<double>(?:[^"\\]|\\.)*)")B*'.replace("B", r"[ \t\r\n]")
)
_NAME = re.compile(r"\.(?:(\*)|([^\W\d][\w-]*))")


class Path:
    """A parsed path.

    Args:
        text: as it was written.
        inclusive: whether ``[a:b]`` includes b.
        spelled: how messages name it.

    Attributes:
        segments: its steps.

    Raises:
        ConfigError: ``bad_path``.
    """

    def __init__(self, text: str, *, inclusive: bool = False, spelled: str = "the filter") -> None:
        self.text = text
        self.segments: list[Segment] = []
        self._inclusive = inclusive
        self._spelled = spelled
        if not text.startswith("$"):
            raise self._bad(0, "expected $")
        position = 1
        while position < len(text):
            if text[position] == ".":
                match = _NAME.match(text, position)
                if match is None:
                    raise self._bad(position, "expected a name or * behind the point")
                self.segments.append(Segment((Every() if match[1] else match[2],)))
                position = match.end()
            elif text[position] == "[":
                position = self._parse_brackets(position + 1)
            else:
                raise self._bad(position, "expected . or [")

    @property
    def is_all(self) -> bool:
        """Whether it is ``$``."""
        return not self.segments

    def columns(self, count: int, names: list[str] | None = None) -> Ranges:
        """The columns that it selects of a row, in its order; neighbours are one range.

        Args:
            count: how many there are.
            names: of the columns, by the header.

        Raises:
            InputError: ``bad_filter`` where a column does not exist.
        """
        if self.is_all:
            return [(0, count)]
        if len(self.segments) > 1:
            raise InputError(f"{self._spelled} {quote(self.text)}: a CSV row is one array", code="bad_filter")
        found: Ranges = []
        for selector in self.segments[0].selectors:
            start, stop = self._column_range(selector, count, names)
            if found and found[-1][1] == start:
                found[-1] = (found[-1][0], stop)
            else:
                found.append((start, stop))
        return found

    def select(self, value: Any) -> Any:
        """What it selects of a JSON value: one value, or a list where it may select several.

        Raises:
            InputError: ``bad_filter`` where there is no such part.
        """
        values, is_single = [value], True
        for segment in self.segments:
            values = [part for each in values for selector in segment.selectors for part in self._parts(each, selector)]
            is_single = is_single and segment.is_single
        return values[0] if is_single else values

    def _column_range(self, selector: Selector, count: int, names: list[str] | None) -> tuple[int, int]:
        if isinstance(selector, str):
            if names is None or selector not in names:
                have = "there is no header" if names is None else f"the header has {quote(','.join(names))}"
                raise self._missing(f"no column {quote(selector)}; {have}")
            if names.count(selector) > 1:
                raise self._missing(f"two columns are named {quote(selector)}")
            index = names.index(selector)
            return index, index + 1
        if isinstance(selector, int):
            index = selector + count if selector < 0 else selector
            if not 0 <= index < count:
                raise self._missing(f"no column {selector}; the row has {count:,}")
            return index, index + 1
        start, stop = (0, count) if isinstance(selector, Every) else self._bounds(selector, count)
        if start >= stop:
            raise self._missing(f"selects no column of {count:,}")
        return start, stop

    def _bounds(self, each: Slice, count: int) -> tuple[int, int]:
        stop = each.stop
        if stop is not None and self._inclusive:
            stop = None if stop == -1 else stop + 1
        start, stop, _ = slice(each.start, stop).indices(count)
        return start, stop

    def _parts(self, value: Any, selector: Selector) -> list[Any]:
        if isinstance(selector, str):
            if not isinstance(value, dict) or selector not in value:
                raise self._missing(f"no key {quote(selector)}")
            return [value[selector]]
        if isinstance(selector, Every):
            if not isinstance(value, (dict, list)):
                raise self._missing("* selects parts of an object or a list")
            return list(value.values()) if isinstance(value, dict) else value
        if not isinstance(value, list):
            raise self._missing("an index selects an element of a list")
        if isinstance(selector, int):
            if not -len(value) <= selector < len(value):
                raise self._missing(f"no element {selector}; the list has {len(value):,}")
            return [value[selector]]
        start, stop = self._bounds(selector, len(value))
        return value[start:stop]

    def _parse_brackets(self, position: int) -> int:
        """Adds the step whose brackets begin before `position`; returns the position behind them."""
        selectors: list[Selector] = []
        while True:
            match = _TOKEN.match(self.text, position)
            if match is None:
                raise self._bad(position, "expected an index, a:b, * or a name in quotes")
            try:
                selectors.append(_selector(match))
            except json.JSONDecodeError:
                raise self._bad(position, "an escape that JSON does not have, in the name") from None
            except ValueError:  # int() takes 4,300 digits
                raise self._bad(position, "too many digits") from None
            position = match.end()
            end = self.text[position : position + 1]
            if end not in (",", "]") or not end:
                raise self._bad(position, "expected , or ]")
            position += 1
            if end == "]":
                break
        self.segments.append(Segment(tuple(selectors)))
        return position

    def _bad(self, position: int, message: str) -> ConfigError:
        return ConfigError(
            f"{self._spelled} {quote(self.text)}: {message} at character {position + 1}", code="bad_path"
        )

    def _missing(self, message: str) -> InputError:
        return InputError(f"{self._spelled} {quote(self.text)}: {message}", code="bad_filter")


def _selector(match: re.Match[str]) -> Selector:
    if match["slice"] is not None:
        start, stop = (int(part) if part.strip() else None for part in match["slice"].split(":"))
        return Slice(start, stop)
    if match["index"] is not None:
        return int(match["index"])
    if match["star"]:
        return Every()
    text = match["single"] if match["single"] is not None else match["double"]
    # A name may have the escapes of JSON (RFC 9535, 2.3.1), and either quote bare or behind a backslash.
    quoted = re.sub(r"\\(.)|\"", lambda part: "'" if part[1] == "'" else part[0] if part[1] else '\\"', text)
    name: str = json.loads(f'"{quoted}"', strict=False)
    return name
