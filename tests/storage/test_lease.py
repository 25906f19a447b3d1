"""One run at a time writes to a folder of S3; what a killed run leaves ends by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from fastinfer.errors import ConfigError, OutputError, ServiceError
from fastinfer.storage import lease
from fastinfer.storage.lease import LEASE_S, MARGIN_S, RENEWAL_S, Holder, Witness, _process, facts_of
from fastinfer.storage.retry import Patience, beginning_within
from fastinfer.storage.s3_client import Bucket
from tests import s3
from tests.conftest import wait_until
from tests.storage.conftest import QUICK


def elsewhere(**changes: Any) -> bytes:
    """The lease of a process of another machine."""
    return json.dumps({**_process(), "world": "another", "renewal": 1, "lease_s": 1.0, **changes}).encode()


def test_a_second_holder_is_refused_and_the_lease_is_given_back(bucket: Bucket) -> None:
    with Holder(bucket, "out/_run.lock").hold():
        with (
            pytest.raises(ConfigError, match="another program is writing") as caught,
            Holder(bucket, "out/_run.lock").hold(),
        ):
            pass
        assert caught.value.code == "output_in_use"
        assert caught.value.path == f"s3://{bucket.name}/out/_run.lock"
    assert bucket.find("out/_run.lock") is None
    with Holder(bucket, "out/_run.lock").hold():
        pass


def test_the_lease_of_a_process_of_this_machine_that_was_killed_is_taken_over_at_once(bucket: Bucket) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    facts = {**_process(), "process": child.pid, "started": "1", "renewal": 1, "lease_s": 600.0}
    assert bucket.write_lease("lock", json.dumps(facts).encode(), None)
    child.kill()
    child.communicate()
    started = time.monotonic()
    with Holder(bucket, "lock").hold():
        assert time.monotonic() - started < 30


def test_the_lease_of_another_machine_is_waited_for_if_it_is_not_renewed(weed_bucket: Bucket) -> None:
    assert weed_bucket.write_lease("lock", elsewhere(lease_s=8.0), None)
    started = time.monotonic()
    with pytest.warns(RuntimeWarning, match="waiting until"), Holder(weed_bucket, "lock", lease_s=9.0).hold():
        waited = time.monotonic() - started
    assert 1.5 < waited < 30


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"[" * 50_000,
        elsewhere(lease_s=0),
        elsewhere(lease_s=True),
        b"[1]",
        elsewhere(lease_s=float("nan")),
        elsewhere(lease_s=10**400),
        elsewhere(lease_s="x"),
        elsewhere(padding="x" * 100_000),
    ],
    # Their texts have this process's number.
    ids=["empty", "cut", "deep", "no_time", "true", "list", "nan", "huge", "text", "large"],
)
def test_a_damaged_lease_ends_after_the_usual_time(text: bytes, weed_bucket: Bucket) -> None:
    assert weed_bucket.write_lease("lock", text, None)
    started = time.monotonic()
    with Holder(weed_bucket, "lock", lease_s=2.0).hold():
        assert 0.5 < time.monotonic() - started < 30  # the server's clock has whole seconds


def test_a_lease_that_is_renewed_meanwhile_is_not_waited_for(weed_bucket: Bucket) -> None:
    version = weed_bucket.write_lease("lock", elsewhere(lease_s=300.0), None)

    class Slow(Holder):
        """Somebody renews the lease while this one waits."""

        def _is_alive(self, lease: Any) -> bool:
            nonlocal version
            version = weed_bucket.write_lease(
                "lock", elsewhere(lease_s=300.0, renewal=str(lease.version)), lease.version
            )
            return False

    with (
        pytest.warns(RuntimeWarning, match="waiting"),
        pytest.raises(ConfigError, match="another program is writing"),
        Slow(weed_bucket, "lock", lease_s=300.0, renewal_s=0.1).hold(),
    ):
        pass


@pytest.mark.parametrize(
    ("changes", "who"),
    [
        ({"machine": "a-1", "process": 7}, " (a-1, process 7)"),
        ({"machine": "\x1b[2J" + "a" * 60, "process": 7}, rf" (\x1b[2J{'a' * 56}…, process 7)"),
        ({"machine": "a", "process": "7"}, ""),
        ({"machine": ["a"]}, ""),
    ],
)
def test_who_holds_a_lease_is_named_where_it_says_so(changes: dict[str, Any], who: str) -> None:
    assert facts_of(elsewhere(**changes)).who == who


def test_a_lease_is_renewed_and_one_that_was_taken_is_lost(bucket: Bucket) -> None:
    holder = Holder(bucket, "lock", lease_s=60.0, renewal_s=0.05)
    with holder.hold():
        first = bucket.read_lease("lock")
        assert first is not None
        wait_until(lambda: bucket.read_lease("lock") != first, every_s=0.05)
        holder.check()
        bucket.put("lock", elsewhere())
        wait_until(lambda: holder._is_lost, every_s=0.05)
        with pytest.raises(OutputError, match="another run may write there") as caught:
            holder.check()
        assert caught.value.code == "lease_lost"
    assert bucket.find("lock") is not None  # it is the other one's


def test_a_lease_that_cannot_be_renewed_is_lost_in_time(bucket: Bucket) -> None:
    holder = Holder(bucket, "lock", lease_s=0.2, renewal_s=60.0)
    with holder.hold():
        time.sleep(0.3)
        with pytest.raises(OutputError, match="another run may write there"):
            holder.check()


def test_a_renewal_whose_replies_were_lost_is_known_as_our_own_later(far_bucket: Bucket, proxy: s3.Proxy) -> None:
    holder = Holder(far_bucket, "lock", lease_s=60.0, renewal_s=0.05)
    lost = QUICK.attempts + 1

    def rule(method: str, _path: str) -> str | None:
        nonlocal lost
        lost -= 1
        return ("lost" if method == "PUT" else "503") if lost >= 0 else None

    with holder.hold():
        proxy.rule = rule
        wait_until(lambda: lost < -5, every_s=0.05)
        assert not holder._is_lost
        holder.check()
    assert far_bucket.find("lock") is None


def test_a_run_that_ends_by_an_error_does_not_wait_for_a_server_that_never_answers(
    far_bucket: Bucket, proxy: s3.Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastinfer.storage.lease.RELEASE_S", 0.2)

    def hold(renewal_s: float) -> None:
        with Holder(far_bucket, "lock", renewal_s=renewal_s).hold():
            proxy.rule = lambda _method, _path: "silence"
            time.sleep(0.2)
            raise KeyboardInterrupt

    for renewal_s in (0.05, 60.0):  # the renewal is under way, or the lease is given back
        proxy.rule = lambda _method, _path: None
        far_bucket.delete("lock")
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            hold(renewal_s)
        assert time.monotonic() - started < QUICK.short_request_s


def test_several_renewals_that_are_not_answered_fit_into_a_lease() -> None:
    assert 3 * (Patience().short_request_s + Patience().longest_backoff_s / 2) < LEASE_S - RENEWAL_S


def test_a_request_of_a_lease_waits_only_a_short_time(far_bucket: Bucket, proxy: s3.Proxy) -> None:
    proxy.rule = s3.once("silence")
    started = time.monotonic()
    assert far_bucket.write_lease("lock", b"{}", None)
    assert time.monotonic() - started < QUICK.large_request_s


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 1000.0
        monkeypatch.setattr(lease, "now", lambda: self.time)


def test_a_request_begins_only_if_the_lease_lasts_until_it_has_ended(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    holder = Holder(bucket, "lock", lease_s=60.0, renewal_s=1000.0)
    with holder.hold():
        clock.time += 59.0
        holder.check()
        with beginning_within(0.0), pytest.raises(ServiceError, match="too slow"):
            holder.check(LEASE_S - MARGIN_S - 58.0)  # a renewal would have to be waited for
        clock.time += 1.0
        with pytest.raises(OutputError, match="another run may write there"):
            holder.check()


def test_a_request_with_a_long_limit_gets_a_longer_lease_first(bucket: Bucket) -> None:
    holder = Holder(bucket, "lock")
    with holder.hold():
        with holder.writing(500.0):
            assert bucket.find("lock")  # each request is checked
            kept = bucket.read_lease("lock")
            assert kept is not None
            assert (facts_of(kept.text).lease_s or 0) >= 500.0 + MARGIN_S + RENEWAL_S
        assert holder._left_s() > 500.0 + MARGIN_S


def test_no_request_of_a_run_is_under_way_when_its_lease_ends() -> None:
    patience = Patience()
    for limit_s in (patience.request_s, patience.longest_short_s):
        assert limit_s + MARGIN_S + 2 * RENEWAL_S <= LEASE_S  # it begins without waiting, also if one renewal failed


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="only Linux has this clock")
def test_the_time_goes_on_while_the_machine_sleeps(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Holder(bucket, "lock", renewal_s=1000.0)
    with holder.hold():
        holder.check()
        asleep = time.clock_gettime(time.CLOCK_BOOTTIME) + LEASE_S
        monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: asleep}.__getitem__)
        with pytest.raises(OutputError, match="another run may write there"):
            holder.check()


def test_a_lease_is_given_back_when_nothing_is_written_any_more(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastinfer.storage.lease.RELEASE_S", 0.1)
    holder = Holder(bucket, "lock")
    has_begun, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with holder.writing(1.0):
            has_begun.set()
            may_end.wait(60)

    def run() -> None:
        with holder.hold():
            writer.start()
            has_begun.wait(60)
            raise KeyboardInterrupt

    writer = threading.Thread(target=write)
    with pytest.raises(KeyboardInterrupt):
        run()
    with pytest.raises(OutputError, match="another run may write there"):
        holder.check()  # no further attempt begins
    assert bucket.find("lock") is not None
    monkeypatch.setattr("fastinfer.storage.lease.RELEASE_S", 10.0)
    may_end.set()
    wait_until(lambda: bucket.find("lock") is None, every_s=0.05)


def test_the_lease_of_the_next_run_is_not_removed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with Holder(bucket, "lock", renewal_s=1000.0).hold():
        bucket.put("lock", elsewhere())
        clock.time += LEASE_S
    assert bucket.find("lock") is not None


def test_another_process_looks_at_the_lease_as_often_as_it_must(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    looks: list[str] = []
    look = bucket.read_lease

    def count(key: str) -> Any:
        looks.append(key)
        return look(key)

    with Holder(bucket, "lock", renewal_s=1000.0).hold():
        kept = look("lock")
        assert kept is not None
        monkeypatch.setattr(bucket, "read_lease", count)
        witness = Witness(bucket, "lock", facts_of(kept.text).holder)
        for _ in range(3):
            witness.check(20.0)
            witness.check(10_000.0)  # as long as the lease allows
        assert len(looks) == 1
        clock.time += LEASE_S
        witness.check()
        assert len(looks) == 2
    clock.time += LEASE_S
    bucket.delete("lock")
    with pytest.raises(OutputError, match="another run may write there"):
        witness.check(10_000.0)
