"""The notebook's cells against AWS over loopback, and on this machine: the same results, and failures in words."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from fastinfer.mnist.samples import write_samples
from fastinfer.sagemaker import JobFailed, LocalSession, MXNet, Session, Transformer, jobs
from fastinfer.sagemaker.logs import TRAINING
from fastinfer.sagemaker.s3 import S3Downloader
from tests.conftest import csv, wait_until
from tests.sagemaker.cloud import REGION, Cloud
from tests.sagemaker.conftest import ENTRY_POINT, ROOT, write_channel
from tests.sagemaker.training import parameter_server_port

LABELS = [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
# So many of MNIST's images make ten epochs take seconds, and nine of the ten digits come out right.
TRAINING_IMAGES, TEST_IMAGES, SAMPLES = 10_000, 1000, 40

# The code cells of SageMaker's notebook, with `sagemaker` changed to `fastinfer.sagemaker` in the import lines alone; those
# that draw are left out.
CELLS = """
from fastinfer.sagemaker import get_execution_role
from fastinfer.sagemaker.session import Session

sagemaker_session = Session()
region = sagemaker_session.boto_session.region_name
sample_data_bucket = 'sagemaker-sample-data-{}'.format(region)

# S3 bucket for saving files. Feel free to redefine this variable to the bucket of your choice.
bucket = sagemaker_session.default_bucket()

# Bucket location where your custom code will be saved in the tar.gz format.
custom_code_upload_location = 's3://{}/mxnet-mnist-example/code'.format(bucket)

# Bucket location where results of model training are saved.
model_artifacts_location = 's3://{}/mxnet-mnist-example/artifacts'.format(bucket)

# IAM execution role that gives SageMaker access to resources in your AWS account.
# We can use the SageMaker Python SDK to get the role from our notebook environment.
role = get_execution_role()

from fastinfer.sagemaker.mxnet import MXNet

mnist_estimator = MXNet(entry_point='mnist.py',
                        role=role,
                        output_path=model_artifacts_location,
                        code_location=custom_code_upload_location,
                        train_instance_count=1,
                        train_instance_type='ml.m4.xlarge',
                        framework_version='1.6.0',
                        py_version='py3',
                        hyperparameters={'learning-rate': 0.1})

train_data_location = 's3://{}/mxnet/mnist/train'.format(sample_data_bucket)
test_data_location = 's3://{}/mxnet/mnist/test'.format(sample_data_bucket)

mnist_estimator.fit({'train': train_data_location, 'test': test_data_location})

transformer = mnist_estimator.transformer(instance_count=1, instance_type='ml.m4.xlarge')

input_file_path = 'batch-transform/mnist-1000-samples'

transformer.transform('s3://{}/{}'.format(sample_data_bucket, input_file_path), content_type='text/csv')

transformer.wait()

print(transformer.output_path)

import ast

def predicted_label(transform_output):
    output = ast.literal_eval(transform_output)
    probabilities = output[0]
    return probabilities.index(max(probabilities))

import json

from fastinfer.sagemaker.s3 import S3Downloader

predictions = []
for i in range(10):
    file_key = '{}/data-{}.csv.out'.format(transformer.output_path, i)
    output = S3Downloader.read_file(file_key)

    predictions.append(predicted_label(output))
"""


class Notebook(NamedTuple):
    """A notebook that has run: what its cells have defined, and what they printed."""

    defined: dict[str, Any]
    shown: str


@pytest.fixture(scope="module")
def sample_bucket(cloud: Cloud, digits: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bucket of the notebook's data, with fewer images to train on and fewer samples."""
    name = cloud.make_bucket(f"sagemaker-sample-data-{REGION}")
    for channel, count in (("train", TRAINING_IMAGES), ("test", TEST_IMAGES)):
        cloud.upload(write_channel(tmp_path_factory.mktemp(channel), channel, count), name, f"mxnet/mnist/{channel}")
    samples = tmp_path_factory.mktemp("samples")
    write_samples(digits[:SAMPLES].reshape(-1, 28, 28), samples)
    cloud.upload(samples, name, "batch-transform/mnist-1000-samples")
    return name


@pytest.fixture(scope="module")
def notebook(cloud: Cloud, sample_bucket: str) -> Notebook:
    """The notebook, run in the folder of its script."""
    del sample_bucket
    defined: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as shown:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        patch.chdir(ENTRY_POINT.parent)
        # The cells say nothing of how often they look.
        patch.setitem(Session.__init__.__kwdefaults__, "poll_seconds", 0.2)
        cloud.reset()
        exec(compile(CELLS, "notebook", "exec"), defined)
        assert cloud.violations() == []
    return Notebook(defined, shown.getvalue())


