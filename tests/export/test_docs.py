"""docs/onnx.md lists the operators that are translated."""

from __future__ import annotations

import re
from pathlib import Path

from fastinfer.export.translate import TRANSLATIONS

PAGE = Path(__file__).parent.parent.parent / "docs" / "onnx.md"


def test_the_page_lists_every_translation() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## Operators")[2].partition("\n\n")[2].partition("\n\n")[2]
    assert re.findall(r"`(\w+)`", section) == sorted(TRANSLATIONS, key=str.lower)
