"""Untrusted archives: their files stay in the target folder, and their size is limited."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from fastinfer.errors import ModelError, OutputError
from fastinfer.storage import archive as module
from fastinfer.storage.archive import read_members, unpack


def write(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def file(name: str, content: bytes = b"x", permissions: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.mode = permissions
    return member, content


def special(name: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member, b""


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_files_are_unpacked_with_their_bytes_and_plain_permissions(mode: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", file("./a/b", b"1" * 3_000_000), file("run", b"2", 0o4777), mode=mode)
    unpack(path, tmp_path / "there")
    assert (tmp_path / "there" / "a" / "b").read_bytes() == b"1" * 3_000_000
    assert [(tmp_path / "there" / name).stat().st_mode & 0o7777 for name in ("a/b", "run")] == [0o644, 0o755]
    assert [(member.name, member.size) for member in read_members(path)] == [("a/b", 3_000_000), ("run", 1)]


@pytest.mark.parametrize(
    "member",
    [file("../outside"), file("/outside"), file("a/../../outside")]
    + [special("x", kind) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)],
    ids=lambda member: f"{member[0].name}-{member[0].type.decode()}",
)
def test_members_that_are_not_plain_files_below_the_folder_are_refused(
    member: tuple[tarfile.TarInfo, bytes], tmp_path: Path
) -> None:
    path = write(tmp_path / "x.tar.gz", member)
    with pytest.raises(ModelError) as caught:
        unpack(path, tmp_path / "there" / "deep")
    assert (caught.value.code, caught.value.path) == ("unsafe_archive", str(path))
    assert sorted(found.name for found in tmp_path.rglob("*")) == ["deep", "there", "x.tar.gz"]


@pytest.mark.parametrize(("limit", "value"), [("BYTES_LIMIT", 5), ("MEMBERS_LIMIT", 1)])
def test_an_archive_above_the_limits_is_refused(
    limit: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, limit, value)
    path = write(tmp_path / "x.tar.gz", file("a", b"1234"), file("b", b"5678"))
    with pytest.raises(ModelError, match="makes the archive larger than") as caught:
        list(read_members(path))
    assert caught.value.code == "unsafe_archive"


def test_a_damaged_archive_is_an_error_of_the_model(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar.gz", file("a", bytes(range(256)) * 1000))
    for content in (path.read_bytes()[:100], b"no archive", b""):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="is not a readable tar archive") as caught:
            unpack(path, tmp_path / "there")
        assert caught.value.code == "bad_model"


def test_a_folder_that_cannot_be_written_is_an_error_of_the_output(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar.gz", file("a"))
    (tmp_path / "there").write_text("a file")
    with pytest.raises(OutputError):
        unpack(path, tmp_path / "there")