def outputs(place: str) -> dict[str, bytes]:
    session = Session()
    return {
        each.rpartition("/")[2]: S3Downloader.read_bytes(each, session) for each in S3Downloader.list(place, session)
    }


def without_secrets(cloud: Cloud, shown: str) -> str:
    """What was shown, if none of it is secret."""
    assert [name for name, value in cloud.credentials.items() if value in shown] == []
    return shown


@pytest.mark.usefixtures("aws")
def test_the_notebook_runs_with_its_imports_changed(notebook: Notebook, cloud: Cloud) -> None:
    predictions = notebook.defined["predictions"]
    assert sum(found == label for found, label in zip(predictions, LABELS)) >= 9
    place = notebook.defined["transformer"].output_path
    assert re.fullmatch(rf"s3://sagemaker-{REGION}-123456789012/mxnet-training-[\d-]+", place)
    assert sorted(outputs(place)) == sorted(f"data-{number}.csv.out" for number in range(SAMPLES))
    shown = without_secrets(cloud, notebook.shown)
    # The job's states, and what the script has printed in the container.
    for line in ("Training", "Completed"):
        assert re.search(rf"^training job mxnet-training-[\d-]+: {line}$", shown, re.M)
    assert float(re.findall(r"Epoch\[9\] Validation-accuracy=([\d.]+)", shown)[0]) > 0.7
    assert f"\n{place}\n" in shown


@pytest.mark.usefixtures("aws")
def test_a_local_run_gives_the_bytes_of_the_cloud_run(
    notebook: Notebook, sample_bucket: str, local_root: Path, tmp_path: Path
) -> None:
    del local_root
    theirs = outputs(notebook.defined["transformer"].output_path)
    source = f"s3://{sample_bucket}/batch-transform/mnist-1000-samples"
    # The cloud's model, transformed here: by the script's hooks, and without them by the engine.
    estimator = notebook.defined["mnist_estimator"]
    transformer = estimator.transformer(1, "local", output_path=str(tmp_path / "hooks"))
    transformer.transform(source, content_type="text/csv")
    assert outputs(str(tmp_path / "hooks")) == theirs
    LocalSession().sagemaker_client.create_model(
        ModelName="plain",
        ExecutionRoleArn="",
        PrimaryContainer={"Image": "local", "ModelDataUrl": estimator.model_data},
    )
    Transformer("plain", 1, "local", output_path=str(tmp_path / "engine"), base_transform_job_name="plain").transform(
        source, content_type="text/csv"
    )
    assert outputs(str(tmp_path / "engine")) == theirs
    # Trained here as well, on the same data with the same seed: the same bytes again.
    here = MXNet(str(ENTRY_POINT), instance_type="local", hyperparameters={"learning-rate": 0.1})
    here.fit({name: f"s3://{sample_bucket}/mxnet/mnist/{name}" for name in ("train", "test")})
    trained = here.transformer(1, "local")
    trained.transform(source, content_type="text/csv")
    assert outputs(str(trained.output_path)) == theirs


def test_lines_are_split_alike_on_the_cloud_and_here(
    notebook: Notebook, aws: Cloud, digits: np.ndarray, local_root: Path, tmp_path: Path
) -> None:
    del local_root
    place = put_objects(aws, "split", {"a.csv": csv(digits[:3]), "b/c.csv": csv(digits[3:5], "integers")})
    found = {}
    for instance_type, target in (("ml.m4.xlarge", f"{place}out"), ("local", str(tmp_path / "out"))):
        transformer = notebook.defined["mnist_estimator"].transformer(
            1, instance_type, strategy="SingleRecord", assemble_with="Line", accept="text/csv", output_path=target
        )
        transformer.sagemaker_session.poll_seconds = 0.2
        transformer.transform(f"{place}in/", content_type="text/csv", split_type="Line")
        found[instance_type] = outputs(target)
    assert found["local"] == found["ml.m4.xlarge"]
    assert {name: body.count(b"\n") for name, body in found["local"].items()} == {"a.csv.out": 6, "c.csv.out": 4}


