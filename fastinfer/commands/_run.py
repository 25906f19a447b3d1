"""What every fastinfer command shares: how an error becomes a line on stderr and an exit code.

A command is a function of its arguments that prints its data on stdout, raises a
:class:`~fastinfer.errors.FastinferError` for what it refuses, and returns an exit code or None. :func:`run_command`
calls it and turns errors into exit codes:

=====  ==========================================================================
0      done
1-6    the ``exit_code`` of the error's class: 1 the input data is wrong, 2 an option is wrong (also what argparse
       refuses) or the machine lacks something, 3 the model cannot be used, 4 a result cannot be written, 5 a worker
       process died twice on the same inputs, 6 AWS or another service refused a call or could not be reached
70     any other exception: a defect of fastinfer, in one line; ``FASTINFER_TRACEBACK=1`` shows the traceback
130    interrupted (Ctrl-C)
141    the reader of stdout has gone away (as a shell reports SIGPIPE)
=====  ==========================================================================

The library's hints name arguments of the Python API. A command that has options for them passes a function that gives the
hint in terms of its options; :func:`as_option` spells the names of :class:`~fastinfer.options.Options` as they are typed.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import errno
import gc
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, NoReturn, Optional, TextIO

from ..errors import ConfigError, FastinferError, OutputError
from ..options import RUNTIMES, path_of

EXIT_OK = 0
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
PACKAGE = str(Path(__file__).parent.parent) + os.sep
# What may leave objects in cycles that must be told of the end: a model's own code, which this module imports; and MXNet's
# package, for which the servers of a training by several hosts wait.
CLOSING = {f"{__name__.partition('.')[0]}.handlers.user_module", "mxnet"}
# Its threads, and with them the process, would end only when a server has answered.
REQUESTS = f"{__name__.partition('.')[0]}.storage.crew"
# What the system answers when the disk is full.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

TRACEBACK_VARIABLE = "FASTINFER_TRACEBACK"

Command = Callable[[Optional[Sequence[str]]], Optional[int]]
Hint = Callable[[FastinferError], Optional[str]]


def run_command(command: Command, argv: Sequence[str] | None = None, *, hint: Hint | None = None) -> int:
    """Runs a command and returns its exit code; an error is printed as one ``error: …`` line on stderr, a warning as one
    ``warning: …`` line.

    Args:
        command: takes the arguments (None: those of the process) and returns an exit code, None meaning 0.
        argv: the arguments to hand to it; None: this process was started for them.
        hint: gives the hint to print instead of an error's own, None to keep that.

    Raises:
        SystemExit: by argparse itself, for ``--help`` (0) and for what it refuses (2).
    """
    if argv is None:
        atexit.register(_end_soon)
    for standard in (0, 1, 2):
        # If one is closed, the next file opened would get its number, and messages would be written into that file.
        try:
            os.fstat(standard)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            code = command(argv)
        # What is still buffered must fail here, not in the interpreter's shutdown.
        if sys.stdout is not None:
            sys.stdout.flush()
    except FastinferError as error:
        own_words = hint(error) if hint is not None else None
        say(f"error: {error if own_words is None else error.at(hint=own_words)}")
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        if argv is None and REQUESTS in sys.modules:
            _end_now(EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            return _report_defect(error)
        # print() names no file, so stdout is what is full.
        _drop_stdout()
        say(f"error: standard output cannot be written: {error.strerror}")
        return OutputError.exit_code
    except Exception as error:
        return _report_defect(error)
    return EXIT_OK if code is None else code


def _end_soon() -> None:
    """Lets the process end without a search for cycles among all its objects, a tenth of a short run: the system frees them at
    once. What closes something at the end is found as ever."""
    if not CLOSING & sys.modules.keys():
        gc.freeze()


def _end_now(code: int) -> NoReturn:
    """Ends the process without waiting for threads."""
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()
    os._exit(code)


@contextlib.contextmanager
def stdout_for_data(alone: bool) -> Iterator[None]:
    """While it lasts, what a model's own code prints on stdout goes to stderr; also what its C code and its children print.

    Args:
        alone: whether the command's own data is to be alone on stdout; else nothing is done.
    """
    if not alone:
        yield
        return
    _flush_stdout()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _flush_stdout()
        os.dup2(kept, 1)
        os.close(kept)
        # What the code has left for the end of the process comes behind the data: functions registered later run first.
        atexit.register(os.dup2, 2, 1)


def _flush_stdout() -> None:
    """Writes what Python and C hold back for stdout. A reader that has gone away is found when the data is printed."""
    import ctypes  # late: only where data is printed

    for stream in (sys.stdout, sys.__stdout__):
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()
    ctypes.CDLL(None).fflush(None)


def help_formatter(prog: str) -> argparse.HelpFormatter:
    """What prints a parser's help: as wide as the terminal, with description and epilog as they are written.

    argparse makes one for each argument that is added, and would import shutil with all its compressions for the width.
    """
    return argparse.RawDescriptionHelpFormatter(prog, width=_terminal_columns() - 2)


def _terminal_columns() -> int:
    with contextlib.suppress(KeyError, ValueError):
        if (columns := int(os.environ["COLUMNS"])) > 0:
            return columns
    with contextlib.suppress(AttributeError, ValueError, OSError):  # stdout is closed, or is no terminal
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    return 80


def count_or_auto(text: str) -> int | None:
    """An option's type: ``auto``, which is None, or a number of at least 1."""
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected auto or a number of at least 1, found {text!r}")
    return int(text)


