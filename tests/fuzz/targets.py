"""What reads a stranger's bytes, each as a function of bytes. A target returns, or raises this project's own error.

New readers belong here: a function, some small files in corpus/NAME, and in forms what changes a file within its form.
found/NAME.zip is written by `--keep`.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import gzip
import io
import json
import math
import os
import posixpath
import random
import re
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable
from unittest import mock

import jsonpath_rfc9535
import numpy as np
import onnx
from backports import zstd
from google.protobuf.message import DecodeError

from fastinfer.codecs.base import DONE, BadRecord, Framing, InputCodec
from fastinfer.codecs.content_types import CSV, JSON, JSONLINES, NPY, decode_rows
from fastinfer.codecs.csv import CsvCodec, CsvOptions
from fastinfer.codecs.json import decode_by_module, decode_json_body
from fastinfer.codecs.json_input import JsonCodec, JsonLinesCodec
from fastinfer.codecs.npy_input import NpyCodec
from fastinfer.engine.verify import read_run
from fastinfer.errors import FastinferError, InputError, ModelError
from fastinfer.export.certificate import stored_answers, stored_rows
from fastinfer.mnist.checkpoint import begun_settings, newest_checkpoint
from fastinfer.mnist.dataset import read_idx
from fastinfer.models.certificate import Certificate
from fastinfer.models.describe import describe
from fastinfer.models.graph import read_graph
from fastinfer.models.module import load_model, open_model
from fastinfer.models.onnx import TYPES as ONNX_TYPES
from fastinfer.models.onnx import read_onnx
from fastinfer.models.params import VALUES_LIMIT, read_params
from fastinfer.outputs.folder import OutputFolder
from fastinfer.outputs.layout import OutputLayout
from fastinfer.outputs.rejects import find_place
from fastinfer.records.compression import expand
from fastinfer.records.jsonpath import Every
from fastinfer.records.jsonpath import Path as Filter
from fastinfer.records.processing import CsvProcessing, join
from fastinfer.records.split import split
from fastinfer.report.forms import first_to_tell, form_of
from fastinfer.report.inputs import Inputs, image_shape
from fastinfer.report.results import MOST_REJECTS, asked_of, find_results, read_record, read_rejects
from fastinfer.report.rows import read_rows
from fastinfer.runtimes.base import DenseLayers
from fastinfer.runtimes.probe_cache import PROBE, Found, cached
from fastinfer.sagemaker.job_file import read_job_file
from fastinfer.storage.archive import read_members, unpack
from fastinfer.storage.lease import LEAST_LEASE_S, MOST_LEASE_S, facts_of
from fastinfer.storage.manifest import parse_manifest
from tests.fuzz.forms import change
from tests.fuzz.forms.binary import model_files
from tests.fuzz.mutations import mutate
from tests.outputs.results import item

CORPUS = Path(__file__).parent / "corpus"
FOUND = Path(__file__).parent / "found"
# None of the kept files is larger.
CASE_BYTES = 64_000
# A larger record takes minutes, whatever the graph: that is no failure.
MOST_ROW_VALUES = 1_000_000
# The run whose folder is kept.
RUN = "0" * 16


@contextlib.contextmanager
def _file(content: bytes, name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        yield path


def read_archive(content: bytes) -> None:
    with _file(content, "x") as path:
        with contextlib.suppress(ModelError):
            sizes = [(member.size, len(member.content.read())) for member in read_members(path)]
            assert all(size == read for size, read in sizes)
        with contextlib.suppress(ModelError):
            unpack(path, path.parent / "inner" / "there")
        # Nothing lies outside the folder, and nothing but files and folders inside.
        assert {each.name for each in path.parent.iterdir()} <= {"x", "inner"}
        assert {each.name for each in path.parent.glob("inner/*")} <= {"there"}
        assert all(each.is_file() or each.is_dir() for each in path.parent.rglob("*"))
        assert not any(each.is_symlink() for each in path.parent.rglob("*"))


def read_tar(content: bytes) -> None:
    """What this project's reader accepts, Python's tarfile reads in the same way."""
    with _file(content, "x") as path:
        try:
            found = [(member.name, member.content.read()) for member in read_members(path)]
        except ModelError:
            return
        try:
            expected = _read_by_tarfile(path)
        except UnicodeDecodeError:  # of tarfile's own, at a key or a character set that is no text
            return
    assert found == expected


class _TarInfo(tarfile.TarInfo):
    """Python takes the front of a name also from where headers older than POSIX have something else; GNU tar does not."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _TarInfo:
        if buf[257:263] != b"ustar\0" and any(buf[345:500]):
            buf = bytearray(buf)
            buf[345:500] = bytes(155)
            buf[148:156] = b" " * 8
            buf[148:156] = b"%06o\0 " % sum(buf)
        return super().frombuf(buf, encoding, errors)