def put_objects(cloud: Cloud, name: str, bodies: dict[str, bytes]) -> str:
    bucket = cloud.make_bucket("flow-tests")
    for key, body in bodies.items():
        cloud.client("s3").put_object(Bucket=bucket, Key=f"{name}/in/{key}", Body=body)
    return f"s3://{bucket}/{name}/"


def test_a_bad_record_fails_its_object_and_the_job(
    notebook: Notebook,
    aws: Cloud,
    digits: np.ndarray,
    local_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del local_root
    bodies = {"a.csv": csv(digits[:1]), "b.csv": csv(digits[:1]).replace(b",", b",x", 1), "c.csv": csv(digits[1:2])}
    place = put_objects(aws, "bad", bodies)
    found, errors = {}, {}
    for instance_type, target in (("ml.m4.xlarge", f"{place}out"), ("local", str(tmp_path / "out"))):
        transformer = notebook.defined["mnist_estimator"].transformer(1, instance_type, output_path=target)
        transformer.sagemaker_session.poll_seconds = 0.2
        with pytest.raises(JobFailed) as caught:
            transformer.transform(f"{place}in/", content_type="text/csv")
        errors[instance_type] = str(caught.value)
        found[instance_type] = outputs(target)
        shown = without_secrets(aws, capsys.readouterr().out)
        # On AWS the log names the object.
        assert "in/b.csv" in shown
    assert sorted(found["local"]) == ["a.csv.out", "c.csv.out"]
    assert found["local"] == found["ml.m4.xlarge"]
    assert "in/b.csv:1:14: expected a number, found 'x" in errors["local"]
    assert "the transform job failed: AlgorithmError" in errors["ml.m4.xlarge"]


# Trainings of scripts that need no MXNet


def test_a_job_that_fails_is_reported_with_its_reason_and_its_logs(
    train: Callable[..., MXNet], aws: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(JobFailed) as caught:
        train("import sys; print('about to fail'); sys.exit('no such luck')").fit()
    assert caught.value.code == "job_failed"
    assert "ExitCode 1" in str(caught.value)
    shown = without_secrets(aws, capsys.readouterr().out)
    assert "about to fail" in shown
    assert "no such luck" in shown


def test_secrets_that_a_script_prints_are_not_shown(
    train: Callable[..., MXNet], aws: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = list(aws.credentials.values())
    failing = f"import sys; [print('found', each) for each in {secrets}]; sys.exit('secret: {secrets[1]}')"
    with pytest.raises(JobFailed) as caught:
        train(failing, hyperparameters={"token": secrets[2]}).fit()
    shown = without_secrets(aws, capsys.readouterr().out + str(caught.value) + repr(caught.value))
    assert shown.count("found (") == 3


def dawdling(end: Path) -> str:
    """A script that runs until a file is there."""
    return f"""
import os, time
print("begun", flush=True)
while not os.path.exists({str(end)!r}):
    time.sleep(0.01)
open(os.environ["SM_MODEL_DIR"] + "/x", "w").close()
print("done now")
"""


def interrupt_after(looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a wait lies between two looks at its job."""
    left, sleep = iter(range(looks)), time.sleep

    def interrupted(seconds: float) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr(jobs.time, "sleep", interrupted)


def test_an_interrupted_wait_is_continued_by_name(
    train: Callable[..., MXNet],
    aws: Cloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    end = tmp_path / "end"
    estimator = train(dawdling(end))
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            estimator.fit()
    name = str(estimator.latest_training_job)
    assert f"training job {name} continues" in capsys.readouterr().out
    assert aws.wait("training", name, until=("InProgress",))
    end.touch()
    attached = MXNet.attach(name, estimator.sagemaker_session)
    assert attached.model_data == estimator.model_data
    shown = without_secrets(aws, capsys.readouterr().out)
    assert "begun" in shown
    assert "done now" in shown


def test_an_interrupt_stops_the_job_where_the_session_says_so(
    train: Callable[..., MXNet], aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator = train("import time; time.sleep(1000)")
    estimator.sagemaker_session.stop_on_interrupt = True
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            estimator.fit()
    assert aws.wait("training", str(estimator.latest_training_job))["TrainingJobStatus"] == "Stopped"


def test_a_job_can_be_stopped(train: Callable[..., MXNet]) -> None:
    estimator = train("import time; time.sleep(1000)")
    estimator.fit(wait=False)
    jobs.stop(estimator.sagemaker_session, TRAINING, str(estimator.latest_training_job))
    with pytest.raises(JobFailed) as caught:
        estimator.wait()
    assert caught.value.code == "job_stopped"


def test_a_spot_training_continues_from_its_checkpoints(
    train: Callable[..., MXNet], aws: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoints"
    kept = f"s3://{aws.make_bucket('flow-tests')}/checkpoints-{os.getpid()}"
    estimator = train(
        f"""
import os, time
found = os.listdir({str(folder)!r})
print("found", *found, flush=True)
open({str(folder / "epoch")!r}, "w").close()
time.sleep(0 if found else 1000)
""",
        use_spot_instances=True,
        max_run=600,
        max_wait=900,
        checkpoint_s3_uri=kept,
        checkpoint_local_path=str(folder),
    )
    estimator.fit(wait=False)
    wait_until(lambda: aws.objects(kept), every_s=0.1)
    aws.interrupt(str(estimator.latest_training_job))
    estimator.wait()
    shown = capsys.readouterr().out
    assert f"{estimator.latest_training_job}: Completed" in shown
    assert "found epoch" in shown


def test_two_instances_train_with_a_parameter_server(
    sample_bucket: str, train: Callable[..., MXNet], capsys: pytest.CaptureFixture[str]
) -> None:
    estimator = train(
        ENTRY_POINT.read_text(),
        instance_count=2,
        hyperparameters={"epochs": 1},
        distribution={"parameter_server": {"enabled": True}},
    )
    with parameter_server_port():
        estimator.fit({name: f"s3://{sample_bucket}/mxnet/mnist/{name}" for name in ("train", "test")})
    shown = capsys.readouterr().out
    assert re.search(r"^algo-1 \| .*Epoch\[0\] Validation-accuracy=", shown, re.M)
    assert re.search(r"^algo-2 \| .*Epoch\[0\] Validation-accuracy=", shown, re.M)


def test_no_secret_is_in_what_is_uploaded(notebook: Notebook, aws: Cloud) -> None:
    bucket = notebook.defined["bucket"]
    for name, body in aws.objects(f"s3://{bucket}/mxnet-mnist-example").items():
        unpacked = subprocess.run(["gzip", "-dc"], input=body, capture_output=True, check=True).stdout
        for value in aws.credentials.values():
            assert value.encode() not in body + unpacked, name


# The command line


def command(aws: Cloud, *arguments: str, code: int = 0) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "fastinfer.sagemaker", *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == code, done.stderr
    return without_secrets(aws, done.stdout), without_secrets(aws, done.stderr)


def test_the_command_line_prints_the_status_of_a_job(aws: Cloud, notebook: Notebook) -> None:
    name = notebook.defined["mnist_estimator"].latest_training_job
    assert command(aws, "status", name) == (f"training job {name}: Completed\n", "")
    name = notebook.defined["transformer"].latest_transform_job
    assert command(aws, "status", name)[0] == f"transform job {name}: Completed\n"
    _, error = command(aws, "status", "no-such-job", code=2)
    assert "there is no training or transform job no-such-job" in error


def test_the_command_line_trains_and_a_wait_is_continued(aws: Cloud, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    end = tmp_path / "end"
    script.write_text(dawdling(end))
    versions = ["--framework-version", "1.9.0", "--py-version", "py38"]
    started, error = command(aws, "train", str(script), *versions, "--no-wait", "--json")
    name = json.loads(started)["TrainingJobName"]
    assert f"training job {name}: started" in error
    # Soon after the wait has begun; what is asserted holds whenever it is.
    threading.Timer(1, end.touch).start()
    shown, error = command(aws, "status", name, "--wait")
    assert shown == f"training job {name}: Completed\n"
    assert "done now" in error


def test_the_command_line_transforms_with_a_model_of_the_cloud(
    aws: Cloud, notebook: Notebook, sample_bucket: str
) -> None:
    place = f"s3://{aws.make_bucket('flow-tests')}/command-{os.getpid()}"
    model = notebook.defined["transformer"].model_name
    source = f"s3://{sample_bucket}/batch-transform/mnist-1000-samples/data-1"
    started, error = command(aws, "transform", source, "--model", model, "--output", place, "--no-wait", "--json")
    assert f"output: {place}" in error
    assert aws.wait("transform", json.loads(started)["TransformJobName"])["TransformJobStatus"] == "Completed"
    theirs = outputs(notebook.defined["transformer"].output_path)
    # Every key that begins with data-1.
    expected = {name: body for name, body in theirs.items() if name.startswith("data-1")}
    assert len(expected) == 11
    assert outputs(place) == expected
