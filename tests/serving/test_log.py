"""What the server logs."""

from __future__ import annotations

import logging

import pytest
from aiohttp.http_exceptions import BadStatusLine

from fastinfer.serving.log import make_logger


def test_malformed_requests_are_left_out_and_everything_else_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    name = "fastinfer.tests.log"
    logging.getLogger(name).handlers.clear()
    logger = make_logger(name)
    assert make_logger(name) is logger
    assert len(logger.handlers) == 1
    for error in (BadStatusLine("nonsense"), ValueError("a defect")):
        try:
            raise error
        except Exception:
            logger.exception("handling a request")
    logger.info("GET /ping")
    said = capsys.readouterr().err
    assert "nonsense" not in said
    assert said.count("a defect") == 1
    assert said.endswith("GET /ping\n")
