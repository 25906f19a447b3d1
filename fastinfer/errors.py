"""The errors that fastinfer raises on purpose: one base class, one class for each kind of fault, and one registry of
their codes.

A message has a fixed order: the place, what is wrong, what was found, what to do. The same facts are attributes, so that
a program need not parse the text. A code is a stable word. Each is registered once, with the class that carries it, its
cause and its cure; an error with an unregistered code cannot be made. docs/errors.md is :func:`errors_page`.

Hints are written for the reader of any program: they name arguments of the Python API or use neutral words. The commands
replace them by hints that name their own options (``fastinfer.commands``).
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from . import error_codes

# How much of a user's data a message quotes.
FOUND_LIMIT = 60

Error = TypeVar("Error", bound="FastinferError")
Raised = TypeVar("Raised", bound=BaseException)


class _Unchanged:
    """The default of :meth:`FastinferError.at`'s arguments, because None has a meaning there."""


_UNCHANGED = _Unchanged()


class FastinferError(Exception):
    """Base of all errors that fastinfer raises on purpose.

    Args:
        message: what is wrong and what was found, without the place.
        code: a registered word for the kind of error, for programs; None: the class's own.
        path: the file (or other name of the input) it is in.
        line: 1-based line in that file; a line ends at LF, CRLF or a lone CR.
        column: 1-based byte in that line.
        hint: what to do about it.
        found: the text that was found instead of what was expected, not shortened as in the message.

    Attributes:
        exit_code: the exit code of a command that ends with such an error.

    Raises:
        ValueError: the code is not registered, or is registered for another class.
    """

    code = ""
    exit_code = 1

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
        self.message = message
        self.code = code or type(self).code
        self.path = path
        self.line = line
        self.column = column
        self.hint = hint
        self.found = found
        entry = REGISTRY.get(self.code)
        if entry is None or not isinstance(self, entry.error):
            registered = (
                f"is registered for {entry.error.__name__}" if entry else "is not registered in fastinfer.errors"
            )
            raise ValueError(f"the code {self.code!r} of this {type(self).__name__} {registered}")
        super().__init__(message)

    def at(
        self: Error,
        *,
        path: str | _Unchanged | None = _UNCHANGED,
        line: int | _Unchanged | None = _UNCHANGED,
        column: int | _Unchanged | None = _UNCHANGED,
        hint: str | _Unchanged | None = _UNCHANGED,
    ) -> Error:
        """A copy of this error with other places or another hint; None removes one. This error is not changed."""
        copy = _restore(type(self), self.message, self.__dict__.copy())
        for name, value in (("path", path), ("line", line), ("column", column), ("hint", hint)):
            if not isinstance(value, _Unchanged):
                setattr(copy, name, value)
        copy.__cause__, copy.__context__ = self.__cause__, self.__context__
        copy.__suppress_context__ = self.__suppress_context__
        return copy.with_traceback(self.__traceback__)

    def __str__(self) -> str:
        location = ":".join(str(part) for part in (self.path, self.line, self.column) if part is not None)
        text = f"{location}: {self.message}" if location else self.message
        return f"{text}. Hint: {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        # Errors are sent between processes; the default would call __init__ without the keywords.
        return (_restore, (type(self), self.message, self.__dict__.copy()))


class InputError(FastinferError, ValueError):
    """The input data is wrong: a bad cell, a wrong number of values, an unreadable file."""

    code = "bad_input"
    exit_code = 1


class ConfigError(FastinferError, ValueError):
    """An option is wrong, or the machine lacks what was asked for."""

    code = "bad_option"
    exit_code = 2


class ModelError(FastinferError):
    """The model cannot be loaded or run."""

    code = "bad_model"
    exit_code = 3


class OutputError(FastinferError, OSError):
    """A result cannot be written."""

    code = "cannot_write"
    exit_code = 4

    # OSError's own __str__ and pickling would hide ours.
    __str__ = FastinferError.__str__
    __reduce__ = FastinferError.__reduce__


class WorkerDied(FastinferError):
    """A worker process died on a shard, and died again when the shard was tried alone."""

    code = "worker_died"
    exit_code = 5


class ServiceError(FastinferError):
    """AWS or another service refused a call or could not be reached.

    Attributes:
        service_code: the service's own word, such as ``ValidationException``; empty where it did not answer.
    """

    code = "aws_refused"
    exit_code = 6
    service_code = ""

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self.code in ("aws_throttled", "aws_unreachable")


