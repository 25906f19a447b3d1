"""The adapter's requests beside those of SageMaker's SDK 2.243.2 for the same calls, as the cloud received both."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fastinfer.errors import ConfigError
from fastinfer.sagemaker import MXNet, Session, TrainingInput
from fastinfer.sagemaker.requests import encode_hyperparameters, format_tags, vpc_config
from tests.sagemaker.cloud import Cloud
from tests.sagemaker.test_cloud import archive, members

BUCKET = "request-tests"
IMAGE = "123456789012.dkr.ecr.us-west-2.amazonaws.com/my-image:latest"
ON_CPU = {"instance_count": 1, "instance_type": "ml.m4.xlarge"}
VERSION = {"framework_version": "1.6.0", "py_version": "py3"}
OPERATIONS = ("CreateTrainingJob", "CreateModel", "CreateTransformJob")
STAMP = re.compile(r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-\d{3}")

TRAIN, DATA = f"s3://{BUCKET}/data/train", f"s3://{BUCKET}/data/in/"
DEFAULT = {
    "estimator": {"entry_point": "script.py", **ON_CPU, **VERSION},
    "fit": {"inputs": {"train": TRAIN, "test": TRAIN}},
    "transformer": ON_CPU,
    "transform": {"data": DATA, "content_type": "text/csv"},
}

CUT_AT_A_HYPHEN = "a long base name that is cut at a hyphen"

# What each case says beyond, or instead of, the default.
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "as in the notebook": {
        "estimator": {
            "output_path": f"s3://{BUCKET}/artifacts",
            "code_location": f"s3://{BUCKET}/code",
            "hyperparameters": {"learning-rate": 0.1},
        }
    },
    "nothing more than needed": {},
    "one place as inputs": {"fit": {"inputs": TRAIN}},
    "no inputs": {"fit": {"inputs": None}},
    "hyperparameters of all kinds": {
        "estimator": {
            "hyperparameters": {"text": "a b", "number": 3, "float": 1e-5, "flag": True, "list": [1, "x"], "none": None}
        }
    },
    "a folder of code with dependencies": {
        "estimator": {"entry_point": "script.py", "source_dir": "source", "dependencies": ["more"]}
    },
    "names": {
        "estimator": {"base_job_name": "my-base-name"},
        "transformer": {"model_name": "my-model-CASE"},
        "transform": {"job_name": "my-transform-CASE"},
        "fit": {"job_name": "my-training-CASE"},
    },
    "a base name alone": {"estimator": {"base_job_name": "my-base-name"}},
    "a long base name": {
        "estimator": {"base_job_name": "a-name-of-sixty-characters-which-leaves-no-room-for-the-time"}
    },
    CUT_AT_A_HYPHEN: {"estimator": {"base_job_name": "a-name-of-sixty-characters-that-leaves-no-room-for-the-time"}},
    "a VPC and isolation": {
        "estimator": {
            "subnets": ["subnet-1", "subnet-2"],
            "security_group_ids": ["sg-1"],
            "encrypt_inter_container_traffic": True,
            "enable_network_isolation": True,
        }
    },
    "keys": {
        "estimator": {"volume_kms_key": "volume-key", "output_kms_key": "output-key", "volume_size": 50},
        "transformer": {"output_kms_key": "transform-key", "volume_kms_key": "transform-volume-key"},
    },
    "tags": {
        "estimator": {"tags": [{"Key": "team", "Value": "a b"}]},
        "transformer": {"tags": [{"Key": "other", "Value": ""}]},
    },
    "tags of the training alone": {"estimator": {"tags": {"team": "a b", "x": "y"}}},
    "spot with checkpoints": {
        "estimator": {
            "use_spot_instances": True,
            "max_run": 3600,
            "max_wait": 7200,
            "checkpoint_s3_uri": f"s3://{BUCKET}/checkpoints",
            "checkpoint_local_path": "/opt/ml/checkpoints",
        }
    },
    "checkpoints where they are by default": {"estimator": {"checkpoint_s3_uri": f"s3://{BUCKET}/checkpoints"}},
    "metrics": {"estimator": {"metric_definitions": [{"Name": "accuracy", "Regex": "accuracy=([0-9.]+)"}]}},
    "a parameter server": {"estimator": {"instance_count": 2, "distribution": {"parameter_server": {"enabled": True}}}},
    "a parameter server that is off": {"estimator": {"distribution": {"parameter_server": {"enabled": False}}}},
    "a parameter server with nothing said": {"estimator": {"distribution": {"parameter_server": {}}}},
    "MPI": {
        "estimator": {
            "instance_count": 2,
            "distribution": {"mpi": {"enabled": True, "processes_per_host": 4, "custom_mpi_options": "-verbose"}},
        }
    },
    "MPI with the toolkit's options": {
        "estimator": {"distribution": {"mpi": {"enabled": True, "processes_per_host": 2}}}
    },
    "MPI with a process for each instance": {"estimator": {"distribution": {"mpi": {"enabled": True}}}},
    "variables and a log level": {
        "estimator": {"environment": {"WORD": "hello"}, "container_log_level": 10},
        "transformer": {"env": {"OTHER": "word"}, "model_server_workers": 2},
    },
    "graphics": {
        "estimator": {"instance_type": "ml.p3.2xlarge"},
        "transformer": {"instance_type": "ml.p2.xlarge", "instance_count": 2},
    },
    "a newer version": {"estimator": {"framework_version": "1.9.0", "py_version": "py38"}},
    "an image of one's own": {"estimator": {"image_uri": IMAGE}},
    "no debugger and no profiler": {"estimator": {"debugger_hook_config": False, "disable_profiler": True}},
    "channels with more said": {
        "fit": {
            "inputs": {
                "train": {
                    "s3_data": TRAIN,
                    "distribution": "ShardedByS3Key",
                    "content_type": "x",
                    "input_mode": "File",
                },
                "test": {"s3_data": TRAIN, "compression": "Gzip", "record_wrapping": "RecordIO"},
            }
        }
    },
    "an input mode": {"estimator": {"input_mode": "FastFile"}},
    "an experiment": {
        "fit": {"experiment_config": {"ExperimentName": "one", "TrialName": "two"}},
        "transform": {"experiment_config": {"TrialComponentDisplayName": "three"}},
    },
    "how a transform is done": {
        "transformer": {
            "strategy": "SingleRecord",
            "assemble_with": "Line",
            "accept": "text/csv",
            "max_concurrent_transforms": 2,
            "max_payload": 1,
            "output_path": f"s3://{BUCKET}/my-output",
        },
        "transform": {"split_type": "Line", "compression_type": "Gzip"},
    },
    "filters": {
        "transformer": {"assemble_with": "Line", "accept": "text/csv"},
        "transform": {"split_type": "Line", "input_filter": "$[1:]", "output_filter": "$[0]", "join_source": "Input"},
    },
    "a patient client": {
        "transform": {"model_client_config": {"InvocationsTimeoutInSeconds": 30, "InvocationsMaxRetries": 1}}
    },
    "a manifest": {"transform": {"data": f"s3://{BUCKET}/data/manifest", "data_type": "ManifestFile"}},
    "another script serves": {"transformer": {"entry_point": "serving.py"}},
    "another isolation for the model": {
        "estimator": {"enable_network_isolation": True},
        "transformer": {"enable_network_isolation": False},
    },
}

# Where the adapter differs on purpose: in which case, which field, and why.
ALLOWED: dict[tuple[str, str], str] = {
    (CUT_AT_A_HYPHEN, path): "a name that is cut at a hyphen has one before the time, not two; the service takes both"
    for path in (
        "CreateTrainingJob.TrainingJobName",
        "CreateTrainingJob.HyperParameters.sagemaker_job_name",
        "CreateTrainingJob.HyperParameters.sagemaker_submit_directory",
        "CreateModel.ModelName",
        "CreateModel.PrimaryContainer.ModelDataUrl",
        "CreateTransformJob.TransformJobName",
        "CreateTransformJob.ModelName",
        "CreateTransformJob.TransformOutput.S3OutputPath",
    )
}


# What the model's archive holds beyond the SDK's: in which case, which member, and why.
ALLOWED_MEMBERS: dict[tuple[str, str], str] = {
    (
        "another script serves",
        "/code/serving.py",
    ): "the SDK names the script and leaves it out where the training had none "
    "of that name, so that the model cannot be served"
}


class Made(NamedTuple):
    """What one case has made on the cloud.

    Attributes:
        requests: the operations and their requests, the times in names cut out.
        archives: of the code and of the model: the members, and how S3 was asked to encrypt it.
    """

    requests: list[tuple[str, dict[str, Any]]]
    archives: dict[str, tuple[dict[str, bytes], dict[str, str]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the cases name: scripts, a folder of code, a module beside it."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "source").mkdir()
    (folder / "more").mkdir()
    for name in ("script.py", "serving.py", "source/script.py", "source/helper.py", "more/__init__.py"):
        (folder / name).write_text(f"# {name}\n")
    return folder


@pytest.fixture(scope="module")
def cases(folder: Path) -> dict[str, dict[str, Any]]:
    made = {}
    for name, more in CASES.items():
        case = {part: {**copy.deepcopy(DEFAULT[part]), **more.get(part, {})} for part in DEFAULT}
        made[name] = {"folder": str(folder), **case}
    return made


@pytest.fixture(scope="module")
def place(cloud: Cloud) -> str:
    """The bucket of all that the cases name, with a model that every training pretends to have made."""
    cloud.make_bucket(BUCKET)
    s3 = cloud.client("s3")
    for key, body in {
        "data/train/a": b"1",
        "data/in/a.csv": b"1",
        "data/manifest": json.dumps([{"prefix": DATA}, "a.csv"]).encode(),
        "model.tar.gz": archive({"model-symbol.json": "{}"}),
    }.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    return f"s3://{BUCKET}/model.tar.gz"


def named_for(cases: dict[str, dict[str, Any]], whose: str) -> dict[str, dict[str, Any]]:
    """The cases with names that neither of the two shares with the other."""
    return json.loads(json.dumps(cases).replace("CASE", whose))


@pytest.fixture(scope="module")
def of_the_sdk(
    cloud: Cloud,
    sdk_python: Path,
    cases: dict[str, dict[str, Any]],
    place: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Made]:
    """The SDK's requests by case."""
    cloud.reset()
    cloud.pretend(place)
    path = tmp_path_factory.mktemp("sdk") / "cases.json"
    with_role = {name: with_role_of(cloud, case) for name, case in named_for(cases, "sdk").items()}
    path.write_text(json.dumps({"default_bucket": BUCKET, "cases": with_role}))
    done = subprocess.run(
        [sdk_python, Path(__file__).with_name("sdk_requests.py"), path],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAGEMAKER_"))},
            **cloud.environment,
            "HOME": str(path.parent),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert cloud.violations() == []
    return by_case(cloud, list(cases), "sdk")


@pytest.fixture(scope="module")
def of_the_adapter(cloud: Cloud, cases: dict[str, dict[str, Any]], place: str) -> dict[str, Made]:
    """The adapter's requests by case."""
    cloud.reset()
    cloud.pretend(place)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        session = Session(default_bucket=BUCKET, poll_seconds=0.05)
        for case in named_for(cases, "adapter").values():
            patch.chdir(case["folder"])
            call(session, with_role_of(cloud, case))
    assert cloud.violations() == []
    return by_case(cloud, list(cases), "adapter")


def call(session: Session, case: dict[str, Any]) -> None:
    """What sdk_requests.py does, with the adapter."""
    estimator = MXNet(sagemaker_session=session, **case["estimator"])
    inputs = case["fit"].pop("inputs")
    if isinstance(inputs, dict):
        inputs = {name: TrainingInput(**value) if isinstance(value, dict) else value for name, value in inputs.items()}
    estimator.fit(inputs, wait=False, **case["fit"])
    estimator.wait(logs=False)
    transformer = estimator.transformer(**case["transformer"])
    transformer.transform(wait=False, logs=False, **case["transform"])


def with_role_of(cloud: Cloud, case: dict[str, Any]) -> dict[str, Any]:
    return {**case, "estimator": {"role": cloud.role, **case["estimator"]}}


def by_case(cloud: Cloud, names: list[str], whose: str) -> dict[str, Made]:
    calls = [(operation, request) for operation, request in cloud.calls() if operation.startswith("Create")]
    assert [operation for operation, _ in calls] == list(OPERATIONS) * len(names)
    made = {}
    for index, name in enumerate(names):
        of_case = calls[index * 3 : index * 3 + 3]
        text = STAMP.sub("TIME", json.dumps(of_case)).replace(f"-{whose}", "-CASE")
        (_, training), (_, model), _ = of_case
        code = json.loads(training["HyperParameters"]["sagemaker_submit_directory"])
        if not code.startswith("s3://"):  # of a network of its own, a training gets its code by a channel
            (code,) = [
                channel["DataSource"]["S3DataSource"]["S3Uri"]
                for channel in training["InputDataConfig"]
                if channel["ChannelName"] == "code"
            ]
        made[name] = Made(
            [(operation, request) for operation, request in json.loads(text)],
            {"code": archived(cloud, code), "model": archived(cloud, model["PrimaryContainer"]["ModelDataUrl"])},
        )
    return made


def archived(cloud: Cloud, place: str) -> tuple[dict[str, bytes], dict[str, str]]:
    bucket, _, key = place.removeprefix("s3://").partition("/")
    answer = cloud.client("s3").get_object(Bucket=bucket, Key=key)
    with contextlib.closing(answer["Body"]) as body:
        # The SDK writes some names with a dot or a slash before them; unpacked they are the same.
        content = {os.path.normpath(f"/{name}"): each for name, each in members(body.read()).items()}
    return content, {name: answer[name] for name in ("ServerSideEncryption", "SSEKMSKeyId") if name in answer}


def fields(value: Any, place: str = "") -> dict[str, Any]:
    """A request's fields, each by its path. An empty structure is a field."""
    if isinstance(value, dict) and value:
        return {path: leaf for name, each in value.items() for path, leaf in fields(each, f"{place}.{name}").items()}
    if isinstance(value, list) and value:
        return {path: leaf for n, each in enumerate(value) for path, leaf in fields(each, f"{place}[{n}]").items()}
    return {place: value}


@pytest.mark.parametrize("name", CASES)
def test_the_requests_are_the_sdks(
    of_the_sdk: dict[str, Made],
    of_the_adapter: dict[str, Made],
    name: str,
) -> None:
    differing = {}
    for (operation, theirs), (_, ours) in zip(of_the_sdk[name].requests, of_the_adapter[name].requests):
        wanted, found = fields(theirs), fields(ours)
        for path in sorted({*wanted, *found}):
            both = wanted.get(path, "absent"), found.get(path, "absent")
            if both[0] != both[1] and (name, operation + path) not in ALLOWED:
                differing[operation + path] = both
    assert differing == {}


@pytest.mark.parametrize("name", CASES)
def test_the_archives_hold_what_the_sdks_do(
    of_the_sdk: dict[str, Made], of_the_adapter: dict[str, Made], name: str
) -> None:
    theirs, ours = of_the_sdk[name].archives, of_the_adapter[name].archives
    added = {member for case, member in ALLOWED_MEMBERS if case == name}
    assert not added & theirs["model"][0].keys()
    files = {member: content for member, content in ours["model"][0].items() if member not in added}
    assert {**ours, "model": (files, *ours["model"][1:])} == theirs


def test_every_allowed_difference_is_there(
    of_the_sdk: dict[str, Made],
    of_the_adapter: dict[str, Made],
) -> None:
    for name, path in ALLOWED:
        operation, _, below = path.partition(".")
        number = OPERATIONS.index(operation)
        theirs, ours = (fields(all_of[name].requests[number][1]) for all_of in (of_the_sdk, of_the_adapter))
        assert theirs.get(f".{below}") != ours.get(f".{below}"), (name, path)


def test_tags_are_accepted_in_both_forms() -> None:
    wanted = [{"Key": "team", "Value": "a b"}]
    assert format_tags({"team": "a b"}) == format_tags(wanted) == wanted
    assert format_tags(None) is None


def test_half_a_vpc_is_refused() -> None:
    assert vpc_config(None, None) is None
    with pytest.raises(ConfigError, match="both subnets and security_group_ids"):
        vpc_config(["subnet-1"], None)


@pytest.mark.parametrize(
    ("given", "what", "fault"),
    [
        ({"a": "x\0"}, "hyperparameter 'a'", r"a NUL character, found 'x\x00'"),
        ({"a": "\ud800"}, "hyperparameter 'a'", r"a lone surrogate, found '\ud800'"),
        ({"a": {"b": "\0"}}, "hyperparameter 'a'", r"a NUL character, found '\x00'"),
        ({"a": {"\ud800": 1}}, "hyperparameter 'a'", r"a lone surrogate, found '\ud800'"),
        ({"\0": 1}, "name of the hyperparameter", r"a NUL character, found '\x00'"),
    ],
)
def test_text_that_no_script_can_be_given_is_refused(given: dict[str, Any], what: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        encode_hyperparameters(given)
    assert caught.value.code == "bad_hyperparameter"
    assert caught.value.message == f"the {what} cannot be an argument of the script: it has {fault}"


def test_bytes_of_the_command_line_and_values_that_are_printed_as_code_stay_as_they_are() -> None:
    values = {"bytes": os.fsdecode(b"\xff"), "list": ["\0", "\ud800"], "nested": {"a": ["\0"]}, "empty": ""}
    assert {name: json.loads(text) for name, text in encode_hyperparameters(values).items()} == values
