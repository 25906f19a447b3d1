"""Reads IDX files, the format that MNIST comes in, and finds a channel's two files as the notebook's script does.

An IDX file is a big-endian header (two zero bytes, a type code, the rank, then one uint32 per dimension) and the values
in C order. Supported is what image classification uses: unsigned bytes of rank 1 (labels) and 3 (images), gzipped. The
format is described on http://yann.lecun.com/exdb/mnist/. A damaged file or one of another format is an error with the
file's name; a wrong length is never cut or padded.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..storage.atomic import unreadable

UBYTE = 0x08
# The names that the notebook gives to the files of a channel.
IMAGES_NAME = "images.gz"
LABELS_NAME = "labels.gz"


def read_idx(path: str | os.PathLike[str], rank: int | None = None) -> NDArray[np.uint8]:
    """The array in a gzipped IDX file of unsigned bytes.

    Args:
        path: the file.
        rank: the rank it must have; None allows 1 and 3.

    Returns:
        A read-only uint8 array: (n,) or (n, rows, columns).

    Raises:
        InputError: codes ``input_missing``, ``cannot_read``, ``not_gzip``, ``truncated``, ``bad_magic``, ``bad_length``.
    """
    name = os.fspath(path)
    data = _read_gzip(name)
    if len(data) < 4:
        raise InputError(f"an IDX header takes 4 bytes, found {len(data)}", code="truncated", path=name)
    zeros, type_code, found_rank = struct.unpack(">HBB", data[:4])
    if zeros or type_code != UBYTE or found_rank not in (1, 3):
        raise InputError(
            f"expected an IDX file of unsigned bytes (magic 00000801 or 00000803), found {data[:4].hex()}",
            code="bad_magic",
            path=name,
        )
    if rank is not None and found_rank != rank:
        kind = "images (rank 3)" if rank == 3 else "labels (rank 1)"
        raise InputError(f"expected IDX {kind}, found rank {found_rank}", code="bad_magic", path=name)
    start = 4 + 4 * found_rank
    if len(data) < start:
        raise InputError(f"an IDX header takes {start} bytes, found {len(data)}", code="truncated", path=name)
    shape = struct.unpack(f">{found_rank}I", data[4:start])
    expected = math.prod(shape)
    found = len(data) - start
    if found != expected:
        dimensions = " x ".join(str(size) for size in shape)
        code = "truncated" if found < expected else "bad_length"
        raise InputError(f"{dimensions} values take {expected} bytes, found {found}", code=code, path=name)
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def find_channel_file(channel: str | os.PathLike[str], name: str) -> Path:
    """The file called `name` anywhere below the folder `channel`: the nearest to the top, then the first by name.

    Raises:
        InputError: ``folder_missing``, ``input_missing``.
    """
    top = os.fspath(channel)
    if not Path(top).is_dir():
        raise InputError("no such folder", code="folder_missing", path=top)
    found = [Path(folder, name) for folder, _, files in os.walk(top) if name in files]
    if not found:
        raise InputError(f"no {name} in this folder or below", code="input_missing", path=top)
    return min(found, key=lambda path: (len(path.parts), str(path)))


def read_images(source: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The images (n, rows, columns) of a file, or of the `images.gz` below a channel's folder; pixels 0 to 255.

    Raises:
        InputError: as :func:`read_idx` and :func:`find_channel_file`, and ``empty`` for no image at all.
    """
    path = find_channel_file(source, IMAGES_NAME) if Path(source).is_dir() else Path(source)
    images = read_idx(path, rank=3)
    if images.size == 0:
        raise InputError("no image in this file", code="empty", path=str(path))
    return images


def read_labels(source: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The labels (n,) of a file, or of the `labels.gz` below a channel's folder.

    Raises:
        InputError: as :func:`read_idx` and :func:`find_channel_file`.
    """
    path = find_channel_file(source, LABELS_NAME) if Path(source).is_dir() else Path(source)
    return read_idx(path, rank=1)


def read_channel(channel: str | os.PathLike[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The images (n, rows, columns) and labels (n,) below a channel's folder.

    Raises:
        InputError: as :func:`read_images` and :func:`read_labels`, and ``count_mismatch``.
    """
    images_path = find_channel_file(channel, IMAGES_NAME)
    labels_path = find_channel_file(channel, LABELS_NAME)
    images, labels = read_images(images_path), read_labels(labels_path)
    if len(images) != len(labels):
        raise InputError(
            f"{len(labels)} labels for the {len(images)} images of {images_path}",
            code="count_mismatch",
            path=str(labels_path),
        )
    return images, labels


def _read_gzip(name: str) -> bytes:
    try:
        with gzip.open(name, "rb") as file:
            return file.read()
    except gzip.BadGzipFile as error:
        raise InputError(f"is not a gzip file: {error}", code="not_gzip", path=name) from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"the gzip file is truncated or damaged: {error}", code="truncated", path=name) from error
    except OSError as error:
        raise unreadable(name, error) from error
