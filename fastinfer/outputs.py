"""Where results go: ``KEY.out`` below one folder, each under its name only when it is whole.

A file is written under a temporary name in the folder it will stand in, then renamed, so that a run killed at any moment
leaves finished outputs and temporary files, never half an output. The next run sweeps the temporary files away and goes on
with what is missing; ``_run.json`` tells it whether the outputs that stand there are of the same model and options.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ._files import replacing
from ._kernels import FILES_PER_CALL, write_files
from .errors import ConfigError, OutputError
from .inputs import InputFile

OUTPUT_SUFFIX = ".out"
RUN_RECORD = "_run.json"
TEMPORARY_PREFIX = ".fastinfer-"

# What an unfinished output holds in memory before it goes to its temporary file.
BUFFER_BYTES = 1 << 20


class OutputFolder:
    """The folder of one run's outputs.

    Args:
        root: the folder; made when the run is opened.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.resumes = False
        self._finished: dict[str, dict[str, int]] = {}

    @contextlib.contextmanager
    def open_run(self, record: dict[str, Any], *, overwrite: bool) -> Iterator[OutputFolder]:
        """Holds the folder for one run: nobody else's run may write there meanwhile.

        Args:
            record: what the bytes of the outputs depend on; kept in ``_run.json``.
            overwrite: makes every output anew, also where the folder holds another run's.

        Raises:
            ConfigError: ``output_in_use``, or ``other_run`` where the outputs in the folder depend on other things.
            OutputError: the folder cannot be made or written.
        """
        try:
            os.makedirs(self.root, exist_ok=True)
            lock = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise unwritable(self.root, error) from error
        try:
            # A lock on the folder itself: it leaves no file behind and goes with the process, however that ends.
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    "another run is writing there",
                    code="output_in_use",
                    path=self.root,
                    hint="wait, or name another folder",
                ) from error
            self.resumes = self._check_record(record, overwrite)
            self.write_record(record)
            yield self
        finally:
            os.close(lock)

    def look(self, *, overwrite: bool) -> None:
        """Takes the outputs in the folder for this run's own, for a look at what is left to do. Nothing is written."""
        self.resumes = not overwrite and os.path.exists(os.path.join(self.root, RUN_RECORD))

    def write_record(self, record: dict[str, Any]) -> None:
        """Puts ``record`` in the place of the run's ``_run.json``."""
        path = Path(self.root, RUN_RECORD)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def has(self, item: InputFile) -> bool:
        """Whether the output of ``item`` as it is now stands there."""
        folder, _, name = item.key.rpartition("/")
        if folder not in self._finished:
            # Inputs come folder by folder: what earlier folders held is not asked for again.
            self._finished = {folder: self._list(folder)}
        return self.resumes and self._finished[folder].get(name + OUTPUT_SUFFIX) == item.modified_ns

    def _check_record(self, record: dict[str, Any], overwrite: bool) -> bool:
        """Whether outputs in the folder may be taken as this run's own."""
        path = os.path.join(self.root, RUN_RECORD)
        if overwrite:
            return False
        try:
            with open(path, encoding="utf-8") as file:
                earlier = json.load(file)["depends_on"]
        except FileNotFoundError:
            foreign = next((name for name in sorted(os.listdir(self.root)) if name.endswith(OUTPUT_SUFFIX)), None)
            if foreign is None:
                return False
            raise ConfigError(
                f"the folder holds {foreign} but no {RUN_RECORD} that says where it came from",
                code="other_run",
                path=self.root,
                hint="name another folder, or --overwrite",
            ) from None
        except OSError as error:
            raise unwritable(path, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                "is not the record of a run", code="other_run", path=path, hint="name another folder, or --overwrite"
            ) from error
        current = record["depends_on"]
        differing = [
            f"{key} was {earlier.get(key)!r}, is {current.get(key)!r}"
            for key in {**current, **earlier}
            if earlier.get(key) != current.get(key)
        ]
        if differing:
            raise ConfigError(
                f"the outputs there are of another run: {'; '.join(differing)}",
                code="other_run",
                path=self.root,
                hint="name another folder, or --overwrite",
            )
        return True

    def _list(self, folder: str) -> dict[str, int]:
        """Names and times of the finished outputs in one folder; sweeps away what a killed run left."""
        finished = {}
        try:
            with os.scandir(os.path.join(self.root, folder)) as entries:
                for entry in entries:
                    if entry.name.startswith(TEMPORARY_PREFIX):
                        os.unlink(entry.path)
                    elif entry.name.endswith(OUTPUT_SUFFIX):
                        finished[entry.name] = entry.stat().st_mtime_ns
        except FileNotFoundError:
            pass
        except OSError as error:
            raise unwritable(os.path.join(self.root, folder), error) from error
        return finished


