"""Untrusted archives: their files stay in the target folder, and their size is limited."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import subprocess
import tarfile
import tracemalloc
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


def test_what_helps_depends_on_what_is_wrong_with_an_archive(tmp_path: Path) -> None:
    for content, hint in (
        (b"no archive", "name a folder or a tar archive (plain, gzip, bzip2 or xz)"),
        (b"!" * 5000, "name a folder or a tar archive (plain, gzip, bzip2 or xz)"),
        (SMALL[:700], "copy the archive again, or pack it again"),
        (gzip.compress(SMALL + END)[:-1], "copy the archive again, or pack it again"),
        (SMALL + END + b"x", "pack the files again with tar"),
    ):
        with pytest.raises(ModelError, match="is not a readable tar archive") as caught:
            read(tmp_path / "x", content)
        assert caught.value.hint == hint
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="it is not a regular file") as caught:
        list(read_members(tmp_path / "pipe"))
    assert caught.value.hint is None


def test_a_folder_that_cannot_be_written_is_an_error_of_the_output(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar.gz", file("a"))
    (tmp_path / "there").write_text("a file")
    with pytest.raises(OutputError):
        unpack(path, tmp_path / "there")


# What a stranger can put into an archive


def header(name: bytes = b"a", size: int = 0, kind: bytes = b"0", **fields: bytes) -> bytes:
    """A header of ustar, with a checksum that fits."""
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    block[0:100] = name.ljust(100, b"\0")
    block[124:136] = fields.get("size_field", b"%011o\0" % size)
    block[156:157] = kind
    return checked(block)


def checked(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


END = bytes(1024)
SMALL = header(b"a", 4) + padded(b"1234")


def read(path: Path, content: bytes) -> dict[str, bytes]:
    path.write_bytes(content)
    return {member.name: member.content.read() for member in read_members(path)}


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (SMALL, "bad_model", "it ends too early"),  # without the zeros at the end
        (SMALL[:700], "bad_model", "it ends too early"),
        (SMALL + END + b"x", "bad_model", "something follows its end"),
        (SMALL + END + SMALL + END, "bad_model", "something follows its end"),
        (SMALL + END + bytes(1 << 21), "bad_model", "something follows its end"),
        (SMALL[:10] + b"!" + SMALL[11:] + END, "bad_model", "a header is damaged: its checksum is"),
        (
            SMALL + b"!" * 512 + END,
            "bad_model",
            "a number in it is '!!!!!!!!', expected octal digits",
        ),  # not the end of the archive
        (
            header(b"x" * 100, 2 << 30, b"L") + bytes(4096),
            "bad_model",
            "the headers between two members have more than 1,048,576 bytes",
        ),
        (
            header(b"x", 2 << 30, b"x") + bytes(4096),
            "bad_model",
            "the headers between two members have more than 1,048,576 bytes",
        ),
        (
            header(b"x", 2 << 30, b"g") + bytes(4096),
            "bad_model",
            "the headers between two members have more than 1,048,576 bytes",
        ),
        (
            header(b"x", 12, b"x") + padded(b"12 path=ab\n!") + SMALL + END,
            "bad_model",
            "it has '12 path=ab\\n!', expected LENGTH KEY=VALUE",
        ),
        (
            (header(b"x", 13, b"g") + padded(b"13 comment=a\n")) * 3000 + END,
            "bad_model",
            "have more than 1,048,576 bytes",
        ),
        (SMALL + header(b"x", 3, b"L") + padded(b"ab\0") + END, "bad_model", "that announces another member"),
        (SMALL + header(b"x", 10, b"x") + padded(b"10 path=a\n") + END, "bad_model", "that announces another member"),
        (header(b"a", 512, b"S") + bytes(512) + END, "unsafe_archive", "is stored as a sparse file"),
        (
            header(b"x", 22, b"x") + padded(b"22 GNU.sparse.major=1\n") + SMALL + END,
            "unsafe_archive",
            "is stored as a sparse file",
        ),
        (header(b"x", 13, b"x") + padded(b"13 path=a\0bc\n") + SMALL + END, "unsafe_archive", "no file can have"),
        (
            header(b"x", 9, b"x") + padded(b"9 size=x\n") + SMALL + END,
            "bad_model",
            "the size of 'a' is 'x', expected 1 to 18 digits",
        ),
        (header(b".") + END, "unsafe_archive", "is a file without a name"),
        (header(b"a" * 100, 300, b"L") + padded(b"b" * 300) + SMALL + END, "unsafe_archive", "no file can have"),
        (header(b"a", size_field=b"\x80" + b"\xff" * 11) + END, "unsafe_archive", "makes the archive larger than"),
        (
            header(b"a", size_field=b"9" * 12) + END,
            "bad_model",
            "a number in it is '999999999999', expected octal digits",
        ),
        (
            header(b"a", 0, b"5", size_field=b"%011o\0" % 5) + END,
            "bad_model",
            "the folder 'a' has 5 bytes, expected none",
        ),
        (
            header(b"x", 2, b"L") + padded(b"b\0") + header(b"x", 10, b"x") + padded(b"10 path=c\n") + SMALL + END,
            "bad_model",
            "one member has two names: 'b' and 'c'",
        ),
        (
            header(b"x", 9, b"x") + padded(b"9 size=4\n") + header(b"x", 9, b"x") + padded(b"9 size=3\n") + SMALL + END,
            "bad_model",
            "one member has two pax headers",
        ),
        (
            header(b"x", 9, b"g") + padded(b"9 size=4\n") + SMALL + END,
            "bad_model",
            "a header gives all members one size",
        ),
        (
            header(b"x", 9, b"g") + padded(b"9 path=b\n") + SMALL + END,
            "bad_model",
            "a header gives all members one path",
        ),
        (header(b"a/", 4) + padded(b"1234") + END, "bad_model", "the name of the file 'a/' ends as a folder's"),
        (header(b"x", 2, b"L") + padded(b"b\0!") + SMALL + END, "bad_model", "something follows its 2 bytes"),
        (
            header(b"x", 10, b"x") + padded(b"10 path=c\n") + header(b"a/", 4, b"\0") + padded(b"1234") + END,
            "bad_model",
            "one of the names 'a/' and 'c' is a file's, the other a folder's",
        ),
        (SMALL + header(b"a/b") + END, "unsafe_archive", "is a file and a folder"),
        (header(b"a/b") + SMALL + END, "unsafe_archive", "is a file and a folder"),
        (header(b"a", 0, b"5") + SMALL + END, "unsafe_archive", "is a file and a folder"),
    ],
)
def test_what_is_not_a_plain_archive_is_refused(content: bytes, code: str, words: str, tmp_path: Path) -> None:
    for packed in (content, gzip.compress(content)):
        with pytest.raises(ModelError) as caught:
            read(tmp_path / "x", packed)
        assert (caught.value.code, caught.value.path) == (code, str(tmp_path / "x"))
        assert words in str(caught.value)


@pytest.mark.parametrize(("start", "stop"), [(108, 116), (116, 124), (136, 148), (329, 337), (337, 345)])
def test_damage_shows_in_owner_group_time_and_device_too(start: int, stop: int, tmp_path: Path) -> None:
    """tarfile takes such a header for the end of the archive."""
    block = bytearray(header(b"b", 4))
    for number in (b"1".rjust(stop - start), b"\xff".ljust(stop - start, b"\xfe"), bytes(stop - start)):
        block[start:stop] = number
        assert set(read(tmp_path / "x", SMALL + checked(block) + padded(b"5678") + END)) == {"a", "b"}
        with tarfile.open(tmp_path / "x") as tar:
            assert tar.getnames() == ["a", "b"]
    block[start:stop] = b"ustar".ljust(stop - start, b"\0")
    with pytest.raises(ModelError, match=r"a number in it is 'ustar.*', expected octal digits"):
        read(tmp_path / "x", SMALL + checked(block) + padded(b"5678") + END)


@pytest.mark.parametrize(
    ("magic", "name"), [(b"ustar\x0000", "d/a"), (b"ustar\0\0\0", "d/a"), (b"ustar  \0", "a"), (bytes(8), "a")]
)
def test_the_front_of_a_name_is_read_where_posix_has_it(magic: bytes, name: str, tmp_path: Path) -> None:
    block = bytearray(header(b"a", 4))
    block[257:265], block[345:346] = magic, b"d"
    assert read(tmp_path / "x", checked(block) + padded(b"1234") + END) == {name: b"1234"}
    # So does GNU tar.
    listed = subprocess.run(["tar", "tf", tmp_path / "x"], capture_output=True, text=True, check=True)
    assert listed.stdout == f"{name}\n"


def test_a_front_without_a_name_is_damage(tmp_path: Path) -> None:
    """To some programs it is a file, to others a folder."""
    block = bytearray(header(b"", kind=b"\0"))
    block[345:346] = b"d"
    with pytest.raises(ModelError, match="of its name there is only 'd'"):
        read(tmp_path / "x", checked(block) + END)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tarfile_writes_is_read(form: int, tmp_path: Path) -> None:
    names = [
        "a",
        "d/" * 40 + "long",
        "f/" + "g" * 99 + "/h",
        "é",
        *(["b" * 200, "c/" + "ü" * 120] if form != tarfile.USTAR_FORMAT else []),
    ]
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode().ljust(len(name), b"!")[: len(name)]))
    found = [(member.name, member.size) for member in read_members(tmp_path / "x.tar")]
    assert found == [(name, len(name)) for name in names]


def test_the_later_of_two_files_with_one_name_is_the_one_that_counts(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(SMALL + header(b"a", 2) + padded(b"56") + END)
    unpack(tmp_path / "x", tmp_path / "there")
    assert (tmp_path / "there" / "a").read_bytes() == b"56"


def test_folders_on_the_way_count_as_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMBERS_LIMIT", 5)
    with pytest.raises(ModelError, match="larger than"):
        read(tmp_path / "x", header(b"a/b/c/d/e/f") + END)
    with pytest.raises(ModelError, match="larger than"):
        read(tmp_path / "x", header(b"a") * 6 + END)


def test_one_wrong_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    content = gzip.compress(SMALL + header(b"b", 700) + padded(bytes(range(256)) * 3)[:1024] + END, mtime=0)
    expected = read(tmp_path / "x", content)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        try:
            found = read(tmp_path / "x", bytes(damaged))
        except ModelError:
            continue
        # Some bits mean nothing: the time in gzip's header, or which of several zeros is repeated.
        assert found == expected


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(ModelError, match="it is not a regular file"):
        list(read_members(tmp_path / "x"))


def test_a_bomb_costs_what_is_read_of_it(tmp_path: Path) -> None:
    """A long name, headers and a file of 200 MB, each in some 200 kB."""
    big = 200_000_000
    for content in (
        header(b"x", big, b"L") + bytes(big) + SMALL + END,
        header(b"x", big, b"x") + bytes(big) + SMALL + END,
        header(b"x", big) + bytes(-big % 512 + big) + SMALL + END,
    ):
        (tmp_path / "x").write_bytes(gzip.compress(content, 1))
        tracemalloc.start()
        try:
            with contextlib.suppress(ModelError):
                list(read_members(tmp_path / "x"))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 16_000_000
