"""``instance_type="local"``: the requests of SageMaker's API, carried out on this machine by processes of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ...errors import ConfigError, ServiceError
from ...storage.atomic import make_folder, replacing
from ..distribution import MPI_ENABLED
from ..job_file import read_request
from ..logs import TRAINING, TRANSFORM, JobKind
from ..session import Session, local_root
from .job_folder import JobFolder

# Fields of requests that local jobs do not support, and that would change the result if they were ignored.
UNSUPPORTED_IN_TRAINING = (
    "CheckpointConfig",
    "EnableManagedSpotTraining",
    # They restrict where data may go; nothing enforces that here.
    "EnableNetworkIsolation",
    "VpcConfig",
)


class LocalClient:
    """The calls of boto3's SageMaker client that fastinfer uses, with the same arguments and results.

    Args:
        session: gives the jobs' processes their credentials.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def create_training_job(self, **request: Any) -> dict[str, Any]:
        _refuse([name for name in UNSUPPORTED_IN_TRAINING if request.get(name)], "the training")
        _refuse_mpi(request.get("HyperParameters") or {})
        check_one_machine(request["ResourceConfig"]["InstanceCount"])
        for channel in request.get("InputDataConfig") or ():
            source = channel["DataSource"]["S3DataSource"]
            unsupported = {
                "S3DataType": source["S3DataType"] != "S3Prefix",
                "CompressionType": channel.get("CompressionType", "None") != "None",
                "RecordWrapperType": channel.get("RecordWrapperType", "None") != "None",
                "InputMode": channel.get("InputMode", "File") != "File",
            }
            _refuse([name for name, found in unsupported.items() if found], f"the channel {channel['ChannelName']}")
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
        check_one_machine(request["TransformResources"]["InstanceCount"])
        read_request(request)  # what it asks for is refused here, not in the job's process
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

    def _start(self, kind: JobKind, name: str, request: Mapping[str, Any]) -> None:
        folder = JobFolder.of(kind, name)
        try:
            folder.create(request)
        except FileExistsError:
            raise ServiceError(
                f"there is already a local {kind.word} {name}",
                code="aws_refused",
                hint=f"`fastinfer sagemaker status {name} --local` shows it; remove {folder.path} to use the name again",
            ) from None
        folder.start(kind, self._session.environment())

    def _describe(self, kind: JobKind, name: str) -> dict[str, Any]:
        folder = JobFolder.of(kind, name)
        try:
            request = folder.read_request()
            facts = folder.read_status()
            if facts["status"] == "InProgress" and not folder.is_running():
                # Read again: the process may have ended after the first reading.
                facts = folder.read_status()
                if facts["status"] == "InProgress":
                    reason = "the job's process exited without reporting a status"
                    facts.update(status="Failed", secondary="Failed", reason=reason)
        except FileNotFoundError:
            raise _missing(f"there is no local {kind.word} {name}") from None
        description = {
            **request,
            kind.status: facts["status"],
            "CreationTime": datetime.fromtimestamp(facts["created"], timezone.utc),
        }
        if kind is TRAINING:
            description["SecondaryStatus"] = facts["secondary"]
        if facts.get("reason"):
            description["FailureReason"] = facts["reason"]
        if facts.get("artifacts"):
            description["ModelArtifacts"] = {"S3ModelArtifacts": facts["artifacts"]}
        return description

    def _stop(self, kind: JobKind, name: str) -> dict[str, Any]:
        self._describe(kind, name)
        folder = JobFolder.of(kind, name)
        if folder.is_running():
            folder.kill()
            folder.write_status("Stopped", "Stopped")
        return {}


def _refuse(names: Sequence[str], where: str) -> None:
    """Raises ConfigError where a request uses fields that local jobs do not support."""
    if names:
        raise ConfigError(
            f"instance_type='local' does not support {', '.join(names)} ({where})",
            code="not_local",
            hint="leave it out, or run the job on AWS",
        )


def _refuse_mpi(hyperparameters: Mapping[str, str]) -> None:
    """Raises ConfigError where MPI is to start the script: one process would count itself as all, or wait for others."""
    if json.loads(hyperparameters.get(MPI_ENABLED, "false")):
        _refuse(["MPI"], "the training's distribution")


def check_one_machine(found: int) -> None:
    """Raises ConfigError where a local job or endpoint is to have several instances."""
    if found != 1:
        raise ConfigError(
            f"instance_type='local' is one machine: instance_count must be 1, found {found}", code="bad_option"
        )


def _missing(message: str) -> ServiceError:
    return ServiceError(message, code="aws_missing")
