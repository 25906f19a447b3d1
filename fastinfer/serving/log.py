"""The server's loggers, which print on stderr."""

from __future__ import annotations

import logging
import sys

from aiohttp.http_exceptions import HttpProcessingError


def make_logger(name: str) -> logging.Logger:
    """A logger that leaves out malformed HTTP requests: their senders get a reply, and the operator can do nothing."""
    logger = logging.getLogger(name)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handler.addFilter(is_no_malformed_request)
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def is_no_malformed_request(record: logging.LogRecord) -> bool:
    """Whether a log record is not about a malformed HTTP request."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
