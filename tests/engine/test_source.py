"""What a source names, whatever store it is in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastinfer.engine.request import TransformRequest
from fastinfer.engine.source import Listing, find_objects, name_source, read_manifest
from fastinfer.errors import InputError
from fastinfer.storage.local import LocalStore

NAMES = [
    "a.csv",
    "part-00001",
    "sub/b.txt",
    ".ipynb_checkpoints/old.csv",
    "._a.csv",
    "_SUCCESS",
    "sub/_temporary/0.csv",
    "sub/.DS_Store",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1\n")
    return tmp_path / "in"


def keys(source: object, output: Path | None = None, **fields: Any) -> tuple[list[str], dict[str, str]]:
    passed: dict[str, str] = {}
    listing = Listing(
        str(source),
        TransformRequest(**fields),
        output=None if output is None else str(output),
        on_passed_over=lambda key, reason: passed.update({key: reason}),
    )
    found = [item.key for item in listing]
    assert listing.passed_over == len(passed)
    return found, passed


def test_of_a_folder_all_objects_but_hidden_ones_are_meant(folder: Path) -> None:
    found, passed = keys(folder)
    assert found == ["a.csv", "part-00001", "sub/b.txt"]
    hidden = [".ipynb_checkpoints/", "._a.csv", "_SUCCESS", "sub/_temporary/", "sub/.DS_Store"]
    assert passed == dict.fromkeys(hidden, "hidden")


def test_a_glob_means_the_same_objects(folder: Path) -> None:
    assert keys(f"{folder}/*") == (["a.csv", "part-00001"], {"_SUCCESS": "hidden"})
    assert keys(f"{folder}/**/*.csv")[0] == ["a.csv"]
    assert keys(f"{folder}/_*")[0] == ["_SUCCESS"]


def test_a_file_that_is_named_itself_is_taken(folder: Path) -> None:
    assert keys(folder / "_SUCCESS") == (["_SUCCESS"], {})
    assert [item.key for item in find_objects(str(folder / "sub/b.txt"), LocalStore())] == ["b.txt"]


def test_patterns_fit_whole_keys_or_names(folder: Path) -> None:
    assert keys(folder, include=("*.csv", "part-*"))[0] == ["a.csv", "part-00001"]
    found, passed = keys(folder, exclude=("sub/*", "a.*"))
    assert found == ["part-00001"]
    assert (passed["a.csv"], passed["sub/b.txt"]) == ("excluded", "excluded")
    assert keys(f"{folder}/*", include="*.csv")[0] == ["a.csv"]


def test_what_a_run_writes_is_none_of_its_objects(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "a.csv.out").write_bytes(b"[]")
    assert keys(folder, folder / "out")[0] == ["a.csv", "part-00001", "sub/b.txt"]
    assert keys(folder, folder.parent / "elsewhere")[0] == ["a.csv", "out/a.csv.out", "part-00001", "sub/b.txt"]
    found, passed = keys(folder, folder)
    (folder / "out" / "_run.json").touch()
    assert keys(folder, folder.parent / "elsewhere")[1]["out/"] == "results of a run"
    assert (found, passed["out/a.csv.out"]) == (["a.csv", "part-00001", "sub/b.txt"], "a result")


def test_a_manifest_names_objects_below_its_prefix(folder: Path) -> None:
    manifest = folder.parent / "list.json"
    manifest.write_text(json.dumps([{"prefix": f"{folder}/"}, "sub/b.txt", "_SUCCESS", "gone.csv"]))
    found, passed = keys(manifest, data_type="ManifestFile", exclude=("b.*",))
    assert (found, passed) == (["_SUCCESS", "gone.csv"], {"sub/b.txt": "excluded"})
    items = {item.key: item for item in read_manifest(str(manifest))}
    assert items["sub/b.txt"].uri == str(folder / "sub/b.txt")
    problem = items["gone.csv"].problem
    assert problem is not None
    assert problem.code == "input_missing"


def test_a_manifest_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file") as caught:
        list(read_manifest(str(tmp_path / "none")))
    assert caught.value.code == "input_missing"


def test_a_source_has_one_name_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert name_source("in/") == name_source("./in") == name_source(str(tmp_path / "in"))


def test_a_glob_passes_over_the_results_of_runs_unless_it_names_them(tmp_path: Path) -> None:
    (tmp_path / "runs" / "out").mkdir(parents=True)
    for name in ("a.csv", "out/a.csv.out", "out/_run.json", "b.out"):
        (tmp_path / "runs" / name).touch()
    for pattern, keys in (("**", ["a.csv", "b.out"]), ("*/*.out", ["out/a.csv.out"]), ("o*/*", [])):
        listing = Listing(f"{tmp_path}/runs/{pattern}")
        assert [item.key for item in listing] == keys
    (tmp_path / "runs" / "_run.json").touch()
    assert [item.key for item in Listing(f"{tmp_path}/runs/*")] == ["a.csv"]


def test_a_pattern_below_a_hidden_folder_does_not_ask_for_hidden_objects(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    for name in ("a.csv", "_a.csv"):
        (tmp_path / ".cache" / name).touch()
    assert [item.key for item in Listing(f"{tmp_path}/.cache/*.csv")] == ["a.csv"]
    assert [item.key for item in Listing(f"{tmp_path}/.cache/_*.csv")] == ["_a.csv"]
