"""Compressed files: expanded as Python's modules expand them, in pieces; damage anywhere is an error."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import zlib
from pathlib import Path
from typing import Callable

import pytest

import fastinfer.storage.expanded as module
from fastinfer.storage.expanded import ZSTD, DamagedError, ExpandedFile, Expander

CONTENT = bytes(range(256)) * 2000 + bytes(300_000)
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
COMPRESSED = [form for form in FORMS if form != "plain"]


def expand(path: Path, content: bytes, size: int = 100_000) -> bytes:
    path.write_bytes(content)
    pieces = []
    with ExpandedFile(path) as file:
        while piece := file.read(size):
            pieces.append(piece)
            assert file.position == sum(map(len, pieces))
    return b"".join(pieces)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [7001, 1 << 20, 1 << 30])
def test_all_bytes_come_in_order(form: str, size: int, tmp_path: Path) -> None:
    assert expand(tmp_path / "x", FORMS[form](CONTENT), size) == CONTENT
    assert expand(tmp_path / "x", FORMS[form](b"1"), size) == b"1"


@pytest.mark.parametrize("form", COMPRESSED)
def test_parts_in_a_row_are_one_and_zeros_are_padding(form: str, tmp_path: Path) -> None:
    part = FORMS[form]
    assert expand(tmp_path / "x", part(CONTENT) + part(b"") + part(b"end") + bytes(200_000)) == CONTENT + b"end"


@pytest.mark.parametrize("form", COMPRESSED)
def test_parts_have_a_limit(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTS_LIMIT", 3)
    part = FORMS[form](b"")
    assert expand(tmp_path / "x", part * 3) == b""
    with pytest.raises(DamagedError, match="it has more than 3 compressed parts"):
        expand(tmp_path / "x", part * 4)


@pytest.mark.parametrize("form", COMPRESSED)
def test_what_is_cut_damaged_or_followed_by_something_is_an_error(form: str, tmp_path: Path) -> None:
    # Always the same: of one in a hundred, bzip2 takes a changed bit for a longer block, and misses its end.
    whole = FORMS[form](random.Random(1).randbytes(3000))
    for content, words in (
        (whole[:-1], "it ends before the compressed data does"),
        (whole[: len(whole) // 2], "it ends before the compressed data does"),
        (whole + b"garbage", "something else follows the compressed data"),
        (whole + b"\0\0\0\0garbage", "something else follows the compressed data"),
        (whole + whole[:8], "it ends before the compressed data does"),
        (whole[:1500] + bytes([whole[1500] ^ 1]) + whole[1501:], "the compressed data is damaged"),
    ):
        with pytest.raises(DamagedError, match=words):
            expand(tmp_path / "x", content)


def test_checksums_of_a_kind_that_is_not_known_are_refused(tmp_path: Path) -> None:
    """liblzma passes over them."""
    content = bytearray(lzma.compress(b"abc", check=lzma.CHECK_CRC32))
    content[7], content[-3] = 2, 2
    content[8:12] = zlib.crc32(content[6:8]).to_bytes(4, "little")
    content[-12:-8] = zlib.crc32(content[-8:-2]).to_bytes(4, "little")
    assert lzma.decompress(content) == b"abc"
    with pytest.raises(DamagedError, match="its checksums are of the kind 2, which is not known"):
        expand(tmp_path / "x", bytes(content))
    for check in (lzma.CHECK_NONE, lzma.CHECK_CRC64, lzma.CHECK_SHA256):
        assert expand(tmp_path / "x", lzma.compress(b"abc", check=check)) == b"abc"


def test_a_wrong_checksum_or_length_of_gzip_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(b"abc")
    for place in (-1, -5):
        content = bytearray(whole)
        content[place] ^= 1
        with pytest.raises(DamagedError, match="damaged"):
            expand(tmp_path / "x", bytes(content))


@pytest.mark.parametrize("size", [1, 5, 100])
def test_a_frame_of_zstd_with_less_than_its_header_says_is_damaged(size: int) -> None:
    """libzstd itself does not see it where the frame comes in pieces: its last block is empty."""

    def expanded(content: bytes) -> bytes:
        stream = io.BytesIO(content)
        return Expander(lambda most: stream.read(min(most, size)), ZSTD, stream.read(6)).read(100)

    header = b"\x28\xb5\x2f\xfd" + b"\x20\x2c"  # 44 bytes
    last_and_empty, of_44_bytes = b"\x01\0\0", (44 << 3).to_bytes(3, "little") + bytes(44)
    assert expanded(header + of_44_bytes + last_and_empty) == bytes(44)
    with pytest.raises(DamagedError, match="a frame has 0 bytes, and 44 in its header"):
        expanded(header + last_and_empty)


def test_memory_that_a_file_asks_for_is_bounded(tmp_path: Path) -> None:
    large = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 << 20}])
    with pytest.raises(DamagedError, match=r"[Mm]emory"):
        expand(tmp_path / "x", large)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "nothing"):
        with pytest.raises(OSError, match=r"regular file|Is a directory|No such file"):
            ExpandedFile(path)
