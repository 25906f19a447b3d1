"""Models up to MXNet's own load, inference of shapes, bind and forward, in a child process: its death is a failure.

The child reads cases from its standard input (a length, then JSON) and answers each with one line, so its parent knows which
case it died of. Its memory and the time of a case are limited.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import select
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
MEMORY_BYTES = 6 << 30
CASE_S = 60


class Binder:
    """A child process that binds models; a new one where it died."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with this object)

    def __enter__(self) -> Binder:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._errors.close()

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def run(self, case: dict[str, Any]) -> str:
        """The child's answer: `ok`, or the code of its error. Raises AssertionError where it dies or takes too long."""
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.bind"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        content = json.dumps(case).encode()
        answer = b""
        with contextlib.suppress(BrokenPipeError):
            stdin.write(struct.pack("<I", len(content)) + content)
            stdin.flush()
            in_time = select.select([stdout], [], [], CASE_S)[0]
            answer = stdout.readline() if in_time else b"! it takes too long"
        if not answer or answer.startswith(b"!"):
            died = self._child.poll() if answer else self._child.wait()
            self._end()
            self._errors.seek(0)
            words = self._errors.read()[-2000:].decode(errors="replace")
            self._errors.truncate(0)
            raise AssertionError(
                f"the process that binds ended ({died}) {answer.decode()}\n{words}\n{json.dumps(case)}"
            )
        return answer.decode().strip()


def _bind(mx: Any, case: dict[str, Any], folder: Path) -> None:
    """Loads and runs a model. Without parameters in the case, they are made as the graph wants them."""
    from fastinfer.models.files import MODEL_FILES
    from fastinfer.models.graph import read_graph
    from fastinfer.models.module import load_model
    from fastinfer.runtimes.mxnet.graph import MXNetExecutor
    from fastinfer.runtimes.mxnet.inner_shapes import load_symbol
    from fastinfer.runtimes.views import rows_of

    symbol_path, params_path, shapes_path = (folder / name for name in MODEL_FILES)
    symbol_path.write_text(case["symbol"], encoding="utf-8", errors="surrogatepass")
    shapes_path.write_text(json.dumps([{"name": "data", "shape": [1, *case["row_shape"]]}]))
    if "params" in case:
        params_path.write_bytes(base64.b64decode(case["params"]))
    else:
        graph = read_graph(case["symbol"], "x")
        saved = {}
        with contextlib.suppress(Exception):  # what goes wrong here does so again below
            symbol = load_symbol(graph.text)
            shapes = symbol.infer_shapes({"data": (1, *case["row_shape"])})
            assert shapes is not None
            needed = {
                f"arg:{name}": shape for name, shape in zip(symbol.arguments(), shapes.arguments) if name != "data"
            }
            needed.update({f"aux:{name}": shape for name, shape in zip(symbol.auxiliary(), shapes.auxiliary)})
            saved = {name: mx.nd.ones(shape) for name, shape in needed.items()}
        mx.nd.save(str(params_path), {"arg:unused": mx.nd.ones(1), **saved})
    model = load_model(folder)
    for batch_size, row_wise in case.get("graphs", [(1, False), (3, False), (3, True)]):
        executor = MXNetExecutor(model, ("cpu", 0), batch_size, row_wise=row_wise)
        for value in (0.5, -1e9, 1e9, float("nan")):  # a request holds a stranger's values, too
            rows_of(executor)[:] = value
            if executor.gives_a_row_each:
                executor.forward()


def main() -> None:
    """The child."""
    from fastinfer.errors import FastinferError
    from fastinfer.runtimes.mxnet.library import load_mxnet
    from fastinfer.runtimes.mxnet.settings import INFERENCE_SETTINGS

    mx = load_mxnet(INFERENCE_SETTINGS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    answers, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory() as folder:
        while length := sys.stdin.buffer.read(4):
            case = json.loads(sys.stdin.buffer.read(struct.unpack("<I", length)[0]))
            try:
                _bind(mx, case, Path(folder))
                answer = "ok"
            except FastinferError as error:
                answer = f"{error.code} {' '.join(str(error).split())[:300]}"
            except BaseException as error:
                answer = f"! {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            print(answer, file=answers, flush=True)


if __name__ == "__main__":
    main()
