"""Kills real commands at random moments, and fills real disks, then lets them go on and compares what they leave.

``python -m tests.faults.random_kills --rounds 10`` kills each command ten times over (``--only large`` those with that word in
their names), and prints a table. ``--disks`` fills tmpfs mounts of random sizes instead, which takes root's rights. Each
command takes seconds: it loads MXNet. Not part of the suite.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib.util
import io
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastinfer.outputs.layout import RUN_RECORD
from fastinfer.records.split import MAGIC
from tests import networks
from tests.conftest import INTEGER_CELLS, ROOT
from tests.faults.harness import Tree, describe, read_results

VALUES = 784
OTHER_RUN, CANNOT_WRITE = 2, 4
# Half of the kills on such backends are of one worker alone, which the run must bear.
WITH_WORKERS = ("processes", "dask", "ray")
# What ray calls its workers once it knows them. It waits for ever for one that dies before, while it starts.
RAYS_WORKERS = ("ray::IDLE", "ray::_record")
# No command takes so long.
PATIENCE_S, HANGS = 300, -1000


@dataclass(frozen=True)
class Scene:
    """A command.

    Attributes:
        name: of the scene.
        source: the folder of inputs, see :func:`write_inputs`.
        options: of the command; ``{folder}`` stands for the folder of inputs and models, ``{output}`` for that of results.
        replaces: whether the folder holds another model's results.
        rejects: whether some inputs are rejected.
    """

    name: str
    source: str
    options: tuple[str, ...] = ()
    replaces: bool = False
    rejects: bool = False

    @property
    def backend(self) -> str:
        if "--backend" in self.options:
            return self.options[self.options.index("--backend") + 1]
        return "processes" if "--code" in self.options else "threads"


QUARANTINE = ("--on-error", "quarantine")
CONTINUE = ("--on-error", "continue")
PROCESSES = ("--backend", "processes")
SINGLE = ("--strategy", "singlerecord")
LINES = ("--split-type", "line", "--assemble-with", "line")
JOINED = (*LINES, "--input-filter", "$[1:]", "--join-source", "input", "--output-filter", "$[0,-10:]")
SCENES = [
    Scene("threads small", "small"),
    Scene("threads large", "large"),
    Scene("threads large exact", "large", ("--exact",)),
    Scene("threads bad", "bad", QUARANTINE, rejects=True),
    Scene("threads bad durable", "bad", (*QUARANTINE, "--durable"), rejects=True),
    Scene("threads bad overwrite", "bad", (*QUARANTINE, "--overwrite"), replaces=True, rejects=True),
    Scene("processes small", "small", PROCESSES),
    Scene("processes large", "large", PROCESSES),
    Scene("processes bad", "bad", (*PROCESSES, *QUARANTINE), rejects=True),
    Scene("processes bad overwrite", "bad", (*PROCESSES, *QUARANTINE, "--overwrite"), replaces=True, rejects=True),
    Scene("dask bad", "bad", ("--backend", "dask", *QUARANTINE), rejects=True),
    Scene("ray bad", "bad", ("--backend", "ray", *QUARANTINE), rejects=True),
]
# Each content type and each way in which a run is asked for.
LINES_ARE_REJECTED = ("bad", "jsonlines", "recordio", "gzip", "ids")
JSON, JSON_LINES, NPY = (("--content-type", f"application/{name}") for name in ("json", "jsonlines", "x-npy"))
TYPES = [
    Scene("json", "json", (*JSON, *CONTINUE), rejects=True),
    Scene("json joined", "json", (*JSON, *CONTINUE, "--join-source", "input"), rejects=True),
    Scene("jsonlines", "jsonlines", (*JSON_LINES, *CONTINUE), rejects=True),
    Scene("jsonlines single", "jsonlines", (*JSON_LINES, *LINES, *SINGLE, *QUARANTINE), rejects=True),
    Scene("npy", "npy", (*NPY, *CONTINUE, "--accept", "application/x-npy"), rejects=True),
    Scene("npy processes", "npy", (*NPY, *CONTINUE, *PROCESSES), rejects=True),
    Scene("image", "image", ("--content-type", "application/x-image", *CONTINUE), rejects=True),
    Scene("recordio", "recordio", ("--split-type", "recordio", *SINGLE, *QUARANTINE), rejects=True),
    Scene("gzip", "gzip", QUARANTINE, rejects=True),
    Scene("gzip payloads", "gzip", ("--max-payload", "1", *LINES, *CONTINUE), rejects=True),
    Scene("joined", "ids", (*JOINED, *QUARANTINE), rejects=True),
    Scene("joined processes", "ids", (*JOINED, *PROCESSES, *QUARANTINE), rejects=True),
    Scene("joined overwrite", "ids", (*JOINED, *QUARANTINE, "--overwrite"), replaces=True, rejects=True),
    Scene("table parquet", "bad", (*QUARANTINE, "--table", "{output}/all.parquet"), rejects=True),
    Scene("table csv", "ids", ("--id-column", "0", *QUARANTINE, "--table", "{output}/all.csv"), rejects=True),
    Scene("code", "small", ("--code", "run", "--model", "{folder}/code")),
    Scene(
        "code lines", "bad", ("--code", "run", "--model", "{folder}/code", *LINES, *SINGLE, *QUARANTINE), rejects=True
    ),
    Scene("job", "ids", ("--job", "{folder}/job.json"), rejects=True),
]


@dataclass
class Tally:
    """What happened to a scene, and what is wrong with it."""

    rounds: int = 0
    kills: int = 0
    problems: list[str] = field(default_factory=list)


def write_inputs(folder: Path, rng: np.random.Generator) -> None:
    """Small files of every type, beside one that is cut into spans or read in pieces; but in two folders some are bad."""

    def cells(count: int, bad: float = 0) -> Any:
        found = INTEGER_CELLS[rng.integers(0, 256, (count, VALUES))]
        found[rng.random(count) < bad, VALUES // 2] = b"x"
        return found

    def rows(count: int, bad: float = 0) -> bytes:
        return b"".join(b",".join(row) + b"\n" for row in cells(count, bad))

    def lists(count: int, bad: float = 0) -> list[bytes]:
        return [b"[" + b", ".join(row) + b"]" for row in cells(count, bad)]

    def array(count: int, bad: float = 0) -> bytes:
        stream = io.BytesIO()
        np.save(stream, rng.integers(0, 256, (count, VALUES)).astype(np.uint8))
        return stream.getvalue()[: -1 if rng.random() < bad else None]

    def picture(count: int, bad: float = 0) -> bytes:
        stream = io.BytesIO()
        pixels = rng.integers(0, 256, (28, 28 * count)).astype(np.uint8)
        Image.fromarray(pixels).save(stream, "PNG")
        return stream.getvalue()[: 100 if rng.random() < bad else None]

    def with_ids(count: int, bad: float = 0) -> bytes:
        return b"".join(b"id%d,%s\n" % each for each in enumerate(rows(count, bad).splitlines()))

    def records(count: int, bad: float = 0) -> bytes:
        parts = []
        for row in rows(count, bad).splitlines():
            parts.append(struct.pack("<4sI", MAGIC, len(row)) + row + bytes(-len(row) % 4))
        return b"".join(parts)

    def write(name: str, content: bytes) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    for number in range(2000):
        write(f"small/{number % 7}/{number}.csv", rows(1))
    write("large/large.csv", rows(6700))
    types: dict[str, Callable[[int, float], bytes]] = {
        "bad": rows,
        "json": lambda count, bad: b"[" + b",\n".join(lists(count, bad)) + b"]",
        "jsonlines": lambda count, bad: b"\n".join(lists(count, bad)),
        "npy": array,
        "image": picture,
        "recordio": records,
        "gzip": lambda count, bad: gzip.compress(rows(count, bad), 1),
        "ids": with_ids,
    }
    for name, make in types.items():
        for number in range(1000 if name == "bad" else 500):
            write(f"{name}/{number % 7}/{number}.csv", make(3, 0.2))
        write(f"{name}/empty.csv", b"")
        write(f"{name}/large.csv", make(6700, 0.01 if name in LINES_ARE_REJECTED else 0))


CODE = b"""
import json

