"""Reads IDX files, the format that MNIST comes in, and finds a channel's two files as the notebook's script does.

An IDX file is a big-endian header (two zero bytes, a type code, the rank, then one uint32 per dimension) and the values
in C order. Supported is what image classification uses: unsigned bytes of rank 1 (labels) and 3 (images), gzipped. The
format is described on http://yann.lecun.com/exdb/mnist/. A damaged file or one of another format is an error with the
file's name; a wrong length is never cut or padded. The header is read first, and no more than it names is expanded.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import FastinferError, InputError
from ..storage.atomic import unreadable
from ..storage.expanded import DamagedError, ExpandedFile

UBYTE = 0x08
# What a header may ask for; MNIST has 47 million.
VALUES_LIMIT = 1 << 30
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
    try:
        with ExpandedFile(name) as file:
            if not file.is_gzip:
                code = "not_gzip" if file.read(1) else "truncated"
                raise InputError("is not a gzip file" if code == "not_gzip" else "is empty", code=code, path=name)
            shape = _read_shape(file, name, rank)
            expected = math.prod(shape)
            # One byte more than there should be: so the end, with the checksum behind it, is reached or not.
            values = file.read(expected + 1)
    except DamagedError as error:
        raise InputError(f"the gzip file is truncated or damaged: {error}", code="truncated", path=name) from error
    except OSError as error:
        if isinstance(error, FastinferError):
            raise
        raise unreadable(name, error) from error
    if len(values) != expected:
        dimensions = " x ".join(str(size) for size in shape)
        found = f"{len(values)}" if len(values) < expected else "more"
        code = "truncated" if len(values) < expected else "bad_length"
        raise InputError(f"{dimensions} values take {expected} bytes, found {found}", code=code, path=name)
    return np.frombuffer(values, np.uint8).reshape(shape)


def _read_shape(file: ExpandedFile, name: str, rank: int | None) -> tuple[int, ...]:
    """The shape in the header of an IDX file."""
    magic = file.read(4)
    if len(magic) < 4:
        raise InputError(f"an IDX header takes 4 bytes, found {len(magic)}", code="truncated", path=name)
    zeros, type_code, found_rank = struct.unpack(">HBB", magic)
    if zeros or type_code != UBYTE or found_rank not in (1, 3):
        raise InputError(
            f"expected an IDX file of unsigned bytes (magic 00000801 or 00000803), found {magic.hex()}",
            code="bad_magic",
            path=name,
        )
    if rank is not None and found_rank != rank:
        kind = "images (rank 3)" if rank == 3 else "labels (rank 1)"
        raise InputError(f"expected IDX {kind}, found rank {found_rank}", code="bad_magic", path=name)
    sizes = file.read(4 * found_rank)
    if len(sizes) < 4 * found_rank:
        start = 4 + 4 * found_rank
        raise InputError(f"an IDX header takes {start} bytes, found {4 + len(sizes)}", code="truncated", path=name)
    shape = struct.unpack(f">{found_rank}I", sizes)
    # NumPy multiplies the other sizes also where one is 0.
    if math.prod(filter(None, shape)) > VALUES_LIMIT:
        dimensions = " x ".join(str(size) for size in shape)
        raise InputError(
            f"the sizes {dimensions} make more than the {VALUES_LIMIT:,} values that are read",
            code="bad_length",
            path=name,
        )
    return shape


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
