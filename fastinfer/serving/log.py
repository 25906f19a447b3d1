"""The server's log."""

from __future__ import annotations

import logging
import sys


def make_logger(name: str) -> logging.Logger:
    """A logger that prints on stderr, but not what senders do wrong in HTTP: they are told, and it is no one else's."""
    logger = logging.getLogger(name)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handler.addFilter(_is_no_bad_request)
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def _is_no_bad_request(record: logging.LogRecord) -> bool:
    from aiohttp.http_exceptions import HttpProcessingError

    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
