"""All backends give the same outputs, and a dead worker loses no other work."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastinfer.codecs.csv import CsvCodec
from fastinfer.engine import backends, clusters, process
from fastinfer.engine.job import Job, ShardReport
from fastinfer.engine.plan import Shard
from fastinfer.engine.progress import Progress
from fastinfer.engine.source import find_objects
from fastinfer.engine.worker import run_shard
from fastinfer.errors import ConfigError, OutputError, ServiceError, WorkerDied
from fastinfer.mnist.samples import write_samples
from fastinfer.models.module import SHIPPED_MODEL, load_model
from fastinfer.options import BACKENDS, Options
from fastinfer.outputs.folder import OutputFolder
from fastinfer.runtimes.batch_size import Batching
from fastinfer.storage.base import Object
from tests.conftest import csv, read_tree, wait_until
from tests.runs import make_job, transform

OTHERS = ["processes", "dask", "ray"]


@pytest.fixture(autouse=True)
def _quiet_clusters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # ray keeps handles to its processes until the interpreter ends, and warns of changes in its next version.
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a dask cluster of two worker processes."""
    from distributed import LocalCluster

    # Without the scheduler's own page, whose port another cluster on this machine may have.
    pages = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, scheduler_kwargs=pages) as cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("exact", [True, False])
