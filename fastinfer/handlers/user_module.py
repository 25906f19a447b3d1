"""Finding and importing a model's own serving module."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ..errors import ModelError
from ..models.module import CODE, DEFAULT_PROGRAM, PROGRAM_VARIABLE
from ..runtimes.mxnet.graph import binding
from ..runtimes.mxnet.library import first_line

# Code folders of the handlers made so far: the names of their modules are taken anew by the next handler.
_code_folders: set[str] = set()


def find_program(model_dir: Path, program: str | None = None) -> Path | None:
    """The file of a model's serving module; None where there is none. See :func:`load_handler`."""
    code = model_dir / CODE
    if program is None:
        program = os.environ.get(PROGRAM_VARIABLE)
        if not program and _module_file(code, DEFAULT_PROGRAM):
            program = DEFAULT_PROGRAM
        if not program and code.is_dir() and any(code.glob("*.py")):
            raise ModelError(
                f"there is a {CODE}/ folder, and ${PROGRAM_VARIABLE} does not say which module of it serves",
                code="no_program",
                path=str(model_dir),
                hint="name it; or say that none does, with an empty name",
            )
    if not program:
        return None
    file = _module_file(code, program)
    if file is None:
        raise ModelError(f"there is no {CODE}/{program}", code="no_program", path=str(model_dir))
    return file


def _module_file(code: Path, program: str) -> Path | None:
    """The file of a module or package in a code folder."""
    name = program[:-3] if program.endswith(".py") else program
    place = code.joinpath(*name.split("."))
    for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
        if file.is_file():
            return file
    return None


@contextlib.contextmanager
def on_path(code: Path) -> Iterator[None]:
    """The module's own folder comes first on sys.path, also for what is imported late; hooks may bind, so none else does."""
    with binding:
        sys.path.insert(0, str(code))
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                sys.path.remove(str(code))


def import_module(file: Path, code: Path) -> ModuleType:
    """Imports a user's module from its file, anew."""
    with on_path(code):
        _code_folders.add(str(code))
        for name, module in list(sys.modules.items()):
            # Of another model, or of this one before: same names, other code.
            place = getattr(module, "__file__", None)
            if place and any(place.startswith(folder + os.sep) for folder in _code_folders):
                del sys.modules[name]
        importlib.invalidate_caches()
        parts = file.relative_to(code).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        written, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the model's folder is left as it is
        try:
            if "." in name:
                return importlib.import_module(name)
            # By its file, not by its name: a module of that name may be there that is none of the user's.
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
        except (Exception, SystemExit) as error:
            raise program_error(error, "cannot be imported", file) from error
        finally:
            sys.dont_write_bytecode = written


def program_error(error: BaseException, what: str, file: Path) -> ModelError:
    """The error that says where a user's module failed."""
    folder = str(file.parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(folder)]
    line = frames[-1].lineno if frames else error.lineno if isinstance(error, SyntaxError) else None
    return ModelError(
        f"{what}: {type(error).__name__}: {first_line(error) if isinstance(error, Exception) else error}",
        code="bad_program",
        path=frames[-1].filename if frames else str(file),
        line=line,
    )
