"""Where results go: ``KEY.out`` below one folder, each under its name only when it is whole.

A file is written under a temporary name in the folder it will stand in, then renamed, so that a run killed at any moment
leaves finished outputs and temporary files, never half an output. The next run sweeps the temporary files away and goes on
with what is missing; ``_run.json`` tells it whether the outputs that stand there are of the same model and options.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ._files import replacing
from ._kernels import FILES_PER_CALL, write_files
from .errors import ConfigError, InputError, OutputError
from .inputs import InputFile, Part, check_unchanged

OUTPUT_SUFFIX = ".out"
RUN_RECORD = "_run.json"
REJECTS = "_rejects.jsonl"
# Hidden names beside the outputs: a worker's file on its way (process and thread), and the finished part of a large output.
# What a run clears away bears exactly such a name.
TEMPORARY_PREFIX = ".fastinfer-"
TEMPORARY_NAME = re.compile(r"\.fastinfer-(?:\d+-\d+|whole)")
PART_PREFIX = ".part-"
PART_NAME = re.compile(r"\.part-[0-9a-f]{16}\.\d+-\d+")

# What an unfinished output holds in memory before it goes to its temporary file.
BUFFER_BYTES = 1 << 20


class Reject(NamedTuple):
    """A record, or a whole input where ``line`` is None, that was put aside.

    Attributes:
        path: the input.
        key: the input below the place that was named.
        line, column: 1-based place; None for a whole input.
        code, message: what is wrong.
        record: the line as it stands there, bytes that are not UTF-8 as lone surrogates; None for a whole input.
        modified_ns: the input's time of last change.
        part: the first byte of the part of a large input that the record is in, and the byte behind it.
    """

    path: str
    key: str
    line: int | None
    column: int | None
    code: str
    message: str
    record: str | None
    modified_ns: int
    part: tuple[int, int] | None

    @classmethod
    def of(cls, file: InputFile, part: Part | None, error: InputError, record: bytes | None) -> Reject:
        text = None if record is None else record.decode("utf-8", "surrogateescape")
        line = None if record is None else error.line
        # The whole path: a later run may stand elsewhere.
        path, bounds = os.path.abspath(file.path), (part.start, part.stop) if part else None
        return cls(path, file.key, line, error.column, error.code, error.message, text, file.modified_ns, bounds)


class OutputFolder:
    """The folder of one run's outputs.

    Args:
        root: the folder; made when the run is opened.
        durable: whether an output is on the disk, not only in the system's memory, before it gets its name.
    """

    def __init__(self, root: str, *, durable: bool = False) -> None:
        self.root = root
        self.durable = durable
        self.resumes = False
        # Outputs that were written earlier are of another run, whatever `_run.json` says: an overwriting run may have
        # been stopped half-way. By the clock of the file system, in nanoseconds.
        self.since_ns = 0
        self.rejected = 0  # records that earlier runs put aside and that are not done again
        self._prefix = os.path.join(root, "")
        self._holds_lock = False
        # Folders cleared of what a killed run left, and whether they hold outputs to go on from.
        self._swept: dict[str, bool] = {}
        self._part_folders: set[str] = set()

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
            self._holds_lock = True
            self.resumes = self._check_record(record, overwrite)
            if not self.resumes:
                self.since_ns = self._now_ns()
            self.write_record(record)
            self.rejected = self._keep_rejects()
            yield self
        finally:
            os.close(lock)

    def look(self, depends_on: dict[str, Any], *, overwrite: bool) -> None:
        """Prepares a look at what is left to do. Nothing is written or removed.

        Args:
            depends_on: what is known of what the bytes depend on.
            overwrite: as for a run.

        Raises:
            ConfigError: ``other_run``, as a run would.
        """
        if os.path.isdir(self.root):
            self.resumes = self._check_record({"depends_on": depends_on}, overwrite, partial=True)

    def write_record(self, record: dict[str, Any]) -> None:
        """Puts ``record`` in the place of the run's ``_run.json``."""
        path = Path(self.root, RUN_RECORD)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({**record, "since_ns": self.since_ns}, indent=2) + "\n", encoding="utf-8")

    def has(self, item: InputFile) -> bool:
        """Whether the output of ``item`` as it is now stands there."""
        folder = item.key.rpartition("/")[0]
        if folder not in self._swept:
            # Once, and before this run writes there: what looks left over is.
            self._swept[folder] = self._sweep(folder)
        return self._swept[folder] and self._is_current(self.path(item), item)

    def has_part(self, part: Part) -> bool:
        """Whether an earlier run has finished that part of an output."""
        path = self.part_path(part)
        self._part_folders.add(os.path.dirname(path))
        return self.resumes and self._is_current(path, part.file)

    def path(self, item: InputFile) -> str:
        """Where the output of ``item`` belongs."""
        return f"{self._prefix}{item.key}{OUTPUT_SUFFIX}"

    def part_path(self, part: Part) -> str:
        """Where the output of a part waits for the others."""
        folder, _, name = self.path(part.file).rpartition("/")
        # Not the name itself: it may leave no room for more.
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
        return f"{folder}/{PART_PREFIX}{digest}.{part.start}-{part.stop}"

    def assemble(self, parts: Sequence[Part]) -> None:
        """Makes the output of a large input from the outputs of all its parts, in order, and removes those.

        Raises:
            InputError: ``input_changed`` since it was listed.
            OutputError: it cannot be written.
        """
        item, paths = parts[0].file, [self.part_path(part) for part in parts]
        check_unchanged(item)
        target_path = Path(self.path(item))
        with replacing(target_path, target_path.with_name(f"{TEMPORARY_PREFIX}whole")) as temporary:
            with open(temporary, "wb") as target:
                separator = b"["
                for path in paths:
                    with open(path, "rb") as source:
                        if os.fstat(source.fileno()).st_size:
                            target.write(separator)
                            shutil.copyfileobj(source, target, BUFFER_BYTES)
                            separator = b", "
                if separator == b"[":
                    raise InputError("there is no value in it", code="empty_input", path=item.path)
                target.write(b"]")
                if self.durable:
                    target.flush()
                    os.fsync(target.fileno())
            os.utime(temporary, ns=(item.modified_ns, item.modified_ns))
        if self.durable:
            sync_folder(os.path.dirname(self.path(item)))
        for path in paths:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def reject(self, rejects: Sequence[Reject]) -> None:
        """Adds to ``_rejects.jsonl``. Raises OutputError."""
        path = os.path.join(self.root, REJECTS)
        lines = "".join(json.dumps(reject._asdict()) + "\n" for reject in rejects)
        try:
            # Appended in one call, so that workers do not write into each other's lines.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                content = lines.encode()
                while content:
                    content = content[os.write(handle, content) :]
            finally:
                os.close(handle)
        except OSError as error:
            raise unwritable(path, error) from error

    def _check_record(self, record: dict[str, Any], overwrite: bool, *, partial: bool = False) -> bool:
        """Whether outputs in the folder may be taken as this run's own; ``partial``: as far as the record goes."""
        path = os.path.join(self.root, RUN_RECORD)
        if overwrite:
            return False
        try:
            with open(path, encoding="utf-8") as file:
                kept = json.load(file)
                earlier, since_ns = dict(kept["depends_on"]), int(kept["since_ns"])
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
            for key in (current if partial else {**current, **earlier})
            if earlier.get(key) != current.get(key)
        ]
        if differing and not self._holds_outputs():
            return False
        if differing:
            raise ConfigError(
                f"the outputs there are of another run: {'; '.join(differing)}",
                code="other_run",
                path=self.root,
                hint="name another folder, or --overwrite",
            )
        self.since_ns = since_ns
        return True

    def _holds_outputs(self) -> bool:
        """Whether anything is finished there."""
        return any(
            name.endswith(OUTPUT_SUFFIX) or PART_NAME.fullmatch(name)
            for _, _, names in os.walk(self.root)
            for name in names
        )

    def _now_ns(self) -> int:
        """The time by the file system's clock."""
        path = os.path.join(self.root, f"{TEMPORARY_PREFIX}whole")
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                return os.fstat(handle).st_ctime_ns
            finally:
                os.close(handle)
                os.unlink(path)
        except OSError as error:
            raise unwritable(path, error) from error

    def _keep_rejects(self) -> int:
        """Of an earlier run's rejects keeps those whose outputs, or parts, stand; returns how many.

        The other inputs are done again, and tell again.
        """
        path = Path(self.root, REJECTS)
        kept: dict[str, None] = {}
        try:
            if self.resumes and path.exists():
                with open(path, encoding="utf-8") as file:
                    for line in file:
                        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                            if self._stands(json.loads(line)):
                                kept[line] = None
            if kept:
                with replacing(path) as temporary:
                    temporary.write_text("".join(kept), encoding="utf-8")
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(str(path), error) from error
        return len(kept)

    def _stands(self, reject: dict[str, Any]) -> bool:
        """Whether the output that lacks the rejected record is there, and its input is what it was."""
        item = InputFile(reject["path"], reject["key"], 0, reject["modified_ns"])
        if reject["line"] is None or os.stat(item.path).st_mtime_ns != item.modified_ns:
            return False
        start, stop = reject["part"] or (0, 0)
        return self._is_current(self.path(item), item) or (
            stop > 0 and self._is_current(self.part_path(Part(item, start, stop, 0)), item)
        )

    def settle(self) -> None:
        """Clears away what workers that died have left, and what retried shards have told twice; when none runs."""
        for folder in self._swept:
            self._sweep(folder)
        path = Path(self.root, REJECTS)
        if path.exists():
            lines = dict.fromkeys(path.read_text(encoding="utf-8").splitlines(keepends=True))
            with replacing(path) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")

    def clear_parts(self) -> None:
        """Removes what is left of parts, once a run is done."""
        for folder in self._part_folders:
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if PART_NAME.fullmatch(entry.name):
                        os.unlink(entry.path)

    def _is_current(self, path: str, item: InputFile) -> bool:
        try:
            status = os.stat(path)
            return status.st_mtime_ns == item.modified_ns and status.st_ctime_ns >= self.since_ns
        except FileNotFoundError:
            return False
        except OSError as error:
            raise unwritable(path, error) from error

    def _sweep(self, folder: str) -> bool:
        """Clears one folder of what a killed run left; returns whether there are outputs to go on from."""
        place = os.path.join(self.root, folder)
        found = False
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if self._holds_lock and TEMPORARY_NAME.fullmatch(entry.name):
                        os.unlink(entry.path)
                    elif PART_NAME.fullmatch(entry.name):
                        self._part_folders.add(place)
                    found = found or entry.name.endswith(OUTPUT_SUFFIX)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise unwritable(place, error) from error
        return found and self.resumes


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
        named = []
        path = self._folder.path
        for file, text, count in zip(files, texts, rows):
            named += self._add(Finished(file, None, count), path(file), text)
        return named

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
        missing = [index for index, error in enumerate(errors) if error == errno.ENOENT]
        if missing:
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
        for path, code in zip(paths, errors):
            if code:
                raise unwritable(path, OSError(code, os.strerror(code)))
        return ready

    def _add(self, finished: Finished, path: str, text: bytes) -> list[Finished]:
        self._ready.append(finished)
        self._paths.append(path)
        self._texts.append(text)
        self._held += len(text)
        return self.flush() if len(self._ready) == FILES_PER_CALL or self._held >= BUFFER_BYTES else []

    def _write(self, ready: list[Finished], paths: list[str], texts: list[bytes]) -> list[int]:
        times_ns = [finished.file.modified_ns for finished in ready]
        encoded = [os.fsencode(path) for path in paths]
        return write_files(encoded, texts, times_ns, os.fsencode(self._temporary), self._folder.durable)


def sync_folder(folder: str) -> None:
    """Puts the names in a folder on the disk. Raises OutputError."""
    try:
        handle = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise unwritable(folder, error) from error


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
