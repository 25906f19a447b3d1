"""The door to libmxnet: which file it is, what is said where it is missing, and that mxnet's Python package stays out."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastinfer.errors import ConfigError
from fastinfer.runtimes.mxnet import libmxnet
from fastinfer.runtimes.mxnet.compat import install_hint
from fastinfer.runtimes.mxnet.libmxnet import (
    MXNetError,
    blas,
    build,
    check,
    check_devices,
    count_gpus,
    features,
    find_library,
    first_line,
    is_started,
    load_libmxnet,
    version,
)
from fastinfer.runtimes.mxnet.library import load_mxnet


def test_the_library_is_loaded_once_and_told_about() -> None:
    assert load_libmxnet() is load_libmxnet({"OMP_NUM_THREADS": "7"})
    assert is_started()
    assert version() == load_mxnet().__version__
    assert features() == {name: each.enabled for name, each in load_mxnet().runtime.Features().items()}
    assert (count_gpus() > 0) <= features()["CUDA"]


def test_its_build_is_told_apart_from_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listed = subprocess.run(["readelf", "-n", find_library()], capture_output=True, text=True, check=True).stdout
    assert f"Build ID: {build()}\n" in listed
    other = tmp_path / "libmxnet.so"
    monkeypatch.setattr(libmxnet, "load_libmxnet", lambda: SimpleNamespace(_name=str(other)))
    found = set()
    for content in (b"a", b"b", b"ab"):  # without an id
        other.write_bytes(content)
        build.cache_clear()
        found.add(build())
    build.cache_clear()
    assert len(found) == 3


def test_the_code_of_openblas_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "from fastinfer.runtimes.mxnet.libmxnet import blas; print(blas())"
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Core2"}
    assert subprocess.check_output([sys.executable, "-c", script], env=environment, text=True) == "Core2\n"
    monkeypatch.setattr(libmxnet, "load_libmxnet", SimpleNamespace)
    assert blas() is None


def test_mxnets_package_has_the_same_library() -> None:
    assert find_library() == load_mxnet().base._LIB._name
    assert load_libmxnet()._handle == load_mxnet().base._LIB._handle


def test_the_file_is_the_one_that_mxnets_package_would_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "mxnet", raising=False)
    package = Path(find_library())
    assert package.name == "libmxnet.so"
    other = tmp_path / "libmxnet.so"
    other.touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{tmp_path}")
    assert find_library() == str(other)
    named = tmp_path / "mine.so"
    monkeypatch.setenv("MXNET_LIBRARY_PATH", str(named))
    assert find_library() == str(other)  # it is not there
    named.touch()
    assert find_library() == str(named)
    monkeypatch.setenv("MXNET_LIBRARY_PATH", os.path.relpath(named))
    assert find_library() == str(other)  # as mxnet does, which warns


def test_a_missing_library_is_named_with_its_debian_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError("libgomp.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(libmxnet, "_loaded", None)
    monkeypatch.setattr(libmxnet, "_dlopen", fail)
    with pytest.raises(ConfigError) as caught:
        load_libmxnet()
    assert caught.value.code == "mxnet_broken"
    assert str(caught.value) == (
        "mxnet cannot be loaded: libgomp.so.1: cannot open shared object file: No such file or directory. "
        "Hint: apt-get install libgomp1 (the Debian package of libgomp.so.1)"
    )


def test_a_file_that_is_no_library_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "libmxnet.so"
    broken.write_bytes(b"no ELF")
    monkeypatch.setattr(libmxnet, "_loaded", None)
    monkeypatch.delitem(sys.modules, "mxnet", raising=False)
    monkeypatch.setenv("MXNET_LIBRARY_PATH", str(broken))
    with pytest.raises(ConfigError, match=r"mxnet cannot be loaded: .*libmxnet\.so"):
        load_libmxnet()


def test_a_missing_mxnet_is_reported_in_one_line(samples: Path, tmp_path: Path) -> None:
    script = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "mxnet":
            raise ModuleNotFoundError("No module named 'mxnet'", name=name)
sys.meta_path.insert(0, Hidden())
from fastinfer.commands.transform import main
sys.exit(main(sys.argv[1:]))
"""
    done = subprocess.run([sys.executable, "-c", script, samples, tmp_path, "--quiet"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"error: mxnet is not installed. Hint: {install_hint()}\n"


def test_what_mxnet_says_of_an_error_is_one_line() -> None:
    with pytest.raises(MXNetError, match=r"^[^\n]+$"):
        check(load_libmxnet().MXSymbolCreateFromJSON(b"{", ctypes.byref(ctypes.c_void_p())))
    trace = "Traceback (most recent call last):\n  File x, line 1\nMXNetError: Check failed: a == b\nmore"
    assert first_line(Exception(trace)) == "Check failed: a == b"
    assert first_line(ValueError()) == "ValueError"


def test_a_gpu_that_is_not_there_is_refused() -> None:
    check_devices([("cpu", 0), ("cpu", 7)])
    with pytest.raises(ConfigError, match="there is no gpu:99") as caught:
        check_devices([("cpu", 0), ("gpu", 99)])
    assert caught.value.code == "no_such_device"


# No module of an inference run imports mxnet.

TRANSFORM = "from fastinfer.commands.transform import main; main([{rows!r}, {out!r}, '--model', {model!r}, '--quiet']"
INFERENCE = {
    "transform": f"{TRANSFORM})",
    "exact": f"{TRANSFORM} + ['--exact'])",
    "processes": f"{TRANSFORM} + ['--backend', 'processes'])",
    "Predictor": (
        "import fastinfer; p = fastinfer.Predictor({model!r}); p.answer(b'1,2'); p.answer(b'[[[1],[2]]]', 'application/json')"
    ),
    "handler": "from fastinfer.handlers.hooks import load_handler; load_handler({model!r}).answer(b'1,2', 'text/csv')",
    "server": "import fastinfer.serving.http, fastinfer.commands.serve, fastinfer.sagemaker.transform_job",
    "doctor": "from fastinfer.commands.doctor import main; main([])",
}


@pytest.mark.parametrize("name", INFERENCE)
def test_no_inference_imports_mxnets_package(name: str, linear: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("1,2\n3,4\n")
    watch = tmp_path / "watch"
    watch.mkdir()
    # Also in processes that the run starts: whichever imports it, leaves a file.
    (watch / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'mxnet.base':\n"
        f"            open({str(tmp_path / 'imported')!r}, 'w').close()\n"
        "sys.meta_path.insert(0, Watch())\n"
    )
    script = INFERENCE[name].format(rows=str(rows), out=str(tmp_path / "out"), model=str(linear))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(watch), *sys.path])}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True)
    assert not (tmp_path / "imported").exists()
    if name in ("transform", "exact", "processes"):
        assert (tmp_path / "out" / "rows.csv.out").read_text().startswith("[[")
