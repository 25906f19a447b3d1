"""What the tests of faults share: the library, the process that carries out runs, trees of inputs, and what is checked."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fastinfer.engine.request import TransformRequest
from fastinfer.errors import OutputError
from fastinfer.options import Limits, Options
from fastinfer.outputs.layout import LABELS, REJECTS, RUN_RECORD
from tests import networks
from tests.conftest import ROOT
from tests.faults import server
from tests.faults.server import Outcome, Run

# Files of some hundred bytes are large objects, read in pieces, and their results do not fit into the buffers.
LIMITS = Limits(
    chunk_bytes=64,
    large_object_bytes=200,
    span_bytes_least=160,
    span_bytes_most=160,
    shard_objects=2,
    far_shard_objects=2,
)
SETTINGS = {"fastinfer.outputs.writer:BUFFER_BYTES": 256, "fastinfer.outputs.writer:GROUP_BYTES": 64}

# What a line of the rejects says of a record, whenever and by whichever run it was written.
REJECT_FIELDS = ("key", "part", "line", "column", "code", "message", "record", "range")

# What stands for a line that is not the whole line of a record.
TORN = "torn:"

Tree = dict[str, bytes]


def find_compiler() -> str | None:
    return shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")


def compile_library(compiler: str, folder: Path) -> Path:
    library = folder / "faults.so"
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, *flags, str(source), "-o", str(library), "-ldl"], check=True)
    return library


def preloading(library: Path) -> dict[str, str]:
    """This environment, with the library before the C library, behind what else is loaded so (a sanitizer must be first)."""
    paths = [*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)]
    before = os.environ.get("LD_PRELOAD", "")
    return {**os.environ, "LD_PRELOAD": f"{before} {library}".strip(), "PYTHONPATH": os.pathsep.join(paths)}


class Server:
    """The process that carries out runs, one at a time.

    Args:
        library: of faults.c.
        model: of two features.
        folder: an empty one.
    """

    def __init__(self, library: Path, model: Path, folder: Path) -> None:
        here, there = socket.socketpair()
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults", str(there.fileno())],
                pass_fds=[there.fileno()],
                cwd=ROOT,
                env={
                    **os.environ,
                    "LD_PRELOAD": str(library),
                    "XDG_CACHE_HOME": str(folder / "cache"),
                    "PYTHONPATH": str(ROOT),
                },
            )
        self._connection = Connection(here.detach())
        source = write_tree(folder / "in", {"1.csv": rows(1)})
        self._connection.send(Run(model, source, folder / "out", Options(workers=1), LIMITS))

    def carry_out(self, run: Run, **changes: Any) -> Outcome:
        """Carries out a run.

        Args:
            run: the run.
            changes: fields of it that are others.
        """
        self._connection.send(dataclasses.replace(run, **changes))
        if not self._connection.poll(2 * server.PATIENCE_S):
            self._process.kill()
            raise AssertionError(f"it hangs: {run}, {changes}")
        outcome: Outcome = self._connection.recv()
        return outcome

    def finish(self, run: Run, **changes: Any) -> Outcome:
        """Carries out a run without a fault, which must succeed."""
        outcome = self.carry_out(run, action=server.NONE, call_back=None, below=None, **changes)
        assert outcome.error is None, outcome.trace
        assert outcome.status == 0
        return outcome

    def close(self) -> None:
        self._connection.close()
        self._process.wait()


def write_tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def rows(count: int, first: int = 0) -> bytes:
    return b"".join(b"%d,%d\n" % (first + number, 10 + number % 7) for number in range(count))


# Small files in two folders, one with a blank line; one whose result is written in pieces; one that is cut into spans.
PLAIN = {
    "a/1.csv": rows(1),
    "a/2.csv": rows(2, 10),
    "b/3.csv": b"7,8\n\n9,10\n",
    "b/large.csv": rows(48, 100),
    "c.csv": rows(30, 1000),
}
# The same with bad records, and a file that cannot be used at all.
BAD = {
    "a/1.csv": b"1,2\nx,2\n3,4\n",
    "a/2.csv": rows(2, 10),
    "b/3.csv": b"7,8\n\n9,10\n11\n",
    "b/empty.csv": b"",
    "b/large.csv": rows(30, 100) + b"1,2,3\n" + rows(18, 140) + b"1,\n",
    "c.csv": b"y\n" + rows(30, 1000),
}
# What some of them become later; a file is new, and a file has no bad records any more.
CHANGED = {"a/2.csv": rows(3, 20), "b/large.csv": rows(50, 300), "a/4.csv": rows(2, 40)}
CHANGED_BAD = {
    "a/1.csv": rows(3),
    "a/2.csv": b"5,6\n7\n",
    "b/large.csv": rows(20, 100) + b"z,2\n" + rows(30, 140),
    "a/4.csv": b"z,1\n1,2\n",
}


@dataclass(frozen=True)
class Scene:
    """A run over what earlier runs have left, and what must come of it.

    Attributes:
        run: the run.
        older: the folder of results as it is before the run; None: there is none.
        before, after: the results then and after an unbroken run.
    """

    run: Run
    older: Path | None
    before: Tree
    after: Tree

    def set_up(self) -> None:
        """Makes the folder of results as it is before the run."""
        shutil.rmtree(self.run.output, ignore_errors=True)
        if self.older is not None:
            shutil.copytree(self.older, self.run.output)  # with times and extended attributes


ONE_WORKER = Options(workers=1)


@dataclass(frozen=True)
class Mode:
    """How a scene is made.

    Attributes:
        name: of the mode.
        options: of the run.
        files: the inputs.
        changed: inputs that are written after a first run of the same options; None: there was no such run.
        replaces: whether a first run was of another model, which the run overwrites.
        refuses_labels: whether the file system has no extended attributes.
        request: what is asked for.
    """

    name: str
    options: Options = ONE_WORKER
    files: Mapping[str, bytes] = dataclasses.field(default_factory=lambda: PLAIN)
    changed: Mapping[str, bytes] | None = None
    replaces: bool = False
    refuses_labels: bool = False
    request: TransformRequest = dataclasses.field(default_factory=TransformRequest)

    def make(self, carrier: Server, model: Path, other: Path, folder: Path) -> Scene:
        source, output = write_tree(folder / "in", self.files), folder / "out"
        run = Run(model, source, output, self.options, LIMITS, SETTINGS, refuses_labels=self.refuses_labels)
        run = dataclasses.replace(run, request=self.request)
        older = None
        before: Tree = {}
        if self.replaces or self.changed is not None:
            older = folder / "older"
            first = dataclasses.replace(self.options, overwrite=False)
            carrier.finish(run, model=other if self.replaces else model, options=first)
            before = read_results(output)
            output.rename(older)
        write_tree(source, self.changed or {})
        wait_for_stamps(folder)
        scene = Scene(run, older, before, {})
        scene.set_up()
        carrier.finish(run)
        return dataclasses.replace(scene, after=read_results(output))


QUARANTINE = Options(workers=1, on_error="quarantine")
OVERWRITE = Options(workers=1, on_error="quarantine", overwrite=True)
CONTINUE = Options(workers=1, on_error="continue")
JOINED = TransformRequest(input_filter="$[1:]", join_source="Input", output_filter="$[0,-1]")
JSON_LINES = TransformRequest(content_type="application/jsonlines", accept="application/x-npy")
JSON = TransformRequest(content_type="application/json", assemble_with="Line")
SINGLE = TransformRequest(
    content_type="application/json", split_type="Line", strategy="SingleRecord", accept="text/csv"
)


def with_ids(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same lines with an id in front of each."""
    return {name: b"".join(b"id," + line for line in text.splitlines(keepends=True)) for name, text in files.items()}


