"""Local jobs as tests make them: a script, a model of the shipped network, a transform."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from fastinfer.models.module import SHIPPED_MODEL
from fastinfer.sagemaker import LocalSession, Transformer
from fastinfer.sagemaker.code_archive import pack_folder
from tests.conftest import read_tree


def write_script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(text)
    return str(path)


def make_model(folder: Path, code: str | None = None) -> str:
    """A local model of the shipped network, with a serving module where one is given; its name."""
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
