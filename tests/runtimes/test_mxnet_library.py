"""The door to mxnet: what it puts back, what it says where something is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fastinfer.errors import ConfigError
from fastinfer.runtimes.mxnet.libmxnet import count_gpus
from fastinfer.runtimes.mxnet.library import ndarray_memory, open_contexts
from tests.networks import mx


def test_a_module_that_mxnet_needs_is_named() -> None:
    script = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "requests":
            raise ModuleNotFoundError("No module named 'requests'", name=name)
sys.meta_path.insert(0, Hidden())
sys.modules.pop("requests", None)
from fastinfer.runtimes.mxnet.library import load_mxnet
load_mxnet()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "mxnet cannot be imported: it needs the module 'requests'. Hint: pip install requests" in done.stderr


def test_an_ndarray_that_cannot_be_written_in_place_is_refused() -> None:
    for array in (mx.nd.zeros((2, 2), dtype="float64"), mx.nd.zeros((2, 2)).tostype("csr")):
        with pytest.raises(ValueError, match="expected"):
            ndarray_memory(array)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert open_contexts([("cpu", 0)]) == [mx.cpu()]
    if count_gpus():  # a machine with one: its last index is there, the next is not
        assert open_contexts([("gpu", count_gpus() - 1)])
    with pytest.raises(ConfigError, match="there is no gpu:99"):
        open_contexts([("gpu", 99)])


def test_a_stderr_that_cannot_be_written_does_not_stop_the_import() -> None:
    script = """
import contextlib, os, threading
from fastinfer.runtimes.mxnet.compat import install_hint
from fastinfer.runtimes.mxnet.library import load_mxnet

def talk():  # as a server's log does meanwhile
    while not done.wait(0.001):
        with contextlib.suppress(OSError):
            os.write(2, b"GET /ping\\n")

done = threading.Event()
talking = threading.Thread(target=talk)
talking.start()
try:
    load_mxnet()
    print("imported")
finally:
    done.set()
    talking.join()
"""
    with open("/dev/full", "w") as full:
        run = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=full, text=True)
    assert run.stdout == "imported\n"
