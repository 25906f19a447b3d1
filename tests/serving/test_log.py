"""What the server logs."""

from __future__ import annotations

import asyncio
import errno
import io
import logging

import pytest
from aiohttp.http_exceptions import BadStatusLine

from fastinfer.serving.log import LoopErrors, make_logger, report


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


class Broken(io.StringIO):
    """A stderr on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemError("no text")


@pytest.mark.parametrize("stderr", ["full", "closed", "none"])
def test_nothing_that_is_told_can_raise(
    stderr: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", {"full": Broken(), "closed": closed, "none": None}[stderr])
    report("it failed", ValueError("a defect"))
    report("it failed", Unprintable())
    make_logger("fastinfer.access").info("GET /ping")
    assert capsys.readouterr().out == ""


def test_what_is_told_has_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("a defect")
    except ValueError as error:
        report("it failed", error)
    said = capsys.readouterr().err
    assert "it failed\nTraceback" in said
    assert said.endswith("ValueError: a defect\n")


def test_that_no_connection_can_be_accepted_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.new_event_loop()
    try:
        errors = LoopErrors()
        for _ in range(5):
            errors(
                loop, {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many files")}
            )
        errors(loop, {"message": "something else", "exception": ValueError("a defect")})
        errors(loop, {"message": "no exception"})
    finally:
        loop.close()
    said = capsys.readouterr().err
    assert said.count("connections cannot be accepted: Too many files") == 1
    assert "something else\nTraceback" in said or "something else\nValueError: a defect" in said
    assert "no exception" in said
