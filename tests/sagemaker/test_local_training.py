"""A training on this machine: the script sees what the toolkit gives it, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from fastinfer.sagemaker import JobFailed, MXNet
from tests.sagemaker.local_jobs import write_script

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
    assert "requirements.txt is not installed here" in shown
    assert "helped" in shown


def test_a_failing_script_is_reported_with_its_last_lines(tmp_path: Path, local_root: Path) -> None:
    estimator = MXNet(write_script(tmp_path, "print('first'); raise ValueError('no such luck')"), instance_type="local")
    with pytest.raises(JobFailed) as caught:
        estimator.fit()
    assert "script.py exited with code 1" in str(caught.value)
    assert "ValueError: no such luck" in str(caught.value)
    (failure,) = local_root.rglob("output/failure")
    assert "no such luck" in failure.read_text()