def test_every_backend_gives_the_bytes_of_threads(
    backend: str, exact: bool, mlp: Path, digits: np.ndarray, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(40):
        (source / f"{number:02d}.csv").write_bytes(csv(digits[number : number + 1 + number % 3]))
    results = []
    for name in ("threads", backend):
        output = tmp_path / name
        summary = transform(mlp, source, output, Options(backend=name, workers=2, exact=exact))
        assert (summary.inputs, summary.rejected) == (40, 0)
        results.append(read_tree(output))
    assert results[0] == results[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_warning_of_the_workers_is_given_once_in_a_run(backend: str, linear: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(8):
        (source / f"{number}.csv").write_bytes(b"1,2,3\n4,5,6\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", RuntimeWarning)
        transform(linear, source, tmp_path / "out", Options(backend=backend, workers=2, records="total"))
    told = [str(each.message) for each in caught if each.category is RuntimeWarning]
    assert told == ["lines of 3 values are cut across records of 2 values: only the total of values counts"]


def test_a_cluster_is_reached_by_its_address(scheduler: str, mlp: Path, samples: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastinfer.transform", str(samples), str(tmp_path / "out"), "--model", str(mlp)]
    subprocess.run([*command, "--backend", "dask", "--address", scheduler, "--quiet"], check=True)
    transform(mlp, samples, tmp_path / "expected")
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "expected")


def test_a_machine_that_would_give_other_bytes_is_refused(
    scheduler: str, mlp: Path, samples: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "fastinfer.transform", str(samples), str(tmp_path / "out"), "--model", str(mlp)]
    # This process has what the workers have not: of two machines, the one where the run began.
    done = subprocess.run(
        [*command, "--backend", "dask", "--address", scheduler],
        env={**os.environ, "MXNET_SUBGRAPH_BACKEND": "NONE"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "would give other bytes: environment is" in done.stderr
    assert read_tree(tmp_path / "out") == {}


@pytest.mark.parametrize(("backend", "address"), [("dask", "tcp://127.0.0.1:9"), ("ray", "127.0.0.1:9")])
def test_a_cluster_that_does_not_answer_is_an_error(
    backend: str, address: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "CONNECT_TIMEOUT_S", 1)
    with pytest.raises(ConfigError) as caught:
        transform(SHIPPED_MODEL, samples, tmp_path / "out", Options(backend=backend, address=address))
    assert caught.value.code == "no_cluster"


@pytest.mark.parametrize(("backend", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_a_backend_that_is_not_installed_is_an_error(
    backend: str, module: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"pip install '{module}>="):
        transform(SHIPPED_MODEL, samples, tmp_path / "out", Options(backend=backend))


def kill_on(shard: Shard, job: Job) -> ShardReport:
    """run_shard, but a file of that name kills the process: always, or the first time."""
    for item in shard.items:
        assert isinstance(item, Object)
        once = Path(item.uri).with_name("killed-once")
        if item.key == "always.csv" or (item.key == "once.csv" and not once.exists()):
            once.write_bytes(b"")
            if item.key == "once.csv":
                os._exit(255)  # as MXNet's own handler of segmentation faults does: no signal ends the process
            os.kill(os.getpid(), signal.SIGKILL)
    return run_shard(shard, job)


@pytest.mark.parametrize("backend", OTHERS)
def test_a_dead_worker_is_replaced_and_a_shard_that_kills_twice_is_left_out(
    backend: str, linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a", "always", "b", "c", "once", "z"):
        (source / f"{name}.csv").write_bytes(b"1,2\n")
    # What a killed worker runs is all that is replaced here: joblib, dask, ray and the processes are real.
    monkeypatch.setattr(backends, "run_shard", kill_on)
    folder = OutputFolder(str(output))
    job = Job("token", load_model(linear), (("cpu", 0),), Batching(48, False, True), CsvCodec(), folder.layout)
    shards = [Shard(number, [item]) for number, item in enumerate(find_objects(str(source)))]
    start = backends.BACKENDS_BY_NAME[backend]
    with folder.open_run({"depends_on": {}}, overwrite=False), start(job, 2, threading.Event(), None) as run_shards:
        reports = list(run_shards(shards))
    assert sorted(report.number for report in reports) == list(range(6))
    errors = {report.number: report.error for report in reports if report.error}
    assert list(errors) == [1]
    assert isinstance(errors[1], WorkerDied)
    assert str(source / "always.csv") in str(errors[1])
    assert sorted(read_tree(output)) == ["a.csv.out", "b.csv.out", "c.csv.out", "once.csv.out", "z.csv.out"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_late_workers_write_nothing_into_a_folder_in_which_another_run_has_begun(
    backend: str, linear: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a", "b"):
        (source / f"{name}.csv").write_bytes(b"1,2\n")
    shards = [Shard(number, [item]) for number, item in enumerate(find_objects(str(source)))]
    folder = OutputFolder(str(output))
    with folder.open_run({"depends_on": {}}, overwrite=False, is_outlived=backend in ("dask", "ray")):
        parts = load_model(linear), (("cpu", 0),), Batching(48, False, True), CsvCodec(), folder.layout
        job = Job("late", *parts, store=folder.store)
    # The same inputs and options: the next run continues, and has the id of the earlier one.
    with OutputFolder(str(output)).open_run({"depends_on": {}}, overwrite=False) as following:
        assert following.layout.run == folder.layout.run
        with backends.BACKENDS_BY_NAME[backend](job, 2, threading.Event(), None) as run_shards:
            reports = list(run_shards(shards))
        assert os.listdir(output) == ["_run.json"]
    for report in reports:
        assert isinstance(report.error, OutputError)
        assert (report.error.code, report.inputs) == ("folder_lost", 0)


def run_until_told(shard: Shard, job: Job) -> ShardReport:
    """Ends at once for the shard that comes first; for another one when it is told to stop, which it notes."""
    folder = Path(job.layout.root)
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        (folder / f"running-{shard.number}").touch()
        try:
            while not process.is_ended(job.token):
                time.sleep(0.01)
        finally:
            time.sleep(0.3)  # as a batch that is under way
            (folder / f"ended-{shard.number}").touch()
    return ShardReport(shard.number)


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_run_that_ends_early_waits_for_the_shards_that_run_and_begins_no_others(
    backend: str, linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "run_shard", run_until_told)
    monkeypatch.setattr(clusters, "STOP_TIMEOUT_S", 300.0)  # its length is not what is tested
    monkeypatch.setattr(clusters, "SHORT_WAIT_S", 300.0)
    job = make_job(linear, tmp_path)
    start = backends.BACKENDS_BY_NAME[backend]
    with start(job, 1, threading.Event(), None) as run_shards:
        reports = run_shards([Shard(number, []) for number in range(4)])
        next(reports)
        wait_until(lambda: any(tmp_path.glob("running-*")))
        reports.close()
        number = next(tmp_path.glob("running-*")).name[-1]
        assert sorted(os.listdir(tmp_path)) == [f"ended-{number}", "first", f"running-{number}"]


def test_a_scheduler_that_is_lost_is_an_error(linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "run_shard", run_until_told)
    monkeypatch.setattr(backends, "CONNECT_TIMEOUT_S", 1)  # so long it is looked for
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    found = tmp_path / "scheduler.json"
    scheduler = subprocess.Popen(
        [*command, "--no-dashboard", "--scheduler-file", str(found)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: found.exists() and found.read_text().endswith("}"), scheduler)
        job, address = make_job(linear, tmp_path), json.loads(found.read_text())["address"]
        with backends.on_dask(job, 1, threading.Event(), address) as run_shards:
            reports = run_shards(kill_after(scheduler, [Shard(1, [])]))
            with pytest.raises(ServiceError, match="the dask cluster was lost during the run") as caught:
                next(reports)
    finally:
        scheduler.kill()
        scheduler.wait()
    assert (caught.value.code, caught.value.exit_code) == ("cluster_lost", 6)


def kill_after(process: subprocess.Popen[bytes], shards: list[Shard]) -> Iterator[Shard]:
    yield from shards
    process.kill()
    process.wait()


def test_a_cluster_without_workers_is_told_of_and_waited_for(
    linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(clusters, "LOOK_S", 0.1)
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.csv").write_bytes(b"1,2\n")
    pages = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    told: list[str] = []
    with LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None, scheduler_kwargs=pages) as cluster:

        def tell(text: str) -> None:
            told.append(text)
            if len(told) == 1:
                cluster.scale(1)

        monkeypatch.setattr(clusters, "_warn", tell)
        options = Options(backend="dask", address=cluster.scheduler_address)
        assert transform(linear, source, tmp_path / "out", options).inputs == 1
    assert told == [
        "the dask cluster has no workers: the run waits until some come",
        "the dask cluster has 1 worker now: the run goes on",
    ]


class _Moving(Progress):
    """Moves the folder of the outputs away when the run has told of its first progress."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def advance(self, records: int, size: int) -> None:  # noqa: ARG002
        if self._folder.exists():
            self._folder.rename(self._folder.with_name("moved"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_whose_folder_is_moved_ends_with_an_error_and_makes_no_other(
    backend: str, linear: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(4):
        (source / f"{number}.csv").write_bytes(b"1,2\n3,4\n")
    with pytest.raises(OutputError) as caught:
        transform(linear, source, output, Options(backend=backend, workers=1), progress=_Moving(output))
    assert (caught.value.code, caught.value.path) == ("folder_lost", str(output))
    assert not output.exists()
    assert (tmp_path / "moved" / "_run.json").exists()


# Two runs at a time, on threads that end with them, and a third one after that.
RUNS = """
import glob, os, sys, threading
import fastinfer
source, model, output = sys.argv[1:]

def workers():
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as stat, open(path.replace("/stat", "/cmdline")) as line:
                parent = int(stat.read().rpartition(")")[2].split()[1])
                if parent == os.getpid() and "popen_loky" in line.read():
                    found.append(path)
        except OSError:
            pass
    return found

transformers = [fastinfer.Transformer(model, backend="processes", workers=2) for _ in range(3)]
for number in (0, 1):
    transformers[number].transform(source, f"{output}/{number}")
print([each.wait().inputs for each in transformers[:2]], workers())
print([transformers[2].transform(source, f"{output}/2").wait().inputs], workers())
"""


def test_worker_processes_end_with_their_run(mlp: Path, samples: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", RUNS, samples, mlp, tmp_path / "out"], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("[30, 30] []\n[30] []\n", 0), done.stderr
    assert read_tree(tmp_path / "out" / "0") == read_tree(tmp_path / "out" / "1") == read_tree(tmp_path / "out" / "2")


def test_no_shard_is_taken_that_there_is_no_room_for() -> None:
    shards = [Shard(number, []) for number in range(3)]
    waiting = iter(shards)
    under_way: dict[int, Shard] = {}
    feed = backends._feed_slots(waiting, 1, under_way)
    assert next(feed) is shards[0]
    under_way[0] = shards[0]
    assert next(feed) is None
    assert next(waiting) is shards[1]


@pytest.fixture(scope="module")
def large_file(digits: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work for one worker, while another waits; row by row it takes seconds."""
    folder = tmp_path_factory.mktemp("large")
    write_samples(np.resize(digits, (20_000, 28, 28)), folder, rows_per_file=20_000)
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("moment", ["started", "importing", "reading"])
def test_worker_processes_end_with_a_run_that_is_killed(
    moment: str, mlp: Path, large_file: Path, tmp_path: Path
) -> None:
    source = large_file.parent
    command = [
        sys.executable,
        "-m",
        "fastinfer.transform",
        str(source),
        str(tmp_path / "out"),
        "--model",
        str(mlp),
        "--exact",
    ]
    process = subprocess.Popen([*command, "--quiet", "--backend", "processes", "--workers", "2"])
    reached = {
        # Of two workers and what tracks their resources: one may have begun to read its task, and would wait for its rest.
        "started": lambda _: True,
        # One that has begun to import MXNet looks at its parent when that is done.
        "importing": lambda child: "libmxnet" in Path(f"/proc/{child}/maps").read_text(),
        "reading": lambda child: str(large_file) in open_files(child),
    }[moment]

    def has_come() -> bool:
        children = children_of(process.pid)
        with contextlib.suppress(OSError):  # one has ended meanwhile
            return len(children) > 1 and any(map(reached, children))
        return False

    try:
        wait_until(has_come, process, every_s=0.02)
        children = children_of(process.pid)
    finally:
        process.kill()
        process.wait()
    assert len(children) > 1
    wait_until(lambda: not any(is_running(child) for child in children), every_s=0.02)


def children_of(parent: int) -> list[int]:
    """The processes that a process has started, and that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, its_parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(its_parent) == parent and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def open_files(number: int) -> list[str]:
    paths = []
    for link in Path(f"/proc/{number}/fd").iterdir():
        with contextlib.suppress(OSError):  # it was closed meanwhile
            paths.append(os.readlink(link))
    return paths


def is_running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_every_backend_that_can_be_asked_for_is_there() -> None:
    assert tuple(backends.BACKENDS_BY_NAME) == BACKENDS