class OutputFile:
    """One output on its way: text is added until a writer finishes it.

    Attributes:
        item: the input it is of.
        rows: predictions in it so far; the caller counts.
    """

    __slots__ = ("_begun", "_handle", "_held", "_parts", "_temporary", "item", "path", "rows")

    def __init__(self, item: InputFile, path: str, temporary_name: str) -> None:
        self.item = item
        self.path = path
        self.rows = 0
        self._temporary = temporary_name
        self._parts: list[bytes] = []
        self._held = 0
        self._handle = -1
        self._begun = False  # whether there is a temporary file

    def add(self, text: bytes) -> None:
        """Adds text at the end. Raises OutputError."""
        self._parts.append(text)
        self._held += len(text)
        if self._held >= BUFFER_BYTES:
            self._spill()

    def take(self) -> bytes | None:
        """The whole text of an output that no file was begun for; None for a large one."""
        return None if self._begun else b"".join(self._parts)

    def finish(self) -> None:
        """Gives a large output its name. Raises OutputError, and nothing bears the name then."""
        self._spill()
        try:
            os.utime(self._handle, ns=(self.item.modified_ns, self.item.modified_ns))
            handle, self._handle = self._handle, -1
            os.close(handle)
            os.rename(self._temporary_path(), self.path)
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


class OutputWriter:
    """Gives one worker's outputs their names, small ones in groups.

    Args:
        folder: the run's outputs.
        worker: a word that no other worker of the run has, for temporary names.
    """

    def __init__(self, folder: OutputFolder, worker: str) -> None:
        self._prefix = os.path.join(folder.root, "")
        self._temporary = TEMPORARY_PREFIX + worker
        self._ready: list[OutputFile] = []
        self._texts: list[bytes] = []
        self._held = 0

    def open(self, item: InputFile) -> OutputFile:
        """The output of ``item``, to be filled."""
        return OutputFile(item, f"{self._prefix}{item.key}{OUTPUT_SUFFIX}", self._temporary)

    def finish(self, output: OutputFile) -> list[OutputFile]:
        """Takes an output that is whole; returns those that got their names just now. Raises OutputError."""
        text = output.take()
        if text is None:
            output.finish()
            return [output]
        self._ready.append(output)
        self._texts.append(text)
        self._held += len(text)
        if len(self._ready) == FILES_PER_CALL or self._held >= BUFFER_BYTES:
            return self.flush()
        return []

    def flush(self) -> list[OutputFile]:
        """Names what is ready, as far as it goes; returns what was named.

        Raises:
            OutputError: for the first that could not be written; the others stand.
        """
        ready, texts = self._ready, self._texts
        self._ready, self._texts, self._held = [], [], 0
        if not ready:
            return []
        errors = self._write(ready, texts)
        missing = [index for index, error in enumerate(errors) if error == errno.ENOENT]
        if missing:
            for folder in {os.path.dirname(ready[index].path) for index in missing}:
                try:
                    os.makedirs(folder, exist_ok=True)
                except OSError as error:
                    raise unwritable(folder, error) from error
            again = self._write([ready[index] for index in missing], [texts[index] for index in missing])
            for index, code in zip(missing, again):
                errors[index] = code
        for output, code in zip(ready, errors):
            if code:
                raise unwritable(output.path, OSError(code, os.strerror(code)))
        return ready

    def _write(self, outputs: list[OutputFile], texts: list[bytes]) -> list[int]:
        paths = [os.fsencode(output.path) for output in outputs]
        times_ns = [output.item.modified_ns for output in outputs]
        return write_files(paths, texts, times_ns, os.fsencode(self._temporary))


def unwritable(path: str, error: OSError) -> OutputError:
    """The error for a place that the system does not let us write."""
    return OutputError(f"cannot be written: {error.strerror}", path=path)


def _create(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)
