"""``instance_type="local"``: the same requests, carried out on this machine by processes of their own.

A job is a folder: ``request.json`` says what is asked, ``status.json`` what has become of it, ``log.txt`` what it printed; the
process that carries it out (__main__.py) outlives whoever waits for it, so that a wait can be taken
up again by the job's name, as with AWS.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...storage.atomic import make_folder, replacing
from ...storage.aws import ServiceError
from ..logs import TRAINING, TRANSFORM, JobKind
from ..session import Session, local_root
from .job_folder import LOG, PROCESS, REQUEST, job_folder, read_status, start_time, write_status

# What a request may say that has no meaning here, and what would change the result if it were passed over.
REFUSED_OF_TRAINING = (
    "CheckpointConfig",
    "EnableManagedSpotTraining",
    # Promises about where data can go, which nobody keeps here.
    "EnableNetworkIsolation",
    "VpcConfig",
)
REFUSED_OF_TRANSFORM = ("DataProcessing", "ModelClientConfig")


class LocalClient:
    """What of boto3's SageMaker client the adapter calls, with the same arguments and answers."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create_training_job(self, **request: Any) -> dict[str, Any]:
        _refuse([name for name in REFUSED_OF_TRAINING if request.get(name)], "the training")
        _check_one_machine(request["ResourceConfig"])
        for channel in request.get("InputDataConfig") or ():
            source = channel["DataSource"]["S3DataSource"]
            odd = {
                "S3DataType": source["S3DataType"] != "S3Prefix",
                "CompressionType": channel.get("CompressionType", "None") != "None",
                "RecordWrapperType": channel.get("RecordWrapperType", "None") != "None",
                "InputMode": channel.get("InputMode", "File") != "File",
            }
            _refuse([name for name, is_odd in odd.items() if is_odd], f"the channel {channel['ChannelName']}")
        self._start(TRAINING, request["TrainingJobName"], request)
        return {}

    def create_model(self, **request: Any) -> dict[str, Any]:
        _refuse([name for name in ("EnableNetworkIsolation", "VpcConfig") if request.get(name)], "the model")
        folder = local_root() / "models"
        make_folder(folder)
        with replacing(folder / f"{request['ModelName']}.json") as temporary:
            temporary.write_text(json.dumps(request), encoding="utf-8")
        return {}

    def describe_model(self, *, ModelName: str) -> dict[str, Any]:
        try:
            return dict(json.loads((local_root() / "models" / f"{ModelName}.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise _missing(f"there is no local model {ModelName}") from None

    def create_transform_job(self, **request: Any) -> dict[str, Any]:
        _check_one_machine(request["TransformResources"])
        transform_input = request["TransformInput"]
        odd = {
            **{name: bool(request.get(name)) for name in REFUSED_OF_TRANSFORM},
            "S3DataType": transform_input["DataSource"]["S3DataSource"]["S3DataType"] != "S3Prefix",
            "CompressionType": transform_input.get("CompressionType", "None") != "None",
            "SplitType": transform_input.get("SplitType", "None") not in ("None", "Line"),
        }
        _refuse([name for name, is_odd in odd.items() if is_odd], "the transform")
        model = self.describe_model(ModelName=request["ModelName"])
        self._start(TRANSFORM, request["TransformJobName"], {**request, "Model": model})
        return {}

    def describe_training_job(self, *, TrainingJobName: str) -> dict[str, Any]:
        return self._describe(TRAINING, TrainingJobName)

    def describe_transform_job(self, *, TransformJobName: str) -> dict[str, Any]:
        return self._describe(TRANSFORM, TransformJobName)

    def stop_training_job(self, *, TrainingJobName: str) -> dict[str, Any]:
        return self._stop(TRAINING, TrainingJobName)

    def stop_transform_job(self, *, TransformJobName: str) -> dict[str, Any]:
        return self._stop(TRANSFORM, TransformJobName)

    def _start(self, kind: JobKind, name: str, request: dict[str, Any]) -> None:
        folder = job_folder(kind, name)
        try:
            make_folder(folder.parent)
            folder.mkdir()
        except FileExistsError:
            raise ConfigError(f"there is a local {kind.word} {name} already", code="aws_refused") from None
        (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")
        write_status(folder, status="InProgress", secondary="Starting")
        with open(folder / LOG, "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "fastinfer.sagemaker.local", kind.word.split()[0], str(folder)],
                env=self._session.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for whoever waits.
                start_new_session=True,
            )
        (folder / PROCESS).write_text(f"{process.pid} {start_time(process.pid)}")
        self._children.append(process)

    # Held so that ended ones are reaped.
    _children: list[subprocess.Popen[bytes]] = []  # noqa: RUF012

    def _describe(self, kind: JobKind, name: str) -> dict[str, Any]:
        folder = job_folder(kind, name)
        try:
            request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
            facts = read_status(folder)
            if facts["status"] == "InProgress" and not self._runs(folder):
                # It may have ended between the two looks.
                facts = read_status(folder)
                if facts["status"] == "InProgress":
                    facts.update(status="Failed", secondary="Failed", reason="its process has ended without a word")
        except FileNotFoundError:
            raise _missing(f"there is no local {kind.word} {name}") from None
        answer = {
            **request,
            kind.status: facts["status"],
            "CreationTime": datetime.fromtimestamp(facts["created"], timezone.utc),
        }
        if kind is TRAINING:
            answer["SecondaryStatus"] = facts["secondary"]
        if facts.get("reason"):
            answer["FailureReason"] = facts["reason"]
        if facts.get("artifacts"):
            answer["ModelArtifacts"] = {"S3ModelArtifacts": facts["artifacts"]}
        return answer

    def _stop(self, kind: JobKind, name: str) -> dict[str, Any]:
        self._describe(kind, name)
        folder = job_folder(kind, name)
        if self._runs(folder):
            pid = int((folder / PROCESS).read_text().split()[0])
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            write_status(folder, status="Stopped", secondary="Stopped")
        return {}

    def _runs(self, folder: Path) -> bool:
        for process in self._children:
            process.poll()
        with contextlib.suppress(OSError, ValueError):
            pid, started = (folder / PROCESS).read_text().split()
            # A number may have been given anew since.
            return start_time(int(pid)) == started
        # Between the folder and the process's number: it is being started.
        return time.time() - folder.stat().st_mtime < 10


def _refuse(names: Sequence[str], whose: str) -> None:
    """Refuses what a request asks for and a local job does not do."""
    if names:
        raise ConfigError(
            f"instance_type='local' does not do {', '.join(names)} ({whose})",
            code="not_local",
            hint="leave it out, or run the job on AWS",
        )


def _check_one_machine(resources: Mapping[str, Any]) -> None:
    if resources["InstanceCount"] != 1:
        raise ConfigError("instance_type='local' is one machine: instance_count must be 1", code="bad_option")


def _missing(message: str) -> ServiceError:
    return ServiceError(message, code="aws_missing")
