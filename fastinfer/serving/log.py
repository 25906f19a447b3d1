"""What the server prints on stderr. Nothing here can raise: a full disk or a closed stderr ends no thread and no request."""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    import asyncio

# What the system answers when there is no descriptor or memory left for a connection.
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# asyncio tries again each second, and says so each time.
REPEAT_S = 60.0


class StderrHandler(logging.Handler):
    """Prints on what is stderr at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None:  # print() would take stdout instead
            return
        with contextlib.suppress(Exception):
            print(self.format(record), file=sys.stderr, flush=True)


def make_logger(name: str) -> logging.Logger:
    """A logger that leaves out malformed HTTP requests: their senders get a reply, and the operator can do nothing."""
    logger = logging.getLogger(name)
    if not logger.handlers:
        handler = StderrHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handler.addFilter(is_no_malformed_request)
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def is_no_malformed_request(record: logging.LogRecord) -> bool:
    """Whether a log record is not about a malformed HTTP request."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def report(text: str, error: BaseException | None = None) -> None:
    """Tells the operator, with the traceback of an error. Never raises."""
    # Also what formatting a strange error raises.
    with contextlib.suppress(Exception):
        exc_info = None if error is None else (type(error), error, error.__traceback__)
        make_logger("fastinfer.serve").error(text, exc_info=exc_info)


class LoopErrors:
    """The event loop's handler of errors that no one else handles."""

    def __init__(self) -> None:
        self._quiet_until = -1.0

    def __call__(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in NO_ROOM):
            report(str(context.get("message", "an error in the event loop")), error)
        elif time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + REPEAT_S
            report(f"connections cannot be accepted: {error.strerror}. This is reported at most once a minute")
