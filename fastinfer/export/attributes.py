"""The attributes of an operator, all of them: what the graph says, and for the rest MXNet's own defaults.

The graph's JSON leaves out an attribute that has its default, so a converter that has defaults of its own is silently wrong
where they differ. Here every default is what the registry of the MXNet at hand says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import quote

_TRUE, _FALSE = {"True", "true", "1"}, {"False", "false", "0"}
_NUMBER = r"[-+]?[0-9]+(?:L\b)?"


class Attributes:
    """Typed access to the attributes of one operator.

    Every getter raises ValueError for text that does not have the type, and KeyError for an attribute that the operator does
    not have; no getter has a default.
    """

    def __init__(self, written: Mapping[str, str], defaults: Mapping[str, str]) -> None:
        self._texts = {**defaults, **{name: text for name, text in written.items() if not name.startswith("__")}}

    def text(self, name: str) -> str:
        return self._texts[name].strip()

    def is_none(self, name: str) -> bool:
        """Whether it is None, which is also what stands for an attribute without default that was left out."""
        return self._texts.get(name, "None").strip() == "None"

    def flag(self, name: str) -> bool:
        text = self.text(name)
        if text not in _TRUE | _FALSE:
            raise self._wrong(name, "True or False")
        return text in _TRUE

    def integer(self, name: str) -> int:
        if not re.fullmatch(_NUMBER, self.text(name)):
            raise self._wrong(name, "a whole number")
        return int(self.text(name).rstrip("L"))

    def number(self, name: str) -> float:
        try:
            return float(self.text(name))
        except ValueError:
            raise self._wrong(name, "a number") from None

    def numbers(self, name: str) -> tuple[float, ...]:
        """Numbers: ``(0.1, 0.2)``, ``[0.1,0.2]`` or ``0.1``."""
        inner = self.text(name).strip("()[]")
        try:
            return tuple(float(part) for part in inner.split(",") if part.strip())
        except ValueError:
            raise self._wrong(name, "numbers") from None

    def sizes(self, name: str) -> tuple[int, ...]:
        """Whole numbers: ``(3, 3)``, ``[3,3]`` or ``3``; () for None."""
        found = self.optional_sizes(name)
        if None in found:
            raise self._wrong(name, "whole numbers")
        return tuple(size for size in found if size is not None)

    def optional_sizes(self, name: str) -> tuple[int | None, ...]:
        """Whole numbers, of which each may be None."""
        text = self.text(name)
        if text == "None":
            return ()
        inner = re.fullmatch(r"\(([^()\[\]]*)\)|\[([^()\[\]]*)\]|([^()\[\],]+)", text)
        if inner is None:
            raise self._wrong(name, "whole numbers")
        parts = [part.strip() for part in "".join(filter(None, inner.groups())).split(",")]
        if parts[-1] == "":  # `(3,)` and `()`
            parts.pop()
        if not all(part == "None" or re.fullmatch(_NUMBER, part) for part in parts):
            raise self._wrong(name, "whole numbers")
        return tuple(None if part == "None" else int(part.rstrip("L")) for part in parts)

    def _wrong(self, name: str, expected: str) -> ValueError:
        return ValueError(f"its {name} is {quote(self._texts[name])}, expected {expected}")


def default_of(description: str) -> str | None:
    """The default in MXNet's description of an attribute, ``int, optional, default='1'``; None where it is required."""
    match = re.search(r"default=(.*)$", description)
    return match[1].strip().strip("'") if match else None
