"""Kernels against what else reads CSV to float32 and prints float32, one thread each; a wrong result is not timed.

`make bench` runs it; `pytest benchmarks/bench_kernels.py --benchmark-json=FILE` keeps the figures. The time is of all
1,000 images; `extra_info` has images/s and GB/s of text by the fastest round. Quote ratios of one run only.
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


def record(benchmark: Any, body: bytes) -> None:
    best = benchmark.stats.stats.min
    benchmark.extra_info.update(images_per_s=inputs.IMAGES / best, gigabytes_per_s=len(body) / best / 1e9)


@pytest.mark.parametrize("name", inputs.NAMES)
@pytest.mark.parametrize("reader", READERS)
def bench_parse(benchmark: Any, reader: str, name: str) -> None:
    body, expected, read = inputs.text(name), inputs.expected(name), READERS[reader]
    if reader == "np.genfromtxt":
        # Its time is proportional to the text.
        body, expected = body[: body.index(b"\n", len(body) // 20) + 1], expected
        expected = expected[: body.count(b"\n")]
    found = read(body)
    if reader in NEAR:
        np.testing.assert_allclose(found, expected, rtol=1.2e-7)
    else:
        assert found.tobytes() == expected.tobytes()
    benchmark.group = f"parse {name}"
    benchmark.pedantic(read, (body,), rounds=3 if reader in SLOW else 50, warmup_rounds=1)
    record(benchmark, body)
    benchmark.extra_info["images_per_s"] = expected.shape[0] / benchmark.stats.stats.min


@pytest.mark.parametrize("name", inputs.NAMES)
@pytest.mark.parametrize("floor", ["copy", "count newlines"])
def bench_floor(benchmark: Any, floor: str, name: str) -> None:
    body = inputs.text(name)
    target = bytearray(len(body))
    view = memoryview(target)

    def copy() -> None:
        view[:] = body

    def count() -> None:
        assert body.count(b"\n") == inputs.IMAGES

    benchmark.group = f"parse {name}"
    benchmark.pedantic(copy if floor == "copy" else count, rounds=50, warmup_rounds=1)
    record(benchmark, body)


@pytest.mark.parametrize("printer", ["fastinfer", "json.dumps", "orjson"])
def bench_format(benchmark: Any, printer: str) -> None:
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
    benchmark.group = "format"
    benchmark.pedantic(call, rounds=30, warmup_rounds=2)
    benchmark.extra_info["nanoseconds_per_value"] = benchmark.stats.stats.min / rows.size * 1e9


def bench_fixed_beside_a_copy_of_the_text(benchmark: Any, keep: Keep) -> None:
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
    benchmark.pedantic(read, (body,), rounds=20)
