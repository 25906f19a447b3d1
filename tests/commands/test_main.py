"""The one console script: its commands, ``--help`` and ``--version``, and what it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fastinfer
from fastinfer.__main__ import COMMANDS, main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False)


def imported(module: str, *arguments: str) -> set[str]:
    """The heavy packages that a command line imports."""
    script = f"""
import runpy, sys
sys.argv[1:] = {list(arguments)!r}
try: runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except SystemExit as stopped: assert not stopped.code, stopped.code
print(sorted({{"mxnet", "numpy", "joblib", "tqdm", "boto3", "aiohttp"}} & set(sys.modules)), file=sys.stderr)
"""
    done = run("-c", script)
    assert done.returncode == 0, done.stderr
    return set(eval(done.stderr.splitlines()[-1]))


def test_help_lists_every_command_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["-h"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "usage: fastinfer [-h] [--version] COMMAND ..."
        assert [
            line.split()[0] for line in lines if line.split(maxsplit=1)[:1] and line.split()[0] in COMMANDS
        ] == list(COMMANDS)


def test_the_module_does_as_the_script() -> None:
    done = run("-m", "fastinfer", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fastinfer {fastinfer.__version__}\n", "")
    assert run("-m", "fastinfer").stdout == run("-m", "fastinfer", "--help").stdout != ""


@pytest.mark.parametrize("word", ["trans", "--verbose", ""])
def test_an_unknown_command_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([word])
    assert stopped.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_arguments_and_the_exit_code_go_through(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transform", "nowhere", "out", "--dry-run"]) == 1
    assert "error: nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["transform", "train", "samples", "report", "doctor"])
def test_the_usage_line_names_the_command(command: str) -> None:
    done = run("-m", "fastinfer", command, "--help")
    assert done.stdout.startswith(f"usage: fastinfer {command} ")


def test_the_promised_form_of_the_transform_command_names_itself() -> None:
    assert run("-m", "fastinfer.transform", "--help").stdout.startswith("usage: python -m fastinfer.transform ")


def test_help_imports_nothing_heavy() -> None:
    assert imported("fastinfer", "--help") == set()
    assert imported("fastinfer", "transform", "--help") == set()
    assert imported("fastinfer.transform", "--help") == set()
    for command in ("train", "samples", "report", "doctor"):
        assert imported("fastinfer", command, "--help") <= {"numpy"}
