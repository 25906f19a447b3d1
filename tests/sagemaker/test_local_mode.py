"""`instance_type="local"`: jobs on this machine, by the same calls, with no account and, for places here, without boto3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.models.module import SHIPPED_MODEL
from fastinfer.options import Options
from fastinfer.sagemaker import JobFailed, LocalSession, MXNet, Session, Transformer, jobs
from fastinfer.sagemaker.code_archive import pack_folder
from fastinfer.sagemaker.logs import TRAINING
from tests.conftest import csv, read_tree, wait_until
from tests.runs import transform
from tests.sagemaker.cloud import Cloud
from tests.sagemaker.conftest import ENTRY_POINT

pytestmark = pytest.mark.usefixtures("local_root")


def script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(text)
    return str(path)


def make_model(folder: Path, code: str | None = None) -> str:
    """A local model of the shipped network, with a serving module where one is given; its name."""
    import shutil

    shutil.copytree(SHIPPED_MODEL, folder / "model")
    environment = {}
    if code is not None:
        (folder / "model" / "code").mkdir()
        (folder / "model" / "code" / "serve_it.py").write_text(code)
        environment["SAGEMAKER_PROGRAM"] = "serve_it.py"
    pack_folder(folder / "model", folder / "model.tar.gz")
    LocalSession().sagemaker_client.create_model(
        ModelName="m",
        ExecutionRoleArn="",
        PrimaryContainer={
            "Image": "local/mxnet-inference",
            "ModelDataUrl": str(folder / "model.tar.gz"),
            "Environment": environment,
        },
    )
    return "m"


def run(model: str, source: Path, output: Path, content_type: str = "text/csv", **options: Any) -> dict[str, bytes]:
    of_transform = {name: options.pop(name) for name in ("split_type", "join_source") if name in options}
    Transformer(model, 1, "local", output_path=str(output), **options).transform(
        str(source), content_type=content_type, **of_transform
    )
    return read_tree(output)


@pytest.fixture
def source(digits: np.ndarray, tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for number in range(6):
        (folder / ("sub" if number % 2 else ".") / f"{number}.csv").write_bytes(
            csv(digits[number : number + 1 + number])
        )
    return folder


def test_a_script_sees_what_sagemakers_toolkit_gives_it(tmp_path: Path, channels: dict[str, Path]) -> None:
    text = (
        "import json, os, sys\n"
        "facts = {name: value for name, value in os.environ.items() if name.startswith('SM_') or name == 'MINE'}\n"
        "facts['argv'] = sys.argv[1:]; facts['files'] = sorted(os.listdir(os.environ['SM_CHANNEL_TRAIN']))\n"
        "json.dump(facts, open(os.path.join(os.environ['SM_MODEL_DIR'], 'facts.json'), 'w'))\n"
    )
    estimator = MXNet(
        script(tmp_path, text),
        instance_type="local",
        hyperparameters={"learning-rate": 0.1, "name": "a b", "flag": True, "list": [1, 2]},
        environment={"MINE": "yes"},
        output_path=str(tmp_path / "models"),
    )
    estimator.fit({"train": f"file://{channels['train']}", "test": str(channels["test"])})
    name = estimator.latest_training_job
    assert estimator.model_data == str(tmp_path / "models" / str(name) / "output" / "model.tar.gz")
    from fastinfer.storage.archive import unpack

    unpack(Path(estimator.model_data), tmp_path / "unpacked")
    facts = json.loads((tmp_path / "unpacked" / "facts.json").read_text())
    assert facts["argv"] == ["--flag", "True", "--learning-rate", "0.1", "--list", "[1, 2]", "--name", "a b"]
    assert facts["files"] == ["images.gz", "labels.gz"]
    assert facts["MINE"] == "yes"
    assert json.loads(facts["SM_HPS"]) == {"learning-rate": 0.1, "name": "a b", "flag": True, "list": [1, 2]}
    assert (facts["SM_NUM_GPUS"], json.loads(facts["SM_HOSTS"]), facts["SM_CURRENT_HOST"]) == (
        "0",
        ["algo-1"],
        "algo-1",
    )


OPTIONS = {
    "learning-rate": 0.1,
    "name": "a b",
    "flag": True,
    "list": [1, "x"],
    "none": None,
    "d": {"a": 1},
    "epochs": 3,
}


def test_variables_and_arguments_are_the_toolkits(
    tmp_path: Path, channels: dict[str, Path], local_root: Path, container_python: Path
) -> None:
    text = (
        "import json, os, sys\n"
        "facts = {name: value for name, value in os.environ.items() if name.startswith('SM_')}\n"
        "facts['argv'] = sys.argv[1:]\n"
        "json.dump(facts, open(os.path.join(os.environ['SM_OUTPUT_DATA_DIR'], 'facts.json'), 'w'))\n"
    )
    estimator = MXNet(script(tmp_path, text), instance_type="local", hyperparameters=OPTIONS)
    estimator.fit({name: str(folder) for name, folder in channels.items()}, job_name="job")
    base = local_root / "training-jobs" / "job" / "ml"
    ours = json.loads((base / "output" / "data" / "facts.json").read_text())
    ask = (
        "import json; from sagemaker_training.environment import Environment\n"
        "environment = Environment()\n"
        "print(json.dumps({**environment.to_env_vars(), 'argv': environment.to_cmd_args()}))"
    )
    answer = subprocess.run(
        [container_python, "-c", ask],
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(base), "TRAINING_JOB_NAME": "job"},
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(answer.stdout.splitlines()[-1])
    training = [json.loads(facts.pop("SM_TRAINING_ENV")) for facts in (ours, theirs)]
    assert ours == theirs
    # What only says which of SageMaker's libraries are installed is left out.
    assert {name: training[1].get(name) for name in training[0]} == training[0]


def test_a_script_that_runs_too_long_is_ended(tmp_path: Path) -> None:
    estimator = MXNet(script(tmp_path, "import time; time.sleep(1000)"), instance_type="local", max_run=1)
    with pytest.raises(JobFailed, match="longer than max_run allows, 1 s") as caught:
        estimator.fit()
    assert caught.value.code == "job_stopped"


def test_requirements_are_not_installed_and_the_log_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    script(folder, "import helper")
    (folder / "helper.py").write_text("print('helped')")
    (folder / "requirements.txt").write_text("no-such-package-at-all")
    MXNet("script.py", source_dir=str(folder), instance_type="local").fit()
    shown = capsys.readouterr().out
    assert "requirements.txt is not installed here" in shown
    assert "helped" in shown


def test_a_line_of_a_later_request_is_reported_by_its_number_in_the_object(tmp_path: Path, digits: np.ndarray) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    lines = csv(digits[:5]).splitlines(keepends=True)
    (folder / "x.csv").write_bytes(b"".join([*lines[:3], b"0,oops\n", lines[4]]))
    with pytest.raises(JobFailed, match=r"x\.csv: 4:3: expected a number, found 'oops'"):
        run(make_model(tmp_path), folder, tmp_path / "out", split_type="Line", strategy="SingleRecord")
    assert read_tree(tmp_path / "out") == {}


def test_s3_is_accessed_with_the_given_session(
    aws: Cloud, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = aws.make_bucket("local-tests")
    for path in source.rglob("*.csv"):
        aws.client("s3").upload_file(str(path), bucket, f"in/{path.relative_to(source)}")
    # Credentials that only the session knows reach the job's own process.
    given = boto3.Session(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], region_name="us-west-2")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    model, session = make_model(tmp_path), Session(given)
    transformer = Transformer(model, 1, "local", output_path=f"s3://{bucket}/out", sagemaker_session=session)
    transformer.transform(f"s3://{bucket}/in", content_type="text/csv")
    expected = run(model, source, tmp_path / "out")
    found = {item.key: session.read(item.uri) for item in session.list_objects(f"s3://{bucket}/out/")}
    assert found == expected


def test_a_failing_script_is_reported_with_its_last_lines(tmp_path: Path, local_root: Path) -> None:
    estimator = MXNet(script(tmp_path, "print('first'); raise ValueError('no such luck')"), instance_type="local")
    with pytest.raises(JobFailed) as caught:
        estimator.fit()
    assert "script.py exited with code 1" in str(caught.value)
    assert "ValueError: no such luck" in str(caught.value)
    (failure,) = local_root.rglob("output/failure")
    assert "no such luck" in failure.read_text()


def test_without_hooks_the_engine_answers_with_the_containers_bytes(source: Path, tmp_path: Path) -> None:
    results = run(make_model(tmp_path), source, tmp_path / "out")
    transform(SHIPPED_MODEL, source, tmp_path / "expected", Options(exact=True))
    assert results == read_tree(tmp_path / "expected")
    assert sorted(results) == sorted(f"{'sub/' if number % 2 else ''}{number}.csv.out" for number in range(6))


HOOKS = """
def model_fn(model_dir):
    return "the model"

