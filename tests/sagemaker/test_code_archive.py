"""What is packed leaves the machine: the same files give the same bytes, and nothing goes that was not named."""

from __future__ import annotations

import os
import resource
import tarfile
from pathlib import Path

import pytest

from fastinfer.errors import ConfigError, ModelError, OutputError
from fastinfer.sagemaker.code_archive import pack, pack_folder, repack_model, source_files
from fastinfer.storage.archive import unpack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    (folder / "inside" / "__pycache__").mkdir(parents=True)
    (folder / "train.py").write_text("print('train')\n")
    (folder / "inside" / "module.py").write_text("x = 1\n")
    (folder / "inside" / "__pycache__" / "module.pyc").write_bytes(b"compiled")
    return folder


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_an_archive_holds_the_folder_without_users_and_times(folder: Path, tmp_path: Path) -> None:
    archives = []
    for number in range(2):
        archives.append(tmp_path / f"{number}.tar.gz")
        pack(source_files("train.py", str(folder)), archives[-1])
        os.utime(folder / "train.py", (number * 1e6, number * 1e6))
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert names(archives[0]) == ["inside/module.py", "train.py"]
    with tarfile.open(archives[0]) as tar:
        assert {(member.mtime, member.uname, member.uid) for member in tar} == {(0, "", 0)}


def test_a_script_alone_goes_alone(folder: Path, tmp_path: Path) -> None:
    (folder / ".env").write_text("SECRET=1")
    pack(source_files(str(folder / "train.py"), None, [str(folder / "inside")]), tmp_path / "x.tar.gz")
    assert names(tmp_path / "x.tar.gz") == ["inside/module.py", "train.py"]


@pytest.mark.parametrize("name", [".env", ".env.local", ".aws", ".ssh", "id_rsa", ".netrc"])
def test_a_folder_with_credentials_is_refused(name: str, folder: Path) -> None:
    if name in (".aws", ".ssh"):
        (folder / name).mkdir()
    else:
        (folder / name).write_text("secret")
    with pytest.raises(ConfigError) as caught:
        source_files("train.py", str(folder))
    assert caught.value.code == "secrets"
    assert name in str(caught.value)


def test_home_and_what_is_above_it_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for home in (folder, folder / "inside"):
        monkeypatch.setenv("HOME", str(home))
        with pytest.raises(ConfigError) as caught:
            source_files("train.py", str(folder))
        assert caught.value.code == "unsafe_source"


def test_links_out_of_the_folder_and_too_much_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("x")
    with pytest.raises(ConfigError) as caught:
        source_files("train.py", str(folder), limit_bytes=10)
    assert caught.value.code == "too_large"
    (folder / "link.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(ConfigError) as caught:
        source_files("train.py", str(folder))
    assert caught.value.code == "link"


@pytest.mark.parametrize(
    ("entry_point", "source_dir", "code"),
    [
        ("nothing.py", None, "no_entry_point"),
        ("nothing.py", "code", "no_entry_point"),
        ("train.py", "nowhere", "no_source"),
    ],
)
def test_missing_code_is_refused(
    entry_point: str, source_dir: str | None, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    with pytest.raises(ConfigError) as caught:
        source_files(entry_point, source_dir)
    assert caught.value.code == code


def test_a_model_gets_its_code_and_loses_the_old(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "code").mkdir(parents=True)
    (model / "model-symbol.json").write_text("{}")
    (model / "code" / "old.py").write_text("old")
    pack_folder(model, tmp_path / "model.tar.gz")
    pack(source_files("train.py", str(folder)), tmp_path / "source.tar.gz")
    repack_model(tmp_path / "model.tar.gz", tmp_path / "new.tar.gz", code=tmp_path / "source.tar.gz", keep_code=False)
    unpack(tmp_path / "new.tar.gz", tmp_path / "there")
    found = sorted(
        str(path.relative_to(tmp_path / "there")) for path in (tmp_path / "there").rglob("*") if path.is_file()
    )
    assert found == ["code/inside/module.py", "code/train.py", "model-symbol.json"]


def test_an_archive_that_cannot_grow_is_an_error_of_it_not_of_what_is_packed(folder: Path, tmp_path: Path) -> None:
    (folder / "large.bin").write_bytes(os.urandom(100_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"x\.tar\.gz: cannot be written: File too large"):
            pack(source_files("train.py", str(folder)), tmp_path / "x.tar.gz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code"]


def test_an_archive_that_would_leave_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "x", "../outside")
    with pytest.raises(ModelError) as caught:
        unpack(tmp_path / "bad.tar.gz", tmp_path / "there" / "inside")
    assert caught.value.code == "unsafe_archive"
    assert not (tmp_path / "there" / "outside").exists()
