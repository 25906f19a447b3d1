"""Runs from S3 to S3 give the bytes of runs on the disk, go on where a killed one stopped, and touch nothing of others."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fastinfer.commands import report, verify
from fastinfer.commands import transform as command
from fastinfer.engine.progress import Progress
from fastinfer.engine.source import Listing
from fastinfer.errors import ConfigError, OutputError
from fastinfer.options import Limits, Options
from fastinfer.storage.s3_client import Bucket
from tests import s3
from tests.conftest import read_tree, wait_until
from tests.runs import transform
from tests.storage.conftest import *  # noqa: F403  (its fixtures)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 small objects in folders, one with many lines, and one that is large enough to be cut."""
    random.seed(5)
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(150):
        path = folder / f"{number % 3}" / f"x y-{number}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{random.random()},{random.random()}\n" for _ in range(1 + number % 3)))
    (folder / "long.csv").write_text("".join(f"{number},{-number}.5\n" for number in range(20_000)))
    (folder / "_SUCCESS").touch()
    return folder


# Small enough that the long file is cut into spans.
LIMITS = Limits(chunk_bytes=32 << 10, large_object_bytes=64 << 10, far_span_bytes_least=32 << 10, far_shard_objects=20)


def upload(bucket: Bucket, folder: Path, prefix: str = "in/") -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.put(prefix + str(path.relative_to(folder)), path.read_bytes())


def results(bucket: Bucket, prefix: str) -> dict[str, bytes]:
    return {
        entry.key[len(prefix) :]: bytes(bucket.get(entry.key))
        for entry in bucket.entries(prefix)
        if entry.key.endswith(".out")
    }


def run(linear: Path, bucket: Bucket, output: str = "out", **rest: Any) -> Any:
    return transform(linear, f"s3://{bucket.name}/in/", f"s3://{bucket.name}/{output}/", limits=LIMITS, **rest)


