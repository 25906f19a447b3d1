"""Runs of the engine, as tests make them: from a model's path, a source and a folder."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Callable

from fastinfer.codecs.csv import CsvCodec
from fastinfer.engine import run as engine
from fastinfer.engine.job import Job
from fastinfer.engine.progress import Progress
from fastinfer.engine.source import Listing, name_source
from fastinfer.engine.summary import Summary
from fastinfer.models.module import load_model
from fastinfer.options import Options
from fastinfer.outputs.layout import OutputLayout
from fastinfer.runtimes.batch_size import Batching


def make_job(model: Path, folder: Path, **rest: Any) -> Job:
    """The job of a run over CSV in batches of 8; `rest` are further fields of it."""
    layout = OutputLayout(str(folder))
    return Job(uuid.uuid4().hex, load_model(model), (("cpu", 0),), Batching(8, False, True), CsvCodec(), layout, **rest)


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
