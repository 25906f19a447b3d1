"""What counts as an input, what it is called, and how its bytes come."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.errors import InputError
from fastinfer.storage.local import InputFile, find_inputs, read_chunks


def keys(source: object) -> list[str]:
    return [item.key for item in find_inputs(str(source))]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.csv", "sub/deep/c.csv", "sub/UPPER.CSV", "notes.txt", "a.csv.out", "x.csv.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1,2\n")
    return tmp_path


def test_a_folder_gives_its_csv_files_in_the_order_of_their_names(tree: Path) -> None:
    assert keys(tree) == ["a.csv", "b.csv", "sub/UPPER.CSV", "sub/deep/c.csv"]
    assert keys(f"{tree}/") == keys(tree)


def test_a_file_is_taken_whatever_it_is_called(tree: Path) -> None:
    assert keys(tree / "notes.txt") == ["notes.txt"]


def test_a_globs_keys_begin_where_its_signs_do(tree: Path) -> None:
    assert keys(f"{tree}/*.csv") == ["a.csv", "b.csv"]
    assert keys(f"{tree}/s*/deep/*.csv") == ["sub/deep/c.csv"]
    assert keys(f"{tree}/**/*.csv") == ["a.csv", "b.csv", "sub/deep/c.csv"]
    assert keys(f"{tree}/[ab].csv") == ["a.csv", "b.csv"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "[1].csv").write_bytes(b"1\n")
    assert keys(tmp_path / "[1].csv") == ["[1].csv"]


def test_size_and_time_are_the_files(tree: Path) -> None:
    os.utime(tree / "a.csv", ns=(5, 1_234_567_891_234_567_891))
    item = next(find_inputs(str(tree / "a.csv")))
    assert (item.size, item.modified_ns) == (4, 1_234_567_891_234_567_891)


@pytest.mark.parametrize("source", ["nowhere", "nowhere/*.csv", "b*.txt"])
def test_what_is_not_there_is_said(source: str, tree: Path) -> None:
    with pytest.raises(InputError) as caught:
        keys(tree / source)
    assert caught.value.code == "input_missing"
    assert str(tree / source) in str(caught.value)


def test_a_link_that_leads_back_is_an_error(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    (loop,) = (item for item in find_inputs(str(tree)) if item.problem)
    assert (loop.key, loop.problem.code) == ("sub/loop", "link_loop")
    assert len(keys(tree)) == 5


def test_a_link_to_a_file_or_a_folder_beside_is_followed(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "d.csv").write_bytes(b"1\n")
    (tree / "linked").symlink_to(other)
    (tree / "e.csv").symlink_to(other / "d.csv")
    assert keys(tree) == ["a.csv", "b.csv", "e.csv", "linked/d.csv", "sub/UPPER.CSV", "sub/deep/c.csv"]


def test_a_dangling_link_and_a_pipe_are_told_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1\n")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.csv")
    good, gone, pipe = find_inputs(str(tmp_path))
    assert good.problem is None
    assert str(gone.problem) == f"{tmp_path}/gone.csv: cannot be read: No such file or directory"
    assert str(pipe.problem) == f"{tmp_path}/pipe.csv: is not a regular file"
    for path in (tmp_path / "gone.csv", tmp_path / "pipe.csv"):
        with pytest.raises(InputError):
            keys(path)


def test_a_pattern_that_goes_up_behind_its_sign_is_refused(tree: Path) -> None:
    with pytest.raises(InputError, match="may not go up"):
        keys(f"{tree}/sub/*/../../*.csv")
    assert keys(f"{tree}/sub/../*.csv") == ["a.csv", "b.csv"]


def test_names_that_are_not_utf8_are_names(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.csv"
    with open(raw, "wb") as file:
        file.write(b"1\n")
    (item,) = find_inputs(str(tmp_path))
    assert os.fsencode(item.key) == b"caf\xe9.csv"
    buffer = bytearray(64)
    assert list(read_chunks(item, buffer)) == [(0, 2, 0)]


def test_a_file_that_vanished_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        list(read_chunks(InputFile(str(tmp_path / "x.csv"), "x.csv", 1, 1), bytearray(8)))
    assert caught.value.code == "input_missing"


@given(
    content=st.lists(st.sampled_from([b"1", b",", b"\n", b"\r", b"\r\n", b"22222"]), max_size=60).map(b"".join),
    size=st.integers(2, 40),
)
def test_chunks_are_the_file_cut_at_line_ends(content: bytes, size: int) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        path = file.name
        buffer = bytearray(size)
        read = b""
        for _, stop, base in read_chunks(next(find_inputs(path)), buffer):
            assert base == len(read)
            if read:
                assert read.endswith((b"\n", b"\r"))
                assert not (read.endswith(b"\r") and buffer[:1] == b"\n")
            read += buffer[:stop]
        assert read == content


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"1,2\n" + b"3," * 2000)
    with pytest.raises(InputError) as caught:
        list(read_chunks(next(find_inputs(str(path))), bytearray(256), line_bytes=1000))
    assert caught.value.code == "line_too_long"
