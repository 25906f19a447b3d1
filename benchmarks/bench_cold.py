"""Whole processes from a cold start, beside `python -c "import mxnet"` and `python -c "import numpy"` in the same run.

Those with a model in ONNX need onnx and onnxruntime.

What is timed includes the interpreter's start and end. Commands take turns, so that a busy minute of the machine meets all of
them; the minimum of each counts. What the batch-size probe finds is kept before: it runs once per model and machine.

    python -m benchmarks.bench_cold [--rounds 9] [--cpu] [--baseline FOLDER]

``--cpu`` compares the processor's time instead of the clock's, for a machine that is busy with something else; ``--baseline``
is another checkout, built, whose commands are timed beside these.
"""

from __future__ import annotations

import argparse
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

from benchmarks import inputs
from benchmarks.conftest import Keep
from benchmarks.environment import AS_STARTED
from fastinfer.export.convert import export_model
from fastinfer.models.module import SHIPPED_MODEL, load_model

ROOT = Path(__file__).parent.parent
ONNX, ONNX_SESSION = "1,000 files, model.onnx", "import onnxruntime, a session"
# What a program takes that opens a session by onnxruntime's Python package, and does no more.
SESSION = """
import onnxruntime, sys
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""
# (what, compared with, the most it may take of that)
GOALS = [
    ("1,000 files", "import mxnet", 0.28),
    ("1,000 files", "import numpy", 2.8),
    ("1 file", "import numpy", 2.5),
    (ONNX, "import numpy", 2.0),
    (ONNX, "1,000 files", 1.0),
    ("1,000 files, baseline", "1,000 files", None),
    ("processes, baseline", "processes", None),
    ("--help, baseline", "--help", None),
    ("--dry-run, baseline", "--dry-run", None),
]
SERVE, SERVE_GOAL_S = "serve's first answer", 0.4
PING_S = 30.0


def python(*arguments: str, root: Path = ROOT) -> list[float]:
    """Runs Python to its end: seconds by the clock, and of the processor."""
    environment = {**AS_STARTED, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    # In the other checkout: its package is found first there.
    subprocess.run([sys.executable, *arguments], check=True, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return [seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime]


@contextmanager
def serving(root: Path) -> Iterator[int]:
    """A server of its own; gives its port at once, before it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**AS_STARTED, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "fastinfer.serve", "--quiet", "--port", str(port)]
    server = subprocess.Popen(command, cwd=root, env=environment)
    try:
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def first_answer(body: bytes, root: Path = ROOT) -> list[float]:
    """Seconds from the start of a server to its first answer to a request; the processor's time is not known."""
    started = time.perf_counter()
    with serving(root) as port:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "text/csv", "Accept": "application/json"}
        )
        while True:
            try:
                with urllib.request.urlopen(request, timeout=PING_S) as answer:
                    assert answer.read().startswith(b"[[")
                break
            except OSError:  # not listening yet, or the model is not loaded yet
                if time.perf_counter() - started > PING_S:
                    raise
                time.sleep(0.002)
        seconds = time.perf_counter() - started
    return [seconds, seconds]


def commands(folder: Path, root: Path, suffix: str = "") -> dict[str, Callable[[], list[float]]]:
    """What is timed, by name."""
    numbers = iter(range(1_000_000))

    def transform(source: str, *options: str) -> list[float]:
        output = folder / f"out{suffix}-{next(numbers)}"
        return python("-m", "fastinfer.transform", str(folder / source), str(output), "--quiet", *options, root=root)

    line = inputs.text("fixed").splitlines(keepends=True)[0]
    return {
        f"1,000 files{suffix}": lambda: transform("many"),
        f"1,000 files --exact{suffix}": lambda: transform("many", "--exact"),
        f"1 file{suffix}": lambda: transform("one"),
        f"{ONNX}{suffix}": lambda: transform("many", "--model", str(folder / "model.onnx")),
        f"processes{suffix}": lambda: transform("many", "--backend", "processes"),
        f"--dry-run{suffix}": lambda: transform("many", "--dry-run"),
        f"--help{suffix}": lambda: python("-m", "fastinfer.transform", "--help", root=root),
        f"{SERVE}{suffix}": lambda: first_answer(line, root),
    }


