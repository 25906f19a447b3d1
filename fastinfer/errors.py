"""The errors that fastinfer raises: one base, one class for each thing that can be at fault.

A message reads in one order: the place, what is wrong, what was found, what to do. The same facts stand as attributes, so
that a program need not read the sentence.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T", bound="FastinferError")

# How much of a user's data a message quotes.
FOUND_LIMIT = 60


class FastinferError(Exception):
    """Base of all errors that fastinfer raises on purpose.

    Args:
        message: what is wrong and what was found, without the place.
        code: a stable word for the kind of error, for programs.
        path: the file (or other name of the input) it is in.
        line: 1-based line in that file; a line ends at LF, CRLF or a lone CR.
        column: 1-based byte in that line.
        hint: what to do about it.
    """

    code = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        path: str | None = None,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
        found: str | None = None,
    ) -> None:
        self.found = found
        self.message = message
        self.code = code or type(self).code
        self.path = path
        self.line = line
        self.column = column
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.path, self.line, self.column) if part is not None)
        text = f"{place}: {self.message}" if place else self.message
        return f"{text}. Hint: {self.hint}" if self.hint else text

    def at(self: T, *, path: str | None = None, line: int | None = None, hint: str | None = None) -> T:
        """The same error at another place: a new one, with what is given in the place of what this one says."""
        changed = {"path": path, "line": line, "hint": hint}
        error = _restore(type(self), self.message, self.__dict__.copy())
        error.__dict__.update({name: value for name, value in changed.items() if value is not None})
        return error

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; the default would call __init__ without the keywords.
        return (_restore, (type(self), self.message, self.__dict__.copy()))


class InputError(FastinferError, ValueError):
    """The data to be read is wrong: a bad cell, a wrong count of values, an unreadable file."""

    code = "bad_input"


class ModelError(FastinferError):
    """The model cannot be loaded or run."""

    code = "bad_model"


class OutputError(FastinferError, OSError):
    """A result cannot be written."""

    code = "cannot_write"

    # OSError's own __str__ and pickling would hide ours.
    __str__ = FastinferError.__str__
    __reduce__ = FastinferError.__reduce__


class ConfigError(FastinferError, ValueError):
    """An option, or the machine, does not allow what was asked for."""

    code = "bad_option"


class WorkerDied(FastinferError):
    """A worker process died on a shard, and died again when the shard was tried alone."""

    code = "worker_died"


def quote(found: bytes | str) -> str:
    """The found text as a message shows it: cut to 60 characters, unprintable bytes escaped."""
    text = found.decode("utf-8", "backslashreplace") if isinstance(found, bytes) else found
    if len(text) > FOUND_LIMIT:
        text = text[:FOUND_LIMIT] + "…"
    return repr(text)


def _restore(kind: type[T], message: str, state: dict[str, object]) -> T:
    error = kind(message)
    error.__dict__.update(state)
    return error
