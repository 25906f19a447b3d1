"""From text to files: each output appears under its name only when it is whole.

Small outputs are written in groups, by csrc/files.h; a large one goes to a temporary file in the folder it will stand in and
is renamed. A run killed at any moment leaves finished outputs and temporary files, never half an output.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

from .._native.files import FILES_PER_CALL, write_files
from ..storage.atomic import sync_folder, unwritable
from ..storage.local import InputFile, Part
from .folder import TEMPORARY_PREFIX, OutputFolder

# What an unfinished output holds in memory before it goes to its temporary file.
BUFFER_BYTES = 1 << 20
# Finished outputs wait for others until they have so many bytes together: more than that would only be copied to be joined.
GROUP_BYTES = 256 << 10


class OutputFile:
    """One output on its way: rows are added until a writer finishes it.

    Attributes:
        file: the input it is of.
        part: the part of the input; None for all of it.
        rows: how many rows it has so far.
        path: its name when it is whole.
    """

    __slots__ = ("_begun", "_durable", "_handle", "_held", "_parts", "_temporary", "file", "part", "path", "rows")

    def __init__(self, folder: OutputFolder, item: InputFile | Part, temporary_name: str) -> None:
        self.file = item.file if isinstance(item, Part) else item
        self.part = item if isinstance(item, Part) else None
        self.path = folder.part_path(item) if isinstance(item, Part) else folder.path(item)
        self.rows = 0
        self._durable = folder.durable
        self._temporary = temporary_name
        self._parts: list[bytes] = []
        self._held = 0
        self._handle = -1
        self._begun = False  # whether there is a temporary file

    def add_rows(self, text: bytes, count: int) -> None:
        """Adds rows, given as JSON with ``, `` between them. Raises OutputError."""
        if self.rows:
            self._parts.append(b", ")
        elif self.part is None:
            self._parts.append(b"[")
        self.rows += count
        self._parts.append(text)
        self._held += len(text)
        if self._held >= BUFFER_BYTES:
            self._spill()

    def take(self) -> bytes | None:
        """The whole text of an output that no file was begun for; None for a large one."""
        self._close()
        return None if self._begun else b"".join(self._parts)

    def finish(self) -> None:
        """Gives a large output its name. Raises OutputError, and nothing bears the name then."""
        self._spill()
        try:
            os.utime(self._handle, ns=(self.file.modified_ns, self.file.modified_ns))
            if self._durable:
                os.fsync(self._handle)
            handle, self._handle = self._handle, -1
            os.close(handle)
            os.rename(self._temporary_path(), self.path)
            if self._durable:
                sync_folder(os.path.dirname(self.path))
        except OSError as error:
            self.drop()
            raise unwritable(self.path, error) from error

    def drop(self) -> None:
        """Leaves no trace of an output that cannot be finished."""
        self._parts.clear()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        if self._begun:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary_path())

    def _close(self) -> None:
        if self.part is None:
            self._parts.append(b"]" if self.rows else b"[]")

    def _temporary_path(self) -> str:
        return f"{os.path.dirname(self.path)}/{self._temporary}"

    def _spill(self) -> None:
        try:
            if not self._begun:
                self._handle = _create(self._temporary_path())
                self._begun = True
            content = b"".join(self._parts)
            written = 0
            while written < len(content):
                written += os.write(self._handle, content[written:])
        except OSError as error:
            self.drop()
            raise unwritable(self.path, error) from error
        self._parts.clear()
        self._held = 0


class Finished(NamedTuple):
    """An output that has got its name: of a file, or of a part of one, with so many rows."""

    file: InputFile
    part: Part | None
    rows: int


class OutputWriter:
    """Gives one worker's outputs their names, small ones in groups.

    Args:
        folder: the run's outputs.
        worker: a word that no other worker of the run has, for temporary names.
    """

    def __init__(self, folder: OutputFolder, worker: str) -> None:
        self._folder = folder
        self._temporary = TEMPORARY_PREFIX + worker
        self._ready: list[Finished] = []
        self._paths: list[str] = []
        self._texts: list[bytes] = []
        self._held = 0

    def open(self, item: InputFile | Part) -> OutputFile:
        """The output of a file or a part of one, to be filled."""
        return OutputFile(self._folder, item, self._temporary)

    def finish(self, output: OutputFile) -> list[Finished]:
        """Takes an output that is whole; returns what got its name just now. Raises OutputError."""
        finished = Finished(output.file, output.part, output.rows)
        text = output.take()
        if text is None:
            output.finish()
            return [finished]
        return self._add(finished, output.path, text)

    def finish_files(self, files: Sequence[InputFile], texts: Sequence[bytes], rows: Sequence[int]) -> list[Finished]:
        """Takes the whole outputs of small files; returns what got its name just now. Raises OutputError."""
        self._ready += map(Finished._make, zip(files, itertools.repeat(None), rows))
        self._paths += map(self._folder.path, files)
        self._texts += texts
        self._held += sum(map(len, texts))
        return self._flush_when_full()

    def flush(self) -> list[Finished]:
        """Names what is ready, as far as it goes; returns what was named.

        Raises:
            OutputError: for the first that could not be written; the others stand.
        """
        ready, paths, texts = self._ready, self._paths, self._texts
        self._ready, self._paths, self._texts, self._held = [], [], [], 0
        if not ready:
            return []
        errors = self._write(ready, paths, texts)
        if errno.ENOENT in errors:
            missing = [index for index, error in enumerate(errors) if error == errno.ENOENT]
            for folder in {os.path.dirname(paths[index]) for index in missing}:
                try:
                    os.makedirs(folder, exist_ok=True)
                except OSError as error:
                    raise unwritable(folder, error) from error
            again = self._write(
                [ready[index] for index in missing],
                [paths[index] for index in missing],
                [texts[index] for index in missing],
            )
            for index, code in zip(missing, again):
                errors[index] = code
        if self._folder.durable:
            for folder in {os.path.dirname(path) for path in paths}:
                sync_folder(folder)
        if any(errors):
            path, code = next((path, code) for path, code in zip(paths, errors) if code)
            raise unwritable(path, OSError(code, os.strerror(code)))
        return ready

    def _add(self, finished: Finished, path: str, text: bytes) -> list[Finished]:
        self._ready.append(finished)
        self._paths.append(path)
        self._texts.append(text)
        self._held += len(text)
        return self._flush_when_full()

    def _flush_when_full(self) -> list[Finished]:
        return self.flush() if len(self._ready) >= FILES_PER_CALL or self._held >= GROUP_BYTES else []

    def _write(self, ready: list[Finished], paths: list[str], texts: list[bytes]) -> list[int]:
        encoded = [os.fsencode(path) for path in paths]
        times_ns = [file.modified_ns for file, _, _ in ready]
        temporary, errors = os.fsencode(self._temporary), []
        for first in range(0, len(ready), FILES_PER_CALL):
            group = slice(first, first + FILES_PER_CALL)
            errors += write_files(encoded[group], texts[group], times_ns[group], temporary, self._folder.durable)
        return errors


def _create(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)
