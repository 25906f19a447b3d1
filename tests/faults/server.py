"""A process that has imported MXNet and carries out runs, so that a run costs milliseconds, not an import.

Start it with the library of faults.c in ``LD_PRELOAD``; :class:`tests.faults.harness.Server` does. It gets runs and returns
outcomes, pickled, over the descriptor that is its argument.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Callable, NamedTuple

from fastinfer.engine.request import TransformRequest
from fastinfer.engine.summary import Summary
from fastinfer.errors import ConfigError
from fastinfer.options import Limits, Options
from tests.runs import transform

# Actions of faults.c.
NONE, KILL_BEFORE, KILL_AFTER, EIO_ONCE, ENOSPC_ONCE, ENOSPC_FROM, SHORT, HALF, CALL_BACK = range(9)

# A run takes some hundredths of a second; a child that has not ended by then hangs.
PATIENCE_S = 60


@dataclass(frozen=True)
class Run:
    """One run, and what goes wrong in it.

    Attributes:
        model, source, output: as for the engine.
        options: as for the engine.
        limits: as for the engine.
        settings: constants of modules that the run has other values of, by "module:NAME".
        action: of faults.c.
        at: which call is struck; 0: none, they are counted.
        below: calls below this folder count; None: below the output's.
        call_back: for CALL_BACK; gets the number of the call.
        refuses_labels: whether the file system has no extended attributes.
        clock_s: how far the time of day is shifted.
        request: as for the engine.
        ahead: what was changed before this moment (in nanoseconds) seems to have been changed so many seconds later.
    """

    model: Path
    source: Path
    output: Path
    options: Options
    limits: Limits
    settings: dict[str, Any] = field(default_factory=dict)
    action: int = NONE
    at: int = 0
    below: Path | None = None
    call_back: Callable[[int], None] | None = None
    refuses_labels: bool = False
    clock_s: int = 0
    ahead: tuple[int, int] = (0, 0)
    request: TransformRequest = field(default_factory=TransformRequest)


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        status: what os.waitpid() says of its process.
        summary: of a run that was finished.
        error: what it raised.
        trace: its traceback.
        calls: how many calls were counted; 0 if it was killed.
        struck: the name and path of the call that was struck; empty if none was.
    """

    status: int
    summary: Summary | None
    error: Exception | None
    trace: str
    calls: int
    struck: str

    @property
    def is_killed(self) -> bool:
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL

    @property
    def is_other_run(self) -> bool:
        """Whether it was refused because the results there are another run's."""
        return isinstance(self.error, ConfigError) and self.error.code == "other_run"


class Library:
    """The functions of faults.c in this process."""

    def __init__(self) -> None:
        self._functions = ctypes.CDLL(None)
        self._functions.fault_count.restype = ctypes.c_long
        self._call_back: Any = None  # kept alive while C may call it

    def arm(self, folder: Path, at: int, action: int, call_back: Callable[[int], None] | None = None) -> None:
        if call_back is not None:
            self._call_back = ctypes.CFUNCTYPE(None, ctypes.c_long)(call_back)
            self._functions.fault_call_back(self._call_back)
        self._functions.fault_arm(os.fsencode(folder), ctypes.c_long(at), action)

    def disarm(self) -> None:
        self._functions.fault_disarm()

    def count(self) -> int:
        return int(self._functions.fault_count())

    def report_to(self, file: int) -> None:
        self._functions.fault_report(file)

    def refuse_labels(self, refuses: bool) -> None:
        self._functions.fault_refuse_labels(int(refuses))

    def shift_clock(self, seconds: int) -> None:
        self._functions.fault_clock(ctypes.c_long(seconds))

    def set_back(self, moment_ns: int, seconds: int) -> None:
        self._functions.fault_set_back(ctypes.c_long(moment_ns), ctypes.c_long(seconds))


def now_ns(folder: Path) -> int:
    """The time of a folder's file system."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_ctime_ns


def carry_out(run: Run) -> Outcome:
    """Carries out a run: in a child where something may happen to the process, else in this one, as a program would go on."""
    struck = os.memfd_create("struck")
    try:
        with _constants(run.settings):
            in_child = run.action in (KILL_BEFORE, KILL_AFTER, CALL_BACK)
            outcome = _fork(run, struck) if in_child else _transform(run, struck)
        return outcome._replace(struck=os.pread(struck, 1 << 16, 0).decode(errors="replace").strip())
    finally:
        os.close(struck)


def _fork(run: Run, struck: int) -> Outcome:
    results, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(results)
            with Connection(told, readable=False) as connection:
                connection.send(_transform(run, struck))
        finally:
            os._exit(0)
    os.close(told)
    outcome = Outcome(0, None, None, "", 0, "")
    with Connection(results, writable=False) as connection, contextlib.suppress(EOFError):
        if connection.poll(PATIENCE_S):
            outcome = connection.recv()
        else:
            os.kill(child, signal.SIGABRT)
    _, status = os.waitpid(child, 0)
    return outcome._replace(status=status)


@contextlib.contextmanager
def _constants(settings: dict[str, Any]) -> Iterator[None]:
    """Gives constants of modules, by "module:NAME", other values."""
    with contextlib.ExitStack() as stack:
        for name, value in settings.items():
            module, _, constant = name.partition(":")
            stack.callback(setattr, sys.modules[module], constant, getattr(sys.modules[module], constant))
            setattr(sys.modules[module], constant, value)
        yield


def _transform(run: Run, struck: int) -> Outcome:
    library = Library()
    library.report_to(struck)
    library.refuse_labels(run.refuses_labels)
    library.shift_clock(run.clock_s)
    library.set_back(*run.ahead)
    summary: Summary | None = None
    failure: Exception | None = None
    trace = ""
    library.arm(run.below or run.output, run.at, run.action, run.call_back)
    try:
        summary = transform(run.model, run.source, run.output, run.options, limits=run.limits, request=run.request)
    except Exception as error:
        failure, trace = error, traceback.format_exc()
        failure.__cause__ = failure.__context__ = None
    library.disarm()
    return Outcome(0, summary, failure, trace, library.count(), "")


def serve(connection: Connection, first: Run) -> None:
    """Carries out runs until the other end is closed.

    Args:
        connection: brings them.
        first: is carried out in this process, so that no child imports, or compiles, what it did. MXNet's engine does not keep
            children from doing the same: it has no threads of its own (``NaiveEngine``).
    """
    transform(first.model, first.source, first.output, first.options, limits=first.limits)
    gc.collect()
    gc.freeze()  # objects that are not touched stay shared with the children
    with contextlib.suppress(EOFError):
        while True:
            connection.send(carry_out(connection.recv()))
