"""The table of extras says what pyproject.toml does."""

from __future__ import annotations

import re

import pytest

from fastinfer.extras import EXTRAS, install_command
from tests.conftest import ROOT

# An extra, and the requirement that it begins with.
DECLARED = dict(re.findall(r'^(\w+) = \["([^";]+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", EXTRAS)
def test_a_hint_installs_what_the_extra_declares(name: str) -> None:
    assert install_command(name) == f"pip install '{DECLARED[name].strip()}'"


def test_nobody_is_sent_to_a_registry_for_fastinfer() -> None:
    texts = [*(ROOT / "fastinfer").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    assert [path.name for path in texts if re.search(r"install '?fastinfer\b", path.read_text())] == []