def _read_by_tarfile(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path, tarinfo=_TarInfo) as tar:
        files = [member for member in tar if member.isfile()]
        contents = [(member, tar.extractfile(member)) for member in files]
        return [(str(Path(member.name)), file.read() if file else b"") for member, file in contents]


def read_model_files(content: bytes) -> None:
    """The three files of a model one after another, each behind its length; without the shapes where these are empty."""
    with tempfile.TemporaryDirectory() as folder:
        for name, file in zip(("model-symbol.json", "model-0000.params", "model-shapes.json"), model_files(content)):
            if file or not name.endswith("shapes.json"):
                Path(folder, name).write_bytes(file)
        opened = open_model(folder)
        json.dumps(describe(opened))
        try:
            assert load_model(folder).row_values >= 1
        except ModelError:
            assert opened.undecided
            raise


def read_graph_text(content: bytes) -> None:
    read_graph(content.decode("utf-8", "replace"), "x")


def read_params_file(content: bytes) -> None:
    read_params(content, "x")


def read_onnx_file(content: bytes) -> None:
    """What this project's reader takes for a model, is the same one to the reader of ONNX."""
    found = read_onnx(content, "x")
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:  # in a part that this project does not read
        return
    graph = model.graph
    saved = {each.name for each in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
    given = [each for each in graph.input if each.name not in saved]
    assert [each.name for each in found.graph_inputs] == [each.name for each in given]
    assert list(found.output_names) == [each.name for each in graph.output]
    for each, expected in zip(found.graph_inputs, given):
        tensor = expected.type.tensor_type
        sizes = [size.dim_value for size in tensor.shape.dim]
        assert each.type == ONNX_TYPES[tensor.elem_type]
        assert [each.batch or 0, *each.shape] == [size if 0 < size <= VALUES_LIMIT else 0 for size in sizes]
    # Nothing is in another file.
    parts: list[Any] = [model]
    while parts:
        part = parts.pop()
        assert not isinstance(part, onnx.TensorProto) or (not part.external_data and not part.data_location)
        for field, value in part.ListFields():
            if field.type == field.TYPE_MESSAGE and field.name != "training_info":  # which is not run
                parts += value if isinstance(value, Iterable) else [value]


def read_certificate(content: bytes) -> None:
    with _file(content, "model.onnx.json") as path:
        certificate = Certificate.read(str(path))
    assert len(certificate.summary().splitlines()) == 1
    stored_rows(certificate)
    assert len(stored_answers(certificate)) > 0


def read_body(content_type: str) -> Callable[[bytes], None]:
    """A whole body; where a run reads it as rows of a batch, in pieces, these are the same; of NPY, NumPy's own array too."""

    def read(content: bytes) -> None:
        codec = CODECS.get(content_type)
        batch = None if codec is None else read_batches(codec, content)
        try:
            rows = decode_rows(content, content_type, (2, 2))
        except InputError:
            assert batch is None
            raise
        assert rows.dtype == np.float32
        assert rows.shape[0] > 0
        if content_type == NPY:
            with np.errstate(over="ignore"):
                assert np.array_equal(rows, np.load(io.BytesIO(content)).astype(np.float32), equal_nan=True)
        fits = rows.ndim > 1 and rows[0].size == 4
        if codec is not None:
            assert (batch is not None) == fits
        assert batch is None or np.array_equal(rows.reshape(-1), batch, equal_nan=True)

    return read


def read_csv(content: bytes) -> None:
    """What the kernel reads is what Python reads, and what it refuses Python does not read; whole, and a line at a time."""
    try:
        found = decode_rows(content, CSV, (2, 2)).reshape(-1)
    except InputError:
        found = None
    assert (found is None) == ((expected := _read_csv_by_python(content)) is None)
    assert found is None or np.array_equal(found, expected, equal_nan=True)
    batches = read_batches(CsvCodec(CsvOptions(cut_lines=True)), content)
    assert (batches is None) == (found is None)
    assert found is None or np.array_equal(found, batches, equal_nan=True)


def _read_csv_by_python(content: bytes) -> Any:
    """The values of rows of four; None where they are none."""
    lines = re.split(rb"\r\n|\r|\n", content.removeprefix(b"\xef\xbb\xbf"))
    rows = [line.split(b",") for line in lines if line.strip(b" \t")]
    values = [cell for row in rows for cell in row]
    if not values or len(values) % 4 or len({len(row) for row in rows}) > 1:
        return None
    if re.search(rb"[_\x0b\x0c\x1c-\x1f]", content):  # part of a number, and blanks, for Python alone
        return None
    try:
        with np.errstate(over="ignore"):
            return np.array([float(cell.decode("ascii")) for cell in values]).astype(np.float32)
    except ValueError:
        return None


CODECS: dict[str, InputCodec] = {JSON: JsonCodec(True), JSONLINES: JsonLinesCodec(), NPY: NpyCodec(True)}


def read_batches(codec: InputCodec, content: bytes) -> Any:
    """All values, read in batches of two rows; None where there is an error."""
    decoder = codec.decoder((2, 2), line_is_record=False)
    pieces = [content]
    if codec.framing is Framing.PIECES:
        pieces = [content[place : place + 17] for place in range(0, max(1, len(content)), 17)]
    elif isinstance(codec, CsvCodec):
        pieces = re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", content)
    rows, values = np.zeros(8, np.float32), []
    decoder.begin(0)
    try:
        for number, piece in enumerate(pieces):
            buffer = bytearray(piece)
            decoder.start(buffer, 0, len(buffer), first=number == 0)
            outcome: object = None
            while outcome is not DONE:
                outcome = decoder.fill(rows, 0)
                if isinstance(outcome, BadRecord):
                    return None
                values += rows[: decoder.written].tolist()
            decoder.release()
        decoder.end(may_be_empty=False)
    except InputError:
        return None
    finally:
        decoder.release()
    return np.array(values, np.float32)


def read_json(content: bytes) -> None:
    """What the kernel reads is what the json module reads."""

    def rows(decode: Callable[[bytes], Any]) -> Any:
        try:
            with np.errstate(over="ignore"):
                return decode(content).astype(np.float32)
        except InputError:
            return None

    found, expected = rows(decode_json_body), rows(decode_by_module)
    assert (found is None) == (expected is None)
    assert found is None or np.array_equal(found, expected, equal_nan=True)
    read_body(JSON)(content)


def read_expanded(kind: str) -> Callable[[bytes], None]:
    """An object that says it is compressed, read in pieces; Python's own modules read the same of all its bytes."""

    def read(content: bytes) -> None:
        stream = io.BytesIO(content)
        size = 1 + len(content) % 7
        pieces = expand(lambda most: stream.read(min(most, size)), kind, item("x"), most_bytes=1 << 20, piece_bytes=100)
        found = b"".join(pieces)
        expected = b""
        while content:
            decoder: Any = zlib.decompressobj(wbits=31) if kind == "gzip" else zstd.ZstdDecompressor()
            # In two parts: in a whole frame alone libzstd refuses a compressed block of no bytes.
            expected += decoder.decompress(content[:6]) + decoder.decompress(content[6:])
            assert decoder.eof
            content = decoder.unused_data.lstrip(b"\0")  # padding
        assert found == expected

    return read


def read_records(kind: str) -> Callable[[bytes], None]:
    """All records together are not more than the object, however its bytes come in pieces."""

    def read(content: bytes) -> None:
        whole = list(split([content], kind, most_bytes=CASE_BYTES))
        assert sum(len(record.content) for record in whole) <= len(content)
        size = 1 + len(content) % 7
        pieces = [content[place : place + size] for place in range(0, len(content), size)]
        assert list(split(pieces, kind, most_bytes=CASE_BYTES)) == whole

    return read


def read_idx_file(content: bytes) -> None:
    for packed in (content, gzip.compress(content, 1)):
        with _file(packed, "x.gz") as path, contextlib.suppress(InputError):
            found = read_idx(path)
            plain = gzip.decompress(packed)
            sizes = struct.unpack_from(f">{found.ndim}I", plain, 4)
            assert plain[:4] == bytes([0, 0, 8, len(sizes)])
            assert (found.shape, found.tobytes()) == (sizes, plain[4 + 4 * len(sizes) :])


COMMENTS = ("#", "%", "!")


def read_filters(content: bytes) -> None:
    """Two filters, a tab between them, and the character of comments behind another; behind the first line rows of CSV, or a
    document of JSON. What is cut and joined by the kernels is what Python's own lists give."""
    first, _, rest = content.partition(b"\n")
    input_filter, output_filter, comment = (*first.decode("utf-8", "replace").split("\t"), "", "")[:3]
    with contextlib.suppress(ValueError, RecursionError):
        _select(input_filter, json.loads(rest))
    for joins in (False, True):
        with contextlib.suppress(InputError):
            _cut(
                input_filter,
                output_filter or "$",
                joins,
                rest.replace(b"\r", b"\n"),
                comment if comment in COMMENTS else "",
            )


def _select(text: str, document: Any) -> None:
    path = Filter(text)
    try:
        nodes = [node.value for node in jsonpath_rfc9535.find(text, document)]
    except jsonpath_rfc9535.JSONPathError:
        return  # the standard is stricter with spaces and zeros
    try:
        found = path.select(document)
    except InputError:  # something is missing, which the standard leaves out
        return
    assert json.dumps(nodes) in (json.dumps([found]), json.dumps(found))


def _cut(input_filter: str, output_filter: str, joins: bool, text: bytes, comment: str) -> None:
    """Filters and joins rows with predictions of two columns."""
    processing = CsvProcessing(input_filter, output_filter, joins=joins, comment=comment or None)
    columns, start = processing.columns(text, 0, len(text), 2)
    out = bytearray()
    cut = columns.cut(text, start, len(text), out)
    lines = text[start:].split(b"\n")
    if comment:
        lines = [line.partition(comment.encode())[0] for line in lines]
    rows = [line.split(b",") for line in lines if line.strip(b" \t")]
    good = [row for row in rows if len(row) == columns.cells]
    assert (len(cut.unequal), cut.rows) == (len(rows) - len(good), len(good))
    # Each row has a line of its own, also where what is kept of it is blank: the decoder passes over blank lines.
    kept = [line for line in bytes(out[: cut.end]).split(b"\n") if line.strip(b" \t")]
    expected = [b",".join(_columns(input_filter, row)) if len(row) == columns.cells else b"!" for row in rows]
    assert kept == [line if line.strip(b" \t") else b"!" for line in expected]
    if cut.unequal or not processing.prints:
        return
    predictions = [b"%d,%d" % (2 * number, 2 * number + 1) for number in range(len(rows))]
    found = join(cut.pieces, b"".join(line + b"\n" for line in predictions), processing.plan(columns, 2), 2)
    every = [(row if joins else []) + line.split(b",") for row, line in zip(rows, predictions)]
    assert found == b"".join(b",".join(_columns(output_filter, row)) + b"\n" for row in every)


def _columns(text: str, row: list[bytes]) -> list[bytes]:
    """The cells that a filter names, one selector after the other, by Python's own indices."""
    found = []
    for segment in Filter(text).segments:
        for selector in segment.selectors:
            assert not isinstance(selector, str)  # there is no header
            if isinstance(selector, int):
                found.append(row[selector])
            else:
                found += row if isinstance(selector, Every) else row[selector.start : selector.stop]
    return found if text != "$" else row


def read_job(content: bytes) -> None:
    with _file(content, "job.json") as path:
        job, _, unused = read_job_file(str(path))
    assert job.source
    assert job.output
    assert all(each in content.decode("utf-8-sig", "replace") or "\\" in repr(content) for each in unused)


def read_manifest_file(content: bytes) -> None:
    entries = parse_manifest(content, "/in/manifest")
    keys = [entry.key for entry in entries]
    assert keys == sorted(set(keys))
    # No result lies outside of its folder.
    assert all(posixpath.normpath(f"/out/{key}") == f"/out/{key}" for key in keys)


def read_image(content: bytes) -> None:
    """A picture is pixels, and as many as the row has."""
    for parameters in ("", "; fit=crop"):
        rows = decode_rows(content, f"application/x-image{parameters}", (3, 8, 8))
        assert rows.shape == (1, 3, 8, 8)
        assert ((rows >= 0) & (rows <= 255)).all()


def read_results(content: bytes) -> None:
    """A result in any form, as a report reads it, also as the record and the rejects of its run."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("x.out", "_run.json", "_rejects.jsonl"):
            Path(folder, name).write_bytes(content)
        with contextlib.suppress(InputError):
            rejects, count = read_rejects(folder)
            assert len(rejects) == min(count, MOST_REJECTS)
        with contextlib.suppress(InputError):
            asked_of(read_record(folder))
        results = find_results(folder)
        for rows in read_rows(results[0].path, form_of({}, first_to_tell(results))):
            assert rows.values.shape[0] == rows.rejected.shape[0]
            assert np.isnan(rows.values[rows.rejected]).all()


def report_input(record: bytes) -> bytes:
    """Two records, as a run with this record reads them."""
    if b"json" in record:
        return b"[[1, 2], [3, 4]]"
    if b"input_filter" in record:
        return b"5,1,2\n6,3,4\n"
    return b"5,0,1,2\n6,1,3,4\n" if b"id_column" in record else b"1,2\n3,4\n"


def read_report(content: bytes) -> None:
    """On the first line a run's record, behind it a result, as a report reads them, with the inputs."""
    record_text, _, result = content.partition(b"\n")
    with tempfile.TemporaryDirectory() as root:
        source, folder = Path(root, "a.csv"), Path(root, "out")
        source.write_bytes(report_input(record_text))
        folder.mkdir()
        (folder / "_run.json").write_bytes(record_text)
        (folder / "a.csv.out").write_bytes(result)
        record, results = read_record(str(folder)), find_results(str(folder))
        inputs = Inputs(str(source), record)
        first = first_to_tell(results)
        form = form_of(record, first, cells=inputs.cells(first) if inputs.unread is None else None)
        widths = [rows.values.shape for rows in read_rows(first.path, form)]
        count = sum(rows for rows, _ in widths)
        assert form.columns is None or all(width == len(form.columns) for _, width in widths)
        shape, _ = image_shape(record, 4)
        assert shape is None or math.prod(shape) == 4
        if inputs.unread is None:
            shown = list(inputs.records(first, count, range(min(count, 2))))
            assert all(number in (0, 1) and values.dtype == np.float64 for number, values in shown)


def read_verified_run(content: bytes) -> None:
    """A run's record, as it says how to make the outputs again."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "_run.json").write_bytes(content)
        run = read_run(folder)
    assert all(type(each) is str for each in (run.source, run.model, *run.varies))
    assert run.options.on_error in ("quarantine", "continue")


class _NoMXNet:
    """Stands for MXNet where only this project's own checks of a set are run."""

    sym = nd = None


def read_checkpoint(name: str) -> Callable[[bytes], None]:
    def read(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for path in (CORPUS / "checkpoint_set").iterdir():
                # Without its record a set is one of other software, of which every file is read.
                if name == "mnist-0001.json" or path.name != "mnist-0001.json":
                    Path(folder, path.name).write_bytes(path.read_bytes())
            Path(folder, name).write_bytes(content)
            found, skipped = newest_checkpoint(_NoMXNet(), Path(folder))
            assert found is None  # at the latest where MXNet would be asked
            assert len(skipped) == 1
            settings = begun_settings(Path(folder))
            assert all(type(settings.get(key, 0)) in (int, type(None)) for key in ("seed", "batch_size"))

    return read


def read_run_folder(name: str) -> Callable[[bytes], None]:
    """A file in a folder of results; the others are those that a run left, which was killed."""

    def read(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as root:
            for path in (CORPUS / "run_folder").iterdir():
                Path(root, path.name).write_bytes(path.read_bytes())
            Path(root, name).write_bytes(content)
            made = item("a.csv")
            with OutputFolder(root).open_run({"depends_on": {"model": "abc"}}, overwrite=False) as folder:
                is_finished = folder.is_finished(made)
                assert not is_finished or folder.rejected >= 0
                count = folder.settle(has_rejects=True)
                lines = Path(folder.layout.rejects).read_bytes().split(b"\n")[:-1] if count else []
                # What is in the file can be read, and says of which run and input it is.
                assert count == len(lines)
                assert all(find_place(line + b"\n") for line in lines)

    return read


def read_lease(content: bytes) -> None:
    """The lease of a folder in S3, which whoever may write there may have changed."""
    facts = facts_of(content)
    assert facts.lease_s is None or LEAST_LEASE_S <= facts.lease_s <= MOST_LEASE_S
    assert facts.who.isprintable()
    assert len(facts.who) < 1400  # two texts of 60 characters, escaped


def read_probe_cache(content: bytes) -> None:
    """What the probe has found, as it is kept in the user's cache: it is believed as it stands there, or found again."""
    again = Found((7,), (1.0,), DenseLayers(7))
    content = content.replace(b'"probe": 0', b'"probe": %d' % PROBE)  # kept inputs are of any version
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"XDG_CACHE_HOME": folder}):
        path = Path(folder, _name_in_cache())
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        found = cached({"model": "abc"}, lambda: again)
        if found not in (None, again):
            assert json.loads(content)["depends_on"]["model"] == "abc"
            assert sorted(set(found.sizes)) == list(found.sizes) != []
            assert len(found.seconds) == len(found.sizes)
            assert min(*found.sizes, *found.seconds, found.dense.rows) > 0


@functools.lru_cache(maxsize=1)
def _name_in_cache() -> Path:
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"XDG_CACHE_HOME": folder}):
        cached({"model": "abc"}, lambda: None)
        (path,) = Path(folder).rglob("*.json")
        return path.relative_to(folder)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "archive": read_archive,
    "tar": read_tar,
    "model": read_model_files,
    "graph": read_graph_text,
    "params": read_params_file,
    "onnx": read_onnx_file,
    "certificate": read_certificate,
    "json": read_json,
    "jsonlines": read_body(JSONLINES),
    "csv": read_csv,
    "npy": read_body(NPY),
    "gzip": read_expanded("gzip"),
    "zstd": read_expanded("zstd"),
    "recordio": read_records("recordio"),
    "lines": read_records("line"),
    "filters": read_filters,
    "job": read_job,
    "manifest": read_manifest_file,
    "idx": read_idx_file,
    "checkpoint_record": read_checkpoint("mnist-0001.json"),
    "checkpoint_states": read_checkpoint("mnist-0001.states"),
    "run_record": read_run_folder("_run.json"),
    "rejects": read_run_folder("_rejects.jsonl"),
    "reject_journal": read_run_folder(OutputLayout("", RUN).hidden("rejects-1-2")),
    "label_journal": read_run_folder(OutputLayout("", RUN).hidden("labels-1-2")),
    "label_log": read_run_folder("_labels.log"),
    "image": read_image,
    "results": read_results,
    "report": read_report,
    "verify": read_verified_run,
    "lease": read_lease,
    "probe_cache": read_probe_cache,
}


