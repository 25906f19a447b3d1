"""What every fastinfer command shares: how an error becomes a line on stderr and an exit code.

A command is a function of its arguments that prints its data on stdout, raises a
:class:`~fastinfer.errors.FastinferError` for what it refuses, and returns an exit code or None. :func:`run_command`
calls it and is the only place that knows codes:

=====  ==========================================================================
0      done
1      the data to be read is wrong (:class:`~fastinfer.errors.InputError`)
2      an option or the machine is (:class:`~fastinfer.errors.ConfigError`, and what argparse refuses)
3      the model is (:class:`~fastinfer.errors.ModelError`)
4      a result cannot be written (:class:`~fastinfer.errors.OutputError`)
5      a worker process died twice on the same inputs (:class:`~fastinfer.errors.WorkerDied`)
130    interrupted (Ctrl-C)
141    whoever reads stdout has gone (as a shell reports SIGPIPE)
=====  ==========================================================================

Any other exception is a defect of fastinfer and keeps its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import Callable, Optional

from ..errors import FastinferError, OutputError

EXIT_OK = 0
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
# What the system answers when there is no room.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Command = Callable[[Optional[Sequence[str]]], Optional[int]]


def run_command(command: Command, argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code; an error is printed as one ``error: …`` line on stderr.

    Args:
        command: takes the arguments (None: those of the process) and returns an exit code, None meaning 0.
        argv: the arguments to hand to it.

    Raises:
        SystemExit: by argparse itself, for ``--help`` (0) and for what it refuses (2).
    """
    for standard in (0, 1, 2):
        # Where one is closed, the next file opened would take its number, and words would be written into it.
        try:
            os.fstat(standard)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    try:
        code = command(argv)
        # What is still buffered must fail here, not in the interpreter's shutdown.
        if sys.stdout is not None:
            sys.stdout.flush()
    except FastinferError as error:
        say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        # print() names no file: it is stdout that cannot take more.
        _drop_stdout()
        say(f"error: standard output cannot be written: {error.strerror}")
        return OutputError.exit_code
    return EXIT_OK if code is None else code


def count_or_auto(text: str) -> int | None:
    """An option's type: ``auto``, which is None, or a number of at least 1."""
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected auto or a number of at least 1, found {text!r}")
    return int(text)


def whole_number(text: str) -> int:
    """An option's type: digits."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number, found {text!r}")
    return int(text)


def _drop_stdout() -> None:
    """Sends what is still buffered for stdout nowhere, so that the interpreter's last flush has nothing to say."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def say(text: str) -> None:
    """Prints words for people: on stderr, where that is there."""
    if sys.stderr is None:
        return
    # stderr may be gone as well; the exit code still tells.
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
