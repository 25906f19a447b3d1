"""Networks of several kinds (networks.py), beside what a user would write: numpy.loadtxt and Module.predict, at their best.

    python -m benchmarks.bench_models [MODEL ...] [--rounds 1] [--json FILE]
    python -m pytest benchmarks/bench_models.py --figures FILE

Each side runs in a process of its own, in turns; the least time of each counts. The script's batch size is the best of
several, on one thread and on as many as there are cores. Answers are compared before times count. What is compared: text to
text (a file of CSV on the memory file system to JSON); the forward pass alone on one core, also of ``--exact`` beside a loop at
batch size 1, which is what SageMaker's container runs; a request of one row to ``fastinfer.serve``; the largest memory of the
processes.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import operator
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from benchmarks import networks
from benchmarks.conftest import Keep
from benchmarks.environment import AS_STARTED
from tests.sagemaker.serving import free_ports

# Rows of a file: about a second for the script, so that a round of all networks takes some minutes.
ROWS = {"mlp": 2_000, "lenet": 480, "lstm": 120, "mobilenet0.25-96": 96, "mobilenet1.0-224": 24, "resnet18-224": 24}
SCRIPT_SIZES = (1, 4, 12, 32, 96, 240, 480)
SCRIPT_PASSES = 32  # the most forward passes over the rows that are timed
# Rows of a forward pass that is timed by itself.
FORWARD_ROWS = {
    "mlp": 960,
    "lenet": 240,
    "lstm": 96,
    "mobilenet0.25-96": 96,
    "mobilenet1.0-224": 12,
    "resnet18-224": 12,
}
# Requests to a server before the turn of the next, and for how long at least all are asked.
REQUESTS, REQUESTS_S = 20, 4.0
# A run is timed so often at least, and until it has taken so long together: a short one meets a quiet moment.
PASSES, TIMED_S = 3, 0.5
ROUNDS, EXACT_ROUNDS = 4, 1


def least(run: Callable[[], Any], times: int = PASSES, timed_s: float = TIMED_S) -> float:
    """Seconds of the fastest of some runs; the first one is not counted."""
    run()
    seconds: list[float] = []
    while len(seconds) < times or sum(seconds) < timed_s:
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def make_module(folder: Path, batch_size: int) -> tuple[Any, Any]:
    """MXNet, and a Module as a script binds it."""
    from fastinfer.runtimes.mxnet.library import load_mxnet

    mxnet = load_mxnet()  # the settings of the environment, as a script has them
    symbol, arguments, auxiliary = mxnet.model.load_checkpoint(str(folder / "model"), 0)
    shape = json.loads((folder / "model-shapes.json").read_text())[0]["shape"]
    module = mxnet.mod.Module(symbol, context=mxnet.cpu(), data_names=["data"], label_names=None)
    module.bind(for_training=False, data_shapes=[("data", (batch_size, *shape[1:]))])
    module.set_params(arguments, auxiliary, allow_missing=True)
    return mxnet, module


def forward_module(folder: Path, rows: np.ndarray, batch_size: int) -> float:
    """Seconds of a row."""
    mxnet, module = make_module(folder, batch_size)
    count = max(batch_size, len(rows) // batch_size * batch_size)
    data = mxnet.nd.array(np.resize(rows, (count, *rows.shape[1:])))

    def run() -> None:
        for first in range(0, count, batch_size):
            module.forward(mxnet.io.DataBatch([data[first : first + batch_size]]), is_train=False)
            module.get_outputs()[0].asnumpy()

    return least(run) / count


def side_script(folder: Path, source: Path, output: Path, forward_rows: int) -> dict[str, Any]:
    """numpy.loadtxt and Module.predict at the best batch size."""
    shape = json.loads((folder / "model-shapes.json").read_text())[0]["shape"][1:]
    rows = np.loadtxt(source, delimiter=",", dtype=np.float32, ndmin=2)
    part = rows[:forward_rows].reshape(-1, *shape)
    # Smaller ones are never the best, and take the longest.
    sizes = [size for size in SCRIPT_SIZES if len(part) / SCRIPT_PASSES <= size <= len(part)]
    seconds = {size: forward_module(folder, part, size) for size in sizes}
    best = min(seconds, key=lambda size: seconds[size])
    mxnet, module = make_module(folder, best)

    def run() -> None:
        rows = np.loadtxt(source, delimiter=",", dtype=np.float32, ndmin=2)
        answers = module.predict(mxnet.io.NDArrayIter(rows.reshape(-1, *shape), batch_size=best)).asnumpy()
        output.write_text(json.dumps(answers.tolist()))

    return {"text_s": least(run, 1, 0), "forward_s": seconds[best], "batch_size": best}


def side_loop(folder: Path, source: Path, output: Path, forward_rows: int) -> dict[str, Any]:
    """A loop at batch size 1, as the container runs it."""
    shape = json.loads((folder / "model-shapes.json").read_text())[0]["shape"][1:]
    rows = np.loadtxt(source, delimiter=",", dtype=np.float32, ndmin=2).reshape(-1, *shape)
    mxnet, module = make_module(folder, 1)
    answers = []
    for row in rows:
        module.forward(mxnet.io.DataBatch([mxnet.nd.array(row[None])]), is_train=False)
        answers += module.get_outputs()[0].asnumpy().tolist()
    output.write_text(json.dumps(answers))
    memory = peak_bytes()  # before the loop below makes it larger
    return {"forward_s": forward_module(folder, rows[:forward_rows], 1), "peak_bytes": memory}


def side_ours(folder: Path, source: Path, output: Path, forward_rows: int, *, exact: bool) -> dict[str, Any]:
    """fastinfer."""
    from fastinfer import transform
    from fastinfer.models.module import load_model
    from fastinfer.options import Options
    from fastinfer.runtimes import load_runtime
    from fastinfer.runtimes.batch_size import bind_ladder, choose_batching
    from fastinfer.runtimes.views import rows_of

    def run(data: Path) -> Any:
        return transform(data, output, model=folder, exact=exact, overwrite=True)

    run(source)
    summary = min((run(source) for _ in range(2)), key=lambda each: each.seconds)
    memory = peak_bytes()
    model, runtime = load_model(folder), load_runtime()
    batching = choose_batching(runtime, model, Options(exact=exact))
    ladder = bind_ladder(runtime, model, ("cpu", 0), batching)
    rows_of(ladder)[:] = np.random.RandomState(0).rand(ladder.batch_size, model.row_values)
    passes = max(1, forward_rows // ladder.batch_size)
    seconds = least(lambda: [ladder.forward(ladder.batch_size) for _ in range(passes)]) / (passes * ladder.batch_size)
    return {
        "text_s": summary.seconds,
        "forward_s": seconds,
        "batch_size": batching.batch_size,
        "smaller": batching.smaller,
        "peak_bytes": memory,
    }


def time_requests(folder: Path, body: bytes, modes: dict[str, list[str]]) -> dict[str, list[float]]:
    """Seconds from a client's request of one row to the answer, by mode, each with its options: the medians of turns.

    All servers run all the time and are asked in turns, since a machine is faster in one second than in another.
    """
    command = [sys.executable, "-m", "fastinfer.serve", "--quiet", "--model", str(folder)]
    with contextlib.ExitStack() as stack:
        clients = {}
        for (mode, options), port in zip(modes.items(), free_ports(len(modes))):
            server = subprocess.Popen([*command, "--port", str(port), *options], env=AS_STARTED)
            stack.callback(server.wait)
            stack.callback(server.terminate)
            clients[mode] = stack.enter_context(
                contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60))
            )
            while server.poll() is None and not request(clients[mode], body):
                time.sleep(0.01)
        seconds: dict[str, list[float]] = {mode: [] for mode in modes}
        end = time.monotonic() + REQUESTS_S
        while time.monotonic() < end:
            for mode, client in clients.items():
                times = [request(client, body) for _ in range(REQUESTS)]
                assert all(times)
                seconds[mode].append(statistics.median(times[1:]))  # the first one finds the caches of another server
    return seconds


def request(client: http.client.HTTPConnection, body: bytes) -> float:
    """Seconds of a request; 0 while the server starts."""
    started = time.perf_counter()
    try:
        client.request("POST", "/invocations", body, {"Content-Type": "text/csv"})
        answer = client.getresponse()
        answer.read()
    except ConnectionRefusedError:  # it does not listen yet
        client.close()
        return 0.0
    assert answer.status in (200, 503), answer.status
    return time.perf_counter() - started if answer.status == 200 else 0.0


SIDES: dict[str, Callable[[Path, Path, Path, int], dict[str, Any]]] = {
    "script": side_script,
    "script, one thread": side_script,
    "loop": side_loop,
    "default": lambda *arguments: side_ours(*arguments, exact=False),
    "exact": lambda *arguments: side_ours(*arguments, exact=True),
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MXNET_ENGINE_TYPE": "NaiveEngine"}
ENVIRONMENT = {"script": {"OMP_NUM_THREADS": str(os.cpu_count())}, "script, one thread": ONE_THREAD, "loop": ONE_THREAD}


def peak_bytes() -> int:
    """The largest memory of this process so far. getrusage() has that of the process that started this one, if it had more."""
    from fastinfer.machine import peak_memory_bytes

    return peak_memory_bytes()


def run_side(side: str, folder: Path, source: Path, place: Path) -> dict[str, Any]:
    """Runs a side in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.bench_models",
        "--side",
        side,
        str(folder),
        str(source),
        str(place / side),
    ]
    environment = {**AS_STARTED, **ENVIRONMENT.get(side, {})}
    done = subprocess.run(
        command, check=True, env=environment, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def answers_of(place: Path, side: str, source: Path) -> np.ndarray:
    path = place / side
    return np.array(json.loads((path / f"{source.name}.out" if path.is_dir() else path).read_text()))


def compare(name: str, place: Path, rounds: int) -> dict[str, Any]:
    """Runs all sides on one network, in turns."""
    folder, source = networks.save(name, place / name), place / f"{name}.csv"
    shape = json.loads((folder / "model-shapes.json").read_text())[0]["shape"][1:]
    values = np.random.RandomState(1).rand(ROWS[name], int(np.prod(shape)))
    with source.open("w") as file:
        for row in values:
            file.write(",".join(map("{:.4f}".format, row)) + "\n")
    found: dict[str, dict[str, Any]] = {}
    # Of the two whose forward passes are nearly equal there are more turns.
    for turn in range(rounds + EXACT_ROUNDS):
        for side in SIDES if turn < rounds else ("loop", "exact"):
            now = run_side(side, folder, source, place)
            kept = found.setdefault(side, now)
            kept.update({key: min(kept[key], now[key]) for key in now if key.endswith(("_s", "_bytes"))})
    with source.open("rb") as file:
        requests = time_requests(folder, file.readline(), {"default": [], "exact": ["--exact"]})
    expected = answers_of(place, "loop", source)
    for side in SIDES:
        difference = np.abs(answers_of(place, side, source) - expected).max()
        assert difference <= (0 if side == "exact" else 1e-4), f"{name}: {side} differs by {difference}"
    source.unlink()
    best = min((found["script"], found["script, one thread"]), key=lambda each: each["text_s"])
    return {
        **found,
        "ratios": {
            "text to text": best["text_s"] / found["default"]["text_s"],
            "forward": found["script, one thread"]["forward_s"] / found["default"]["forward_s"],
            "exact forward": found["loop"]["forward_s"] / found["exact"]["forward_s"],
            "exact memory": found["exact"]["peak_bytes"] / found["loop"]["peak_bytes"],
            "request": statistics.median(map(operator.truediv, requests["default"], requests["exact"])),
        },
    }


# The column of a ratio, and its goal: at least, or at most.
GOALS = {"text to text": 1.0, "forward": 0.97, "exact forward": 1.0, "exact memory": -1.5, "request": -1.1}
TITLES = {
    "text to text": "CSV to JSON: numpy.loadtxt and Module.predict at their best / transform",
    "forward": "forward pass: Module at its best / default mode",
    "exact forward": "forward pass: Module at batch size 1 / --exact",
    "exact memory": "peak memory: --exact / a loop of Module at batch size 1",
    "request": "a request of one row: default mode / --exact",
}


@pytest.mark.parametrize("name", ROWS)
def bench_network(name: str, keep: Keep, tmp_path: Path) -> None:
    """Each ratio, of the least times of all rounds."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as place:
        found = compare(name, Path(place), ROUNDS)
    for key, goal in GOALS.items():
        keep(
            f"{name}/{key}",
            f"{name}: {TITLES[key]}",
            found["ratios"][key],
            "times",
            better="higher" if goal > 0 else "lower",
        )
    for side in ("script", "script, one thread", "loop", "default", "exact"):
        keep(
            f"{name}/{side} row",
            f"{name}: forward pass of a row, {side}",
            found[side]["forward_s"],
            "s",
            better="lower",
        )


@pytest.mark.parametrize("name", ["resnet18-224"])
def bench_lone_request(name: str, keep: Keep, tmp_path: Path) -> None:
    """A request of one row to a server with one worker, and to one that divides operators among as many threads as there are
    cores, if that was quicker when it started."""
    folder = networks.save(name, tmp_path / name)
    shape = json.loads((folder / "model-shapes.json").read_text())[0]["shape"][1:]
    body = ",".join(map("{:.4f}".format, np.random.RandomState(1).rand(int(np.prod(shape))))).encode()
    seconds = time_requests(folder, body, {"one": ["--workers", "1"], "all": []})
    one, divided = (min(found) for found in seconds.values())
    title = f"{name}: a request of one row"
    keep(
        f"{name}/lone request", f"{title}: one worker / operators on all cores", one / divided, "times", better="higher"
    )
    keep(f"{name}/lone request, one worker", f"{title}, one worker", one, "s", better="lower")
    keep(f"{name}/lone request, all cores", f"{title}, operators on all cores", divided, "s", better="lower")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side, *paths = arguments.side
        folder, source, output = map(Path, paths)
        found = SIDES[side](folder, source, output, FORWARD_ROWS[folder.name])
        print(json.dumps({"peak_bytes": peak_bytes(), **found}))
        return
    memory = Path("/dev/shm")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        for name in arguments.models or ROWS:
            results[name] = compare(name, Path(place), arguments.rounds)
            ratios = results[name]["ratios"]
            marks = {key: ratios[key] >= goal if goal > 0 else ratios[key] <= -goal for key, goal in GOALS.items()}
            shown = ", ".join(f"{key} {ratios[key]:.2f}{'' if marks[key] else ' (MISSED)'}" for key in GOALS)
            sizes = f"batch {results[name]['default']['batch_size']}, script's {results[name]['script']['batch_size']}"
            print(f"{name:<18} {shown}; {sizes}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
