"""`instance_type="local"`: jobs on this machine, by the same calls, with no account and, for places here, without boto3."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastinfer.models.module import SHIPPED_MODEL
from fastinfer.options import Options
from fastinfer.sagemaker import JobFailed, MXNet
from tests.conftest import csv, read_tree
from tests.runs import transform
from tests.sagemaker.conftest import ENTRY_POINT
from tests.sagemaker.local_jobs import make_model, run, write_script

pytestmark = pytest.mark.usefixtures("local_root")


def test_a_line_of_a_later_request_is_reported_by_its_number_in_the_object(tmp_path: Path, digits: np.ndarray) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    lines = csv(digits[:5]).splitlines(keepends=True)
    (folder / "x.csv").write_bytes(b"".join([*lines[:3], b"0,oops\n", lines[4]]))
    with pytest.raises(JobFailed, match=r"x\.csv:4:3: expected a number, found 'oops'"):
        run(make_model(tmp_path), folder, tmp_path / "out", split_type="Line", strategy="SingleRecord")
    assert read_tree(tmp_path / "out") == {}


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
    assert f"{folder}/b.csv:1:" in str(caught.value)
    assert ("b.csv:1:1: expected a number, found 'bad'" if code is None else "bad is not good") in str(caught.value)
    assert sorted(read_tree(tmp_path / "out")) == ["a.csv.out", "c.csv.out"]


@pytest.mark.parametrize("content_type", ["text/plain", "text/csv; charset=utf-16"])
def test_content_types_that_the_container_does_not_support_fail(
    content_type: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(JobFailed, match="6 objects failed"):
        run(make_model(tmp_path), source, tmp_path / "out", content_type=content_type)
    assert read_tree(tmp_path / "out") == {}


def test_a_payload_that_is_too_large_fails_its_job(source: Path, tmp_path: Path) -> None:
    (source / "large.csv").write_bytes(b"0," * (1 << 20))
    with pytest.raises(JobFailed, match="MaxPayloadInMB"):
        run(make_model(tmp_path), source, tmp_path / "out", max_payload=1)
    assert len(read_tree(tmp_path / "out")) == 6  # as on AWS, the others have their results


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
    waiter = subprocess.Popen(
        [sys.executable, "-c", code, write_script(tmp_path, text)], stdout=subprocess.PIPE, text=True
    )
    assert waiter.stdout is not None
    for line in waiter.stdout:
        if "Training" in line:
            break
    waiter.send_signal(signal.SIGINT)
    rest = waiter.communicate()[0]
    end.touch()
    assert waiter.returncode != 0
    assert (
        "training job long-one continues; to wait for it again: fastinfer sagemaker status long-one --wait --local"
        in rest
    )
    assert MXNet.attach("long-one", local=True).model_data == "s3://sagemaker_local/long-one/output/model.tar.gz"


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