def as_json(files: Mapping[str, bytes], *, lines: bool = False) -> dict[str, bytes]:
    """The same rows as JSON: a list of each file, or of each line."""
    made = {}
    for name, text in files.items():
        rows = [b"[" + line + b"]" for line in text.splitlines() if line.strip()]
        made[name] = b"\n".join(rows) if lines else b"[" + b", ".join(rows) + b"]"
    return made


MODES = [
    Mode("quarantine", QUARANTINE, BAD),
    Mode("changed", QUARANTINE, BAD, changed=CHANGED_BAD),
    Mode("overwrite", OVERWRITE, BAD, replaces=True),
    Mode("durable", Options(workers=1, durable=True), changed=CHANGED),
    Mode("unlabelled", QUARANTINE, BAD, changed=CHANGED_BAD, refuses_labels=True),
]
MODES += [
    Mode("joined", QUARANTINE, with_ids(BAD), changed=with_ids(CHANGED_BAD), request=JOINED),
    Mode("json", CONTINUE, as_json(BAD), changed=as_json(CHANGED_BAD), request=JSON),
]
# What differs from those less.
MORE_MODES = [
    Mode("json-lines", CONTINUE, as_json(BAD, lines=True), changed=as_json(CHANGED, lines=True), request=JSON_LINES),
    Mode("json-single", QUARANTINE, as_json(PLAIN, lines=True), changed=as_json(CHANGED, lines=True), request=SINGLE),
    Mode("fresh"),
    Mode("plain-changed", changed=CHANGED),
    Mode("plain-overwrite", dataclasses.replace(ONE_WORKER, overwrite=True), replaces=True),
    Mode("durable-overwrite", dataclasses.replace(OVERWRITE, durable=True), BAD, replaces=True),
    Mode("unlabelled-overwrite", OVERWRITE, BAD, replaces=True, refuses_labels=True),
    Mode("unlabelled-durable", dataclasses.replace(QUARANTINE, durable=True), BAD, refuses_labels=True),
]


