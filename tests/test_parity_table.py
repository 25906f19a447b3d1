"""docs/parity.md's table of fields: complete, without an empty cell, and its tests are there."""

from __future__ import annotations

import re

from fastinfer.sagemaker.job_file import SHAPE
from tests.conftest import ROOT


def rows() -> list[list[str]]:
    text = (ROOT / "docs" / "parity.md").read_text().partition("## Batch Transform's fields")[2]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_field_of_a_transform_job_has_a_row() -> None:
    words = {word for row in rows() for word in re.findall(r"\w+", row[0])}
    inner = {
        "CompressionType",
        "SplitType",
        "ContentType",
        "Accept",
        "AssembleWith",
        "InputFilter",
        "OutputFilter",
        "JoinSource",
    }
    assert {*SHAPE, *inner} - words == set()


def test_no_cell_is_empty_and_each_test_exists() -> None:
    for row in rows():
        assert len(row) == 4
        assert all(row)
        for name in re.findall(r"`(tests/[\w/]+\.py)`", row[3]) or [""]:
            assert (ROOT / name).is_file(), row
