"""The folder of a run's outputs: what an earlier run has finished there, what was put aside, parts of large outputs.

``_run.json`` tells whether the outputs that stand there are of the same model and options; the time stamps of an output tell
whether it is of its input as that is now. What a killed run left half is swept away before the next one writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError, InputError
from ..storage.atomic import replacing, unwritable
from ..storage.local import InputFile, Part

OUTPUT_SUFFIX = ".out"
RUN_RECORD = "_run.json"
REJECTS = "_rejects.jsonl"
# Hidden names beside the outputs: a worker's file on its way (process and thread), a large output that grows from its parts,
# and a finished part. What a run clears away bears exactly such a name.
TEMPORARY_PREFIX = ".fastinfer-"
TEMPORARY_NAME = re.compile(r"\.fastinfer-(?:\d+-\d+|[0-9a-f]{16})")
PART_PREFIX = ".part-"
PART_NAME = re.compile(r"\.part-[0-9a-f]{16}\.\d+-\d+")


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
        folder, digest = self._digest(part.file)
        return f"{folder}/{PART_PREFIX}{digest}.{part.start}-{part.stop}"

    def assembly_path(self, item: InputFile) -> str:
        """Where the parts of an output are put together."""
        folder, digest = self._digest(item)
        return f"{folder}/{TEMPORARY_PREFIX}{digest}"

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

    def _digest(self, item: InputFile) -> tuple[str, str]:
        """The folder of an output, and a word for its name there: the name itself may leave no room for more."""
        folder, _, name = self.path(item).rpartition("/")
        return folder, hashlib.sha256(os.fsencode(name)).hexdigest()[:16]

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
        path = os.path.join(self.root, f"{TEMPORARY_PREFIX}{os.getpid()}-0")
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

    def clear_leftovers(self) -> None:
        """Removes what is left half done, once a run is done.

        Of a run that was resumed also where no input lies any more: its folder may have gone meanwhile.
        """
        for path in self._hidden_files():
            name = os.path.basename(path)
            if PART_NAME.fullmatch(name) or TEMPORARY_NAME.fullmatch(name):
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def _hidden_files(self) -> Iterator[str]:
        """Hidden files where this run, or the one that it goes on with, may have left some."""
        places: Iterable[tuple[str, list[str]]]
        if self.resumes:
            places = ((place, names) for place, _, names in os.walk(self.root))
        else:
            places = ((place, os.listdir(place)) for place in self._part_folders if os.path.isdir(place))
        return (f"{place}/{name}" for place, names in places for name in names if name.startswith("."))

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
                    if (
                        self._holds_lock
                        and TEMPORARY_NAME.fullmatch(entry.name)
                        and not entry.is_dir(follow_symlinks=False)
                    ):
                        os.unlink(entry.path)
                    elif PART_NAME.fullmatch(entry.name):
                        self._part_folders.add(place)
                    found = found or entry.name.endswith(OUTPUT_SUFFIX)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise unwritable(place, error) from error
        return found and self.resumes
