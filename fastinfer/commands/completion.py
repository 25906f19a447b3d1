"""``fastinfer completion SHELL``: a script by which a shell completes the commands, their options and files."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Sequence

from ..errors import ConfigError
from ..extras import install_command
from . import COMMANDS
from ._run import run_command

SHELLS = ("bash", "zsh", "tcsh")
# What the values of these options and arguments name, as their help shows them.
FOLDERS = ("DIR", "OUT")
FILES = ("FILE", "IN", "IMAGES", "MODEL", "SCRIPT")


def make_parser(prog: str = "fastinfer completion") -> argparse.ArgumentParser:
    """The command's options; `prog` is what its usage line calls it."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Print a script that completes fastinfer's commands and options in your shell.",
        epilog='bash: eval "$(fastinfer completion bash)" in ~/.bashrc. '
        "zsh: fastinfer completion zsh > DIR/_fastinfer, where DIR is in $fpath. "
        "Exit codes: 0 done, 2 bad option or shtab is missing.",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


def all_commands() -> argparse.ArgumentParser:
    """One parser for all commands."""
    whole = argparse.ArgumentParser(prog="fastinfer")
    each = whole.add_subparsers()
    for name, about in COMMANDS.items():
        parser = importlib.import_module(f".{name}", __package__).make_parser()
        each.add_parser(name, help=about, parents=[parser], add_help=False)
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_completion, argv)


def _completion(argv: Sequence[str] | None) -> None:
    shell = make_parser().parse_args(argv).shell
    try:
        import shtab
    except ImportError as error:
        raise ConfigError(
            f"completion requires shtab, which cannot be imported: {error}",
            code="shtab_missing",
            hint=install_command("completion"),
        ) from error
    whole = all_commands()
    for action in _actions(whole):
        if action.metavar in FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(whole, shell=shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The actions of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                yield from _actions(command)
