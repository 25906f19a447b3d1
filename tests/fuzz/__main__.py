"""Fuzzes readers of a stranger's bytes: `python -m tests.fuzz [TARGET ...] --seconds 60 --seed 1`.

With atheris the inputs are guided by coverage, one process a target; without it the kept inputs are changed at random. An input
that fails is written to build/fuzz-TARGET. The target `bind` changes graphs and parameters up to MXNet's own bind and forward.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

from tests.fuzz.bind import Binder
from tests.fuzz.targets import CASE_BYTES, CORPUS, TARGETS, cases, graph_cases, params_cases, run

BUILD = Path(__file__).resolve().parent.parent.parent / "build"


def fuzz(name: str, seconds: float, seed: int) -> bool:
    """Whether a target held for that time."""
    end, count, held = time.monotonic() + seconds, 0, True
    slowest = 0.0
    for content in cases(name, seed):
        start = time.monotonic()
        if start > end:
            break
        try:
            run(name, content)
        except Exception:
            traceback.print_exc()
            keep(name, content)
            held = False
            break
        slowest = max(slowest, time.monotonic() - start)
        count += 1
    print(f"{name}: {count:,} inputs in {seconds:.0f} s, the slowest {slowest:.2f} s", flush=True)
    return held


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
    new = BUILD / f"corpus-{name}"
    new.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.guided", name, f"-max_total_time={seconds:.0f}", f"-seed={seed}"]
    command += [f"-max_len={CASE_BYTES}", f"-artifact_prefix={BUILD}/fuzz-{name}-", "-rss_limit_mb=1024", "-timeout=20"]
    done = subprocess.run([*command, str(new), str(CORPUS / name)], stderr=subprocess.PIPE, text=True)
    lines = done.stderr.splitlines()
    print(
        f"{name} (guided): {next((line for line in reversed(lines) if line.startswith('Done')), 'failed')}", flush=True
    )
    if done.returncode:
        print("\n".join(lines[-40:]))
    return done.returncode == 0


def keep(name: str, content: bytes) -> None:
    BUILD.mkdir(exist_ok=True)
    (BUILD / f"fuzz-{name}").write_bytes(content)
    print(f"the input is in {BUILD}/fuzz-{name}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)} or bind (default: all)")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    one = guided if importlib.util.find_spec("atheris") else fuzz
    held = [
        bind(arguments.seconds, arguments.seed) if name == "bind" else one(name, arguments.seconds, arguments.seed)
        for name in arguments.targets or [*TARGETS, "bind"]
    ]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
