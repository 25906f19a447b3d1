"""The options of ``fastinfer sagemaker``: each says what it is for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from fastinfer.commands._sagemaker_parser import make_parser


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (found,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found.choices)


def without_help(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if not action.help:
            yield "/".join(action.option_strings) or action.dest


@pytest.mark.parametrize("command", ["train", "transform", "status"])
def test_every_option_has_a_help(command: str) -> None:
    assert list(without_help(commands(make_parser("x"))[command])) == []


@pytest.mark.parametrize(
    "arguments",
    [["train", ""], ["train", "x", "--output", ""], ["transform", ""], ["transform", "in", "--model", ""]],
)
def test_an_empty_path_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        make_parser("x").parse_args(arguments)
    assert caught.value.code == 2
    assert "it must be a path, found ''" in capsys.readouterr().err


def test_values_are_read_by_their_form(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--hyperparameter", "a=[1]", "--hyperparameter", "b=text", "--tag", "c=d=e"]
    arguments = make_parser("x").parse_args(["train", "script.py", *options])
    assert arguments.hyperparameter == [("a", [1]), ("b", "text")]
    assert arguments.tag == [("c", "d=e")]
    for wrong in ("a", "=b"):
        with pytest.raises(SystemExit):
            make_parser("x").parse_args(["train", "script.py", "--tag", wrong])
        assert f"expected NAME=VALUE, found {wrong!r}" in capsys.readouterr().err
