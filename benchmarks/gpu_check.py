"""ONNX Runtime on a GPU, checked in about three minutes: ``python gpu_check.py [--provider cuda|cpu] MODEL.onnx ...``.

For a machine with a GPU that has nothing but Python, NumPy, onnxruntime-gpu (with CUDA and cuDNN as that needs them), and
``model.onnx`` files that `fastinfer export` wrote, with their certificates beside them. It needs no other file of this
project. Of each model it prints

- against the CPU, on the same rows: the largest difference, and how many labels differ;
- against MXNet's answers, where the certificate has some;
- whether a row's bits depend on its batch: at several sizes and places;
- images a second by batch size;

and for the first model one long file of CSV end to end, if fastinfer is installed there. ``--provider cpu`` runs the
same checks without a GPU. The exit code is 1 if a label or the bits of a row differ.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import onnxruntime

ROWS = 480
BATCH_SIZES = (1, 16, 64, 240, 480, 1024)
SECONDS = 2.0
PROVIDERS: dict[str, list[Any]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": [("CUDAExecutionProvider", {"device_id": "0", "use_tf32": "0"}), "CPUExecutionProvider"],
}
LONG_FILE_ROWS = 200_000


def open_session(path: str, provider: str) -> onnxruntime.InferenceSession:
    session = onnxruntime.InferenceSession(path, providers=PROVIDERS[provider])
    wanted = PROVIDERS[provider][0]
    name = wanted if isinstance(wanted, str) else wanted[0]
    if name not in session.get_providers():
        sys.exit(f"onnxruntime {onnxruntime.__version__} cannot start {name}; it has {session.get_providers()}")
    return session


def make_rows(session: onnxruntime.InferenceSession, count: int) -> dict[str, np.ndarray]:
    """Rows for all inputs, of several magnitudes; indices from 0 to 1 for inputs of whole numbers."""
    random = np.random.RandomState(7)
    rows = {}
    for given in session.get_inputs():
        shape = (count, *given.shape[1:])
        if given.type == "tensor(float)":
            scale = np.exp2(-(np.arange(count) % 8)).reshape(-1, *[1] * (len(shape) - 1))
            rows[given.name] = (random.uniform(-1, 1, shape) * scale).astype(np.float32)
        else:
            kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
            rows[given.name] = random.randint(0, 2, shape).astype(kinds[given.type])
    return rows


def run(session: onnxruntime.InferenceSession, rows: dict[str, np.ndarray], size: int, blank: int = 0) -> np.ndarray:
    """The first output for all rows, in batches of one size; `blank` rows of zeros are put before the first."""
    count = len(next(iter(rows.values())))
    total = -(-(count + blank) // size) * size
    padded = {name: np.zeros((total, *each.shape[1:]), each.dtype) for name, each in rows.items()}
    for name, each in rows.items():
        padded[name][blank : blank + count] = each
    parts = []
    for first in range(0, total, size):
        part = {name: each[first : first + size] for name, each in padded.items()}
        parts.append(session.run(None, part)[0])
    found = np.concatenate(parts)
    per_row = len(found) // total
    return found[blank * per_row : (blank + count) * per_row]


def labels(found: np.ndarray) -> np.ndarray:
    return found.argmax(axis=1) if found.ndim > 1 else found


def compare(found: np.ndarray, expected: np.ndarray) -> tuple[float, float, int]:
    """The largest difference, the same relative to its row's largest value, and how many labels differ."""
    difference = np.abs(found.astype(np.float64) - expected).reshape(len(expected), -1)
    scale = np.abs(expected).reshape(len(expected), -1).max(axis=1, keepdims=True)
    relative = difference / np.where(scale > 0, scale, 1)
    several = expected.ndim == 2 and expected.shape[1] > 1
    changed = int((labels(found) != labels(expected)).sum()) if several else 0
    return float(difference.max()), float(relative.max()), changed


