"""The API's calls for local jobs: what is refused, and what a job's description says."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.sagemaker import JobFailed, MXNet, Session, Transformer, jobs
from fastinfer.sagemaker.local.client import LocalClient
from fastinfer.sagemaker.local.job_folder import JobFolder
from fastinfer.sagemaker.logs import TRAINING, TRANSFORM, JobKind
from tests.conftest import wait_until
from tests.sagemaker.conftest import ENTRY_POINT
from tests.sagemaker.local_jobs import make_model, run, write_script

pytestmark = pytest.mark.usefixtures("local_root")


def test_what_local_jobs_do_not_support_is_refused_by_name(source: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path)
    with pytest.raises(ConfigError, match="JoinSource Input requires SplitType Line and AssembleWith Line"):
        run(model, source, tmp_path / "out", join_source="Input")
    for options, word in (
        ({"instance_count": 2}, "instance_count must be 1"),
        ({"checkpoint_s3_uri": "s3://a/b"}, "does not support CheckpointConfig"),
        ({"enable_network_isolation": True}, "does not support EnableNetworkIsolation"),
        ({"subnets": ["s"], "security_group_ids": ["g"]}, "does not support VpcConfig"),
        ({"use_spot_instances": True}, "does not support EnableManagedSpotTraining"),
    ):
        with pytest.raises(ConfigError, match=word):
            MXNet(str(ENTRY_POINT), instance_type="local", **options).fit({"train": str(source)})
    with pytest.raises(ConfigError, match="instance_count must be 1"):
        Transformer(model, 2, "local").transform(str(source))
    with pytest.raises(ConfigError, match="only instance_type='local' accepts local paths"):
        Transformer(model, 1, "ml.m4.xlarge", output_path="s3://a/b").transform(str(source))


def test_a_killed_or_stopped_job_has_ended(tmp_path: Path, local_root: Path) -> None:
    begun = tmp_path / "begun"
    text = f"import time; open({str(begun)!r}, 'w').close(); time.sleep(1000)"
    estimator = MXNet(write_script(tmp_path, text), instance_type="local")
    for name, end in (("killed", "job_failed"), ("stopped", "job_stopped")):
        estimator.fit(wait=False, job_name=name)
        if end == "job_stopped":
            jobs.stop(estimator.sagemaker_session, TRAINING, name)
        else:
            wait_until(begun.exists)
            pid = int((local_root / "training-jobs" / name / "process").read_text().split()[0])
            os.killpg(pid, signal.SIGKILL)
        with pytest.raises(JobFailed) as caught:
            estimator.wait()
        assert caught.value.code == end
        if end == "job_failed":
            assert "the job's process exited without reporting a status" in str(caught.value)
    with pytest.raises(ServiceError, match="already"):
        estimator.fit(job_name="killed")


# The calls themselves; no process is started


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[JobKind, str]]:
    """The jobs that would have been started, each with a variable of its environment; they run until a test ends them."""
    started: list[tuple[JobKind, str]] = []

    def start(_: JobFolder, kind: JobKind, environment: dict[str, str]) -> None:
        started.append((kind, environment["WHO"]))

    monkeypatch.setattr(JobFolder, "start", start)
    monkeypatch.setattr(JobFolder, "is_running", lambda _: True)
    monkeypatch.setenv("WHO", "the session's")
    return started


@pytest.fixture
def client(started: list[tuple[JobKind, str]]) -> LocalClient:
    del started
    return LocalClient(Session())


def training(name: str = "job", **more: Any) -> dict[str, Any]:
    return {"TrainingJobName": name, "ResourceConfig": {"InstanceCount": 1, "InstanceType": "local"}, **more}


def channel(**more: Any) -> dict[str, Any]:
    source = {"S3DataType": more.pop("S3DataType", "S3Prefix"), "S3Uri": "/in"}
    return {"ChannelName": "train", "DataSource": {"S3DataSource": source}, **more}


MODEL = {"ModelName": "m", "PrimaryContainer": {"Image": "local/mxnet-inference", "ModelDataUrl": "/m.tar.gz"}}


def transform(**more: Any) -> dict[str, Any]:
    return {
        "TransformJobName": "job",
        "ModelName": "m",
        "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "/in"}}},
        "TransformOutput": {"S3OutputPath": "/out"},
        "TransformResources": {"InstanceCount": 1, "InstanceType": "local"},
        **more,
    }


def test_a_job_is_described_by_its_request_and_its_status(
    client: LocalClient, started: list[tuple[JobKind, str]]
) -> None:
    request = training(InputDataConfig=[channel(CompressionType="None", InputMode="File")])
    assert client.create_training_job(**request) == {}
    assert started == [(TRAINING, "the session's")]
    described = client.describe_training_job(TrainingJobName="job")
    created = described.pop("CreationTime")
    assert created.utcoffset() == timedelta(0)
    assert described == {**request, "TrainingJobStatus": "InProgress", "SecondaryStatus": "Starting"}
    folder = JobFolder.of(TRAINING, "job")
    folder.write_status("Completed", "Completed", artifacts="/model.tar.gz")
    described = client.describe_training_job(TrainingJobName="job")
    assert described["TrainingJobStatus"] == "Completed"
    assert described["ModelArtifacts"] == {"S3ModelArtifacts": "/model.tar.gz"}
    assert described["CreationTime"] == created
    folder.write_status("Failed", "Failed", reason="no luck")
    assert client.describe_training_job(TrainingJobName="job")["FailureReason"] == "no luck"


def test_a_transform_keeps_the_model_as_it_was_when_it_was_started(
    client: LocalClient, started: list[tuple[JobKind, str]]
) -> None:
    client.create_model(**MODEL)
    assert client.describe_model(ModelName="m") == MODEL
    client.create_transform_job(**transform())
    assert started == [(TRANSFORM, "the session's")]
    other = {**MODEL, "PrimaryContainer": {"Image": "other"}}
    client.create_model(**other)
    assert client.describe_model(ModelName="m") == other
    described = client.describe_transform_job(TransformJobName="job")
    assert (described["Model"], described["TransformJobStatus"]) == (MODEL, "InProgress")
    assert "SecondaryStatus" not in described


def test_a_job_whose_process_has_ended_without_a_word_has_failed(
    client: LocalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create_training_job(**training())
    monkeypatch.setattr(JobFolder, "is_running", lambda _: False)
    described = client.describe_training_job(TrainingJobName="job")
    assert (described["TrainingJobStatus"], described["SecondaryStatus"]) == ("Failed", "Failed")
    assert described["FailureReason"] == "the job's process exited without reporting a status"


def test_a_job_that_ends_while_it_is_looked_at_has_its_own_status(
    client: LocalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create_training_job(**training())

    def ends(folder: JobFolder) -> bool:
        folder.write_status("Completed", "Completed")
        return False

    monkeypatch.setattr(JobFolder, "is_running", ends)
    assert client.describe_training_job(TrainingJobName="job")["TrainingJobStatus"] == "Completed"


def test_what_is_not_there_is_missing_as_on_aws(client: LocalClient, started: list[tuple[JobKind, str]]) -> None:
    for call, name, message in (
        (client.describe_training_job, "TrainingJobName", "there is no local training job nothing"),
        (client.stop_training_job, "TrainingJobName", "there is no local training job nothing"),
        (client.describe_transform_job, "TransformJobName", "there is no local transform job nothing"),
        (client.stop_transform_job, "TransformJobName", "there is no local transform job nothing"),
        (client.describe_model, "ModelName", "there is no local model nothing"),
    ):
        with pytest.raises(ServiceError) as caught:
            call(**{name: "nothing"})
        assert (caught.value.code, str(caught.value)) == ("aws_missing", message)
    with pytest.raises(ServiceError, match="there is no local model m"):
        client.create_transform_job(**transform())
    assert started == []


def test_a_name_is_used_once_for_each_kind(client: LocalClient, started: list[tuple[JobKind, str]]) -> None:
    client.create_model(**MODEL)
    client.create_training_job(**training())
    client.create_transform_job(**transform())
    with pytest.raises(ServiceError, match="there is already a local training job job") as caught:
        client.create_training_job(**training(Other=1))
    assert caught.value.code == "aws_refused"
    assert "Other" not in client.describe_training_job(TrainingJobName="job")
    assert [kind for kind, _ in started] == [TRAINING, TRANSFORM]


@pytest.mark.parametrize(
    "more",
    [
        {"S3DataType": "ManifestFile"},
        {"CompressionType": "Gzip"},
        {"RecordWrapperType": "RecordIO"},
        {"InputMode": "Pipe"},
    ],
)
def test_what_a_channel_cannot_be_is_refused_by_its_name_and_the_channels(
    more: dict[str, str], client: LocalClient
) -> None:
    with pytest.raises(ConfigError) as caught:
        client.create_training_job(**training(InputDataConfig=[channel(), channel(**more)]))
    (field,) = more
    assert (caught.value.code, caught.value.message) == (
        "not_local",
        f"instance_type='local' does not support {field} (the channel train)",
    )
    assert not JobFolder.of(TRAINING, "job").path.exists()


def test_mpi_is_refused_on_this_machine_where_it_is_on(client: LocalClient) -> None:
    with pytest.raises(ConfigError, match="does not support MPI") as caught:
        client.create_training_job(**training(HyperParameters={"sagemaker_mpi_enabled": "true"}))
    assert caught.value.code == "not_local"
    assert not JobFolder.of(TRAINING, "job").path.exists()
    client.create_training_job(**training(HyperParameters={"sagemaker_mpi_enabled": "false"}))


def test_models_that_could_not_be_kept_apart_from_the_network_are_refused(client: LocalClient) -> None:
    for field, value in (("EnableNetworkIsolation", True), ("VpcConfig", {"Subnets": ["s"]})):
        with pytest.raises(ConfigError, match=rf"does not support {field} \(the model\)"):
            client.create_model(**MODEL, **{field: value})
    client.create_model(**MODEL, EnableNetworkIsolation=False)


def test_stopping_kills_a_job_that_runs_and_leaves_the_status_of_one_that_ended(
    client: LocalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[str] = []
    monkeypatch.setattr(JobFolder, "kill", lambda folder: killed.append(folder.path.name))
    for name in ("one", "two"):
        client.create_training_job(**training(name))
    assert client.stop_training_job(TrainingJobName="one") == {}
    assert client.describe_training_job(TrainingJobName="one")["TrainingJobStatus"] == "Stopped"
    JobFolder.of(TRAINING, "two").write_status("Completed", "Completed")
    monkeypatch.setattr(JobFolder, "is_running", lambda _: False)
    client.stop_training_job(TrainingJobName="two")
    assert client.describe_training_job(TrainingJobName="two")["TrainingJobStatus"] == "Completed"
    assert killed == ["one"]
