"""A training on this machine: the script sees what the toolkit gives it, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import ConfigError, InputError
from fastinfer.runtimes.mxnet import libmxnet
from fastinfer.sagemaker import JobFailed, LocalSession, MXNet
from fastinfer.sagemaker.local.job_folder import JobFolder
from fastinfer.sagemaker.local.training import LAST_LINES, RESOURCES, SITE, MaxRunExceeded, ScriptFailed, Training
from tests.sagemaker.local_jobs import write_script
from tests.sagemaker.test_cloud import archive, members

pytestmark = pytest.mark.usefixtures("local_root")


def test_a_script_sees_what_sagemakers_toolkit_gives_it(tmp_path: Path, channels: dict[str, Path]) -> None:
    text = (
        "import json, os, sys\n"
        "facts = {name: value for name, value in os.environ.items() if name.startswith('SM_') or name == 'MINE'}\n"
        "facts['argv'] = sys.argv[1:]; facts['files'] = sorted(os.listdir(os.environ['SM_CHANNEL_TRAIN']))\n"
        "json.dump(facts, open(os.path.join(os.environ['SM_MODEL_DIR'], 'facts.json'), 'w'))\n"
    )
    estimator = MXNet(
        write_script(tmp_path, text),
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
    estimator = MXNet(write_script(tmp_path, text), instance_type="local", hyperparameters=OPTIONS)
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
    estimator = MXNet(write_script(tmp_path, "import time; time.sleep(1000)"), instance_type="local", max_run=1)
    with pytest.raises(JobFailed, match="longer than max_run allows, 1 s") as caught:
        estimator.fit()
    assert caught.value.code == "job_stopped"


def test_requirements_are_not_installed_and_the_log_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    write_script(folder, "import helper")
    (folder / "helper.py").write_text("print('helped')")
    (folder / "requirements.txt").write_text("no-such-package-at-all")
    MXNet("script.py", source_dir=str(folder), instance_type="local").fit()
    shown = capsys.readouterr().out
    assert re.search(r"note: (/\S*/code/requirements\.txt) is not installed here: .* Hint: pip install -r \1\n", shown)
    assert "helped" in shown


def test_a_failing_script_is_reported_with_its_last_lines(tmp_path: Path, local_root: Path) -> None:
    estimator = MXNet(write_script(tmp_path, "print('first'); raise ValueError('no such luck')"), instance_type="local")
    with pytest.raises(JobFailed) as caught:
        estimator.fit()
    assert "script.py exited with code 1" in str(caught.value)
    assert "ValueError: no such luck" in str(caught.value)
    (failure,) = local_root.rglob("output/failure")
    assert "no such luck" in failure.read_text()


# The training itself, in this process


class Watched(JobFolder):
    """A job's folder that remembers each status."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.statuses: list[str] = []

    def write_status(self, status: str, secondary: str, **more: str | None) -> None:
        self.statuses.append(secondary)
        super().write_status(status, secondary, **more)