def transform_fn(model, data, content_type, accept):
    if "bad" in data:
        raise ValueError("bad is not good")
    return "{}|{}|{}|{}".format(model, data.count(chr(10)), content_type, accept), "text/plain"
"""


def test_hooks_answer_each_request_by_the_rules_of_batch_transform(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.csv").write_bytes(b"1\n2\n3\n")
    model = make_model(tmp_path, HOOKS)
    reply = "the model|{}|text/csv|application/json"
    assert run(model, folder, tmp_path / "whole")["x.csv.out"].decode() == reply.format(3)
    split = run(model, folder, tmp_path / "line", split_type="Line")["x.csv.out"].decode()
    assert split == reply.format(3)
    single = run(model, folder, tmp_path / "single", split_type="Line", strategy="SingleRecord", assemble_with="Line")
    assert single["x.csv.out"].decode() == (reply.format(1) + "\n") * 3


@pytest.mark.parametrize("code", [None, HOOKS])
def test_a_bad_object_has_no_output_and_the_others_have(code: str | None, tmp_path: Path, digits: np.ndarray) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.csv").write_bytes(b"bad,1\n" if name == "b" else csv(digits[:1]))
    with pytest.raises(JobFailed) as caught:
        run(make_model(tmp_path, code), folder, tmp_path / "out")
    assert f"{folder}/b.csv: " in str(caught.value)
    assert ("1:1: expected a number, found 'bad'" if code is None else "bad is not good") in str(caught.value)
    assert sorted(read_tree(tmp_path / "out")) == ["a.csv.out", "c.csv.out"]


@pytest.mark.parametrize("content_type", ["text/plain", "text/csv; charset=utf-8"])
def test_content_types_that_the_container_does_not_support_fail(
    content_type: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(JobFailed, match="6 objects failed"):
        run(make_model(tmp_path), source, tmp_path / "out", content_type=content_type)
    assert read_tree(tmp_path / "out") == {}


def test_what_local_jobs_do_not_support_is_refused_by_name(source: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path)
    with pytest.raises(ConfigError, match="does not support DataProcessing"):
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
    for options, word in (
        ({"compression_type": "Gzip"}, "CompressionType"),
        ({"split_type": "RecordIO"}, "SplitType"),
        ({"data_type": "ManifestFile"}, "S3DataType"),
        ({"input_filter": "$[1:]"}, "DataProcessing"),
        ({"output_filter": "$[0]"}, "DataProcessing"),
        ({"model_client_config": {"InvocationsMaxRetries": 1}}, "ModelClientConfig"),
    ):
        with pytest.raises(ConfigError, match=f"does not support {word}"):
            Transformer(model, 1, "local").transform(str(source), content_type="text/csv", **options)
    with pytest.raises(ConfigError, match="instance_count must be 1"):
        Transformer(model, 2, "local").transform(str(source))
    with pytest.raises(ConfigError, match="only instance_type='local' accepts local paths"):
        Transformer(model, 1, "ml.m4.xlarge", output_path="s3://a/b").transform(str(source))


def test_a_payload_that_is_too_large_fails_its_job(source: Path, tmp_path: Path) -> None:
    (source / "large.csv").write_bytes(b"0," * (1 << 20))
    with pytest.raises(JobFailed, match="MaxPayloadInMB"):
        run(make_model(tmp_path), source, tmp_path / "out", max_payload=1)


def test_a_job_continues_when_its_waiter_is_interrupted_and_is_found_by_name(tmp_path: Path) -> None:
    end = tmp_path / "end"
    text = (
        "import os, time\n"
        f"while not os.path.exists({str(end)!r}): time.sleep(0.01)\n"
        "open(os.environ['SM_MODEL_DIR'] + '/x', 'w').close()\n"
    )
    code = (
        "import sys; from fastinfer.sagemaker import MXNet\n"
        "MXNet(sys.argv[1], instance_type='local').fit(job_name='long-one')\n"
    )
    waiter = subprocess.Popen([sys.executable, "-c", code, script(tmp_path, text)], stdout=subprocess.PIPE, text=True)
    assert waiter.stdout is not None
    for line in waiter.stdout:
        if "Training" in line:
            break
    waiter.send_signal(signal.SIGINT)
    rest = waiter.communicate()[0]
    end.touch()
    assert waiter.returncode != 0
    assert (
        "training job long-one continues; to wait for it again: python -m fastinfer.sagemaker status long-one --wait --local"
        in rest
    )
    assert MXNet.attach("long-one", local=True).model_data == "s3://sagemaker_local/long-one/output/model.tar.gz"


def test_a_killed_or_stopped_job_has_ended(tmp_path: Path, local_root: Path) -> None:
    begun = tmp_path / "begun"
    text = f"import time; open({str(begun)!r}, 'w').close(); time.sleep(1000)"
    estimator = MXNet(script(tmp_path, text), instance_type="local")
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


def test_the_command_line_trains_and_transforms_here(channels: dict[str, Path], source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastinfer.sagemaker"]
    train = [*command, "train", str(ENTRY_POINT), "--local", "--json", "--hyperparameter", "epochs=1"]
    for name, folder in channels.items():
        train += ["--channel", f"{name}={folder}"]
    trained = subprocess.run(train, capture_output=True, text=True, check=True)
    assert "Epoch[0] Validation-accuracy=" in trained.stderr
    facts = json.loads(trained.stdout)
    assert facts["TrainingJobStatus"] == "Completed"
    model = facts["ModelArtifacts"]["S3ModelArtifacts"]
    output = tmp_path / "out"
    transformed = subprocess.run(
        [*command, "transform", str(source), "--model", model, "--output", str(output), "--local", "--quiet"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (transformed.stdout, transformed.stderr) == ("", "")
    assert len(read_tree(output)) == 6
    missing = subprocess.run([*command, "status", "nothing", "--local"], capture_output=True, text=True)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "there is no training or transform job nothing" in missing.stderr


def test_local_paths_need_no_boto3(source: Path, tmp_path: Path) -> None:
    make_model(tmp_path)
    code = (
        "import sys; sys.modules['boto3'] = sys.modules['botocore'] = None\n"
        "from fastinfer.sagemaker import Transformer\n"
        "Transformer('m', 1, 'local', output_path=sys.argv[2]).transform(sys.argv[1], content_type='text/csv')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(source), str(tmp_path / "out")], check=True, capture_output=True)
    assert len(read_tree(tmp_path / "out")) == 6
