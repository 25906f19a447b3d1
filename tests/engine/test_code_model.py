"""A model whose own code answers, told from others by its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastinfer.engine.code_model import find_code_model
from fastinfer.errors import ModelError


def test_the_digest_changes_with_any_file_and_any_name(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1")
    seen = {find_code_model(tmp_path).digest}
    (tmp_path / "code" / "__pycache__").mkdir()
    (tmp_path / "code" / "__pycache__" / "a.pyc").write_text("")
    assert find_code_model(tmp_path).digest in seen
    (tmp_path / "code" / "a.py").write_text("2")
    seen.add(find_code_model(tmp_path).digest)
    (tmp_path / "code" / "a.py").rename(tmp_path / "code" / "b.py")
    seen.add(find_code_model(tmp_path).digest)
    assert len(seen) == 3
    assert len(find_code_model(tmp_path / "code" / "b.py").digest) == 64


def test_a_model_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        find_code_model(tmp_path / "none")
    assert caught.value.code == "model_missing"
