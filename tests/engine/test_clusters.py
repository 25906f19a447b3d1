"""What a run asks of a cluster: that it has workers, and that they stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fastinfer.engine import clusters, process
from fastinfer.engine.job import Job, ShardReport
from fastinfer.engine.plan import Shard
from fastinfer.errors import ServiceError
from tests.runs import make_job


def test_a_shard_counts_while_it_runs_and_none_begins_when_its_job_has_ended(linear: Path, tmp_path: Path) -> None:
    job = make_job(linear, tmp_path)
    counts: list[int] = []

    def run(shard: Shard, job: Job) -> ShardReport:
        counts.append(clusters.end_here(job.token))
        return ShardReport(shard.number, inputs=1)

    assert clusters.in_worker(run, Shard(0, []), job)[0].inputs == 1
    assert clusters.in_worker(run, Shard(1, []), job) == (ShardReport(1), [])
    assert clusters.end_here(job.token) == 0
    assert counts == [1]


def test_workers_stop_also_if_their_process_is_prepared_meanwhile(linear: Path, tmp_path: Path) -> None:
    for tells_before in (False, True):
        job = make_job(linear, tmp_path)
        if tells_before:
            clusters.end_here(job.token)
        made = process.prepare(job)
        assert made.stop.is_set() == tells_before
        clusters.end_here(job.token)
        assert made.stop.is_set()
        process.release(job)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said on the terminal."""
    said: list[str] = []
    monkeypatch.setattr(clusters, "_warn", said.append)
    return said


def end(ask: Callable[[], int], cancel: Callable[[], object] = list, error: Exception | None = None) -> None:
    with clusters.ending(cancel, ask):
        raise error or KeyboardInterrupt


def test_a_run_that_ends_by_itself_or_loses_its_cluster_asks_nobody(told: list[str]) -> None:
    asked: list[int] = []
    with clusters.ending(list, lambda: asked.append(0) or 0):
        pass
    with pytest.raises(ServiceError, match=r"the cluster was lost during the run: gone. Hint: run again"):
        end(lambda: asked.append(0) or 0, error=clusters.lost("the cluster", OSError("gone")))
    assert asked == told == []


def test_a_run_that_ends_early_cancels_and_asks_until_nothing_runs(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "SHORT_WAIT_S", 300.0)
    left, done = [2, 1, 0], list[str]()

    def ask() -> int:
        done.append("ask")
        return left.pop(0)

    with pytest.raises(KeyboardInterrupt):
        end(ask, lambda: done.append("cancel"))
    assert done == ["cancel", "ask", "ask", "ask"]
    assert told == []


def test_what_does_not_stop_is_told_of(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked, silent = threading.Event(), threading.Event()

    class Asking(threading.Thread):
        """Is waited for until it has asked, not for a time."""

        def join(self, timeout: float | None = None) -> None:
            assert timeout is not None
            asked.wait()
            super().join(0.0)

    monkeypatch.setattr(clusters.threading, "Thread", Asking)
    counts: list[int] = []

    def count() -> int:
        counts.append(2)
        if len(counts) > 1:
            asked.set()
        return 2

    def wait() -> int:
        asked.set()
        silent.wait()
        return 0

    def fail() -> int:
        asked.set()
        raise OSError("gone")

    for ask, message in (
        (count, "2 shards may run"),
        (wait, "it is not known which shards run"),
        (fail, "it is not known which shards run"),
    ):
        asked.clear()
        told.clear()
        with pytest.raises(KeyboardInterrupt):
            end(ask)
        assert told[-1].startswith(f"the workers have not stopped: {message}")
        if ask is not fail:  # which may have ended by itself
            assert told[0] == "waiting until the workers stop, 10 s at most"
    silent.set()


def test_a_cluster_without_workers_is_told_of_once_and_again_when_some_come(told: list[str]) -> None:
    counts: list[int | Exception] = [3, 0, 0, OSError("gone"), 0, 2, 2, 0]

    def count() -> int:
        found = counts.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    watch = clusters.WorkerWatch("it", count)
    watch.seen()  # asks nothing
    for _ in range(5):
        watch.look()
    watch.seen()
    watch.look()
    watch.look()
    missing, back = "it has no workers: the run waits until some come", "it has 2 workers now: the run goes on"
    assert told == [missing, back, missing]
