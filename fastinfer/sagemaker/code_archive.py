"""Code and models as archives: deterministic (no times, no names of users), and of nothing that was not named.

What is packed leaves the machine. So a home folder, a folder above one, files that hold credentials, links that lead out
and more than a limit are refused before the first byte is written.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, quote
from ..models.module import CODE
from ..storage.archive import read_members
from ..storage.atomic import make_folder, replacing

SOURCE_ARCHIVE = "sourcedir.tar.gz"
MODEL_ARCHIVE = "model.tar.gz"
LIBRARIES = f"{CODE}/lib"

# Code, not data: what a job needs of data comes by its channels.
SIZE_LIMIT_BYTES = 256 << 20

SECRET_NAMES = frozenset(
    {".ssh", ".aws", ".env", ".netrc", ".pgpass", ".pypirc", ".git-credentials", ".gnupg", ".docker", ".kube", ".azure"}
    | {"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "credentials.json"}
)
# Made by tools, of no use to a job, and different on every machine.
LEFT_OUT = frozenset({"__pycache__", ".git", ".hg", ".svn", ".ipynb_checkpoints", ".DS_Store", ".venv", ".tox"})

COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Files:
    """What goes into an archive: its members' names and the files they come from."""

    members: Mapping[str, Path]

    @property
    def size(self) -> int:
        """Bytes before they are packed."""
        return sum(path.stat().st_size for path in self.members.values())

    def describe(self) -> str:
        """``3 files, 12,345 bytes``."""
        count = len(self.members)
        return f"{count} file{'' if count == 1 else 's'}, {self.size:,} bytes"


def source_files(
    entry_point: str,
    source_dir: str | None = None,
    dependencies: Iterable[str] = (),
    *,
    limit_bytes: int = SIZE_LIMIT_BYTES,
) -> Files:
    """The files of a script, its folder and what it depends on, as ``sourcedir.tar.gz`` holds them.

    Args:
        entry_point: the script; with `source_dir` its name in that folder.
        source_dir: a folder that goes with the script, whole.
        dependencies: files and folders that lie beside the script there.
        limit_bytes: the most that all files may have together.

    Raises:
        ConfigError: ``no_entry_point``, ``no_source``, ``unsafe_source``, ``secrets``, ``link``, ``too_large``, ``twice``.
    """
    members: dict[str, Path] = {}
    if source_dir is not None:
        folder = Path(source_dir).expanduser()
        if not folder.is_dir():
            raise ConfigError("the source_dir is no folder", code="no_source", path=source_dir)
        if not (folder / entry_point).is_file():
            raise ConfigError(
                f"there is no {entry_point} in the source_dir",
                code="no_entry_point",
                path=source_dir,
                hint="entry_point is the script's name in it",
            )
        members.update(_below(folder, ""))
    else:
        script = Path(entry_point).expanduser()
        if not script.is_file():
            raise ConfigError("the entry_point is no file", code="no_entry_point", path=entry_point)
        _refuse_secret(script)
        members[script.name] = script
    for name, path in dependency_files(dependencies):
        if name in members:
            raise ConfigError(f"two files would be {quote(name)} in the archive", code="twice", path=str(path))
        members[name] = path
    return _within(Files(dict(sorted(members.items()))), limit_bytes)


