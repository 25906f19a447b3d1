"""The output of a large input, put together from its parts in whatever order they come, also after a disk was full."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from fastinfer.codecs.json_rows import FORM
from fastinfer.errors import InputError, OutputError
from fastinfer.outputs.assembly import Assembly
from fastinfer.outputs.label import Label
from fastinfer.outputs.layout import OutputLayout
from fastinfer.records.spans import Span
from fastinfer.storage.listing import examine_file
from fastinfer.storage.local import LocalStore
from fastinfer.storage.local_file import LocalUpload

TEXTS = [b"[1.0]", b"", b"[2.0], [2.5]", b"[3.0]"]
WHOLE = b"[[1.0], [2.0], [2.5], [3.0]]"


@pytest.fixture
def parts(tmp_path: Path) -> list[Span]:
    """The parts of an input whose outputs are there."""
    source = tmp_path / "x.csv"
    source.write_bytes(b"0\n" * 8)
    (tmp_path / "out").mkdir()
    item = examine_file(str(source), "x.csv")
    made = [Span(item, 4 * number, 4 * number + 4, 1) for number in range(len(TEXTS))]
    for part, text in zip(made, TEXTS):
        Path(OutputLayout(str(tmp_path / "out")).span(part)).write_bytes(text)
    return made


def assemble(folder: Path, parts: list[Span], *, durable: bool = False) -> Assembly:
    return Assembly(OutputLayout(str(folder / "out")), LocalStore(durable), FORM, parts)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("order", list(itertools.permutations(range(len(TEXTS)))))
@pytest.mark.parametrize("durable", [False, True])
def test_parts_are_joined_in_order_whenever_they_come(
    order: tuple[int, ...], durable: bool, parts: list[Span], tmp_path: Path
) -> None:
    whole = assemble(tmp_path, parts, durable=durable)
    assert [whole.add(parts[number], number) for number in order] == [False, False, False, True]
    assert left(tmp_path / "out") == ["x.csv.out"]
    assert (tmp_path / "out" / "x.csv.out").read_bytes() == WHOLE
    label = Label.unpack(LocalStore().label(str(tmp_path / "out" / "x.csv.out")))
    assert label == Label(bytes(8), 0 + 1 + 2 + 3, parts[0].item.version)


def test_a_join_that_failed_begins_anew(parts: list[Span], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = assemble(tmp_path, parts)
    write = LocalUpload.write

    def fill_up(upload: LocalUpload, _: bytes) -> None:
        write(upload, b"[2")
        raise OutputError("cannot be written: No space left on device")

    assert not whole.add(parts[0], 0)
    monkeypatch.setattr(LocalUpload, "write", fill_up)
    assert not whole.add(parts[1], 0)
    with pytest.raises(OutputError, match="No space left"):
        whole.add(parts[2], 0)
    assert len(left(tmp_path / "out")) == len(parts)
    monkeypatch.setattr(LocalUpload, "write", write)
    assert whole.add(parts[3], 0)
    assert (tmp_path / "out" / "x.csv.out").read_bytes() == WHOLE


def test_an_input_that_changed_gets_no_output(parts: list[Span], tmp_path: Path) -> None:
    whole = assemble(tmp_path, parts)
    (tmp_path / "x.csv").write_bytes(b"1\n")
    for part in parts[:-1]:
        whole.add(part, 0)
    with pytest.raises(InputError) as caught:
        whole.add(parts[-1], 0)
    assert caught.value.code == "input_changed"
    assert len(left(tmp_path / "out")) == len(parts)


def test_a_dropped_assembly_keeps_the_parts(parts: list[Span], tmp_path: Path) -> None:
    whole = assemble(tmp_path, parts)
    whole.add(parts[0], 0)
    assert len(left(tmp_path / "out")) == len(parts) + 1
    whole.drop()
    assert len(left(tmp_path / "out")) == len(parts)
