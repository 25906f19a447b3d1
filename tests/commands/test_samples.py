"""``fastinfer samples``: what it writes, and its exit codes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastinfer.commands.samples import main
from fastinfer.mnist.dataset import read_images
from fastinfer.mnist.samples import cell_table

ROOT = Path(__file__).resolve().parent.parent.parent
TEST_CHANNEL = ROOT / "examples" / "mnist" / "test"


def test_the_first_file_is_sagemakers_sample(tmp_path: Path) -> None:
    assert main([str(TEST_CHANNEL), str(tmp_path), "--count", "3", "--quiet"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data-0.csv", "data-1.csv", "data-2.csv"]
    text = (tmp_path / "data-0.csv").read_bytes()
    assert len(text) == 10192
    assert text.count(b",") == 783
    assert text.endswith(b",0.000000E+00\n")
    cells = text.decode().rstrip("\n").split(",")
    # The first pixels that are not black: 84, 185, 159, 151, 60, 36.
    assert cells[202:208] == [
        "3.294118E-01",
        "7.254902E-01",
        "6.235294E-01",
        "5.921569E-01",
        "2.352941E-01",
        "1.411765E-01",
    ]
    # 254: the value that the sample set is known to print so.
    assert cell_table("sample")[254] == b"9.960785E-01"


def test_the_thousand_of_the_notebook_are_written_by_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "fastinfer",
            "samples",
            str(TEST_CHANNEL / "images.gz"),
            str(tmp_path),
            "--count",
            "1000",
        ],
        cwd=ROOT,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"1,000 images in 1,000 files in ")
    names = [f"data-{number}.csv" for number in range(1000)]
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    assert {(tmp_path / name).stat().st_size for name in names} == {10192}
    # The same text made cell by cell with Python's own formatting.
    digest, expected = hashlib.sha256(), hashlib.sha256()
    scaled = read_images(TEST_CHANNEL)[:1000].reshape(1000, 784).astype(np.float32) * np.float32(1 / 255)
    for name, row in zip(names[::50], scaled[::50].tolist()):
        digest.update((tmp_path / name).read_bytes())
        expected.update((",".join(f"{value:.6E}" for value in row) + "\n").encode())
    assert digest.digest() == expected.digest()


def test_what_makes_no_sense_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(TEST_CHANNEL), str(tmp_path), "--count", "10001"]) == 2
    assert "--count must be 1 to 10000, found 10001" in capsys.readouterr().err
    assert main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "no images.gz in this folder or below" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([str(TEST_CHANNEL), str(tmp_path / "file"), "--count", "1"]) == 4
    assert "the folder cannot be written" in capsys.readouterr().err
    for option, value in (("--format", "hex"), ("--count", "0"), ("--rows-per-file", "0"), ("--count", "x")):
        with pytest.raises(SystemExit) as stopped:
            main([str(TEST_CHANNEL), str(tmp_path), option, value])
        assert stopped.value.code == 2
        assert f"argument {option}: " in capsys.readouterr().err