def model_fn(folder):
    return None

def transform_fn(model, data, content_type, accept):
    rows = [[float(cell) for cell in line.split(",")] for line in data.splitlines()]
    return json.dumps([[sum(row), max(row)] for row in rows]), accept
"""


def write_code(folder: Path) -> None:
    """A model whose own code answers."""
    networks.save(networks.mlp, folder)
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_bytes(CODE)


def write_job(path: Path, model: Path) -> None:
    """A CreateTransformJob request; the places of inputs and results are given beside it."""
    places = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}}
    job = {
        "TransformJobName": "killed",
        "ModelName": str(model),
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": 1,
        "TransformInput": {"DataSource": places, "ContentType": "text/csv", "SplitType": "Line"},
        "TransformOutput": {"S3OutputPath": "s3://bucket/out/", "Accept": "text/csv", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        "DataProcessing": {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
    }
    path.write_text(json.dumps(job))


class Runner:
    """Runs the commands of scenes.

    Args:
        folder: where inputs, models and results are.
        rng: chooses when to kill.
    """

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._folder = folder
        self._rng = rng
        self._other = networks.save(networks.mlp, folder / "other")
        write_code(folder / "code")
        write_job(folder / "job.json", self._other)
        self._process: subprocess.Popen[bytes] | None = None  # the last one
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}

    def start(self, scene: Scene, output: Path, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "fastinfer.transform", str(self._folder / scene.source), str(output)]
        options = tuple(option.format(folder=self._folder, output=output) for option in options)
        self._process = subprocess.Popen(
            [*command, "--workers", "2", "--quiet", *options],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return self._process

    def finish(self, scene: Scene, output: Path) -> tuple[int, str]:
        """Runs to the end; as one does who continues a run, with --overwrite only where that is asked for."""
        bare = [option for option in scene.options if option != "--overwrite"]
        code, said = self._wait(self.start(scene, output, *bare))
        if code == OTHER_RUN and scene.replaces:
            code, said = self._wait(self.start(scene, output, *scene.options))
        return code, said

    def unbroken(self, scene: Scene, output: Path) -> tuple[Tree, float]:
        """The results without a fault, and the seconds that they take after the start."""
        shutil.rmtree(output, ignore_errors=True)
        process = self.start(scene, output, *scene.options)
        wait_for_record(process, output, None)
        started = time.monotonic()
        code, said = self._wait(process)
        assert code == self.expected(scene), (scene.name, code, said)
        return read_results(output), time.monotonic() - started

    def expected(self, scene: Scene) -> int:
        return 1 if scene.rejects else 0

    def prepare(self, scene: Scene, output: Path) -> None:
        """The folder as it is before the first run."""
        shutil.rmtree(output, ignore_errors=True)
        if scene.replaces:
            bare = [option for option in scene.options if option != "--overwrite"]
            code, said = self._wait(self.start(scene, output, *bare, "--model", str(self._other)))
            assert code == self.expected(scene), (scene.name, code, said)

    def kill(self, scene: Scene, output: Path, options: tuple[str, ...], seconds: float) -> bool:
        """Kills a command, or one of its workers, at a random moment of its work; returns whether it was still running."""
        record = stamp(output)
        process = self.start(scene, output, *options)
        wait_for_record(process, output, record)
        time.sleep(self._rng.uniform(0, 1.1) * seconds)
        running = process.poll() is None
        workers = workers_of(process.pid, scene.backend) if self._rng.random() < 0.5 else []
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._rng.choice(workers), signal.SIGKILL)
        else:
            self.end()
        code, said = self._wait(process)
        assert code != HANGS, said
        return running

    def end(self) -> None:
        """Kills the last command, if it still runs, and all that it has started."""
        if self._process is None or self._process.poll() is not None:
            return
        for process in [*descendants(self._process.pid), self._process.pid]:  # ray's have sessions of their own
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _wait(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        try:
            _, said = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.end()
            return HANGS, f"it hangs: {process.args!r}"
        return process.returncode, said.decode(errors="replace")


def stamp(output: Path) -> int | None:
    """When the record of the folder's run was written."""
    with contextlib.suppress(FileNotFoundError):
        return (output / RUN_RECORD).stat().st_ctime_ns
    return None