def stored(path: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The rows and MXNet's answers that the certificate has."""
    if not os.path.exists(f"{path}.json"):
        return None
    with open(f"{path}.json", encoding="utf-8") as file:
        kept = json.load(file)["stored"]
    rows, answers = (
        np.frombuffer(base64.b64decode(each["values"]), each["dtype"]).reshape(each["shape"])
        for each in (kept["rows"], kept["outputs"][0])
    )
    return rows, answers


def split(session: onnxruntime.InferenceSession, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Flat rows as what each input gets of them."""
    parts, column = {}, 0
    for given in session.get_inputs():
        width = int(np.prod(given.shape[1:]))
        dtype = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}[given.type]
        parts[given.name] = rows[:, column : column + width].reshape(len(rows), *given.shape[1:]).astype(dtype)
        column += width
    return parts


def check(path: str, provider: str) -> bool:
    """Checks a model; returns whether labels and bits hold."""
    device, host = open_session(path, provider), open_session(path, "cpu")
    rows = make_rows(device, ROWS)
    alone = run(device, rows, 1)
    absolute, relative, changed = compare(alone, run(host, rows, 1))
    found = f"largest difference {absolute:.2g} ({relative:.2g} of its row), {changed} labels differ"
    print(f"  against the CPU, {ROWS} rows: {found}")
    holds = changed == 0
    kept = stored(path)
    if kept is not None:
        absolute, relative, changed = compare(run(device, split(device, kept[0]), 1), kept[1])
        print(
            f"  against MXNet, {len(kept[0])} rows: {absolute:.2g} ({relative:.2g} of its row), {changed} labels differ"
        )
        holds = holds and changed == 0
    for size in (size for size in BATCH_SIZES if size > 1):
        places = sorted({0, 1, size // 2, size - 1})
        same = [run(device, rows, size, place).tobytes() == run(device, rows, size).tobytes() for place in places]
        like_alone = run(device, rows, size).tobytes() == alone.tobytes()
        print(
            f"  batch size {size:>5}: a row's bits are {'the same' if all(same) else 'OTHERS'} at places {places}"
            f"{', and those of the row alone' if like_alone else ''}"
        )
        holds = holds and all(same)
    for size in BATCH_SIZES:
        part = make_rows(device, size)
        device.run(None, part)
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < SECONDS / len(BATCH_SIZES):
            device.run(None, part)
            count += size
        print(f"  batch size {size:>5}: {count / (time.perf_counter() - started):>12,.0f} rows/s")
    return holds


def long_file(path: str, provider: str) -> None:
    """One file of CSV through `fastinfer transform`, if it is there."""
    try:
        import fastinfer  # noqa: F401
    except ImportError:
        print("  fastinfer is not installed: no run of a long file")
        return
    session = open_session(path, "cpu")
    width = sum(int(np.prod(given.shape[1:])) for given in session.get_inputs())
    count = min(LONG_FILE_ROWS, 100_000_000 // width)
    with tempfile.TemporaryDirectory() as folder:
        line = b",".join(b"%d" % value for value in np.random.RandomState(7).randint(0, 256, width)) + b"\n"
        with open(f"{folder}/long.csv", "wb") as file:
            file.write(line * count)
        device = {"cuda": "gpu:0", "cpu": "cpu"}[provider]
        command = [
            sys.executable,
            "-m",
            "fastinfer",
            "transform",
            f"{folder}/long.csv",
            f"{folder}/out",
            "--model",
            path,
        ]
        done = subprocess.run([*command, "--device", device, "--json", "--quiet"], capture_output=True, text=True)
        if done.returncode:
            print(f"  a long file: {done.stderr.strip()}")
            return
        summary = json.loads(done.stdout)
        print(f"  a file of {count:,} rows, end to end: {summary['records_per_second']:,.0f} rows/s")


def describe_card() -> str:
    """The GPU's name and its driver."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"nvidia-smi does not answer: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL.onnx")
    parser.add_argument("--provider", choices=list(PROVIDERS), default="cuda")
    arguments = parser.parse_args()
    print(f"onnxruntime {onnxruntime.__version__}, {onnxruntime.get_available_providers()}, NumPy {np.__version__}")
    if arguments.provider == "cuda":
        print(describe_card())
    holds = True
    for path in arguments.models:
        print(path)
        holds = check(path, arguments.provider) and holds
    long_file(arguments.models[0], arguments.provider)
    print("all labels and bits hold" if holds else "LABELS OR BITS DIFFER")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
