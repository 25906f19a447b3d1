"""Results as a worker leaves them, for tests."""

from __future__ import annotations

from fastinfer.codecs.json_rows import FORM
from fastinfer.outputs.folder import OutputFolder
from fastinfer.outputs.writer import OutputWriter
from fastinfer.records.spans import whole
from fastinfer.storage.base import Object


def item(key: str, version: bytes = b"first") -> Object:
    return Object(f"/in/{key}", key, 4, version)


def open_writer(folder: OutputFolder) -> OutputWriter:
    return OutputWriter(folder.layout, folder.store, FORM)


def make(folder: OutputFolder, *sources: Object, text: bytes = b"[[1.0]]") -> list[str]:
    """Writes outputs as a worker does; returns the keys of what got its name."""
    writer = open_writer(folder)
    named = []
    for source in sources:
        output = writer.open(whole(source))
        output.add_rows(text, 1)
        named += writer.finish(output)
    named += writer.flush()
    return [finished.item.key for finished in named]