def wait_for_record(process: subprocess.Popen[bytes], output: Path, earlier: int | None) -> None:
    """Waits until a run has begun, which writes its record anew; MXNet is loaded by then."""
    while stamp(output) == earlier and process.poll() is None:
        time.sleep(0.002)


def descendants(process: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [process]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def workers_of(process: int, backend: str) -> list[int]:
    """The processes of a command that may be killed alone."""
    if backend not in WITH_WORKERS:
        return []
    found = descendants(process)
    return [each for each in found if name_of(each).startswith(RAYS_WORKERS)] if backend == "ray" else found


def name_of(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
    return ""


def check(runner: Runner, scene: Scene, output: Path, whole: Tree) -> Iterator[str]:
    """What is wrong after a run that was cut short, and after it was continued."""
    for path in output.rglob("*.out"):
        name = str(path.relative_to(output))
        if not scene.replaces and not path.name.startswith(".") and path.read_bytes() != whole.get(name):
            yield f"{name} is cut or wrong"
    code, said = runner.finish(scene, output)
    if code != runner.expected(scene):
        yield f"it ended with {code}: {said}"
    if difference := describe(read_results(output), whole):
        yield difference[:2000]


def kill_at_random(runner: Runner, scene: Scene, folder: Path, rounds: int, rng: random.Random) -> Tally:
    output, tally = folder / "out", Tally()
    whole, seconds = runner.unbroken(scene, output)
    for number in range(rounds):
        runner.prepare(scene, output)
        options = scene.options
        for _ in range(rng.randint(1, 3)):
            tally.kills += runner.kill(scene, output, options, seconds)
            if scene.replaces and rng.random() < 0.7 and stamp(output) is not None:
                options = tuple(option for option in options if option != "--overwrite")
        tally.problems += [f"round {number}: {problem}" for problem in check(runner, scene, output, whole)]
        tally.rounds += 1
    return tally


def fill_disks(runner: Runner, scene: Scene, folder: Path, rounds: int, rng: random.Random) -> Tally:
    output, tally = folder / "disk" / "out", Tally()
    whole, _ = runner.unbroken(scene, folder / "out")
    needed = sum(path.stat().st_blocks * 512 for path in (folder / "out").rglob("*"))
    output.parent.mkdir(exist_ok=True)
    for number in range(rounds):
        size = int(needed * rng.uniform(0.01, 1.2)) >> 10
        inodes = rng.choice([0, 0, rng.randint(3, 1300)])  # 0: any number
        options = f"size={size}k" + (f",nr_inodes={inodes}" if inodes else "")
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(output.parent)], check=True)
        try:
            runner.prepare(scene, output)
            code, said = runner.finish(scene, output)
            if code not in (CANNOT_WRITE, runner.expected(scene)):
                tally.problems.append(f"round {number}, {options}: it ended with {code}: {said}")
            tally.kills += code == CANNOT_WRITE
            room = "remount,size=1g,nr_inodes=100k"
            subprocess.run(["mount", "-o", room, str(output.parent)], check=True)
            found = check(runner, scene, output, whole)
            tally.problems += [f"round {number}, {options}: {problem}" for problem in found]
        finally:
            subprocess.run(["umount", str(output.parent)], check=True)
        tally.rounds += 1
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each command is tried (default 5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="WORDS", help="commands whose names contain these words")
    parser.add_argument("--disks", action="store_true", help="fill disks instead")
    arguments = parser.parse_args()
    if arguments.disks and os.geteuid() != 0:
        print("skipped: only root mounts disks")
        return 0
    rng = random.Random(arguments.seed)
    act, failed = (fill_disks if arguments.disks else kill_at_random), 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_inputs(folder, np.random.default_rng(arguments.seed))
        runner = Runner(folder, rng)
        stack.callback(runner.end)
        print(f"{'command':28}{'rounds':>8}{'struck':>8}{'wrong':>8}{'seconds':>9}", flush=True)
        for scene in SCENES + TYPES:
            if any(word not in scene.name.split() for word in arguments.only.split()):
                continue
            if arguments.disks and (scene.replaces or scene.backend not in ("threads", "processes")):
                continue
            if scene.backend in ("dask", "ray"):
                module = {"dask": "distributed", "ray": "ray"}[scene.backend]
                if importlib.util.find_spec(module) is None:
                    print(f"{scene.name:28}skipped: {module} is not installed")
                    continue
            started = time.monotonic()
            tally = act(runner, scene, folder, arguments.rounds, rng)
            failed += len(tally.problems)
            counts = f"{tally.rounds:8}{tally.kills:8}{len(tally.problems):8}{time.monotonic() - started:9.1f}"
            print(f"{scene.name:28}{counts}", *tally.problems, sep="\n    ", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