def path(text: str) -> str:
    """An argument's type: a path, which an unset variable of the shell is not."""
    try:
        return path_of(text, "it")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def as_option(name: str, *values: str) -> str:
    """An option, and values of it, as they are typed: ``--backend dask or ray``."""
    return " ".join([f"--{name.replace('_', '-')}", " or ".join(values)]).rstrip()


def whole_number(text: str) -> int:
    """An option's type: digits."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number, found {text!r}")
    return int(text)


def positive_number(text: str) -> int:
    """An option's type: a number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, found {text!r}")
    return int(text)


def add_computing_options(parser: argparse.ArgumentParser, *, workers: str) -> None:
    """The options of every command that runs a model: how rows are computed, and where.

    Args:
        parser: of the command.
        workers: what the command calls a worker, for the help text.
    """
    parser.add_argument(
        "--exact", action="store_true", help="exactly the container's bytes: every row computed as at batch size 1"
    )
    parser.add_argument(
        "--batch-size",
        type=count_or_auto,
        metavar="auto|N",
        help="rows per forward pass (default auto: a size at which a row's bytes depend only on that row)",
    )
    parser.add_argument("--workers", type=count_or_auto, metavar="auto|N", help=workers)
    parser.add_argument(
        "--runtime",
        choices=["auto", *RUNTIMES],
        default="auto",
        help="what computes: mxnet, or onnx (ONNX Runtime) for a model.onnx (default auto: by the model)",
    )
    parser.add_argument("--device", default="cpu", metavar="cpu|gpu|gpu:0,1", help="where the model runs (default cpu)")


def runtime_of_argument(arguments: argparse.Namespace) -> str | None:
    """The runtime that was typed, as :class:`~fastinfer.options.Options` has it."""
    return None if arguments.runtime == "auto" else str(arguments.runtime)


def _say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001  (the signature is the one of the standard library)
    line: str | None = None,
) -> None:
    """Prints a warning; the place in the source only where it is not fastinfer's own, but that of a user's code."""
    ours = filename.startswith(PACKAGE)
    say(f"warning: {message}" if ours else warnings.formatwarning(message, category, filename, lineno, line).rstrip())


def _report_defect(error: Exception) -> int:
    """Prints an exception that fastinfer did not raise on purpose as one line, with its traceback on request."""
    import traceback

    if os.environ.get(TRACEBACK_VARIABLE, "") not in ("", "0"):
        say("".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip())
    what = " ".join(traceback.format_exception_only(type(error), error)[-1].split())
    say(
        f"error: internal error, a defect of fastinfer: {what}. Hint: {TRACEBACK_VARIABLE}=1 shows the traceback to report"
    )
    return EXIT_DEFECT


def _drop_stdout() -> None:
    """Discards what is still buffered for stdout, so that the interpreter's last flush does not fail."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def say(text: str) -> None:
    """Prints a message on stderr, if there is one."""
    if sys.stderr is None:
        return
    # stderr may be closed as well; the exit code still reports the result.
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