def save_models(folder: Path) -> tuple[Path, Path]:
    """Two models of two features that give different numbers."""

    def squashed() -> tuple[Any, tuple[int, ...]]:
        output = networks.mx.sym.FullyConnected(networks.mx.sym.var("data"), num_hidden=1)
        return networks.mx.sym.sigmoid(output), (2,)

    return networks.save(networks.linear, folder / "linear"), networks.save(squashed, folder / "squashed")


def wait_for_stamps(folder: Path) -> None:
    """Waits until the file system stamps a later time than on any file so far: some count in steps of milliseconds."""
    probe = folder / "probe"
    probe.write_bytes(b"")
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        time.sleep(0.001)
        probe.write_bytes(b"")
    probe.unlink()


# What a folder of results holds


def read_results(output: Path) -> Tree:
    """Everything below a folder of results but times and the names of runs: files, by their names, and hidden folders."""
    tree: Tree = {}
    for path in output.rglob("*"):
        name = re.sub(r"\.fastinfer-[0-9a-f]+", ".fastinfer-RUN", str(path.relative_to(output)))
        if not path.is_dir():
            tree[name] = path.read_bytes()
        elif is_hidden(name):
            tree[f"{name}/"] = b""
    if RUN_RECORD in tree:
        tree[RUN_RECORD] = json.dumps(json.loads(tree[RUN_RECORD])["depends_on"], sort_keys=True).encode()
    if LABELS in tree:
        tree[LABELS] = b""  # what it says is of runs and of inodes
    if REJECTS in tree:
        tree[REJECTS] = "\n".join(sorted(map(_facts, tree[REJECTS].splitlines()))).encode()
    return tree


def _facts(line: bytes) -> str:
    try:
        fields = json.loads(line)
        return json.dumps([fields[name] for name in REJECT_FIELDS])
    except (ValueError, KeyError, TypeError):
        return f"{TORN} {line!r}"


def is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def visible(tree: Tree) -> Tree:
    return {name: content for name, content in tree.items() if not is_hidden(name)}


def describe(found: Tree, expected: Tree) -> str:
    """How two folders differ; empty if they do not."""
    differing = []
    for name in sorted({*found, *expected}):
        if name not in expected:
            differing.append(f"{name} is there")
        elif name not in found:
            differing.append(f"{name} is missing")
        elif found[name] != expected[name]:
            differing.append(f"{name} holds {found[name][:200]!r}, not {expected[name][:200]!r}")
    return "; ".join(differing)


