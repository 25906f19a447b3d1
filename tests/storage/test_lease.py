"""One run at a time writes to a folder of S3; what a killed run leaves ends by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from fastinfer.errors import ConfigError, OutputError
from fastinfer.storage.lease import Holder, _process
from fastinfer.storage.s3_client import Bucket
from tests.conftest import wait_until


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
    assert weed_bucket.write_lease("lock", elsewhere(lease_s=3.0), None)
    started = time.monotonic()
    with pytest.warns(RuntimeWarning, match="waiting until"), Holder(weed_bucket, "lock", lease_s=4.0).hold():
        waited = time.monotonic() - started
    assert 1.5 < waited < 30


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
