"""Fuzzes readers of a stranger's bytes: `python -m tests.fuzz [TARGET ...] --seconds 60 --seed 1`.

With atheris the inputs are guided by coverage, one process a target; without it the kept inputs are changed at random. Half of
the changes are of bytes, half within a file's form. An input that fails is written to build/fuzz-TARGET. The target `bind`
changes graphs and parameters up to MXNet's own bind and forward.

What guided runs find is collected in build/corpus-TARGET; with `--keep` that is reduced to what reaches new code, and put into
tests/fuzz/found, where later runs begin.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from pathlib import Path

from tests.fuzz.bind import Binder
from tests.fuzz.targets import (
    CASE_BYTES,
    CORPUS,
    FOUND,
    TARGETS,
    cases,
    corpus,
    found,
    graph_cases,
    params_cases,
    run,
)

BUILD = Path(__file__).resolve().parent.parent.parent / "build"


def fuzz(name: str, seconds: float, seed: int) -> bool:
    """Whether a target held for that time."""
    end, count, held = time.monotonic() + seconds, 0, True
    slowest = 0.0
    for content in cases(name, seed):
        start = time.monotonic()
        if start > end:
            break
        held = holds(name, content)
        if not held:
            break
        slowest = max(slowest, time.monotonic() - start)
        count += 1
    print(f"{name}: {count:,} inputs in {seconds:.0f} s, the slowest {slowest:.2f} s", flush=True)
    return held


def holds(name: str, content: bytes) -> bool:
    """Whether a target takes an input; one that fails is written to build/fuzz-NAME."""
    try:
        run(name, content)
    except Exception:
        traceback.print_exc()
        keep(name, content)
        return False
    return True


def bind(seconds: float, seed: int) -> bool:
    """Whether the process that binds held for that time."""
    end, answers, held = time.monotonic() + seconds, {"ok": 0}, True
    with Binder() as binder:
        for case in itertools.chain.from_iterable(zip(graph_cases(seed), params_cases(seed))):
            if time.monotonic() > end:
                break
            try:
                answer = binder.run(case).split(" ")[0]
                answers[answer] = answers.get(answer, 0) + 1
            except AssertionError as error:
                print(error)
                keep("bind", json.dumps(case).encode())
                held = False
    print(f"bind: {sum(answers.values()):,} models in {seconds:.0f} s {answers}", flush=True)
    return held


def guided(name: str, seconds: float, seed: int) -> bool:
    """As :func:`fuzz`, by atheris, in a process of its own: it ends the process that it runs in."""
    folder = collect(name)
    done = run_guided(name, f"-max_total_time={seconds:.0f}", f"-seed={seed}", str(folder), str(CORPUS / name))
    lines = done.stderr.splitlines()
    print(
        f"{name} (guided): {next((line for line in reversed(lines) if line.startswith('Done')), 'failed')}", flush=True
    )
    if done.returncode:
        print("\n".join(lines[-40:]))
    return done.returncode == 0


def collect(name: str) -> Path:
    """The folder in which guided runs collect what they find, with what earlier ones have found."""
    folder = BUILD / f"corpus-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for content in found(name):
        (folder / hashlib.sha1(content).hexdigest()).write_bytes(content)  # as libFuzzer names them
    return folder


def run_guided(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.guided", name, f"-max_len={CASE_BYTES}"]
    command += [f"-artifact_prefix={BUILD}/fuzz-{name}-", "-rss_limit_mb=1024", "-timeout=20", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True)


def keep_found(name: str) -> bool:
    """Writes found/NAME.zip: of what was collected the inputs that reach code which no smaller one and no kept one reaches."""
    collected = collect(name)
    for path in collected.iterdir():  # a merge would leave out what fails, and say nothing
        if not holds(name, path.read_bytes()):
            return False
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(corpus(name)):
            Path(folder, f"kept-{number}").write_bytes(content)
        done = run_guided(name, "-merge=1", folder, str(collected))
        contents = sorted((path.name, path.read_bytes()) for path in Path(folder).iterdir())
    if "MERGE-OUTER: successful" not in done.stderr:
        print(done.stderr)
        return False
    FOUND.mkdir(exist_ok=True)
    with zipfile.ZipFile(FOUND / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for member, content in contents:
            if not member.startswith("kept-"):
                file.writestr(zipfile.ZipInfo(member), content, zipfile.ZIP_DEFLATED)  # without the time
        print(f"{name}: kept {len(file.namelist())} inputs")
    return True


def keep(name: str, content: bytes) -> None:
    BUILD.mkdir(exist_ok=True)
    (BUILD / f"fuzz-{name}").write_bytes(content)
    print(f"the input is in {BUILD}/fuzz-{name}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)} or bind (default: all)")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--keep", action="store_true", help="reduce and keep what guided runs have found, and run nothing"
    )
    arguments = parser.parse_args()
    if arguments.keep:
        if "bind" in arguments.targets:
            parser.error("--keep: bind is not guided")
        kept = [keep_found(name) for name in arguments.targets or TARGETS]
        return 0 if all(kept) else 1
    warnings.simplefilter("ignore")
    one = guided if importlib.util.find_spec("atheris") else fuzz
    held = [
        bind(arguments.seconds, arguments.seed) if name == "bind" else one(name, arguments.seconds, arguments.seed)
        for name in arguments.targets or [*TARGETS, "bind"]
    ]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
