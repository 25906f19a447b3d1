"""The Python API."""

from __future__ import annotations

import doctest
import gzip
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastinfer.kernels
import fastinfer.transformer
from fastinfer.errors import ConfigError, InputError, ModelError
from fastinfer.transformer import OptionKeywords
from tests.conftest import csv, read_tree


def test_transform_wait_and_output_path(samples: Path, mlp: Path, tmp_path: Path) -> None:
    transformer = fastinfer.Transformer(mlp, workers=2)
    assert transformer.output_path is None
    assert transformer.transform(samples, tmp_path / "out") is transformer
    summary = transformer.wait()
    assert transformer.output_path == str(tmp_path / "out")
    assert (summary.inputs, summary.records) == (30, 30)
    assert len(read_tree(tmp_path / "out")) == 30


def test_one_transformer_serves_several_runs(samples: Path, mlp: Path, tmp_path: Path) -> None:
    transformer = fastinfer.Transformer(mlp)
    trees = []
    for name in ("one", "two"):
        transformer.transform(samples, tmp_path / name).wait()
        trees.append(read_tree(tmp_path / name))
    assert trees[0] == trees[1]


def test_an_output_folder_is_named_where_none_is(
    samples: Path, mlp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    transformer = fastinfer.Transformer(mlp)
    transformer.transform(samples).wait()
    assert transformer.output_path is not None
    assert len(read_tree(Path(transformer.output_path))) == 30


def test_compressed_objects_are_expanded_unless_that_is_not_wanted(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"1,2\n3,4\n"))
    assert fastinfer.transform(tmp_path / "x.csv.gz", tmp_path / "out", linear).records == 2
    with pytest.raises(InputError, match="compressed with gzip"):
        fastinfer.transform(tmp_path / "x.csv.gz", tmp_path / "plain", linear, compression_type="none")


def test_relative_paths_mean_the_working_folder_of_the_call(
    linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"{number}.csv").write_text("1,2\n")
    monkeypatch.chdir(tmp_path)
    transformer = fastinfer.Transformer(linear, table="rows.csv")
    transformer.transform("in", "out")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert transformer.wait().inputs == 5
    assert (tmp_path / "rows.csv").exists()
    assert len(read_tree(tmp_path / "out")) == 5
    assert not os.listdir()


def test_wait_raises_what_went_wrong(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"1,2\n3,oops\n")
    transformer = fastinfer.Transformer(linear).transform(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match=r"x\.csv:2:3: expected a number, found 'oops'") as caught:
        transformer.wait()
    assert (caught.value.line, caught.value.column, caught.value.code) == (2, 3, "expected_number")
    with pytest.raises(InputError):
        transformer.wait()


def test_a_model_that_cannot_serve_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        fastinfer.Transformer(tmp_path)
    with pytest.raises(ConfigError):
        fastinfer.Transformer(workers=0)


def test_wait_before_transform_says_so(mlp: Path) -> None:
    with pytest.raises(ConfigError, match="nothing was started"):
        fastinfer.Transformer(mlp).wait()


def test_a_run_can_be_stopped_and_continued(digits: np.ndarray, mlp: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    body = csv(digits[:1000], "integers") * 5
    for number in range(40):
        (source / f"{number:02d}.csv").write_bytes(body)
    transformer = fastinfer.Transformer(mlp).transform(source, tmp_path / "out")
    with pytest.raises(ConfigError, match="a transform is running"):
        transformer.transform(source, tmp_path / "out")
    transformer.stop()
    first = transformer.wait()
    assert first.inputs < 40
    second = transformer.transform(source, tmp_path / "out").wait()
    assert (second.inputs, second.skipped) == (40 - first.inputs, first.inputs)
    assert len(set(read_tree(tmp_path / "out").values())) == 1
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]


def test_the_function_waits_and_returns_the_summary(samples: Path, mlp: Path, tmp_path: Path) -> None:
    summary = fastinfer.transform(samples, tmp_path / "out", mlp, workers=2, exact=True)
    assert isinstance(summary, fastinfer.Summary)
    assert (summary.inputs, summary.records) == (30, 30)
    fastinfer.Transformer(mlp, exact=True).transform(samples, tmp_path / "other").wait()
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "other")


def test_the_function_raises_what_went_wrong(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"1,2\n3,oops\n")
    with pytest.raises(InputError, match=r"x\.csv:2:3: expected a number, found 'oops'"):
        fastinfer.transform(tmp_path, tmp_path / "out", linear)


def test_an_unknown_option_is_refused(mlp: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'batchsize'\. Hint: the options are exact, batch_size, "):
        fastinfer.Transformer(mlp, batchsize=3)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="unknown option 'wait'"):
        fastinfer.transform(tmp_path, tmp_path, mlp, wait=True)  # type: ignore[call-arg]


@pytest.mark.parametrize("path", ["", "a\0b", "a\ud800", 5, b"a"])
def test_what_cannot_be_a_path_is_refused_at_once(path: Any, mlp: Path, samples: Path, tmp_path: Path) -> None:
    for name, call in (
        ("model", lambda: fastinfer.Transformer(path)),
        ("model", lambda: fastinfer.Predictor(path)),
        ("data", lambda: fastinfer.transform(path, tmp_path / "out", mlp)),
        ("output", lambda: fastinfer.transform(samples, path, mlp)),
    ):
        with pytest.raises(ConfigError, match=rf"^{name} (must be a path|has a character that no path has)") as caught:
            call()
        assert caught.value.code == "bad_option"


def test_the_typed_keywords_are_the_options() -> None:
    keywords = OptionKeywords.__annotations__
    expected = {field.name: field.type for field in (*fields(fastinfer.Options), *fields(fastinfer.TransformRequest))}
    assert {name: getattr(kind, "__forward_arg__", kind) for name, kind in keywords.items()} == expected


@pytest.mark.parametrize(
    "statements",
    [
        "import fastinfer; from fastinfer import transform",
        "import fastinfer, fastinfer.transform; transform = fastinfer.transform",
        "import fastinfer; fastinfer.transform; import fastinfer.transform; transform = fastinfer.transform",
        "import fastinfer, importlib; transform = importlib.import_module('fastinfer.transform')",
    ],
)
def test_the_submodule_of_the_same_name_does_not_hide_the_function(statements: str) -> None:
    check = (
        "; from fastinfer.transformer import transform as function; assert transform is fastinfer.transform is function"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", statements + check], check=True, timeout=300)


def test_dir_lists_the_public_names_and_all_exist() -> None:
    assert dir(fastinfer) == sorted(fastinfer.__all__)
    for name in dir(fastinfer):
        assert getattr(fastinfer, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        fastinfer.Nothing  # noqa: B018


def test_every_public_name_is_in_the_docs() -> None:
    page = (Path(__file__).parent.parent / "docs" / "api.md").read_text()
    assert [name for name in fastinfer.__all__ if f"`{name}" not in page and f"fastinfer.{name}" not in page] == []


def test_exact_is_off_by_default(mlp: Path) -> None:
    assert fastinfer.Options().exact is False
    assert fastinfer.Transformer(mlp).options.exact is False


def test_the_documented_examples_run() -> None:
    for module in (fastinfer.kernels, fastinfer.transformer):
        failed, tried = doctest.testmod(module)
        assert (failed, tried > 0) == (0, True)
