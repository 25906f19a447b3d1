"""A model's own serving code, by its text: which functions it defines. Nothing of it is imported or run."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import ModelError
from ..python_text import parse_again
from ..storage.regular import read_regular
from .files import CODE

# The variable that names the serving module in a model's own code, and the module that is used by default.
PROGRAM_VARIABLE = "SAGEMAKER_PROGRAM"
DEFAULT_PROGRAM = "inference.py"

_CODE = rf"([^/]+/)?{CODE}/.+\.py"

# Of a module, and of all modules of a model's code together.
MODULE_BYTES, CODE_BYTES = 4 << 20, 64 << 20

# Beside the modules: the packages that they need.
REQUIREMENTS = "requirements.txt"

# The functions by which a module takes part in serving.
STAGES = ("input_fn", "predict_fn", "output_fn")
HOOKS = ("model_fn", "transform_fn", *STAGES, "pre_model_fn", "model_warmup_fn")
# What stands for every name: a module that imports * may have any.
ANY = "*"


class Code(NamedTuple):
    """A model's code.

    Attributes:
        folder: that ``code/`` is in, within the model's folder or archive, with a slash behind it; empty at the top.
        program: the module that serves, below ``code/``; None if nothing says which.
        defines: for each module in ``code/``, the names that it defines; ``*`` where it imports all names of another.
    """

    folder: str
    program: str | None
    defines: dict[str, frozenset[str]]

    @property
    def hooks(self) -> dict[str, list[str]]:
        """The hooks that the serving module defines; those of every module, if nothing says which one serves."""
        found = {module: [name for name in HOOKS if {name, ANY} & names] for module, names in self.defines.items()}
        return {module: names for module, names in found.items() if names}


def program_name() -> str:
    """The serving module that the environment chooses, below ``code/``: however it is written, it has one name."""
    program = os.environ.get(PROGRAM_VARIABLE) or DEFAULT_PROGRAM
    return (program[:-3] if program.endswith(".py") else program).replace("/", ".")


def has_requirements(model: Path) -> bool:
    """Whether the code of a model, in its folder or archive, names packages that SageMaker's container installs first."""
    if model.is_dir():
        return (model / CODE / REQUIREMENTS).is_file()
    # Imported late: a folder needs it not.
    from ..storage.archive import read_members

    return any(member.name == f"{CODE}/{REQUIREMENTS}" for member in read_members(model))


def requirements_note(model: Path) -> str:
    """What is said where the code of a model that :func:`has_requirements` runs here."""
    name, is_folder = f"{CODE}/{REQUIREMENTS}", model.is_dir()
    file = f"{model}/{name}"
    command = f"pip install -r {shlex.quote(file if is_folder else name)}"
    return (
        f"{file} is not installed here: the code runs with the packages of this interpreter. "
        f"Hint: {command}{'' if is_folder else ', when it is unpacked'}"
    )


def read_code(path: Path) -> Code | None:
    """The code of a model, in its folder or archive or one folder below; None if it has none.

    Args:
        path: its folder or archive.

    Raises:
        ModelError: ``bad_program`` for a module that is no Python; ``no_program`` where ``$SAGEMAKER_PROGRAM`` names none of
            them; ``unsafe_archive`` for too much code.
    """
    modules = _read_folder(path) if path.is_dir() else _read_archive(path)
    folders = sorted({name.partition(f"{CODE}/")[0] for name in modules})
    if not folders:
        return None
    folder = folders[0]  # the top sorts first
    start = f"{folder}{CODE}/"
    texts = {name[len(start) :]: text for name, text in modules.items() if name.startswith(start)}
    named = os.environ.get(PROGRAM_VARIABLE)
    program = named or (DEFAULT_PROGRAM if DEFAULT_PROGRAM in texts else None)
    if program is not None:
        stem = (program[:-3] if program.endswith(".py") else program).replace(".", "/")
        found = [name for name in (f"{stem}.py", f"{stem}/__init__.py") if name in texts]
        if not found:
            raise ModelError(f"{CODE}/{program} does not exist", code="no_program", path=str(path))
        program = found[0]
    wanted = texts if program is None else [program]
    return Code(folder, program, {name: _defined(texts[name], f"{path}/{folder}{CODE}/{name}") for name in wanted})


def _read_folder(folder: Path) -> dict[str, bytes]:
    texts: dict[str, bytes] = {}
    for code in [folder / CODE, *sorted(folder.glob(f"*/{CODE}"))]:
        for file in sorted(code.rglob("*.py")) if code.is_dir() else []:
            try:
                texts[file.relative_to(folder).as_posix()] = read_regular(file, MODULE_BYTES)
            except OSError as error:
                raise ModelError(f"cannot be read: {error.strerror}", path=str(file)) from error
            _check_size(texts, folder)
        if texts:
            break
    return texts


def _read_archive(archive: Path) -> dict[str, bytes]:
    # Imported late: a folder needs it not.
    from ..storage.archive import read_members

    texts: dict[str, bytes] = {}
    for member in read_members(archive):
        if re.fullmatch(_CODE, member.name):
            texts[member.name] = member.content.read(MODULE_BYTES)
            _check_size(texts, archive)
    return texts


def _check_size(texts: dict[str, bytes], path: Path) -> None:
    if sum(map(len, texts.values())) > CODE_BYTES:
        raise ModelError(
            f"its code has more than {CODE_BYTES >> 20} MiB, which is not read", code="unsafe_archive", path=str(path)
        )


def _defined(text: bytes, path: str) -> frozenset[str]:
    """The names that a module defines at its top level, also where that depends on a condition."""
    try:
        tree = parse_again(lambda: ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        raise ModelError(f"is not Python: {error}", code="bad_program", path=path, line=line) from error
    return frozenset(name for statement in tree.body for name in _names(statement))


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Store):
            yield node.id
    elif not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _names(child)
