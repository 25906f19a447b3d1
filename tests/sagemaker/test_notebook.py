"""examples/mnist/notebook.ipynb runs on this machine, in a new kernel."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import nbformat
import pytest

from tests.sagemaker.conftest import ENTRY_POINT

NOTEBOOK = ENTRY_POINT.with_name("notebook.ipynb")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebook_shows_digits_beside_their_predictions(local_root: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nbclient import NotebookClient
    for name in ("train", "test"):
        (tmp_path / name).symlink_to(ENTRY_POINT.parent / name)
    shutil.copy(ENTRY_POINT, tmp_path)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", coalesce_streams=True)
    client.execute(cwd=str(tmp_path), env={**os.environ, "FASTINFER_LOCAL_ROOT": str(local_root)})
    said = "".join(
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream"
    )
    assert "Validation-accuracy=0.9" in said
    assert "labels      [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]" in said
    assert "predictions [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]" in said
    images = [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})
    ]
    assert len(images) == 1


def test_the_notebook_as_it_is_shown_holds_no_paths_of_a_machine() -> None:
    text = NOTEBOOK.read_text()
    assert not [path for path in ("/home/", "/tmp/", str(Path.home())) if path in text]
    assert "of 1000 are right" in text
