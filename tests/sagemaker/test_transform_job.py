"""A transform job: how objects become requests, and what becomes of objects that fail."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.errors import InputError
from fastinfer.models.module import SHIPPED_MODEL
from fastinfer.sagemaker import LocalSession
from fastinfer.sagemaker.code_archive import pack_folder
from fastinfer.sagemaker.transform_job import Transform
from tests.conftest import csv, read_tree

BODY = b"1\n22\n333\n4"


def transform(folder: Path, **request: Any) -> Transform:
    full = {
        "Model": {"PrimaryContainer": {"ModelDataUrl": str(folder / "model.tar.gz")}},
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3Uri": str(folder / "in")}},
            "ContentType": "text/csv",
            **request.pop("input", {}),
        },
        "TransformOutput": {"S3OutputPath": str(folder / "results"), **request.pop("output", {})},
        **request,
    }
    return Transform(folder / "job", full, LocalSession())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.csv").write_bytes(BODY)
    return tmp_path


def run_payloads(folder: Path, **request: Any) -> list[str]:
    """The payloads that a model's own code is given, as that code shows them."""
    (folder / "model" / "code").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "code" / "inference.py").write_text(
        "def model_fn(model_dir): return 0\n"
        "def transform_fn(model, data, content_type, accept): return repr(data) + ';', 'text/plain'\n"
    )
    pack_folder(folder / "model", folder / "model.tar.gz")
    transform(folder, **request).run()
    return (folder / "results" / "x.csv.out").read_text().split(";")[:-1]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, [BODY]),
        ({"input": {"SplitType": "Line"}}, [BODY]),
        ({"input": {"SplitType": "Line"}, "BatchStrategy": "SingleRecord"}, [b"1\n", b"22\n", b"333\n", b"4"]),
    ],
)
def test_an_object_is_one_request_or_one_for_each_line(
    request_: dict[str, Any], expected: list[bytes], folder: Path
) -> None:
    assert run_payloads(folder, **request_) == [repr(each.decode()) for each in expected]


def test_a_limit_of_zero_allows_every_size(folder: Path) -> None:
    (folder / "in" / "x.csv").write_bytes(b"1," * (4 << 20))
    with pytest.raises(InputError, match=r"1 object failed.* more than 6,291,456 bytes"):
        run_payloads(folder)
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "job")
    (payload,) = run_payloads(folder, MaxPayloadInMB=0)
    assert len(payload) == (8 << 20) + 2


@pytest.mark.parametrize("bad", [False, True])
def test_an_object_that_fails_has_no_result_and_is_named_with_the_place(
    bad: bool, tmp_path: Path, digits: np.ndarray
) -> None:
    shutil.copytree(SHIPPED_MODEL, tmp_path / "model")
    pack_folder(tmp_path / "model", tmp_path / "model.tar.gz")
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / f"{name}.txt").write_bytes(b"oops\n" if bad and name == "b" else csv(digits[:1]))
    if bad:
        with pytest.raises(InputError, match=r"1 object failed.*b\.txt:1:1: expected a number, found 'oops'"):
            transform(tmp_path).run()
    else:
        transform(tmp_path).run()
    assert sorted(read_tree(tmp_path / "results")) == [f"{name}.txt.out" for name in "abc" if not (bad and name == "b")]


def test_fields_without_meaning_are_named_in_the_jobs_log(
    folder: Path, linear: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "in" / "x.csv").write_text("1,2\n")
    pack_folder(linear, folder / "model.tar.gz")
    transform(folder, ModelClientConfig={"InvocationsMaxRetries": 3}, TransformResources={"InstanceCount": 1}).run()
    assert capsys.readouterr().out.startswith("note: ModelClientConfig: without meaning on this machine\n")


@pytest.mark.parametrize("manifest", [False, True])
def test_relative_places_mean_the_working_folder_before_the_code_ran(
    manifest: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "model" / "code").mkdir(parents=True)
    (folder / "model" / "code" / "inference.py").write_text(
        "import os\ndef model_fn(model_dir): os.chdir('/')\n"
        "def transform_fn(model, data, content_type, accept): return data, 'text/plain'\n"
    )
    pack_folder(folder / "model", folder / "model.tar.gz")
    (folder / "in" / "y.csv").write_text("y\n")
    (folder / "list.txt").write_text("in/x.csv\nin/y.csv\n")
    monkeypatch.chdir(folder)
    source = {"S3Uri": "list.txt", "S3DataType": "ManifestFile"} if manifest else {"S3Uri": "in"}
    transform(Path(), input={"DataSource": {"S3DataSource": source}}).run()
    assert sorted(path.name for path in (folder / "results").rglob("*.out")) == ["x.csv.out", "y.csv.out"]


def test_code_that_would_end_the_process_fails_its_object_alone(folder: Path) -> None:
    (folder / "model" / "code").mkdir(parents=True)
    (folder / "model" / "code" / "inference.py").write_text(
        "import sys\ndef model_fn(model_dir): return 0\n"
        "def transform_fn(model, data, content_type, accept):\n"
        "    if data == 'y': sys.exit(3)\n"
        "    return data, 'text/plain'\n"
    )
    pack_folder(folder / "model", folder / "model.tar.gz")
    (folder / "in" / "y.csv").write_text("y")
    with pytest.raises(InputError, match=r"1 object failed; .*y\.csv.*transform_fn failed: SystemExit: 3"):
        transform(folder).run()
    assert sorted(read_tree(folder / "results")) == ["x.csv.out"]


def test_packages_that_the_code_asks_for_are_not_installed_and_the_log_says_so(folder: Path) -> None:
    (folder / "model" / "code").mkdir(parents=True)
    (folder / "model" / "code" / "requirements.txt").write_text("no-such-package-at-all")
    with pytest.warns(
        RuntimeWarning, match=r"/ml/model/code/requirements\.txt is not installed here.*Hint: pip install -r /"
    ):
        run_payloads(folder)
