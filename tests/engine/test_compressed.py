"""Compressed objects on the fast road: the results of what they hold, whatever their size; damage is an error of the object."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from backports import zstd

from fastinfer.engine.request import TransformRequest
from fastinfer.engine.worker import _ShardRun
from fastinfer.errors import InputError
from fastinfer.options import Limits, Options
from fastinfer.storage.base import Object
from tests.conftest import read_tree
from tests.runs import transform

AUTO = TransformRequest(compression_type="auto")
# Reads in small pieces, and would cut whatever it may.
SMALL = Limits(chunk_bytes=512, large_object_bytes=2000, span_bytes_least=500, span_bytes_most=500)
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "members": lambda content: gzip.compress(content[:70]) + gzip.compress(b"") + gzip.compress(content[70:]),
}


def lines(count: int) -> bytes:
    random = np.random.RandomState(count)
    return b"".join(b"%d,%.3f\n" % (number, random.rand()) for number in range(count))


# One line, a small object, one above what is read in groups, one that is cut where it is plain.
SIZES = (1, 50, 9_000, 30_000)


@pytest.fixture(scope="module")
def plain(linear: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("plain")
    (folder / "in").mkdir()
    for size in SIZES:
        (folder / "in" / f"{size}.csv").write_bytes(lines(size))
    transform(linear, folder / "in", folder / "out")
    return read_tree(folder / "out")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("limits", [None, SMALL], ids=["default", "small"])
@pytest.mark.parametrize("on_error", ["stop", "quarantine"])
def test_results_are_those_of_what_the_objects_hold(
    form: str, limits: Limits | None, on_error: str, plain: dict[str, bytes], linear: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for size in SIZES:
        compress = bytes if size == 50 else FORMS[form]  # plain ones among them
        (tmp_path / "in" / f"{size}.csv").write_bytes(compress(lines(size)))
    summary = transform(
        linear, tmp_path / "in", tmp_path / "out", Options(on_error=on_error, workers=2), request=AUTO, limits=limits
    )
    assert read_tree(tmp_path / "out") == plain
    assert (summary.inputs, summary.records) == (len(SIZES), sum(SIZES))
    again = transform(
        linear, tmp_path / "in", tmp_path / "out", Options(on_error=on_error), request=AUTO, limits=limits
    )
    assert (again.inputs, again.skipped) == (0, len(SIZES))


@pytest.mark.parametrize("size", SIZES)
def test_a_kind_that_is_named_is_that_of_every_object(size: int, linear: Path, tmp_path: Path) -> None:
    source, request = tmp_path / "a.csv", TransformRequest(compression_type="Gzip")
    source.write_bytes(gzip.compress(lines(size)))
    assert transform(linear, source, tmp_path / "out", request=request).records == size
    for content in (lines(size), zstd.compress(lines(size))):
        source.write_bytes(content)
        with pytest.raises(InputError, match="is not compressed with gzip") as caught:
            transform(linear, source, tmp_path / "out", request=request)
        assert caught.value.path == str(source)


def test_a_run_may_be_continued_with_another_kind(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(lines(3))
    transform(linear, tmp_path / "a.csv", tmp_path / "out")
    assert transform(linear, tmp_path / "a.csv", tmp_path / "out", request=AUTO).skipped == 1


def test_without_a_kind_compressed_objects_are_no_csv(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(gzip.compress(lines(3)))
    with pytest.raises(InputError, match="expected a number"):
        transform(linear, tmp_path / "a.csv", tmp_path / "out")


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("limits", [None, SMALL], ids=["default", "small"])
def test_a_damaged_object_has_no_result_and_the_others_have(
    size: int, limits: Limits | None, linear: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(gzip.compress(lines(size))[:-3])
    (tmp_path / "in" / "b.csv").write_bytes(gzip.compress(b"1,2\n"))
    options = Options(on_error="quarantine")
    summary = transform(linear, tmp_path / "in", tmp_path / "out", options, request=AUTO, limits=limits)
    assert (summary.inputs, summary.rejected) == (1, 1)
    assert list(read_tree(tmp_path / "out")) == ["b.csv.out"]
    (reject,) = (json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines())
    assert (reject["code"], reject["key"]) == ("truncated", "a.csv")


@pytest.mark.parametrize("limits", [None, SMALL], ids=["default", "small"])
def test_bad_records_are_named_by_their_lines(limits: Limits | None, linear: Path, tmp_path: Path) -> None:
    bad = {3, 700, 29_000}
    made = [b"1,x\n" if number in bad else line for number, line in enumerate(lines(30_000).splitlines(True), 1)]
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"".join(made)))
    options = Options(on_error="quarantine")
    summary = transform(linear, tmp_path / "a.csv", tmp_path / "out", options, request=AUTO, limits=limits)
    assert (summary.records, summary.rejected) == (30_000, 3)
    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    assert {reject["line"] for reject in rejects} == bad
    with pytest.raises(InputError, match=r"a\.csv:3:3: expected a number, found 'x'"):
        transform(linear, tmp_path / "a.csv", tmp_path / "other", request=AUTO, limits=limits)


def test_a_line_that_expands_without_end_is_an_error(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"0" * 20_000_000))
    with pytest.raises(InputError, match="the line that begins at byte 0 is longer than 100,000 bytes"):
        transform(linear, tmp_path / "a.csv", tmp_path / "out", request=AUTO, limits=Limits(line_bytes=100_000))


def test_a_comment_that_begins_like_a_kind_hides_nothing(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(zstd.compress(b"1,2\n3,4\n"))
    assert transform(linear, tmp_path / "a.csv", tmp_path / "out", Options(comment="("), request=AUTO).records == 2


@pytest.mark.parametrize("kind", ["auto", "Gzip"])
@pytest.mark.parametrize("on_error", ["stop", "quarantine"])
def test_only_what_expands_to_more_than_a_payload_leaves_the_shared_batches(
    kind: str, on_error: str, linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_payloads: list[str] = []
    transform_payloads = _ShardRun._transform_payloads

    def noted(run: _ShardRun, item: Object) -> None:
        by_payloads.append(item.key)
        transform_payloads(run, item)

    monkeypatch.setattr(_ShardRun, "_transform_payloads", noted)
    found = {}
    for folder, compress in (("plain", bytes), ("packed", gzip.compress)):
        (tmp_path / folder).mkdir()
        for size in (1, 9_000, 100_000):
            content = lines(size)
            if on_error == "quarantine" and size > 1:  # its first record is bad
                content = b"1,x\n" + content
            (tmp_path / folder / f"{size}.csv").write_bytes(compress(content))
        request = TransformRequest(
            compression_type=kind if folder == "packed" else "None", split_type="Line", max_payload=1
        )
        out = tmp_path / f"out-{folder}"
        transform(linear, tmp_path / folder, out, Options(on_error=on_error), request=request)
        rejects = out / "_rejects.jsonl"
        made = [json.loads(line) for line in rejects.read_text().splitlines()] if rejects.exists() else []
        found[folder] = read_tree(out), sorted((each["key"], each.get("line"), each["code"]) for each in made)
    assert found["packed"] == found["plain"]
    assert bool(found["plain"][1]) == (on_error == "quarantine")
    assert by_payloads == ["100000.csv"] * 2
