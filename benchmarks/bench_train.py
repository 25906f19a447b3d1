"""Seconds of an epoch, validation included: the notebook's script and fastinfer.mnist.train, the same rows and seed.

Both run on the full MNIST, each in a process of its own, in turns, so that both meet the same machine. The parameters
of both are compared before a time is believed. The notebook's script writes no checkpoints; fastinfer's run does.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

from benchmarks.conftest import Keep
from benchmarks.environment import AS_STARTED

ROOT = Path(__file__).resolve().parent.parent
TRAIN, TEST = str(ROOT / "examples" / "mnist" / "train"), str(ROOT / "examples" / "mnist" / "test")
EPOCHS, SEED, TURNS = 4, 2, 3

OURS = """
    import json, sys, time
    import fastinfer.mnist.train as module
    ends, plain = [], module.save_checkpoint
    def save_checkpoint(*arguments):
        plain(*arguments)
        ends.append(time.perf_counter())
    module.save_checkpoint = save_checkpoint
    train, test, folder, epochs, seed = sys.argv[1:]
    module.train(module.TrainConfig(train, test, folder, epochs=int(epochs), seed=int(seed),
                                    checkpoint_dir=folder + "/checkpoints"))
    print(json.dumps({"epoch_seconds": [end - start for start, end in zip(ends, ends[1:])]}))
    """


def epoch_seconds(command: list[str], folder: Path) -> list[float]:
    arguments = [TRAIN, TEST, str(folder), str(EPOCHS), str(SEED)]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=AS_STARTED, stdout=subprocess.PIPE, timeout=600, check=True
    )
    return list(json.loads(done.stdout)["epoch_seconds"])


def bench_an_epoch_of_training(tmp_path: Path, keep: Keep) -> None:
    theirs: list[float] = []
    ours: list[float] = []
    for turn in range(TURNS):
        notebook, fast = tmp_path / f"notebook-{turn}", tmp_path / f"fastinfer-{turn}"
        theirs += epoch_seconds([sys.executable, "-m", "benchmarks.notebook_train"], notebook)
        ours += epoch_seconds([sys.executable, "-c", textwrap.dedent(OURS)], fast)
        assert (notebook / "model-0000.params").read_bytes() == (fast / "model-0000.params").read_bytes()
    keep("notebook/epoch", "an epoch of the notebook's script", theirs, "s", better="lower")
    keep("fastinfer/epoch", "an epoch of fastinfer.mnist.train", ours, "s", better="lower")
    keep(
        "ratio",
        "the notebook's script / fastinfer.mnist.train",
        statistics.median(theirs) / statistics.median(ours),
        "times",
    )
