"""Runs of the engine, as tests make them: from a model's path, a source and a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from fastinfer.engine import run as engine
from fastinfer.engine.progress import Progress
from fastinfer.engine.source import Listing, name_source
from fastinfer.engine.summary import Summary
from fastinfer.models.module import load_model
from fastinfer.options import Options


def transform(model: Path, source: Path, output: Path, options: Options | None = None, **rest: Any) -> Summary:
    """Transforms all that a source names; `rest` are further arguments of the engine's."""
    objects = Listing(str(source), rest.get("request"), output=str(output))
    return engine.transform(load_model(model), objects, str(output), options, source=name_source(str(source)), **rest)


class OnBatch(Progress):
    """Calls a function with the number of records after each batch."""

    def __init__(self, act: Callable[[int], object]) -> None:
        self._act = act

    def advance(self, records: int, size: int) -> None:  # noqa: ARG002
        self._act(records)
