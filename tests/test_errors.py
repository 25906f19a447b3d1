"""The registry of codes: complete, without a code too many, and printed in the docs."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastinfer import errors
from fastinfer.codecs.csv_errors import CODES
from fastinfer.errors import (
    REGISTRY,
    ConfigError,
    FastinferError,
    InputError,
    OutputError,
    ServiceError,
    quote,
    register,
    without_frames,
)

ROOT = Path(__file__).parent.parent
CLASSES = (
    errors.InputError,
    errors.ConfigError,
    errors.ModelError,
    errors.OutputError,
    errors.WorkerDied,
    errors.ServiceError,
)


def parsed() -> Iterator[ast.Module]:
    for path in sorted((ROOT / "fastinfer").rglob("*.py")):
        yield ast.parse(path.read_text(), str(path))


def constants(node: ast.AST) -> set[str]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def raised_codes() -> set[str]:
    """The codes that the package gives to its errors."""
    error_classes = {kind.__name__: kind.code for kind in CLASSES}
    classes = [node for tree in parsed() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while True:
        derived = {
            node.name: node
            for node in classes
            if node.name not in error_classes
            and any(isinstance(base, ast.Name) and base.id in {*error_classes, "FastinferError"} for base in node.bases)
        }
        if not derived:
            break
        for name, node in derived.items():
            own = [
                part.value.value
                for part in node.body
                if isinstance(part, ast.Assign)
                and isinstance(part.value, ast.Constant)
                and ast.unparse(part.targets[0]) == "code"
            ]
            error_classes[name] = own[0] if own else ""
    # What is not plain JSON is read again by the json module, whose errors have codes of their own.
    codes = {code.word for code in CODES if code.word not in ("ok", "not_plain")}
    for path in (ROOT / "fastinfer").rglob("*.pyx"):
        codes |= set(re.findall(r'\bcode="(\w+)"', path.read_text()))
    for tree in parsed():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
            if name_of(call) == "_service_error" and len(call.args) > 2:
                given.append(call.args[2])
            elif name_of(call) not in error_classes:
                continue
            elif not given:
                codes |= {error_classes[name_of(call)]}
            for node in given:
                if isinstance(node, ast.Name):
                    codes |= assigned(tree, node.id)
                else:
                    codes |= constants(node)
    return codes - {""}


def assigned(tree: ast.Module, name: str) -> set[str]:
    """The words that a module assigns to a variable; of a tuple, to its element there."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    value = node.value
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    names = [getattr(element, "id", "") for element in target.elts]
                    if name not in names:
                        continue
                    value = node.value.elts[names.index(name)]
                else:
                    continue
                branches = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
                found |= {word for branch in branches if isinstance(branch, ast.Constant) for word in constants(branch)}
    return found


def test_every_code_that_is_raised_is_registered_and_every_registered_one_is_raised() -> None:
    assert raised_codes() == set(REGISTRY)


def test_every_class_has_its_default_code_registered() -> None:
    for kind in CLASSES:
        assert REGISTRY[kind.code].error is kind
        assert kind("it is wrong").code == kind.code


def test_each_class_has_an_exit_code_of_its_own() -> None:
    assert [kind.exit_code for kind in CLASSES] == [1, 2, 3, 4, 5, 6]
    assert FastinferError.exit_code == 1


def test_an_unregistered_code_is_refused() -> None:
    with pytest.raises(ValueError, match="the code 'oops' of this InputError is not registered") as caught:
        InputError("it is wrong", code="oops")
    assert not isinstance(caught.value, FastinferError)
    with pytest.raises(ValueError, match="is not registered"):
        FastinferError("it is wrong")


def test_a_code_of_another_class_is_refused_and_one_of_a_base_class_is_not() -> None:
    with pytest.raises(ValueError, match="the code 'bad_model' of this InputError is registered for ModelError"):
        InputError("it is wrong", code="bad_model")

    class Narrower(ConfigError):
        pass

    assert Narrower("it is wrong", code="bad_device").code == "bad_device"


def test_a_code_cannot_be_registered_twice() -> None:
    with pytest.raises(ValueError, match="'bad_input' is registered already"):
        register(InputError, ("bad_input", "again", "again"))
    assert REGISTRY["bad_input"].cause != "again"


def test_the_page_of_the_docs_is_what_the_registry_says() -> None:
    assert (ROOT / "docs" / "errors.md").read_text() == errors.errors_page()


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_survive_pickling(kind: type[FastinferError]) -> None:
    error = kind("it is wrong", path="a.csv", line=3, column=7, hint="correct it", found="abc")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) == "a.csv:3:7: it is wrong. Hint: correct it"
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("kind", CLASSES)
def test_at_gives_a_new_error_and_leaves_the_old_one(kind: type[FastinferError]) -> None:
    cause = KeyError("cause")
    with pytest.raises(kind) as caught:
        raise kind("it is wrong", path="a.csv", line=3, hint="an option", found="abc") from cause
    error = caught.value
    moved = error.at(path="b.csv", column=7, hint=None)
    assert type(moved) is kind
    assert str(moved) == "b.csv:3:7: it is wrong"
    assert (moved.code, moved.found) == (error.code, "abc")
    assert str(error) == "a.csv:3: it is wrong. Hint: an option"
    assert moved.__cause__ is cause
    assert moved.__traceback__ is error.__traceback__
    assert str(pickle.loads(pickle.dumps(moved))) == str(moved)


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (b"abc", "'abc'"),
        (b"it's", '"it\'s"'),
        ("\u00e9".encode(), "'\u00e9'"),
        (b"\xe9t\xe9\\n", r"'\xe9t\xe9\\n'"),
        (b"\x1f\x8b\x08", r"'\x1f\x8b\x08'"),
        (b"\xff" * 61, "'" + r"\xff" * 60 + "\u2026'"),
        ("\udcff", r"'\udcff'"),
    ],
)
def test_bytes_that_are_no_text_are_shown_as_bytes(found: bytes | str, shown: str) -> None:
    assert quote(found) == shown


def test_a_services_own_word_goes_along() -> None:
    error = ServiceError("too fast", code="aws_throttled")
    error.service_code = "ThrottlingException"
    for copy in (error.at(path="job"), pickle.loads(pickle.dumps(error))):
        assert (copy.service_code, copy.transient) == ("ThrottlingException", True)
    assert not ServiceError("no").transient


def test_an_output_error_is_an_oserror_with_our_message() -> None:
    error = OutputError("cannot be written: no space", path="out")
    assert isinstance(error, OSError)
    assert (str(error), error.errno) == ("out: cannot be written: no space", None)


def test_an_error_is_kept_without_frames_also_where_its_causes_go_in_a_circle() -> None:
    def fail() -> None:
        try:
            raise OSError("no room")
        except OSError as error:
            raise OutputError("cannot be written") from error

    with pytest.raises(OutputError) as found:
        fail()
    error = found.value
    cause = error.__cause__
    assert cause is not None
    cause.__context__ = error
    assert error.__traceback__ is not None
    assert cause.__traceback__ is not None
    assert without_frames(error) is error
    assert (error.__traceback__, cause.__traceback__, error.__cause__) == (None, None, cause)


def test_an_unexpected_error_keeps_its_frames() -> None:
    with pytest.raises(ZeroDivisionError) as found:
        raise ZeroDivisionError
    assert without_frames(found.value).__traceback__ is not None
