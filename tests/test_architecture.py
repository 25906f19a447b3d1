"""The order of rooms (docs/architecture.md), and limits of size, checked in the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# A module imports only from its own row and from those above; imports in functions and for type checkers count as well.
ROWS = [
    {"errors", "error_codes", "extras", "machine", "python_text", "_version"},
    {"_native"},
    {"options"},
    {"storage", "codecs"},
    {"records", "models"},
    {"runtimes", "outputs"},
    {"handlers", "export"},
    {"engine"},
    {"__init__", "transformer", "kernels"},
    {"serving", "mnist", "report"},
    {"sagemaker"},
    {"commands", "transform", "serve"},
    {"__main__"},
]
LINES = 420
ATTRIBUTES = 12
# A class with more of them states the reason in its docstring, after these words.
MANY_ATTRIBUTES = "So many attributes:"
# Modules whose tests are in a file of another name.
TESTED_ELSEWHERE: dict[str, str] = {
    "fastinfer.__main__": "commands/test_main.py",
    "fastinfer._version": "commands/test_main.py",
    "fastinfer.error_codes": "test_errors.py",
    "fastinfer.transform": "commands/test_transform.py",  # three lines
    "fastinfer.serve": "serving/test_http.py",  # three lines
    "fastinfer.kernels": "native/test_parse.py",  # the public face of _native.text
    "fastinfer.codecs.base": "codecs/test_csv.py",  # a contract
    "fastinfer.codecs.json_rows": "codecs/test_json.py",  # what it prints is compared with whole bodies
    "fastinfer.models.onnx_schema": "models/test_onnx.py",  # tables
    "fastinfer.storage.base": "storage/test_local.py",  # a contract
    "fastinfer.runtimes.base": "runtimes/test_batch_size.py",  # a contract
    "fastinfer.sagemaker.__main__": "sagemaker/test_command.py",  # three lines
    "fastinfer.sagemaker.local.site.sitecustomize": "sagemaker/test_local_training.py",  # in the process of a script
    "fastinfer.sagemaker.local.__main__": "sagemaker/test_local_mode.py",  # the process of a job
    "fastinfer.commands.sagemaker": "sagemaker/test_command.py",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name_of(path): path for path in sorted((ROOT / "fastinfer").rglob("*.py"))}
NATIVE = {name_of(path) for path in (ROOT / "fastinfer" / "_native").glob("*.pyx")}
TREES = {name: ast.parse(path.read_text()) for name, path in PATHS.items()}


def imports(name: str) -> Iterator[str]:
    """The modules of this package that a module imports, wherever in it."""
    package = name.split(".") if PATHS[name].stem == "__init__" else name.split(".")[:-1]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = (f"{base}.{alias.name}" for alias in node.names)
            found = [each if each in PATHS or each in NATIVE else base for each in names]
        else:
            continue
        yield from (each for each in found if each.split(".")[0] == "fastinfer")


def row_of(name: str) -> int:
    if name.endswith(".__main__"):  # what is run, whatever room it is in
        return len(ROWS) - 1
    room = [*name.split("."), "__init__"][1]
    (row,) = [number for number, rooms in enumerate(ROWS) if room in rooms]
    return row


def test_every_module_imports_from_its_own_row_and_those_above() -> None:
    found = {f"{name} imports {each}" for name in PATHS for each in imports(name) if row_of(each) > row_of(name)}
    assert sorted(found) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = {(name, each) for name in PATHS for each in imports(name) if each in PATHS and each != name}
    left: set[tuple[str, str]] = set()
    while left != arrows:  # without those that import nothing more, and those that nothing imports any more
        left, importing, imported = arrows, {name for name, _ in arrows}, {each for _, each in arrows}
        arrows = {(name, each) for name, each in arrows if name in imported and each in importing}
    found = {f"circle: {name} imports {each}" for name, each in arrows}
    assert sorted(found) == []


def test_every_module_has_a_test_file() -> None:
    """fastinfer/ROOM/PART/MODULE.py has tests/ROOM/test_PART_MODULE*.py; an __init__.py holds names alone."""
    found = set()
    for name, path in PATHS.items():
        if name in TESTED_ELSEWHERE:
            assert (ROOT / "tests" / TESTED_ELSEWHERE[name]).exists()
        elif path.stem != "__init__":
            room, *below = [part.strip("_") for part in name.split(".")[1:]]
            pattern = f"{room}/test_{'_'.join(below)}*.py" if below else f"test_{room}*.py"
            if not list((ROOT / "tests").glob(pattern)):
                found.add(f"no test: {name}")
    assert sorted(found) == []


def test_no_module_is_long() -> None:
    found = {f"long: {name}" for name, path in PATHS.items() if len(path.read_text().splitlines()) > LINES}
    assert sorted(found) == []


def attributes(node: ast.ClassDef) -> set[str]:
    """What a class's methods set on self, and the fields that it declares."""
    declared = {
        each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    return declared | {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }


def test_a_class_with_many_attributes_says_why() -> None:
    found = {
        f"many attributes: {name}.{node.name}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and len(attributes(node)) > ATTRIBUTES
        and MANY_ATTRIBUTES not in (ast.get_docstring(node) or "")
    }
    assert sorted(found) == []
