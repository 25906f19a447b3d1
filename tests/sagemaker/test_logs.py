"""Readers of a job's log give each line once, when it is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from fastinfer.errors import ServiceError
from fastinfer.sagemaker.logs import CloudWatchLogs, FileLogs


def test_a_file_gives_complete_lines_once(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path / "log.txt")
    assert list(logs.lines()) == []
    with open(tmp_path / "log.txt", "ab", buffering=0) as file:
        file.write(b"one\ntw")
        assert list(logs.lines()) == ["one"]
        file.write(b"o\n\xff\n")
        assert list(logs.lines()) == ["two", "\N{REPLACEMENT CHARACTER}"]
    assert list(logs.lines()) == []


class Client:
    """CloudWatch with some streams; a token is the number of events that were given."""

    def __init__(self, streams: dict[str, list[str]], error: str | None = None) -> None:
        self.streams = streams
        self.error = error

    def get_paginator(self, operation: str) -> Client:
        assert operation == "describe_log_streams"
        return self

    def paginate(self, *, logGroupName: str, logStreamNamePrefix: str) -> list[dict[str, Any]]:
        assert (logGroupName, logStreamNamePrefix) == ("group", "job/")
        if self.error:
            raise botocore.exceptions.ClientError({"Error": {"Code": self.error, "Message": "x"}}, "Call")
        return [{"logStreams": [{"logStreamName": name}]} for name in self.streams]

    def get_log_events(self, *, logStreamName: str, nextToken: str = "0", **_: Any) -> dict[str, Any]:
        events = self.streams[logStreamName][int(nextToken) :][:1]
        return {"events": [{"message": text} for text in events], "nextForwardToken": str(int(nextToken) + len(events))}


def test_cloudwatch_gives_each_line_once_with_its_host_where_there_are_several() -> None:
    client = Client({"job/algo-1-123": ["a", "b"]})
    logs = CloudWatchLogs(client, "group", "job")
    assert list(logs.lines()) == ["a", "b"]
    client.streams["job/algo-1-123"].append("c")
    client.streams["job/algo-2-123"] = ["d"]
    assert list(logs.lines()) == ["algo-1 | c", "algo-2 | d"]


def test_a_log_that_does_not_exist_yet_is_empty_and_other_errors_are_raised() -> None:
    assert list(CloudWatchLogs(Client({}, "ResourceNotFoundException"), "group", "job").lines()) == []
    with pytest.raises(ServiceError, match="reading the logs of job"):
        list(CloudWatchLogs(Client({}, "AccessDenied"), "group", "job").lines())
