"""Code and models as archives: deterministic (without times and names of users), with only the files that were named.

Archives are uploaded. Home folders and folders above them, files that may hold credentials, links that lead out of the
folder, and code above a size limit are therefore refused before the first byte is written.
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
from ..models.files import CODE
from ..storage.archive import read_members
from ..storage.atomic import make_folder, replacing

SOURCE_ARCHIVE = "sourcedir.tar.gz"
MODEL_ARCHIVE = "model.tar.gz"
LIBRARIES = f"{CODE}/lib"

# The limit for code; a job's data comes through its channels.
SIZE_LIMIT_BYTES = 256 << 20

SECRET_NAMES = frozenset(
    {".ssh", ".aws", ".env", ".netrc", ".pgpass", ".pypirc", ".git-credentials", ".gnupg", ".docker", ".kube", ".azure"}
    | {"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "credentials.json"}
)
# Made by tools, useless to a job, and different on every machine.
EXCLUDED = frozenset({"__pycache__", ".git", ".hg", ".svn", ".ipynb_checkpoints", ".DS_Store", ".venv", ".tox"})

COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Files:
    """The future members of an archive: their names, and the files with their bytes."""

    members: Mapping[str, Path]

    @property
    def size(self) -> int:
        """The number of bytes before packing."""
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
    """The files of a script, its folder and its dependencies, for ``sourcedir.tar.gz``.

    Args:
        entry_point: the script; with `source_dir` its name in that folder.
        source_dir: a folder to pack with the script, completely.
        dependencies: files and folders to pack beside the script.
        limit_bytes: the largest total size.

    Raises:
        ConfigError: ``no_entry_point``, ``no_source``, ``unsafe_source``, ``secrets``, ``link``, ``too_large``, ``twice``.
    """
    members: dict[str, Path] = {}
    if source_dir is not None:
        folder = Path(source_dir).expanduser()
        if not folder.is_dir():
            raise ConfigError("source_dir is not a folder", code="no_source", path=source_dir)
        if not (folder / entry_point).is_file():
            raise ConfigError(
                f"source_dir has no file {entry_point}",
                code="no_entry_point",
                path=source_dir,
                hint="entry_point is the script's name in source_dir",
            )
        members.update(_below(folder, ""))
    else:
        script = Path(entry_point).expanduser()
        if not script.is_file():
            raise ConfigError("entry_point is not a file", code="no_entry_point", path=entry_point)
        _refuse_secret(script)
        members[script.name] = script
    for name, path in dependency_files(dependencies):
        if name in members:
            raise ConfigError(
                f"two files would have the name {quote(name)} in the archive", code="twice", path=str(path)
            )
        members[name] = path
    return _within(Files(dict(sorted(members.items()))), limit_bytes)


def dependency_files(dependencies: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Names and files of dependencies; names of a folder's files begin with the folder's own name."""
    for dependency in dependencies:
        path = Path(dependency).expanduser()
        if path.is_dir():
            yield from _below(path, path.resolve().name)
        elif path.is_file():
            _refuse_secret(path)
            yield path.name, path
        else:
            raise ConfigError("the dependency is not a file or folder", code="no_source", path=dependency)


def pack(files: Files, archive: Path) -> None:
    """Packs files into a .tar.gz; the same files give the same bytes.

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
    """Packs a model's archive again, with the code that serves it below ``code/``, as the container requires.

    Args:
        model: the ``model.tar.gz`` of a training.
        archive: the new archive.
        code: a ``sourcedir.tar.gz`` with files for ``code/``.
        keep_code: whether the model's own files below ``code/`` are kept; new files replace those of the same name.
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
    """The files of a folder with their names in the archive."""
    _refuse_home(folder)
    root = folder.resolve()
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in EXCLUDED)
        for name in folders:
            path = Path(parent, name)
            _refuse_secret(path)
            if path.is_symlink():
                raise ConfigError(
                    "links to folders are not packed",
                    code="link",
                    path=str(path),
                    hint="name that folder as a dependency",
                )
        for name in sorted(files):
            path = Path(parent, name)
            if name in EXCLUDED or name.endswith((".pyc", ".pyo")):
                continue
            _refuse_secret(path)
            target = path.resolve()
            if path.is_symlink() and root not in target.parents:
                raise ConfigError(
                    "the link leads out of the folder",
                    code="link",
                    path=str(path),
                    hint="copy the file into the folder, or name it as a dependency",
                )
            if not target.is_file():
                raise ConfigError("is not a file or folder", code="link", path=str(path))
            yield "/".join(part for part in (prefix, path.relative_to(folder).as_posix()) if part), path


def _refuse_home(folder: Path) -> None:
    resolved = folder.resolve()
    home = Path.home().resolve()
    if resolved == home or resolved in home.parents:
        what = "the home folder" if resolved == home else "a folder above the home folder"
        raise ConfigError(
            f"{what} must not be uploaded",
            code="unsafe_source",
            path=str(folder),
            hint="put the code into its own folder",
        )


def _refuse_secret(path: Path) -> None:
    for candidate in {path.name, path.resolve().name}:
        if candidate in SECRET_NAMES or candidate.startswith(".env."):
            raise ConfigError(
                "has a name of files with credentials, which must not be uploaded",
                code="secrets",
                path=str(path),
                hint="put the code into its own folder",
            )
    if any(part in (".ssh", ".aws", ".gnupg") for part in path.resolve().parts):
        raise ConfigError("is in a folder of credentials, which must not be uploaded", code="secrets", path=str(path))


def _within(files: Files, limit_bytes: int) -> Files:
    if files.size > limit_bytes:
        largest = max(files.members, key=lambda name: files.members[name].stat().st_size)
        raise ConfigError(
            f"the code has {files.describe()}, more than the limit of {limit_bytes:,} bytes",
            code="too_large",
            path=str(files.members[largest]),
            hint="this is its largest file; pass data through a channel, or raise max_code_bytes",
        )
    return files


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[tarfile.TarFile]:
    """A new .tar.gz, without times and without a name in gzip's header."""
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(open(path, "wb"))
        packed = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0))
        yield stack.enter_context(tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT))


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    try:
        content = open(path, "rb")  # noqa: SIM115  (closed below; an error while packing is one of the archive)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", code="no_source", path=str(path)) from error
    with content:
        facts = os.fstat(content.fileno())
        _add(tar, name, content, facts.st_size, 0o755 if facts.st_mode & 0o100 else 0o644)


def _add(tar: tarfile.TarFile, name: str, content: io.BufferedIOBase, size: int, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode
    tar.addfile(member, content)