def corpus(name: str) -> list[bytes]:
    """The kept inputs of a target, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def found(name: str) -> list[bytes]:
    """The inputs that guided runs of a target have found, each of which reaches code that no smaller one does."""
    try:
        with zipfile.ZipFile(FOUND / f"{name}.zip") as file:
            return [file.read(member) for member in file.namelist()]
    except FileNotFoundError:  # of a new target
        return []


def run(name: str, content: bytes) -> None:
    """Runs a target on an input; any exception but this project's own is a failure."""
    with contextlib.suppress(FastinferError):
        TARGETS[name](content)


def cases(name: str, seed: int) -> Iterator[bytes]:
    """The kept inputs and those that were found, then changes of them without end: of their bytes, and within their form."""
    kept = corpus(name) + found(name)
    yield from kept
    random_ = random.Random(f"{name} {seed}")
    while True:
        yield mutate(random_, random_.choice(kept), kept)[:CASE_BYTES]
        yield change(name, random_, random_.choice(kept), kept)[:CASE_BYTES]


def graph_cases(seed: int) -> Iterator[dict[str, Any]]:
    """Cases for :class:`tests.fuzz.bind.Binder`: real models with some nodes, attributes, inputs or shapes changed."""
    random_ = random.Random(f"graphs {seed}")
    kept = [(json.loads(content), json.loads(content)["row_shape"]) for content in corpus("graph_models")]
    while True:
        case, row_shape = random_.choice(kept)
        graph = json.loads(case["symbol"])
        for _ in range(random_.choice((1, 1, 2, 4))):
            _change_graph(random_, graph)
        if random_.random() < 0.1:
            row_shape = [random_.choice((1, 2, 3, 28, 1000)) for _ in range(random_.randrange(5))]
            if math.prod(row_shape) > MOST_ROW_VALUES:
                row_shape = row_shape[:2]
        yield {"symbol": json.dumps(graph), "row_shape": row_shape}