@pytest.fixture(scope="module")
def expected(linear: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("expected")
    transform(linear, inputs, output, limits=LIMITS)
    return read_tree(output)


def test_results_have_the_bytes_of_the_disk_and_a_second_run_keeps_them(
    linear: Path, inputs: Path, expected: dict[str, bytes], bucket: Bucket, tmp_path: Path
) -> None:
    upload(bucket, inputs)
    summary = run(linear, bucket)
    assert (summary.inputs, summary.records) == (151, sum(1 + number % 3 for number in range(150)) + 20_000)
    assert results(bucket, "out/") == expected
    # Nothing else is left: no lease, no span, no upload.
    others = [entry.key for entry in bucket.entries("out/") if not entry.key.endswith(".out")]
    assert others == ["out/_run.json"]
    assert list(bucket.list_uploads("")) == []
    # An object that changed is transformed again, also if an older result is in its place.
    bucket.put("in/0/x y-0.csv", b"1,2\n")
    summary = run(linear, bucket)
    assert (summary.inputs, summary.skipped) == (1, 150)
    changed = results(bucket, "out/")
    assert {key for key in expected if expected[key] != changed[key]} == {"0/x y-0.csv.out"}
    # From S3 to the disk, and from the disk to S3.
    transform(linear, f"s3://{bucket.name}/in/", tmp_path / "out", limits=LIMITS)
    assert read_tree(tmp_path / "out") == changed
    summary = transform(linear, inputs, f"s3://{bucket.name}/other", limits=LIMITS)
    assert results(bucket, "other/") == expected


def test_rejects_are_as_on_the_disk(linear: Path, bucket: Bucket, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("1,2\nx,3\n4,5\n")
    (folder / "b.csv").write_text("".join("1,bad\n" if number % 500 == 7 else "1,2\n" for number in range(40_000)))
    (folder / "empty.csv").touch()
    upload(bucket, folder)
    options = Options(on_error="quarantine")
    transform(linear, folder, tmp_path / "out", options, limits=LIMITS)
    for _ in range(2):
        summary = run(linear, bucket, options=options)
    assert results(bucket, "out/") == read_tree(tmp_path / "out")
    kept = [json.loads(line) for line in bytes(bucket.get("out/_rejects.jsonl")).splitlines()]
    there = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_bytes().splitlines()]
    facts = ("key", "line", "column", "code", "record", "range")
    assert [[each[name] for name in facts] for each in kept] == [[each[name] for name in facts] for each in there]
    assert kept[0]["path"] == f"s3://{bucket.name}/in/a.csv"
    assert summary.rejected == len(kept) == 82
    assert [entry.key for entry in bucket.entries("out/.")] == []


def test_every_odd_key_has_a_result_of_its_own(linear: Path, exact_bucket: Bucket, tmp_path: Path) -> None:
    keys = [
        "a//b",
        "/a",
        "%41",
        "a+b",
        "t\tab",
        "p/../x",
        "ü/ö ",
        "#?",
        "a",
        "a/b",
        "a/b/",
        "_SUCCESS",
        ".x",
        "a.out",
        "€" * 300,
    ]
    for number, key in enumerate(keys):
        exact_bucket.put(f"in/{key}", b"" if key.endswith("/") else b"%d,1\n" % number)
    summary = run(linear, exact_bucket)
    meant = {
        key for key in keys if key not in ("a/b/", "_SUCCESS", ".x", "p/../x")
    }  # a folder's mark, and what is hidden
    assert summary.inputs == len(meant)
    found = results(exact_bucket, "out/")
    assert found.keys() == {f"{key}.out" for key in meant}
    assert len(set(found.values())) == len(meant)
    # On the disk, those that would be outside of the folder, or another one's, are refused.
    options = Options(on_error="quarantine")
    transform(linear, f"s3://{exact_bucket.name}/in/", tmp_path, options)
    refused = [json.loads(line) for line in (tmp_path / "_rejects.jsonl").read_bytes().splitlines()]
    assert {each["key"]: each["code"] for each in refused} == {
        "a//b": "unsafe_key", "/a": "unsafe_key", "€" * 300: "output_name"
    }  # fmt: skip
    assert len(read_tree(tmp_path)) == len(meant) - 3


def test_what_is_there_of_others_is_not_touched(linear: Path, inputs: Path, weed_bucket: Bucket) -> None:
    upload(weed_bucket, inputs)
    weed_bucket.put("out/0/mine.csv.out", b"mine")
    weed_bucket.put("out/0/x y-0.csv.out", b"mine, too")
    with pytest.raises(ConfigError, match="not of this run"):
        run(linear, weed_bucket)
    weed_bucket.delete("out/0/x y-0.csv.out")
    run(linear, weed_bucket)
    assert bytes(weed_bucket.get("out/0/mine.csv.out")) == b"mine"
    with pytest.raises(ConfigError, match="the outputs there are of another run") as caught:
        run(linear, weed_bucket, options=Options(missing=0.0))
    assert caught.value.code == "other_run"
    weed_bucket.put("other/x.out", b"")
    with pytest.raises(ConfigError, match=r"no _run\.json"):
        run(linear, weed_bucket, "other")


def test_a_result_that_appears_meanwhile_is_not_replaced(
    linear: Path, inputs: Path, far_bucket: Bucket, proxy: s3.Proxy, weed: str
) -> None:
    upload(far_bucket, inputs)
    direct = s3.client(weed)

    def rule(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("-7.csv.out"):
            direct.put_object(Bucket=far_bucket.name, Key="out/1/x y-7.csv.out", Body=b"mine")

    proxy.rule = rule
    with pytest.raises(OutputError, match="not of this run appeared"):
        run(linear, far_bucket)
    assert bytes(far_bucket.get("out/1/x y-7.csv.out")) == b"mine"


def test_a_run_is_carried_out_in_spite_of_faults(
    linear: Path, inputs: Path, expected: dict[str, bytes], far_bucket: Bucket, proxy: s3.Proxy
) -> None:
    upload(far_bucket, inputs)
    proxy.requests.clear()
    draw = random.Random(3)
    met: set[tuple[str, str]] = set()

    def rule(method: str, path: str) -> str | None:
        path = path.partition("&X-Amz-")[0]
        if (method, path) in met or draw.random() > 0.3:
            return None
        met.add((method, path))
        return draw.choice(["503", "500", "cut", "lost"])

    proxy.rule = rule
    run(linear, far_bucket)
    proxy.rule = lambda _method, _path: None
    assert results(far_bucket, "out/") == expected
    assert len(met) > 50


class Interrupted(Progress):
    """Ctrl-C while the server refuses everything."""

    def __init__(self, proxy: s3.Proxy) -> None:
        self._proxy = proxy

    def found(self, size: int) -> None:  # noqa: ARG002
        self._proxy.rule = lambda _method, _path: "503"
        raise KeyboardInterrupt


def test_an_interrupt_is_not_hidden_by_what_cannot_be_settled(
    linear: Path, far_bucket: Bucket, proxy: s3.Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    far_bucket.put("in/a.csv", b"1,2\n")
    monkeypatch.setattr("fastinfer.storage.retry.END_S", 0.1)
    monkeypatch.setattr("fastinfer.storage.lease.RELEASE_S", 0.1)
    with pytest.warns(RuntimeWarning, match="the next run puts in order"), pytest.raises(KeyboardInterrupt):
        run(linear, far_bucket, options=Options(on_error="quarantine"), progress=Interrupted(proxy))


def test_labels_of_results_that_lack_records_are_asked_for_together(
    linear: Path, far_bucket: Bucket, proxy: s3.Proxy
) -> None:
    for number in range(40):
        far_bucket.put(f"in/{number}.csv", b"1,2\nx,3\n")
    lock, under_way, most, count = threading.Lock(), 0, 0, 0

    def rule(method: str, _path: str) -> None:
        nonlocal under_way, most, count
        if method == "HEAD":
            with lock:
                under_way, count = under_way + 1, count + 1
                most = max(most, under_way)
            time.sleep(0.02)
            with lock:
                under_way -= 1

    proxy.rule = rule
    for passes in (1, 3):  # joined at the end; at the beginning, for what is done, and at the end
        most = count = 0
        assert run(linear, far_bucket, options=Options(on_error="quarantine")).rejected == 40
        assert most >= 4
        assert count == passes * 40


def command_line(linear: Path, bucket: Bucket, *more: str) -> list[str]:
    places = [f"s3://{bucket.name}/in/", f"s3://{bucket.name}/out"]
    return [sys.executable, "-m", "fastinfer.transform", *places, "--model", str(linear), "--quiet", *more]


def test_a_run_that_is_killed_again_and_again_is_finished_by_the_same_command(
    linear: Path, inputs: Path, expected: dict[str, bytes], far_bucket: Bucket, proxy: s3.Proxy
) -> None:
    upload(far_bucket, inputs)
    one_at_a_time = threading.Lock()

    def slowly(method: str, path: str) -> None:
        if method == "PUT" and path.endswith(".out"):
            with one_at_a_time:
                time.sleep(0.02)

    proxy.rule = slowly
    for number in range(3):
        process = subprocess.Popen(command_line(linear, far_bucket), env={**os.environ, "PYTHONPATH": os.getcwd()})
        enough = (20, 60, 90)[number]
        wait_until(lambda enough=enough: len(list(far_bucket.entries("out/"))) >= enough, process)  # type: ignore[misc]
        process.kill()
        process.wait()
    proxy.rule = lambda _method, _path: None
    assert len(results(far_bucket, "out/")) < len(expected)
    assert far_bucket.find("out/_run.lock") is not None
    assert command.main(command_line(linear, far_bucket)[3:]) == 0
    assert results(far_bucket, "out/") == expected
    assert far_bucket.find("out/_run.lock") is None


def test_many_requests_are_under_way_while_each_waits_and_an_object_takes_two(
    linear: Path, inputs: Path, far_bucket: Bucket, proxy: s3.Proxy
) -> None:
    upload(far_bucket, inputs)
    proxy.latency_s = 0.2
    proxy.requests.clear()
    proxy.most_at_a_time = 0
    summary = run(linear, far_bucket)
    assert proxy.most_at_a_time >= 4
    assert summary.inputs == 151
    # One GET and one PUT for each small object; nothing is asked of an object or a result beside.
    small = Counter(method for method, path, _ in proxy.requests if re.search(r"/x%20y-\d+\.csv", path))
    assert small == {"GET": 150, "PUT": 150}


def test_the_command_takes_urls_for_everything(
    linear: Path, inputs: Path, weed_bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(weed_bucket, inputs)
    upload(weed_bucket, linear, "model/")
    base = f"s3://{weed_bucket.name}"
    assert command.main([f"{base}/in/0/", f"{base}/out", "--model", f"{base}/model/", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == 50
    assert command.main([f"file://{inputs}/0", f"file://{tmp_path}/out", "--model", f"file://{linear}", "--quiet"]) == 0
    assert read_tree(tmp_path / "out") == results(weed_bucket, "out/")
    places = [f"{base}/in/0/", f"{base}/out/", "--model", f"{base}/model/", "--quiet", "--table"]
    assert command.main([*places, f"{base}/tables/t.csv"]) == command.main([*places, str(tmp_path / "t.csv")]) == 0
    table = bytes(weed_bucket.get("tables/t.csv"))
    assert table == (tmp_path / "t.csv").read_bytes()
    assert table.count(b"\n") > 50
    job = {
        "TransformInput": {"ContentType": "text/csv", "DataSource": {"S3DataSource": {"S3Uri": f"{base}/in/0/"}}},
        "TransformOutput": {"S3OutputPath": f"{base}/job"},
    }
    weed_bucket.put("job.json", json.dumps(job).encode())
    assert command.main(["--job", f"{base}/job.json", "--model", f"{base}/model/", "--quiet"]) == 0
    assert results(weed_bucket, "job/") == results(weed_bucket, "out/")
    places = [f"{base}/in/", f"{base}/out/", "--model", f"{base}/model/"]
    weed_bucket.delete("out/_run.json")
    for key in [entry.key for entry in weed_bucket.entries("out/")]:
        weed_bucket.delete(key)
    assert command.main([*places, "--dry-run", "--json", "--request-price", "1,10"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["inputs"], facts["reads"], facts["writes"]) == (151, 153, 161)
    assert facts["cost"] == pytest.approx(1.763)
    assert list(weed_bucket.entries("out/")) == []
    assert command.main([f"{base}/in/0/", f"{base}/out", "--model", f"{base}/nothing"]) == 3
    assert f"{base}/nothing" in capsys.readouterr().err
    assert command.main([f"{base}/nothing/", f"{base}/out", "--model", f"{base}/model/", "--quiet"]) == 1
    assert "no object has a key" in capsys.readouterr().err


@pytest.fixture
def finished(linear: Path, bucket: Bucket) -> str:
    """The URL of a finished run, of two objects with a reject, read from and written to S3."""
    bucket.put("in/a.csv", b"1,2\nx,3\n4,5\n")
    bucket.put("in/sub/b c#.csv", b"1,2\n")
    run(linear, bucket, options=Options(on_error="quarantine"))
    return f"s3://{bucket.name}/out"


def test_the_outputs_of_a_run_are_made_again_where_they_are(
    finished: str, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([f"{finished}/"]) == 0
    assert "2 outputs made again, 0 differ" in capsys.readouterr().err
    # The same size, another byte; an input that changed.
    kept = bytearray(bucket.get("out/a.csv.out"))
    kept[1] ^= 1
    bucket.put("out/a.csv.out", bytes(kept), bucket.label("out/a.csv.out"))
    bucket.put("in/sub/b c#.csv", b"7,7\n")
    assert verify.main([finished, "--json"]) == 1
    said = capsys.readouterr()
    found = {each["key"]: each for each in json.loads(said.out)["differing"]}
    assert found["a.csv"]["place"] == 1
    assert "the input has changed since" in found["sub/b c#.csv"]["reason"]
    bucket.delete("out/_run.json")
    assert verify.main([finished]) == 2
    assert "is not the record of a run" in capsys.readouterr().err
    assert verify.main([f"{finished}/model.onnx"]) == 2
    assert "must be a path of this machine" in capsys.readouterr().err


def test_a_report_is_made_of_places_and_put_to_one(
    finished: str, bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = f"s3://{bucket.name}/in/", tmp_path / "out"
    for key in ("_run.json", "_rejects.jsonl", "a.csv.out", "sub/b c#.csv.out"):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(bytes(bucket.get(f"out/{key}")))
    page = ["--inputs", source, "-o"]
    bucket.put("labels", b"1\n2\n3\n4\n")
    assert (
        report.main([finished, *page, f"s3://{bucket.name}/page.html", "--labels", f"s3://{bucket.name}/labels"]) == 0
    )
    assert b"<html" in bytes(bucket.get("page.html"))
    capsys.readouterr()
    found = []
    for place in (finished, str(folder)):
        assert report.main([place, *page, str(tmp_path / "page.html"), "--json"]) == 0
        found.append((capsys.readouterr().out, (tmp_path / "page.html").read_bytes()))
    assert found[0] == found[1]
    assert report.main([f"s3://{bucket.name}/nothing"]) == 1
    assert "no object has this key" in capsys.readouterr().err


def test_results_below_a_prefix_with_the_signs_of_a_glob_are_no_objects(exact_bucket: Bucket) -> None:
    for key in ("in [1]/a.csv", "in [1]/out/_run.json", "in [1]/out/a.csv.out", "in [1]/b.csv.out"):
        exact_bucket.put(key, b"1,2\n")
    for source in ("in [1]/", "in ?1?/*"):
        found = [item.key for item in Listing(f"s3://{exact_bucket.name}/{source}")]
        assert sorted(key.rpartition("/")[2] for key in found) == ["a.csv", "b.csv.out"], source
    (result,) = Listing(f"s3://{exact_bucket.name}/in ?1?/*/*.out")
    assert result.key.endswith("out/a.csv.out")
