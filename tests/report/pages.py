"""Folders of results, made without a model, and the content of pages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fastinfer.report.inputs import Inputs
from fastinfer.report.page import Report
from fastinfer.report.predictions import read_predictions
from fastinfer.report.results import find_results, read_record, read_rejects


def write_run(root: Path, results: dict[str, Any], inputs: dict[str, str] | None = None) -> Path:
    """A folder ``out`` with results as JSON, and a folder ``in``; returns ``out``."""
    for name, rows in results.items():
        path = root / "out" / f"{name}.out"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows))
    for name, text in (inputs or {}).items():
        path = root / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "out"


def report_of(out: Path, labels: Any = None, title: str = "a run") -> Report:
    results, record = find_results(str(out)), read_record(str(out))
    inputs = Inputs(str(out.parent / "in"), record) if (out.parent / "in").exists() else None
    predictions = read_predictions(results, labels)
    return Report(title, results, predictions, labels, inputs, record, *read_rejects(str(out)))


def content_of(page: str) -> dict[str, Any]:
    """What the script of a page reads."""
    match = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    content: dict[str, Any] = json.loads(match[1])
    return content
