"""The two kinds of jobs, and readers of a job's log: from CloudWatch, or from the file of a local job."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import ServiceError
from ..storage.aws import translating_errors


@dataclass(frozen=True)
class JobKind:
    """The API's names for one kind of job."""

    word: str
    log_group: str
    describe: str
    stop: str
    name: str
    status: str


TRAINING = JobKind(
    "training job",
    "/aws/sagemaker/TrainingJobs",
    "describe_training_job",
    "stop_training_job",
    "TrainingJobName",
    "TrainingJobStatus",
)
TRANSFORM = JobKind(
    "transform job",
    "/aws/sagemaker/TransformJobs",
    "describe_transform_job",
    "stop_transform_job",
    "TransformJobName",
    "TransformJobStatus",
)


class Logs(Protocol):
    """The logs of one job."""

    def lines(self) -> Iterator[str]:
        """The lines that were added since the last call."""
        ...


class CloudWatchLogs:
    """Logs in CloudWatch: one stream per host."""

    def __init__(self, client: Any, group: str, job: str) -> None:
        self._client = client
        self._group = group
        self._job = job
        self._tokens: dict[str, str] = {}

    def lines(self) -> Iterator[str]:
        streams = self._streams()
        for stream in streams:
            # With several hosts each line begins with its host, as in SageMaker's console.
            host = stream.partition("/")[2].split("/")[0].rsplit("-", 1)[0]
            for text in self._events(stream):
                yield f"{host} | {text}" if len(streams) > 1 else text

    def _streams(self) -> list[str]:
        names: list[str] = []
        try:
            with translating_errors(f"reading the logs of {self._job}"):
                pages = self._client.get_paginator("describe_log_streams").paginate(
                    logGroupName=self._group, logStreamNamePrefix=f"{self._job}/"
                )
                for page in pages:
                    names += [stream["logStreamName"] for stream in page.get("logStreams", ())]
        except ServiceError as error:
            # The log group does not exist before the first line is logged.
            if error.code != "aws_missing":
                raise
        return sorted(names)

    def _events(self, stream: str) -> Iterator[str]:
        while True:
            token = self._tokens.get(stream)
            more = {} if token is None else {"nextToken": token}
            with translating_errors(f"reading the logs of {self._job}"):
                answer = self._client.get_log_events(
                    logGroupName=self._group, logStreamName=stream, startFromHead=True, **more
                )
            for event in answer["events"]:
                yield str(event["message"])
            self._tokens[stream] = str(answer["nextForwardToken"])
            # The same token again: there is nothing more yet.
            if not answer["events"] or answer["nextForwardToken"] == token:
                return


class FileLogs:
    """The log file of a local job."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def lines(self) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError), open(self._path, "rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                yield line.decode("utf-8", "replace").rstrip("\n")
