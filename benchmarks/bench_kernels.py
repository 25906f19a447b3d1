"""Kernels against what else reads CSV to float32 and prints float32, one thread each; a wrong result is not timed.

`make bench` runs it; `pytest benchmarks/bench_kernels.py --figures FILE --keep-others` measures the kernels alone. Quote ratios
of one run only.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from functools import lru_cache
from time import perf_counter
from typing import Any

import inputs
import numpy as np
import pytest

from benchmarks.conftest import Keep
from fastinfer import kernels

# Read when it is first imported.
os.environ["POLARS_MAX_THREADS"] = "1"

SHAPE = (inputs.IMAGES, inputs.VALUES)


def fastinfer_parser(isa: str) -> Callable[[bytes], np.ndarray]:
    out = np.zeros(SHAPE, np.float32)
    parser = kernels.CsvParser(isa=isa)

    def read(body: bytes) -> np.ndarray:
        parser.reset(body)
        parser.parse(out)
        assert parser.done
        return out

    return read


def one_image_bodies(body: bytes) -> np.ndarray:
    """Each line as a body of its own, as files of one image are read."""
    out, parser = SPARE, kernels.CsvParser()
    for index, line in enumerate(lines_of(body)):
        parser.reset(line)
        parser.parse(out, index * inputs.VALUES, (index + 1) * inputs.VALUES)
    return out


SPARE = np.zeros(SHAPE, np.float32)


@lru_cache(maxsize=1)
def lines_of(body: bytes) -> list[bytes]:
    return body.splitlines(keepends=True)


def genfromtxt(body: bytes) -> np.ndarray:
    return np.genfromtxt(io.StringIO(body.decode()), dtype=None, delimiter=",").astype(np.float32)


def loadtxt(body: bytes) -> np.ndarray:
    return np.loadtxt(io.StringIO(body.decode()), delimiter=",").astype(np.float32)


def pandas_reader(body: bytes) -> np.ndarray:
    pandas = pytest.importorskip("pandas")
    return pandas.read_csv(
        io.BytesIO(body), header=None, dtype=np.float32, engine="c", float_precision="high"
    ).to_numpy()


def pyarrow_reader(body: bytes) -> np.ndarray:
    csv = pytest.importorskip("pyarrow.csv")
    pyarrow = pytest.importorskip("pyarrow")
    names = [str(index) for index in range(inputs.VALUES)]
    table = csv.read_csv(
        pyarrow.py_buffer(body),
        read_options=csv.ReadOptions(column_names=names, use_threads=False, block_size=1 << 26),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.float32())),
    )
    return np.column_stack([column.to_numpy() for column in table.columns])


def polars_reader(body: bytes) -> np.ndarray:
    polars = pytest.importorskip("polars")
    names = {f"column_{index + 1}": polars.Float32 for index in range(inputs.VALUES)}
    return polars.read_csv(body, has_header=False, schema=names).to_numpy()


READERS: dict[str, Callable[[bytes], np.ndarray]] = {
    "fastinfer": fastinfer_parser(kernels.active_isa()),
    **{f"fastinfer-{isa}": fastinfer_parser(isa) for isa in kernels.available_isas()},
    "fastinfer-one-image-bodies": one_image_bodies,
    "pandas": pandas_reader,
    "pyarrow": pyarrow_reader,
    "polars": polars_reader,
    "np.loadtxt": loadtxt,
    "np.genfromtxt": genfromtxt,
}
# These parse straight to float32 or with less than correct rounding: equal to one unit of the last place is enough.
NEAR = {"pandas", "pyarrow", "polars"}
SLOW = {"np.loadtxt", "np.genfromtxt", "pandas", "pyarrow", "polars"}


def times(call: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each of some calls, after one that is not counted."""
    found = []
    for _ in range(rounds + 1):
        started = perf_counter()
        call()
        found.append(perf_counter() - started)
    return found[1:]


def keep_each(keep: Keep, name: str, title: str, seconds: list[float], images: int) -> None:
    keep(name, title, [each / images * 1e6 for each in seconds], "µs/image", better="lower")


@pytest.mark.parametrize("name", inputs.NAMES)
@pytest.mark.parametrize("reader", READERS)
def bench_parse(keep: Keep, reader: str, name: str) -> None:
    body, expected, read = inputs.text(name), inputs.expected(name), READERS[reader]
    if reader == "np.genfromtxt":
        # Its time is proportional to the text.
        body = body[: body.index(b"\n", len(body) // 20) + 1]
        expected = expected[: body.count(b"\n")]
    found = read(body)
    if reader in NEAR:
        np.testing.assert_allclose(found, expected, rtol=1.2e-7)
    else:
        assert found.tobytes() == expected.tobytes()
    seconds = times(lambda: read(body), 3 if reader in SLOW else 30)
    keep_each(keep, f"parse/{name}/{reader}", f"parsing {name} text: {reader}", seconds, len(expected))


@pytest.mark.parametrize("name", inputs.NAMES)
def bench_floor(keep: Keep, name: str) -> None:
    body = inputs.text(name)
    source = np.frombuffer(body, np.uint8)
    target = np.zeros_like(source)
    seconds = times(lambda: np.copyto(target, source), 30)
    keep_each(keep, f"parse/{name}/copy", f"copying {name} text", seconds, inputs.IMAGES)
    keep(f"parse/{name}/bytes", f"{name} text of an image", len(body) / inputs.IMAGES, "bytes", better="lower")


@pytest.mark.parametrize("printer", ["fastinfer", "json.dumps", "orjson"])
def bench_format(keep: Keep, printer: str) -> None:
    rows = inputs.probabilities()
    wanted = json.dumps(rows.tolist()).encode()
    if printer == "fastinfer":
        call: Callable[[], Any] = lambda: kernels.format_json(rows)  # noqa: E731
        assert call() == wanted
    elif printer == "json.dumps":
        call = lambda: json.dumps(rows.tolist()).encode()  # noqa: E731
    else:
        orjson = pytest.importorskip("orjson")
        # It prints a float32 array as float32; the same digits need the double. Its separators have no blanks.
        call = lambda: orjson.dumps(rows.astype(np.float64), option=orjson.OPT_SERIALIZE_NUMPY)  # noqa: E731
        assert json.loads(call()) == json.loads(wanted)
    keep_each(keep, f"format/{printer}", f"printing {rows.shape[1]} values: {printer}", times(call, 30), len(rows))


def bench_fixed_beside_a_copy_of_the_text(keep: Keep) -> None:
    """Parsing and copying the same text in turns, so that both see the caches in the same state: the median ratio."""
    body = inputs.text("fixed")
    read = fastinfer_parser(kernels.active_isa())
    source = np.frombuffer(body, np.uint8)
    target = np.zeros_like(source)
    assert np.array_equal(read(body), inputs.expected("fixed"))
    ratios = []
    for _ in range(400):
        started = perf_counter()
        read(body)
        parsed = perf_counter()
        np.copyto(target, source)
        ratios.append((parsed - started) / (perf_counter() - parsed))
    keep("parse_to_copy", "parsing fixed text / copying it, in turns", ratios, "times", better="lower")