def quote(found: bytes | str) -> str:
    """The found text as a message shows it: cut to 60 characters, unprintable bytes escaped."""
    text = found.decode("utf-8", "surrogateescape") if isinstance(found, bytes) else found
    if len(text) > FOUND_LIMIT:
        text = text[:FOUND_LIMIT] + "…"
    if not isinstance(found, bytes) or text.isprintable():
        return repr(text)
    # What is no UTF-8 as other bytes that are not printed.
    escapes = (f"\\x{ord(each) & 255:02x}" if "\udc80" <= each <= "\udcff" else repr(each)[1:-1] for each in text)
    return f"'{''.join(escapes)}'"


def escape(found: str) -> str:
    """As :func:`quote`, without the quotation marks."""
    return quote(found)[1:-1]


def said(by: object) -> str:
    """The text of what a stranger's code has made, such as an exception of a hook: to print it may raise one itself."""
    try:
        return str(by)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"(no text: its __str__ raised {type(error).__name__})"


def counted(number: int, noun: str) -> str:
    """A number with its noun: 0 inputs, 1 input, 2,000 inputs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def without_frames(error: Raised) -> Raised:
    """An error, if it is one of these, without the frames in which it was raised; its causes stay.

    Frames hold what was worked with, as buffers and bound graphs, and often the error itself. Where an error is kept for
    another thread, a program that goes on would keep all that until its memory is searched for cycles.
    """
    left: list[BaseException | None] = [error if isinstance(error, FastinferError) else None]
    seen: set[int] = set()
    while left:
        each = left.pop()
        if each is not None and id(each) not in seen:  # causes may go in a circle
            seen.add(id(each))
            each.__traceback__ = None
            left += each.__cause__, each.__context__
    return error


class Entry(NamedTuple):
    """The registry's entry of a code.

    Attributes:
        code: the word.
        error: the class whose errors carry it, or the base of those classes.
        cause: what happened.
        cure: what to do about it.
    """

    code: str
    error: type[FastinferError]
    cause: str
    cure: str


REGISTRY: dict[str, Entry] = {}


def register(error: type[FastinferError], *entries: tuple[str, str, str]) -> None:
    """Adds codes of a class, each with its cause and cure.

    Raises:
        ValueError: a code is registered already.
    """
    for code, cause, cure in entries:
        if code in REGISTRY:
            raise ValueError(f"the code {code!r} is registered already")
        REGISTRY[code] = Entry(code, error, cause, cure)


def errors_page() -> str:
    """The text of docs/errors.md."""
    lines = [
        "# Errors",
        "",
        "Printed from the registry in `fastinfer/error_codes.py` by `make docs/errors.md`; a test compares the two.",
        "",
        "Every error that fastinfer raises on purpose is a `fastinfer.FastinferError`. A program reads its attributes: `code`",
        "(one of the stable words below), `message`, `path`, `line`, `column`, `found` (the text at fault) and `hint`. A",
        "command prints it as one line on stderr and ends with the exit code of its class. Any other exception is a defect of",
        "fastinfer: a command prints one line for it and ends with 70; `FASTINFER_TRACEBACK=1` shows the traceback.",
    ]
    for error in dict.fromkeys(entry.error for entry in REGISTRY.values()):
        about = (error.__doc__ or "").strip().splitlines()[0]
        if error is FastinferError:
            about = "Errors of jobs: classes of `fastinfer.sagemaker`, derived directly from the base."
        lines += ["", f"## {error.__name__}, exit code {error.exit_code}", "", about, ""]
        lines += ["| code | cause | what to do |", "| --- | --- | --- |"]
        entries = sorted(entry for entry in REGISTRY.values() if entry.error is error)
        lines += [f"| `{entry.code}` | {entry.cause} | {entry.cure} |" for entry in entries]
    return "\n".join(lines) + "\n"


def _restore(kind: type[Error], message: str, state: dict[str, object]) -> Error:
    error = kind(message, code=str(state["code"]))
    error.__dict__.update(state)
    return error


register(InputError, *error_codes.INPUT)
register(ConfigError, *error_codes.CONFIG)
register(ModelError, *error_codes.MODEL)
register(OutputError, *error_codes.OUTPUT)
register(WorkerDied, *error_codes.WORKER)
register(ServiceError, *error_codes.SERVICE)
register(FastinferError, *error_codes.JOB)
