"""Instructions that the kernels take for an image, counted by valgrind's callgrind: guards against regressions.

Seconds are noisy, instructions are not. ``python benchmarks/instructions.py`` compares with instructions.json beside it
and exits with 1 where a kernel takes 3 % more; ``--update`` writes the file. Without valgrind it says so and exits with
0. The counts are those of GCC 12 and AVX2.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import inputs

HERE = Path(__file__).parent
ROOT = HERE.parent
EXPECTED = HERE / "instructions.json"
TOLERANCE = 1.03
COMPILER = "12"
IMAGES = 100


def main(update: bool) -> int:
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed (on Debian: apt-get install valgrind)")
        return 1 if os.environ.get("FASTINFER_SKIP_NOTHING") else 0
    version = subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=True).stdout.split(".")[0]
    if version.strip() != COMPILER:
        print(f"skipped: the expected counts are those of GCC {COMPILER}, here is {version.strip()}")
        return 1 if os.environ.get("FASTINFER_SKIP_NOTHING") else 0
    with tempfile.TemporaryDirectory() as folder:
        driver = Path(folder) / "count"
        sources = [str(HERE / "count_kernels.cpp"), *sorted(str(path) for path in (ROOT / "csrc").glob("*.cpp"))]
        flags = ["-std=c++17", "-O3", "-fno-exceptions", f"-I{ROOT / 'csrc'}"]
        subprocess.run(["g++", *flags, *sources, "-o", str(driver)], check=True)
        found = {}
        for name in inputs.NAMES:
            path = Path(folder) / name
            path.write_bytes(b"".join(inputs.text(name).splitlines(keepends=True)[:IMAGES]))
            found[f"parse {name}"] = count(driver, "parse", path) // IMAGES
        path.write_bytes(inputs.probabilities()[:IMAGES].tobytes())
        found["format 10 values"] = count(driver, "format", path) // IMAGES
    if update:
        EXPECTED.write_text(json.dumps(found, indent=2) + "\n")
    expected = json.loads(EXPECTED.read_text())
    slower = [name for name in found if found[name] > expected[name] * TOLERANCE]
    for name, instructions in found.items():
        print(f"{name:<18} {instructions:>8} instructions an image, expected {expected[name]:>8}")
    if slower:
        print(f"more than expected: {', '.join(slower)}", file=sys.stderr)
    return 1 if slower else 0


def count(driver: Path, kernel: str, path: Path) -> int:
    """Instructions inside the kernel, with all that it calls."""
    # valgrind knows AVX2 but not every later set; the driver takes the best target that its CPU has.
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=run_kernel*"]
    result = subprocess.run([*command, str(driver), kernel, str(path)], capture_output=True, text=True, check=True)
    match = re.search(r"Collected : (\d+)", result.stderr)
    assert match is not None, result.stderr
    return int(match[1])


if __name__ == "__main__":
    sys.exit(main("--update" in sys.argv[1:]))
