"""`fastinfer sagemaker` on the command line: wrong commands, and jobs that it starts, with models of every origin."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import boto3
import pytest

from fastinfer.sagemaker.s3 import S3Downloader
from tests.sagemaker.cloud import Cloud
from tests.sagemaker.test_cloud import archive


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train"], "SCRIPT is required. Hint: name it, or --attach JOB"),
        (["transform", "in"], "one of --model and --training-job is required"),
        (["transform", "in", "--model", "m", "--training-job", "t"], "one of --model and --training-job is required"),
        (["train", "--attach", "no-such-job", "--local"], "there is no local training job no-such-job"),
        (
            ["transform", "--attach", "no-such-job", "--local", "--no-wait"],
            "there is no local transform job no-such-job",
        ),
        (["train", "x.py", "--framework-version", "1.9.1", "--region", "us-west-2", "--role", "r"], "1.9.1"),
        (
            ["train", "x.py", "--local", "--instance-count", "2"],
            "--local is one machine: --instance-count must be 1, found 2",
        ),
        (
            ["train", "x.py", "--local", "--hyperparameter", r'a="\u0000"'],
            "the hyperparameter 'a' cannot be an argument of",
        ),
        (["train", "x.py", "--local", "--source-dir", "nowhere"], "--source-dir is not a folder"),
        (["train", "x.py", "--local", "--subnet", "s"], "a VPC requires both --subnet and --security-group"),
        (
            ["transform", "in", "--local", "--model", "folder"],
            "folder: --model is a folder; a job takes a model.tar.gz",
        ),
        (["transform", "in", "--local", "--model", "./folder"], "Hint: tar -czf model.tar.gz -C ./folder . packs it; "),
        (["transform", "in", "--model", "./folder"], "--model is a folder; a job takes a model.tar.gz"),
    ],
)
def test_a_wrong_command_is_an_error_of_its_options(arguments: list[str], said: str, local_root: Path) -> None:
    (local_root.parent / "folder").mkdir()
    (local_root.parent / "x.py").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "fastinfer.sagemaker", *arguments], capture_output=True, text=True, cwd=local_root.parent
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.usefixtures("local_root")
def test_the_reason_of_a_local_job_is_said_once(linear: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(linear, ".")
    (tmp_path / "x.csv").write_bytes(b"1,2,3\n")
    command = [sys.executable, "-m", "fastinfer.sagemaker", "transform", str(tmp_path / "x.csv"), "--local"]
    # By its name alone, as a file of the working folder.
    command += ["--model", "model.tar.gz", "--output", str(tmp_path / "out"), "--job-name"]
    done = subprocess.run([*command, "one"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[-1] == "error: one: the transform job failed; its log says why"
    assert (
        len([line for line in lines if line.startswith("error: ") and "expected a multiple of 2 values" in line]) == 1
    )
    # Where the log is not shown, the error has the reason.
    done = subprocess.run([*command, "two", "--quiet"], capture_output=True, text=True, cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: two: the transform job failed: ")
    assert "expected a multiple of 2 values" in line


@pytest.mark.parametrize(
    ("members", "options", "program"),
    [
        ({"model-symbol.json": "{}"}, [], "inference.py"),
        ({"model-symbol.json": "{}", "code/inference.py": "x = 1"}, [], "inference.py"),
        ({"model-symbol.json": "{}", "code/mine.py": "x = 1"}, ["--program", "mine.py"], "mine.py"),
        ({"model-symbol.json": "{}", "code/mine.py": "x = 1"}, [], None),
    ],
)
def test_an_archive_is_served_by_a_module_that_is_there(
    members: dict[str, str], options: list[str], program: str | None, aws: Cloud
) -> None:
    bucket = aws.make_bucket("adapter-tests")
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="given/model.tar.gz", Body=archive(members))
    s3.put_object(Bucket=bucket, Key="data/x.csv", Body=b"1")
    command = [sys.executable, "-m", "fastinfer.sagemaker", "transform", f"s3://{bucket}/data/", "--json", "--no-wait"]
    command += ["--model", f"s3://{bucket}/given/model.tar.gz", "--framework-version", "1.9.0", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if program is None:
        assert done.returncode == 2
        assert "--program NAME" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    made = aws.client("sagemaker").describe_model(ModelName=json.loads(done.stdout)["ModelName"])["PrimaryContainer"]
    assert made["Environment"]["SAGEMAKER_PROGRAM"] == program
    with tarfile.open(fileobj=io.BytesIO(S3Downloader.read_bytes(made["ModelDataUrl"]))) as tar:
        assert f"code/{program}" in tar.getnames()
        assert set(members) <= set(tar.getnames())


def test_the_command_line_transforms_with_the_model_of_a_training(aws: Cloud, script: str) -> None:
    bucket = aws.make_bucket("adapter-tests")
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="model.tar.gz", Body=archive({"model-symbol.json": "{}"}))
    s3.put_object(Bucket=bucket, Key="data/x.csv", Body=b"1")
    aws.pretend(f"s3://{bucket}/model.tar.gz")
    command = [sys.executable, "-m", "fastinfer.sagemaker"]
    train = [*command, "train", script, "--framework-version", "1.9.0", "--py-version", "py38", "--no-wait"]
    train += ["--job-name", f"cli-{os.getpid()}", "--tag", "team=a b", "--max-run", "99", "--json", "--quiet"]
    done = subprocess.run(train, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    facts = json.loads(done.stdout)
    assert facts["StoppingCondition"]["MaxRuntimeInSeconds"] == 99
    attach = [*command, "train", "--attach", facts["TrainingJobName"], "--poll", "0.1", "--json"]
    done = subprocess.run(attach, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["TrainingJobStatus"] == "Completed"
    assert f"{facts['TrainingJobName']}: Completed" in done.stderr
    transform = [*command, "transform", f"s3://{bucket}/data/", "--training-job", facts["TrainingJobName"]]
    transform += ["--split-type", "Line", "--max-payload", "1", "--output", f"s3://{bucket}/out", "--no-wait", "--json"]
    done = subprocess.run(transform, capture_output=True, text=True, check=True)
    made = json.loads(done.stdout)
    assert (made["TransformInput"]["SplitType"], made["MaxPayloadInMB"]) == ("Line", 1)
    code = boto3.client("sagemaker").describe_model(ModelName=made["ModelName"])["PrimaryContainer"]["Environment"]
    assert code["SAGEMAKER_PROGRAM"] == "script.py"
