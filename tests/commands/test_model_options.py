"""The options that say which model, and what its files leave open."""

from __future__ import annotations

import argparse

import pytest

from fastinfer.commands._model import add_model_options, choice_of
from fastinfer.models.choice import Choice


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_model_options(parser, default="x")
    return parser.parse_args(argv)


def test_what_is_typed_is_the_choice() -> None:
    assert Choice(**choice_of(parse())) == Choice()
    typed = parse("--epoch", "3", "--inputs", "user:1,item:2", "--output", "all", "--allow-missing")
    assert choice_of(typed) == {
        "epoch": 3,
        "inputs": {"user": 1, "item": 2},
        "input_shape": None,
        "output": "all",
        "allow_missing": True,
    }
    assert choice_of(parse("--input-shape", "3,2"))["input_shape"] == {"": (3, 2)}
    several = parse("--input-shape", "a:3,2", "--input-shape", "b:c:4")
    assert choice_of(several)["input_shape"] == {"a": (3, 2), "b:c": (4,)}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--input-shape", "3x2"], "expected sizes such as 3,224,224, or NAME:3,224,224, found '3x2'"),
        (["--input-shape", "3,0"], "found '3,0'"),
        (["--inputs", "user,item"], "expected names with their columns, such as user:1,item:1, found 'user,item'"),
        (["--inputs", "user:1,user:1"], "found 'user:1,user:1'"),
        (["--inputs", "user:0"], "found 'user:0'"),
        (["--epoch", "-1"], "expected a whole number"),
    ],
)
def test_what_is_none_is_refused(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*argv)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
