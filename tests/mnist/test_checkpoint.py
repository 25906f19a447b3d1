"""Checkpoints: mxnet's names, complete after a kill at any point, and no damaged or harmful one is used."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastinfer.mnist.checkpoint import network_signature, newest_checkpoint
from fastinfer.mnist.network import build_network
from fastinfer.mnist.train import TrainConfig, train
from tests.mnist.channels import files_of

ROOT = Path(__file__).resolve().parent.parent.parent


def test_checkpoints_have_the_names_and_content_of_mxnets_callback(
    mx: Any, config: TrainConfig, tmp_path: Path
) -> None:
    train(config)
    names = {f"mnist-000{epoch}.{kind}" for epoch in (1, 2, 3) for kind in ("params", "states", "json")}
    assert set(files_of(config.checkpoint_dir)) == names | {"mnist-symbol.json"}
    with open(f"{config.checkpoint_dir}/mnist-0003.states", "rb") as file:
        assert pickle.load(file) == dict.fromkeys(range(6))
    module = mx.mod.Module.load(f"{config.checkpoint_dir}/mnist", 3)
    module.bind([("data", (100, 1, 28, 28))], [("softmax_label", (100,))])
    module.init_params(force_init=True, arg_params=module._arg_params, aux_params={})
    module.init_optimizer(optimizer_params={"learning_rate": 0.1})
    # And the other way: what mxnet's callback writes is resumed from.
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    mx.callback.module_checkpoint(module, str(theirs / "mnist"), save_optimizer_states=True)(2)
    assert {path.name for path in theirs.iterdir()} == {"mnist-symbol.json", "mnist-0003.params", "mnist-0003.states"}
    other = replace(config, checkpoint_dir=str(theirs), model_dir=str(tmp_path / "other"), epochs=4, resume=True)
    train(other)
    train(replace(config, epochs=4, resume=True))
    assert files_of(other.model_dir) == files_of(config.model_dir)


def run_killed(config: TrainConfig, epoch: int, renames: int) -> None:
    """Trains in a process that kills itself, as `kill -9` does, before the n-th rename of an epoch's checkpoint."""
    script = f"""
        import os, signal
        from fastinfer.mnist.train import TrainConfig, train
        plain, seen = os.replace, []
        def replace(source, target):
            if "mnist-" in str(target):
                seen.append(target)
                if len(seen) == {(epoch - 1) * 4 + renames}:
                    os.kill(os.getpid(), signal.SIGKILL)
            plain(source, target)
        os.replace = replace
        train({config!r})
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("renames", [1, 2, 3, 4])
def test_a_kill_while_a_checkpoint_is_written_leaves_one_to_resume_from(
    mx: Any, config: TrainConfig, tmp_path: Path, renames: int
) -> None:
    run_killed(config, 2, renames)
    left = files_of(config.checkpoint_dir)
    assert any(name.endswith(".tmp") for name in left)
    found, _ = newest_checkpoint(mx, Path(config.checkpoint_dir or ""))
    assert found is not None
    assert found.epoch == 1
    report = train(replace(config, resume=True))
    assert report.first_epoch == 2
    whole = replace(config, model_dir=str(tmp_path / "whole"), checkpoint_dir=str(tmp_path / "w"))
    train(whole)
    assert files_of(config.model_dir) == files_of(whole.model_dir)
    assert files_of(config.checkpoint_dir) == files_of(whole.checkpoint_dir)


@pytest.mark.parametrize("kind", ["params", "states", "json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
def test_a_damaged_checkpoint_is_skipped_and_reported(mx: Any, config: TrainConfig, kind: str, damage: str) -> None:
    train(config)
    path = Path(config.checkpoint_dir or "") / f"mnist-0003.{kind}"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else content[:-9] + b"?" + content[-8:])
    found, skipped = newest_checkpoint(mx, path.parent)
    assert found is not None
    assert found.epoch == 2
    assert len(skipped) == 1
    assert skipped[0].startswith("the checkpoint of epoch 3 is not complete: ")


def test_states_that_would_run_code_are_not_loaded(mx: Any, config: TrainConfig, tmp_path: Path) -> None:
    train(replace(config, epochs=1))
    folder = Path(config.checkpoint_dir or "")
    (folder / "mnist-0001.json").unlink()
    (folder / "mnist-0001.states").write_bytes(b"cos\nsystem\n(S'touch " + os.fsencode(tmp_path / "ran") + b"'\ntR.")
    found, skipped = newest_checkpoint(mx, folder)
    assert found is None
    assert "os.system" in skipped[0] or "posix.system" in skipped[0]
    assert not (tmp_path / "ran").exists()


def test_a_signature_is_of_what_a_network_computes_not_of_its_names(mx: Any) -> None:
    network = build_network(mx).tojson()
    assert network_signature(network) == network_signature(network.replace("activation0", "another"))
    assert network_signature(network) != network_signature(network.replace('"num_hidden": "64"', '"num_hidden": "32"'))
