"""The test cloud, asked by plain boto3: its jobs run, end as SageMaker's do, and requests are refused as there."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from fastinfer.handlers.predictor import Predictor
from tests.conftest import csv, wait_until
from tests.sagemaker import cloud_model
from tests.sagemaker.cloud import Cloud
from tests.sagemaker.cloud_jobs import join_uri

TRAINING_IMAGE = "763104351884.dkr.ecr.us-west-2.amazonaws.com/mxnet-training:1.6.0-cpu-py3"
INFERENCE_IMAGE = TRAINING_IMAGE.replace("training", "inference")
BUCKET = "cloud-tests"
numbers = itertools.count()

# Says what it was given, and writes to all places that a script may write to.
SCRIPT = """
import json, os, sys
print("arguments", *sys.argv[1:])
print("said", open(os.environ["SM_CHANNEL_TRAIN"] + "/sub/a.txt").read(), os.environ["WORD"])
for variable, content in (("SM_MODEL_DIR", "the model"), ("SM_OUTPUT_DATA_DIR", "the data")):
    with open(os.path.join(os.environ[variable], os.environ["SM_CURRENT_HOST"]), "w") as file:
        file.write(content)
"""
# A "model" that answers with what a request held.
COUNTING = """
def model_fn(model_dir):
    return open(model_dir + "/word").read()
def transform_fn(model, data, content_type, accept):
    if "bad" in data:
        raise ValueError("a bad record")
    return "%s: %d lines as %s for %s" % (model, len(data.splitlines()), content_type, accept)
