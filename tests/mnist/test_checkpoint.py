"""Checkpoints: mxnet's names, complete after a kill at any point, and no damaged or harmful one is used."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import ConfigError
from fastinfer.mnist.checkpoint import begun_settings, network_signature, newest_checkpoint
from fastinfer.mnist.network import build_network
from fastinfer.mnist.train import TrainConfig, train
from tests.mnist.channels import files_of

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def first(channels: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of a training of one epoch."""
    top = tmp_path_factory.mktemp("first")
    train(
        TrainConfig(
            train=channels[0], test=channels[1], model_dir=str(top / "m"), epochs=1, checkpoint_dir=str(top / "c")
        )
    )
    return top / "c"


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
                if len(seen) == {(epoch - 1) * 5 + renames}:
                    os.kill(os.getpid(), signal.SIGKILL)
            plain(source, target)
        os.replace = replace
        train({config!r})
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("renames", [1, 2, 3, 4, 5])
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


@pytest.mark.parametrize("renames", [1, 2, 3, 4, 5])
def test_a_training_that_was_stopped_in_its_first_checkpoint_keeps_its_seed_and_its_checks(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    plain, seen = os.replace, []

    def replace_until(source: Path, target: Path) -> None:
        seen.append(target)
        if len(seen) == renames:
            raise SystemExit
        plain(source, target)

    config = replace(config, epochs=1)
    monkeypatch.setattr(os, "replace", replace_until)
    with pytest.raises(SystemExit):
        train(config)
    monkeypatch.setattr(os, "replace", plain)
    left = files_of(config.checkpoint_dir)
    if renames > 1:  # there is something of this training
        with pytest.raises(ConfigError, match="batch size 100, now 50"):
            train(replace(config, resume=True, batch_size=50))
        with pytest.raises(ConfigError, match="seed 7, now 8"):
            train(replace(config, resume=True, seed=8))
        assert files_of(config.checkpoint_dir) == left
    else:
        assert left == {}
    seed = None if renames > 1 else config.seed
    assert train(replace(config, resume=True, seed=seed)).first_epoch == 1
    whole = replace(config, model_dir=str(tmp_path / "whole"), checkpoint_dir=str(tmp_path / "w"))
    train(whole)
    assert files_of(config.model_dir) == files_of(whole.model_dir)
    assert files_of(config.checkpoint_dir) == files_of(whole.checkpoint_dir)


def test_a_set_that_a_killed_training_of_an_older_version_left_is_not_taken_for_one_of_other_software(
    mx: Any, config: TrainConfig
) -> None:
    train(replace(config, epochs=1))
    folder = Path(config.checkpoint_dir or "")
    (folder / "mnist-0001.json").rename(folder / ".mnist-0001.json.tmp")
    found, skipped = newest_checkpoint(mx, folder)
    assert found is None
    assert len(skipped) == 1


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
    assert "os.system" in skipped[0]
    assert not (tmp_path / "ran").exists()


def pickled(instructions: bytes) -> bytes:
    return b"\x80\x02" + instructions + b"."


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("json", b"[" * 100_000),
        ("json", b"{}"),
        ("json", b"[]"),
        ("json", b"\xff"),
        ("json", b'{"settings": {"seed": "7"}, "sha256": {}}'),
        ("json", b'{"settings": {}, "sha256": []}'),
        ("json", b'{"settings": {}, "sha256": {"mnist-0001.states": []}}'),
        ("json", bytes(2 << 20)),
        ("states", b""),
        ("states", pickled(b"}")[:-1]),
        ("states", pickled(b"\x8a\x04\0\0\0\x80")),  # a number where states should be
        ("states", pickled(b"\x8e" + b"\xff" * 7 + b"\x7f")),  # bytes, as many as 2^63
        ("states", pickled(b"}r\xff\xff\xff\x7f")),  # kept at place 2^31
        ("states", pickled(b"(" * 100_000)),
        ("states", pickled(b"}K\0K\1s")),  # a state that is a number
        ("states", b"cposix\nsystem\n."),
        ("states", b"\xff"),
        ("params", b""),
        ("params", b"\xff" * 100),
        ("symbol", b"{"),
        ("symbol", b'{"nodes": [], "heads": [[0, 0, 0]]}'),
        (
            "symbol",
            b'{"nodes": [{"op": "_Native", "name": "x", "attrs": {"info": "0x41"}, "inputs": []}], "heads": [[0, 0, 0]]}',
        ),
    ],
)
def test_a_set_of_a_stranger_is_not_complete_and_never_more_than_that(
    mx: Any, first: Path, tmp_path: Path, kind: str, content: bytes
) -> None:
    folder = Path(shutil.copytree(first, tmp_path / "checkpoints"))
    if kind != "json":
        (folder / "mnist-0001.json").unlink()
    (folder / f"mnist-{'symbol.json' if kind == 'symbol' else f'0001.{kind}'}").write_bytes(content)
    found, skipped = newest_checkpoint(mx, folder)
    assert found is None
    assert len(skipped) == 1
    assert skipped[0].startswith("the checkpoint of epoch 1 is not complete: ")
    begun_settings(folder)


def test_a_pipe_in_a_set_is_not_waited_for(mx: Any, first: Path, tmp_path: Path) -> None:
    for name in ("mnist-0001.json", "mnist-0001.states", "mnist-0001.params", "mnist-symbol.json"):
        folder = Path(shutil.copytree(first, tmp_path / name))
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert newest_checkpoint(mx, folder)[0] is None


def test_parameters_of_another_shape_are_those_of_another_training(
    mx: Any, config: TrainConfig, first: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(first, tmp_path / "checkpoints"))
    (folder / "mnist-0001.json").unlink()
    saved = mx.nd.load(str(folder / "mnist-0001.params"))
    saved["arg:fullyconnected0_weight"] = mx.nd.zeros((128, 5))
    mx.nd.save(str(folder / "mnist-0001.params"), saved)
    with pytest.raises(ConfigError, match=r"fullyconnected0_weight \(128, 5\), now \(128, 784\)") as caught:
        train(replace(config, checkpoint_dir=str(folder), resume=True))
    assert caught.value.code == "other_training"


def test_states_of_any_protocol_are_read(mx: Any, first: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(first, tmp_path / "checkpoints"))
    (folder / "mnist-0001.json").unlink()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for keys in (range(0), range(1), range(300), ["fc0_weight", "fc0_bias"]):
            (folder / "mnist-0001.states").write_bytes(pickle.dumps(dict.fromkeys(keys), protocol))
            found, skipped = newest_checkpoint(mx, folder)
            assert (found is not None, skipped) == (True, [])


def test_a_signature_is_of_what_a_network_computes_not_of_its_names(mx: Any) -> None:
    network = build_network(mx).tojson()
    assert network_signature(network) == network_signature(network.replace("activation0", "another"))
    assert network_signature(network) != network_signature(network.replace('"num_hidden": "64"', '"num_hidden": "32"'))
