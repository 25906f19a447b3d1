"""``fastinfer COMMAND …``, and ``python -m fastinfer COMMAND …``: finds the command and runs it.

A command is imported when it is called, so that ``--help`` of one does not wait for what another needs.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from ._version import __version__
from .commands import COMMANDS
from .commands._run import help_formatter, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit code of the command."""
    return run_command(_dispatch, argv)


def _dispatch(argv: Sequence[str] | None) -> int:
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name not in COMMANDS:
        listed = "\n".join(f"  {command:<10} {about}" for command, about in COMMANDS.items())
        parser = argparse.ArgumentParser(
            prog="fastinfer",
            usage="fastinfer [-h] [--version] COMMAND ...",
            description="Local batch inference for MXNet Module models.",
            epilog=f"commands:\n{listed}\n\n`fastinfer COMMAND --help` describes a command.",
            formatter_class=help_formatter,
        )
        parser.add_argument("--version", action="version", version=f"fastinfer {__version__}")
        parser.add_argument("command", metavar="COMMAND", choices=list(COMMANDS), help=argparse.SUPPRESS)
        parser.parse_args([name])  # exits: the name is an option, or argparse refuses it
    command = importlib.import_module(f".commands.{name}", __package__)
    code: int = command.main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