def dependency_files(dependencies: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Names and files of dependencies; a folder's files are named with its own name before them."""
    for dependency in dependencies:
        path = Path(dependency).expanduser()
        if path.is_dir():
            yield from _below(path, path.resolve().name)
        elif path.is_file():
            _refuse_secret(path)
            yield path.name, path
        else:
            raise ConfigError("the dependency is no file or folder", code="no_source", path=dependency)


def pack(files: Files, archive: Path) -> None:
    """Packs files as .tar.gz; the same files give the same bytes.

    Raises:
        OutputError: ``cannot_write``.
    """
    make_folder(archive.parent)
    with replacing(archive) as temporary, _writing(temporary) as tar:
        for name, path in files.members.items():
            _add_file(tar, name, path)


def repack_model(
    model: Path,
    archive: Path,
    *,
    code: Path | None,
    keep_code: bool,
    script: Path | None = None,
    libraries: Files | None = None,
) -> int:
    """A model's archive with the code that serves it below ``code/``, as the container wants it.

    Args:
        model: the ``model.tar.gz`` that a training gave.
        archive: where the new one goes.
        code: a ``sourcedir.tar.gz`` whose files go below ``code/``.
        keep_code: whether what the model has below ``code/`` stays; the new files come first.
        script: a file for ``code/``.
        libraries: files for ``code/lib/``.

    Returns:
        The new archive's size in bytes.

    Raises:
        ModelError: ``unsafe_archive``, ``bad_model``.
        OutputError: ``cannot_write``.
    """
    make_folder(archive.parent)
    written: set[str] = set()
    with replacing(archive) as temporary:
        with _writing(temporary) as tar:
            if script is not None:
                _add_file(tar, f"{CODE}/{script.name}", script)
                written.add(f"{CODE}/{script.name}")
            for name, path in (libraries.members if libraries else {}).items():
                _add_file(tar, f"{LIBRARIES}/{name}", path)
                written.add(f"{LIBRARIES}/{name}")
            if code is not None:
                for name, mode, content, size in read_members(code):
                    if f"{CODE}/{name}" not in written:
                        _add(tar, f"{CODE}/{name}", content, size, mode)
                        written.add(f"{CODE}/{name}")
            for name, mode, content, size in read_members(model):
                if name in written or (name.startswith(f"{CODE}/") and not keep_code):
                    continue
                _add(tar, name, content, size, mode)
        return temporary.stat().st_size


def pack_folder(folder: Path, archive: Path) -> None:
    """Packs all files below a folder, as SageMaker packs a training's model.

    Raises:
        OutputError: ``cannot_write``.
    """
    make_folder(archive.parent)
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    pack(Files({path.relative_to(folder).as_posix(): path for path in found}), archive)


def _below(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """The files of a folder, by their names in the archive."""
    _refuse_home(folder)
    root = folder.resolve()
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in folders:
            path = Path(place, name)
            _refuse_secret(path)
            if path.is_symlink():
                raise ConfigError(
                    "a link to a folder is not packed",
                    code="link",
                    path=str(path),
                    hint="name that folder as a dependency",
                )
        for name in sorted(files):
            path = Path(place, name)
            if name in LEFT_OUT or name.endswith((".pyc", ".pyo")):
                continue
            _refuse_secret(path)
            target = path.resolve()
            if path.is_symlink() and root not in target.parents:
                raise ConfigError(
                    "the link leads out of the folder",
                    code="link",
                    path=str(path),
                    hint="copy the file there, or name it as a dependency",
                )
            if not target.is_file():
                raise ConfigError("is neither a file nor a folder", code="link", path=str(path))
            yield "/".join(part for part in (prefix, path.relative_to(folder).as_posix()) if part), path


def _refuse_home(folder: Path) -> None:
    resolved = folder.resolve()
    home = Path.home().resolve()
    if resolved == home or resolved in home.parents:
        what = "the home folder" if resolved == home else "a folder above the home folder"
        raise ConfigError(
            f"{what} is not packed and uploaded",
            code="unsafe_source",
            path=str(folder),
            hint="put the code into a folder of its own",
        )


def _refuse_secret(path: Path) -> None:
    for candidate in {path.name, path.resolve().name}:
        if candidate in SECRET_NAMES or candidate.startswith(".env."):
            raise ConfigError(
                "holds credentials by its name, and is not packed and uploaded",
                code="secrets",
                path=str(path),
                hint="put the code into a folder of its own",
            )
    if any(part in (".ssh", ".aws", ".gnupg") for part in path.resolve().parts):
        raise ConfigError("lies where credentials do, and is not packed and uploaded", code="secrets", path=str(path))


def _within(files: Files, limit_bytes: int) -> Files:
    if files.size > limit_bytes:
        largest = max(files.members, key=lambda name: files.members[name].stat().st_size)
        raise ConfigError(
            f"{files.describe()} are more than the {limit_bytes:,} that code may have",
            code="too_large",
            path=str(files.members[largest]),
            hint="this is the largest file; data goes to S3 and comes by a channel; or max_code_bytes=...",
        )
    return files


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[tarfile.TarFile]:
    """A .tar.gz being written, without times; gzip's header has no name either."""
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(open(path, "wb"))
        packed = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0))
        yield stack.enter_context(tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT))


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    try:
        content = open(path, "rb")  # noqa: SIM115  (closed below; what fails while it is read is told of the archive)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", code="no_source", path=str(path)) from error
    with content:
        facts = os.fstat(content.fileno())
        _add(tar, name, content, facts.st_size, 0o755 if facts.st_mode & 0o100 else 0o644)


def _add(tar: tarfile.TarFile, name: str, content: io.BufferedIOBase, size: int, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode
    tar.addfile(member, content)