def check_named(scene: Scene) -> list[str]:
    """Whether each result with its final name is whole: of the earlier run or of this one; and so each line of the rejects."""
    rejects = read_results(scene.run.output).get(REJECTS, b"").decode()
    problems = [f"{REJECTS} has a line that is {line}" for line in rejects.splitlines() if line.startswith(TORN)]
    for path in scene.run.output.rglob("*.out"):
        name = str(path.relative_to(scene.run.output))
        if not is_hidden(name) and path.read_bytes() not in (scene.before.get(name), scene.after.get(name)):
            problems.append(f"{name} is neither the old nor the new result: {path.read_bytes()[:200]!r}")
    return problems


def check_failed(scene: Scene, outcome: Outcome) -> list[str]:
    """Whether a struck run told the truth: it was killed, names what cannot be written, or has done its work."""
    problems = check_named(scene)
    error = outcome.error
    if outcome.is_killed:
        return problems
    if outcome.status != 0:
        problems.append(f"its process ended with status {outcome.status}")
    elif error is None:
        if difference := describe(visible(read_results(scene.run.output)), visible(scene.after)):
            problems.append(f"it succeeded, but {difference}")
    elif not isinstance(error, OutputError):
        problems.append(f"it raised {type(error).__name__}, no OutputError: {error}\n{outcome.trace}")
    elif not str(error.path).startswith(str(scene.run.output)):
        problems.append(f"the error's path is {error.path!r}: {error}")
    return problems


def check_resumed(carrier: Server, scene: Scene, *, again: bool = False) -> list[str]:
    """Continues a run that was struck, and checks that everything is as after an unbroken run.

    Args:
        carrier: carries out the run.
        scene: the run.
        again: whether one more run is made, which must find everything finished.
    """
    run, found = scene.run, read_results(scene.run.output)
    resumed = dataclasses.replace(run.options, overwrite=False)
    outcome = carrier.carry_out(run, action=server.NONE, options=resumed)
    if outcome.is_other_run and run.options.overwrite:
        # It was struck before it had begun to replace the other run's results.
        if difference := describe(visible(found), scene.before):
            return [f"it left another run's folder changed: {difference}"]
        outcome = carrier.carry_out(run, action=server.NONE)
    if outcome.error is not None or outcome.status != 0:
        return [f"the next run ended with {outcome.status}, {outcome.error!r}\n{outcome.trace}"]
    problems = []
    if difference := describe(read_results(run.output), scene.after):
        problems.append(f"after the next run {difference}")
    rejected = len(scene.after.get(REJECTS, b"").splitlines())
    assert outcome.summary is not None
    if outcome.summary.rejected != rejected:
        problems.append(f"the next run counts {outcome.summary.rejected} rejects, not {rejected}")
    if again and not problems:
        outcome = carrier.finish(run, options=resumed)
        assert outcome.summary is not None
        if outcome.summary.records:
            problems.append(f"the run after the next transformed {outcome.summary.inputs} inputs again")
        if difference := describe(read_results(run.output), scene.after):
            problems.append(f"after the run after the next {difference}")
    return problems


def strike_each(
    carrier: Server, scene: Scene, action: int, *, again: bool = False, first: int = 1, step: int = 1
) -> tuple[int, list[str]]:
    """Strikes calls of a run, one after another; returns how many calls there were, and all problems.

    Args:
        carrier: carries out the runs.
        scene: the run.
        action: what happens at the call.
        again: as for :func:`check_resumed`.
        first, step: the first call that is struck, and how many calls further the next one is.
    """
    problems: list[str] = []
    at = first
    while True:
        scene.set_up()
        outcome = carrier.carry_out(scene.run, action=action, at=at)
        if not outcome.struck:  # there are no more calls
            return at - 1, problems
        found = check_failed(scene, outcome) + check_resumed(carrier, scene, again=again)
        problems += [f"call {at}, {outcome.struck}: {problem}" for problem in found]
        at += step