@pytest.fixture
def training(tmp_path: Path) -> Callable[..., Training]:
    """A training of a script's text; its results go to ``out``."""

    def make(text: str, hyperparameters: dict[str, Any] | None = None, **more: Any) -> Training:
        (tmp_path / "code.tar.gz").write_bytes(archive({"script.py": text}))
        own = {"sagemaker_program": "script.py", "sagemaker_submit_directory": str(tmp_path / "code.tar.gz")}
        values = {**own, **(hyperparameters or {})}
        request = {
            "TrainingJobName": "job",
            "HyperParameters": {name: json.dumps(value) for name, value in values.items()},
            "OutputDataConfig": {"S3OutputPath": str(tmp_path / "out")},
            "ResourceConfig": {"InstanceType": "local", "InstanceCount": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
            **more,
        }
        folder = Watched(tmp_path / "job")
        folder.create(request)
        return Training(folder, request, LocalSession())

    return make


def channel(name: str, uri: Path, **more: str) -> dict[str, Any]:
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": str(uri)}}, **more}


def test_the_model_is_what_the_script_left_and_other_results_come_beside_it(
    training: Callable[..., Training], tmp_path: Path
) -> None:
    text = (
        "import os\n"
        "for name in ('SM_MODEL_DIR', 'SM_OUTPUT_DATA_DIR'):\n"
        "    open(os.path.join(os.environ[name], 'x'), 'w').write(name)\n"
    )
    job = training(text)
    uri = job.run()
    assert uri == str(tmp_path / "out" / "job" / "output" / "model.tar.gz")
    assert members(Path(uri).read_bytes()) == {"x": b"SM_MODEL_DIR"}
    assert members((Path(uri).parent / "output.tar.gz").read_bytes()) == {"x": b"SM_OUTPUT_DATA_DIR"}
    assert job.folder.statuses == ["Starting", "Downloading", "Training", "Uploading"]
    assert (job.base / "output" / "success").exists()


def test_a_script_that_leaves_nothing_has_an_empty_model_and_no_other_results(
    training: Callable[..., Training],
) -> None:
    uri = Path(training("pass").run())
    assert members(uri.read_bytes()) == {}
    assert [path.name for path in uri.parent.iterdir()] == ["model.tar.gz"]


def test_channels_are_laid_out_below_their_names_and_described(
    training: Callable[..., Training], tmp_path: Path
) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/b.txt"):
        (tmp_path / "in" / name).write_text(name)
    job = training(
        "pass",
        InputDataConfig=[
            channel("train", tmp_path / "in", ContentType="text/csv"),
            channel("test", tmp_path / "in" / "a.txt"),
        ],
    )
    job.run()
    data = job.base / "input" / "data"
    files = {str(path.relative_to(data)): path.read_text() for path in data.rglob("*") if path.is_file()}
    assert files == {"train/a.txt": "a.txt", "train/sub/b.txt": "sub/b.txt", "test/a.txt": "a.txt"}
    config = {path.stem: json.loads(path.read_text()) for path in (job.base / "input" / "config").iterdir()}
    facts = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
    assert config["inputdataconfig"] == {"train": {"ContentType": "text/csv", **facts}, "test": facts}
    assert config["resourceconfig"] == RESOURCES
    assert config["hyperparameters"] == job.request["HyperParameters"]


def test_a_missing_channel_ends_the_training_before_the_script(
    training: Callable[..., Training], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    job = training(f"open({str(begun)!r}, 'w')", InputDataConfig=[channel("train", tmp_path / "nothing")])
    with pytest.raises(InputError) as caught:
        job.run()
    assert caught.value.code == "no_such_place"
    assert not begun.exists()


def test_a_failure_quotes_the_last_lines_of_the_script_and_uploads_nothing(
    training: Callable[..., Training], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = training("import sys\nfor number in range(100): print('line', number)\nsys.exit(3)")
    with pytest.raises(ScriptFailed) as caught:
        job.run()
    lines = str(caught.value).splitlines()
    assert lines[0] == "AlgorithmError: script.py exited with code 3:"
    assert lines[1:] == [f"line {number}" for number in range(100 - LAST_LINES, 100)]
    assert (caught.value.code, caught.value.exit_code) == ("script_failed", 1)
    assert (job.base / "output" / "failure").read_text() == str(caught.value)
    assert not (job.base / "output" / "success").exists()
    assert not (tmp_path / "out").exists()
    # The log has all of them.
    assert capsys.readouterr().out.count("line ") == 100


def test_bytes_that_are_not_utf8_do_not_end_a_training(
    training: Callable[..., Training], capsys: pytest.CaptureFixture[str]
) -> None:
    training("import sys; sys.stdout.buffer.write(b'caf\\xe9\\n')").run()
    assert "caf\N{REPLACEMENT CHARACTER}\n" in capsys.readouterr().out


def test_the_toolkits_own_hyperparameters_are_not_the_scripts(
    training: Callable[..., Training], capsys: pytest.CaptureFixture[str]
) -> None:
    text = "import os, sys; print(sys.argv[1:], os.environ['SM_HPS'], os.environ['SM_FRAMEWORK_PARAMS'])"
    own = {
        "sagemaker_region": "x",
        "sagemaker_parameter_server_enabled": True,
        "b": 2,
        "rate": {"y": 1, "x": 2},
        "n": None,
    }
    training(text, own).run()
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "running python script.py -b 2 -n '' --rate x=2,y=1"
    assert shown[1] == (
        "['-b', '2', '-n', '', '--rate', 'x=2,y=1'] "
        '{"b":2,"n":null,"rate":{"x":2,"y":1}} {"sagemaker_parameter_server_enabled":true}'
    )


def test_the_users_variables_come_last_but_for_the_path_of_modules(
    training: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    job = training("pass", Environment={"SM_NUM_CPUS": "99", "PYTHONPATH": "/theirs"})
    found = job._environment({}, "script.py")
    assert found["SM_NUM_CPUS"] == "99"
    assert found["PYTHONPATH"] == os.pathsep.join([f"{job.base}/code", str(SITE), "/mine"])
    assert (found["SM_NUM_GPUS"], found["TRAINING_JOB_NAME"]) == ("0", "job")


def test_a_script_can_import_mxnet_on_any_python_and_the_users_sitecustomize_runs(
    training: Callable[..., Training],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('mine')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    training("import sys; print(type(sys.meta_path[0]).__module__, 'numpy' in sys.modules)", {}).run()
    assert capsys.readouterr().out.splitlines()[1:] == ["mine", "fastinfer.runtimes.mxnet.compat False"]


def test_gpus_are_counted_for_the_type_that_has_them(
    training: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libmxnet, "count_gpus", lambda: 3)
    job = training("pass", ResourceConfig={"InstanceType": "local_gpu", "InstanceCount": 1})
    assert job._environment({}, "script.py")["SM_NUM_GPUS"] == "3"

    def missing() -> None:
        raise ConfigError("mxnet is not installed", code="mxnet_missing")

    monkeypatch.setattr(libmxnet, "count_gpus", missing)
    assert job._environment({}, "script.py")["SM_NUM_GPUS"] == "0"


def test_a_script_beyond_its_time_is_killed(training: Callable[..., Training]) -> None:
    job = training("import time; time.sleep(1000)", StoppingCondition={"MaxRuntimeInSeconds": 0.01})
    with pytest.raises(MaxRunExceeded, match=r"the script ran longer than max_run allows, 0\.01 s"):
        job.run()
    assert not (job.base / "output" / "failure").exists()