def sources(folder: Path) -> None:
    """The inputs, a thousand files of one image, and one; and the shipped model in ONNX."""
    (folder / "model.onnx").write_bytes(export_model(load_model(SHIPPED_MODEL), "model.onnx").onnx.content)
    for name, count in (("many", 1000), ("one", 1)):
        (folder / name).mkdir()
        for number, line in enumerate(inputs.text("fixed").splitlines(keepends=True)[:count]):
            (folder / name / f"{number:04}.csv").write_bytes(line)


def everything(folder: Path, baseline: Path | None = None) -> dict[str, Callable[[], list[float]]]:
    """All that is timed, by name."""
    return {
        "python -c pass": lambda: python("-c", "pass"),
        "import numpy": lambda: python("-c", "import numpy"),
        "import mxnet": lambda: python("-c", "from fastinfer.runtimes.mxnet.library import load_mxnet; load_mxnet()"),
        ONNX_SESSION: lambda: python("-c", SESSION, str(folder / "model.onnx")),
        **commands(folder, ROOT),
        **(commands(folder, baseline, ", baseline") if baseline else {}),
    }


def measure(timed: dict[str, Callable[[], list[float]]], rounds: int) -> dict[str, list[float]]:
    """The least seconds of each, by the clock and of the processor."""
    found: dict[str, list[list[float]]] = {name: [] for name in timed}
    for number in range(rounds + 1):
        for name, run in timed.items():
            seconds = run()
            if number:  # the first round fills caches: of files, of compiled modules, of the probe
                found[name].append(seconds)
    return {name: [min(each) for each in zip(*rounds)] for name, rounds in found.items()}


def bench_cold_commands(tmp_path: Path, keep: Keep) -> None:
    sources(tmp_path)
    least = measure(everything(tmp_path), rounds=5)
    for name in (
        "1,000 files",
        "1,000 files --exact",
        "1 file",
        ONNX,
        ONNX_SESSION,
        "processes",
        "--dry-run",
        "--help",
    ):
        for other in ("import numpy", "import mxnet"):
            ratio = least[name][0] / least[other][0]
            keep(f"{name}/{other}", f"the whole command, {name} / {other}", ratio, "times", better="lower")
    keep("serve", SERVE, least[SERVE][0], "s", better="lower")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cpu", action="store_true", help="compare the processor's time")
    parser.add_argument("--baseline", type=Path, metavar="FOLDER", help="another checkout, built")
    parser.add_argument("--only", metavar="TEXT", help="only what has this in its name, and the two imports")
    arguments = parser.parse_args()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        folder = Path(place)
        sources(folder)
        timed = everything(folder, arguments.baseline)
        if arguments.only:
            timed = {name: run for name, run in timed.items() if name.startswith(("import", arguments.only))}
        least = measure(timed, arguments.rounds)
    print(
        f"{'':<36} clock, s   CPU, s   x numpy   x mxnet   ({'CPU' if arguments.cpu else 'clock'}, least of {arguments.rounds})"
    )
    column = 1 if arguments.cpu else 0
    for name, (clock, cpu) in least.items():
        ratios = [least[name][column] / least[other][column] for other in ("import numpy", "import mxnet")]
        print(f"{name:<36} {clock:>8.3f} {cpu:>8.3f} {ratios[0]:>9.2f} {ratios[1]:>9.3f}")
    for name, other, goal in GOALS:
        if name in least and other in least:
            ratio = least[name][column] / least[other][column]
            print(
                f"{name} / {other}: {ratio:.2f}"
                + (f" (goal {goal}: {'met' if ratio <= goal else 'MISSED'})" if goal else "")
            )
    if SERVE in least:
        print(f"{SERVE}: {least[SERVE][0]:.3f} s (goal {SERVE_GOAL_S})")


if __name__ == "__main__":
    main()
