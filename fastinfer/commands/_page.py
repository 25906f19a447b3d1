"""Prints docs/commands.md from the parsers: every command with its arguments, in the words of its ``--help``."""

from __future__ import annotations

import argparse
import importlib
import textwrap
from collections.abc import Iterator

from . import COMMANDS

# argparse's own titles of groups; Python 3.9 has the third.
TITLES = {"positional arguments": "argument", "options": "option", "optional arguments": "option"}

# The longest line of a paragraph.
WIDTH = 140


def commands_page() -> str:
    """The page, in Markdown."""
    lines = [
        "# The command line",
        "",
        "`fastinfer COMMAND --help` says the same. Printed from the parsers: `make docs/commands.md`.",
        "",
        *(f"- [`fastinfer {name}`](#fastinfer-{name}): {about}" for name, about in COMMANDS.items()),
    ]
    for name in COMMANDS:
        lines += _section(importlib.import_module(f".{name}", __package__).make_parser(f"fastinfer {name}"), 2)
    return "\n".join(lines) + "\n"


def _section(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """A command, and below it those that it has itself."""
    positional = [action for action in parser._actions if not action.option_strings]
    commands = [action for action in positional if isinstance(action, argparse._SubParsersAction)]
    names = [f"[{_name(each)}]" if each.nargs in ("?", "*") else _name(each) for each in positional]
    yield from ("", f"{'#' * level} {parser.prog}", "")
    if parser.description:
        yield from (*_wrapped(parser.description), "")
    yield "    " + " ".join([parser.prog, *(["COMMAND ..."] if commands else [*names, "[options]"])])
    for group in parser._action_groups:
        rows = [each for each in group._group_actions if each not in commands and each.dest != "help"]
        rows = [each for each in rows if each.help is not argparse.SUPPRESS]
        if rows:
            yield from ("", f"| {TITLES.get(group.title or '', group.title)} | |", "| --- | --- |")
            yield from (f"| {_spelling(each)} | {_help(parser, each)} |" for each in rows)
    if parser.epilog:
        yield from ("", *_wrapped(parser.epilog))
    for action in commands:
        for command in action.choices.values():
            yield from _section(command, level + 1)


def _name(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return "|".join(map(str, action.choices))
    return str(action.metavar or (action.dest.upper() if action.option_strings else action.dest))


def _spelling(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else _name(action)
    if action.nargs == "?" and action.option_strings:
        value = f"[{value}]"
    spelled = ", ".join(action.option_strings) if action.option_strings else ""
    return "`" + " ".join(filter(None, [spelled, value])).replace("|", "\\|") + "`"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help of an argument, with its defaults."""
    return _text(parser._get_formatter()._expand_help(action)) if action.help else ""


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(_text(text), WIDTH, break_long_words=False, break_on_hyphens=False)


def _text(text: str) -> str:
    """Text as Markdown shows it unchanged, on one line."""
    for mark in "\\`*_<>[]|$":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
