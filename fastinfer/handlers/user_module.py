"""Finds and imports a model's own serving module. No model is loaded or bound here."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, NamedTuple

from ..errors import ModelError, said
from ..models.code import DEFAULT_PROGRAM, HOOKS, PROGRAM_VARIABLE
from ..models.files import CODE
from ..runtimes.mxnet.libmxnet import binding, first_line
from ..runtimes.mxnet.library import load_mxnet
from ..runtimes.mxnet.settings import INFERENCE_SETTINGS

# Folders of imported code: before the next import of a user's module, modules from these folders are removed.
_code_folders: set[str] = set()


class UserModule(NamedTuple):
    """An imported user's module.

    Attributes:
        file: its file.
        code: the model's folder of code, which is on ``sys.path`` while hooks run.
        hooks: the hooks that it has, by name.
    """

    file: Path
    code: Path
    hooks: dict[str, Callable[..., Any]]


def load_user_module(model_dir: Path, program: str | None = None) -> UserModule | None:
    """Imports a model's serving module, again in each call; None if there is none.

    Args:
        model_dir: the model's folder.
        program: the module's name below ``code/``, with or without ``.py``; None: ``$SAGEMAKER_PROGRAM``, else
            ``inference.py`` if it exists; an empty string: there is none.

    Raises:
        ModelError: ``no_program`` if the module does not exist, or ``code/`` exists and nothing names a module;
            ``bad_program`` if it cannot be imported.
    """
    file, code = find_program(model_dir, program), model_dir / CODE
    if file is None:
        return None
    load_mxnet(
        INFERENCE_SETTINGS
    )  # before the module imports it: with our settings and the names that a newer NumPy lacks
    module = import_module(file, code)
    return UserModule(
        file, code, {name: getattr(module, name) for name in HOOKS if getattr(module, name, None) is not None}
    )


def find_program(model_dir: Path, program: str | None = None) -> Path | None:
    """The file of a model's serving module; None if there is none. See :func:`load_user_module`."""
    code = model_dir / CODE
    if program is None:
        program = os.environ.get(PROGRAM_VARIABLE)
        if not program and _module_file(code, DEFAULT_PROGRAM):
            program = DEFAULT_PROGRAM
        if not program and code.is_dir() and any(code.glob("*.py")):
            raise ModelError(
                f"the model has a {CODE}/ folder, but ${PROGRAM_VARIABLE} does not name the module in it that serves",
                code="no_program",
                path=str(model_dir),
                hint="name the module as the program, or give an empty name to serve the model without it",
            )
    if not program:
        return None
    file = _module_file(code, program)
    if file is None:
        raise ModelError(f"{CODE}/{program} does not exist", code="no_program", path=str(model_dir))
    return file


def _module_file(code: Path, program: str) -> Path | None:
    """The file of a module or package in a code folder."""
    name = program[:-3] if program.endswith(".py") else program
    stem = code.joinpath(*name.split("."))
    for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
        if file.is_file():
            return file
    return None


@contextlib.contextmanager
def on_path(code: Path) -> Iterator[None]:
    """Puts the code folder first on sys.path, also for late imports. Hooks may bind a graph, so no other thread may bind."""
    with binding:
        sys.path.insert(0, str(code))
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                sys.path.remove(str(code))


def import_module(file: Path, code: Path) -> ModuleType:
    """Imports a user's module from its file, again."""
    with on_path(code):
        _code_folders.add(str(code))
        for name, module in list(sys.modules.items()):
            # Modules of another model, or of an earlier import of this one: the same names, other code.
            path = getattr(module, "__file__", None)
            if path and any(path.startswith(folder + os.sep) for folder in _code_folders):
                del sys.modules[name]
        importlib.invalidate_caches()
        parts = file.relative_to(code).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        written, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the model's folder stays unchanged
        try:
            if "." in name:
                return importlib.import_module(name)
            # By its file, not by its name: another module, such as json, may have that name.
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None  # of a .py file
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(name, module)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                if sys.modules.get(name) is module:
                    del sys.modules[name]
                raise
            return module
        except BaseException as error:
            if is_users_interrupt(error):
                raise
            raise program_error(error, "cannot be imported", file) from error
        finally:
            sys.dont_write_bytecode = written


def is_users_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C, which reaches the main thread only; elsewhere a user's code has raised it."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def program_error(error: BaseException, what: str, file: Path) -> ModelError:
    """The error that names the file and line where a user's module failed."""
    folder = str(file.parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(folder)]
    line = frames[-1].lineno if frames else error.lineno if isinstance(error, SyntaxError) else None
    text = first_line(error) if isinstance(error, Exception) else said(error)
    return ModelError(
        ": ".join(filter(None, (what, type(error).__name__, text))),
        code="bad_program",
        path=frames[-1].filename if frames else str(file),
        line=line,
    )
