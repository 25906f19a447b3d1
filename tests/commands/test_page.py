"""docs/commands.md is what the parsers print, and lacks nothing that --help says."""

from __future__ import annotations

import importlib
import re

import pytest

from fastinfer.commands import COMMANDS
from fastinfer.commands._page import commands_page
from tests.conftest import ROOT


def test_the_page_is_the_one_that_is_printed() -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == commands_page(), "make docs/commands.md"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_on_the_page(command: str) -> None:
    shown = importlib.import_module(f"fastinfer.commands.{command}").make_parser().format_help()
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", shown)) - {"--help"}
    page = commands_page().partition(f"\n## fastinfer {command}\n")[2].partition("\n## ")[0]
    assert {option for option in options if option not in page} == set()