def params_cases(seed: int) -> Iterator[dict[str, Any]]:
    """Cases for :class:`tests.fuzz.bind.Binder`: small models whose file of parameters is changed; each as it is, first."""
    random_ = random.Random(f"params {seed}")
    kept = []
    for content in corpus("model"):
        symbol, params, shapes = model_files(content)
        if shapes:  # some kept models have none
            kept.append(({"symbol": symbol.decode(), "row_shape": json.loads(shapes)[0]["shape"][1:]}, params))
    for case, params in kept:
        yield {**case, "params": base64.b64encode(params).decode()}
    others = [params for _, params in kept] + corpus("params")
    while True:
        case, params = random_.choice(kept)
        yield {**case, "params": base64.b64encode(mutate(random_, params, others)).decode()}


def _change_graph(random_: random.Random, graph: dict[str, Any]) -> None:
    nodes = graph["nodes"]
    node = random_.choice(nodes)
    kind = random_.randrange(7)
    if kind == 0:
        node["op"] = random_.choice(nodes)["op"]
    elif kind == 1 and node["inputs"]:
        node["inputs"][random_.randrange(len(node["inputs"]))] = [
            random_.randrange(-1, len(nodes) + 1),
            random_.choice((0, 0, 0, 1, 2, 2**31)),
            0,
        ]
    elif kind == 2 and node["inputs"]:
        del node["inputs"][random_.randrange(len(node["inputs"]))]
    elif kind == 3:
        node["inputs"] = node["inputs"] + [[random_.randrange(len(nodes)), 0, 0]]
    elif kind in (4, 5):
        attributes = node.setdefault("attrs", {})
        key = random_.choice([*attributes, "__shape__", "axis"])
        text = str(attributes.get(key, "0"))
        found = mutate(random_, text.encode(), [b"(1, 2)", b"(0, -1)", b"None", b"2147483647", b"-3"])
        attributes[key] = found.decode("latin-1")
    else:
        graph["heads"] = [[random_.randrange(len(nodes)), random_.choice((0, 0, 0, 1, 5)), 0]]