"""


def archive(members: dict[str, bytes | str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, body in members.items():
            body = body.encode() if isinstance(body, str) else body
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return content.getvalue()


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames() if tar.getmember(name).isfile()}  # type: ignore[union-attr]


def put(aws: Cloud, key: str, body: bytes | str) -> str:
    aws.make_bucket(BUCKET)
    aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
    return f"s3://{BUCKET}/{key}"


def training_request(aws: Cloud, script: str, **more: Any) -> dict[str, Any]:
    """CreateTrainingJob of a script, with a name that no other has."""
    name = f"job-{next(numbers)}-{os.getpid()}"
    put(aws, f"{name}/in/sub/a.txt", "a few words")
    code = put(aws, f"{name}/sourcedir.tar.gz", archive({"script.py": script}))
    hyperparameters = {"sagemaker_program": "script.py", "sagemaker_submit_directory": code, "depth": 3, "mode": "x y"}
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": TRAINING_IMAGE, "TrainingInputMode": "File"},
        "RoleArn": aws.role,
        "InputDataConfig": [
            {
                "ChannelName": "train",
                "DataSource": {
                    "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{name}/in"},
                },
            }
        ],
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m4.xlarge", "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "HyperParameters": {key: json.dumps(value) for key, value in hyperparameters.items()},
        "Environment": {"WORD": "hello"},
        **more,
    }


def make_model(aws: Cloud, content: dict[str, bytes | str], program: str = "hooks.py", **environment: str) -> str:
    name = f"model-{next(numbers)}-{os.getpid()}"
    aws.client("sagemaker").create_model(
        ModelName=name,
        ExecutionRoleArn=aws.role,
        PrimaryContainer={
            "Image": INFERENCE_IMAGE,
            "ModelDataUrl": put(aws, f"{name}/model.tar.gz", archive(content)),
            "Environment": {"SAGEMAKER_PROGRAM": program, **environment},
        },
    )
    return name


def transform_request(aws: Cloud, model: str, objects: dict[str, bytes | str], **more: Any) -> dict[str, Any]:
    name = f"job-{next(numbers)}-{os.getpid()}"
    for key, body in objects.items():
        put(aws, f"{name}/in/{key}", body)
    data = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{name}/in/"}}
    return {
        "TransformJobName": name,
        "ModelName": model,
        "TransformInput": {"DataSource": data, "ContentType": "text/csv", **more.pop("TransformInput", {})},
        "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/{name}/out", **more.pop("TransformOutput", {})},
        "TransformResources": {"InstanceCount": 1, "InstanceType": "ml.m4.xlarge"},
        **more,
    }


def test_a_training_job_gives_its_model_its_data_and_its_log(aws: Cloud) -> None:
    request = training_request(aws, SCRIPT)
    name = request["TrainingJobName"]
    aws.client("sagemaker").create_training_job(**request)
    facts = aws.wait("training", name)
    assert facts["TrainingJobStatus"] == "Completed", facts
    assert [step["Status"] for step in facts["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert facts["CreationTime"] <= facts["TrainingStartTime"] <= facts["TrainingEndTime"]
    assert facts["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/out/{name}/output/model.tar.gz"
    found = aws.objects(f"s3://{BUCKET}/out/{name}")
    assert sorted(found) == ["output/model.tar.gz", "output/output.tar.gz"]
    assert members(found["output/model.tar.gz"]) == {"localhost": b"the model"}
    assert members(found["output/output.tar.gz"]) == {"localhost": b"the data"}
    lines = aws.log_lines("training", name)
    assert "arguments --depth 3 --mode x y" in lines
    assert "said a few words hello" in lines
    with pytest.raises(ClientError, match=r"ResourceInUse.*must be unique"):
        aws.client("sagemaker").create_training_job(**request)


def test_two_hosts_have_a_log_each_and_one_model(aws: Cloud) -> None:
    request = training_request(aws, SCRIPT)
    request["ResourceConfig"]["InstanceCount"] = 2
    aws.client("sagemaker").create_training_job(**request)
    facts = aws.wait("training", request["TrainingJobName"])
    assert facts["TrainingJobStatus"] == "Completed", facts
    found = aws.objects(facts["ModelArtifacts"]["S3ModelArtifacts"])
    assert members(found[""]) == {"localhost": b"the model", "127.0.0.1": b"the model"}
    streams = aws.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=request["TrainingJobName"]
    )["logStreams"]
    assert [stream["logStreamName"].split("/")[1][:6] for stream in streams] == ["algo-1", "algo-2"]


def test_a_failing_script_fails_the_job_with_its_reason(aws: Cloud) -> None:
    request = training_request(aws, "print('before'); raise SystemExit('no such luck')")
    aws.client("sagemaker").create_training_job(**request)
    facts = aws.wait("training", request["TrainingJobName"])
    assert facts["TrainingJobStatus"] == facts["SecondaryStatus"] == "Failed"
    assert facts["FailureReason"].startswith("AlgorithmError: ")
    assert "ExitCode 1" in facts["FailureReason"]
    assert "ModelArtifacts" not in facts
    assert {"before", "no such luck"} <= set(aws.log_lines("training", request["TrainingJobName"]))
    assert aws.objects(f"s3://{BUCKET}/out/{request['TrainingJobName']}") == {}


def test_a_bucket_for_the_model_that_is_not_there_fails_the_job(aws: Cloud) -> None:
    request = training_request(aws, SCRIPT, OutputDataConfig={"S3OutputPath": "s3://nobodys-bucket-at-all/out"})
    aws.client("sagemaker").create_training_job(**request)
    facts = aws.wait("training", request["TrainingJobName"])
    assert facts["TrainingJobStatus"] == "Failed"
    assert "NoSuchBucket" in facts["FailureReason"]


SLEEPING = """
import os, time
open(os.environ["SM_MODEL_DIR"] + "/begun", "w").write(str(os.getpid()))
print("begun", flush=True)
time.sleep(1000)
"""


def wait_for_line(aws: Cloud, name: str, line: str) -> None:
    aws.wait("training", name, until=("Training",))
    logs = aws.client("logs")

    def printed() -> bool:
        try:
            streams = logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=name)[
                "logStreams"
            ]
        except logs.exceptions.ResourceNotFoundException:  # the first line of an account's first job makes the group
            return False
        return bool(streams) and line in aws.log_lines("training", name)

    wait_until(printed, every_s=0.1)


def has_ended(process: int) -> bool:
    try:
        # An orphan that nobody has asked for its exit code is a zombie.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_stopped_training_ends_its_process_and_keeps_what_it_has_saved(aws: Cloud) -> None:
    sagemaker = aws.client("sagemaker")
    request = training_request(aws, SLEEPING)
    name = request["TrainingJobName"]
    sagemaker.create_training_job(**request)
    wait_for_line(aws, name, "begun")
    sagemaker.stop_training_job(TrainingJobName=name)
    facts = aws.wait("training", name)
    assert facts["TrainingJobStatus"] == facts["SecondaryStatus"] == "Stopped"
    process = int(members(aws.objects(facts["ModelArtifacts"]["S3ModelArtifacts"])[""])["begun"])
    assert has_ended(process)
    with pytest.raises(ClientError, match="rejected because the training job is in status Stopped"):
        sagemaker.stop_training_job(TrainingJobName=name)


def test_a_training_that_takes_too_long_is_stopped(aws: Cloud) -> None:
    request = training_request(aws, SLEEPING, StoppingCondition={"MaxRuntimeInSeconds": 1})
    aws.client("sagemaker").create_training_job(**request)
    facts = aws.wait("training", request["TrainingJobName"])
    assert (facts["TrainingJobStatus"], facts["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


RESUMING = """
import os, sys, time
folder = sys.argv[sys.argv.index("--checkpoints") + 1]
done = sorted(os.listdir(folder))
print("found", *done, flush=True)
open(folder + "/epoch-%d" % len(done), "w").close()
if not done:
    print("waiting", flush=True)
    time.sleep(1000)
