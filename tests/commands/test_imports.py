"""What a command imports: all of it takes time in every run, so each module is named, and a new one is added on purpose."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastinfer.models.load import load_any_model
from fastinfer.models.module import load_model
from fastinfer.options import Options
from fastinfer.runtimes import load_runtime
from fastinfer.runtimes.batch_size import choose_batching

# The modules of fastinfer: those of --help, what --dry-run has besides, and what a run on threads has besides that.
HELP = """
_version commands commands._model commands._request commands._run commands.transform engine engine.request error_codes errors
extras options records records.compression storage storage.base storage.expanded storage.regular storage.uri
"""
DRY_RUN = """
_native _native.files engine.code_model engine.requests engine.source models models.choice models.code models.files
models.graph models.inputs models.load models.module models.operators models.params outputs outputs.folder outputs.label
outputs.layout outputs.leftovers outputs.rejects outputs.run_record python_text storage.atomic storage.claim storage.exclusive
storage.journal
storage.label_log storage.listing storage.local storage.local_file storage.places storage.selection storage.writer
"""
RUN = """
_native.text codecs codecs.base codecs.csv codecs.csv_errors codecs.json_rows commands._bar engine.backends engine.batch
engine.formats engine.gather engine.job engine.lanes engine.opened engine.plan engine.process engine.progress engine.provenance
engine.recorder engine.repeated engine.run engine.summary engine.worker
machine outputs.assembly outputs.writer records.line_counts
records.reading records.spans runtimes runtimes.base runtimes.batch_size runtimes.ladder runtimes.mxnet
runtimes.mxnet.bound
runtimes.mxnet.dense_rows runtimes.mxnet.empty_shapes runtimes.mxnet.graph runtimes.mxnet.inner_shapes runtimes.mxnet.layouts
runtimes.mxnet.libmxnet
runtimes.mxnet.resources runtimes.mxnet.row_wise
runtimes.mxnet.runtime runtimes.mxnet.settings runtimes.mxnet.slices runtimes.mxnet.symbol runtimes.mxnet.unfused
runtimes.mxnet.unread runtimes.mxnet.value_checks runtimes.mxnet.vectorized
runtimes.pool runtimes.predictions runtimes.probe_cache runtimes.provenance runtimes.refused
"""
# What a dry run has and a run has not.
DRY_RUN_ALONE = """
engine.requests
"""
# Other packages, and modules of the standard library that take more than a millisecond and that these runs have no use for.
HEAVY = """
aiohttp asyncio boto3 bz2 concurrent.futures joblib logging lzma multiprocessing mxnet numpy onnxruntime platform random
shutil socket tempfile tqdm traceback unittest urllib.request
"""
HASHING = "hashlib"  # a dry run makes no digest where there are no results
SCRIPT = """
import sys
from fastinfer.commands.transform import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""


# What a run of a model in ONNX has instead of MXNet's modules.
ONNX_RUN = """
models.onnx models.onnx_random models.onnx_schema models.onnx_values models.protobuf runtimes.libonnxruntime
runtimes.number_types runtimes.onnx runtimes.onnx_inputs
"""


def modules_of(*arguments: str) -> set[str]:
    """The modules that a command has when it ends."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def own(modules: set[str]) -> set[str]:
    return {name.partition(".")[2] for name in modules if name.startswith("fastinfer.")}


@pytest.mark.parametrize("options", ["--help", "--dry-run", "--quiet"])
def test_a_command_imports_what_it_needs_and_no_more(options: str, samples: Path, mlp: Path, tmp_path: Path) -> None:
    expected = set(HELP.split())
    arguments = [options]
    if options != "--help":
        arguments += [str(samples), str(tmp_path / "out"), "--model", str(mlp), "--quiet"]
        expected |= set(DRY_RUN.split())
    if options == "--quiet":
        choose_batching(load_runtime(), load_model(mlp), Options())  # from here on the probe's answer is known
        expected = expected - set(DRY_RUN_ALONE.split()) | set(RUN.split())
    modules = modules_of(*arguments)
    assert own(modules) == expected
    assert not modules & set((HEAVY if options == "--quiet" else f"{HEAVY} {HASHING}").split())


def test_a_run_of_a_model_in_onnx_imports_neither_numpy_nor_onnxruntime(samples: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tests.models.test_onnx import info, make  # late: it needs onnx

    path = tmp_path / "model.onnx"
    path.write_bytes(make([info("x", ["n", 784])], [info("y", ["n", 784])]))
    choose_batching(load_runtime("onnx"), load_any_model(path), Options())  # from here on the probe's answer is known
    modules = modules_of(str(samples), str(tmp_path / "out"), "--model", str(path), "--quiet")
    expected = set(f"{HELP} {DRY_RUN} {RUN} {ONNX_RUN}".split()) - set(DRY_RUN_ALONE.split())
    assert own(modules) == {name for name in expected if "mxnet" not in name}
    assert not modules & set(HEAVY.split())
