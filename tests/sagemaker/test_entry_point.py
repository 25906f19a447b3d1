"""examples/mnist/mnist.py by itself: old interpreters, this one, checkpoints, answers."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastinfer.options import Options
from tests.conftest import skip
from tests.runs import transform
from tests.sagemaker.conftest import ENTRY_POINT, ROOT
from tests.sagemaker.environment import container_environment

# The framework of each of SageMaker's containers that has a Python older than fastinfer's.
OLD = {
    "3.6": ["mxnet==1.6.0", "numpy<1.17"],
    "3.7": ["mxnet==1.8.0.post0", "numpy<1.20"],
    "3.8": ["mxnet==1.9.1", "numpy<1.24"],
}
# The last pip of Python 3.6, which looks at what Python a package is for.
PIP = "pip==21.3.1"


def test_the_script_is_python_of_the_oldest_container() -> None:
    ast.parse(ENTRY_POINT.read_text(), feature_version=(3, 6))


def find_python(version: str) -> Path:
    found = shutil.which(f"python{version}")
    places = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    if not places and found is None:
        skip(f"there is no Python {version} here")
    return places[-1] if places else Path(str(found))


@pytest.mark.parametrize("version", list(OLD))
def test_the_script_trains_and_answers_with_the_framework_of_old_containers(
    version: str, channels: dict[str, Path], tmp_path: Path
) -> None:
    environment = ROOT / ".venv" / f"python{version}"
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        subprocess.run([find_python(version), "-m", "venv", "--clear", environment], check=True)
        for packages in ([PIP], OLD[version]):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, capture_output=True)
        (environment / "ready").touch()
    command = [python, ENTRY_POINT, "--epochs", "2", "--model-dir", tmp_path / "model"]
    for name, folder in channels.items():
        command += [f"--{name}", folder]
    variables = container_environment(python)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert "Epoch[1] Validation-accuracy=" in done.stderr
    ask = (
        "import sys; sys.path.insert(0, sys.argv[1]); import mnist; model = mnist.model_fn(sys.argv[2])\n"
        "print(mnist.transform_fn(model, sys.stdin.read(), 'text/csv', 'application/json')[0])"
    )
    body = ",".join(["0"] * 400 + ["1"] * 384) + "\n"
    answer = subprocess.run(
        [python, "-c", ask, ENTRY_POINT.parent, tmp_path / "model"],
        cwd=tmp_path,
        input=body * 2,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = json.loads(answer.stdout)
    assert first == second
    assert sum(first) == pytest.approx(1)
    # A model of the old framework runs here.
    (tmp_path / "x.csv").write_text(body)
    transform(tmp_path / "model", tmp_path / "x.csv", tmp_path / "out", Options(exact=True))
    assert json.loads((tmp_path / "out" / "x.csv.out").read_text())[0] == pytest.approx(first, abs=1e-6)


def run_here(channels: dict[str, Path], *arguments: object) -> str:
    command = [sys.executable, str(ENTRY_POINT), *map(str, arguments)]
    for name, folder in channels.items():
        command += [f"--{name}", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def test_a_training_continues_after_its_last_whole_checkpoint(channels: dict[str, Path], tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    options = ["--checkpoint-dir", checkpoints, "--model-dir", tmp_path / "model", "--epochs"]
    run_here(channels, *options, 2)
    assert sorted(os.listdir(checkpoints)) == [
        "mnist-0001.params",
        "mnist-0001.states",
        "mnist-0002.params",
        "mnist-0002.states",
        "mnist-symbol.json",
    ]
    # Stopped while the last one was written: each of the files may be half.
    (checkpoints / "mnist-symbol.json").write_text("{")
    (checkpoints / "mnist-0002.params").write_bytes((checkpoints / "mnist-0002.params").read_bytes()[:1000])
    log = run_here(channels, *options, 3)
    assert "the checkpoint of epoch 2 is passed over" in log
    assert "going on behind epoch 1" in log
    assert [f"Epoch[{epoch}] Train-accuracy" in log for epoch in range(4)] == [False, True, True, False]
    # Nothing is left to do: the model is that of the last checkpoint.
    before = (tmp_path / "model" / "model-0000.params").read_bytes()
    assert "going on behind epoch 3" in run_here(channels, *options, 3)
    assert (tmp_path / "model" / "model-0000.params").read_bytes() == before


def test_a_folder_without_images_is_an_error_that_names_them(channels: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_here({**channels, "test": tmp_path / "empty"}, "--model-dir", tmp_path / "model")
    assert "expected images.gz and labels.gz below" in caught.value.stderr