"""


def test_an_interrupted_spot_training_continues_from_its_checkpoints(aws: Cloud, tmp_path: Path) -> None:
    folder, kept = str(tmp_path / "checkpoints"), f"s3://{BUCKET}/kept-{os.getpid()}"
    request = training_request(
        aws,
        RESUMING,
        EnableManagedSpotTraining=True,
        CheckpointConfig={"S3Uri": kept, "LocalPath": folder},
        StoppingCondition={"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600},
    )
    request["HyperParameters"]["checkpoints"] = json.dumps(folder)
    aws.client("sagemaker").create_training_job(**request)
    wait_for_line(aws, request["TrainingJobName"], "waiting")
    aws.interrupt(request["TrainingJobName"])
    facts = aws.wait("training", request["TrainingJobName"])
    assert facts["TrainingJobStatus"] == "Completed", facts
    steps = [step["Status"] for step in facts["SecondaryStatusTransitions"]]
    assert steps[2:7] == ["Training", "Interrupted", "Starting", "Downloading", "Training"]
    assert "found epoch-0" in aws.log_lines("training", request["TrainingJobName"])
    assert sorted(aws.objects(kept)) == ["epoch-0", "epoch-1"]


def test_a_transform_job_answers_with_the_containers_bytes(aws: Cloud, mlp: Path, digits: np.ndarray) -> None:
    content: dict[str, bytes | str] = {path.name: path.read_bytes() for path in mlp.iterdir()}
    model = make_model(aws, {**content, "code/hooks.py": ""})
    bodies = {"a.csv": csv(digits[:1]), "b/c.csv": csv(digits[1:4])}
    request = transform_request(aws, model, dict(bodies))
    aws.client("sagemaker").create_transform_job(**request)
    facts = aws.wait("transform", request["TransformJobName"])
    assert facts["TransformJobStatus"] == "Completed", facts
    assert facts["CreationTime"] <= facts["TransformStartTime"] <= facts["TransformEndTime"]
    predictor = Predictor(mlp, exact=True)
    assert aws.objects(request["TransformOutput"]["S3OutputPath"]) == {
        f"{name}.out": predictor.answer(body)[0] for name, body in bodies.items()
    }
    with pytest.raises(ClientError, match=r"ResourceInUse.*must be unique"):
        aws.client("sagemaker").create_transform_job(**request)


@pytest.fixture(scope="module")
def counting(cloud: Cloud) -> str:
    return make_model(cloud, {"word": "word", "code/hooks.py": COUNTING})


LONG = "".join(f"{number},{'x' * 10_000}\n" for number in range(300))  # 3 MB


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, "word: 300 lines as text/csv for application/json", id="an object is a request"),
        pytest.param(
            {"TransformInput": {"SplitType": "Line"}, "MaxPayloadInMB": 1},
            "".join(f"word: {lines} lines as text/csv for application/json" for lines in (104, 104, 92)),
            id="lines fill requests",
        ),
        pytest.param(
            {
                "TransformInput": {"SplitType": "Line"},
                "BatchStrategy": "SingleRecord",
                "TransformOutput": {"AssembleWith": "Line", "Accept": "text/x"},
            },
            "word: 1 lines as text/csv for text/x\n" * 300,
            id="a line is a request",
        ),
        pytest.param(
            {"TransformInput": {"CompressionType": "Gzip"}},
            "word: 300 lines as text/csv for application/json",
            id="unpacked before it is split",
        ),
    ],
)
def test_objects_are_split_and_assembled(aws: Cloud, counting: str, options: dict[str, Any], expected: str) -> None:
    options = {name: dict(value) if isinstance(value, dict) else value for name, value in options.items()}
    packed = options.get("TransformInput", {}).get("CompressionType") == "Gzip"
    request = transform_request(aws, counting, {"a.csv": gzip.compress(LONG.encode()) if packed else LONG}, **options)
    aws.client("sagemaker").create_transform_job(**request)
    facts = aws.wait("transform", request["TransformJobName"])
    assert facts["TransformJobStatus"] == "Completed", facts
    found = aws.objects(request["TransformOutput"]["S3OutputPath"])
    assert {name: body.decode() for name, body in found.items()} == {"a.csv.out": expected}


def test_a_bad_record_or_one_too_large_fails_its_object_alone(aws: Cloud, counting: str) -> None:
    objects: dict[str, bytes | str] = {"a.csv": "1", "b.csv": "bad", "c.csv": "1\n2", "d.csv": LONG}
    request = transform_request(aws, counting, objects, MaxPayloadInMB=1)
    aws.client("sagemaker").create_transform_job(**request)
    facts = aws.wait("transform", request["TransformJobName"])
    assert facts["TransformJobStatus"] == "Failed"
    assert "See job logs" in facts["FailureReason"]
    assert sorted(aws.objects(request["TransformOutput"]["S3OutputPath"])) == ["a.csv.out", "c.csv.out"]
    lines = "\n".join(aws.log_lines("transform", request["TransformJobName"]))
    assert f"{request['TransformJobName']}/in/b.csv: Bad HTTP status received from algorithm: 500" in lines
    assert "ValueError: a bad record" in lines
    assert f"{request['TransformJobName']}/in/d.csv: Too much data for max payload size" in lines


def test_a_model_that_cannot_be_loaded_fails_the_job(aws: Cloud) -> None:
    model = make_model(aws, {"code/hooks.py": ""})
    request = transform_request(aws, model, {"a.csv": "1"})
    aws.client("sagemaker").create_transform_job(**request)
    facts = aws.wait("transform", request["TransformJobName"])
    assert facts["TransformJobStatus"] == "Failed"
    assert "AlgorithmError" in facts["FailureReason"]
    lines = "\n".join(aws.log_lines("transform", request["TransformJobName"]))
    assert "missing file model-symbol.json" in lines


def test_a_stopped_transform_ends(aws: Cloud) -> None:
    slow = "import time\ndef model_fn(folder): time.sleep(1000)\ndef transform_fn(*_): pass\n"
    request = transform_request(aws, make_model(aws, {"code/hooks.py": slow}), {"a.csv": "1"})
    sagemaker = aws.client("sagemaker")
    sagemaker.create_transform_job(**request)
    sagemaker.stop_transform_job(TransformJobName=request["TransformJobName"])
    facts = aws.wait("transform", request["TransformJobName"])
    assert facts["TransformJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="ValidationException"):
        sagemaker.stop_transform_job(TransformJobName=request["TransformJobName"])


def test_a_manifest_names_the_objects(aws: Cloud, counting: str) -> None:
    request = transform_request(aws, counting, {"a.csv": "1", "b.csv": "2", "c.csv": "3"})
    source = request["TransformInput"]["DataSource"]["S3DataSource"]
    manifest = [{"prefix": source["S3Uri"]}, "a.csv", "c.csv"]
    source.update(
        S3DataType="ManifestFile", S3Uri=put(aws, f"{request['TransformJobName']}/manifest", json.dumps(manifest))
    )
    aws.client("sagemaker").create_transform_job(**request)
    assert aws.wait("transform", request["TransformJobName"])["TransformJobStatus"] == "Completed"
    assert sorted(aws.objects(request["TransformOutput"]["S3OutputPath"])) == ["a.csv.out", "c.csv.out"]


# Refusals


def changed(request: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    place = request
    for step in path[:-1]:
        place = place[step]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return request


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        (("TrainingJobName",), "with_underscore", "'trainingJobName' failed.*regular expression pattern"),
        (("TrainingJobName",), "x" * 64, "length less than or equal to 63"),
        (("RoleArn",), "a-role-by-name-alone", "'roleArn' failed.*regular expression pattern"),
        (("ResourceConfig", "InstanceType"), "ml.m4.tiny", "enum value set"),
        (("ResourceConfig", "InstanceCount"), -1, "greater than or equal to"),
        (("OutputDataConfig", "S3OutputPath"), "/a/path/here", "regular expression pattern"),
        (("HyperParameters", "long"), "x" * 2501, "length less than or equal to 2500"),
        (("Tags",), [{"Key": "k", "Value": "*"}], "tags.1.member.value"),
        (("StoppingCondition", "MaxRuntimeInSeconds"), 0, "greater than or equal to 1"),
        (("VpcConfig",), {"Subnets": ["s"], "SecurityGroupIds": [str(n) for n in range(6)]}, "securityGroupIds"),
        (("Environment",), {"a b": "c"}, "environment.a b.key"),
    ],
)
def test_a_request_that_the_model_forbids_is_refused(aws: Cloud, path: tuple[str, ...], value: Any, found: str) -> None:
    request = changed(training_request(aws, SCRIPT), *path, to=value)
    # A client that checks would send some of these, and refuse others itself.
    with pytest.raises(ClientError, match=rf"ValidationException.*\d validation errors? detected: .*{found}"):
        aws.client("sagemaker", checked=False).create_training_job(**request)
    # Of any other test it would have been the end.
    assert aws.violations()
    aws.reset()


def test_the_models_patterns_are_javas() -> None:
    shape = cloud_model.operation("CreateModel").input_shape.members["Tags"]
    assert list(cloud_model.violations(shape, [{"Key": "größe λ_1.:/=+-@", "Value": "a b"}])) == []
    assert len(list(cloud_model.violations(shape, [{"Key": "a*", "Value": "b;"}]))) == 2
    # Of every operation that clients of this project call, each pattern can be read.
    for name in ("TrainingJob", "Model", "TransformJob"):
        for verb in ("Create", "Describe"):
            check_patterns(cloud_model.operation(verb + name).input_shape, set())


def check_patterns(shape: Any, seen: set[str]) -> None:
    if shape.name in seen:
        return
    seen.add(shape.name)
    if "pattern" in shape.metadata:
        cloud_model.matches(shape.metadata["pattern"], "text")
    for inner in getattr(shape, "members", {}).values():
        check_patterns(inner, seen)
    for name in ("member", "key", "value"):
        if hasattr(shape, name):
            check_patterns(getattr(shape, name), seen)


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        (("RoleArn",), "arn:aws:iam::123456789012:role/nobody", "Could not assume role"),
        (("AlgorithmSpecification", "TrainingImage"), "mxnet", "image mxnet not found"),
        (("AlgorithmSpecification", "TrainingImage"), TRAINING_IMAGE.replace("1.6.0", "1.9.1"), "not found"),
        (("AlgorithmSpecification", "TrainingImage"), INFERENCE_IMAGE, "not found"),
        (
            ("InputDataConfig", 0, "DataSource", "S3DataSource", "S3Uri"),
            "s3://nobodys-bucket-at-all/x",
            "No S3 objects found",
        ),
        (("InputDataConfig", 0, "DataSource", "S3DataSource", "S3Uri"), f"s3://{BUCKET}/nothing", "No S3 objects"),
        (("EnableManagedSpotTraining",), True, "MaxWaitTimeInSeconds"),
    ],
)
def test_a_training_that_cannot_be_is_refused(aws: Cloud, path: tuple[Any, ...], value: Any, found: str) -> None:
    with pytest.raises(ClientError, match=f"ValidationException.*{found}"):
        aws.client("sagemaker").create_training_job(**changed(training_request(aws, SCRIPT), *path, to=value))


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"ModelName": "unknown"}, 'Could not find model "arn:aws:sagemaker:us-west-2:123456789012:model/unknown"'),
        ({"BatchStrategy": "SingleRecord"}, "SplitType"),
        ({"MaxPayloadInMB": 60, "MaxConcurrentTransforms": 2}, "100 MB"),
    ],
)
def test_a_transform_that_cannot_be_is_refused(aws: Cloud, counting: str, more: dict[str, Any], found: str) -> None:
    with pytest.raises(ClientError, match=f"ValidationException.*{found}"):
        aws.client("sagemaker").create_transform_job(**{**transform_request(aws, counting, {"a": "1"}), **more})


def test_a_model_is_refused_without_its_data_and_with_a_name_that_exists(aws: Cloud, counting: str) -> None:
    sagemaker = aws.client("sagemaker")
    facts = sagemaker.describe_model(ModelName=counting)
    request = {name: facts[name] for name in ("ModelName", "ExecutionRoleArn", "PrimaryContainer")}
    with pytest.raises(ClientError, match="Cannot create already existing model"):
        sagemaker.create_model(**request)
    request["PrimaryContainer"]["ModelDataUrl"] = f"s3://{BUCKET}/nothing.tar.gz"
    with pytest.raises(ClientError, match="Could not find model data at s3://"):
        sagemaker.create_model(**request)


@pytest.mark.parametrize("name", ["describe_training_job", "stop_training_job", "describe_transform_job"])
def test_a_job_that_is_not_there_is_refused(aws: Cloud, name: str) -> None:
    call: Callable[..., Any] = getattr(aws.client("sagemaker"), name)
    key = "TrainingJobName" if "training" in name else "TransformJobName"
    with pytest.raises(ClientError, match="ValidationException"):
        call(**{key: "nobody"})


def test_throttling_quota_and_faults_come_when_they_are_asked_for(aws: Cloud) -> None:
    sagemaker = aws.client("sagemaker")
    aws.throttle("DescribeTrainingJob", 2)
    for _ in range(2):
        with pytest.raises(ClientError, match=r"ThrottlingException.*Rate exceeded"):
            sagemaker.describe_training_job(TrainingJobName="nobody")
    with pytest.raises(ClientError, match="ValidationException"):
        sagemaker.describe_training_job(TrainingJobName="nobody")
    assert aws.requests("DescribeTrainingJob") == [{"TrainingJobName": "nobody"}] * 3
    aws.refuse_instances("ml.m4.xlarge")
    with pytest.raises(ClientError, match=r"ResourceLimitExceeded.*ml\.m4\.xlarge for training job usage"):
        sagemaker.create_training_job(**training_request(aws, SCRIPT))
    aws.fail("DescribeModel", "InternalFailure", "not now", status=500)
    with pytest.raises(ClientError, match=r"InternalFailure.*not now"):
        sagemaker.describe_model(ModelName="nobody")


def test_places_are_joined_with_one_slash() -> None:
    assert join_uri("s3://a/", "b", "/c") == "s3://a/b/c"
