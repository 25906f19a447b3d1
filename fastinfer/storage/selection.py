"""Which objects of a folder or a prefix are meant: all but hidden ones, or those that patterns name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Callable, Optional

from ..errors import InputError, quote
from .base import Object

# Names that begin so are of tools, not data: `.ipynb_checkpoints`, `._a.csv`, `_SUCCESS`, `_run.json`.
HIDDEN = (".", "_")

# A part of a key that a path does not keep.
_NO_NAME = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|\0")

# Called with the key of each object that is passed over, and why.
OnPassedOver = Optional[Callable[[str, str], None]]


def is_hidden(key: str) -> bool:
    """Whether the last part of a key is hidden."""
    return key.startswith(HIDDEN, key.rfind("/") + 1)


def matches(key: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns fits the whole key, or its last part. ``*`` also stands for a ``/``."""
    name = key.rpartition("/")[2]
    return any(fnmatchcase(key, pattern) or fnmatchcase(name, pattern) for pattern in patterns)


@dataclass
class Selection:
    """Chooses among keys, and counts what it passes over.

    Attributes:
        include: patterns, one of which a key must fit; empty: all keys.
        exclude: patterns, none of which a key may fit.
        apart: a folder, by its key, that is not entered: that of the results, if it is below the source.
        suffix: of names that are results; empty: there are none among the objects.
        is_results: whether a folder, by its key, holds the results of a run.
        on_passed_over: called with the key of each object, or folder, that is passed over, and why.
        passed_over: how many objects were passed over; a folder is not entered, and counts as one.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    apart: str | None = None
    suffix: str = ""
    is_results: Callable[[str], bool] | None = None
    on_passed_over: OnPassedOver = None
    passed_over: int = field(default=0, init=False)

    def select(self, key: str) -> bool:
        """Whether an object of a folder is meant, by the last part of its key and the patterns."""
        if key.startswith(HIDDEN, key.rfind("/") + 1):
            return self.pass_over(key, "hidden")
        if self.suffix and key.endswith(self.suffix):
            return self.pass_over(key, "a result")
        return not (self.include or self.exclude) or self.select_listed(key)

    def select_matched(self, key: str) -> bool:
        """Whether an object that a glob matches is meant: no part of its key may be hidden."""
        if any(map(is_hidden, key.split("/"))):
            return self.pass_over(key, "hidden")
        return self.select_listed(key)

    def select_listed(self, key: str) -> bool:
        """Whether an object that was named itself is meant, by the patterns."""
        if self.include and not matches(key, self.include):
            return self.pass_over(key, "not included")
        return not matches(key, self.exclude) or self.pass_over(key, "excluded")

    def enter(self, key: str) -> bool:
        """Whether a folder may hold objects that are meant."""
        if key == self.apart:
            return False  # the run's own results are no input, and nobody misses them
        if self.is_results is not None and self.is_results(key):
            return self.pass_over(f"{key}/", "results of a run")
        return not is_hidden(key) or self.pass_over(f"{key}/", "hidden")

    def pass_over(self, key: str, reason: str) -> bool:
        """Counts an object, or a folder, that is not meant; False."""
        self.passed_over += 1
        if self.on_passed_over is not None:
            self.on_passed_over(key, reason)
        return False


def with_checked_name(item: Object) -> Object:
    """The same object, with a problem if its result would have no name of its own where folders are.

    Keys of S3 may be ``a//b``, ``a/../b`` or ``/a``; as paths they would name the result of another object.
    """
    if item.problem is None and _NO_NAME.search(item.key):
        message = f"the key {quote(item.key)} cannot be the name of a file of its own"
        return item._replace(problem=InputError(message, code="unsafe_key", path=item.uri))
    return item
