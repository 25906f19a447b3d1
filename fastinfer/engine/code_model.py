"""A model whose own code answers: the engine knows it by its place and by what its files say."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from ..errors import ModelError
from ..storage.regular import open_regular

PIECE_BYTES = 1 << 20


class CodeModel(NamedTuple):
    """A model with serving code.

    Attributes:
        path: its folder or archive.
        digest: SHA-256 over all its files: the same digest means the same answers, as far as the code depends on nothing else.
    """

    path: str
    digest: str


def find_code_model(path: str | os.PathLike[str]) -> CodeModel:
    """The model of a folder or an archive; nothing of it is loaded or run. Raises ModelError."""
    source = Path(path)
    content = hashlib.sha256()
    files = [source]
    if source.is_dir():
        files = sorted(each for each in source.rglob("*") if each.is_file() and each.suffix != ".pyc")
    try:
        for file in files:
            name = os.fsencode(file.relative_to(source))
            content.update(len(name).to_bytes(8, "little") + name + file.stat().st_size.to_bytes(8, "little"))
            with open_regular(file) as opened:
                while piece := opened.read(PIECE_BYTES):
                    content.update(piece)
    except FileNotFoundError as error:
        raise ModelError("no such model", code="model_missing", path=str(path)) from error
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", path=str(path)) from error
    return CodeModel(str(path), content.hexdigest())
