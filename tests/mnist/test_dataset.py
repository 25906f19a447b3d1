"""IDX files: the real ones are read, and everything that a damaged or foreign file can be is refused by name."""

from __future__ import annotations

import contextlib
import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import InputError
from fastinfer.mnist.dataset import find_channel_file, read_channel, read_idx, read_images, read_labels

MNIST = Path(__file__).resolve().parent.parent.parent / "examples" / "mnist"


def write(path: Path, magic: int, shape: tuple[int, ...], values: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(struct.pack(f">I{len(shape)}I", magic, *shape) + values))
    return path


def test_the_test_channel_of_mnist_is_read_whole() -> None:
    images, labels = read_channel(MNIST / "test")
    assert images.shape == (10000, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # The mean that is published for the test images.
    assert round(float(images.mean()) / 255, 4) == 0.1325


def test_a_folder_a_file_and_its_parts_give_the_same() -> None:
    images, labels = read_channel(MNIST / "test")
    assert np.array_equal(read_images(MNIST / "test"), images)
    assert np.array_equal(read_images(MNIST / "test" / "images.gz"), images)
    assert np.array_equal(read_labels(MNIST / "test"), labels)


def test_images_need_not_be_square(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gz", 0x803, (2, 1, 3), bytes([1, 2, 3, 4, 5, 6]))
    assert read_idx(path).tolist() == [[[1, 2, 3]], [[4, 5, 6]]]


def test_the_files_are_found_anywhere_below_the_channel_nearest_first(tmp_path: Path) -> None:
    deep = write(tmp_path / "z" / "deep" / "images.gz", 0x803, (1, 1, 1), b"\x01")
    assert find_channel_file(tmp_path, "images.gz") == deep
    near = write(tmp_path / "a" / "images.gz", 0x803, (1, 1, 1), b"\x02")
    assert find_channel_file(tmp_path, "images.gz") == near


@pytest.mark.parametrize(
    ("magic", "shape", "values", "code", "words"),
    [
        (0x803, (2, 2, 2), b"1234567", "truncated", "2 x 2 x 2 values take 8 bytes, found 7"),
        (0x803, (2, 2, 2), b"123456789", "bad_length", "found more"),
        (0x803, (2**31, 2**31, 4), b"", "bad_length", "more than the 1,073,741,824 values that are read"),
        (0x803, (2**31, 2**31, 0), b"", "bad_length", "the sizes 2147483648 x 2147483648 x 0 make more"),
        (0x803, (1 << 10, 1 << 10, 1 << 10), b"", "truncated", "values take 1073741824 bytes, found 0"),
        (0xD03, (1, 1, 1), b"1234", "bad_magic", "found 00000d03"),
        (0x802, (1, 1), b"1", "bad_magic", "found 00000802"),
        (0x801, (1,), b"1", "bad_magic", "expected IDX images (rank 3), found rank 1"),
        (0x803, (1, 1), b"", "truncated", "header takes 16 bytes, found 12"),
        (0x803, (0, 28, 28), b"", "empty", "no image"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(
    tmp_path: Path, magic: int, shape: tuple[int, ...], values: bytes, code: str, words: str
) -> None:
    path = write(tmp_path / "images.gz", magic, shape, values)
    with pytest.raises(InputError) as caught:
        read_images(path)
    assert (caught.value.code, caught.value.path) == (code, str(path))
    assert words in str(caught.value)


def test_what_is_no_gzip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    images = struct.pack(">4I", 0x803, 1, 20, 25) + np.random.RandomState(0).bytes(500)
    for content, code in [(b"plain", "not_gzip"), (gzip.compress(images)[:-9], "truncated"), (b"", "truncated")]:
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_images(path)
        assert caught.value.code == code
    damaged = bytearray(gzip.compress(images))
    damaged[200] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(InputError) as caught:
        read_images(path)
    assert caught.value.code == "truncated"


def test_damage_anywhere_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "images.gz", 0x803, (40, 3, 3), bytes(range(180)) * 2)
    whole = path.read_bytes()
    expected = read_images(path)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            assert np.array_equal(read_images(path), expected)
    for content in (whole + b"!", whole + gzip.compress(b"!")):
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_images(path)


def test_no_more_is_expanded_than_the_header_names(tmp_path: Path) -> None:
    path = write(tmp_path / "images.gz", 0x803, (2, 2, 2), bytes(300_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="found more"):
            read_images(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.gz")
    with pytest.raises(InputError, match="it is not a regular file"):
        read_labels(tmp_path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for call, code in [
        (lambda: read_channel(tmp_path / "nowhere"), "folder_missing"),
        (lambda: read_channel(tmp_path), "input_missing"),
        (lambda: read_idx(tmp_path / "x.gz"), "input_missing"),
        (lambda: read_idx(tmp_path), "cannot_read"),
    ]:
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code == code
        assert str(tmp_path) in str(caught.value)


def test_counts_that_differ_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "images.gz", 0x803, (2, 1, 1), b"12")
    write(tmp_path / "labels.gz", 0x801, (3,), b"123")
    with pytest.raises(InputError, match="3 labels for the 2 images") as caught:
        read_channel(tmp_path)
    assert caught.value.code == "count_mismatch"
