"""Compressed objects: expanded as Python's modules expand them; what is cut, damaged or of another kind is an error."""

from __future__ import annotations

import gzip
import random
import sys
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer.errors import ConfigError, InputError
from fastinfer.records.compression import COMPRESSION_TYPES, Expanded, expand
from fastinfer.storage.base import Object
from fastinfer.storage.listing import examine_file
from fastinfer.storage.local_file import LocalReader
from tests.outputs.results import item

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CONTENT = b"".join(b"%d,%d\n" % (number, number * number) for number in range(20_000))
FORMS: dict[str, Callable[[bytes], bytes]] = {"none": bytes, "gzip": gzip.compress, "zstd": zstd.compress}
COMPRESSED = ["gzip", "zstd"]


def pieces_of(content: bytes, size: int = 1000) -> Callable[[int], bytes]:
    """Reads `content`, at most `size` bytes at a time."""
    place = 0

    def read(most: int) -> bytes:
        nonlocal place
        piece = content[place : place + min(most, size)]
        place += len(piece)
        return piece

    return read


def expanded(content: bytes, kind: str = "auto", **rest: int) -> bytes:
    return b"".join(expand(pieces_of(content), kind, item("a.csv"), **rest))


def outcome(content: bytes, kind: str) -> tuple[bytes | None, str]:
    """What is expanded, or the code of the error."""
    try:
        return expanded(content, kind), ""
    except InputError as error:
        return None, error.code


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 7001, 1 << 30])
def test_all_bytes_come_in_order_whether_the_kind_is_named_or_recognized(form: str, size: int) -> None:
    for kind in (form, "auto"):
        for content in (CONTENT, b"1", b""):
            found = expand(pieces_of(FORMS[form](content), size), kind, item("a.csv"), piece_bytes=7000)
            pieces = list(found)
            assert b"".join(pieces) == content
            assert all(len(piece) == 7000 for piece in pieces[:-1])


@pytest.mark.parametrize("form", COMPRESSED)
def test_members_one_behind_another_are_one(form: str) -> None:
    part = FORMS[form]
    assert expanded(part(CONTENT) + part(b"") + part(b"end")) == CONTENT + b"end"


def test_skippable_frames_of_zstd_are_skipped_also_at_the_start() -> None:
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"  # as pzstd begins a file
    assert expanded(skipped + zstd.compress(CONTENT) + skipped) == CONTENT


@pytest.mark.parametrize("form", COMPRESSED)
def test_what_is_cut_anywhere_is_an_error(form: str) -> None:
    whole = FORMS[form](CONTENT[:300]) + FORMS[form](CONTENT[300:700])
    first = len(FORMS[form](CONTENT[:300]))
    for stop in range(1, len(whole)):
        if stop == first:
            continue  # whole as it is
        with pytest.raises(InputError) as caught:
            expanded(whole[:stop], form)
        assert caught.value.code in ("truncated", "bad_compression")
        assert caught.value.path == item("a.csv").uri


@pytest.mark.parametrize("form", COMPRESSED)
@given(seed=st.integers(0, 1 << 30))
def test_what_is_damaged_anywhere_gives_the_same_bytes_or_an_error(form: str, seed: int) -> None:
    whole = zstd.compress(CONTENT[:900], options={zstd.CompressionParameter.checksum_flag: 1})
    if form == "gzip":
        whole = gzip.compress(CONTENT[:900])
    random_ = random.Random(seed)
    changed = bytearray(whole)
    changed[random_.randrange(2, len(whole))] ^= 1 << random_.randrange(8)
    found, code = outcome(bytes(changed), form)
    assert found == CONTENT[:900] or code in ("truncated", "bad_compression")


@pytest.mark.parametrize("form", COMPRESSED)
def test_errors_say_where_and_what(form: str) -> None:
    whole = FORMS[form](CONTENT)
    uri = item("a.csv").uri
    for content, code, message in (
        (whole[:-1], "truncated", f"^{uri}: it ends before the compressed data does, after [0-9,]+ expanded bytes$"),
        (whole + b"1,2\n", "bad_compression", f"^{uri}: something else follows the compressed data, after"),
        (b"1,2\n", "bad_compression", f"^{uri}: is not compressed with {form}$"),
        (b"", "bad_compression", f"^{uri}: is not compressed with {form}$"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            expanded(content, form)
        assert caught.value.code == code


def test_a_wrong_checksum_is_an_error() -> None:
    whole = bytearray(gzip.compress(CONTENT))
    whole[-8] ^= 1
    with pytest.raises(InputError, match=r"the compressed data is damaged: .*incorrect data check"):
        expanded(bytes(whole))


def test_bytes_stay_as_they_are_where_no_compression_is_named() -> None:
    assert expanded(gzip.compress(b"1"), "none") == gzip.compress(b"1")


def test_what_is_expanded_is_bounded() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    pieces = []
    found = expand(pieces_of(bomb), "auto", item("a.csv"), most_bytes=1_000_000)
    with pytest.raises(InputError, match="holds more than 1,000,000 bytes when it is expanded") as caught:
        pieces.extend(found)
    assert caught.value.code == "payload_too_large"
    assert sum(map(len, pieces)) <= 1_000_000


def test_an_object_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(bytes(2_000))
    listed = examine_file(str(tmp_path / "a.csv"), "a.csv")
    with LocalReader(listed) as reader, pytest.raises(InputError) as caught:
        next(expand(reader, "auto", listed, most_bytes=1_000))
    assert str(caught.value) == (
        f"{tmp_path / 'a.csv'}: holds more than 1,000 bytes, which must be held as a whole. Hint: divide it, or split it into "
        "payloads of a limited size"
    )


def test_an_object_is_read_as_it_was_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(CONTENT))
    listed = examine_file(str(path), "a.csv.gz")
    with LocalReader(listed) as reader:
        assert b"".join(expand(reader, "auto", listed)) == CONTENT
        assert Expanded(reader, "auto", listed).is_compressed
    longer = Object(listed.uri, listed.key, listed.size + 1, listed.version)
    with LocalReader(longer) as reader, pytest.raises(InputError) as caught:
        list(expand(reader, "auto", longer))
    assert caught.value.code in ("input_changed", "truncated")
    path.write_bytes(gzip.compress(CONTENT + b"1"))
    with pytest.raises(InputError) as caught, LocalReader(listed) as reader:
        list(expand(reader, "auto", listed))
    assert caught.value.code in ("input_changed", "truncated")


def test_without_a_reader_of_zstd_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("backports.zstd", "compression.zstd", "compression"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install .backports\.zstd") as caught:
        expanded(zstd.compress(b"1"))
    assert caught.value.code == "zstd_missing"


def test_the_kinds_are_those_that_users_name() -> None:
    assert COMPRESSION_TYPES == ("none", "gzip", "zstd", "auto")
